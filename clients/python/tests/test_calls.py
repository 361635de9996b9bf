"""Deadlines, retries, TLS and errors, against a server that fails as it is told."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
import trustme
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from headwater.aio_client import AioClient
from headwater.cache.v1.cache_pb2 import (
    GetRequest,
    GetResponse,
    IncrementRequest,
    IncrementResponse,
    WatchRequest,
    WatchResponse,
)
from headwater.channel import ConnectOptions
from headwater.client import Client
from headwater.error_details import CallError, Violation

Trailers = tuple[tuple[str, str | bytes], ...]
GET = GetRequest(key=b"k")
KINDS = pytest.mark.parametrize("kind", ["sync", "aio"])


class Server(grpc.GenericRpcHandler):
    """Answers every call, after the failures that it was told: a status each, with trailers."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self.failures: list[tuple[grpc.StatusCode, Trailers]] = []
        # When each attempt came, and its metadata.
        self.attempts: list[tuple[float, dict[str, str | bytes]]] = []
        # How many answers a stream brings before it fails.
        self.answers_before = 0
        self._server = grpc.server(ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((self,))
        if credentials is None:
            self._port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            self._port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    def options(self, **more: Any) -> ConnectOptions:
        """Where it is."""
        return ConnectOptions(**{"endpoint": f"http://127.0.0.1:{self._port}", "timeout_s": 5.0, **more})

    def tls(self, host: str, ca_pem: bytes | None) -> ConnectOptions:
        """Where it is, over TLS."""
        return self.options(endpoint=f"https://{host}:{self._port}", tls_ca_pem=ca_pem, retries=False)

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """The handler of a method."""
        name = details.method.rpartition("/")[2]
        if name == "Watch":
            return grpc.unary_stream_rpc_method_handler(self._stream)
        answer = {"Get": GetResponse(value=b"v"), "Increment": IncrementResponse(value=1)}[name].SerializeToString()
        return grpc.unary_unary_rpc_method_handler(lambda _, context: self._answer(context, answer))

    def _answer(self, context: grpc.ServicerContext, answer: bytes) -> bytes:
        self.attempts.append((time.monotonic(), dict(context.invocation_metadata())))
        if self.failures:
            code, trailers = self.failures.pop(0)
            context.set_trailing_metadata(trailers)
            context.abort(code, "as told")
        return answer

    def _stream(self, _request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        answer = WatchResponse().SerializeToString()
        for _ in range(self.answers_before):
            yield answer
        yield self._answer(context, answer)

    def stop(self) -> None:
        """Ends it at once."""
        self._server.stop(0).wait()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server without TLS."""
    made = Server()
    yield made
    made.stop()


def call(kind: str, options: ConnectOptions, what: Callable[[Any], Any]) -> Any:
    """What a client of that kind answers."""
    if kind == "sync":
        with Client(options) as client:
            return what(client)

    async def wait() -> Any:
        async with AioClient(options) as client:
            return await what(client)

    return asyncio.run(wait())


def watched(kind: str, options: ConnectOptions) -> tuple[int, CallError | None]:
    """How many answers a stream brings, and how it ends."""
    request = WatchRequest(keys=[b"k"])
    count = 0
    try:
        if kind == "sync":
            with Client(options) as client:
                for _ in client.cache.watch(request):
                    count += 1
        else:

            async def wait() -> None:
                nonlocal count
                async with AioClient(options) as client:
                    async for _ in client.cache.watch(request):
                        count += 1

            asyncio.run(wait())
    except CallError as error:
        return count, error
    return count, None


def unavailable(times: int, *trailers: tuple[str, str | bytes]) -> list[tuple[grpc.StatusCode, Trailers]]:
    """So many failures that may be tried again."""
    return [(grpc.StatusCode.UNAVAILABLE, trailers)] * times


@KINDS
def test_what_may_be_called_again_is(server: Server, kind: str) -> None:
    server.failures = unavailable(2)
    assert call(kind, server.options(), lambda client: client.cache.get(GET)).value == b"v"
    assert [one.get("grpc-previous-rpc-attempts") for _, one in server.attempts] == [None, "1", "2"]


@KINDS
@pytest.mark.parametrize(
    ("code", "trailers", "retries"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, (), True),
        (grpc.StatusCode.DEADLINE_EXCEEDED, (), True),
        # The server says that it would not help.
        (grpc.StatusCode.RESOURCE_EXHAUSTED, (("grpc-retry-pushback-ms", "-1"),), True),
        (grpc.StatusCode.UNAVAILABLE, (), False),
    ],
)
def test_what_must_not_be_called_again_is_not(
    server: Server, kind: str, code: grpc.StatusCode, trailers: Trailers, retries: bool
) -> None:
    server.failures = [(code, trailers)]
    with pytest.raises(CallError) as refused:
        call(kind, server.options(retries=retries), lambda client: client.cache.get(GET))
    assert refused.value.code == code
    assert len(server.attempts) == 1


@KINDS
def test_what_would_count_twice_is_not_called_again(server: Server, kind: str) -> None:
    server.failures = unavailable(1)
    with pytest.raises(CallError):
        call(kind, server.options(), lambda client: client.cache.increment(IncrementRequest(key=b"n", delta=1)))
    assert len(server.attempts) == 1


@KINDS
def test_the_servers_delay_is_kept(server: Server, kind: str) -> None:
    server.failures = unavailable(1, ("grpc-retry-pushback-ms", "600"))
    assert call(kind, server.options(), lambda client: client.cache.get(GET)).value == b"v"
    first, second = (at for at, _ in server.attempts)
    # Six times the first pause of the service config.
    assert second - first >= 0.6


@KINDS
def test_the_deadline_includes_retries(server: Server, kind: str) -> None:
    server.failures = unavailable(4, ("grpc-retry-pushback-ms", "30000"))
    began = time.monotonic()
    with pytest.raises(CallError) as refused:
        call(kind, server.options(timeout_s=0.5), lambda client: client.cache.get(GET))
    assert refused.value.code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
    assert time.monotonic() - began < 20
    assert len(server.attempts) == 1


@KINDS
def test_a_stream_is_called_again_before_its_first_answer_only(server: Server, kind: str) -> None:
    server.failures = unavailable(2)
    assert watched(kind, server.options()) == (1, None)
    assert len(server.attempts) == 3
    server.failures, server.answers_before = unavailable(1), 2
    count, error = watched(kind, server.options())
    assert (count, error and error.code) == (2, grpc.StatusCode.UNAVAILABLE)
    assert len(server.attempts) == 4


@KINDS
def test_an_error_carries_what_the_platform_says(server: Server, kind: str) -> None:
    said = [
        error_details_pb2.ErrorInfo(reason="KEY_TOO_LONG", domain="headwater", metadata={"max": "1024"}),
        error_details_pb2.BadRequest(
            field_violations=[error_details_pb2.BadRequest.FieldViolation(field="key", description="is too long")]
        ),
        error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000)),
    ]
    details = []
    for one in said:
        packed = Packed()
        packed.Pack(one)
        details.append(packed)
    status = status_pb2.Status(code=3, message="as told", details=details).SerializeToString()
    server.failures = [(grpc.StatusCode.INVALID_ARGUMENT, (("grpc-status-details-bin", status),))]
    with pytest.raises(CallError, match="KEY_TOO_LONG: as told") as refused:
        call(kind, server.options(), lambda client: client.cache.get(GET))
    error = refused.value
    assert (error.reason, error.metadata) == ("KEY_TOO_LONG", {"max": "1024"})
    assert (error.violations, error.retry_after_s) == ([Violation("key", "is too long")], 1.5)


@KINDS
def test_tls_trusts_the_given_authority_and_none_else(kind: str) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    chain = b"".join(one.bytes() for one in certificate.cert_chain_pems)
    server = Server(grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)]))
    pem = authority.cert_pem.bytes()
    try:
        options = server.tls("localhost", pem)
        assert call(kind, options, lambda client: client.cache.get(GET)).value == b"v"
        # The system's authorities, another one, another name than the certificate's.
        for wrong in (
            server.tls("localhost", None),
            server.tls("localhost", trustme.CA().cert_pem.bytes()),
            server.tls("127.0.0.1", pem),
        ):
            with pytest.raises(CallError) as refused:
                call(kind, wrong, lambda client: client.cache.get(GET))
            assert refused.value.code == grpc.StatusCode.UNAVAILABLE
        assert len(server.attempts) == 1
    finally:
        server.stop()


@KINDS
def test_the_token_goes_with_every_call(server: Server, kind: str) -> None:
    options = server.options(token="secret")  # noqa: S106
    call(kind, options, lambda client: client.cache.get(GET))
    assert watched(kind, options) == (1, None)
    assert [one["authorization"] for _, one in server.attempts] == ["Bearer secret"] * 2
