use std::io::Write;
use std::process::ExitCode;

use headwater_client::v1::stats::StatKind;

use super::ListArgs;
use crate::commands::columns::columns;
use crate::commands::console::Console;
use crate::commands::explain::fail;
use crate::commands::proto_json::ProtoJson;

/// Prints a row for each statistic.
pub(super) async fn run(args: ListArgs, console: &mut Console) -> anyhow::Result<ExitCode> {
    let listed = match args.connection.connect().await? {
        Ok(client) => client.list_stats(&args.stream).await,
        Err(error) => Err(error),
    };
    let stats = match listed {
        Ok(stats) => stats,
        Err(error) => return fail(&error, console),
    };
    if args.json {
        let json = ProtoJson::new()?;
        for stat in &stats {
            writeln!(console.out, "{}", json.line("headwater.stats.v1.Stat", stat)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["STREAM", "STATISTIC", "KIND", "FIELD", "BY", "TITLE"].map(str::to_owned).to_vec()];
    for stat in &stats {
        let kind = kind_name(stat.kind());
        let text = [&stat.stream, &stat.name, kind, &stat.field, &stat.by, &stat.title];
        rows.push(text.map(|text| text.to_owned()).to_vec());
    }
    columns(&rows, &[], &mut console.out)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn kind_name(kind: StatKind) -> &'static str {
    match kind {
        StatKind::Distinct => "distinct",
        StatKind::Top => "top",
        StatKind::Sum => "sum",
        StatKind::Unspecified => "unknown",
    }
}
