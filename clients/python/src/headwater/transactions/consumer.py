"""Reads transactions from Kafka and sums them by account."""

import time
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from google.protobuf.message import DecodeError

from headwater.event.v1.transaction_pb2 import Transaction
from headwater.transactions.assignment import Assignment
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
        added, moves = batch.added, batch.moves
        lines = batch.lines if self._lines else None
        positions, known = self._assignment.positions, self._state is not None
        # The partition that the last message was of, and where it began in this batch: they come in runs.
        run, first, following = -1, 0, 0
        prefixes, payload_of = self._frames.prefixes, self._frames.payload
        payloads: list[bytes] = []
        # One for all: to make a new one costs more than to read the bytes.
        transaction = Transaction()
        parse = transaction.ParseFromString
        for message in messages:
            if (error := message.error()) is not None:
                self._see_error(error, message)
                continue
            partition, offset = message.partition() or 0, message.offset() or 0
            if partition != run or offset < following:
                if run >= 0:
                    moves[run] = first, following
                move = moves.get(partition)
                expected = move[1] if move else positions.get(partition)
                if known and (expected is None or offset < expected):
                    # Fetched before the partition was given away or begun again.
                    run = -1
                    continue
                run, first = partition, move[0] if move else offset if expected is None else expected
            following = offset + 1
            value = message.value()
            try:
                payload = value[PREFIX_BYTES:] if value and value[:PREFIX_BYTES] in prefixes else payload_of(value)
                parse(payload)
                cents = checked_cents(transaction)
            except (UncountableError, RuleBrokenError, DecodeError) as problem:
                reason, text = why(problem)
                batch.skipped.append((reason, f"skipped {self._topic}[{partition}]@{offset}: {reason}: {text}"))
                continue
            payloads.append(payload)
            account = transaction.account_number
            count = 1
            if (before := added.get(account)) is not None:
                cents += before[0]
                count += before[1]
            added[account] = cents, count
            if lines is not None:
                lines.append((account, cents))
        if run >= 0:
            moves[run] = first, following
        batch.counted = len(payloads)
        batch.newer_fields = newer_fields(payloads)
        return batch

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
