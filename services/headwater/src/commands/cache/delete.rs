use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use headwater_client::Error;
use headwater_client::cache::Cache;

use super::outcome::{Became, Codes};
use super::spelling::on_a_line;
use super::{SpaceArgs, bytes_of};
use crate::commands::console::Console;
use crate::commands::explain::fail;

/// Forget keys
///
/// Exit code: 0 they are forgotten, whether they had a value or not, or queued to be; 1 one was refused; 2 not known.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Keys to forget
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<OsString>,
    /// Where the namespace queues writes: wait, up to --deadline, until they were applied
    #[arg(long)]
    wait: bool,
    /// Print a line of JSON for each key
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    space: SpaceArgs,
}

pub(super) async fn run(args: Args, console: &mut Console) -> anyhow::Result<ExitCode> {
    let cache = match args.space.connect().await? {
        Ok(cache) => cache,
        Err(error) => return fail(&error, console),
    };
    let keys: Vec<Vec<u8>> = args.keys.into_iter().map(bytes_of).collect();
    let results = match delete(&cache, &keys).await {
        Ok(results) => results,
        Err(error) => return fail(&error, console),
    };
    let mut codes = Codes::default();
    for (key, mut became) in keys.iter().zip(results) {
        if args.wait {
            became = match became.settled(&cache, args.space.connection.deadline, true).await {
                Ok(became) => became,
                Err(error) => return fail(&error, console),
            };
        }
        if args.json {
            writeln!(console.out, "{}", became.json(key))?;
        } else {
            let of = if keys.len() == 1 { String::new() } else { format!("{}: ", on_a_line(key)) };
            became.tell(&of, console)?;
        }
        became.count(&mut codes);
    }
    Ok(codes.exit_code())
}

async fn delete(cache: &Cache, keys: &[Vec<u8>]) -> Result<Vec<Became>, Error> {
    match keys {
        // A call of its own says as a failure of the call what is wrong with the key.
        [key] => Ok(vec![cache.delete(key).await?.into()]),
        keys => {
            let results = cache.batch_delete(keys).await?;
            Ok(results.into_iter().map(|result| result.map_or_else(Became::Failed, Became::from)).collect())
        }
    }
}
