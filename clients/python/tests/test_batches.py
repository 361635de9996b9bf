"""What a batch is counted as: all at once where all is good, else one by one, and each record once."""

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message
from conftest import Stream
from test_bad_input import transaction
from test_vectors import load

from headwater.event.v1.transaction_pb2 import Transaction
from headwater.transactions.columns import columns_of
from headwater.transactions.consumer import TransactionConsumer
from headwater.transactions.made_up import made_up
from headwater.transactions.rules import RuleBrokenError, checked_cents
from headwater.transactions.state import State
from headwater.transactions.units import all_cents_of, cents_of

PREFIX, OTHER = b"\0\0\0\0\x07\0", b"\0\0\0\0\x08\0"
KNOWN = {PREFIX, OTHER}


def at(seconds: int, nanos: int = 0) -> Transaction:
    """A transaction of this time."""
    made = transaction()
    made.transaction_datetime.seconds, made.transaction_datetime.nanos = seconds, nanos
    return made


def without_time() -> Transaction:
    """A transaction that does not say when."""
    made = transaction()
    made.ClearField("transaction_datetime")
    return made


# Each limit, from both sides.
ONES = [
    *(transaction(transaction_id="x" * count) for count in (0, 1, 128, 129)),
    *(transaction(account_number="ü" * count) for count in (0, 1, 64, 65)),
    *(transaction(transaction_reference="x" * count) for count in (0, 256, 257)),
    transaction(transaction_id="a\0b"),
    transaction(account_number="a\0b"),
    transaction(transaction_reference="a\0b"),
    *(at(seconds) for seconds in (-1, 0, 946_684_799, 946_684_800, 253_402_300_799, 253_402_300_800)),
    *(at(1_700_000_000, nanos) for nanos in (-1, 0, 999_999_999, 1_000_000_000)),
    *(transaction(amount) for amount in (0.0, -0.0, 0.29, 0.001, float("nan"), float("inf"), float("-inf"))),
    *(transaction(sign * (2**53 + more) / 100) for sign in (1, -1) for more in (-1, 0, 1)),
    transaction(1e308),
    without_time(),
]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("one", ONES)
def test_all_at_once_is_as_one_by_one(one: Transaction, place: int) -> None:
    batch = list(made_up(2, 20, 1))
    batch.insert(place, one)
    found = columns_of([PREFIX + each.SerializeToString() for each in batch], KNOWN)
    try:
        cents = [checked_cents(each) for each in batch]
    except RuleBrokenError:
        assert found is None
        return
    assert found is not None
    assert (found.accounts, found.cents) == ([each.account_number for each in batch], cents)
    assert found.counts == Counter(found.accounts)
    assert found.payloads == [each.SerializeToString() for each in batch]


def test_there_are_good_and_bad_ones() -> None:
    def good(one: Transaction) -> bool:
        try:
            checked_cents(one)
        except RuleBrokenError:
            return False
        return True

    assert (sum(map(good, ONES)), len(ONES)) == (15, 39)


@pytest.mark.parametrize(
    "value", [None, b"", b"\0", PREFIX, b"\0\0\0\0\x09\0" + transaction().SerializeToString(), PREFIX + b"\x0a\xff"]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_frame_that_is_not_known_is_looked_at_by_itself(value: bytes | None, place: int) -> None:
    # Of two schemas, both known.
    values: list[bytes | None] = [one + transaction().SerializeToString() for one in (PREFIX, OTHER)]
    assert columns_of(values, KNOWN) is not None
    values.insert(place, value)
    assert columns_of(values, KNOWN) is None


def test_amounts_of_the_vectors_are_the_same_at_once() -> None:
    amounts = [struct.unpack(">d", bytes.fromhex(one["ieee_hex"]))[0] for one in load("amounts")["amounts"]]
    exact = [amount for amount in amounts if cents_of(amount) is not None]
    assert all_cents_of(exact) == list(map(cents_of, exact))
    for amount in amounts:
        if cents_of(amount) is None:
            assert all_cents_of([*exact, amount]) is None
            assert all_cents_of([amount, *exact]) is None


class Given:
    """Consumes what a function makes of the real messages."""

    def __init__(self, consumer: Any, change: Callable[[Sequence[Message]], Sequence[Message]]) -> None:
        self._consumer, self._change = consumer, change

    def consume(self, records_max: int, timeout_s: float) -> Sequence[Message]:
        """As the library's."""
        return self._change(self._consumer.consume(records_max, timeout_s))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


@pytest.mark.parametrize(
    "change",
    [
        lambda messages: [*messages, *messages],
        lambda messages: [each for message in messages for each in (message, message)],
        # An older one behind a newer one, and some of one partition between those of others.
        lambda messages: [*messages, *messages[: len(messages) // 2], *reversed(messages)],
    ],
)
def test_records_that_come_twice_in_a_batch_count_once(
    stream: Stream, tmp_path: Path, change: Callable[[Sequence[Message]], Sequence[Message]]
) -> None:
    sent = list(made_up(200, 3, 1))
    assert stream.produce("--count", "200", "--customers", "3", "--seed", "1", "--quiet").returncode == 0
    state = State(str(tmp_path / "s.db"), "g", stream.topic)
    consumer = TransactionConsumer(stream.broker, stream.registry, stream.topic, f"{stream.topic}-g", state=state)
    consumer._consumer = Given(consumer._consumer, change)  # type: ignore[assignment]
    for _ in range(300):
        consumer.step()
        if consumer.tally.counted >= 200:
            break
    # Nothing more comes of what came twice.
    consumer.step()
    expected: dict[str, tuple[int, int]] = {}
    for one in sent:
        cents, count = expected.get(one.account_number, (0, 0))
        expected[one.account_number] = cents + checked_cents(one), count + 1
    assert state.sums() == consumer.tally.sums == expected
    assert consumer.tally.records == 200
    consumer.close()
