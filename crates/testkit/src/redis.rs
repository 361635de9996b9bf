//! Redis: a single server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::install::program;
use crate::server::{Options, Recipe, Server, is_a_server};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// One Redis server. It writes each command to its file before it answers: data survives a kill, unless the setting
/// `appendonly` is given as `no`.
pub struct Redis {
    server: Server,
}

is_a_server!(Redis);

impl Redis {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// Where Redis is not installed, or does not become ready.
    pub fn start(options: Options) -> Result<Self> {
        let server = Server::start("redis", &options, |dir, port| prepare(&options, dir, port))?;
        Ok(Self { server })
    }

    /// `redis://host:port`
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// Sends one command, its words separated by spaces, and returns the answer: a string, a number, or nothing. For a
    /// test's own look at a server; a real client does the rest.
    ///
    /// # Errors
    /// Where the server does not answer within 5 s, or answers with an error or a list.
    pub fn ask(&self, command: &str) -> Result<Option<String>> {
        ask(self.port(), command)
    }

    /// Lets it use so many bytes at most, or any number where none. An empty server uses about a million: with fewer it
    /// takes no write that needs memory.
    ///
    /// # Errors
    /// Where the server does not answer.
    pub fn limit_memory(&self, bytes_max: Option<u64>) -> Result<()> {
        self.ask(&format!("CONFIG SET maxmemory {}", bytes_max.unwrap_or(0))).map(drop)
    }
}

fn prepare(options: &Options, dir: &Path, port: u16) -> Result<Recipe> {
    let mut command = Command::new(program("redis-server", "redis")?);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no", "--save", ""]);
    command.args(["--appendonly", "yes", "--enable-debug-command", "yes", "--dir"]).arg(dir).current_dir(dir);
    for (name, value) in &options.settings {
        command.arg(format!("--{name}")).arg(value);
    }
    Ok(Recipe {
        name: "redis",
        port,
        stop_signal: "TERM",
        user: None,
        command,
        ready: Box::new(move |_| {
            let answer = ask(port, "PING")?;
            ensure!(answer.as_deref() == Some("PONG"), "PING was answered with {answer:?}");
            Ok(())
        }),
    })
}

fn ask(port: u16, command: &str) -> Result<Option<String>> {
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    // An inline command: the line as a person would type it.
    write!(stream, "{command}\r\n")?;
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    answer.read_line(&mut line)?;
    let line = line.trim_end();
    ensure!(line.is_char_boundary(1), "Redis answered nothing");
    match line.split_at(1) {
        ("+" | ":", text) => Ok(Some(text.to_owned())),
        ("$", "-1") => Ok(None),
        ("$", length) => {
            let mut bytes = vec![0; length.parse().context("a length")?];
            answer.read_exact(&mut bytes)?;
            Ok(Some(String::from_utf8(bytes)?))
        }
        _ => bail!("{command} was answered with {line}"),
    }
}
