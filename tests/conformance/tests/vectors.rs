//! The vectors, read and written by the very code with which the platform frames, chooses partitions and counts.
#![allow(clippy::unwrap_used, reason = "tests")]

use headwater_domain::{Value, partition_of, units_of};
use headwater_event_log::frame::{self, FrameError};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value as Json;

fn vectors(text: &str, list: &str) -> Vec<Json> {
    let document: Json = serde_json::from_str(text).unwrap();
    let rows = document[list].as_array().unwrap().clone();
    assert!(!rows.is_empty(), "no {list}");
    rows
}

fn frames(list: &str) -> Vec<Json> {
    vectors(include_str!("../vectors/frames.json"), list)
}

fn text<'a>(row: &'a Json, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("{field} of {row}"))
}

fn bytes(row: &Json, field: &str) -> Vec<u8> {
    let hex = text(row, field);
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The message that the indexes of a frame lead to in the text of its schema.
fn message_at(schema: &str, indexes: &[i32]) -> MessageDescriptor {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("vector.proto"), schema).unwrap();
    let files = protox::compile(["vector.proto"], [folder.path()]).unwrap();
    let file = DescriptorPool::from_file_descriptor_set(files).unwrap().get_file_by_name("vector.proto").unwrap();
    let mut place = indexes.iter().map(|&index| usize::try_from(index).unwrap());
    let mut message = file.messages().nth(place.next().unwrap()).unwrap();
    for index in place {
        let inner = message.child_messages().nth(index);
        message = inner.unwrap();
    }
    message
}

#[test]
fn frames_are_read_as_the_reference_means_them() {
    for row in frames("frames") {
        let framed = bytes(&row, "frame_hex");
        let (id, indexes, payload) = frame::parse(&framed).unwrap();
        assert_eq!(Json::from(id), row["schema_id"], "{row}");
        assert_eq!(serde_json::json!(&indexes[..]), row["message_indexes"], "{row}");
        assert_eq!(payload, bytes(&row, "payload_hex"), "{row}");
        let message = message_at(text(&row, "schema"), &indexes);
        assert_eq!(message.full_name(), text(&row, "message"));
        let read = DynamicMessage::decode(message, payload).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), row["value"]);
    }
}

#[test]
fn frames_are_written_as_the_reference_writes_them() {
    for row in frames("frames").iter().filter(|row| row["read_only"].is_null()) {
        let indexes: Vec<i32> = serde_json::from_value(row["message_indexes"].clone()).unwrap();
        let message = message_at(text(row, "schema"), &indexes);
        let value = DynamicMessage::deserialize(message, row["value"].clone()).unwrap();
        let id = u32::try_from(row["schema_id"].as_u64().unwrap()).unwrap();
        let framed = [frame::prefix(id, &indexes), value.encode_to_vec()].concat();
        assert_eq!(framed, bytes(row, "frame_hex"), "{row}");
    }
}

#[test]
fn indexes_are_found_by_the_name_of_the_message() {
    for row in frames("frames") {
        let indexes = headwater_conformance::indexes_of(text(&row, "schema"), text(&row, "message")).unwrap();
        assert_eq!(serde_json::json!(indexes), row["message_indexes"], "{row}");
        let name = headwater_contracts::message_name_in(text(&row, "schema"), &indexes);
        assert_eq!(name.as_deref(), Some(text(&row, "message")));
    }
}

#[test]
fn what_is_no_frame_is_refused_for_its_reason() {
    for row in frames("bad") {
        let error = match frame::parse(&bytes(&row, "frame_hex")).unwrap_err() {
            FrameError::Truncated { .. } => "truncated",
            FrameError::Magic(_) => "magic",
            FrameError::Indexes => "indexes",
        };
        assert_eq!(error, text(&row, "error"), "{row}");
    }
}

#[test]
fn keys_belong_to_the_partitions_of_kafkas_own_client() {
    for row in vectors(include_str!("../vectors/keys.json"), "keys") {
        let key = bytes(&row, "key_hex");
        for (partitions, partition) in row["partitions"].as_object().unwrap() {
            assert_eq!(Json::from(partition_of(&key, partitions.parse().unwrap())), *partition, "{row}");
        }
    }
}

#[test]
fn amounts_are_cents_or_refused() {
    for row in vectors(include_str!("../vectors/amounts.json"), "amounts") {
        let double = f64::from_be_bytes(bytes(&row, "ieee_hex").try_into().unwrap());
        assert_eq!(serde_json::json!(units_of(&Value::F64(double), 2)), row["cents"], "{row}");
    }
}
