//! `headwater dev`: everything in one process, with something alive in it.

use std::process::ExitCode;

use clap::ArgMatches;
use headwater_serving::Settings;
use jiff::Timestamp;

use crate::platform::{self, Running};
use crate::roles::Roles;
use crate::{outside, settings};

/// Runs every role on embedded stores until a signal, and a generator beside them.
pub(crate) async fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut settings = match settings::read(matches) {
        Ok(settings) => settings,
        Err(code) => return Ok(code),
    };
    settings.topics.partitions = settings.dev.partitions;
    let systems = outside::embedded(&settings, settings.dev.data.as_deref())?;
    let told = settings.clone();
    platform::run(settings, Roles::all(), systems, move |running| beside(told, running)).await?;
    Ok(ExitCode::SUCCESS)
}

async fn beside(settings: Settings, running: Running) {
    running.readiness.ready().await;
    println!("{}", greeting(&settings, &running, Timestamp::now()));
    if settings.dev.rate > 0 {
        let options = headwater_generator::LiveOptions {
            address: format!("http://{}", running.grpc),
            token: settings.auth.token.as_deref().map(str::to_owned),
            rate: settings.dev.rate,
        };
        headwater_generator::run_live(options, running.drain).await;
    }
}

/// Where it is, and some calls that work when they are pasted.
fn greeting(settings: &Settings, running: &Running, now: Timestamp) -> String {
    let (grpc, http) = (running.grpc, running.http);
    let token =
        settings.auth.token.as_deref().map_or_else(String::new, |token| format!("-H 'authorization: Bearer {token}' "));
    let call = format!("grpcurl -plaintext {token}-d");
    let event = format!(
        r#"{{"@type":"type.googleapis.com/headwater.event.v1.PageEvent","event_id":"{}","timestamp":"{now:.3}","user_id":"usr_789","event_type":"page_view","page_url":"/products/electronics","session_id":"sess_456"}}"#,
        headwater_generator::event_id(now)
    );
    let kept = settings.dev.data.as_ref().map_or_else(
        || "in memory: gone when it ends (--data DIR keeps it)".to_owned(),
        |data| format!("in {}", data.display()),
    );
    let rate = match settings.dev.rate {
        0 => "off (--rate N publishes N events a second)".to_owned(),
        rate => format!("{rate} events/s (--rate 0 turns it off)"),
    };
    format!(
        r#"
Headwater is running. Ctrl-C ends it.

  page, /metrics, /readyz   http://{http}
  gRPC with reflection      {grpc}
  everything is kept        {kept}
  the generator             {rate}

Paste into another terminal (no grpcurl? `tools/setup grpcurl` puts one into .tools/bin):

  {call} '{{"stream":"page-events","records":[{{"event":{event}}}]}}' {grpc} headwater.ingest.v1.IngestService/Publish

  {call} '{{"queries":[{{"stream":"page-events","stat":"top_pages","window":"300s"}},{{"stream":"page-events","stat":"active_users","window":"300s"}},{{"stream":"transactions","stat":"account_total"}}]}}' {grpc} headwater.stats.v1.StatsService/GetStats

  {call} '{{"stream":"page-events","start_time":"{now:.0}","page_size":3}}' {grpc} headwater.stats.v1.StatsService/QueryHistory

  {call} '{{"key":"aGVsbG8=","value":"d29ybGQ="}}' {grpc} headwater.cache.v1.CacheService/Set

  {call} '{{"key":"aGVsbG8="}}' {grpc} headwater.cache.v1.CacheService/Get
"#
    )
}
