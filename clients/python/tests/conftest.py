"""The real Kafka and registry, with topics and subjects of each test's own."""

import json
import os
import subprocess
import sys
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from headwater.event.v1.transaction_pb2 import Transaction

PROTO = """syntax = "proto3";
package headwater.event.v1;
import "google/protobuf/timestamp.proto";
message Transaction {
  string transaction_id = 1;
  string account_number = 2;
  string transaction_reference = 3;
  google.protobuf.Timestamp transaction_datetime = 4;
  double amount = 5;
}
"""
PARTITIONS = 4


def needed(name: str) -> str:
    """A variable that names a real part."""
    value = os.environ.get(name)
    if not value:
        pytest.fail(f"{name} is not set: run `make parts` / `make test`")
    return value


@dataclass
class Stream:
    """A topic of its own, and its subject."""

    broker: str
    registry: str
    topic: str

    def register(self, text: str, subject: str | None = None) -> int:
        """The id of a schema, registered under the topic's subject or another."""
        body = json.dumps({"schemaType": "PROTOBUF", "schema": text}).encode()
        request = urllib.request.Request(  # noqa: S310
            f"{self.registry}/subjects/{subject or self.topic + '-value'}/versions",
            data=body,
            headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return int(json.load(answer)["id"])

    def send(self, value: bytes | None, partition: int = 0, key: str = "ACC-0001") -> None:
        """A record as it is."""
        producer = Producer({"bootstrap.servers": self.broker})
        producer.produce(self.topic, value, key, partition=partition)
        assert producer.flush(10) == 0

    def read(self) -> list[Transaction]:
        """What the topic holds, partition by partition."""
        consumer = Consumer({"bootstrap.servers": self.broker, "group.id": "none", "enable.auto.commit": False})
        try:
            partitions = consumer.list_topics(self.topic, timeout=10).topics[self.topic].partitions
            begins = [TopicPartition(self.topic, partition, 0) for partition in partitions]
            left = sum(consumer.get_watermark_offsets(one, timeout=10)[1] for one in begins)
            consumer.assign(begins)
            found: list[Message] = []
            while left > len(found):
                messages = consumer.consume(left - len(found), 10)
                assert messages, f"{len(found)} of {left} records are read"
                assert not any(message.error() for message in messages)
                found += messages
        finally:
            consumer.close()
        found.sort(key=lambda message: (message.partition(), message.offset()))
        return [Transaction.FromString((message.value() or b"")[6:]) for message in found]

    def produce(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The producer as users run it."""
        return run("produce", *self.produce_arguments(), *arguments)

    def consume(self, *arguments: str, group: str = "sums") -> subprocess.CompletedProcess[str]:
        """The consumer as users run it."""
        return run("consume", *self.consume_arguments(group), *arguments)

    def produce_arguments(self) -> list[str]:
        """What the producer needs."""
        return ["-b", self.broker, "-s", self.registry, "-t", self.topic]

    def consume_arguments(self, group: str = "sums") -> list[str]:
        """What the consumer needs."""
        return [*self.produce_arguments(), "-g", f"{self.topic}-{group}"]


def program(name: str) -> str:
    """The installed program `headwater-NAME-transactions`."""
    return str(Path(sys.executable).parent / f"headwater-{name}-transactions")


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end."""
    return subprocess.run([program(name), *arguments], capture_output=True, text=True, timeout=60, check=False)


def new_stream(partitions: int = PARTITIONS) -> Stream:
    """A new topic with the contract's schema."""
    made = Stream(needed("HEADWATER_TEST_KAFKA"), needed("HEADWATER_TEST_REGISTRY"), f"py-{uuid.uuid4().hex[:12]}")
    admin = AdminClient({"bootstrap.servers": made.broker})
    admin.create_topics([NewTopic(made.topic, partitions, 1)])[made.topic].result(20)
    made.register(PROTO)
    return made


@pytest.fixture
def stream() -> Stream:
    """A new topic with the contract's schema."""
    return new_stream()
