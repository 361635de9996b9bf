"""The library and its samples against a real `headwater dev`."""

import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from headwater.aio_client import AioClient
from headwater.cache.v1.cache_pb2 import GetRequest, SetRequest
from headwater.channel import ConnectOptions
from headwater.client import Client
from headwater.error_details import CallError
from headwater.event.v1.transaction_pb2 import Transaction
from headwater.ingest.v1.ingest_pb2 import ListStreamsRequest, PublishRequest, Record
from headwater.rebuild.v1.rebuild_pb2 import (
    REBUILD_STATE_DONE,
    ListRebuildsRequest,
    StartRebuildRequest,
    WatchRebuildsRequest,
)
from headwater.stats.v1.stats_pb2 import GetStatsRequest, ListStatsRequest, StatQuery, SubscribeStatsRequest

PYTHON = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ.get("HEADWATER_TEST_BIN", PYTHON.parents[1] / "target" / "debug" / "headwater"))
PLATFORM_MAX_S = 120
TOKEN = "a-token-of-this-test"  # noqa: S105


@contextmanager
def platform(token: str | None = None) -> Iterator[str]:
    """Where a platform of this run answers."""
    if not BINARY.is_file():
        pytest.fail(f"{BINARY} is missing: run `cargo build -p headwater` / `make test`")
    command = [str(BINARY), "dev", "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--rate", "0"]
    flags = ["--auth-token", token] if token else []
    process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watchdog = threading.Timer(PLATFORM_MAX_S, process.kill)
    watchdog.start()
    try:
        for line in process.stdout or ():
            if found := re.search(r"grpc=(\S+:\d+)", re.sub(r"\x1b\[[\d;]*m", "", line)):
                # Read on: a full pipe would stop it.
                threading.Thread(target=process.stdout.read if process.stdout else None, daemon=True).start()
                wait_until_ready(f"http://{found[1]}", token)
                yield f"http://{found[1]}"
                break
        else:
            pytest.fail("headwater dev ended before it listened")
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()


