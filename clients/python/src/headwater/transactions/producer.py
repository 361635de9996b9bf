"""Sends transactions to Kafka."""

from collections.abc import Sequence

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


def producer_settings(timeout_s: float) -> Settings:
    """What `-X` may change."""
    return {
        "acks": "all",
        "enable.idempotence": True,
        # As Java's and the platform's producers: a key has one partition, whoever sends it.
        "partitioner": "murmur2_random",
        "linger.ms": 5,
        "queue.buffering.max.messages": QUEUE_RECORDS_MAX,
        # Below the wait at the end, so that each record's fate is known by then.
        "message.timeout.ms": max(1000, int(timeout_s * 900)),
        # Delivered is what was sent and did not fail: no call into Python for each record.
        "delivery.report.only.error": True,
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
        try:
            self._producer = Producer({**made, "on_delivery": self._on_failure})
        except (KafkaException, ValueError, TypeError) as error:
            raise WrongUsage(f"-X: {_text(error)}") from error
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
            except KafkaException as error:
                raise Failure(f"the record of account '{key}' cannot be sent: {_text(error)}") from error
        self.sent = sent = self.sent + 1
        if not sent % _POLL_EVERY_RECORDS:
            self.see()

    def see(self) -> None:
        """Raises once the broker has refused one: `send` looks only now and then."""
        self._producer.poll(0)
        self._raise_failure()

    def flush(self) -> int:
        """Waits until everything is acknowledged, and returns how many records were. Raises where one was not."""
        left = self._producer.flush(self._timeout_s)
        self._raise_failure()
        if left:
            raise away(self._broker, self._timeout_s, self._last_error)
        return self.sent

    def acknowledged(self) -> int:
        """How many records the broker has, as far as is known."""
        return max(0, self.sent - self._failed - len(self._producer))

    def _on_failure(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed += 1
            self._last_error = error

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
