use std::io::Write;
use std::process::ExitCode;

use headwater_client::v1::stats::{Stat, StatQuery, StatResult};
use headwater_client::{Client, Error};

use super::GetArgs;
use super::table::figures;
use crate::commands::console::Console;
use crate::commands::explain::fail;
use crate::commands::proto_json::ProtoJson;

/// Prints the figures of one statistic.
pub(super) async fn run(args: GetArgs, console: &mut Console) -> anyhow::Result<ExitCode> {
    let client = match args.query.connection.connect().await? {
        Ok(client) => client,
        Err(error) => return fail(&error, console),
    };
    let query = args.query.query();
    let (result, stat) = match read(&client, &query, &args.query.at_least).await {
        Ok(read) => read,
        Err(error) => return fail(&error, console),
    };
    if args.json {
        writeln!(console.out, "{}", ProtoJson::new()?.line("headwater.stats.v1.StatResult", &result)?)?;
    } else {
        figures(&query, &result, &stat, &mut console.out)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn read(client: &Client, query: &StatQuery, at_least: &str) -> Result<(StatResult, Stat), Error> {
    let results = client.get_stats(vec![query.clone()], at_least).await?;
    let result = results.into_iter().next().unwrap_or_default();
    Ok((result, described(client, query).await?))
}

/// What the statistic is called and kept apart for.
pub(super) async fn described(client: &Client, query: &StatQuery) -> Result<Stat, Error> {
    let stats = client.list_stats(&query.stream).await?;
    let stat = stats.into_iter().find(|stat| stat.name == query.stat);
    Ok(stat.unwrap_or_else(|| Stat { title: query.stat.clone(), ..Stat::default() }))
}
