"""Transactions out of a file: CSV or NDJSON. Fields are found by the message's descriptor, so that one which the
contract gains needs nothing new here.
"""

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor

from headwater.event.v1.transaction_pb2 import Transaction
from headwater.transactions.failure import WrongUsage
from headwater.transactions.rules import RuleBrokenError, checked_cents

LINE_CHARS_MAX = 1 << 20
_FIELDS = {name: field for field in Transaction.DESCRIPTOR.fields for name in (field.name, field.json_name)}
_NUMBERS = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)
_REQUIRED_HEADER = ("transaction_id", "account_number", "transaction_datetime", "amount")


class BadLineError(ValueError):
    """A line that is no transaction; the others are read on."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")


def read(name: str) -> Iterator[Transaction | BadLineError]:
    """The file's transactions in order, and what is wrong with the lines that are none. `-` is stdin, as NDJSON."""
    with _opened(name) as stream:
        lines = _csv_lines(stream, name) if name.lower().endswith(".csv") else _json_lines(stream)
        try:
            for line, found in lines:
                yield _checked(line, found)
        except UnicodeDecodeError as error:
            raise WrongUsage(f"--input {name}: is not UTF-8: {error.reason}") from error


def _checked(line: int, found: Transaction | str) -> Transaction | BadLineError:
    if isinstance(found, str):
        return BadLineError(line, found)
    try:
        checked_cents(found)
    except RuleBrokenError as error:
        return BadLineError(line, str(error))
    return found


@contextmanager
def _opened(name: str) -> Iterator[IO[str]]:
    if name == "-":
        yield sys.stdin
        return
    try:
        # Closed below: what its reader raises is not an error of opening.
        stream = Path(name).open(encoding="utf-8-sig", errors="surrogateescape", newline="")  # noqa: SIM115
    except OSError as error:
        raise WrongUsage(f"--input {name}: cannot be read: {error.strerror}") from error
    with stream:
        yield stream


def _json_lines(stream: IO[str]) -> Iterator[tuple[int, Transaction | str]]:
    number = 0
    while line := stream.readline(LINE_CHARS_MAX + 1):
        number += 1
        if len(line) > LINE_CHARS_MAX:
            while line and not line.endswith("\n"):
                line = stream.readline(LINE_CHARS_MAX)
            yield number, f"has more than {LINE_CHARS_MAX} characters"
        elif line.strip():
            yield number, _of_json(line)


def _of_json(line: str) -> Transaction | str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"is not JSON: {getattr(error, 'msg', error)}"
    if not isinstance(value, dict):
        return "is not a JSON object: write one transaction a line"
    return _of_fields(value)


def _of_fields(value: dict[str, object]) -> Transaction | str:
    unknown = [name for name in value if name not in _FIELDS]
    if unknown:
        return f"{', '.join(unknown)}: the contract has no such field; it has {_names()}"
    try:
        return json_format.ParseDict(value, Transaction(), max_recursion_depth=20)
    except (json_format.ParseError, ValueError, TypeError, OverflowError) as error:
        # Which field it is, where the library does not say so first.
        for name, part in value.items():
            try:
                json_format.ParseDict({name: part}, Transaction())
            except (json_format.ParseError, ValueError, TypeError, OverflowError):
                return f"{_FIELDS[name].name}: {part!r} is not valid: {error}"
        return f"is no transaction: {error}"


def _csv_lines(stream: IO[str], name: str) -> Iterator[tuple[int, Transaction | str]]:
    csv.field_size_limit(LINE_CHARS_MAX)
    rows = csv.reader(stream, strict=True)
    header = next(rows, None)
    if not header:
        raise WrongUsage(f"--input {name}: line 1: the header is missing; name the columns after {_names()}")
    for column in header:
        if column not in _FIELDS or header.count(column) > 1:
            problem = "twice" if column in _FIELDS else f"the contract has no such field; it has {_names()}"
            raise WrongUsage(f"--input {name}: line 1: column '{column}': {problem}")
    # A field's two spellings are one column.
    numbers = [_FIELDS[column].number for column in header]
    if len(set(numbers)) < len(numbers):
        raise WrongUsage(f"--input {name}: line 1: a field is named by two columns")
    for field in _REQUIRED_HEADER:
        if _FIELDS[field].number not in numbers:
            raise WrongUsage(f"--input {name}: line 1: {field}: the column is missing")
    while True:
        # A row may span lines within quotes: it is named by its first.
        number = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield number, f"is not CSV: {error}"
            continue
        if row is None:
            return
        if row:
            yield number, _of_row(header, row)


def _of_row(header: list[str], row: list[str]) -> Transaction | str:
    if len(row) != len(header):
        return f"has {len(row)} columns, the header has {len(header)}"
    value: dict[str, object] = {}
    for column, cell in zip(header, row, strict=True):
        field = _FIELDS[column]
        # An empty cell is an absent field.
        if not cell:
            continue
        if field.cpp_type in _NUMBERS:
            try:
                value[column] = float(cell)
            except ValueError:
                return f"{field.name}: '{cell}' is not a number"
        elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            value[column] = {"true": True, "false": False}.get(cell.lower(), cell)
        else:
            value[column] = cell
    if not any(_FIELDS[column].name == "amount" for column in value):
        return "amount: is missing; give a number with at most two decimals"
    return _of_fields(value)


def _names() -> str:
    return ", ".join(field.name for field in Transaction.DESCRIPTOR.fields)
