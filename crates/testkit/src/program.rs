//! Any other program, with the life of a server: a process of the platform, for example.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::http;
use crate::server::{Options, Recipe, Server, is_a_server};

/// A program that listens on a port, started, killed, paused and restarted as the real servers are.
pub struct Program {
    server: Server,
    http_port: u16,
}

is_a_server!(Program);

impl Program {
    /// Starts the command and waits until it listens on the port of the options, or on a free one, and answers
    /// `GET ready_path` on its HTTP port with a status of 2xx. `command` is given the folder and the two ports.
    ///
    /// # Errors
    /// Where it cannot be started, or does not become ready.
    pub fn start(
        name: &'static str,
        options: &Options,
        http_port: u16,
        ready_path: &'static str,
        command: impl Fn(&Path, u16) -> Result<Command>,
    ) -> Result<Self> {
        let server = Server::start(name, options, |dir, port| {
            let mut command = command(dir, port)?;
            command.current_dir(dir);
            Ok(Recipe {
                name,
                port,
                stop_signal: "TERM",
                user: None,
                command,
                ready: Box::new(move |_| http::request(http_port, "GET", ready_path, "").map(drop)),
            })
        })?;
        Ok(Self { server, http_port })
    }

    /// The body of a page that its HTTP port answers with a status of 2xx.
    ///
    /// # Errors
    /// Where it does not within 5 s.
    pub fn page(&self, path: &str) -> Result<String> {
        http::request(self.http_port, "GET", path, "")
    }
}
