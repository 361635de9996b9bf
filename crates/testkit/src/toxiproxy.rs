//! Toxiproxy: a network that is slow, narrow, or broken on purpose.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::http;
use crate::install::{free_port, program};
use crate::server::{Options, Recipe, Server, is_a_server};

/// One Toxiproxy. Proxies do not survive a restart.
pub struct Toxiproxy {
    server: Server,
}

is_a_server!(Toxiproxy);

impl Toxiproxy {
    /// Starts Toxiproxy without any proxy.
    ///
    /// # Errors
    /// Where it is not installed, or does not become ready.
    pub fn start(options: Options) -> Result<Self> {
        let server = Server::start("toxiproxy", &options, |dir, port| {
            let mut command = Command::new(program("toxiproxy-server", "toxiproxy")?);
            command.args(["-host", "127.0.0.1", "-port", &port.to_string()]).current_dir(dir);
            Ok(Recipe {
                name: "toxiproxy",
                port,
                stop_signal: "TERM",
                user: None,
                command,
                ready: Box::new(move |_| http::request(port, "GET", "/version", "").map(drop)),
            })
        })?;
        Ok(Self { server })
    }

    /// Puts a proxy before a server on `upstream_port` of 127.0.0.1 and returns the proxy's own port.
    ///
    /// # Errors
    /// Where Toxiproxy refuses.
    pub fn proxy(&self, name: &str, upstream_port: u16) -> Result<u16> {
        let port = free_port()?;
        let body = json!({
            "name": name, "listen": format!("127.0.0.1:{port}"), "upstream": format!("127.0.0.1:{upstream_port}"), "enabled": true,
        });
        self.post("/proxies", &body)?;
        Ok(port)
    }

    /// Cuts all connections of a proxy and refuses new ones, or accepts them again.
    ///
    /// # Errors
    /// Where there is no proxy of that name.
    pub fn enable(&self, proxy: &str, enabled: bool) -> Result<()> {
        self.post(&format!("/proxies/{proxy}"), &json!({ "enabled": enabled }))
    }

    /// Adds a toxic, named like its kind: `latency`, `timeout`, `reset_peer`, `bandwidth`, `slicer`, `slow_close` or
    /// `limit_data`, with Toxiproxy's own attributes, for example `{"latency": 200}`. On what clients read
    /// (`downstream`), or else on what they write.
    ///
    /// # Errors
    /// Where Toxiproxy refuses.
    pub fn add(&self, proxy: &str, kind: &str, downstream: bool, attributes: &Value) -> Result<()> {
        let stream = if downstream { "downstream" } else { "upstream" };
        let body = json!({ "name": kind, "type": kind, "stream": stream, "attributes": attributes });
        self.post(&format!("/proxies/{proxy}/toxics"), &body)
    }

    /// Takes a toxic away again.
    ///
    /// # Errors
    /// Where there is none of that kind.
    pub fn remove(&self, proxy: &str, kind: &str) -> Result<()> {
        http::request(self.port(), "DELETE", &format!("/proxies/{proxy}/toxics/{kind}"), "").map(drop)
    }

    fn post(&self, path: &str, body: &Value) -> Result<()> {
        http::request(self.port(), "POST", path, &body.to_string()).context("Toxiproxy refused").map(drop)
    }
}
