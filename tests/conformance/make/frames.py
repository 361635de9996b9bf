"""Makes ../vectors/frames.json from the frames that confluent-kafka's own ProtobufSerializer writes.

Run: pip install -r requirements.txt && python frames.py
"""

import json
import sys
import tempfile
from pathlib import Path

from confluent_kafka.schema_registry import topic_subject_name_strategy
from confluent_kafka.schema_registry._sync.mock_schema_registry_client import MockSchemaRegistryClient
from confluent_kafka.schema_registry.common.schema_registry_client import RegisteredSchema
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_tools import protoc

OUT = Path(__file__).parent.parent / "vectors" / "frames.json"
CONTEXT = SerializationContext("vectors", MessageField.VALUE)

FIELDS = """\
  string transaction_id = 1;
  string account_number = 2;
  string transaction_reference = 3;
  google.protobuf.Timestamp transaction_datetime = 4;
  double amount = 5;
"""
HEAD = 'syntax = "proto3";\n\npackage headwater.event.v1;\n\nimport "google/protobuf/timestamp.proto";\n\n'
TRANSACTION = f"message Transaction {{\n{FIELDS}}}\n"
PLAIN = HEAD + TRANSACTION
NEWER = HEAD + f"message Transaction {{\n{FIELDS}  string currency = 6;\n}}\n"
SECOND = HEAD + "message Account {\n  string number = 1;\n}\n\n" + TRANSACTION
NESTED = """\
syntax = "proto3";

package acme.v1;

option java_package = "a { b } \\" message C {";

// Braces in comments and strings do not nest: } {
message First {
  string id = 1;
}

/* message Hidden {} */
message Outer {
  option deprecated = true;
  enum Colour {
    COLOUR_UNSPECIFIED = 0;
  }
  message Before {
    string text = 1;
  }
  message Inner {
    message Innermost {
      int64 number = 1;
    }
    oneof choice {
      string text = 1;
      Innermost innermost = 2;
    }
  }
  map<string, Inner> by_name = 1;
  Inner inner = 2;
  repeated Colour colours = 3;
}
"""
MANY = 'syntax = "proto3";\n\npackage acme.v1;\n' + "".join(
    f"\nmessage M{number} {{\n  string text = 1;\n}}\n" for number in range(130)
)
# A map's entry is a message to the compiler, in the place of its field: serializers that hold descriptors count it.
MAPS = """\
syntax = "proto3";

package acme.v1;

message Outer {
  map<string, string> labels = 1;
  message First {
    string map = 1;
  }
  map < int32 , First > by_number = 2 [json_name = "{", deprecated = true];
  message Second {
    // map<string, string> none = 9;
    map<string, string> labels = 1; map<string, Third> more = 2;
    message Third {
      string text = 1;
    }
  }
  Second second = 3;
}
"""
WRONG = 'syntax = "proto3";\n\npackage acme.v1;\n\nmessage Transaction {\n  string transaction_id = 1;\n}\n'

FULL = {
    "transactionId": "0197a0e8-0000-7000-8000-000000000001",
    "accountNumber": "ACC-0001",
    "transactionReference": "Grüße, 東京 ☕",
    "transactionDatetime": "2026-11-21T14:15:16.123456Z",
    "amount": -12.5,
}
SMALL = {"transactionId": "t", "accountNumber": "ACC-0002", "transactionDatetime": "1970-01-01T00:00:00Z"}
EVENT = "headwater.event.v1.Transaction"

# name, schema id, text, message, its value as ProtoJSON
CASES = [
    ("first of one message", 1, PLAIN, EVENT, FULL),
    ("fields with their default are left out", 2, PLAIN, EVENT, SMALL),
    ("an empty message", 3, PLAIN, EVENT, {}),
    ("a field that the contract does not know yet", 4, NEWER, EVENT, {**FULL, "currency": "EUR"}),
    ("second of two messages", 0x01020304, SECOND, EVENT, FULL),
    ("greatest id of 31 bits", 0x7FFFFFFF, PLAIN, EVENT, FULL),
    ("another package with the same name", 5, WRONG, "acme.v1.Transaction", {"transactionId": "t"}),
    ("nested in the second", 6, NESTED, "acme.v1.Outer.Inner", {"text": "x"}),
    ("first nested of the second", 6, NESTED, "acme.v1.Outer.Before", {"text": "x"}),
    ("nested three deep", 6, NESTED, "acme.v1.Outer.Inner.Innermost", {"number": "-7"}),
    ("the outer one itself", 6, NESTED, "acme.v1.Outer", {"inner": {"innermost": {"number": "7"}}}),
    ("nested after a map", 8, MAPS, "acme.v1.Outer.First", {"map": "x"}),
    ("nested after two maps", 8, MAPS, "acme.v1.Outer.Second", {"labels": {"a": "b"}}),
    ("nested after maps in each", 8, MAPS, "acme.v1.Outer.Second.Third", {"text": "x"}),
    ("index 63, the last in one byte", 7, MANY, "acme.v1.M63", {"text": "x"}),
    ("index 64, the first in two bytes", 7, MANY, "acme.v1.M64", {"text": "x"}),
    ("index 129", 7, MANY, "acme.v1.M129", {"text": "x"}),
]

