"""The broker goes in mid-run: bounded where it stays away, nothing lost or counted twice where it comes back."""

import json
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Stream
from proxies import BrokerProxy
from test_flags import ended, out, running
from test_state import sums, wait_for

from headwater.transactions import consumer
from headwater.transactions.consumer import TransactionConsumer
from headwater.transactions.failure import Failure
from headwater.transactions.kafka import bounded

# A group is left only once nobody has answered for so long.
SHORT_SESSION = ("-X", "session.timeout.ms=1500", "-X", "heartbeat.interval.ms=300")


@pytest.fixture
def proxy(stream: Stream) -> Iterator[BrokerProxy]:
    """Before the real broker."""
    made = BrokerProxy(stream.broker)
    yield made
    made.cut()


@pytest.fixture
def through(stream: Stream, proxy: BrokerProxy) -> Stream:
    """The same topic, by way of the proxy."""
    return Stream(proxy.address, stream.registry, stream.topic)


def test_a_producer_ends_where_it_stays_away(
    stream: Stream, through: Stream, proxy: BrokerProxy, tmp_path: Path
) -> None:
    summary = tmp_path / "sent.json"
    arguments = ["--count", "1000000", "--rate", "200", "--timeout", "2", "--summary", str(summary)]
    with running("produce", *through.produce_arguments(), *arguments) as process:
        assert "acknowledged" in out(process.stderr).readline()
        proxy.cut()
        _, said = ended(process)
    assert process.returncode == 3, said
    assert f"the broker {proxy.address} did not take" in said
    assert "Traceback" not in said
    sent = json.loads(summary.read_text())["sent"]
    # What was under way when it went may be there without being acknowledged.
    assert 100 < sent <= len(stream.read())


def test_a_producer_goes_on_where_it_comes_back(
    stream: Stream, through: Stream, proxy: BrokerProxy, tmp_path: Path
) -> None:
    summary = tmp_path / "sent.json"
    arguments = ["--count", "800", "--rate", "400", "--summary", str(summary)]
    with running("produce", *through.produce_arguments(), *arguments) as process:
        assert "acknowledged" in out(process.stderr).readline()
        proxy.cut()
        # It has gone on meanwhile, to nobody.
        assert "acknowledged" in out(process.stderr).readline()
        proxy.restore()
        _, said = ended(process)
    assert process.returncode == 0, said
    assert json.loads(summary.read_text())["sent"] == 800
    ids = [one.transaction_id for one in stream.read()]
    assert len(ids) == len(set(ids)) == 800


def test_a_second_signal_ends_at_once(through: Stream, proxy: BrokerProxy) -> None:
    with running("produce", *through.produce_arguments(), "--count", "1000000", "--rate", "200") as process:
        assert "acknowledged" in out(process.stderr).readline()
        proxy.cut()
        assert "acknowledged" in out(process.stderr).readline()
        process.send_signal(signal.SIGINT)
        # It waits for the broker now, and the system ends it by the next one.
        status = Path(f"/proc/{process.pid}/status")
        deadline = time.monotonic() + 10
        while re.search(r"SigCgt:\s*[\da-f]*[2367abef]\n", status.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=5)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in said


def test_a_consumer_ends_where_it_stays_away(
    stream: Stream, through: Stream, proxy: BrokerProxy, tmp_path: Path
) -> None:
    assert stream.produce("--count", "200", "--quiet").returncode == 0
    state, summary = tmp_path / "s.db", tmp_path / "read.json"
    arguments = ["--timeout", "1", "--state", str(state), "--summary", str(summary), *SHORT_SESSION]
    with running("consume", *through.consume_arguments(), *arguments) as process:
        for _ in range(200):
            assert out(process.stdout).readline().startswith("(ACC-")
        proxy.cut()
        printed, said = ended(process)
    assert process.returncode == 3, said
    assert f"the broker {proxy.address} does not answer" in said
    assert "Traceback" not in said
    # What was counted is shown all the same.
    assert printed.splitlines()[-1].split()[:2] == ["total", "200"]
    assert json.loads(summary.read_text())["counted"] == 200
    assert sum(count for _, count in sums(state).values()) == 200


def test_a_consumer_without_state_says_that_kafka_does_not_know(
    stream: Stream, through: Stream, proxy: BrokerProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stream.produce("--count", "50", "--quiet").returncode == 0
    monkeypatch.setattr(consumer, "_COMMIT_EVERY_S", 1e9)
    made = TransactionConsumer(through.broker, through.registry, through.topic, f"{through.topic}-sums", timeout_s=3)
    while made.tally.counted < 50:
        made.step()
    proxy.cut()
    made.close()
    with pytest.raises(Failure, match=f"the offsets of '{through.topic}' could not be committed"):
        made.raise_failure()


def test_a_consumer_counts_each_record_once_where_it_comes_back(
    stream: Stream, through: Stream, proxy: BrokerProxy, tmp_path: Path
) -> None:
    state, summary = tmp_path / "s.db", tmp_path / "whole.json"
    # Small fetches: it is in the midst of the records when it is cut off.
    arguments = ["--state", str(state), "--quiet", "-X", "fetch.message.max.bytes=2000", "-X", "queued.min.messages=10"]
    assert stream.produce("--count", "3000", "--quiet").returncode == 0
    with running("consume", *through.consume_arguments(), *arguments) as process:
        wait_for(state, 100)
        proxy.cut()
        assert stream.produce("--count", "500", "--quiet").returncode == 0
        proxy.restore()
        wait_for(state, 3500)
        process.send_signal(signal.SIGINT)
        _, said = ended(process)
    assert process.returncode == 0, said
    whole = stream.consume("--count", "3500", "--idle-exit", "20", "--quiet", "--summary", str(summary), group="alone")
    assert whole.returncode == 0
    expected = json.loads(summary.read_text())
    assert sum(count for _, count in sums(state).values()) == expected["counted"] == 3500
    assert {account: f"{cents / 100:.2f}" for account, (cents, _) in sums(state).items()} == expected["sums"]


def test_what_waits_for_ever_is_left_behind() -> None:
    never = threading.Event()
    try:
        assert not bounded(never.wait, 0.05)
    finally:
        never.set()
    assert bounded(never.wait, 30)
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 // 0, 30)
