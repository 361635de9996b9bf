//! From the options of a message to what the platform knows of the stream.

use std::collections::BTreeSet;
use std::sync::Arc;

use headwater_domain::{Column, ColumnType, RuleSpec, StatKind, StatSpec, StreamSchema, Where};
use prost::Message;
use prost_reflect::{Cardinality, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};

use crate::v1::stream::{Rule, Stat, StreamOptions, rule, stat};
use crate::{ContractError, StreamContract};

const STREAM_EXTENSION: &str = "headwater.stream.v1.stream";
const NAME_CHARS_MAX: usize = 63;
const STATS_MAX: usize = 32;
const RULES_MAX: usize = 8;
const INDEXES_MAX: usize = 4;
const SPAN_S_MAX: u32 = 3600;
const SCALE_MAX: u32 = 9;

/// The kind of column that a field's values go into.
pub(crate) fn column_type(field: &FieldDescriptor) -> ColumnType {
    if field.cardinality() == Cardinality::Repeated {
        return ColumnType::Json;
    }
    match field.kind() {
        Kind::Bool => ColumnType::Bool,
        Kind::Int32
        | Kind::Sint32
        | Kind::Sfixed32
        | Kind::Int64
        | Kind::Sint64
        | Kind::Sfixed64
        | Kind::Uint32
        | Kind::Fixed32 => ColumnType::I64,
        Kind::Uint64 | Kind::Fixed64 => ColumnType::U64,
        Kind::Float | Kind::Double => ColumnType::F64,
        Kind::String | Kind::Enum(_) => ColumnType::Text,
        Kind::Bytes => ColumnType::Bytes,
        Kind::Message(message) if message.full_name() == "google.protobuf.Timestamp" => ColumnType::Time,
        Kind::Message(_) => ColumnType::Json,
    }
}

/// The stream that the message declares; none where it has no stream option.
pub(crate) fn stream_of(message: &MessageDescriptor) -> Result<Option<StreamContract>, Vec<ContractError>> {
    let Some(options) = options_of(message)? else { return Ok(None) };
    let mut reader = Reader { message, errors: Vec::new() };
    let schema = reader.schema(&options);
    if !reader.errors.is_empty() {
        return Err(reader.errors);
    }
    StreamContract::new(message.clone(), Arc::new(schema)).map(Some).map_err(|problem| {
        vec![ContractError {
            file: message.parent_file().name().to_owned(),
            place: message.full_name().to_owned(),
            problem,
        }]
    })
}

fn options_of(message: &MessageDescriptor) -> Result<Option<StreamOptions>, Vec<ContractError>> {
    let pool = message.parent_pool();
    let Some(extension) = pool.get_extension_by_name(STREAM_EXTENSION) else { return Ok(None) };
    let options: DynamicMessage = message.options();
    if !options.has_extension(&extension) {
        return Ok(None);
    }
    let value = options.get_extension(&extension);
    let bytes = value.as_message().map(Message::encode_to_vec).unwrap_or_default();
    StreamOptions::decode(bytes.as_slice()).map(Some).map_err(|error| {
        vec![ContractError {
            file: message.parent_file().name().to_owned(),
            place: message.full_name().to_owned(),
            problem: format!("the stream option cannot be read: {error}"),
        }]
    })
}

struct Reader<'a> {
    message: &'a MessageDescriptor,
    errors: Vec<ContractError>,
}

