"""What is measured: the programs' own loops, and beside each the least that anybody would write by hand with the bare
client library and the generated code, with the same settings.

`python sides.py NAME TOPIC COUNT` does one, and prints the seconds, by the wall and of the process's CPU (all threads),
that it took from the first message to the last.
"""

import json
import os
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Message, Producer

from headwater.event.v1.transaction_pb2 import Transaction
from headwater.transactions import consume, produce
from headwater.transactions.consumer import BATCH_RECORDS_MAX, POLL_S, TransactionConsumer, consumer_settings
from headwater.transactions.frame import frame_prefix
from headwater.transactions.kafka import StopSignal, settings
from headwater.transactions.made_up import made_up
from headwater.transactions.producer import TransactionProducer, producer_settings
from headwater.transactions.registry import Registry
from headwater.transactions.state import State

TIMEOUT_S = 60.0
CUSTOMERS = 20
POLL_EVERY_RECORDS = 1_000

# Messages within the time, seconds by the wall, seconds of CPU.
Measured = tuple[int, float, float]


def our_producer(topic: str, items: Iterator[Transaction]) -> Measured:
    """What `headwater-produce-transactions --quiet` does with its transactions."""
    broker, registry = parts()
    flags = produce.parser().parse_args(["-b", broker, "-s", registry, "-t", topic, "--quiet"])
    producer = TransactionProducer(broker, registry, topic, timeout_s=TIMEOUT_S)
    producer.send(next(items))
    producer.flush()
    seconds = clock()
    produce.send_all(producer, items, StopSignal(), flags, Counter())
    return producer.acknowledged() - 1, *seconds()


def peer_producer(topic: str, items: Iterator[Transaction]) -> Measured:
    """Frame, key, produce, and a report of each that it has an offset; a poll now and then."""
    broker, registry = parts()
    failed = 0

    def delivered(error: KafkaError | None, message: Message) -> None:
        nonlocal failed
        if error is not None or message.offset() is None:
            failed += 1

    producer = Producer({**settings(broker, producer_settings(TIMEOUT_S), []), "on_delivery": delivered})
    prefix = frame_prefix(Registry(registry, TIMEOUT_S).latest(f"{topic}-value").schema_id, (0,))
    first = next(items)
    producer.produce(topic, prefix + first.SerializeToString(), first.account_number)
    producer.flush()
    seconds = clock()
    sent = 0
    for item in items:
        while True:
            try:
                producer.produce(topic, prefix + item.SerializeToString(), item.account_number)
                break
            except BufferError:
                producer.poll(0.1)
        sent += 1
        if sent % POLL_EVERY_RECORDS == 0:
            producer.poll(0)
    left = producer.flush(TIMEOUT_S)
    return sent - left - failed, *seconds()


def our_consumer(topic: str, count: int, state: State | None, group: str) -> Measured:
    """What `headwater-consume-transactions --quiet` does from its first record on."""
    broker, registry = parts()
    arguments = ["-b", broker, "-s", registry, "-t", topic, "-g", group, "--quiet", "--count", str(count)]
    consumer = TransactionConsumer(broker, registry, topic, group, state=state, timeout_s=TIMEOUT_S, lines=False)
    for _ in waiting():
        if consumer.step(1) is not None:
            break
    seconds = clock()
    consume.count_all(consumer, StopSignal(), consume.parser().parse_args(arguments))
    taken = seconds()
    consumer.close()
    return consumer.tally.counted - 1, *taken


def peer_consumer(topic: str, count: int) -> Measured:
    """A batch, and of each message the generated code's and a sum in cents."""
    broker, _ = parts()
    fixed = consumer_settings(f"{topic}-{uuid.uuid4()}", "earliest")
    consumer = Consumer(settings(broker, fixed, []))
    consumer.subscribe([topic])
    sums: dict[str, int] = {}
    for _ in waiting():
        if consumer.consume(1, POLL_S):
            break
    seconds = clock()
    left = count - 1
    for _ in waiting():
        messages = consumer.consume(min(left, BATCH_RECORDS_MAX), POLL_S)
        for message in messages:
            if message.error():
                raise SystemExit(message.error())
            transaction = Transaction.FromString((message.value() or b"")[6:])
            account = transaction.account_number
            sums[account] = sums.get(account, 0) + round(transaction.amount * 100)
        left -= len(messages)
        if not left:
            break
    taken = seconds()
    consumer.close()
    return count - 1 - left, *taken


def our_consumer_with_state(topic: str, count: int) -> Measured:
    """With `--state`."""
    with tempfile.TemporaryDirectory() as folder:
        group = f"{topic}-{uuid.uuid4()}"
        state = State(str(Path(folder) / "sums.db"), group, topic)
        measured = our_consumer(topic, count, state, group)
        state.close()
    return measured


def plainly_made_up(count: int) -> Iterator[Transaction]:
    """Transactions as anybody would make them up."""
    for number in range(count):
        made = Transaction(
            transaction_id=str(uuid.uuid4()),
            account_number=f"ACC-{random.randint(1, CUSTOMERS):04}",  # noqa: S311
            transaction_reference=f"payment {number:06}",
            amount=random.randint(-50_000, 100_000) / 100,  # noqa: S311
        )
        made.transaction_datetime.GetCurrentTime()
        yield made


def ready(count: int) -> Iterator[Transaction]:
    """Transactions that are there before the time begins."""
    return iter(list(made_up(count, CUSTOMERS, 1)))


def clock() -> Callable[[], tuple[float, float]]:
    """Begins to measure; what it returns tells the seconds since."""
    wall, cpu = time.perf_counter(), time.process_time()
    return lambda: (time.perf_counter() - wall, time.process_time() - cpu)


def waiting() -> Iterable[None]:
    """Again and again, for a bounded time."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        yield
    raise SystemExit(f"no end within {TIMEOUT_S:g} s")


def parts() -> tuple[str, str]:
    """The real broker and registry."""
    return os.environ["HEADWATER_TEST_KAFKA"], os.environ["HEADWATER_TEST_REGISTRY"]


SIDES: dict[str, Callable[[str, int], Measured]] = {
    "our_producer": lambda topic, count: our_producer(topic, ready(count)),
    "peer_producer": lambda topic, count: peer_producer(topic, ready(count)),
    "our_made_up": lambda topic, count: our_producer(topic, made_up(count, CUSTOMERS, None)),
    "peer_made_up": lambda topic, count: peer_producer(topic, plainly_made_up(count)),
    "our_consumer": lambda topic, count: our_consumer(topic, count, None, f"{topic}-{uuid.uuid4()}"),
    "our_consumer_with_state": our_consumer_with_state,
    "peer_consumer": peer_consumer,
}

if __name__ == "__main__":
    print(json.dumps(SIDES[sys.argv[1]](sys.argv[2], int(sys.argv[3]))))
