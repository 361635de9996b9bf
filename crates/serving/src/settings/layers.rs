use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use figment2::providers::{Format, Toml};
use figment2::value::{Dict, Map, Value};
use figment2::{Figment, Metadata, Profile, Provider};

use super::declare::TABLE;
use super::flags::CONFIG_ARGUMENT;
use super::namespaces::NamespaceTables;
use super::reader::Reader;
use super::rules::Given;
use super::values::Mask;
use super::{
    CONFIG_VARIABLE, Origin, Setting, Settings, SettingsError, SettingsErrors, TEST_VARIABLE_PREFIX, VARIABLE_PREFIX,
    checks, yesterday,
};

/// Reads the settings: flags before the environment, the environment before the file, the file before the defaults.
///
/// `matches` are of a command that [`augment_clap`](super::augment_clap) made; `env` is the environment, for example
/// [`process_env`]; `other_variables` are variables with our prefix that something else reads.
///
/// # Errors
/// Every wrong value, unknown key of the file, unknown variable, and what does not go together, all at once.
pub fn load(
    matches: &ArgMatches,
    env: impl IntoIterator<Item = (String, String)>,
    other_variables: &[&str],
) -> Result<Settings, SettingsErrors> {
    let (env, others): (BTreeMap<String, String>, BTreeMap<String, String>) =
        env.into_iter().partition(|(name, _)| name.starts_with(VARIABLE_PREFIX));
    let mut errors = unknown_variables(&env, other_variables);
    let (mut file, path) = file_layer(matches, &env, &mut errors);
    let tables = NamespaceTables::take(&mut file.values, &path, &mut errors);
    errors.extend(unknown_keys(&file.values, &path));
    let figment = Figment::new().merge(file).merge(env_layer(&env)).merge(flag_layer(matches));

    let mut found = TABLE.iter().filter_map(|setting| find(&figment, setting, &path)).collect();
    errors.extend(yesterday::add(&others, &mut found));
    let mut reader = Reader::new(found);
    reader.errors = errors;
    let settings = Settings::read(&mut reader, tables);
    checks::check(&settings, &mut reader);
    if reader.errors.is_empty() { Ok(settings) } else { Err(SettingsErrors(reader.errors)) }
}

/// The environment of the process. What is not Unicode is made so, which no setting accepts.
pub fn process_env() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}

/// One layer of settings, under the name that tells its origin.
struct Layer {
    name: &'static str,
    values: Dict,
}

const FILE: &str = "file";
const ENVIRONMENT: &str = "environment";
const FLAGS: &str = "flags";

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment2::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

impl Layer {
    fn new(name: &'static str) -> Self {
        Self { name, values: Dict::new() }
    }

    fn set(&mut self, setting: &Setting, value: String) {
        let (section, name) = setting.section_and_name();
        let section = self.values.entry(section.to_owned()).or_insert_with(|| Value::from(Dict::new()));
        if let Value::Dict(_, values) = section {
            values.insert(name.to_owned(), Value::from(value));
        }
    }
}

fn flag_layer(matches: &ArgMatches) -> Layer {
    let mut layer = Layer::new(FLAGS);
    for setting in TABLE {
        if let Some(value) = flag_value(matches, setting.key) {
            layer.set(setting, value);
        }
    }
    layer
}

/// The value of a flag that was given; none where the command has no such flag.
fn flag_value(matches: &ArgMatches, id: &str) -> Option<String> {
    let value = matches.try_get_one::<String>(id).ok().flatten()?;
    (matches.value_source(id) == Some(ValueSource::CommandLine)).then(|| value.clone())
}

fn env_layer(env: &BTreeMap<String, String>) -> Layer {
    let mut layer = Layer::new(ENVIRONMENT);
    for setting in TABLE {
        if let Some(value) = env.get(&setting.variable()) {
            layer.set(setting, value.clone());
        }
    }
    layer
}

/// The settings file, where one is named, and its path.
fn file_layer(
    matches: &ArgMatches,
    env: &BTreeMap<String, String>,
    errors: &mut Vec<SettingsError>,
) -> (Layer, PathBuf) {
    let mut layer = Layer::new(FILE);
    let by_flag = flag_value(matches, CONFIG_ARGUMENT).map(|path| (path, Origin::Flag("--config".to_owned())));
    let by_env =
        || env.get(CONFIG_VARIABLE).map(|path| (path.clone(), Origin::Environment(CONFIG_VARIABLE.to_owned())));
    let Some((path, origin)) = by_flag.or_else(by_env).filter(|(path, _)| !path.is_empty()) else {
        return (layer, PathBuf::new());
    };
    let read = std::fs::read_to_string(&path).map_err(|error| format!("expected a file that can be read: {error}"));
    let parsed = read.and_then(|text| {
        Toml::string(&text).data().map_err(|error| format!("expected TOML: {}", error.to_string().trim_end()))
    });
    match parsed {
        Ok(mut data) => layer.values = data.remove(&Profile::Default).unwrap_or_default(),
        Err(expected) => errors.push(SettingsError { key: "config".to_owned(), origin, value: path.clone(), expected }),
    }
    (layer, PathBuf::from(path))
}

