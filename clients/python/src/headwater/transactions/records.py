"""Transactions out of a file: CSV or NDJSON."""

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

from google.protobuf.descriptor import FieldDescriptor

from headwater.event.v1.transaction_pb2 import Transaction
from headwater.transactions.failure import WrongUsage
from headwater.transactions.fields import FIELDS, Number, RefusedError, names, transaction_of
from headwater.transactions.rules import RuleBrokenError, checked_cents

LINE_BYTES_MAX = 1 << 20
_REQUIRED_HEADER = ("transaction_id", "account_number", "transaction_datetime", "amount")
_BLANK = " \t\r\n"
# What a row holds, or why it cannot be read.
_Row = list[tuple[str, object]] | RefusedError


class BadLineError(ValueError):
    """A line that is no transaction; the others are read on."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")


def read(name: str) -> Iterator[Transaction | BadLineError]:
    """The file's transactions in order, and what is wrong with the lines that are none. `-` is stdin, as NDJSON."""
    with _opened(name) as stream:
        rows = _csv_rows(stream, name) if name.lower().endswith(".csv") else _json_rows(stream)
        for line, row in rows:
            yield _transaction(line, row)


def _transaction(line: int, row: _Row) -> Transaction | BadLineError:
    try:
        if isinstance(row, RefusedError):
            raise row
        found = transaction_of(row)
        checked_cents(found)
    except (RefusedError, RuleBrokenError) as error:
        return BadLineError(line, str(error))
    return found


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        # Closed below: what its reader raises is not an error of opening.
        stream = Path(name).open("rb")  # noqa: SIM115
    except OSError as error:
        raise WrongUsage(f"--input {name}: cannot be read: {error.strerror}") from error
    with stream:
        yield stream


def _lines(stream: IO[bytes], bytes_max: int = -1) -> Iterator[bytes]:
    """With their ends. What is beyond a line's greatest length is left out."""
    mark = b"\xef\xbb\xbf"
    while line := stream.readline(bytes_max):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = stream.readline(bytes_max)
        yield line.removeprefix(mark)
        mark = b""


def _text(line: bytes) -> str:
    if len(line.removesuffix(b"\n")) > LINE_BYTES_MAX:
        raise RefusedError(f"is longer than {LINE_BYTES_MAX} bytes")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise RefusedError(f"is not UTF-8: {error.reason}") from error


class _Object(dict[str, object]):
    """Keeps a name that is there twice."""

    def __init__(self, members: list[tuple[str, object]]) -> None:
        super().__init__(members)
        self.members = members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"it has no {name}")


_JSON = json.JSONDecoder(object_pairs_hook=_Object, parse_int=Number, parse_float=Number, parse_constant=_no_constant)


def _json_rows(stream: IO[bytes]) -> Iterator[tuple[int, _Row]]:
    for number, line in enumerate(_lines(stream, LINE_BYTES_MAX + 2), 1):
        if line.strip(_BLANK.encode()):
            try:
                yield number, _json_row(_text(line))
            except RefusedError as error:
                yield number, error


def _json_row(line: str) -> _Row:
    try:
        value = _JSON.decode(line)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"is not JSON: {getattr(error, 'msg', error)}") from error
    if not isinstance(value, _Object):
        raise RefusedError("is not a JSON object: write one transaction a line")
    return value.members


def _csv_rows(stream: IO[bytes], name: str) -> Iterator[tuple[int, _Row]]:
    records = _csv_records(stream)
    number, header = next(records, (1, []))
    try:
        if isinstance(header, RefusedError):
            raise header
        _check_header(header if number == 1 else [])
    except RefusedError as error:
        raise WrongUsage(f"--input {name}: line 1: {error}") from error
    for number, cells in records:
        if isinstance(cells, RefusedError):
            yield number, cells
        elif len(cells) != len(header):
            yield number, RefusedError(f"has {len(cells)} columns, the header has {len(header)}")
        else:
            yield number, _csv_row(header, cells)


def _csv_records(stream: IO[bytes]) -> Iterator[tuple[int, list[str] | RefusedError]]:
    """Cells by the number of the line that they begin on: within quotes they may span lines. Without blank lines."""
    taken: list[bytes] = []

    def texts() -> Iterator[str]:
        for line in _lines(stream):
            taken.append(line)
            yield line.decode(errors="surrogateescape")

    # A cell that is too long is read to its end: what is within its quotes is no row.
    csv.field_size_limit(sys.maxsize)
    rows = csv.reader(texts(), strict=True)
    while True:
        number = rows.line_num + 1
        taken.clear()
        try:
            cells: list[str] | RefusedError = next(rows, [])
        except csv.Error as error:
            cells = RefusedError(f"is not CSV: {error}")
        if not taken:
            return
        try:
            text = _text(b"".join(taken))
        except RefusedError as error:
            yield number, error
            continue
        if not text.strip(_BLANK):
            continue
        # The library would take any count of them for the end.
        if text.removesuffix("\n").endswith("\r\r"):
            cells = RefusedError("is not CSV: there is a carriage return within a line")
        yield number, cells


def _check_header(header: list[str]) -> None:
    if not header:
        raise RefusedError(f"the header is missing; name the columns after {names()}")
    columns: list[str] = []
    for column in header:
        if column not in FIELDS:
            raise RefusedError(f"column '{column}': the contract has no such field; it has {names()}")
        # A field's two spellings are one column.
        if FIELDS[column].name in columns:
            raise RefusedError(f"column '{column}': is there twice")
        columns.append(FIELDS[column].name)
    for field in _REQUIRED_HEADER:
        if field not in columns:
            raise RefusedError(f"{field}: the column is missing")


def _csv_row(header: list[str], cells: list[str]) -> _Row:
    row: list[tuple[str, object]] = []
    for column, cell in zip(header, cells, strict=True):
        field = FIELDS[column]
        if cell:
            truth = field.cpp_type == FieldDescriptor.CPPTYPE_BOOL and cell in ("true", "false")
            row.append((column, cell == "true" if truth else cell))
        # An empty cell is an absent field; but in a table an amount that nobody wrote is a mistake.
        elif field.name == "amount":
            return RefusedError("amount: is missing; give a number with at most two decimals")
    return row
