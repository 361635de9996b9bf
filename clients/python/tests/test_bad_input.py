"""Whatever is wrong is said, with where it is and what to do, and the exit code tells."""

import json
import socket
import struct
from pathlib import Path

import pytest
from conftest import PROTO, Stream, run

from headwater.event.v1.transaction_pb2 import Transaction

GOOD = {
    "transaction_id": "t-1",
    "account_number": "ACC-0001",
    "transaction_reference": "rent",
    "transaction_datetime": "2026-01-02T03:04:05Z",
    "amount": 12.5,
}


def nobody() -> int:
    """A port where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def transaction(amount: float = 1.25, **fields: str) -> Transaction:
    """A valid transaction, but for what is given."""
    made = Transaction(transaction_id="t", account_number="ACC-0001", amount=amount)
    made.transaction_datetime.seconds = 1_700_000_000
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("program", ["produce", "consume"])
def test_a_broker_that_is_away_is_named(stream: Stream, program: str) -> None:
    address = f"127.0.0.1:{nobody()}"
    group = ["-g", "x"] if program == "consume" else []
    ended = run(program, "-b", address, "-s", stream.registry, "-t", stream.topic, *group, "--timeout", "1")
    assert ended.returncode == 3, ended.stderr
    assert f"the broker {address} does not answer" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("program", ["produce", "consume"])
def test_a_registry_that_is_away_is_named_without_its_password(stream: Stream, program: str) -> None:
    port = nobody()
    group = ["-g", "x"] if program == "consume" else []
    url = f"http://anna:secret@127.0.0.1:{port}"
    ended = run(program, "-b", stream.broker, "-s", url, "-t", stream.topic, *group, "--timeout", "1")
    assert ended.returncode == 3, ended.stderr
    assert f"the registry http://127.0.0.1:{port} does not answer" in ended.stderr
    assert "secret" not in ended.stderr


@pytest.mark.parametrize("program", ["produce", "consume"])
def test_a_wrong_topic_is_told_and_not_made(stream: Stream, program: str) -> None:
    group = ["-g", "x"] if program == "consume" else []
    wrong = stream.topic + "-wrong"
    arguments = ["-b", stream.broker, "-s", stream.registry, "-t", wrong, *group, "--timeout", "5"]
    ended = run(program, *arguments)
    assert ended.returncode == 3, ended.stderr
    assert f"has no subject '{wrong}-value'" in ended.stderr
    stream.register(PROTO, f"{wrong}-value")
    for _ in range(2):
        ended = run(program, *arguments)
        assert ended.returncode == 3, ended.stderr
        assert f"has no topic '{wrong}'" in ended.stderr


def test_a_subject_of_another_message_is_refused(stream: Stream) -> None:
    other = Stream(stream.broker, stream.registry, stream.topic + "-other")
    other.register('syntax = "proto3"; package other; message Transaction { string id = 1; }')
    ended = other.produce("--timeout", "5")
    assert ended.returncode == 3
    assert "holds no message headwater.event.v1.Transaction" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--count", "-1"], "-1 is negative"),
        (["--customers", "0"], "less than 1"),
        (["--rate", "nan"], "not a rate"),
        (["--timeout", "0"], "not a time"),
        (["-X", "nonsense"], "write it as name=value"),
        (["--property", "no.such.setting=1"], "no.such.setting"),
        (["--input", "missing.csv"], "missing.csv: cannot be read"),
    ],
)
def test_wrong_usage_is_2(stream: Stream, arguments: list[str], said: str) -> None:
    ended = stream.produce(*arguments)
    assert ended.returncode == 2, ended.stderr
    assert said in ended.stderr


@pytest.mark.parametrize(
    ("program", "missing"),
    [
        ("produce", ["-b/--broker", "-s/--schema-registry", "-t/--topic"]),
        ("consume", ["-b/--broker", "-s/--schema-registry", "-t/--topic", "-g/--group"]),
    ],
)
def test_all_that_is_missing_is_named_at_once(program: str, missing: list[str]) -> None:
    ended = run(program)
    assert ended.returncode == 2
    assert ended.stderr.rstrip().endswith(": " + ", ".join(missing))


def test_bad_lines_are_told_and_the_others_are_sent(stream: Stream, tmp_path: Path) -> None:
    bad: list[tuple[str, str]] = [
        ('{"account_number"', "is not JSON"),
        ("[1]", "not a JSON object"),
        (json.dumps({**GOOD, "transaction_id": ""}), "transaction_id: is missing"),
        (json.dumps({**GOOD, "account_number": "x" * 65}), "account_number: has 65 characters"),
        (json.dumps({**GOOD, "amount": "NaN"}), "amount: nan is not a finite number"),
        (json.dumps({**GOOD, "amount": "Infinity"}), "amount: inf is not a finite number"),
        (json.dumps({**GOOD, "amount": 0.001}), "amount: 0.001 has more than two decimals"),
        (json.dumps({**GOOD, "amount": "much"}), "amount: 'much' is not valid"),
        (json.dumps({**GOOD, "transaction_datetime": "today"}), "transaction_datetime: 'today' is not valid"),
        (json.dumps({**GOOD, "currency": "EUR"}), "currency: the contract has no such field"),
        (json.dumps({key: value for key, value in GOOD.items() if key != "transaction_datetime"}), "is missing"),
    ]
    lines = [json.dumps(GOOD)] + [line for line, _ in bad] + [json.dumps({**GOOD, "transaction_id": "t-2"})]
    (tmp_path / "in.ndjson").write_text("\n".join(lines) + "\n")
    ended = stream.produce("-i", str(tmp_path / "in.ndjson"), "--quiet", "--summary", str(tmp_path / "sent.json"))
    assert ended.returncode == 1
    said = ended.stderr.splitlines()
    assert len(said) == len(bad)
    for number, (line, (_, problem)) in enumerate(zip(said, bad, strict=True), start=2):
        assert line.startswith(f"line {number}: ")
        assert problem in line
    sent = json.loads((tmp_path / "sent.json").read_text())
    assert (sent["sent"], sent["refused"]) == (2, len(bad))


def test_csv_is_read_by_its_header(stream: Stream, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(
        "amount,transaction_id,account_number,transaction_datetime,transactionReference\n"
        '12.50,t-1,ACC-0001,2026-01-02T03:04:05Z,"rent, ""May""\n2026"\n'
        "1.234,t-2,ACC-0001,2026-01-02T03:04:05Z,\n"
        "-0.29,t-3,ACC-0001,2026-01-02T03:04:05Z,\n"
        "1,t-4\n"
        ",t-5,ACC-0001,2026-01-02T03:04:05Z,\n"
    )
    ended = stream.produce("-i", str(tmp_path / "in.csv"), "--quiet")
    assert ended.returncode == 1
    assert [line.split(": ")[:2] for line in ended.stderr.splitlines()] == [
        ["line 4", "amount"],
        ["line 6", "has 2 columns, the header has 5"],
        # In a table an empty cell is a mistake; JSON that leaves a number out says 0 (see below).
        ["line 7", "amount"],
    ]
    assert "line 7: amount: is missing" in ended.stderr
    read = stream.consume("--count", "2", "--idle-exit", "20")
    assert "(ACC-0001, 12.21)" in read.stdout
    (tmp_path / "in.csv").write_text("amount,currency\n1,EUR\n")
    ended = stream.produce("-i", str(tmp_path / "in.csv"))
    assert ended.returncode == 2
    assert "line 1: column 'currency': the contract has no such field" in ended.stderr


def test_json_without_an_amount_is_0(stream: Stream, tmp_path: Path) -> None:
    without = {key: value for key, value in GOOD.items() if key != "amount"}
    null = {**GOOD, "amount": None}
    (tmp_path / "in.ndjson").write_text("".join(json.dumps(one) + "\n" for one in (without, null)))
    ended = stream.produce("-i", str(tmp_path / "in.ndjson"))
    assert ended.returncode == 0, ended.stderr
    assert [(one.account_number, one.amount) for one in stream.read()] == [("ACC-0001", 0.0)] * 2


def test_records_that_cannot_be_counted_are_told_with_their_offset(stream: Stream, tmp_path: Path) -> None:
    schema_id = stream.register(PROTO)
    newer = PROTO.replace("double amount = 5;", "double amount = 5; string currency = 6;")
    newer_id = stream.register(newer)
    other_id = stream.register('syntax = "proto3"; package other; message O { string a = 1; }', f"{stream.topic}-o")

    def framed(body: bytes, of: int = schema_id, path: bytes = b"\0") -> bytes:
        return struct.pack(">bI", 0, of) + path + body

    good = transaction().SerializeToString()
    values: list[tuple[bytes | None, str | None]] = [
        (framed(good), None),
        (b"hello, world", "BAD_FRAME"),
        (None, "BAD_FRAME"),
        (b"", "BAD_FRAME"),
        (framed(good, path=b"\x01"), "BAD_FRAME"),
        (framed(good, of=2_000_000_000), "UNKNOWN_SCHEMA"),
        (framed(good, of=other_id), "WRONG_SCHEMA"),
        (framed(good, path=b"\x02\x02"), "WRONG_SCHEMA"),
        (framed(b"\x0a\xff"), "MALFORMED"),
        (framed(transaction(transaction_id="").SerializeToString()), "INVALID_FIELD"),
        (framed(transaction(float("nan")).SerializeToString()), "INVALID_FIELD"),
        (framed(transaction(0.001).SerializeToString()), "NOT_IN_SCALE"),
        (framed(good, path=b"\x02\x00"), None),
        (framed(good + b"\x32\x03EUR", of=newer_id), None),
    ]
    for value, _ in values:
        stream.send(value)
    until = ["--count", str(len(values)), "--idle-exit", "20"]
    ended = stream.consume(*until, "--summary", str(tmp_path / "read.json"))
    assert ended.returncode == 0, ended.stderr
    for offset, (_, reason) in enumerate(values):
        assert (f"skipped {stream.topic}[0]@{offset}: {reason}: " in ended.stderr) == (reason is not None), offset
    read = json.loads((tmp_path / "read.json").read_text())
    assert (read["records"], read["counted"], read["newer_fields"]) == (len(values), 3, 1)
    assert sum(read["skipped"].values()) == len(values) - 3
    assert read["sums"] == {"ACC-0001": "3.75"}