def wait_until_ready(endpoint: str, token: str | None) -> None:
    """Until a processor has begun: it listens before."""
    deadline = time.monotonic() + PLATFORM_MAX_S
    with Client(ConnectOptions(endpoint, token=token)) as client:
        while True:
            try:
                client.stats.get_stats(
                    GetStatsRequest(queries=[StatQuery(stream="transactions", stat="account_total")])
                )
                break
            except CallError as error:
                if error.reason != "NOT_READY" or time.monotonic() > deadline:
                    raise


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A platform that asks for no token."""
    with platform() as address:
        yield address


def sample(name: str, endpoint: str) -> str:
    """What a sample prints."""
    command = [sys.executable, str(PYTHON / "samples" / f"{name}.py"), endpoint]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cache", "hello"),
        ("ingest", "accepted {"),
        ("explain", "stored {"),
        ("history", "headwater.event.v1.Transaction"),
        ("rebuild", "state: REBUILD_STATE_DONE"),
    ],
)
def test_samples_run(endpoint: str, name: str, said: str) -> None:
    if name == "history":
        # It returns once its transaction is stored.
        sample("explain", endpoint)
    assert said in sample(name, endpoint)


def test_the_sample_of_statistics_shows_what_is_counted(endpoint: str) -> None:
    event = Transaction(transaction_id=str(uuid.uuid4()), account_number="ACC-0001", amount=0.07)
    event.transaction_datetime.GetCurrentTime()
    record = Record()
    record.event.Pack(event)
    query = StatQuery(stream="transactions", stat="account_total", by="ACC-0001")
    with Client(ConnectOptions(endpoint)) as client:
        token = client.ingest.publish(PublishRequest(stream="transactions", records=[record])).consistency_token
        total = client.stats.get_stats(GetStatsRequest(queries=[query], at_least=token)).results[0].values[0].value
    # Every sample adds 12.50.
    assert total % 1250 == 7
    assert f'text: "{total // 100}.{total % 100:02}"' in sample("stats", endpoint)


def test_the_sample_that_follows_sees_a_change(endpoint: str) -> None:
    command = [sys.executable, str(PYTHON / "samples" / "subscribe.py"), endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        watchdog = threading.Timer(30, following.kill)
        watchdog.start()
        try:
            assert following.stdout
            assert "ACC-0001" in following.stdout.readline()
            sample("ingest", endpoint)
            rest, _ = following.communicate(timeout=30)
        finally:
            watchdog.cancel()
            following.kill()
        assert following.returncode == 0
        assert "ACC-0001" in rest


def test_every_sample_is_run_by_a_test() -> None:
    names = {path.stem for path in (PYTHON / "samples").glob("*.py")}
    assert names == {"cache", "ingest", "explain", "history", "stats", "rebuild", "subscribe"}


def test_sync_calls_every_service(endpoint: str) -> None:
    with Client(ConnectOptions(endpoint)) as client:
        client.cache.set(SetRequest(key=b"k", value=b"v"))
        assert client.cache.get(GetRequest(key=b"k")).value == b"v"
        assert "transactions" in [one.name for one in client.ingest.list_streams(ListStreamsRequest()).streams]
        assert client.stats.list_stats(ListStatsRequest(stream="transactions")).stats[0].name == "account_total"
        ours = str(uuid.uuid4())
        client.rebuild.start_rebuild(StartRebuildRequest(request_id=ours, streams=["transactions"]))
        *_, last = client.rebuild.watch_rebuilds(WatchRebuildsRequest(request_id=ours), timeout_s=30)
        assert [(one.request_id, one.state) for one in last.rebuilds] == [(ours, REBUILD_STATE_DONE)]
        listed = client.rebuild.list_rebuilds(ListRebuildsRequest(stream="transactions")).rebuilds
        assert (listed[0].request_id, listed[0].state) == (ours, REBUILD_STATE_DONE)
        with pytest.raises(CallError) as refused:
            client.ingest.publish(PublishRequest(stream="no-such-stream"))
        assert refused.value.reason


async def test_aio_calls_and_streams(endpoint: str) -> None:
    async with AioClient(ConnectOptions(endpoint)) as client:
        await client.cache.set(SetRequest(key=b"a", value=b"v"))
        assert (await client.cache.get(GetRequest(key=b"a"))).value == b"v"
        ours = str(uuid.uuid4())
        await client.rebuild.start_rebuild(StartRebuildRequest(request_id=ours, streams=["transactions"]))
        async for told in client.rebuild.watch_rebuilds(WatchRebuildsRequest(request_id=ours), timeout_s=30):
            assert [one.request_id for one in told.rebuilds] == [ours]
        listed = (await client.rebuild.list_rebuilds(ListRebuildsRequest())).rebuilds
        assert [one.state for one in listed if one.request_id == ours] == [REBUILD_STATE_DONE]
        assert (await client.ingest.list_streams(ListStreamsRequest())).streams
        queries = [StatQuery(stream="transactions", stat="account_total", by="ACC-0001")]
        async for answer in client.stats.subscribe_stats(SubscribeStatsRequest(queries=queries), timeout_s=30):
            assert answer.results
            break
        with pytest.raises(CallError) as refused:
            await client.ingest.publish(PublishRequest(stream="no-such-stream"))
        assert refused.value.reason


async def test_a_platform_with_a_token_takes_that_alone() -> None:
    with platform(TOKEN) as endpoint:
        queries = [StatQuery(stream="transactions", stat="account_total", by="ACC-0001")]
        following = SubscribeStatsRequest(queries=queries)
        for wrong in (None, TOKEN + "x"):
            with Client(ConnectOptions(endpoint, token=wrong)) as client:
                with pytest.raises(CallError) as refused:
                    client.cache.get(GetRequest(key=b"k"))
                assert (refused.value.code, refused.value.reason) == (
                    grpc.StatusCode.UNAUTHENTICATED,
                    "UNAUTHENTICATED",
                )
                with pytest.raises(CallError) as refused:
                    next(client.stats.subscribe_stats(following, timeout_s=30))
                assert refused.value.code == grpc.StatusCode.UNAUTHENTICATED
        with Client(ConnectOptions(endpoint, token=TOKEN)) as client:
            client.cache.get(GetRequest(key=b"k"))
            assert next(client.stats.subscribe_stats(following, timeout_s=30)).results
        async with AioClient(ConnectOptions(endpoint, token=TOKEN)) as aio:
            await aio.cache.get(GetRequest(key=b"k"))
            async for answer in aio.stats.subscribe_stats(following, timeout_s=30):
                assert answer.results
                break
