//! `headwater contracts`: what a contract of one's own imports, and topics for any program that produces and consumes.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Arg, ArgMatches, Command, value_parser};
use headwater_contracts::{Contracts, StreamContract};
use headwater_event_log::{EventLog, SchemaRegistry, TopicSpec};
use headwater_ingest::{MadeTopic, make_topic};
use headwater_serving::Settings;

use crate::commands::explain::unless_nobody_reads;
use crate::commands::quantities::duration;
use crate::roles::topic_spec;
use crate::{outside, settings};

/// The files, by the name under which they are imported.
const FILES: [(&str, &str); 2] = [
    ("headwater/stream/v1/stream.proto", include_str!("../../../proto/headwater/stream/v1/stream.proto")),
    ("buf/validate/validate.proto", include_str!("../../../third_party/proto/buf/validate/validate.proto")),
];

/// How long it waits before it asks again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What `register` takes besides the settings.
pub(crate) fn register_arguments(command: Command) -> Command {
    let partitions = value_parser!(i32).range(1..);
    command
        .arg(Arg::new("stream").value_name("STREAM").required(true).help("Name of the stream"))
        .arg(Arg::new("topic").long("topic").help("Name of the topic; the stream's own without it"))
        .arg(
            Arg::new("partitions")
                .long("partitions")
                .value_parser(partitions)
                .help("Partitions of a topic that is made; topics.partitions without it"),
        )
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .default_value("30s")
                .value_parser(duration)
                .help("How long brokers and registry may take to be there, for example 500ms or 1m"),
        )
}

/// Runs the command that was given.
pub(crate) async fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    unless_nobody_reads(match matches.subcommand() {
        Some(("register", matches)) => register(matches).await,
        Some((_, matches)) => export(matches),
        None => unreachable!("clap asks for a command"),
    })
}

/// Makes the topic and registers the schema, where they are missing.
async fn register(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let settings = match settings::read(matches) {
        Ok(settings) => settings,
        Err(code) => return Ok(code),
    };
    let contracts = match &settings.contracts.path {
        Some(path) => Contracts::with_path(path)?,
        None => Contracts::shipped()?,
    };
    let name = matches.get_one::<String>("stream").context("clap asks for it")?;
    let stream = contracts.stream(name).with_context(|| {
        let known: Vec<&str> = contracts.streams().map(|stream| &*stream.schema.name).collect();
        format!("there is no stream {name}; there are {}", known.join(", "))
    })?;
    let spec = topic_spec(&settings);
    let spec = TopicSpec {
        name: matches.get_one::<String>("topic").unwrap_or(name).clone(),
        partitions: matches.get_one("partitions").copied().unwrap_or(spec.partitions),
        ..spec
    };
    let timeout = *matches.get_one::<Duration>("timeout").context("it has a default")?;
    let outside = || format!("the topic {} (kafka.brokers, registry.url say where)", spec.name);
    let made = make(stream, &spec, &settings, timeout).await.with_context(outside)?;
    let MadeTopic { partitions, schema_id } = made;
    writeln!(stdout(), "{0}: {partitions} partitions, schema {schema_id} of {0}-value", spec.name)?;
    Ok(ExitCode::SUCCESS)
}

/// Tries until it is made, or the time is up.
async fn make(
    stream: &StreamContract,
    spec: &TopicSpec,
    settings: &Settings,
    timeout: Duration,
) -> anyhow::Result<MadeTopic> {
    let (log, registry) = outside::log_and_registry(settings)?;
    let mut last = None;
    let trying = async {
        loop {
            match make_topic(stream, spec, &log, &registry).await {
                Err(error) if error.is_outage() => last = Some(error),
                made => return made,
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    };
    match tokio::time::timeout(timeout, trying).await {
        Ok(made) => Ok(made?),
        Err(_) => {
            let why = match last {
                Some(error) => error.into(),
                // The first call goes on still: it is one of the two.
                None => match tokio::join!(log.check(), registry.check()) {
                    (Err(error), _) => error.into(),
                    (_, Err(error)) => error.into(),
                    _ => anyhow!("both answer, slowly: give it longer by --timeout"),
                },
            };
            Err(why.context(format!("not within {} s", timeout.as_secs_f64())))
        }
    }
}

/// Writes the files into a folder, over what is there by their names.
fn export(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let folder = matches.get_one::<PathBuf>("dir").context("give the folder to write to")?;
    for (name, text) in FILES {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        writeln!(stdout(), "{}", path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}