/// Keys of the file that are no settings.
fn unknown_keys(values: &Dict, path: &Path) -> Vec<SettingsError> {
    let keys: Vec<&str> = TABLE.iter().map(|setting| setting.key).collect();
    let mut unknown = Vec::new();
    for (section, value) in values {
        match value {
            Value::Dict(_, names) => {
                for (name, value) in names {
                    let key = format!("{section}.{name}");
                    if !keys.contains(&key.as_str()) {
                        unknown.push(unknown_key(key, value, &keys, path));
                    }
                }
            }
            value => unknown.push(unknown_key(section.clone(), value, &keys, path)),
        }
    }
    unknown
}

/// A key of the file that is none of `keys`.
pub(super) fn unknown_key(key: String, value: &Value, keys: &[&str], path: &Path) -> SettingsError {
    SettingsError {
        expected: format!("no such setting{}", did_you_mean(&key, keys)),
        key,
        origin: Origin::File(path.to_owned()),
        // It may be a misspelt secret.
        value: Mask::Whole.apply(&given(value).shown()),
    }
}

fn unknown_variables(env: &BTreeMap<String, String>, other_variables: &[&str]) -> Vec<SettingsError> {
    let known: Vec<String> = TABLE.iter().map(Setting::variable).chain([CONFIG_VARIABLE.to_owned()]).collect();
    let is_known = |name: &str| {
        known.iter().any(|known| known == name)
            || other_variables.contains(&name)
            || name.starts_with(TEST_VARIABLE_PREFIX)
    };
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    env.iter()
        .filter(|(name, _)| !is_known(name))
        .map(|(name, value)| SettingsError {
            key: name.clone(),
            origin: Origin::Environment(name.clone()),
            // It may be a misspelt secret.
            value: Mask::Whole.apply(value),
            expected: format!("no setting has this variable{}", did_you_mean(name, &names)),
        })
        .collect()
}

/// "; did you mean …?" with the likeliest of the names, or nothing where none is like it.
fn did_you_mean(name: &str, names: &[&str]) -> String {
    const LIKE: f64 = 0.8;
    let likeness = |known: &str| {
        let last = known.rsplit('.').next().unwrap_or(known);
        let whole = strsim::normalized_damerau_levenshtein(name, known);
        // A key without its section, or in the wrong one.
        let by_name = strsim::normalized_damerau_levenshtein(name.rsplit('.').next().unwrap_or(name), last);
        if known.contains('.') { whole.max(by_name - 0.1) } else { whole }
    };
    names
        .iter()
        .map(|known| (likeness(known), known))
        .filter(|(likeness, _)| *likeness >= LIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, known)| format!("; did you mean {known}?"))
}

/// What was set for a setting by the layer that goes before the others.
fn find(figment: &Figment, setting: &'static Setting, path: &Path) -> Option<(&'static str, (Given, Origin))> {
    let value = figment.find_value(setting.key).ok()?;
    let origin = match figment.get_metadata(value.tag()).map(|metadata| metadata.name.as_ref()) {
        Some(FLAGS) => Origin::Flag(format!("--{}", setting.flag())),
        Some(ENVIRONMENT) => Origin::Environment(setting.variable()),
        _ => Origin::File(path.to_owned()),
    };
    Some((setting.key, (given(&value), origin)))
}

/// A value of a source as rules read it.
pub(super) fn given(value: &Value) -> Given {
    match value {
        Value::Dict(_, pairs) => pairs
            .iter()
            .map(|(name, value)| scalar(value).map(|text| (name.clone(), text)))
            .collect::<Option<BTreeMap<_, _>>>()
            .map_or_else(|| Given::Other("a table of tables".to_owned()), Given::Table),
        Value::Array(_, items) => items
            .iter()
            .map(scalar)
            .collect::<Option<Vec<_>>>()
            .map_or_else(|| Given::Other("a list of tables".to_owned()), |items| Given::Text(items.join(","))),
        value => scalar(value).map_or_else(|| Given::Other(String::new()), Given::Text),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Char(_, c) => Some(c.to_string()),
        Value::Bool(_, yes) => Some(yes.to_string()),
        Value::Num(_, num) => num
            .to_i128()
            .map(|n| n.to_string())
            .or_else(|| num.to_u128().map(|n| n.to_string()))
            .or_else(|| num.to_f64().map(|n| format!("{n:?}"))),
        Value::Empty(..) | Value::Dict(..) | Value::Array(..) => None,
    }
}
