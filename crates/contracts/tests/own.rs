//! A user's own contracts: every kind of field, and what is wrong with one that does not hold.
#![allow(clippy::unwrap_used, reason = "tests")]

use headwater_contracts::{ContractErrors, Contracts};
use headwater_domain::{ColumnType, Reason, Value};
use prost::Message;
use prost_reflect::DynamicMessage;

fn load(text: &str) -> Result<Contracts, ContractErrors> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("acme")).unwrap();
    std::fs::write(folder.path().join("acme/own.proto"), text).unwrap();
    Contracts::with_path(folder.path())
}

const HEAD: &str = "syntax = \"proto3\";\npackage acme;\nimport \"google/protobuf/timestamp.proto\";\n\
                    import \"buf/validate/validate.proto\";\nimport \"headwater/stream/v1/stream.proto\";\n";

/// A dated folder, `..data` as a link to it, and each file as one through that.
#[test]
#[cfg(unix)]
fn a_mounted_config_map_holds_each_file_once() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let dated = folder.path().join("..2026_11_21_17_00_00.1");
    std::fs::create_dir(&dated).unwrap();
    let text = format!(
        "{HEAD}message Order {{ option (headwater.stream.v1.stream) = {{ name: \"orders\" id: \"id\" key: \"id\" time: \"at\" }}; \
         string id = 1; google.protobuf.Timestamp at = 2; }}"
    );
    std::fs::write(dated.join("order.proto"), text).unwrap();
    symlink("..2026_11_21_17_00_00.1", folder.path().join("..data")).unwrap();
    symlink("..data/order.proto", folder.path().join("order.proto")).unwrap();
    assert!(Contracts::with_path(folder.path()).unwrap().stream("orders").is_some());
}

