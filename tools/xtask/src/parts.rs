//! The real servers, started for a person (`cargo xtask parts up`) or for one test run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use headwater_testkit::{self as testkit, Kafka, Options, Postgres, ProcessId, Redis, Registry, Server};
use serde::{Deserialize, Serialize};

/// Where the parts that were started for a person are remembered, below the root.
const STATE: &str = "target/parts/state.json";
/// How long a part may take to end by itself before it is killed.
const END_WITHIN: Duration = Duration::from_secs(20);

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Start Kafka, the schema registry, Redis and Postgres, where they do not run already
    Up,
    /// Stop them and throw their data away
    Down,
    /// Print `export` lines with their addresses, for `eval`
    Env,
    /// Say which run, and where
    Status,
}

/// The parts that run, detached from the command that started them.
#[derive(Default, Serialize, Deserialize)]
struct State {
    parts: Vec<Part>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Part {
    name: String,
    /// The variable that tests find its address in.
    variable: String,
    address: String,
    process: ProcessId,
    dir: PathBuf,
}

/// Servers of one test run. They end when this is dropped.
pub(crate) struct Private {
    _servers: Vec<Started>,
    pub(crate) variables: Vec<(&'static str, String)>,
}

enum Started {
    Kafka(Kafka),
    Registry(Registry),
    Redis(Redis),
    Postgres(Postgres),
}

const KINDS: [(&str, &str); 4] = [
    ("kafka", testkit::KAFKA),
    ("registry", testkit::REGISTRY),
    ("redis", testkit::REDIS),
    ("postgres", testkit::POSTGRES),
];

pub(crate) fn run(root: &Path, action: &Action) -> Result<ExitCode> {
    let file = root.join(STATE);
    match action {
        Action::Up => up(&file),
        Action::Down => down(&file),
        Action::Env => env(&file),
        Action::Status => status(&file),
    }
}

/// Starts all parts, all at a time, below a folder, for as long as the returned value lives.
pub(crate) fn start_private(dir: &Path) -> Result<Private> {
    let started = start_all(&KINDS, Some(dir))?;
    let variables = started.iter().map(|(_, variable, server)| (*variable, server.address())).collect();
    Ok(Private { _servers: started.into_iter().map(|(_, _, server)| server).collect(), variables })
}

fn up(file: &Path) -> Result<ExitCode> {
    let mut state = State::load(file)?;
    state.parts.retain(|part| part.process.is_alive());
    let missing: Vec<_> =
        KINDS.into_iter().filter(|(name, _)| state.parts.iter().all(|part| part.name != *name)).collect();
    for (name, variable, server) in start_all(&missing, None)? {
        let process = server.server().process().with_context(|| format!("{name} ended right after its start"))?;
        state.parts.push(Part {
            name: name.to_owned(),
            variable: variable.to_owned(),
            address: server.address(),
            process,
            dir: server.server().dir().to_owned(),
        });
    }
    state.save(file)?;
    status(file)
}

fn down(file: &Path) -> Result<ExitCode> {
    let state = State::load(file)?;
    for part in &state.parts {
        // Postgres ends at once on INT; the others take it like TERM.
        part.process.signal("INT")?;
    }
    let deadline = Instant::now() + END_WITHIN;
    while state.parts.iter().any(|part| part.process.is_alive()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    for part in &state.parts {
        part.process.signal("KILL")?;
        if part.dir.exists() {
            fs::remove_dir_all(&part.dir).with_context(|| format!("cannot remove {}", part.dir.display()))?;
        }
        println!("{} is stopped", part.name);
    }
    if file.exists() {
        fs::remove_file(file)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn env(file: &Path) -> Result<ExitCode> {
    let state = State::load(file)?;
    let alive: Vec<_> = state.parts.iter().filter(|part| part.process.is_alive()).collect();
    if alive.len() < KINDS.len() {
        bail!("not all parts run: `cargo xtask parts up` starts them");
    }
    for part in alive {
        println!("export {}={}", part.variable, part.address);
    }
    Ok(ExitCode::SUCCESS)
}

fn status(file: &Path) -> Result<ExitCode> {
    let state = State::load(file)?;
    for (name, _) in KINDS {
        match state.parts.iter().find(|part| part.name == name && part.process.is_alive()) {
            Some(part) => {
                println!("{name:9} {} (process {}, {})", part.address, part.process.pid, part.dir.display());
            }
            None => println!("{name:9} does not run"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts the given parts at the same time: most of the wait is Java's. With a folder they live below it and end with
/// their handles; without they are detached, each in a folder of its own.
fn start_all(
    kinds: &[(&'static str, &'static str)],
    dir: Option<&Path>,
) -> Result<Vec<(&'static str, &'static str, Started)>> {
    std::thread::scope(|scope| {
        let starts: Vec<_> = kinds
            .iter()
            .map(|&(name, variable)| scope.spawn(move || Ok((name, variable, Started::start(name, dir)?))))
            .collect();
        let results: Vec<Result<_>> = starts
            .into_iter()
            .map(|start| start.join().unwrap_or_else(|_| bail!("the start of a part panicked")))
            .collect();
        let failed = results.iter().any(Result::is_err);
        results
            .into_iter()
            .map(|result| {
                // Detached servers outlive their handle: those of a failed start must not.
                if failed
                    && dir.is_none()
                    && let Ok((_, _, server)) = &result
                    && let Some(process) = server.server().process()
                {
                    process.signal("KILL")?;
                }
                result
            })
            .collect()
    })
}

impl Started {
    fn start(name: &str, dir: Option<&Path>) -> Result<Self> {
        let options = match dir {
            Some(dir) => Options::default().dir(dir.join(name)),
            None => {
                let dir = tempfile::Builder::new().prefix(&format!("headwater-parts-{name}-")).tempdir()?.keep();
                Options { detached: true, ..Options::default().dir(dir) }
            }
        };
        Ok(match name {
            "kafka" => Self::Kafka(Kafka::start(options)?),
            "registry" => Self::Registry(Registry::start(options)?),
            "redis" => Self::Redis(Redis::start(options)?),
            "postgres" => Self::Postgres(Postgres::start(options)?),
            _ => bail!("there is no part {name}"),
        })
    }

    fn address(&self) -> String {
        match self {
            Self::Kafka(kafka) => kafka.bootstrap(),
            Self::Registry(registry) => registry.url(),
            Self::Redis(redis) => redis.url(),
            Self::Postgres(postgres) => postgres.url(),
        }
    }

    fn server(&self) -> &Server {
        match self {
            Self::Kafka(kafka) => kafka,
            Self::Registry(registry) => registry,
            Self::Redis(redis) => redis,
            Self::Postgres(postgres) => postgres,
        }
    }
}

impl State {
    fn load(file: &Path) -> Result<Self> {
        if !file.exists() {
            return Ok(Self::default());
        }
        let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged: remove it", file.display()))
    }

    fn save(&self, file: &Path) -> Result<()> {
        fs::create_dir_all(file.parent().context("the state lies in a folder")?)?;
        fs::write(file, serde_json::to_vec_pretty(self)?).with_context(|| format!("cannot write {}", file.display()))
    }
}
