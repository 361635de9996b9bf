"""Reads transactions from Kafka and sums them by account."""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import lt
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from google.protobuf.message import DecodeError

from headwater.event.v1.transaction_pb2 import Transaction
from headwater.transactions.assignment import Assignment
from headwater.transactions.columns import Columns, columns_of
from headwater.transactions.failure import Failure, WrongUsage
from headwater.transactions.kafka import Settings, away, bounded, see_topic, settings
from headwater.transactions.reader import PREFIX_BYTES, FrameReader, UncountableError, newer_fields, why
from headwater.transactions.registry import Registry
from headwater.transactions.rules import RuleBrokenError, checked_cents
from headwater.transactions.state import FencedError, State
from headwater.transactions.tally import Batch, Tally

BATCH_RECORDS_MAX = 1_000
POLL_S = 0.1
_COMMIT_EVERY_S = 1.0
_DOWN = (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE)
_FATAL = (
    KafkaError._AUTHENTICATION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
)


def consumer_settings(group: str, reset: str) -> Settings:
    """What `--property` may change."""
    return {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "allow.auto.create.topics": False,
        "auto.offset.reset": reset,
        # Once its queue is full the client fetches nothing for so long: with its 1000 it stands idle most of the time.
        "fetch.queue.backoff.ms": 10,
        "partition.assignment.strategy": "range",
        # A member that was killed is missed soon.
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 2000,
    }


