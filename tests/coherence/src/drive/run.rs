use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::faults::{Plan, break_things};
use super::stack::Stack;
use super::store::StoreKind;
use super::{Client, ClientOptions, Key, Keys, Kind};
use crate::history::{Line, Recorder, Run};

const REPLICAS: usize = 3;
/// The bound that the replicas are given.
pub(super) const STALENESS_MAX_MS: u64 = 250;

/// How a history is made.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Decides what clients do and what is broken.
    pub seed: u64,
    /// What is broken.
    pub plan: Plan,
    /// How long clients go on.
    pub lasts: Duration,
    /// Clients.
    pub clients: usize,
    /// Where the history goes; else it is kept only where something does not hold.
    pub history: Option<PathBuf>,
    /// The platform.
    pub binary: PathBuf,
    /// The checker.
    pub checker: PathBuf,
}

/// Makes a history with real processes on a real Redis, and has it judged.
///
/// # Errors
/// Where something could not even be tried.
pub async fn run(options: &RunOptions) -> Result<ExitCode> {
    let folder = tempfile::Builder::new().prefix("headwater-coherence-").tempdir()?;
    let history = options.history.clone().unwrap_or_else(|| folder.path().join("history.ndjson"));
    make(options, folder.path(), &history).await?;
    let mut checker = Command::new(&options.checker);
    let status = checker.arg(&history).kill_on_drop(true).status().await;
    let status = status.with_context(|| format!("cannot start {}", options.checker.display()))?;
    if status.success() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "seed {}; the history is {}, logs are beside it in {}",
        options.seed,
        history.display(),
        folder.keep().display()
    );
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

async fn make(options: &RunOptions, folder: &Path, history: &Path) -> Result<()> {
    let RunOptions { seed, plan, .. } = *options;
    let kind = match plan {
        Plan::Links | Plan::Calm => StoreKind::One,
        Plan::Failover => StoreKind::WithStandby,
        Plan::Cluster => StoreKind::Cluster,
    };
    let mut stack = Stack::start(folder, &options.binary, REPLICAS, kind, STALENESS_MAX_MS).await?;
    let service = Arc::new(stack.service().await?);
    let recorder = Arc::new(Recorder::create(history)?);
    recorder.add(&Line::Run(Run { seed, plan: plan.name().to_owned(), staleness_max_ms: STALENESS_MAX_MS }))?;
    let client_options = ClientOptions {
        seed,
        keys: keys(),
        answer_within: Duration::from_secs(2),
        pause_max: Duration::from_millis(10),
    };
    let until_us = u64::try_from(options.lasts.as_micros())?;
    let clients: Vec<_> = (0..options.clients)
        .map(|number| {
            let client = Client::new(number, client_options.clone(), Arc::clone(&recorder));
            let service = Arc::clone(&service);
            tokio::spawn(async move { client.run(&*service, until_us).await })
        })
        .collect();
    break_things(&mut stack, &recorder, plan, seed, until_us).await?;
    for client in clients {
        client.await.context("a client panicked")??;
    }
    recorder.finish()?;
    Ok(())
}

fn keys() -> Keys {
    let key = |name: &str, kind| Key { namespace: String::new(), name: name.to_owned(), kind };
    Keys(vec![
        key("text-1", Kind::Text),
        key("number-1", Kind::Number),
        key("text-2", Kind::Text),
        key("text-3", Kind::Text),
        key("number-2", Kind::Number),
        key("text-4", Kind::Text),
    ])
}
