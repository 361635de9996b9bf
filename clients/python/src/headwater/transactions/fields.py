"""A transaction of named values, as ProtoJSON has them. What a value is, is looked at before the library reads it,
which takes `true` for 1 and `1_000` for 1000. Fields are found by the message's descriptor, so that one which the
contract gains needs nothing new here.
"""

import json
import math
import re
from collections.abc import Iterable
from datetime import datetime

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from headwater.event.v1.transaction_pb2 import Transaction

# By both spellings.
FIELDS = {name: field for field in Transaction.DESCRIPTOR.fields for name in (field.name, field.json_name)}
_DOUBLES = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)


class RefusedError(ValueError):
    """What is wrong with a line; it begins with the field, where it is one's."""


class Number(str):
    """A number of JSON, as it is written."""

    __slots__ = ()
    __repr__ = str.__str__


def names() -> str:
    """Of the contract's fields, for people."""
    return ", ".join(field.name for field in Transaction.DESCRIPTOR.fields)


def transaction_of(given: Iterable[tuple[str, object]]) -> Transaction:
    """The transaction of fields by either spelling of their names; None is a field that is not there."""
    values: dict[str, object] = {}
    for name, value in given:
        field = FIELDS.get(name)
        if field is None:
            raise RefusedError(f"{name}: the contract has no such field; it has {names()}")
        if field.name in values:
            raise RefusedError(f"{field.name}: is there twice")
        values[field.name] = value if value is None or field.is_repeated else _checked(field, value)
    whole = Transaction()
    for name, value in values.items():
        if value is not None:
            try:
                json_format.ParseDict({name: value}, whole, max_recursion_depth=20)
            except (json_format.ParseError, ValueError, TypeError, OverflowError) as error:
                raise RefusedError(f"{name}: {value!r} is not valid: {error}") from error
    return whole


def _checked(field: FieldDescriptor, value: object) -> object:
    """The value as the library is to read it."""
    text = value if isinstance(value, str) and not isinstance(value, Number) else None
    wrong = None
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        wrong = _no_text(text)
    elif field.message_type is not None and field.message_type.full_name == Timestamp.DESCRIPTOR.full_name:
        wrong = None if text is not None and _is_time(text) else "write a time as 2026-01-02T03:04:05Z"
    elif field.cpp_type in _DOUBLES and value not in _NOT_FINITE:
        number = float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None
        if number is not None and math.isfinite(number):
            return number
        wrong = "it is no number" if number is None else "it is too great"
    elif isinstance(value, Number):
        return json.loads(value)
    if wrong:
        raise RefusedError(f"{field.name}: {value!r} is not valid: {wrong}")
    return value


def _no_text(text: str | None) -> str | None:
    if text is None:
        return "it is no text"
    return None if text.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in text) else "half a character"


def _is_time(text: str) -> bool:
    parts = _TIME.fullmatch(text)
    try:
        return parts is not None and bool(datetime.fromisoformat(parts[1]))
    except ValueError:
        return False
