"""The registry: its password, and ids that it does not know yet."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import PROTO, Stream
from proxies import RegistryProxy

from headwater.transactions import registry
from headwater.transactions.registry import UNKNOWN_KEPT_S, Registry

# The password, and as a part of an address.
NAME, PASSWORD, ENCODED = "anna", "s3cret:/@ü", "s3cret%3A%2F%40%C3%BC"


@pytest.fixture
def guarded(stream: Stream) -> Iterator[RegistryProxy]:
    """The real one behind a password."""
    made = RegistryProxy(stream.registry, NAME, PASSWORD)
    yield made
    made.close()


def test_name_and_password_of_the_address_are_sent(stream: Stream, guarded: RegistryProxy) -> None:
    known = Stream(stream.broker, f"http://{NAME}:{ENCODED}@{guarded.host}", stream.topic)
    produced = known.produce("--count", "10")
    assert produced.returncode == 0, produced.stderr
    consumed = known.consume("--count", "10", "--idle-exit", "20")
    assert consumed.returncode == 0, consumed.stderr
    assert guarded.refused == 0


@pytest.mark.parametrize("login", ["", "anna:wrong@"])
@pytest.mark.parametrize("program", ["produce", "consume"])
def test_a_wrong_password_is_told_at_once_and_not_shown(
    stream: Stream, guarded: RegistryProxy, login: str, program: str
) -> None:
    unknown = Stream(stream.broker, f"http://{login}{guarded.host}", stream.topic)
    ended = unknown.produce() if program == "produce" else unknown.consume()
    assert ended.returncode == 3, ended.stderr
    assert f"the registry http://{guarded.host} answers 401" in ended.stderr
    assert "wrong" not in ended.stderr
    assert guarded.refused == 1


def test_an_unknown_id_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    known = False

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps({"schema": PROTO, "schemaType": "PROTOBUF"} if known else {"error_code": 40403}).encode()
            self.send_response(200 if known else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    now = 1000.0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        made = Registry(f"http://127.0.0.1:{server.server_port}", 5)
        monkeypatch.setattr(registry, "monotonic", lambda: now)
        for passed in (0.0, UNKNOWN_KEPT_S - 1):
            now = 1000 + passed
            assert made.by_id(7) is None
            assert len(asked) == 1
        now, known = 1000 + UNKNOWN_KEPT_S, True
        found = made.by_id(7)
        assert found is not None
        assert found.messages[(0,)] == "headwater.event.v1.Transaction"
        # What is known stays known.
        now *= 10
        assert made.by_id(7) is found
        assert asked == ["/schemas/ids/7"] * 2
    finally:
        server.shutdown()
        server.server_close()
