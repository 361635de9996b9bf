//! `headwater serve`: services by role, on the real systems.

use std::process::ExitCode;

use clap::ArgMatches;

use crate::roles::Roles;
use crate::{outside, platform, settings};

/// Runs the roles until a signal.
pub(crate) async fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let settings = match settings::read(matches) {
        Ok(settings) => settings,
        Err(code) => return Ok(code),
    };
    let names: Vec<&str> = matches.get_many::<String>("role").into_iter().flatten().map(String::as_str).collect();
    let roles = Roles::named(&names);
    let systems = outside::production(&settings, roles)?;
    platform::run(settings, roles, systems, |_| async {}).await?;
    Ok(ExitCode::SUCCESS)
}
