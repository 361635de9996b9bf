"""A transaction of named values, as ProtoJSON has them. What a value is, is looked at here: the library
would take `true` for 1 and `1_000` for 1000. Fields are found by the message's descriptor, so that one which the
contract gains needs nothing new here.
"""

import json
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from headwater.event.v1.transaction_pb2 import Transaction

# By both spellings.
FIELDS = {name: field for field in Transaction.DESCRIPTOR.fields for name in (field.name, field.json_name)}
_DOUBLES = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")
_TIME = re.compile(
    r"(?P<whole>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.(?P<decimals>[0-9]{1,9}))?"
    r"(?P<zone>Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    whole = Transaction()
    seen = set()
    for name, value in given:
        field = FIELDS.get(name)
        if field is None:
            raise RefusedError(f"{name}: the contract has no such field; it has {names()}")
        if field.number in seen:
            raise RefusedError(f"{field.name}: is there twice")
        seen.add(field.number)
        if value is not None:
            try:
                _put(whole, field, value)
            except (json_format.ParseError, ValueError, TypeError, OverflowError) as error:
                raise RefusedError(f"{field.name}: {value!r} is not valid: {error}") from error
    return whole


def _put(whole: Transaction, field: FieldDescriptor, value: object) -> None:
    kind = None if field.is_repeated else field.type
    if kind == FieldDescriptor.TYPE_STRING:
        # Half a character is refused by the message.
        setattr(whole, field.name, _text(value))
        return
    number = _number(value) if kind in _DOUBLES else None
    if kind == FieldDescriptor.TYPE_DOUBLE:
        setattr(whole, field.name, number)
    elif kind == FieldDescriptor.TYPE_MESSAGE and isinstance(time := getattr(whole, field.name), Timestamp):
        _set_time(time, _text(value))
    else:
        plain = json.loads(value) if isinstance(value, Number) else value
        json_format.ParseDict({field.name: plain}, whole, max_recursion_depth=20)


def _text(value: object) -> str:
    if not isinstance(value, str) or isinstance(value, Number):
        raise ValueError("it is no text")
    return value


def _number(value: object) -> float:
    if not isinstance(value, str) or not (_NUMBER.fullmatch(value) or value in _NOT_FINITE):
        raise ValueError("it is no number")
    number = float(value)
    if math.isinf(number) and value not in _NOT_FINITE:
        raise ValueError("it is too great")
    return number


def _set_time(time: Timestamp, text: str) -> None:
    parts = _TIME.fullmatch(text)
    if not parts:
        raise ValueError("write a time as 2026-01-02T03:04:05Z")
    since = datetime.fromisoformat(parts["whole"] + parts["zone"]) - _EPOCH
    time.FromSeconds(since.days * 86_400 + since.seconds)
    time.nanos = int((parts["decimals"] or "").ljust(9, "0"))
