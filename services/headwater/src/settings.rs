//! `headwater settings`, and how every command reads them.

use std::process::ExitCode;

use clap::ArgMatches;
use headwater_serving::Settings;
use headwater_serving::settings::{load, process_env};
use serde_json::json;

/// sysexits' EX_USAGE: a wrong setting stops the start, before a port is bound.
const EXIT_USAGE: u8 = 64;

/// Variables with our prefix that are no settings: the command line's and the tools'.
const OTHER_VARIABLES: &[&str] = &["HEADWATER_ADDRESS", "HEADWATER_TOKEN", "HEADWATER_TOOLS"];

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
    let lines = settings.describe();
    if matches.get_flag("json") {
        for line in lines {
            let object = json!({
                "key": line.key, "value": line.value, "origin": line.origin.to_string(), "default": line.default,
                "flag": line.flag, "env": line.env, "doc": line.doc,
            });
            println!("{object}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let width =
        |length: fn(&headwater_serving::settings::SettingLine) -> usize| lines.iter().map(length).max().unwrap_or(0);
    let (keys, values) = (width(|line| line.key.len()), width(|line| line.value.chars().count()));
    for line in &lines {
        println!("{:keys$}  {:values$}  {}", line.key, line.value, line.origin);
    }
    Ok(ExitCode::SUCCESS)
}