# What no reader may take for a frame, and what it says; made by hand after Confluent's wire format.
BAD = [
    ("nothing at all", "", "truncated"),
    ("a magic byte alone", "00", "truncated"),
    ("cut within the id", "000000", "truncated"),
    ("cut before the indexes", "0000000001", "truncated"),
    ("cut within the indexes", "00000000010400", "truncated"),
    ("cut within an index", "00000000010280", "truncated"),
    ("JSON", b'{"id":1}'.hex(), "magic"),
    ("another magic byte", "010000000100", "magic"),
    ("a count of -1", "000000000101", "indexes"),
    ("a count of 17", "0000000001" + "22" + "00" * 17, "indexes"),
    ("an index of -1", "00000000010201", "indexes"),
    ("an index of 33 bits", "000000000102ffffffff1f", "indexes"),
    ("an index without an end", "000000000102" + "ff" * 6, "indexes"),
]


class OneId(MockSchemaRegistryClient):
    """A registry that gives every schema the same id: the frame is what matters here."""

    def __init__(self, schema_id):
        super().__init__({"url": "mock://"})
        self.schema_id = schema_id

    def register_schema_full_response(self, subject_name, schema, normalize_schemas=False):
        return RegisteredSchema(
            schema_id=self.schema_id, guid=None, subject=subject_name, version=1, schema=schema
        )


def compiled(text):
    """The file's descriptor, by protoc, and the classes of its messages."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "vector.proto").write_text(text, encoding="utf-8")
        out = Path(folder, "set")
        include = Path(protoc.__file__).parent / "_proto"
        arguments = ["protoc", f"-I{folder}", f"-I{include}", "--include_imports", f"--descriptor_set_out={out}"]
        assert protoc.main([*arguments, "vector.proto"]) == 0
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


def good(name, schema_id, text, message, value):
    pool = compiled(text)
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName(message))
    conf = {"subject.name.strategy": topic_subject_name_strategy, "skip.known.types": True}
    serializer = ProtobufSerializer(made, OneId(schema_id), conf)
    framed = serializer(json_format.ParseDict(value, made(), descriptor_pool=pool), CONTEXT)
    back = ProtobufDeserializer(made, {"subject.name.strategy": topic_subject_name_strategy})(framed, CONTEXT)
    assert json_format.MessageToDict(back, descriptor_pool=pool) == value, name
    indexes = list(serializer._index_array)
    payload = back.SerializeToString(deterministic=True)
    assert framed.endswith(payload), name
    return {
        "name": name,
        "schema_id": schema_id,
        "schema": text,
        "message": message,
        "message_indexes": indexes,
        "frame_hex": framed.hex(),
        "payload_hex": payload.hex(),
        "value": value,
    }


def main():
    frames = [good(*case) for case in CASES]
    # The other spelling of [0], which writers may use and readers must take: the library reads it too.
    first = frames[0]
    long = bytes.fromhex(first["frame_hex"])
    long = long[:5] + b"\x02\x00" + long[6:]
    pool = compiled(PLAIN)
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName(EVENT))
    back = ProtobufDeserializer(made, {"subject.name.strategy": topic_subject_name_strategy})(long, CONTEXT)
    assert json_format.MessageToDict(back, descriptor_pool=pool) == FULL
    frames.append({**first, "name": "[0] spelled in full", "frame_hex": long.hex(), "read_only": True})
    bad = [{"name": name, "frame_hex": frame, "error": error, "reason": "BAD_FRAME"} for name, frame, error in BAD]
    document = {"frames": frames, "bad": bad}
    OUT.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(frames)} frames, {len(bad)} bad ones", file=sys.stderr)


main()
