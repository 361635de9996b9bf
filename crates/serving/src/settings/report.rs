use std::fmt;
use std::path::PathBuf;

/// Where a setting's value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The settings file.
    File(PathBuf),
    /// An environment variable, by name.
    Environment(String),
    /// A flag of the command line, with its dashes.
    Flag(String),
}

/// A setting as it is now: what `headwater settings` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingLine {
    /// Section and name, for example `kafka.brokers`; of a namespace's own, `cache.namespaces.NAME.ttl_ms`.
    pub key: String,
    /// The value, with what is secret in it masked.
    pub value: String,
    /// Where the value is from.
    pub origin: Origin,
    /// What it is for.
    pub doc: String,
    /// What a number counts; empty where it counts nothing.
    pub unit: &'static str,
    /// The default as text.
    pub default: &'static str,
    /// The flag, with its dashes. Empty where only the file can set it.
    pub flag: String,
    /// The environment variable. Empty where only the file can set it.
    pub env: String,
}

/// A setting that is wrong, or a name that is no setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// The setting's key; of an unknown variable, its name.
    pub key: String,
    /// Where it was set.
    pub origin: Origin,
    /// What was set, with what is secret in it masked.
    pub value: String,
    /// What is expected instead.
    pub expected: String,
}

/// Everything that is wrong with the settings, in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsErrors(pub Vec<SettingsError>);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = \"{}\" ({}): {}", self.key, self.value, self.origin, self.expected)
    }
}

impl fmt::Display for SettingsErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("a setting is wrong:")?,
            n => write!(f, "{n} settings are wrong:")?,
        }
        for error in &self.0 {
            write!(f, "\n  {error}")?;
        }
        f.write_str("\n`headwater settings` prints every setting with its default.")
    }
}

impl std::error::Error for SettingsErrors {}
