//! What the embedded registry allows a subject to become.
//!
//! A new version is compared with every earlier one, so that what was written at any time can be read by it. It is refused
//! where, for a message of an earlier version,
//!
//! - the message is missing;
//! - a field's number has another type than it had (its kind, or the message or enum that it refers to), or has become
//!   repeated, single or a map: a number is never used for something else;
//! - a field's name has another number than it had;
//! - a field is missing and its number is not reserved;
//! - a field has moved into a oneof, out of one, or to another.
//!
//! Everything else is allowed: new messages and fields, other names for a field, reserved removals, `optional` or not, and
//! enums however they change, as an enum's number is kept where it has no name. Confluent's registry is more generous
//! about numeric types of equal encoding and unreserved removals, Apicurio's less about other names.

use std::collections::HashMap;

use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

/// Name of the file that a subject's own text is compiled as. No import can have it.
const SUBJECT_FILE: &str = "<subject>";

/// Compiles a text, with the texts of its imports by the names that it imports them by.
///
/// # Errors
/// What the compiler says.
pub(super) fn compile(text: &str, imports: HashMap<String, String>) -> Result<FileDescriptor, String> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Texts { subject: text.to_owned(), imports });
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_file(SUBJECT_FILE).map_err(|error| error.to_string())?;
    let pool: DescriptorPool = compiler.descriptor_pool();
    pool.get_file_by_name(SUBJECT_FILE).ok_or_else(|| "the text has no descriptor".to_owned())
}

/// Compares a new version with an earlier one.
///
/// # Errors
/// The first reason against it.
pub(super) fn check(new: &FileDescriptor, earlier: &FileDescriptor) -> Result<(), String> {
    if new.package_name() != earlier.package_name() {
        return Err(format!("the package was {:?} and is {:?}", earlier.package_name(), new.package_name()));
    }
    earlier.messages().try_for_each(|message| check_message(new, &message))
}

fn check_message(new: &FileDescriptor, earlier: &MessageDescriptor) -> Result<(), String> {
    let name = earlier.full_name();
    let message = new.parent_pool().get_message_by_name(name).filter(|message| message.parent_file() == *new);
    let message = message.ok_or_else(|| format!("the message {name} is missing"))?;
    for was in earlier.fields() {
        let number = was.number();
        let same_name = message.get_field_by_name(was.name()).filter(|field| field.number() != number);
        if let Some(moved) = same_name {
            return Err(format!("{name}.{} had the number {number} and has {}", was.name(), moved.number()));
        }
        match message.get_field(number) {
            Some(is) => check_field(name, &is, &was)?,
            None if message.reserved_ranges().any(|range| range.contains(&number)) => {}
            None => return Err(format!("{name}.{} is missing, and its number {number} is not reserved", was.name())),
        }
    }
    let nested = earlier.child_messages().filter(|child| !child.is_map_entry());
    nested.into_iter().try_for_each(|child| check_message(new, &child))
}

fn check_field(message: &str, is: &FieldDescriptor, was: &FieldDescriptor) -> Result<(), String> {
    let field = format!("number {} of {message}", was.number());
    let (is_type, was_type) = (type_of(is), type_of(was));
    if is_type != was_type {
        return Err(format!("{field} was {was_type} and is {is_type}"));
    }
    let (is_oneof, was_oneof) = (oneof_of(is), oneof_of(was));
    if is_oneof != was_oneof {
        let called = |oneof: Option<String>| oneof.map_or("no oneof".to_owned(), |name| format!("the oneof {name}"));
        return Err(format!("{field} was in {} and is in {}", called(was_oneof), called(is_oneof)));
    }
    Ok(())
}

/// The type as a person writes it, with what it refers to.
fn type_of(field: &FieldDescriptor) -> String {
    if let Kind::Message(entry) = field.kind()
        && field.is_map()
    {
        let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        return format!("map<{}, {}>", type_of(&key), type_of(&value));
    }
    let kind = match field.kind() {
        Kind::Message(message) if field.is_group() => format!("group {}", message.full_name()),
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(values) => values.full_name().to_owned(),
        scalar => format!("{scalar:?}"),
    };
    match field.cardinality() {
        Cardinality::Repeated => format!("repeated {kind}"),
        Cardinality::Required => format!("required {kind}"),
        Cardinality::Optional => kind,
    }
}

