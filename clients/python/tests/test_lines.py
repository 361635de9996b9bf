"""The lines that every language reads alike, or refuses (tests/conformance/vectors/lines.json)."""

from pathlib import Path
from typing import Any

import pytest
from test_vectors import load

from headwater.transactions import records
from headwater.transactions.failure import WrongUsage
from headwater.transactions.rules import checked_cents

LINES = load("lines")


def written(one: dict[str, Any], what: str) -> bytes:
    """The line's or row's bytes."""
    return bytes.fromhex(one[f"{what}_hex"]) if f"{what}_hex" in one else str(one[what]).encode()


def the_one(file: Path, content: bytes, line: int) -> dict[str, Any] | str:
    """What the file's only transaction means, or why it is refused."""
    file.write_bytes(content)
    (found,) = records.read(str(file))
    if isinstance(found, records.BadLineError):
        number, problem = str(found).removeprefix("line ").split(": ", 1)
        assert int(number) == line
        return problem
    return {
        "transaction_id": found.transaction_id,
        "account_number": found.account_number,
        "transaction_reference": found.transaction_reference,
        "seconds": found.transaction_datetime.seconds,
        "nanos": found.transaction_datetime.nanos,
        "cents": checked_cents(found),
    }


def check(one: dict[str, Any], found: dict[str, Any] | str) -> None:
    """Compares with the vector."""
    if "means" in one:
        assert found == one["means"]
    else:
        assert isinstance(found, str), found
        assert found.startswith(one["refused"])


@pytest.mark.parametrize("one", LINES["ndjson"], ids=lambda one: one["name"])
def test_a_line_of_json(one: dict[str, Any], tmp_path: Path) -> None:
    check(one, the_one(tmp_path / "in.ndjson", written(one, "line"), 1))


@pytest.mark.parametrize("one", LINES["csv"], ids=lambda one: one["name"])
def test_a_row_of_csv(one: dict[str, Any], tmp_path: Path) -> None:
    content = LINES["csv_header"].encode() + b"\n" + written(one, "row")
    check(one, the_one(tmp_path / "in.csv", content, 2))


@pytest.mark.parametrize("one", LINES["headers"], ids=lambda one: one["name"])
def test_a_header_that_is_none(one: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(one["header"] + "\nt,A,2026-11-21T10:00:00Z,1,\n" if one["header"] else "")
    with pytest.raises(WrongUsage, match=one["says"]):
        list(records.read(str(tmp_path / "in.csv")))


def test_lines_are_numbered_and_one_that_is_too_long_spoils_no_other(tmp_path: Path) -> None:
    good, longest = LINES["ndjson"][0]["line"], records.LINE_BYTES_MAX
    row = "t,A,2026-11-21T10:00:00Z,1,"
    rows = [LINES["csv_header"], row + "x" * longest, " \t", row + '"a\n' + "\n" * longest + '"', row]
    lines = ["\ufeff" + good, " \t\r", good + " " * longest, good + " " * (longest - len(good)), good]
    for name, made, bad in [("in.ndjson", lines, [3]), ("in.csv", rows, [2, 4])]:
        (tmp_path / name).write_bytes("\n".join(made).encode())
        found = [str(one) for one in records.read(str(tmp_path / name)) if isinstance(one, records.BadLineError)]
        assert found == [f"line {number}: is longer than {longest} bytes" for number in bad], name
