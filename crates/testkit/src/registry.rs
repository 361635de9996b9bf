//! A schema registry: Apicurio, by its Confluent-compatible API.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::http;
use crate::install::{installed, program};
use crate::server::{Options, Recipe, Server, is_a_server};

const HEAP_MIB: u32 = 384;
const API: &str = "/apis/ccompat/v7";

/// One schema registry. Its data is a file: what was registered survives a kill.
pub struct Registry {
    server: Server,
}

is_a_server!(Registry);

impl Registry {
    /// Starts a registry and waits until it lists its subjects.
    ///
    /// # Errors
    /// Where Apicurio is not installed, or does not become ready.
    pub fn start(options: Options) -> Result<Self> {
        let server = Server::start("registry", &options, |dir, port| prepare(&options, dir, port))?;
        Ok(Self { server })
    }

    /// The URL of the Confluent-compatible API, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}{API}", self.port())
    }
}

fn prepare(options: &Options, dir: &Path, port: u16) -> Result<Recipe> {
    let home = installed("registry", "registry")?;
    let jar = std::fs::read_dir(&home)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().ends_with("-runner.jar"))
        .context("its folder holds no -runner.jar: run `tools/setup registry`")?;
    let mut command = Command::new(program("java", "java")?);
    command
        .arg(format!("-Xmx{}m", options.heap_mib.unwrap_or(HEAP_MIB)))
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true", "-jar"])
        .arg(jar)
        .current_dir(dir)
        .env("QUARKUS_HTTP_HOST", "127.0.0.1")
        .env("QUARKUS_HTTP_PORT", port.to_string())
        // WRITE_DELAY: what was answered is on disk, or a kill would lose the last half second.
        .env("REGISTRY_DATASOURCE_URL", format!("jdbc:h2:file:{}/schemas;WRITE_DELAY=0", dir.display()))
        .env("REGISTRY_LOG_LEVEL", "WARN");
    for (name, value) in &options.settings {
        command.env(name, value);
    }
    Ok(Recipe {
        name: "registry",
        port,
        stop_signal: "TERM",
        user: None,
        command,
        ready: Box::new(move |_| http::request(port, "GET", &format!("{API}/subjects"), "").map(drop)),
    })
}
