"""A batch's records side by side: what all of them keep is asked of a column at once, not of each record."""

from collections import Counter
from collections.abc import Sequence, Set
from itertools import repeat
from typing import NamedTuple, cast

from google.protobuf.message import DecodeError

from headwater.event.v1.transaction_pb2 import Transaction
from headwater.transactions.reader import PREFIX_BYTES
from headwater.transactions.rules import all_cents


class Columns(NamedTuple):
    """Of each transaction that counts, in their order; and how many an account has."""

    accounts: list[str]
    counts: Counter[str]
    cents: list[int]
    payloads: list[bytes]


def columns_of(values: Sequence[bytes | None], prefixes: Set[bytes]) -> Columns | None:
    """None where one may not count, or its frame's beginning is not known yet: look at each by itself then."""
    payloads = _payloads(values, prefixes)
    if payloads is None:
        return None
    ids: list[str] = []
    accounts: list[str] = []
    references: list[str] = []
    seconds: list[int] = []
    nanos: list[int] = []
    amounts: list[float] = []
    # One for all: to make a new one costs more than to read the bytes.
    one = Transaction()
    parse = one.ParseFromString
    add = ids.append, accounts.append, references.append, seconds.append, nanos.append, amounts.append
    add_id, add_account, add_reference, add_seconds, add_nanos, add_amount = add
    try:
        for payload in payloads:
            parse(payload)
            add_id(one.transaction_id)
            add_account(one.account_number)
            add_reference(one.transaction_reference)
            when = one.transaction_datetime
            add_seconds(when.seconds)
            add_nanos(when.nanos)
            add_amount(one.amount)
    except DecodeError:
        return None
    counts = Counter(accounts)
    cents = all_cents(ids, counts.keys(), references, seconds, nanos, amounts)
    return None if cents is None else Columns(accounts, counts, cents, payloads)


def _payloads(values: Sequence[bytes | None], prefixes: Set[bytes]) -> list[bytes] | None:
    if not all(values):
        return None
    framed = cast(Sequence[bytes], values)
    # Mostly it is one for all, and all are shorter by it.
    if (prefix := framed[0][:PREFIX_BYTES]) in prefixes:
        payloads = list(map(bytes.removeprefix, framed, repeat(prefix)))
        if sum(map(len, framed)) - sum(map(len, payloads)) == PREFIX_BYTES * len(payloads):
            return payloads
    if {value[:PREFIX_BYTES] for value in framed} <= prefixes:
        return [value[PREFIX_BYTES:] for value in framed]
    return None
