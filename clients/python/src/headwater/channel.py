"""Connections: TLS, token, deadline and retries, for sync and aio alike."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import grpc.aio

_HERE = Path(__file__).resolve()
# Within the installed package, or beside the clients where it is run from the repository.
_SERVICE_CONFIGS = (_HERE.with_name("service-config.json"), _HERE.parents[3] / "service-config.json")
_MESSAGE_BYTES_MAX = 16 << 20


@dataclass(frozen=True)
class ConnectOptions:
    """Where the platform is, and how calls are made."""

    endpoint: str = "http://127.0.0.1:50051"
    # Sent as `authorization: Bearer …`.
    token: str | None = None
    # PEM of the authority that signed the server's certificate. None: those of the system.
    tls_ca_pem: bytes | None = None
    # Deadline of a unary call that brings none, retries included.
    timeout_s: float = 10.0
    retries: bool = True

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def channel(self) -> grpc.Channel:
        """A connection for sync calls."""
        target, credentials = self._target()
        if credentials is None:
            return grpc.insecure_channel(target, options=self._settings())
        return grpc.secure_channel(target, credentials, options=self._settings())

    def aio_channel(self) -> grpc.aio.Channel:
        """A connection for aio calls."""
        target, credentials = self._target()
        if credentials is None:
            return grpc.aio.insecure_channel(target, options=self._settings())
        return grpc.aio.secure_channel(target, credentials, options=self._settings())

    def _target(self) -> tuple[str, grpc.ChannelCredentials | None]:
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"endpoint: '{self.endpoint}' is not an address like http://127.0.0.1:50051")
        if parts.scheme == "http":
            return parts.netloc, None
        return parts.netloc, grpc.ssl_channel_credentials(self.tls_ca_pem)

    def _settings(self) -> list[tuple[str, str | int]]:
        config = next(path for path in _SERVICE_CONFIGS if path.is_file()).read_text(encoding="utf-8")
        return [
            ("grpc.service_config", config),
            ("grpc.enable_retries", int(self.retries)),
            ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
        ]