class TransactionConsumer:
    """Counts records batch by batch, each once: with a state also over restarts and rebalances."""

    def __init__(
        self,
        broker: str,
        schema_registry: str,
        topic: str,
        group: str,
        *,
        state: State | None = None,
        begin: str = "earliest",
        timeout_s: float = 30.0,
        given: Sequence[str] = (),
        lines: bool = True,
    ) -> None:
        # With a state an offset outside the log is an error: it would skip records or count them twice.
        made = settings(broker, consumer_settings(group, "error" if state else begin), given)
        self.tally = Tally()
        self._lines = lines
        self._broker, self._topic, self._timeout_s, self._state = broker, topic, timeout_s, state
        self._down_since: float | None = None
        self._down_error: KafkaError | None = None
        try:
            self._consumer = Consumer({**made, "error_cb": self._on_error})
        except (KafkaException, ValueError, TypeError) as error:
            raise WrongUsage(f"--property: {error.args[0]}") from error
        registry = Registry(schema_registry, timeout_s)
        registry.latest(f"{topic}-value")
        see_topic(broker, topic, timeout_s, given)
        self._frames = FrameReader(registry)
        self._assignment = Assignment(self._consumer, topic, state, begin, timeout_s)
        self._committed_at = time.monotonic()
        self._assignment.subscribe()

    def step(self, records_max: int = BATCH_RECORDS_MAX) -> Batch | None:
        """Counts the next records, at most so many; None where there are none yet or another member took them over."""
        messages = self._consumer.consume(min(records_max, BATCH_RECORDS_MAX), POLL_S)
        self._assignment.raise_failure()
        if not messages:
            self._see_broker()
            self._commit_now_and_then()
            return None
        self._down_since = None
        batch = self._read(messages)
        if not batch.moves:
            return None
        if self._state is not None:
            try:
                self.tally.sums.update(self._state.add(batch.added, batch.moves))
            except FencedError:
                self._assignment.begin_again(batch.moves)
                return None
        else:
            sums = self.tally.sums
            for account, (cents, count) in batch.added.items():
                before = sums.get(account, (0, 0))
                sums[account] = (before[0] + cents, before[1] + count)
        self.tally.add(batch)
        self._assignment.moved(batch.moves)
        self._commit_now_and_then()
        return batch

    def assigned_at(self) -> float | None:
        """When partitions were assigned first, by the monotonic clock."""
        return self._assignment.assigned_at

    def close(self) -> None:
        """Commits what was counted and leaves the group, each within the timeout."""
        self._assignment.commit(asynchronous=False)
        # Where nobody answers the group misses this member by itself.
        bounded(self._consumer.close, self._timeout_s)

    def raise_failure(self) -> None:
        """Raises where Kafka does not know what was counted, which is counted again then."""
        self._assignment.raise_failure()

    def _read(self, messages: Sequence[Message]) -> Batch:
        batch = Batch()
        taken = self._taken(messages, batch.moves)
        if not taken:
            return batch
        # Nearly always all are good, and to ask a thousand at once costs half of what it costs one by one.
        values = list(map(Message.value, taken))
        counted = columns_of(values, self._frames.prefixes) or self._one_by_one(taken, values, batch.skipped)
        added = batch.added
        if self._lines:
            sums: dict[str, int] = {}
            for account, cents in zip(counted.accounts, counted.cents, strict=True):
                sums[account] = after = sums.get(account, 0) + cents
                batch.lines.append((account, after))
        else:
            sums = dict.fromkeys(counted.counts, 0)
            for account, cents in zip(counted.accounts, counted.cents, strict=True):
                sums[account] += cents
        for account, count in counted.counts.items():
            added[account] = sums[account], count
        batch.counted = len(counted.payloads)
        batch.newer_fields = newer_fields(counted.payloads)
        return batch

    def _taken(self, messages: Sequence[Message], moves: dict[int, tuple[int, int]]) -> Sequence[Message]:
        """Those that are to be counted, and how they move their partitions."""
        if any(map(Message.error, messages)):
            good = []
            for message in messages:
                if (error := message.error()) is None:
                    good.append(message)
                else:
                    self._see_error(error, message)
            messages = good
        # A message without an error has both.
        partitions = cast(list[int], list(map(Message.partition, messages)))
        offsets = cast(list[int], list(map(Message.offset, messages)))
        positions, known = self._assignment.positions, self._state is not None
        taken: list[Message] = []
        for begin, end in _rising(partitions, offsets):
            partition = partitions[begin]
            move = moves.get(partition)
            expected = move[1] if move else positions.get(partition)
            at = begin
            if known:
                # What was fetched before the partition was given away or begun again is left out.
                at = end if expected is None else bisect_left(offsets, expected, begin, end)
                if at == end:
                    continue
            moves[partition] = move[0] if move else offsets[at] if expected is None else expected, offsets[end - 1] + 1
            taken += messages[at:end]
        return taken

    def _one_by_one(
        self, messages: Sequence[Message], values: Sequence[bytes | None], skipped: list[tuple[str, str]]
    ) -> Columns:
        """Where not all are good: says which are not."""
        found = Columns([], Counter(), [], [])
        transaction = Transaction()
        for message, value in zip(messages, values, strict=True):
            try:
                known = value is not None and value[:PREFIX_BYTES] in self._frames.prefixes
                payload = value[PREFIX_BYTES:] if value and known else self._frames.payload(value)
                transaction.ParseFromString(payload)
                cents = checked_cents(transaction)
            except (UncountableError, RuleBrokenError, DecodeError) as problem:
                reason, text = why(problem)
                where = f"{self._topic}[{message.partition()}]@{message.offset()}"
                skipped.append((reason, f"skipped {where}: {reason}: {text}"))
                continue
            found.accounts.append(account := transaction.account_number)
            found.counts[account] += 1
            found.cents.append(cents)
            found.payloads.append(payload)
        return found

    def _see_error(self, error: KafkaError, message: Message) -> None:
        where = f"{message.topic()}[{message.partition()}]"
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise Failure(
                f"{where}: the state's offset is outside the log ({error.str()}): records were removed before they"
                " were counted, or the topic was made anew; go on with a new --state file and group"
            )
        if error.fatal() or error.code() in _FATAL:
            raise Failure(f"the broker {self._broker} refuses '{self._topic}': {error.str()}")

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._AUTHENTICATION or error.fatal():
            self._assignment.fail(Failure(f"the broker {self._broker} refuses this client: {error.str()}"))
        elif error.code() in _DOWN and self._down_since is None:
            self._down_since, self._down_error = time.monotonic(), error

    def _see_broker(self) -> None:
        """Raises where nobody has answered for the timeout."""
        if self._down_since is None or time.monotonic() - self._down_since < self._timeout_s:
            return
        try:
            self._consumer.list_topics(self._topic, timeout=min(self._timeout_s, 5.0))
        except KafkaException as error:
            raise away(self._broker, self._timeout_s, self._down_error) from error
        self._down_since = None

    def _commit_now_and_then(self) -> None:
        now = time.monotonic()
        if now - self._committed_at >= _COMMIT_EVERY_S:
            self._committed_at = now
            self._assignment.commit(asynchronous=True)


def _rising(partitions: Sequence[int], offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where records of one partition whose offsets rise begin and end."""
    begin = 0
    if len(set(partitions)) > 1 or not all(map(lt, offsets, offsets[1:])):
        for at in range(1, len(offsets)):
            if partitions[at] != partitions[at - 1] or offsets[at] <= offsets[at - 1]:
                yield begin, at
                begin = at
    if offsets:
        yield begin, len(offsets)
