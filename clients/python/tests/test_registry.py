"""The registry: its password, and ids that it does not know yet."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from conftest import PROTO, Stream, run
from proxies import RegistryProxy

from headwater.transactions import registry
from headwater.transactions.failure import Failure
from headwater.transactions.registry import UNKNOWN_KEPT_S, Registry

# The password, and as a part of an address.
NAME, PASSWORD, ENCODED = "anna", "s3cret:/@ü", "s3cret%3A%2F%40%C3%BC"


@pytest.fixture
def guarded(stream: Stream) -> Iterator[RegistryProxy]:
    """The real one behind a password."""
    made = RegistryProxy(stream.registry, NAME, PASSWORD)
    yield made
    made.close()


@contextmanager
def answering(answer: Callable[[], tuple[int, object]]) -> Iterator[tuple[str, list[str]]]:
    """A server that gives these answers: its address, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, value = answer()
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


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


@pytest.mark.parametrize("program", ["produce", "consume"])
def test_a_registry_without_its_path_is_told(stream: Stream, program: str) -> None:
    host = urlsplit(stream.registry).netloc
    bare = Stream(stream.broker, f"http://anna:s3cret@{host}", stream.topic)
    ended = bare.produce() if program == "produce" else bare.consume()
    assert ended.returncode == 3, ended.stderr
    said = f"there is no registry's API at http://{host}: it answers 404. Apicurio's is below /apis/ccompat/v7"
    assert said in ended.stderr
    assert "s3cret" not in ended.stderr


@pytest.mark.parametrize("code", [None, 404, "40401"])
def test_a_404_without_a_code_of_the_api_is_no_registry(code: object) -> None:
    with answering(lambda: (404, {} if code is None else {"error_code": code})) as (url, _):
        made = Registry(url, 5)
        with pytest.raises(Failure, match="there is no registry's API at"):
            made.by_id(7)
        with pytest.raises(Failure, match="there is no registry's API at"):
            made.latest("a")


@pytest.mark.parametrize(
    "url",
    [
        "anna:s3cret@127.0.0.1:8081",
        "ftp://anna:s3cret@127.0.0.1:8081",
        "http://anna:s3cret",
        "http://anna:12/s3cret@127.0.0.1:8081",
        "http://anna:12?s3cret@127.0.0.1:8081",
        "http://anna:12#s3cret@127.0.0.1:8081",
        "http://anna:s3cret@[127.0.0.1:8081",
        "http://anna:s3cret@127.0.0.1:99999",
        "http://anna:s3cret@a..b",
        "http://anna:s3cret@",
    ],
)
def test_a_malformed_address_is_told_without_its_password(url: str) -> None:
    ended = run("produce", "-b", "127.0.0.1:1", "-s", url, "-t", "none")
    assert ended.returncode == 2, ended.stderr
    assert "--schema-registry: is not an address" in ended.stderr
    assert "s3cret" not in ended.stderr


def test_an_unknown_id_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now, known = 1000.0, False

    def answer() -> tuple[int, object]:
        return (200, {"schema": PROTO, "schemaType": "PROTOBUF"}) if known else (404, {"error_code": 40403})

    with answering(answer) as (url, asked):
        made = Registry(url, 5)
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
