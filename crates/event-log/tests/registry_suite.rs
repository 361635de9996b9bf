//! What every schema registry does: one suite, run on a real one by Confluent's API and on the embedded one.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use headwater_event_log::registry::{ConfluentRegistry, SqliteRegistry};
use headwater_event_log::{ProtoSchema, RegistryError, SchemaReference, SchemaRegistry};
use headwater_testkit::{REGISTRY, require, unique};

macro_rules! on_every_registry {
    ($($case:ident;)*) => {
        mod confluent {
            $(#[tokio::test] async fn $case() {
                let url = super::require(super::REGISTRY);
                super::$case(&super::ConfluentRegistry::new(&url, super::Duration::from_secs(5)).unwrap()).await;
            })*
        }
        mod sqlite_file {
            $(#[tokio::test] async fn $case() {
                let dir = tempfile::tempdir().unwrap();
                super::$case(&super::SqliteRegistry::open(Some(&dir.path().join("registry.sqlite3"))).unwrap()).await;
            })*
        }
        mod sqlite_memory {
            $(#[tokio::test] async fn $case() {
                super::$case(&super::SqliteRegistry::open(None).unwrap()).await;
            })*
        }
    };
}

on_every_registry! {
    a_text_has_one_id;
    a_subject_may_be_made_by_many_at_a_time;
    a_subject_grows;
    what_breaks_readers_is_refused;
    an_id_leads_to_its_schema;
    imports_are_other_subjects;
    an_import_must_be_there;
    what_is_no_schema_is_refused;
    a_registry_that_is_there_says_so;
}

/// A schema of a package that no other test has, so that no other has its text.
fn schema(package: &str, fields: &str) -> ProtoSchema {
    let text = format!("syntax = \"proto3\";\npackage {package};\n\nmessage Event {{\n  string id = 1;\n{fields}}}\n");
    ProtoSchema { text, references: Vec::new() }
}

fn package() -> String {
    unique("test").replace('-', "_")
}

async fn a_text_has_one_id(registry: &dyn SchemaRegistry) {
    let schema = schema(&package(), "");
    let (subject, other) = (unique("subject"), unique("subject"));
    let first = registry.register(&subject, &schema).await.unwrap();
    assert_eq!(registry.register(&subject, &schema).await.unwrap().id, first.id);
    assert_eq!(registry.register(&other, &schema).await.unwrap().id, first.id, "under another subject too");
}

async fn a_subject_may_be_made_by_many_at_a_time(registry: &dyn SchemaRegistry) {
    let (subject, schema) = (unique("subject"), schema(&package(), ""));
    let register = || registry.register(&subject, &schema);
    let (a, b, c, d) = tokio::join!(register(), register(), register(), register());
    let id = registry.register(&subject, &schema).await.unwrap().id;
    for made in [a, b, c, d] {
        match made {
            Ok(made) => assert_eq!(made.id, id),
            Err(error) => {
                assert!(matches!(error, RegistryError::Unavailable(_)), "the next try would find it: {error}")
            }
        }
    }
}

async fn a_subject_grows(registry: &dyn SchemaRegistry) {
    let (subject, package) = (unique("subject"), package());
    let (one, two) = (schema(&package, "  int64 n = 2;\n"), schema(&package, "  int64 n = 2;\n  bool more = 3;\n"));
    let first = registry.register(&subject, &one).await.unwrap();
    let second = registry.register(&subject, &two).await.unwrap();
    assert_eq!((first.version, second.version), (1, 2));
    assert_ne!(first.id, second.id);
    assert_eq!(registry.latest(&subject).await.unwrap().map(|latest| latest.id), Some(second.id));
    assert_eq!(registry.register(&subject, &one).await.unwrap().id, first.id, "an old version is found");
    assert_eq!(registry.latest(&subject).await.unwrap().map(|latest| latest.id), Some(second.id), "and not made new");
}

async fn what_breaks_readers_is_refused(registry: &dyn SchemaRegistry) {
    let (subject, package) = (unique("subject"), package());
    let first = registry.register(&subject, &schema(&package, "  int64 n = 2;\n")).await.unwrap();
    let broken = [
        schema(&package, "  string n = 2;\n"),
        schema(&package, "  string other = 2;\n"),
        schema(&package, "  int64 n = 3;\n"),
        schema(&package, ""),
    ];
    for broken in broken {
        let refused = registry.register(&subject, &broken).await;
        let incompatible =
            matches!(&refused, Err(RegistryError::Incompatible { subject: named, .. }) if *named == subject);
        assert!(incompatible, "{}: {refused:?}", broken.text);
    }
    assert_eq!(registry.latest(&subject).await.unwrap().map(|latest| latest.id), Some(first.id));
}

