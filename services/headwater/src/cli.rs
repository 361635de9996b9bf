use clap::{Arg, ArgAction, Args, Command};
use headwater_serving::settings::augment_clap;

use crate::commands::{cache, generate, publish, rebuild, stats, verdict};
use crate::roles::Roles;
use crate::{contracts, resume};

/// What is built with planted bugs is no release, and says so.
const VERSION: &str = match headwater_planted::ON {
    false => env!("CARGO_PKG_VERSION"),
    true => concat!(env!("CARGO_PKG_VERSION"), ", with planted bugs: not a release"),
};

/// The command line.
pub(crate) fn command() -> Command {
    Command::new("headwater")
        .version(VERSION)
        .about("A gRPC platform: one contract, events counted exactly once, statistics that are live")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(augment_clap(
            Command::new("dev")
                .about("Every service in one process with embedded stores, and a generator so that something is alive"),
        ))
        .subcommand(
            augment_clap(
                Command::new("serve").about("Services by role, on Kafka, a Schema Registry, Redis and Postgres"),
            )
            .arg(role()),
        )
        .subcommand(
            augment_clap(Command::new("settings").about("Every setting with its value and where it comes from")).arg(
                Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print as JSON, an object a setting"),
            ),
        )
        .subcommand(resume::arguments(augment_clap(
            Command::new("resume").about("Say where a stopped partition goes on, once its topic is not as it was"),
        )))
        .subcommand(contracts_command())
        .subcommand(publish::Args::augment_args(
            Command::new("publish").about("Publish a file of newline-delimited JSON; the same file twice counts once"),
        ))
        .subcommand(stats::Args::augment_args(Command::new("stats").about("Read live statistics")))
        .subcommand(verdict::Args::augment_args(
            Command::new("explain").about("Tell what became of an event, by its id"),
        ))
        .subcommand(rebuild::Args::augment_args(
            Command::new("rebuild").about("Build statistics anew from the stored events, while events flow"),
        ))
        .subcommand(cache::Args::augment_args(
            Command::new("cache").about("Read, write and watch keys of the cache, and its namespaces"),
        ))
        .subcommand(generate::Args::augment_args(
            Command::new("generate").about("Publish made-up events at a steady rate, and say how it went"),
        ))
}

fn contracts_command() -> Command {
    let folder = Arg::new("dir").value_name("DIR").required(true).help("Folder to write them to");
    let export = Command::new("export")
        .about("Write the files that a contract of your own imports: the stream's options and buf.validate's rules")
        .arg(folder.value_parser(clap::value_parser!(std::path::PathBuf)));
    let register = contracts::register_arguments(augment_clap(Command::new("register").about(
        "Make a topic for a stream's events and register the schema for it, as the platform does for its own topics",
    )));
    Command::new("contracts")
        .about("Contracts of your own, and topics that follow them")
        .subcommand_required(true)
        .subcommand(export)
        .subcommand(register)
}

fn role() -> Arg {
    Arg::new("role")
        .long("role")
        .value_delimiter(',')
        .required(true)
        .action(ArgAction::Append)
        .value_parser(Roles::NAMES)
        .help("Which services this process runs, separated by commas")
}
