//! The shipped contracts hold, and say what the platform reads from them.
#![allow(clippy::unwrap_used, reason = "tests")]

use headwater_contracts::{Contracts, message_name_in, v1};
use headwater_domain::{ColumnType, Reason, StatKind, Value};
use prost::Message;
use prost_types::Timestamp;

fn page_event() -> v1::event::PageEvent {
    v1::event::PageEvent {
        event_id: "0190c8f0-0000-7000-8000-000000000001".into(),
        timestamp: Some(Timestamp { seconds: 1_710_513_000, nanos: 123_456_000 }),
        user_id: "usr_789".into(),
        event_type: "page_view".into(),
        page_url: "/products/electronics".into(),
        session_id: "sess_456".into(),
    }
}

#[test]
fn page_events_are_read_from_their_options() {
    let contracts = Contracts::shipped().unwrap();
    let names: Vec<&str> = contracts.streams().map(|stream| stream.schema.name.as_str()).collect();
    assert_eq!(names, ["page-events", "transactions"]);
    let schema = &contracts.stream("page-events").unwrap().schema;
    assert_eq!(schema.table, "page_events");
    assert_eq!(schema.columns.len(), 6);
    assert_eq!(schema.columns[schema.time].kind, ColumnType::Time);
    assert_eq!(schema.rules[0].count, 10);
    assert_eq!(schema.stats[2].kind, StatKind::Distinct { field: 5, by: Some(2) });
}

#[test]
fn an_event_is_taken_apart_and_put_together() {
    let contracts = Contracts::shipped().unwrap();
    let stream = contracts.stream("page-events").unwrap();
    let mut bytes = page_event().encode_to_vec();
    // A field of a newer contract, number 99, varint 7: kept, not lost.
    bytes.extend_from_slice(&[0x98, 0x06, 0x07]);
    let event = stream.check(&bytes).unwrap();
    assert_eq!(stream.schema.id_of(&event), "0190c8f0-0000-7000-8000-000000000001");
    assert_eq!(stream.schema.time_us_of(&event), 1_710_513_000_123_456);
    assert_eq!(event.unknown, [0x98, 0x06, 0x07]);
    assert_eq!(stream.encode(&event).unwrap(), bytes);
}

#[test]
fn what_breaks_the_contract_is_named() {
    let contracts = Contracts::shipped().unwrap();
    let stream = contracts.stream("page-events").unwrap();
    type Change = fn(&mut v1::event::PageEvent);
    let cases: [(Change, Reason, &str); 6] = [
        (|e| e.event_id = "not-a-uuid".into(), Reason::InvalidField, "event_id"),
        (|e| e.timestamp = None, Reason::InvalidField, "timestamp"),
        (|e| e.user_id.clear(), Reason::InvalidField, "user_id"),
        (|e| e.page_url = "x".repeat(2049), Reason::InvalidField, "page_url"),
        (|e| e.timestamp = Some(Timestamp { seconds: 5, nanos: 0 }), Reason::TimeAncient, "timestamp"),
        (|e| e.session_id = "a\0b".into(), Reason::InvalidField, "session_id"),
    ];
    for (change, reason, field) in cases {
        let mut event = page_event();
        change(&mut event);
        let defect = stream.check(&event.encode_to_vec()).unwrap_err();
        assert_eq!(defect.reason, reason, "{field}");
        assert_eq!(defect.fields[0].field, field);
        assert!(defect.detail.contains(field), "{}", defect.detail);
        assert!(!defect.fields[0].description.is_empty());
    }
}

#[test]
fn bytes_that_are_no_message_are_malformed() {
    let contracts = Contracts::shipped().unwrap();
    let stream = contracts.stream("page-events").unwrap();
    let whole = page_event().encode_to_vec();
    for cut in 1..whole.len() {
        // A cut between two fields leaves a message that only misses fields.
        let defect = stream.check(&whole[..cut]).unwrap_err();
        assert!(matches!(defect.reason, Reason::Malformed | Reason::InvalidField), "{cut}: {defect:?}");
    }
    for garbage in
        [&b"{\"user_id\":\"x\"}"[..], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0x0a, 0x02, 0xc3, 0x28], &[0x08, 0x01]]
    {
        assert_eq!(stream.check(garbage).unwrap_err().reason, Reason::Malformed, "{garbage:?}");
    }
    // A thousand groups within each other, in a field the contract does not know.
    let deep: Vec<u8> = [0x9b, 0x06].repeat(1000).into_iter().chain([0x9c, 0x06].repeat(1000)).collect();
    assert_eq!(stream.check(&deep).unwrap_err().reason, Reason::Malformed);
}

