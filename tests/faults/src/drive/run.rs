//! A whole run.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;
use tokio::task::block_in_place;

use super::faults::Breaker;
use super::gauge::{self, Gauge};
use super::load::Load;
use super::plan::Plan;
use super::probe::Probe;
use super::report::Report;
use super::sender::Sender;
use super::stack::{self, Stack};
use crate::check::Findings;
use crate::evidence::{Evidence, Sources};
use crate::journal::Lines;
use crate::measures::{self, Measure, Moment};

const SCHEMA: &str = "headwater";
/// How long everything that was sent may take until it is in Postgres, once nothing is broken any more.
const DRAINED_WITHIN: Duration = Duration::from_secs(30);
/// How long it is left alone before it is measured.
const CALM: Duration = Duration::from_secs(3);

/// What a run is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides on everything but time.
    pub seed: u64,
    /// What is broken.
    pub plan: Plan,
    /// No further fault after that time.
    pub duration: Option<Duration>,
    /// Where the report goes, besides standard output.
    pub report: Option<PathBuf>,
    /// The platform.
    pub binary: PathBuf,
    /// The checker.
    pub checker: PathBuf,
    /// Whether the folder is kept in any case.
    pub keep: bool,
}

/// Runs, checks, and reports. True where everything holds.
///
/// # Errors
/// Where something could not even be tried.
pub async fn run(options: &Options) -> Result<bool> {
    let folder = tempfile::Builder::new().prefix("headwater-faults-").tempdir()?;
    // Postgres runs as another user where this is root, and must get through.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let result = in_folder(options, folder.path()).await;
    if options.keep || !matches!(result, Ok(true)) {
        eprintln!("journal, measures, data and logs are in {}", folder.keep().display());
    }
    result
}

async fn in_folder(options: &Options, folder: &Path) -> Result<bool> {
    let began = Instant::now();
    let binary = stack::own_copy(&options.binary, folder)?;
    let stack = Stack::start(folder, binary).await.context("the stack cannot be started")?;
    eprintln!("everything has started after {:.1} s; seed {}", began.elapsed().as_secs_f64(), options.seed);
    let paths = (folder.join("journal.ndjson"), folder.join("measures.ndjson"));
    let measures = Arc::new(Lines::create(&paths.1)?);
    let ingests: Vec<_> = stack.ingests.iter().map(|ingest| (ingest.name.clone(), ingest.endpoint())).collect();
    let sender = Arc::new(Sender::new(Lines::create(&paths.0)?, &ingests)?);
    let probe = Arc::new(Probe::prepare(Arc::clone(&sender), &stack.stats.endpoint()).await?);
    let probed = probe.run(Instant::now()).await;
    ensure!(probed.took.is_some(), "it is not whole at the beginning: {}", probed.why);
    tokio::time::sleep(CALM).await;
    note(&measures, &stack, Moment::Before)?;

    let sources = Sources {
        postgres: stack.postgres_url(),
        schema: SCHEMA.to_owned(),
        kafka: stack.kafka.bootstrap(),
        group: stack::GROUP.to_owned(),
        stats: stack.stats.endpoint(),
    };
    let gauge = Gauge::start(&stack.roster, &measures, &sources.kafka, &sources.postgres);
    let load = Load::start(&sender, options.seed);
    let mut breaker = Breaker::new(stack, Arc::clone(&probe), Arc::clone(&measures), options.seed);
    let faults = options.plan.faults(options.seed);
    let begun = Instant::now();
    for (number, fault) in (1..).zip(&faults) {
        if options.duration.is_some_and(|duration| begun.elapsed() > duration) {
            eprintln!("the time is over after {} of {} faults", number - 1, faults.len());
            break;
        }
        let is_last_third = number * 3 > faults.len() * 2;
        let one = breaker.one(number, *fault, is_last_third).await;
        if !one.with_context(|| format!("fault {number}, {}", fault.name()))? {
            eprintln!("it is not whole again: nothing more is broken");
            break;
        }
    }
    load.end().await?;
    block_in_place(|| gauge.end())?;
    block_in_place(|| breaker.as_many_as_at_first())?;
    // What is missing then is the checker's to say.
    if let Err(error) = drained(&sources).await {
        eprintln!("{error:#}");
    }
    tokio::time::sleep(CALM).await;
    note(&measures, &breaker.stack, Moment::After)?;

    let findings = checked(&options.checker, &paths, &sources).await?;
    let report = Report::of(options, &findings, &measures::read(&paths.1)?, began.elapsed());
    println!("{report}");
    if let Some(path) = &options.report {
        fs::write(path, report.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(findings.is_clean())
}

fn note(measures: &Lines, stack: &Stack, moment: Moment) -> Result<()> {
    let samples = block_in_place(|| gauge::samples(&stack.roster, moment));
    measures.add(&samples.into_iter().map(Measure::Process).collect::<Vec<_>>())
}

/// Waits until Postgres has everything that Kafka has: also what was never acknowledged and is there nevertheless.
async fn drained(sources: &Sources) -> Result<()> {
    let began = Instant::now();
    loop {
        let ends = block_in_place(|| sources.ends())?;
        let positions = sources.positions().await?;
        let evidence = Evidence { ends, positions, ..Evidence::default() };
        let behind = evidence.ends.iter().find(|end| {
            let at = (end.stream, end.partition);
            evidence.next_of(at).unwrap_or(0) < end.high
        });
        let Some(behind) = behind else { return Ok(()) };
        if began.elapsed() > DRAINED_WITHIN {
            bail!("not everything is in Postgres within {DRAINED_WITHIN:?}: {behind:?}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn checked(checker: &Path, paths: &(PathBuf, PathBuf), sources: &Sources) -> Result<Findings> {
    let mut command = Command::new(checker);
    command.arg("--journal").arg(&paths.0).arg("--measures").arg(&paths.1);
    command.args(["--postgres", &sources.postgres, "--schema", &sources.schema]);
    command.args(["--kafka", &sources.kafka, "--group", &sources.group, "--stats", &sources.stats, "--json"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
    let output = child.with_context(|| format!("cannot start {}", checker.display()))?.wait_with_output().await?;
    serde_json::from_slice(&output.stdout).with_context(|| format!("the checker did not finish: {}", output.status))
}
