"""Sends transactions to Kafka."""

import time
from collections.abc import Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from headwater.event.v1.transaction_pb2 import Transaction
from headwater.transactions.failure import Failure, WrongUsage
from headwater.transactions.frame import frame_prefix
from headwater.transactions.kafka import Settings, away, see_topic, settings
from headwater.transactions.registry import Registry
from headwater.transactions.rules import FULL_NAME

QUEUE_RECORDS_MAX = 100_000
_POLL_EVERY_RECORDS = 1_000
_QUEUE_FULL_POLL_S = 0.1
# How often a record is sent whose delivery is without an offset.
SENDS_MAX = 5


def producer_settings(timeout_s: float) -> Settings:
    """What `--property` may change."""
    return {
        "acks": "all",
        "enable.idempotence": True,
        # As Java's and the platform's producers: a key has one partition, whoever sends it.
        "partitioner": "murmur2_random",
        "linger.ms": 5,
        "queue.buffering.max.messages": QUEUE_RECORDS_MAX,
        # Below the wait at the end, so that each record's fate is known by then.
        "message.timeout.ms": max(1000, int(timeout_s * 900)),
    }


class TransactionProducer:
    """Frames transactions with the id of the subject's latest schema, and sends them to a topic."""

    def __init__(
        self, broker: str, schema_registry: str, topic: str, *, timeout_s: float = 30.0, given: Sequence[str] = ()
    ) -> None:
        made = settings(broker, producer_settings(timeout_s), given)
        self.sent = 0
        self._broker, self._topic, self._timeout_s = broker, topic, timeout_s
        self._failed = 0
        self._last_error: KafkaError | None = None
        # To be sent again: value, key, and which time it is.
        self._again: list[tuple[bytes | None, bytes | None, int]] = []
        # Each record's report is looked at, whatever is asked for.
        reports = {"on_delivery": self._on_delivery, "delivery.report.only.error": False}
        try:
            self._producer = Producer({**made, **reports})
        except (KafkaException, ValueError, TypeError) as error:
            raise WrongUsage(f"--property: {_text(error)}") from error
        self._produce = self._producer.produce
        schema = Registry(schema_registry, timeout_s).latest(f"{topic}-value")
        path = next((path for path, name in schema.messages.items() if name == FULL_NAME), None)
        if path is None:
            raise Failure(
                f"the schema {schema.schema_id} of '{topic}-value' holds no message {FULL_NAME}:"
                " see that --topic is right"
            )
        see_topic(broker, topic, timeout_s, given)
        self.schema_id = schema.schema_id
        self._prefix = frame_prefix(schema.schema_id, path)

    def send(self, transaction: Transaction) -> None:
        """Queues a transaction; waits where the queue is full. Raises once the broker has refused one."""
        value = self._prefix + transaction.SerializeToString()
        key = transaction.account_number
        while True:
            try:
                self._produce(self._topic, value, key)
                break
            except BufferError:
                # Bounded by message.timeout.ms: what is queued then fails, and makes room.
                self._producer.poll(_QUEUE_FULL_POLL_S)
                self._raise_failure()
                self._send_again()
            except KafkaException as error:
                raise Failure(f"the record of account '{key}' cannot be sent: {_text(error)}") from error
        self.sent = sent = self.sent + 1
        if not sent % _POLL_EVERY_RECORDS:
            self.see()

    def see(self) -> None:
        """Raises once the broker has refused one: `send` looks only now and then."""
        self._producer.poll(0)
        self._raise_failure()
        self._send_again()

    def flush(self) -> int:
        """Waits until everything is acknowledged, and returns how many records were. Raises where one was not."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            left = self._producer.flush(max(0.0, deadline - time.monotonic()))
            self._raise_failure()
            if left:
                raise away(self._broker, self._timeout_s, self._last_error)
            if not self._again:
                return self.sent
            self._send_again()

    def acknowledged(self) -> int:
        """How many records the broker has, as far as is known."""
        return max(0, self.sent - self._failed - len(self._again) - len(self._producer))

    def _on_delivery(self, error: KafkaError | None, message: Message, sends: int = 1) -> None:
        if error is None:
            offset = message.offset()
            if offset is not None and offset >= 0:
                return
            # The broker took it for a copy of a record that it may never have had (docs/decisions/0005).
            if sends < SENDS_MAX:
                self._again.append((message.value(), message.key(), sends + 1))
                return
            error = KafkaError(KafkaError.DUPLICATE_SEQUENCE_NUMBER)
        self._failed += 1
        self._last_error = error

    def _send_again(self) -> None:
        while self._again:
            value, key, sends = self._again[-1]
            try:
                self._produce(self._topic, value, key, on_delivery=partial(self._on_delivery, sends=sends))
            except BufferError:
                # Asked for again once there is room.
                return
            except KafkaException as error:
                raise Failure(f"a record cannot be sent again: {_text(error)}") from error
            self._again.pop()

    def _raise_failure(self) -> None:
        if self._failed and self._last_error is not None:
            raise Failure(
                f"the broker {self._broker} did not take {self._failed} records for '{self._topic}'"
                f" ({self._last_error.str()}), {self.acknowledged()} are there:"
                " see that it runs, then send the rest again"
            )


def _text(error: Exception) -> str:
    first = error.args[0] if error.args else error
    return first.str() if isinstance(first, KafkaError) else str(first)
