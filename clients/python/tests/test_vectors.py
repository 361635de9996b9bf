"""The vectors that every language reads and writes (tests/conformance/vectors)."""

import ctypes
import json
import struct
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, Message, Producer
from conftest import new_stream

from headwater.transactions.frame import FrameError, frame_prefix, parse_frame
from headwater.transactions.kafka import settings
from headwater.transactions.producer import producer_settings
from headwater.transactions.schema_text import message_paths
from headwater.transactions.units import cents_of

VECTORS = Path(__file__).resolve().parents[3] / "tests" / "conformance" / "vectors"


def load(name: str) -> dict[str, Any]:
    """A file of vectors."""
    found: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def test_frames_are_read_and_written() -> None:
    frames = load("frames")
    assert frames["frames"]
    for one in frames["frames"]:
        framed, payload = bytes.fromhex(one["frame_hex"]), bytes.fromhex(one["payload_hex"])
        indexes = tuple(one["message_indexes"])
        schema_id, found, at = parse_frame(framed)
        assert (schema_id, found, framed[at:]) == (one["schema_id"], indexes, payload), one["name"]
        assert message_paths(one["schema"])[indexes] == one["message"], one["name"]
        if not one.get("read_only"):
            assert frame_prefix(schema_id, indexes) + payload == framed, one["name"]
    for one in frames["bad"]:
        with pytest.raises(FrameError):
            parse_frame(bytes.fromhex(one["frame_hex"]))


def test_amounts_are_cents_or_refused() -> None:
    for one in load("amounts")["amounts"]:
        (amount,) = struct.unpack(">d", bytes.fromhex(one["ieee_hex"]))
        assert cents_of(amount) == one["cents"], one


@pytest.mark.parametrize("partitions", [1, 2, 3, 4, 7, 12])
def test_a_key_goes_to_its_partition(partitions: int) -> None:
    """Where librdkafka puts it, with the settings of our producer: nothing of the partitioner is ours."""
    keys = load("keys")["keys"]
    assert len(keys) >= 30
    found: dict[bytes, int] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        assert error is None
        found[message.key() or b""] = message.partition() or 0

    stream = new_stream(partitions)
    made = settings(stream.broker, {**producer_settings(20), "delivery.report.only.error": False}, [])
    producer = Producer({**made, "on_delivery": delivered})
    for one in keys:
        producer.produce(stream.topic, b"", bytes.fromhex(one["key_hex"]))
    assert producer.flush(20) == 0
    for one in keys:
        assert found[bytes.fromhex(one["key_hex"])] == one["partitions"][str(partitions)], one


def test_every_partition_of_the_vectors_is_librdkafkas() -> None:
    """For the counts too that no test makes a topic of: the same function, called by itself."""
    libraries = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    (library,) = libraries.glob("librdkafka-*")
    partitioner = ctypes.CDLL(str(library)).rd_kafka_msg_partitioner_murmur2_random
    partitioner.restype = ctypes.c_int32
    pointer = ctypes.c_void_p
    partitioner.argtypes = [pointer, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int32, pointer, pointer]
    for one in load("keys")["keys"]:
        key = bytes.fromhex(one["key_hex"])
        for count, partition in one["partitions"].items():
            assert partitioner(None, key, len(key), int(count), None, None) == partition, (one, count)
