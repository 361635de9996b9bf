mod settings;
mod table;

use std::io::Write;
use std::process::ExitCode;

use headwater_client::v1::cache::Namespace;
use headwater_client::{Client, Error};

use self::settings::{Field, SettingsArgs};
use crate::commands::connection::ConnectionArgs;
use crate::commands::console::Console;
use crate::commands::explain::{REFUSED, fail};
use crate::commands::proto_json::ProtoJson;
use crate::commands::quantities::grouped;

/// Namespaces: what there are, how full, by which rules
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Namespaces that there are
    List(ListArgs),
    /// Settings of a namespace, how full it is, and what a crash of its store may lose
    Show(NameArgs),
    /// Make a namespace; what is not said is as in the platform's settings
    Create(CreateArgs),
    /// Change a namespace that was made by `create`; what is not said stays as it is
    Update(UpdateArgs),
    /// Forget every key of a namespace
    Flush(FlushArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct ListArgs {
    /// Print a line of JSON for each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Clone, Debug, clap::Args)]
struct NameArgs {
    /// Name of the namespace
    name: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Clone, Debug, clap::Args)]
struct CreateArgs {
    #[command(flatten)]
    name: NameArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Clone, Debug, clap::Args)]
struct UpdateArgs {
    #[command(flatten)]
    name: NameArgs,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Settings to be as in the platform's again, separated by commas, for example ttl,capacity
    #[arg(long, value_delimiter = ',', value_name = "SETTING")]
    reset: Vec<Field>,
    /// Only where the namespace still has this revision, as `show` tells it
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    revision: i64,
}

#[derive(Clone, Debug, clap::Args)]
struct FlushArgs {
    /// Name of the namespace
    name: String,
    /// Do it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) async fn run(args: Args, console: &mut Console) -> anyhow::Result<ExitCode> {
    let command = args.command.unwrap_or(Command::List(args.list));
    // What has nothing to ask of the platform is said before anybody is asked.
    match &command {
        Command::Flush(args) if !args.yes => {
            writeln!(console.err, "headwater: this forgets every key of {}, for everybody; say --yes", args.name)?;
            return Ok(ExitCode::from(REFUSED));
        }
        Command::Update(args) if args.settings.given().is_empty() && args.reset.is_empty() => {
            writeln!(console.err, "headwater: nothing to change: say which setting, for example --ttl 10m")?;
            return Ok(ExitCode::from(REFUSED));
        }
        _ => {}
    }
    let connection = match &command {
        Command::List(args) => &args.connection,
        Command::Show(args) => &args.connection,
        Command::Create(args) => &args.name.connection,
        Command::Update(args) => &args.name.connection,
        Command::Flush(args) => &args.connection,
    };
    let client = match connection.connect().await? {
        Ok(client) => client,
        Err(error) => return fail(&error, console),
    };
    match command {
        Command::List(args) => list(&client, args.json, console).await,
        Command::Show(args) => show(&client, &args, console).await,
        Command::Create(args) => {
            let asked = Namespace { name: args.name.name, ..args.settings.namespace() };
            told(client.create_namespace(asked).await, args.name.json, console)
        }
        Command::Update(args) => {
            let mut paths = args.settings.given();
            paths.extend(args.reset.iter().flat_map(|field| field.paths()));
            let asked = Namespace { name: args.name.name, revision: args.revision, ..args.settings.namespace() };
            told(client.update_namespace(asked, &paths).await, args.name.json, console)
        }
        Command::Flush(args) => match client.flush_namespace(&args.name).await {
            Ok(keys) => {
                let keys = if keys == 1 { "1 key".to_owned() } else { format!("{} keys", grouped(keys)) };
                writeln!(console.out, "{}: {keys} forgotten", args.name)?;
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => fail(&error, console),
        },
    }
}

async fn list(client: &Client, json: bool, console: &mut Console) -> anyhow::Result<ExitCode> {
    let namespaces = match client.list_namespaces().await {
        Ok(namespaces) => namespaces,
        Err(error) => return fail(&error, console),
    };
    if json {
        let json = ProtoJson::new()?;
        for namespace in &namespaces {
            writeln!(console.out, "{}", json.line("headwater.cache.v1.Namespace", namespace)?)?;
        }
    } else {
        table::list(&namespaces, &mut console.out)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client, args: &NameArgs, console: &mut Console) -> anyhow::Result<ExitCode> {
    let answer = match client.get_namespace(&args.name).await {
        Ok(answer) => answer,
        Err(error) => return fail(&error, console),
    };
    if args.json {
        writeln!(console.out, "{}", ProtoJson::new()?.line("headwater.cache.v1.GetNamespaceResponse", &answer)?)?;
    } else {
        table::show(&answer.namespace.unwrap_or_default(), answer.usage.as_ref(), &mut console.out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the namespace as it is now.
fn told(answer: Result<Namespace, Error>, json: bool, console: &mut Console) -> anyhow::Result<ExitCode> {
    match answer {
        Ok(namespace) if json => {
            writeln!(console.out, "{}", ProtoJson::new()?.line("headwater.cache.v1.Namespace", &namespace)?)?;
        }
        Ok(namespace) => table::show(&namespace, None, &mut console.out)?,
        Err(error) => return fail(&error, console),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
