"""How the programs are begun, paced and ended."""

import json
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from conftest import Stream, program
from test_bad_input import GOOD
from test_state import sums

from headwater.transactions.made_up import made_up

RUN_MAX_S = 60
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@contextmanager
def running(name: str, *arguments: str, stdin: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """A program that is ended at the end, whatever happens."""
    command = [program(name), *arguments]
    with subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        # Ends what waits for a line that does not come.
        watchdog = threading.Timer(RUN_MAX_S, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def out(stream: IO[str] | None) -> IO[str]:
    """A pipe that is there."""
    assert stream is not None
    return stream


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """The rest of what it says."""
    return process.communicate(timeout=30)


@SIGNALS
def test_a_stopped_producer_has_sent_what_it_says(stream: Stream, tmp_path: Path, number: signal.Signals) -> None:
    summary = tmp_path / "sent.json"
    arguments = ["--count", "1000000", "--rate", "500", "--summary", str(summary)]
    with running("produce", *stream.produce_arguments(), *arguments) as process:
        assert "acknowledged" in out(process.stderr).readline()
        process.send_signal(number)
        _, said = ended(process)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    sent = json.loads(summary.read_text())["sent"]
    assert 100 < sent < 1_000_000
    assert len(stream.read()) == sent


def test_a_producer_that_waits_for_a_line_is_stopped(stream: Stream, tmp_path: Path) -> None:
    summary = tmp_path / "sent.json"
    arguments = ["-i", "-", "--summary", str(summary)]
    with running("produce", *stream.produce_arguments(), *arguments, stdin=subprocess.PIPE) as process:
        lines = out(process.stdin)
        lines.write("no json\n" + json.dumps(GOOD) + "\n")
        lines.flush()
        assert out(process.stderr).readline().startswith("line 1: ")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 1
        assert "Traceback" not in out(process.stderr).read()
    summed = json.loads(summary.read_text())
    assert summed["refused"] == 1
    assert len(stream.read()) == summed["sent"] <= 1


@pytest.mark.parametrize(("number", "with_state"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_a_stopped_consumer_goes_on_where_it_was(
    stream: Stream, tmp_path: Path, number: signal.Signals, with_state: bool
) -> None:
    state = ["--state", str(tmp_path / "s.db")] if with_state else []
    assert stream.produce("--count", "300", "--quiet").returncode == 0
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    with running("consume", *stream.consume_arguments(), *state, "--summary", str(first)) as process:
        for _ in range(300):
            assert out(process.stdout).readline().startswith("(ACC-")
        process.send_signal(number)
        printed, said = ended(process)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert printed.splitlines()[0].split() == ["account", "count", "sum"]
    counted = json.loads(first.read_text())
    assert counted["counted"] == 300
    if with_state:
        assert sum(count for _, count in sums(tmp_path / "s.db").values()) == 300
    assert stream.produce("--count", "50", "--quiet").returncode == 0
    again = stream.consume(*state, "--count", "50", "--idle-exit", "10", "--quiet", "--summary", str(second))
    assert again.returncode == 0, again.stderr
    assert json.loads(second.read_text())["counted"] == 50


@pytest.mark.parametrize("with_state", [False, True])
def test_from_latest_counts_only_what_comes(stream: Stream, tmp_path: Path, with_state: bool) -> None:
    (tmp_path / "old.ndjson").write_text(json.dumps({**GOOD, "account_number": "OLD"}) + "\n")
    assert stream.produce("-i", str(tmp_path / "old.ndjson"), "--quiet").returncode == 0
    state = ["--state", str(tmp_path / "s.db")] if with_state else []
    summary = tmp_path / "read.json"
    arguments = ["--from", "latest", "--count", "20", "--idle-exit", "20", "--quiet", "--summary", str(summary)]
    with (
        running("consume", *stream.consume_arguments(), *state, *arguments) as consumer,
        # New ones come until it has some: when it begins to listen is not seen from here.
        running("produce", *stream.produce_arguments(), "--count", "100000", "--rate", "200", "--quiet") as producer,
    ):
        _, said = ended(consumer)
        producer.send_signal(signal.SIGTERM)
        ended(producer)
    assert consumer.returncode == 0, said
    read = json.loads(summary.read_text())
    assert read["counted"] == 20
    assert "OLD" not in read["sums"]


def test_the_rate_is_kept(stream: Stream, tmp_path: Path) -> None:
    summary = tmp_path / "sent.json"
    assert stream.produce("--count", "101", "--rate", "100", "--summary", str(summary)).returncode == 0
    sent = json.loads(summary.read_text())
    assert sent["sent"] == 101
    # The last one is due after a second.
    assert sent["seconds"] >= 1.0


def test_the_same_seed_makes_the_same_transactions(stream: Stream) -> None:
    def shown(seed: int) -> list[tuple[str, str, float]]:
        return [(one.account_number, one.transaction_reference, one.amount) for one in made_up(200, 20, seed)]

    assert shown(7) == shown(7) != shown(8)
    for _ in range(2):
        assert stream.produce("--count", "200", "--seed", "7", "--quiet").returncode == 0
    found = stream.read()
    assert Counter((one.account_number, one.transaction_reference, one.amount) for one in found) == Counter(
        shown(7) * 2
    )
    assert len({one.transaction_id for one in found}) == 400


def test_what_is_made_up_has_every_account(stream: Stream) -> None:
    assert stream.produce("--count", "33", "--customers", "33", "--quiet").returncode == 0
    assert len({one.account_number for one in stream.read()}) == 33
