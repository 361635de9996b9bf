"""With a state file nothing is lost or counted twice, whatever happens to the members."""

import json
import sqlite3
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # its __init__ imports it for others
from conftest import Stream, program

from headwater.transactions.failure import Failure
from headwater.transactions.state import FencedError, State


def sums(path: Path) -> dict[str, tuple[int, int]]:
    """What the file says, read by SQLite itself."""
    with sqlite3.connect(path) as db:
        return {a: (int(u), int(c)) for a, u, c in db.execute("SELECT account, units, count FROM sums")}


def test_a_batch_is_counted_once(tmp_path: Path) -> None:
    state = State(str(tmp_path / "s.db"), "g", "t")
    other = State(str(tmp_path / "s.db"), "g", "t")
    assert state.state_id == other.state_id
    state.begin(0, 5)
    other.begin(0, 0)
    assert other.next_offset(0) == 5
    assert state.add({"a": (250, 2)}, {0: (5, 7)}) == {"a": (250, 2)}
    with pytest.raises(FencedError):
        other.add({"a": (250, 2)}, {0: (5, 7)})
    assert other.add({"a": (1 << 70, 1)}, {0: (7, 8)}) == {"a": (250 + (1 << 70), 3)}
    assert State(str(tmp_path / "s.db"), "g", "other").sums() == {}


def test_a_file_that_is_no_state_is_told(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"x" * 8192)
    with pytest.raises(Failure, match="see that it is a state file"):
        State(str(tmp_path / "s.db"), "g", "t")


def test_members_may_make_the_file_at_once(tmp_path: Path) -> None:
    def members(file: Path) -> list[str]:
        begin = threading.Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            ids = [pool.submit(lambda: (begin.wait(), State(str(file), "g", "t").state_id)[1]) for _ in range(4)]
        return [one.result() for one in ids]

    for number in range(50):
        assert len(set(members(tmp_path / f"{number}.sqlite3"))) == 1


def test_it_goes_on_where_it_stopped(stream: Stream, tmp_path: Path) -> None:
    state = ["--state", str(tmp_path / "s.db"), "--quiet"]
    assert stream.produce("--count", "1000", "--quiet").returncode == 0
    first = stream.consume(*state, "--count", "300")
    assert first.returncode == 0, first.stderr
    assert sum(count for _, count in sums(tmp_path / "s.db").values()) == 300
    second = stream.consume(*state, "--idle-exit", "3", "--summary", str(tmp_path / "b.json"))
    read = json.loads((tmp_path / "b.json").read_text())
    assert read["counted"] == 700, second.stderr
    whole = stream.consume("--idle-exit", "3", "--quiet", "--summary", str(tmp_path / "c.json"), group="alone")
    assert whole.returncode == 0
    assert read["sums"] == json.loads((tmp_path / "c.json").read_text())["sums"]


def test_members_that_are_killed_count_nothing_twice(stream: Stream, tmp_path: Path) -> None:
    state = tmp_path / "s.db"
    command = [program("consume"), *stream.consume_arguments(), "--state", str(state), "--quiet", "--timeout", "10"]
    producer = subprocess.Popen(
        [
            *(program("produce"), "-b", stream.broker, "-s", stream.registry, "-t", stream.topic),
            *("--count", "8000", "--rate", "2000", "--quiet"),
        ]
    )
    members = [subprocess.Popen(command) for _ in range(2)]
    try:
        wait_for(state, 1500)
        members[0].kill()
        members[0].wait()
        # Takes part of the partitions while the killed one is still a member to the broker.
        members[0] = subprocess.Popen(command)
        wait_for(state, 3000)
        members[1].terminate()
        assert members[1].wait(20) == 0
        assert producer.wait(30) == 0
        wait_for(state, 8000)
        time.sleep(0.5)
    finally:
        for process in [*members, producer]:
            process.kill()
            process.wait()
    whole = stream.consume("--idle-exit", "3", "--quiet", "--summary", str(tmp_path / "c.json"), group="alone")
    assert whole.returncode == 0
    expected = json.loads((tmp_path / "c.json").read_text())
    assert expected["counted"] == 8000
    assert {account: Decimal(cents) / 100 for account, (cents, _) in sums(state).items()} == {
        account: Decimal(text) for account, text in expected["sums"].items()
    }
    assert sum(count for _, count in sums(state).values()) == 8000


def wait_for(state: Path, count: int, timeout_s: float = 30) -> None:
    """Waits until so many records are in the file."""
    deadline = time.monotonic() + timeout_s
    found = 0
    while time.monotonic() < deadline:
        try:
            found = sum(one for _, one in sums(state).values())
        except sqlite3.OperationalError:
            found = 0
        if found >= count:
            return
        time.sleep(0.05)
    pytest.fail(f"{found} of {count} records are counted after {timeout_s} s")


def test_another_states_group_is_refused(stream: Stream, tmp_path: Path) -> None:
    assert stream.produce("--count", "100", "--quiet").returncode == 0
    assert stream.consume("--state", str(tmp_path / "a.db"), "--count", "100").returncode == 0
    ended = stream.consume("--state", str(tmp_path / "b.db"), "--idle-exit", "20")
    assert ended.returncode == 3, ended.stderr
    assert "with another state" in ended.stderr


def test_an_offset_outside_the_log_stops(stream: Stream, tmp_path: Path) -> None:
    state = ["--state", str(tmp_path / "s.db"), "--quiet"]
    assert stream.produce("--count", "40", "--quiet").returncode == 0
    assert stream.consume(*state, "--count", "10").returncode == 0
    assert stream.produce("--count", "400", "--quiet").returncode == 0
    admin = AdminClient({"bootstrap.servers": stream.broker})
    partitions = [TopicPartition(stream.topic, number) for number in range(4)]
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # its stubs leave it out
    ends = admin.list_offsets(dict.fromkeys(partitions, latest))
    removed = [TopicPartition(one.topic, one.partition, future.result(10).offset) for one, future in ends.items()]
    for future in admin.delete_records(removed).values():
        future.result(10)
    ended = stream.consume(*state, "--idle-exit", "3")
    assert ended.returncode == 3, ended.stderr
    assert "the state's offset is outside the log" in ended.stderr