#[test]
fn the_id_is_read_of_bytes_that_are_refused() {
    let contracts = Contracts::shipped().unwrap();
    let stream = contracts.stream("page-events").unwrap();
    let mut event = page_event();
    event.user_id.clear();
    let whole = event.encode_to_vec();
    let id = Some(event.event_id.clone());
    assert!(stream.check(&whole).is_err());
    assert_eq!(stream.id_in(&whole), id);
    // Whatever comes after it: cut short, of a wrong type, or nothing that can be read.
    assert_eq!(stream.id_in(&whole[..event.event_id.len() + 5]), id);
    assert_eq!(stream.id_in(&[&whole[..], &[0x18, 0x01]].concat()), id, "user_id as a number");
    assert_eq!(stream.id_in(&[&whole[..], &[0xff; 20]].concat()), id);
    // The last of several is the event's, as for every reader of Protobuf.
    assert_eq!(stream.id_in(&[&whole[..], &[0x0a, 0x01, b'z']].concat()).as_deref(), Some("z"));
    for none in [&[][..], &[0x0a], &[0x0a, 0x05, b'x'], &[0x0a, 0x02, 0xc3, 0x28], &[0x08, 0x01], &[0xff; 20]] {
        assert_eq!(stream.id_in(none), None, "{none:?}");
    }
}

#[test]
fn an_amount_is_of_the_scale_or_refused() {
    let contracts = Contracts::shipped().unwrap();
    let stream = contracts.stream("transactions").unwrap();
    let transaction = |amount: f64| v1::event::Transaction {
        transaction_id: "t1".into(),
        account_number: "a1".into(),
        transaction_reference: String::new(),
        transaction_datetime: Some(Timestamp { seconds: 1_710_513_000, nanos: 0 }),
        amount,
    };
    let event = stream.check(&transaction(-12.34).encode_to_vec()).unwrap();
    assert_eq!(event.values[4], Value::F64(-12.34));
    for (amount, reason) in [
        (0.001, Reason::NotInScale),
        (1e300, Reason::NotInScale),
        (f64::NAN, Reason::InvalidField),
        (f64::INFINITY, Reason::InvalidField),
    ] {
        let defect = stream.check(&transaction(amount).encode_to_vec()).unwrap_err();
        assert_eq!((defect.reason, defect.fields[0].field.as_str()), (reason, "amount"), "{amount}");
    }
}

#[test]
fn the_registry_gets_the_text_without_options() {
    let contracts = Contracts::shipped().unwrap();
    let stream = contracts.stream("page-events").unwrap();
    assert_eq!(stream.subject, "page-events-value");
    assert_eq!(stream.message_indexes, [0]);
    assert!(stream.text.imports.is_empty());
    assert_eq!(
        stream.text.text,
        "syntax = \"proto3\";\n\npackage headwater.event.v1;\n\nimport \"google/protobuf/timestamp.proto\";\n\n\
         message PageEvent {\n  string event_id = 1;\n  .google.protobuf.Timestamp timestamp = 2;\n  string user_id = 3;\n  \
         string event_type = 4;\n  string page_url = 5;\n  string session_id = 6;\n}\n"
    );
    assert_eq!(message_name_in(&stream.text.text, &[0]).as_deref(), Some("headwater.event.v1.PageEvent"));
    assert_eq!(message_name_in(&stream.text.text, &[1]), None);
}

#[test]
fn reasons_have_the_names_and_numbers_of_the_contract() {
    use v1::error::Reason as Proto;
    for reason in Reason::ALL {
        let proto = Proto::try_from(reason.number()).unwrap();
        assert_eq!(proto.as_str_name(), format!("REASON_{}", reason.name()));
    }
    let known = (1..1000).filter(|number| Proto::try_from(*number).is_ok()).count();
    assert_eq!(known, Reason::ALL.len());
}
