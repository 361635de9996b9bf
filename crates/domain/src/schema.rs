use crate::{ColumnType, Event, Value};

/// A stream, as its contract declares it: what the platform knows of it.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSchema {
    /// Name of the stream and of its topic: `[a-z][a-z0-9-]{0,62}`.
    pub name: String,
    /// Name of its table: the stream's with underscores.
    pub table: String,
    /// Full name of the message, for example `headwater.event.v1.PageEvent`.
    pub message: String,
    /// A column per field, in order of field numbers.
    pub columns: Vec<Column>,
    /// Index of the column that identifies an event; its type is Text.
    pub id: usize,
    /// Index of the column that chooses the partition; Text, Bool, I64 or U64.
    pub key: usize,
    /// Index of the column that says when the event happened; its type is Time.
    pub time: usize,
    /// Indexes of the columns that history is searched by.
    pub indexes: Vec<usize>,
    /// Live statistics, in the contract's order.
    pub stats: Vec<StatSpec>,
    /// Rules, in the contract's order.
    pub rules: Vec<RuleSpec>,
}

/// A column of a stream's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name of the field and the column.
    pub name: String,
    /// Number of the field: what a column is known by when a field is renamed.
    pub number: u32,
    /// Kind of the column.
    pub kind: ColumnType,
}

/// A live statistic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatSpec {
    /// Name, unique within the stream.
    pub name: String,
    /// What a person should read above the figure.
    pub title: String,
    /// How it is counted.
    pub kind: StatKind,
}

/// How a statistic is counted. Numbers are indexes of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatKind {
    /// Different values of `field`, in all or for each value of `by`.
    Distinct {
        /// The field whose values are counted.
        field: usize,
        /// Counted apart for each value of this field.
        by: Option<usize>,
    },
    /// Events by the value of `field`.
    Top {
        /// The field whose values are ranked.
        field: usize,
    },
    /// The sum of `field`, in all or for each value of `by`, in units of 10^-scale.
    Sum {
        /// The field that is added up: I64, U64 or F64.
        field: usize,
        /// Added up apart for each value of this field.
        by: Option<usize>,
        /// Decimal places.
        scale: u32,
    },
}

/// A rule that flags what comes after the first `count` events of one value in a span of event time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// Name, unique within the stream.
    pub name: String,
    /// Version, stored with each verdict.
    pub version: u32,
    /// Events that are let through in each span.
    pub count: u64,
    /// Index of the column that is counted by; the stream's key.
    pub per: usize,
    /// Length of a span in seconds.
    pub every_s: u32,
    /// Only events that match are counted and flagged.
    pub filter: Option<Where>,
}

/// A condition on one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Where {
    /// Index of the column.
    pub field: usize,
    /// The value it must have, as its key text.
    pub equals: String,
}

impl Where {
    /// Whether the event meets the condition.
    pub fn matches(&self, event: &Event) -> bool {
        event.values[self.field].key_text() == self.equals
    }
}

impl RuleSpec {
    /// What it flags, in words: "more than 10 per user_id every 1 s where event_type = page_view". `schema`: its stream's.
    pub fn definition(&self, schema: &StreamSchema) -> String {
        let name = |index: usize| schema.columns[index].name.as_str();
        let filter = self.filter.as_ref().map(|on| format!(" where {} = {}", name(on.field), on.equals));
        format!(
            "more than {} per {} every {} s{}",
            self.count,
            name(self.per),
            self.every_s,
            filter.unwrap_or_default()
        )
    }
}

impl StreamSchema {
    /// The event's id. Empty where the value is not text, which validation rules out.
    pub fn id_of<'a>(&self, event: &'a Event) -> &'a str {
        match &event.values[self.id] {
            Value::Text(id) => id,
            _ => "",
        }
    }

    /// The event's key as text.
    pub fn key_of<'a>(&self, event: &'a Event) -> std::borrow::Cow<'a, str> {
        event.values[self.key].key_text()
    }

    /// When the event happened, in microseconds since the Unix epoch. 0 where it is not set, which validation rules out.
    pub fn time_us_of(&self, event: &Event) -> i64 {
        match event.values[self.time] {
            Value::Time(us) => us,
            _ => 0,
        }
    }

    /// The statistic of that name.
    pub fn stat(&self, name: &str) -> Option<(usize, &StatSpec)> {
        self.stats.iter().enumerate().find(|(_, stat)| stat.name == name)
    }
}

impl StatKind {
    /// Decimal places of its figures.
    pub fn scale(self) -> u32 {
        match self {
            Self::Sum { scale, .. } => scale,
            Self::Distinct { .. } | Self::Top { .. } => 0,
        }
    }

    /// Index of the column its figures are kept apart for: of a top, the ranked one.
    pub fn by(self) -> Option<usize> {
        match self {
            Self::Distinct { by, .. } | Self::Sum { by, .. } => by,
            Self::Top { field } => Some(field),
        }
    }

    /// Index of the column that is counted.
    pub fn field(self) -> usize {
        match self {
            Self::Distinct { field, .. } | Self::Top { field } | Self::Sum { field, .. } => field,
        }
    }
}
