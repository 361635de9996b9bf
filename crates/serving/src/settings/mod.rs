//! The settings: each declared once in [`declare`](self), and each a flag, an environment variable and a line of TOML.
//!
//! `kafka.brokers` is `--kafka-brokers`, `HEADWATER_KAFKA_BROKERS`, and `brokers` under `[kafka]` in the file that
//! `--config` or `HEADWATER_CONFIG` names. A flag goes before the environment, the environment before the file, the file
//! before the default. Whatever is wrong is found in one go and reported together.

mod checks;
mod declare;
mod flags;
mod layers;
mod namespaces;
mod reader;
mod report;
mod rules;
mod values;
mod yesterday;

pub use declare::{
    AuthSettings, CacheSettings, ContractSettings, DevSettings, IngestSettings, KafkaSettings, ListenSettings,
    LogSettings, PostgresSettings, ProcessorSettings, RedisSettings, RegistrySettings, RpcSettings, Settings,
    StatsSettings, TopicSettings,
};
pub use flags::augment_clap;
pub use layers::{load, process_env};
pub use namespaces::NamespaceSettings;
pub use report::{Origin, SettingLine, SettingsError, SettingsErrors};
pub use values::{LogFormat, Properties, Secret};

/// The environment variable that names the settings file; the flag is `--config`.
pub const CONFIG_VARIABLE: &str = "HEADWATER_CONFIG";

/// What the environment variables of settings begin with.
pub const VARIABLE_PREFIX: &str = "HEADWATER_";

/// Variables that begin so are the test suite's, and are let be.
const TEST_VARIABLE_PREFIX: &str = "HEADWATER_TEST_";

/// A setting as it is declared.
#[derive(Clone, Copy, Debug)]
struct Setting {
    /// Section and name, for example `kafka.brokers`.
    key: &'static str,
    /// What it is for.
    doc: &'static str,
    /// The default as text.
    default: &'static str,
    /// What a number counts; empty where it counts nothing.
    unit: &'static str,
    /// How much of the value may be shown.
    mask: values::Mask,
    /// A second, shorter flag.
    alias: Option<&'static str>,
    /// Whether the flag alone means true.
    is_switch: bool,
}

impl Setting {
    /// Its flag without the dashes: `kafka-brokers`.
    fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }

    /// Its environment variable: `HEADWATER_KAFKA_BROKERS`.
    fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.key.replace('.', "_").to_uppercase())
    }

    fn doc(&self) -> String {
        self.doc.trim().to_owned()
    }

    /// Its section and its name there.
    fn section_and_name(&self) -> (&'static str, &'static str) {
        self.key.split_once('.').unwrap_or(("", self.key))
    }
}
