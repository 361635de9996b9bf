//! `headwater resume`: says where a stopped partition goes on.

use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use headwater_contracts::Contracts;
use headwater_event_log::Watermarks;
use headwater_history::{PartitionProgress, Resumed};

use crate::{outside, settings};

/// What the command takes besides the settings.
pub(crate) fn arguments(command: Command) -> Command {
    let needed = |name: &'static str, what| Arg::new(name).long(name).required(true).help(what);
    command
        .arg(needed("stream", "Name of the stream"))
        .arg(needed("partition", "Number of the partition").value_parser(value_parser!(i32).range(0..)))
        .arg(
            Arg::new("from")
                .long("from")
                .value_parser(["beginning", "end"])
                .default_value("beginning")
                .help("Where the log is read on: what is stored already counts once, so that the beginning is safe"),
        )
        .arg(
            Arg::new("made-anew").long("made-anew").action(ArgAction::SetTrue).help(
                "The topic was made anew: its records are others, also where the offset to read on at lies in it",
            ),
        )
}

/// Moves the partition, and says what that means.
pub(crate) async fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let settings = match settings::read(matches) {
        Ok(settings) => settings,
        Err(code) => return Ok(code),
    };
    let contracts = match &settings.contracts.path {
        Some(path) => Contracts::with_path(path)?,
        None => Contracts::shipped()?,
    };
    let name = matches.get_one::<String>("stream").context("clap asks for it")?;
    let partition = *matches.get_one::<i32>("partition").context("clap asks for it")?;
    let from_end = matches.get_one::<String>("from").is_some_and(|from| from == "end");
    let stream = contracts.stream(name).with_context(|| format!("there is no stream {name}"))?;
    let outside = outside::events(&settings)?;

    let marks = outside.log.watermarks(name, partition).await?;
    let progress = outside.history.progress(&stream.schema).await?;
    let Some(stands) = progress.into_iter().find(|stands| stands.partition == partition) else {
        bail!("nothing was ever stored of {name}/{partition}: nothing stops it");
    };
    let from = if from_end { marks.high } else { marks.low };
    check(&stands, marks, matches.get_flag("made-anew"))?;
    let resumed = outside.history.resume(&stream.schema, partition, from).await?;
    println!("{}", told(name, partition, from, resumed));
    Ok(ExitCode::SUCCESS)
}

/// Refuses to move a partition that nothing stops, as far as its offset tells.
fn check(stands: &PartitionProgress, Watermarks { low, high }: Watermarks, made_anew: bool) -> anyhow::Result<()> {
    let offset = stands.next - stands.log_shift;
    ensure!(
        made_anew || offset < low || offset > high,
        "everything before offset {offset} is stored, and the log holds {low} to {high}: nothing stops the partition, \
         unless the topic was made anew (then say --made-anew)"
    );
    Ok(())
}

fn told(stream: &str, partition: i32, from: i64, Resumed { next, log_shift, skipped }: Resumed) -> String {
    let skipped = match skipped {
        0 => "no record is left out".to_owned(),
        1 => "1 record is left out".to_owned(),
        many => format!("{many} records are left out"),
    };
    format!(
        "{stream}/{partition} goes on at offset {from} of the log: {skipped}. Its next record is offset {next} of the \
         history, {log_shift} more than in the log."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_nothing_stops_is_left_alone() {
        let stands = |next, log_shift| PartitionProgress {
            partition: 0,
            start: 0,
            next,
            last_appended_ms: 0,
            epoch: 1,
            log_shift,
        };
        let marks = Watermarks { low: 10, high: 20 };
        for (next, log_shift, stopped) in [(9, 0, true), (10, 0, false), (20, 0, false), (21, 0, true), (30, 15, false)]
        {
            assert_eq!(check(&stands(next, log_shift), marks, false).is_ok(), stopped, "{next} {log_shift}");
        }
        assert!(check(&stands(15, 0), marks, true).is_ok());
    }
}
