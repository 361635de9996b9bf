//! `headwater settings`, and how every command reads them.

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use clap::ArgMatches;
use headwater_serving::Settings;
use headwater_serving::settings::{load, process_env};
use serde_json::json;

use crate::commands::explain::unless_nobody_reads;

/// sysexits' EX_USAGE: a wrong setting stops the start, before a port is bound.
const EXIT_USAGE: u8 = 64;

/// Variables with our prefix that are no settings: the command line's, the tools' and the Scala client's.
const OTHER_VARIABLES: &[&str] = &[
    "HEADWATER_ADDRESS",
    "HEADWATER_TOKEN",
    "HEADWATER_TOOLS",
    "HEADWATER_SCALA_HOME",
    "HEADWATER_JAVA_OPTS",
    "HEADWATER_JAVA_TIER",
];

/// The settings of a command, or the exit code after saying everything that is wrong with them.
pub(crate) fn read(matches: &ArgMatches) -> Result<Settings, ExitCode> {
    let mut others = OTHER_VARIABLES.to_vec();
    // Where bugs can be planted; anywhere else it is a mistake as any other.
    if headwater_planted::ON {
        others.push(headwater_planted::VARIABLE);
    }
    load(matches, process_env(), &others).map_err(|errors| {
        eprintln!("headwater: the settings do not hold\n{errors}");
        ExitCode::from(EXIT_USAGE)
    })
}

/// Prints every setting.
pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let settings = match read(matches) {
        Ok(settings) => settings,
        Err(code) => return Ok(code),
    };
    unless_nobody_reads(print(&settings, matches.get_flag("json")))
}

fn print(settings: &Settings, as_json: bool) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::new(std::io::stdout());
    let lines = settings.describe();
    if as_json {
        for line in lines {
            let object = json!({
                "key": line.key, "value": line.value, "origin": line.origin.to_string(), "default": line.default,
                "flag": line.flag, "env": line.env, "doc": line.doc,
            });
            writeln!(out, "{object}")?;
        }
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let width =
        |length: fn(&headwater_serving::settings::SettingLine) -> usize| lines.iter().map(length).max().unwrap_or(0);
    let (keys, values) = (width(|line| line.key.len()), width(|line| line.value.chars().count()));
    for line in &lines {
        writeln!(out, "{:keys$}  {:values$}  {}", line.key, line.value, line.origin)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
