use std::collections::{BTreeMap, BTreeSet};

use super::declare::TABLE;
use super::rules::{Given, Reading};
use super::{Origin, Setting, SettingLine, SettingsError};

/// What was set, by the setting's key.
pub(super) type Found = BTreeMap<&'static str, (Given, Origin)>;

/// Hands out values by key, and remembers what is wrong and what there was.
pub(super) struct Reader {
    found: Found,
    wrong: BTreeSet<&'static str>,
    pub(super) errors: Vec<SettingsError>,
    lines: Vec<SettingLine>,
    /// Of a reader of a table that goes before the section.
    table: Option<Table>,
}

/// A table that sets anew what a section sets.
struct Table {
    /// What its keys are shown with, for example "cache.namespaces.sessions".
    path: String,
    /// The section's keys that it sets: only they are its own to report.
    own: BTreeSet<&'static str>,
}

impl Reader {
    /// A reader of what was set; everything else has its default.
    pub(super) fn new(found: Found) -> Self {
        Self { found, wrong: BTreeSet::new(), errors: Vec::new(), lines: Vec::new(), table: None }
    }

    /// A reader of the same, but for what a table sets anew. `implied` goes before what was set too, and is not shown.
    pub(super) fn of_table(&self, path: String, set: Found, implied: Found) -> Self {
        let own = set.keys().copied().collect();
        let mut found = self.found.clone();
        found.extend(implied);
        found.extend(set);
        Self { table: Some(Table { path, own }), ..Self::new(found) }
    }

    /// Takes over what a reader of a table has to report.
    pub(super) fn absorb(&mut self, other: Self) {
        self.errors.extend(other.errors);
        self.lines.extend(other.lines);
    }

    /// The value of a setting, or its default where what was set is wrong.
    pub(super) fn read<T>(&mut self, key: &'static str, rule: impl Fn(&Given) -> Reading<T>) -> T {
        let setting = TABLE.iter().find(|setting| setting.key == key).expect("read and TABLE are made by one macro");
        let default = Given::Text(setting.default.to_owned());
        let (given, origin) = self.found.get(key).cloned().unwrap_or_else(|| (default.clone(), Origin::Default));
        let is_reported = self.table.as_ref().is_none_or(|table| table.own.contains(key));
        if is_reported {
            self.lines.push(self.line(setting, &given, &origin));
        }
        rule(&given).unwrap_or_else(|expected| {
            let unit = if setting.unit.is_empty() { String::new() } else { format!(" ({})", setting.unit) };
            self.wrong.insert(setting.key);
            if is_reported {
                self.errors.push(SettingsError {
                    key: self.shown(key),
                    origin,
                    value: setting.mask.apply(&given.shown()),
                    expected: format!("expected {expected}{unit}"),
                });
            }
            rule(&default).expect("every default is right, as a test shows")
        })
    }

    /// Reports that a setting does not go with others, unless it is wrong by itself.
    pub(super) fn report(&mut self, key: &'static str, expected: &str) {
        if !self.wrong.contains(key) {
            let (value, origin) = self.value_and_origin(key);
            self.errors.push(SettingsError { key: self.shown(key), origin, value, expected: expected.to_owned() });
        }
    }

    /// Reports that a setting does not go with another, unless one of them is wrong by itself. Of a table: unless neither is
    /// its own.
    pub(super) fn report_pair(&mut self, key: &'static str, other: &'static str, expected: &str) {
        if self.wrong.contains(key) || self.wrong.contains(other) {
            return;
        }
        let is_own = |table: &Table| table.own.contains(key) || table.own.contains(other);
        if !self.table.as_ref().is_none_or(is_own) {
            return;
        }
        let (value, origin) = self.value_and_origin(key);
        let (other_value, other_origin) = self.value_and_origin(other);
        let expected = format!("{expected}; {} is {other_value} ({other_origin})", self.shown(other));
        self.errors.push(SettingsError { key: self.shown(key), origin, value, expected });
    }

    /// What was read, in the order of the table.
    pub(super) fn take_lines(&mut self) -> Vec<SettingLine> {
        std::mem::take(&mut self.lines)
    }

    fn value_and_origin(&self, key: &str) -> (String, Origin) {
        self.found.get(key).map_or_else(
            || {
                let default = TABLE.iter().find(|setting| setting.key == key).map_or("", |setting| setting.default);
                (default.to_owned(), Origin::Default)
            },
            |(given, origin)| (given.shown(), origin.clone()),
        )
    }

    /// The key as it is shown.
    fn shown(&self, key: &str) -> String {
        match (&self.table, key.split_once('.')) {
            (Some(table), Some((_, name))) if table.own.contains(key) => format!("{}.{name}", table.path),
            _ => key.to_owned(),
        }
    }

    fn line(&self, setting: &Setting, given: &Given, origin: &Origin) -> SettingLine {
        let is_of_table = self.table.is_some();
        SettingLine {
            key: self.shown(setting.key),
            value: setting.mask.apply(&given.shown()),
            origin: origin.clone(),
            doc: setting.doc(),
            unit: setting.unit,
            default: setting.default,
            flag: if is_of_table { String::new() } else { format!("--{}", setting.flag()) },
            env: if is_of_table { String::new() } else { setting.variable() },
        }
    }
}
