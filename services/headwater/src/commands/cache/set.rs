use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use headwater_client::Error;
use headwater_client::cache::{Cache, When};

use super::outcome::{Became, Codes};
use super::spelling::from_hex;
use super::{SpaceArgs, bytes_of};
use crate::commands::console::Console;
use crate::commands::explain::fail;
use crate::commands::quantities::duration;

/// Bytes that are read from standard input at most: as long as a namespace may allow a value to be.
const INPUT_BYTES_MAX: u64 = 64 << 20;

/// Write a value
///
/// Exit code: 0 written or queued, 1 refused or the condition does not hold, 2 not known.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Key to write
    key: OsString,
    /// Value to write; `-` reads it from standard input, to its end
    #[arg(allow_negative_numbers = true)]
    value: OsString,
    /// How long it stays fresh, for example 10s or 1h30m. Default: as the namespace says
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    ttl: Option<Duration>,
    /// Only where the key has no value
    #[arg(long, group = "condition")]
    if_absent: bool,
    /// Only where the key has a value
    #[arg(long, group = "condition")]
    if_present: bool,
    /// Only where the key's value still has this etag, as `get` tells it
    #[arg(long, group = "condition", value_name = "HEX")]
    if_etag: Option<String>,
    /// Where the namespace queues writes: wait, up to --deadline, until it was applied
    #[arg(long)]
    wait: bool,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    space: SpaceArgs,
}

impl Args {
    fn when(&self) -> Result<Option<When>, String> {
        Ok(match &self.if_etag {
            Some(etag) => Some(When::Etag(from_hex(etag)?.into())),
            None if self.if_absent => Some(When::Absent),
            None if self.if_present => Some(When::Present),
            None => None,
        })
    }
}

pub(super) async fn run(args: Args, console: &mut Console, input: &mut dyn Read) -> anyhow::Result<ExitCode> {
    let when = args.when().map_err(|wrong| anyhow::anyhow!("--if-etag: {wrong}"))?;
    let value = if args.value == "-" { read_all(input)? } else { bytes_of(args.value.clone()) };
    let cache = match args.space.connect().await? {
        Ok(cache) => cache,
        Err(error) => return fail(&error, console),
    };
    let key = bytes_of(args.key.clone());
    let became = match write(&args, &cache, &key, value, when).await {
        Ok(became) => became,
        Err(error) => return fail(&error, console),
    };
    if args.json {
        writeln!(console.out, "{}", became.json(&key))?;
    } else {
        became.tell("", console)?;
    }
    let mut codes = Codes::default();
    became.count(&mut codes);
    Ok(codes.exit_code())
}

async fn write(args: &Args, cache: &Cache, key: &[u8], value: Vec<u8>, when: Option<When>) -> Result<Became, Error> {
    let became: Became = match when {
        None => cache.set_with(key, value, args.ttl).await?.into(),
        Some(when) => cache.set_if(key, value, args.ttl, when).await?.into(),
    };
    if args.wait { became.settled(cache, args.space.connection.deadline, false).await } else { Ok(became) }
}

fn read_all(input: &mut dyn Read) -> anyhow::Result<Vec<u8>> {
    let mut value = Vec::new();
    input.take(INPUT_BYTES_MAX + 1).read_to_end(&mut value).context("standard input")?;
    ensure!(value.len() as u64 <= INPUT_BYTES_MAX, "standard input has more than {INPUT_BYTES_MAX} bytes");
    Ok(value)
}
