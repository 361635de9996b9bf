"""Checks ../vectors/keys.json, which Kafka's Java client made, with librdkafka's own murmur2_random partitioner.

Run: pip install -r requirements.txt && python check_keys.py
"""

import ctypes
import json
from pathlib import Path

import confluent_kafka

KEYS = Path(__file__).parent.parent / "vectors" / "keys.json"


def main() -> None:
    libraries = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    for library in sorted(libraries.glob("lib*")):
        if library.name.startswith("librdkafka"):
            partitioner = ctypes.CDLL(str(library)).rd_kafka_msg_partitioner_murmur2_random
    partitioner.restype = ctypes.c_int32
    pointer = ctypes.c_void_p
    partitioner.argtypes = [pointer, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int32, pointer, pointer]
    checked = 0
    for row in json.loads(KEYS.read_text(encoding="utf-8"))["keys"]:
        key = bytes.fromhex(row["key_hex"])
        for partitions, partition in row["partitions"].items():
            found = partitioner(None, key, len(key), int(partitions), None, None)
            assert found == partition, (key, partitions, partition, found)
            checked += 1
    print(f"{checked} partitions are librdkafka's too")


main()