async fn an_id_leads_to_its_schema(registry: &dyn SchemaRegistry) {
    let (subject, schema) = (unique("subject"), schema(&package(), ""));
    assert_eq!(registry.latest(&subject).await, Ok(None));
    let id = registry.register(&subject, &schema).await.unwrap().id;
    let found = registry.schema(id).await.unwrap().unwrap();
    assert_eq!((found.id, found.schema.references.len()), (id, 0));
    assert!(found.schema.text.contains("message Event"), "{}", found.schema.text);
    assert_eq!(registry.schema(2_000_000_000).await, Ok(None));
}

async fn imports_are_other_subjects(registry: &dyn SchemaRegistry) {
    let (package, money, subject) = (package(), unique("acme/money.proto"), unique("subject"));
    let text = format!("syntax = \"proto3\";\npackage {package};\n\nmessage Money {{\n  int64 units = 1;\n}}\n");
    registry.register(&money, &ProtoSchema { text, references: Vec::new() }).await.unwrap();
    let reference = SchemaReference { name: "acme/money.proto".into(), subject: money, version: 1 };
    let text = format!(
        "syntax = \"proto3\";\npackage {package}.user;\n\nimport \"acme/money.proto\";\nimport \
         \"google/protobuf/timestamp.proto\";\n\nmessage Price {{\n  {package}.Money price = 1;\n  \
         google.protobuf.Timestamp at = 2;\n}}\n"
    );
    let price = ProtoSchema { text, references: vec![reference.clone()] };
    let id = registry.register(&subject, &price).await.unwrap().id;
    assert_eq!(registry.register(&subject, &price).await.unwrap().id, id);
    for found in [registry.schema(id).await, registry.latest(&subject).await] {
        let found = found.unwrap().unwrap();
        assert_eq!((found.id, found.schema.references), (id, vec![reference.clone()]));
    }
}

async fn an_import_must_be_there(registry: &dyn SchemaRegistry) {
    let text = "syntax = \"proto3\";\nimport \"acme/none.proto\";\nmessage Price {\n  acme.None price = 1;\n}\n".into();
    let reference = SchemaReference { name: "acme/none.proto".into(), subject: unique("none"), version: 1 };
    let refused = registry.register(&unique("subject"), &ProtoSchema { text, references: vec![reference] }).await;
    assert!(matches!(refused, Err(RegistryError::Refused(_))), "{refused:?}");
}

async fn what_is_no_schema_is_refused(registry: &dyn SchemaRegistry) {
    let garbage = ProtoSchema { text: "garbage".into(), references: Vec::new() };
    let refused = registry.register(&unique("subject"), &garbage).await;
    assert!(matches!(refused, Err(RegistryError::Refused(_))), "{refused:?}");
}

async fn a_registry_that_is_there_says_so(registry: &dyn SchemaRegistry) {
    assert_eq!(registry.check().await, Ok(()));
}

async fn every_call(registry: &dyn SchemaRegistry) -> [Result<(), RegistryError>; 4] {
    [
        registry.register("s", &schema("p", "")).await.map(|_| ()),
        registry.schema(1).await.map(|_| ()),
        registry.latest("s").await.map(|_| ()),
        registry.check().await,
    ]
}

#[tokio::test]
async fn a_registry_that_is_away_is_unavailable() {
    // Nothing listens on port 1.
    let registry = ConfluentRegistry::new("http://name:secret@127.0.0.1:1", Duration::from_secs(1)).unwrap();
    for result in every_call(&registry).await {
        let Err(RegistryError::Unavailable(text)) = result else { panic!("{result:?}") };
        assert!(!text.contains("secret"), "{text}");
    }
    assert!(matches!(ConfluentRegistry::new("no url", Duration::from_secs(1)), Err(RegistryError::Refused(_))));
}

#[tokio::test]
async fn a_path_without_a_registry_is_told() {
    let real = require(REGISTRY);
    let host = &real[..real.find("/apis").unwrap()];
    let registry = ConfluentRegistry::new(host, Duration::from_secs(5)).unwrap();
    for result in every_call(&registry).await {
        let Err(RegistryError::Unavailable(text)) = result else { panic!("{result:?}") };
        assert!(text.contains(host) && text.contains("/apis/ccompat/v7"), "{text}");
    }
}

#[tokio::test]
async fn an_embedded_registry_keeps_its_ids() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.sqlite3");
    let schema = schema("kept", "");
    let id = SqliteRegistry::open(Some(&path)).unwrap().register("s", &schema).await.unwrap().id;
    let again = SqliteRegistry::open(Some(&path)).unwrap();
    assert_eq!(again.schema(id).await.unwrap().unwrap().schema, schema);
    assert_eq!(again.register("s", &schema).await.unwrap().id, id);
}