/// The oneof that a person wrote, not the one that `optional` is made of.
fn oneof_of(field: &FieldDescriptor) -> Option<String> {
    field.containing_oneof().filter(|oneof| !oneof.is_synthetic()).map(|oneof| oneof.name().to_owned())
}

struct Texts {
    subject: String,
    imports: HashMap<String, String>,
}

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.imports.get(name) {
            _ if name == SUBJECT_FILE => File::from_source(name, &self.subject),
            Some(text) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(body: &str) -> FileDescriptor {
        compile(&format!("syntax = \"proto3\"; package a.v1; {body}"), HashMap::new()).expect("it compiles")
    }

    fn verdict(earlier: &str, new: &str) -> Result<(), String> {
        check(&compiled(new), &compiled(earlier))
    }

    #[test]
    fn what_keeps_old_records_readable_is_allowed() {
        let earlier = "message E { string id = 1; int64 n = 2; map<string, int32> m = 3; enum K { A = 0; } K k = 4; }";
        let allowed = [
            earlier,
            "message E { string id = 1; int64 n = 2; map<string, int32> m = 3; enum K { A = 0; B = 1; } K k = 4; bool b = 5; } message F {}",
            "message E { string name = 1; optional int64 n = 2; map<string, int32> m = 3; enum K { A = 0; } K k = 4; }",
            "message E { string id = 1; map<string, int32> m = 3; enum K { A = 0; } K k = 4; reserved 2; }",
        ];
        for new in allowed {
            assert_eq!(verdict(earlier, new), Ok(()), "{new}");
        }
    }

    #[test]
    fn what_makes_old_records_unreadable_is_refused() {
        let earlier = "message E { string id = 1; int64 n = 2; message I { int32 x = 1; } I i = 3; oneof o { bool p = 4; } map<string, int32> m = 5; }";
        let tail = "message I { int32 x = 1; } I i = 3; oneof o { bool p = 4; } map<string, int32> m = 5;";
        let refused = [
            (format!("message E {{ string id = 1; string n = 2; {tail} }}"), "was int64 and is string"),
            (format!("message E {{ string id = 1; string other = 2; {tail} }}"), "was int64 and is string"),
            (format!("message E {{ string id = 1; repeated int64 n = 2; {tail} }}"), "repeated int64"),
            (format!("message E {{ string id = 1; {tail} }}"), "is not reserved"),
            (format!("message E {{ string id = 1; int64 n = 6; reserved 2; {tail} }}"), "had the number 2 and has 6"),
            ("message F {}".to_owned(), "a.v1.E is missing"),
            (
                "message E { string id = 1; int64 n = 2; oneof o { bool p = 4; } map<string, int32> m = 5; reserved 3; }".into(),
                "a.v1.E.I is missing",
            ),
            (
                "message E { string id = 1; int64 n = 2; message I { string x = 1; } I i = 3; oneof o { bool p = 4; } map<string, int32> m = 5; }".into(),
                "number 1 of a.v1.E.I was int32 and is string",
            ),
            (
                "message E { string id = 1; int64 n = 2; message I { int32 x = 1; } I i = 3; bool p = 4; map<string, int32> m = 5; }".into(),
                "was in the oneof o and is in no oneof",
            ),
            (
                "message E { string id = 1; int64 n = 2; message I { int32 x = 1; } I i = 3; oneof o { bool p = 4; } map<string, int64> m = 5; }".into(),
                "was map<string, int32> and is map<string, int64>",
            ),
        ];
        for (new, reason) in refused {
            let verdict = verdict(earlier, &new).expect_err(&new);
            assert!(verdict.contains(reason), "{new}: {verdict}");
        }
    }

    #[test]
    fn another_package_is_refused() {
        let other = compile("syntax = \"proto3\"; package b.v1; message E {}", HashMap::new()).expect("it compiles");
        assert!(check(&other, &compiled("message E {}")).is_err());
    }

    #[test]
    fn imports_are_those_that_are_given() {
        let text = "syntax = \"proto3\"; import \"acme/money.proto\"; import \"google/protobuf/timestamp.proto\"; \
                    message P { acme.Money m = 1; google.protobuf.Timestamp t = 2; }";
        let money = "syntax = \"proto3\"; package acme; message Money { int64 units = 1; }";
        assert!(compile(text, HashMap::from([("acme/money.proto".into(), money.into())])).is_ok());
        assert!(compile(text, HashMap::new()).is_err());
        assert!(compile("garbage", HashMap::new()).is_err());
    }
}