#[test]
fn every_kind_of_field_comes_back() {
    let contracts = load(&format!(
        "{HEAD}
        enum Colour {{ COLOUR_UNSPECIFIED = 0; COLOUR_RED = 1; }}
        message Inner {{ string name = 1; Inner next = 2; }}
        message All {{
          option (headwater.stream.v1.stream) = {{ name: \"all\" id: \"id\" key: \"tenant\" time: \"at\" }};
          string id = 1; uint64 tenant = 2; google.protobuf.Timestamp at = 3;
          bool flag = 4; sint32 small = 5; fixed64 wide = 6; float real = 7; bytes raw = 8; Colour colour = 9;
          optional string maybe = 10; repeated int32 numbers = 11; map<string, Inner> by_name = 12; Inner inner = 13;
          oneof choice {{ string text = 14; int64 number = 15; }}
          sfixed32 fixed = 16; uint32 unsigned = 17; double precise = 18;
        }}"
    ))
    .unwrap();
    let stream = contracts.stream("all").unwrap();
    assert_eq!(stream.schema.columns[1].kind, ColumnType::U64);
    assert_eq!(stream.schema.columns[11].kind, ColumnType::Json);
    let json = serde_json::json!({
        "id": "1", "tenant": "18446744073709551615", "at": "2024-03-15T14:30:00.5Z", "flag": true, "small": -7,
        "wide": "9", "real": 1.5, "raw": "AAE=", "colour": "COLOUR_RED", "maybe": "", "numbers": [1, -2],
        "byName": {"a": {"name": "x"}}, "inner": {"name": "y", "next": {"name": "z"}}, "number": "0", "fixed": -3,
        "unsigned": 4_000_000_000_u32, "precise": 0.1
    });
    let message = DynamicMessage::deserialize(stream.descriptor.clone(), json).unwrap();
    let event = stream.check(&message.encode_to_vec()).unwrap();
    assert_eq!(event.values[1], Value::U64(u64::MAX));
    assert_eq!(event.values[9], Value::Text(String::new()));
    assert_eq!(event.values[13], Value::Null);
    assert_eq!(event.values[14], Value::I64(0));
    assert_eq!(event.values[10], Value::Json("[1,-2]".into()));
    let back = DynamicMessage::decode(stream.descriptor.clone(), stream.encode(&event).unwrap().as_slice()).unwrap();
    assert_eq!(back, message);
}

#[test]
fn a_stream_nested_after_a_map_is_found_in_the_text_that_is_registered() {
    let contracts = load(&format!(
        "{HEAD}
        message Outer {{
          map<string, string> labels = 1;
          message First {{ string text = 1; }}
          map<string, First> more = 2;
          message Inner {{
            option (headwater.stream.v1.stream) = {{ name: \"inner\" id: \"id\" key: \"id\" time: \"at\" }};
            string id = 1; google.protobuf.Timestamp at = 2; map<string, First> more = 3;
          }}
        }}"
    ))
    .unwrap();
    let stream = contracts.stream("inner").unwrap();
    assert_eq!(stream.message_indexes, [0, 1]);
    let name = headwater_contracts::message_name_in(&stream.text.text, &stream.message_indexes);
    assert_eq!(name.as_deref(), Some("acme.Outer.Inner"), "{}", stream.text.text);
}

#[test]
fn a_message_a_thousand_deep_is_malformed() {
    let contracts = load(&format!(
        "{HEAD}
        message Node {{ Node next = 1; }}
        message Deep {{
          option (headwater.stream.v1.stream) = {{ name: \"deep\" id: \"id\" key: \"id\" time: \"at\" }};
          string id = 1; google.protobuf.Timestamp at = 2; Node node = 3;
        }}"
    ))
    .unwrap();
    let mut node = Vec::new();
    for _ in 0..1000 {
        let mut outer = vec![0x0a];
        prost::encoding::encode_varint(node.len() as u64, &mut outer);
        outer.extend_from_slice(&node);
        node = outer;
    }
    let mut bytes = vec![0x0a, 1, b'x', 0x1a];
    prost::encoding::encode_varint(node.len() as u64, &mut bytes);
    bytes.extend_from_slice(&node);
    assert_eq!(contracts.stream("deep").unwrap().check(&bytes).unwrap_err().reason, Reason::Malformed);
}

#[test]
fn rules_that_are_not_compiled_are_judged_by_the_library() {
    let contracts = load(&format!(
        "{HEAD}
        message Order {{
          option (headwater.stream.v1.stream) = {{ name: \"orders\" id: \"id\" key: \"id\" time: \"at\" }};
          option (buf.validate.message).cel = {{ id: \"order.sum\" message: \"net is more than gross\" expression: \"this.net <= this.gross\" }};
          string id = 1 [(buf.validate.field).string.pattern = \"^o[0-9]+$\"];
          google.protobuf.Timestamp at = 2; int64 net = 3; int64 gross = 4;
        }}"
    ))
    .unwrap();
    let stream = contracts.stream("orders").unwrap();
    let order = |id: &str, net: i64| {
        let json = serde_json::json!({"id": id, "at": "2024-03-15T14:30:00Z", "net": net.to_string(), "gross": "10"});
        DynamicMessage::deserialize(stream.descriptor.clone(), json).unwrap().encode_to_vec()
    };
    assert!(stream.check(&order("o1", 10)).is_ok());
    let defect = stream.check(&order("x1", 10)).unwrap_err();
    assert_eq!((defect.fields[0].field.as_str(), defect.fields[0].rule.as_str()), ("id", "string.pattern"));
    let defect = stream.check(&order("o1", 11)).unwrap_err();
    assert_eq!(defect.fields[0].rule, "order.sum");
}

#[test]
fn a_contract_that_does_not_hold_says_where_and_why() {
    let cases = [
        ("name: \"Own\" id: \"id\" key: \"id\" time: \"at\"", "name", "\"Own\" is not a stream's name"),
        (
            "name: \"own\" id: \"idd\" key: \"id\" time: \"at\"",
            "id",
            "there is no field \"idd\"; the fields are id, at, n",
        ),
        ("name: \"own\" id: \"n\" key: \"id\" time: \"at\"", "id", "of the kind i64, not text"),
        ("name: \"own\" id: \"id\" key: \"id\" time: \"n\"", "time", "of the kind i64, not time"),
        ("name: \"page-events\" id: \"id\" key: \"id\" time: \"at\"", "name", "names of streams"),
        (
            "name: \"own\" id: \"id\" key: \"id\" time: \"at\" stats: { name: \"s\" sum: { field: \"id\" } }",
            "stats \"s\": field",
            "of the kind text, not f64 or i64 or u64",
        ),
        (
            "name: \"own\" id: \"id\" key: \"id\" time: \"at\" stats: { name: \"s\" }",
            "stats \"s\"",
            "says not how it is counted",
        ),
        (
            "name: \"own\" id: \"id\" key: \"id\" time: \"at\" rules: { name: \"r\" flag_above: { count: 1 per: \"n\" every_s: 1 } }",
            "rules \"r\": per",
            "is not the stream's key",
        ),
    ];
    for (options, place, problem) in cases {
        let errors = load(&format!(
            "{HEAD}
            message Own {{
              option (headwater.stream.v1.stream) = {{ {options} }};
              string id = 1; google.protobuf.Timestamp at = 2; int64 n = 3;
            }}"
        ))
        .unwrap_err();
        let text = errors.to_string();
        assert!(text.contains("acme/own.proto"), "{text}");
        assert!(text.contains(&format!("acme.Own: {place}")), "{text}");
        assert!(text.contains(problem), "{text}");
    }
}

#[test]
fn a_file_that_does_not_compile_says_so() {
    let text = load("syntax = \"proto3\"; message X { Missing y = 1; }").unwrap_err().to_string();
    assert!(text.contains("acme/own.proto") && text.contains("Missing"), "{text}");
}

#[test]
fn an_id_or_a_key_has_at_most_1024_bytes() {
    let contracts = load(&format!(
        "{HEAD}
        message Own {{
          option (headwater.stream.v1.stream) = {{ name: \"own\" id: \"id\" key: \"key\" time: \"at\" }};
          string id = 1; string key = 2; google.protobuf.Timestamp at = 3;
        }}"
    ))
    .unwrap();
    let stream = contracts.stream("own").unwrap();
    let own = |id: usize, key: usize| {
        let json = serde_json::json!({"id": "i".repeat(id), "key": "k".repeat(key), "at": "2024-03-15T14:30:00Z"});
        stream.check(&DynamicMessage::deserialize(stream.descriptor.clone(), json).unwrap().encode_to_vec())
    };
    assert!(own(1024, 1024).is_ok());
    for (id, key, field) in [(1025, 1, "id"), (1, 1025, "key"), (0, 1, "id"), (1, 0, "key")] {
        let defect = own(id, key).unwrap_err();
        assert_eq!((defect.reason, defect.fields[0].field.as_str()), (Reason::InvalidField, field));
    }
}
