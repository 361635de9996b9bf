//! `headwater serve`: services by role, on the real systems.

use std::process::ExitCode;

use clap::ArgMatches;

use crate::platform::{self, Roles};
use crate::{outside, settings};

/// Runs the roles until a signal.
pub(crate) async fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let settings = match settings::read(matches) {
        Ok(settings) => settings,
        Err(code) => return Ok(code),
    };
    let names: Vec<&str> = matches.get_many::<String>("role").into_iter().flatten().map(String::as_str).collect();
    let roles = Roles {
        ingest: names.contains(&"ingest"),
        processor: names.contains(&"processor"),
        stats: names.contains(&"stats"),
    };
    let outside = outside::production(&settings)?;
    platform::run(settings, roles, outside, |_| async {}).await?;
    Ok(ExitCode::SUCCESS)
}