impl Reader<'_> {
    fn schema(&mut self, options: &StreamOptions) -> StreamSchema {
        if self.message.parent_file().syntax() != prost_reflect::Syntax::Proto3 {
            self.error("syntax", "a stream is declared in proto3");
        }
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !name_holds(&options.name, legal) {
            self.error(
                "name",
                &format!(
                    "{:?} is not a stream's name: lower-case letters, digits and hyphens, a letter first, at most \
                     {NAME_CHARS_MAX} characters",
                    options.name
                ),
            );
        }
        let mut fields: Vec<FieldDescriptor> = self.message.fields().collect();
        fields.sort_by_key(FieldDescriptor::number);
        let columns: Vec<Column> = fields
            .iter()
            .map(|field| Column { name: field.name().to_owned(), number: field.number(), kind: column_type(field) })
            .collect();
        for column in columns.iter().filter(|column| column.name.starts_with('_')) {
            self.error(&column.name, "names that begin with an underscore are the platform's own columns");
        }
        let id = self.column(&columns, "id", &options.id, &[ColumnType::Text]);
        let key_types = [ColumnType::Text, ColumnType::I64, ColumnType::U64, ColumnType::Bool];
        let key = self.column(&columns, "key", &options.key, &key_types);
        let time = self.column(&columns, "time", &options.time, &[ColumnType::Time]);
        self.bound("stats", options.stats.len(), STATS_MAX);
        self.bound("rules", options.rules.len(), RULES_MAX);
        self.bound("index", options.index.len(), INDEXES_MAX);
        let indexes = options.index.iter().map(|name| self.column(&columns, "index", name, &key_types)).collect();
        let stats = options.stats.iter().map(|stat| self.stat(&columns, stat)).collect::<Vec<_>>();
        let rules = options.rules.iter().map(|rule| self.rule(&columns, rule, key)).collect::<Vec<_>>();
        self.unique("stats", stats.iter().map(|stat| &stat.name));
        self.unique("rules", rules.iter().map(|rule| &rule.name));
        StreamSchema {
            name: options.name.clone(),
            table: options.name.replace('-', "_"),
            message: self.message.full_name().to_owned(),
            columns,
            id,
            key,
            time,
            indexes,
            stats,
            rules,
        }
    }

    fn stat(&mut self, columns: &[Column], stat: &Stat) -> StatSpec {
        let place = format!("stats {:?}", stat.name);
        self.member_name(&place, &stat.name);
        let keys = [ColumnType::Text, ColumnType::I64, ColumnType::U64, ColumnType::Bool];
        let numbers = [ColumnType::F64, ColumnType::I64, ColumnType::U64];
        let kind = match &stat.kind {
            Some(stat::Kind::Distinct(distinct)) => StatKind::Distinct {
                field: self.column(columns, &format!("{place}: field"), &distinct.field, &keys),
                by: self.optional_column(columns, &format!("{place}: by"), &distinct.by, &keys),
            },
            Some(stat::Kind::Top(top)) => {
                StatKind::Top { field: self.column(columns, &format!("{place}: field"), &top.field, &keys) }
            }
            Some(stat::Kind::Sum(sum)) => {
                if sum.scale > SCALE_MAX {
                    self.error(&format!("{place}: scale"), &format!("{} is more than {SCALE_MAX}", sum.scale));
                }
                StatKind::Sum {
                    field: self.column(columns, &format!("{place}: field"), &sum.field, &numbers),
                    by: self.optional_column(columns, &format!("{place}: by"), &sum.by, &keys),
                    scale: sum.scale.min(SCALE_MAX),
                }
            }
            None => {
                self.error(&place, "says not how it is counted: give distinct, top or sum");
                StatKind::Top { field: 0 }
            }
        };
        let title = if stat.title.is_empty() { stat.name.clone() } else { stat.title.clone() };
        StatSpec { name: stat.name.clone(), title, kind }
    }

    fn rule(&mut self, columns: &[Column], rule: &Rule, key: usize) -> RuleSpec {
        let place = format!("rules {:?}", rule.name);
        self.member_name(&place, &rule.name);
        let keys = [ColumnType::Text, ColumnType::I64, ColumnType::U64, ColumnType::Bool];
        let mut spec = RuleSpec {
            name: rule.name.clone(),
            version: rule.version.max(1),
            count: 0,
            per: key,
            every_s: 1,
            filter: rule.r#where.as_ref().map(|filter| Where {
                field: self.column(columns, &format!("{place}: where: field"), &filter.field, &keys),
                equals: filter.equals.clone(),
            }),
        };
        match &rule.kind {
            Some(rule::Kind::FlagAbove(flag)) => {
                spec.count = u64::from(flag.count);
                spec.every_s = flag.every_s;
                spec.per = self.column(columns, &format!("{place}: per"), &flag.per, &keys);
                if spec.per != key {
                    self.error(
                        &format!("{place}: per"),
                        &format!(
                            "{:?} is not the stream's key {:?}, so that the order of its events would be undefined",
                            flag.per, columns[key].name
                        ),
                    );
                }
                if flag.count == 0 {
                    self.error(&format!("{place}: count"), "at least 1");
                }
                if flag.every_s == 0 || flag.every_s > SPAN_S_MAX {
                    self.error(&format!("{place}: every_s"), &format!("1 to {SPAN_S_MAX} seconds"));
                }
            }
            None => self.error(&place, "says not what it flags: give flag_above"),
        }
        spec
    }

    fn column(&mut self, columns: &[Column], place: &str, name: &str, kinds: &[ColumnType]) -> usize {
        let Some(index) = columns.iter().position(|column| column.name == name) else {
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            self.error(place, &format!("there is no field {name:?}; the fields are {}", names.join(", ")));
            return 0;
        };
        if !kinds.contains(&columns[index].kind) {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            self.error(
                place,
                &format!(
                    "the field {name:?} is of the kind {}, not {}",
                    columns[index].kind.name(),
                    names.join(" or ")
                ),
            );
        }
        index
    }

    fn optional_column(&mut self, columns: &[Column], place: &str, name: &str, kinds: &[ColumnType]) -> Option<usize> {
        (!name.is_empty()).then(|| self.column(columns, place, name, kinds))
    }

    fn member_name(&mut self, place: &str, name: &str) {
        if !name_holds(name, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            self.error(
                place,
                &format!(
                    "the name is lower-case letters, digits and underscores, a letter first, at most {NAME_CHARS_MAX} \
                     characters"
                ),
            );
        }
    }

    fn unique<'n>(&mut self, place: &str, names: impl Iterator<Item = &'n String>) {
        let mut seen = BTreeSet::new();
        for name in names {
            if !seen.insert(name) {
                self.error(place, &format!("the name {name:?} is there twice"));
            }
        }
    }

    fn bound(&mut self, place: &str, count: usize, max: usize) {
        if count > max {
            self.error(place, &format!("{count} of them; at most {max}"));
        }
    }

    fn error(&mut self, place: &str, problem: &str) {
        self.errors.push(ContractError {
            file: self.message.parent_file().name().to_owned(),
            place: format!("{}: {place}", self.message.full_name()),
            problem: problem.to_owned(),
        });
    }
}

fn name_holds(name: &str, legal: impl Fn(char) -> bool) -> bool {
    name.len() <= NAME_CHARS_MAX && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(legal)
}
