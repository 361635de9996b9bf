use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use headwater_client::Error;
use headwater_client::cache::{BatchGetOptions, Cache, Forward, GetOptions, KeyError, Layer, Outcome, Read};
use serde_json::{Map, Value, json};

use super::outcome::{Codes, complain, error_json};
use super::spelling::{hex, on_a_line, put_bytes, span};
use super::{SpaceArgs, bytes_of};
use crate::commands::console::Console;
use crate::commands::explain::fail;
use crate::commands::quantities::grouped;

/// Values by key: to standard output, and how the cache found them to standard error
///
/// A value is printed as text; where it is no UTF-8, or would disturb a terminal, it is escaped (\xff). Of several keys each
/// has a line with the key, a tab and the value. Exit code: 0 all have a value, 1 one has none or was refused, 2 not known.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Keys to read
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<OsString>,
    /// Print the values' bytes as they are, one after another, with nothing between or after them
    #[arg(long)]
    raw: bool,
    /// Ask the store, whatever the replica that answers has in memory
    #[arg(long)]
    no_cache: bool,
    /// Print a line of JSON for each key: key, value (value_base64 where it is no UTF-8), outcome, layer, ttl_ms, etag
    #[arg(long, conflicts_with = "raw")]
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
    let results = match read(&cache, &keys, args.no_cache).await {
        Ok(results) => results,
        Err(error) => return fail(&error, console),
    };
    let mut codes = Codes::default();
    let one = keys.len() == 1;
    for (key, result) in keys.iter().zip(results) {
        let of = if one { String::new() } else { format!("{}: ", on_a_line(key)) };
        match result {
            Ok(read) => {
                codes.refused(!read.is_found());
                if args.json {
                    writeln!(console.out, "{}", read_json(key, &read))?;
                    continue;
                }
                match (&read.value, args.raw) {
                    (Some(value), true) => console.out.write_all(value)?,
                    (Some(value), false) if one => show(value, console)?,
                    (Some(value), false) => {
                        writeln!(console.out, "{}\t{}", on_a_line(key), on_a_line(value))?;
                    }
                    (None, _) => {}
                }
                // Before the status, where both go to one terminal.
                console.out.flush()?;
                writeln!(console.err, "{of}{}", said_of(&read))?;
            }
            Err(error) => {
                codes.failed(&error);
                if args.json {
                    writeln!(console.out, "{}", error_json(key, &error))?;
                } else {
                    complain(&of, &error, console)?;
                }
            }
        }
    }
    Ok(codes.exit_code())
}

async fn read(cache: &Cache, keys: &[Vec<u8>], no_cache: bool) -> Result<Vec<Result<Read, KeyError>>, Error> {
    match keys {
        // A call of its own says as a failure of the call what is wrong with the key.
        [key] => {
            let options = GetOptions { no_cache, etag: true, ..GetOptions::default() };
            Ok(vec![Ok(cache.get_with(key, options).await?)])
        }
        keys => cache.batch_get_with(keys, BatchGetOptions { no_cache, etag: true }).await,
    }
}

/// The value as text where it is one that nothing happens by when it is shown.
fn show(value: &[u8], console: &mut Console) -> io::Result<()> {
    let disturbs = |text: &str| text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
    match std::str::from_utf8(value) {
        Ok(text) if !(console.out_is_terminal && disturbs(text)) => writeln!(console.out, "{text}"),
        _ => writeln!(console.out, "{}", value.escape_ascii()),
    }
}

/// For example `hit by L2 (not in L1), fresh for 1m, 12 bytes, etag 9f86d0…`.
fn said_of(read: &Read) -> String {
    let status = &read.status;
    let mut text = match status.outcome() {
        Outcome::Hit => "hit",
        Outcome::Miss => "miss",
        Outcome::Stale => "stale",
        Outcome::Unspecified => "unknown",
    }
    .to_owned();
    match status.layer() {
        Layer::L1 => text.push_str(" by L1"),
        Layer::L2 => text.push_str(" by L2"),
        Layer::Loader => text.push_str(" by the loader"),
        Layer::Unspecified => {}
    }
    text.push_str(match status.fwd() {
        Forward::Unspecified => "",
        Forward::Miss => " (not in L1)",
        Forward::Stale => " (stale in L1)",
        Forward::Request => " (as asked)",
        Forward::Bypass => " (L1 has not heard from the store)",
    });
    if read.is_found() {
        text.push_str(&match status.ttl_ms {
            Some(ms) if ms < 0 => format!(", stale for {}", span(Duration::from_millis(ms.unsigned_abs()))),
            Some(ms) => format!(", fresh for {}", span(Duration::from_millis(ms.unsigned_abs()))),
            None => ", does not expire".to_owned(),
        });
    }
    if let Some(value) = &read.value {
        let escaped = if std::str::from_utf8(value).is_ok() { "" } else { " that are no UTF-8" };
        text.push_str(&format!(", {} bytes{escaped}", grouped(value.len() as u64)));
    }
    if status.collapsed {
        text.push_str(", fetched once for several callers");
    }
    if let Some(etag) = &read.etag {
        text.push_str(&format!(", etag {}", hex(etag)));
    }
    if !status.detail.is_empty() {
        text.push_str(&format!(": {}", status.detail));
    }
    text
}

fn read_json(key: &[u8], read: &Read) -> Value {
    let status = &read.status;
    let word = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_ascii_lowercase();
    let mut object = Map::new();
    put_bytes(&mut object, "key", key);
    match &read.value {
        Some(value) => put_bytes(&mut object, "value", value),
        None => drop(object.insert("value".into(), Value::Null)),
    }
    object.insert("outcome".into(), json!(word(status.outcome().as_str_name(), "OUTCOME_")));
    object.insert("layer".into(), json!(word(status.layer().as_str_name(), "LAYER_")));
    let forward = (status.fwd() != Forward::Unspecified).then(|| word(status.fwd().as_str_name(), "FORWARD_"));
    object.insert("fwd".into(), json!(forward));
    object.insert("ttl_ms".into(), json!(status.ttl_ms));
    object.insert("collapsed".into(), json!(status.collapsed));
    object.insert("detail".into(), json!(status.detail));
    object.insert("etag".into(), json!(read.etag.as_deref().map(hex)));
    Value::Object(object)
}
