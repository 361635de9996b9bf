//! A file's `.proto` text without options: what the schema registry keeps.

use std::collections::BTreeSet;
use std::fmt::Write;

use prost_reflect::{
    Cardinality, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, OneofDescriptor,
};

/// The text of a file, and the files it imports outside google/protobuf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtoText {
    /// Name of the file, for example `headwater/event/v1/page_event.proto`.
    pub file: String,
    /// The text: the same for the same messages, whatever their options, comments and layout.
    pub text: String,
    /// Files whose messages it uses, outside google/protobuf, by name.
    pub imports: Vec<FileDescriptor>,
}

/// The text of the file without options and comments, with the imports that its messages use.
pub fn option_free_text(file: &FileDescriptor) -> ProtoText {
    let mut used = BTreeSet::new();
    for message in file.messages() {
        collect_used(&message, file, &mut used);
    }
    let mut text = String::from("syntax = \"proto3\";\n");
    if !file.package_name().is_empty() {
        let _ = write!(text, "\npackage {};\n", file.package_name());
    }
    if !used.is_empty() {
        text.push('\n');
    }
    for name in &used {
        let _ = writeln!(text, "import \"{name}\";");
    }
    for message in file.messages() {
        text.push('\n');
        write_message(&mut text, &message, 0);
    }
    for value in file.enums() {
        text.push('\n');
        write_enum(&mut text, &value, 0);
    }
    let pool = file.parent_pool();
    let imports = used
        .iter()
        .filter(|name| !name.starts_with("google/protobuf/"))
        .filter_map(|name| pool.get_file_by_name(name))
        .collect();
    ProtoText { file: file.name().to_owned(), text, imports }
}

fn collect_used(message: &MessageDescriptor, file: &FileDescriptor, used: &mut BTreeSet<String>) {
    for field in message.fields() {
        let owner = match field.kind() {
            Kind::Message(inner) => inner.parent_file(),
            Kind::Enum(inner) => inner.parent_file(),
            _ => continue,
        };
        if owner.name() != file.name() {
            used.insert(owner.name().to_owned());
        }
    }
    for nested in message.child_messages() {
        collect_used(&nested, file, used);
    }
}

fn write_message(text: &mut String, message: &MessageDescriptor, depth: usize) {
    let pad = "  ".repeat(depth);
    let _ = writeln!(text, "{pad}message {} {{", message.name());
    for nested in message.child_messages().filter(|nested| !nested.is_map_entry()) {
        write_message(text, &nested, depth + 1);
    }
    for value in message.child_enums() {
        write_enum(text, &value, depth + 1);
    }
    let reserved = message.reserved_ranges().map(|range| {
        if range.end - range.start == 1 {
            range.start.to_string()
        } else {
            format!("{} to {}", range.start, range.end - 1)
        }
    });
    write_reserved(text, &pad, reserved.collect(), message.reserved_names().map(str::to_owned).collect());
    let mut fields: Vec<FieldDescriptor> = message.fields().collect();
    fields.sort_by_key(FieldDescriptor::number);
    let mut written: Vec<OneofDescriptor> = Vec::new();
    for field in fields {
        match field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
            Some(oneof) if written.contains(&oneof) => {}
            Some(oneof) => {
                let _ = writeln!(text, "{pad}  oneof {} {{", oneof.name());
                let mut members: Vec<FieldDescriptor> = oneof.fields().collect();
                members.sort_by_key(FieldDescriptor::number);
                for member in members {
                    write_field(text, &member, depth + 2);
                }
                let _ = writeln!(text, "{pad}  }}");
                written.push(oneof);
            }
            None => write_field(text, &field, depth + 1),
        }
    }
    let _ = writeln!(text, "{pad}}}");
}

fn write_reserved(text: &mut String, pad: &str, ranges: Vec<String>, names: Vec<String>) {
    if !ranges.is_empty() {
        let _ = writeln!(text, "{pad}  reserved {};", ranges.join(", "));
    }
    if !names.is_empty() {
        let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        let _ = writeln!(text, "{pad}  reserved {};", quoted.join(", "));
    }
}

fn write_field(text: &mut String, field: &FieldDescriptor, depth: usize) {
    let pad = "  ".repeat(depth);
    let kind = match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            format!(
                "map<{}, {}>",
                kind_name(&entry.map_entry_key_field().kind()),
                kind_name(&entry.map_entry_value_field().kind())
            )
        }
        kind if field.cardinality() == Cardinality::Repeated => format!("repeated {}", kind_name(&kind)),
        kind if field.containing_oneof().is_some_and(|oneof| oneof.is_synthetic()) => {
            format!("optional {}", kind_name(&kind))
        }
        kind => kind_name(&kind),
    };
    let _ = writeln!(text, "{pad}{kind} {} = {};", field.name(), field.number());
}

fn write_enum(text: &mut String, value: &EnumDescriptor, depth: usize) {
    let pad = "  ".repeat(depth);
    let _ = writeln!(text, "{pad}enum {} {{", value.name());
    let mut numbers = BTreeSet::new();
    if value.values().any(|entry| !numbers.insert(entry.number())) {
        let _ = writeln!(text, "{pad}  option allow_alias = true;");
    }
    for entry in value.values() {
        let _ = writeln!(text, "{pad}  {} = {};", entry.name(), entry.number());
    }
    let _ = writeln!(text, "{pad}}}");
}

fn kind_name(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => format!(".{}", message.full_name()),
        Kind::Enum(value) => format!(".{}", value.full_name()),
        other => format!("{other:?}").to_lowercase(),
    }
}
