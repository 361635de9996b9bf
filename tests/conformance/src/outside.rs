use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater_event_log::registry::ConfluentRegistry;
use headwater_event_log::{RegisteredSchema, SchemaRegistry};
use tokio::signal::unix::{SignalKind, signal};

use crate::Failed;

/// What a shell adds to a signal's number for the exit code of what it ended.
const SIGNALLED: i32 = 128;

/// What both programs are told: where everything is, and what they say.
#[derive(Debug, clap::Args)]
pub struct Outside {
    /// Brokers to begin with, separated by commas
    #[arg(short, long, value_name = "HOST:PORT")]
    pub broker: String,
    /// URL of the registry's Confluent API; name:password@ before the host where it asks
    #[arg(short, long, value_name = "URL")]
    pub schema_registry: String,
    /// The topic
    #[arg(short, long)]
    pub topic: String,
    /// Longest wait for the brokers or the registry, in seconds
    #[arg(long, default_value_t = 30, value_name = "S")]
    pub timeout: u64,
    /// A setting of librdkafka; may be given again
    #[arg(short = 'X', long, value_name = "NAME=VALUE", value_parser = property)]
    pub property: Vec<(String, String)>,
    /// Only problems and the end
    #[arg(long)]
    pub quiet: bool,
    /// A folder with a newer contract of the transaction
    #[arg(long, value_name = "DIR")]
    pub contracts: Option<PathBuf>,
    /// File for what was done, as JSON
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
}

impl Outside {
    /// The longest wait.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// Settings of the Kafka client; of several values of one, the last.
    pub(crate) fn properties(&self) -> BTreeMap<String, String> {
        self.property.iter().cloned().collect()
    }

    /// The registry, and the newest schema of the topic's subject.
    pub(crate) async fn schema(&self) -> Result<(ConfluentRegistry, RegisteredSchema), Failed> {
        let failed = |error| Failed::registry(&self.shown_registry(), &error);
        let registry = ConfluentRegistry::new(&self.schema_registry, self.timeout()).map_err(failed)?;
        let subject = format!("{}-value", self.topic);
        let latest = registry.latest(&subject).await.map_err(failed)?;
        Ok((registry, latest.ok_or_else(|| Failed::no_subject(&self.shown_registry(), &subject))?))
    }

    /// The registry's address without a name and a password.
    pub(crate) fn shown_registry(&self) -> String {
        match (self.schema_registry.split_once("://"), self.schema_registry.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
            (None, Some((_, rest))) => rest.to_owned(),
            _ => self.schema_registry.clone(),
        }
    }
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Says when Ctrl-C or SIGTERM has come; a second one ends the program at once. To be called within a runtime.
pub(crate) fn stopping() -> Result<Arc<AtomicBool>, Failed> {
    let stop = Arc::new(AtomicBool::new(false));
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signal = signal(kind).map_err(|error| Failed::Input(format!("signals: {error}")))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signal.recv().await;
            stop.store(true, Ordering::Release);
            signal.recv().await;
            std::process::exit(SIGNALLED + kind.as_raw_value());
        });
    }
    Ok(stop)
}
