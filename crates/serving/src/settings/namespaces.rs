use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment2::value::{Dict, Value};

use super::declare::CacheSettings;
use super::layers::{given, unknown_key};
use super::reader::{Found, Reader};
use super::rules::{Given, NAMESPACE_NAME, is_namespace_name};
use super::{Origin, SettingsError};

/// Settings of the section `cache` that a namespace may have its own value of.
const KEYS: [&str; 14] = [
    "cache.entries_max",
    "cache.bytes_max",
    "cache.eviction",
    "cache.ttl_ms",
    "cache.ttl_max_ms",
    "cache.ttl_jitter_percent",
    "cache.stale_while_revalidate_ms",
    "cache.stale_if_error_ms",
    "cache.negative_ttl_ms",
    "cache.write_mode",
    "cache.overwrite",
    "cache.key_bytes_max",
    "cache.value_bytes_max",
    "cache.queue_max",
];

const ENTRIES_MAX: &str = KEYS[0];
const BYTES_MAX: &str = KEYS[1];

/// By which rules a namespace of the cache keeps its keys. The fields are those of [`CacheSettings`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described in the section `cache`")]
pub struct NamespaceSettings {
    pub entries_max: u64,
    pub bytes_max: u64,
    pub eviction: String,
    pub ttl_ms: u64,
    pub ttl_max_ms: u64,
    pub ttl_jitter_percent: u64,
    pub stale_while_revalidate_ms: u64,
    pub stale_if_error_ms: u64,
    pub negative_ttl_ms: u64,
    pub write_mode: String,
    pub overwrite: String,
    pub key_bytes_max: u64,
    pub value_bytes_max: u64,
    pub queue_max: u64,
}

impl CacheSettings {
    /// The rules of a namespace that sets none of its own.
    pub fn namespace_default(&self) -> NamespaceSettings {
        NamespaceSettings {
            entries_max: self.entries_max,
            bytes_max: self.bytes_max,
            eviction: self.eviction.clone(),
            ttl_ms: self.ttl_ms,
            ttl_max_ms: self.ttl_max_ms,
            ttl_jitter_percent: self.ttl_jitter_percent,
            stale_while_revalidate_ms: self.stale_while_revalidate_ms,
            stale_if_error_ms: self.stale_if_error_ms,
            negative_ttl_ms: self.negative_ttl_ms,
            write_mode: self.write_mode.clone(),
            overwrite: self.overwrite.clone(),
            key_bytes_max: self.key_bytes_max,
            value_bytes_max: self.value_bytes_max,
            queue_max: self.queue_max,
        }
    }
}

/// The tables `[cache.namespaces.NAME]` of the file.
#[derive(Debug, Default)]
pub(super) struct NamespaceTables {
    path: PathBuf,
    tables: BTreeMap<String, Dict>,
}

impl NamespaceTables {
    /// Takes the tables out of the file's values. Reports what is no table, no name and no key.
    pub(super) fn take(values: &mut Dict, path: &Path, errors: &mut Vec<SettingsError>) -> Self {
        let mut tables = BTreeMap::new();
        let taken = match values.get_mut("cache") {
            Some(Value::Dict(_, cache)) => cache.remove("namespaces"),
            _ => None,
        };
        let mut wrong = |key: String, value: &Value, expected: String| {
            errors.push(SettingsError {
                key,
                origin: Origin::File(path.to_owned()),
                value: given(value).shown(),
                expected: format!("expected {expected}"),
            });
        };
        match taken {
            None => {}
            Some(Value::Dict(_, namespaces)) => {
                for (name, value) in namespaces {
                    let key = format!("cache.namespaces.{name}");
                    match value {
                        _ if !is_namespace_name(&name) => wrong(key, &value, format!("another name: {NAMESPACE_NAME}")),
                        Value::Dict(_, table) => {
                            tables.insert(name, table);
                        }
                        value => wrong(key, &value, "a table of settings of the namespace".to_owned()),
                    }
                }
            }
            Some(value) => wrong("cache.namespaces".to_owned(), &value, "tables: [cache.namespaces.NAME]".to_owned()),
        }
        Self { path: path.to_owned(), tables }
    }

    /// Reads each table by the rules of the section.
    pub(super) fn read(self, reader: &mut Reader, request_bytes_max: usize) -> BTreeMap<String, NamespaceSettings> {
        let mut namespaces = BTreeMap::new();
        for (name, table) in &self.tables {
            let path = format!("cache.namespaces.{name}");
            let mut set = Found::new();
            for (key, value) in table {
                match KEYS.into_iter().find(|known| known.strip_prefix("cache.") == Some(key)) {
                    Some(known) => {
                        set.insert(known, (given(value), Origin::File(self.path.clone())));
                    }
                    None => {
                        let known: Vec<String> = KEYS.iter().map(|key| key.replacen("cache", &path, 1)).collect();
                        let known: Vec<&str> = known.iter().map(String::as_str).collect();
                        reader.errors.push(unknown_key(format!("{path}.{key}"), value, &known, &self.path));
                    }
                }
            }
            // A namespace that counts entries does so whatever others count.
            let mut implied = Found::new();
            if set.contains_key(ENTRIES_MAX) {
                implied.insert(BYTES_MAX, (Given::Text("0".to_owned()), Origin::Default));
            }
            let mut own = reader.of_table(path, set, implied);
            let section = CacheSettings::read(&mut own);
            check(&section, request_bytes_max, &mut own);
            reader.absorb(own);
            namespaces.insert(name.clone(), section.namespace_default());
        }
        namespaces
    }
}

/// Reports rules of a namespace that do not go together.
pub(super) fn check(cache: &CacheSettings, request_bytes_max: usize, reader: &mut Reader) {
    if cache.ttl_ms > cache.ttl_max_ms {
        reader.report_pair("cache.ttl_ms", "cache.ttl_max_ms", "expected at most cache.ttl_max_ms, which bounds it");
    }
    if cache.eviction == "rank" && cache.bytes_max > 0 {
        let expected = "expected 0, as eviction by rank counts entries";
        reader.report_pair(BYTES_MAX, "cache.eviction", expected);
    }
    if cache.value_bytes_max.saturating_add(cache.key_bytes_max) > request_bytes_max as u64 {
        let expected = "expected less than rpc.request_bytes_max with the key, or the greatest value could not be sent";
        reader.report_pair("cache.value_bytes_max", "rpc.request_bytes_max", expected);
    }
}
