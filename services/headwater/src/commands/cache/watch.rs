use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use headwater_client::cache::{KeyState, WatchEvent, WatchOptions};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::spelling::{hex, on_a_line, put_bytes, span};
use super::{SpaceArgs, bytes_of};
use crate::commands::console::Console;
use crate::commands::explain::fail;
use crate::commands::interrupt::on_interrupt;

/// How long the state of keys may stay away before that is told.
const SILENT_MAX: Duration = Duration::from_secs(2);

/// State of keys now and whenever it changes, until Ctrl-C
///
/// It tells states and not steps: of quick changes the last is told. On a terminal a line for each, else a line of JSON. A
/// connection that breaks is made again, and what may have been missed is told.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Keys to watch
    #[arg(required_unless_present = "prefix", value_name = "KEY")]
    keys: Vec<OsString>,
    /// Watch every key that begins so; what is there already is not told. Empty: the whole namespace
    #[arg(long)]
    prefix: Option<OsString>,
    /// Tell values too
    #[arg(long)]
    values: bool,
    /// Print lines of JSON on a terminal too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    space: SpaceArgs,
}

pub(super) async fn run(args: Args, console: &mut Console) -> anyhow::Result<ExitCode> {
    let stop = on_interrupt()?;
    watch(args, console, &stop).await
}

pub(super) async fn watch(args: Args, console: &mut Console, stop: &CancellationToken) -> anyhow::Result<ExitCode> {
    let cache = match args.space.connect().await? {
        Ok(cache) => cache,
        Err(error) => return fail(&error, console),
    };
    // What begins with a prefix is told when it changes, which may be never.
    let mut expected = !args.keys.is_empty();
    let options = WatchOptions {
        keys: args.keys.into_iter().map(|key| bytes_of(key).into()).collect(),
        prefix: args.prefix.map(|prefix| bytes_of(prefix).into()),
        values: args.values,
        ..WatchOptions::default()
    };
    let mut watch = match cache.watch(options).await {
        Ok(watch) => watch,
        Err(error) => return fail(&error, console),
    };
    let json = args.json || !console.out_is_terminal;
    loop {
        let event = tokio::select! {
            event = watch.next() => event,
            () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
            () = tokio::time::sleep(SILENT_MAX), if expected => {
                writeln!(console.err, "headwater: nothing is told yet: the cache waits for its store (see /readyz)")?;
                expected = false;
                continue;
            }
        };
        expected = false;
        match event {
            Ok(Some(event)) => tell(event, json, args.values, console)?,
            Ok(None) => return Ok(ExitCode::SUCCESS),
            Err(error) => return fail(&error, console),
        }
    }
}

fn tell(event: WatchEvent, json: bool, values: bool, console: &mut Console) -> io::Result<()> {
    match event {
        WatchEvent::Resync { detail } if json => writeln!(console.out, "{}", json!({ "resync": detail }))?,
        WatchEvent::Resync { detail } => {
            writeln!(console.err, "headwater: changes may have been missed: {detail}; the keys' states follow")?;
        }
        WatchEvent::State(state) if json => writeln!(console.out, "{}", state_json(&state))?,
        WatchEvent::State(state) => writeln!(console.out, "{}", line(&state, values))?,
    }
    console.out.flush()
}

/// For example `greeting: hello (fresh for 1m)`.
fn line(state: &KeyState, values: bool) -> String {
    let key = on_a_line(&state.key);
    if !state.found {
        return format!("{key}: no value");
    }
    let fresh = match state.ttl_ms {
        Some(ms) => format!("fresh for {}", span(Duration::from_millis(ms.unsigned_abs()))),
        None => "does not expire".to_owned(),
    };
    match &state.value {
        Some(value) if values => format!("{key}: {} ({fresh})", on_a_line(value)),
        _ => format!("{key}: etag {} ({fresh})", hex(&state.etag)),
    }
}

fn state_json(state: &KeyState) -> Value {
    let mut object = Map::new();
    put_bytes(&mut object, "key", &state.key);
    object.insert("found".into(), json!(state.found));
    if let Some(value) = &state.value {
        put_bytes(&mut object, "value", value);
    }
    object.insert("etag".into(), json!(state.found.then(|| hex(&state.etag))));
    object.insert("ttl_ms".into(), json!(state.ttl_ms));
    Value::Object(object)
}
