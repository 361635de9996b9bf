//! A Postgres server, of its own user where we are root.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::install::program;
use crate::process::{self, Bond};
use crate::server::{Options, Recipe, Server, is_a_server};
use crate::small_disk::SmallDisk;

/// One Postgres server with its own data. Everybody on the machine may connect as the superuser `postgres`.
///
/// It does not wait for the disk (`fsync=off`): data survives a kill of the server, not one of the machine. Measurements
/// give the setting `fsync` as `on`.
pub struct Postgres {
    server: Server,
}

is_a_server!(Postgres);

impl Postgres {
    /// Starts a server with an empty database `postgres` and waits until it accepts connections.
    ///
    /// # Errors
    /// Where Postgres is not installed, or does not become ready.
    pub fn start(options: Options) -> Result<Self> {
        let server = Server::start("postgres", &options, |dir, port| prepare(&options, dir, port))?;
        Ok(Self { server })
    }

    /// `postgres://user@host:port/database`
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port())
    }

    /// Mounts a disk of that size and makes an empty database of which all tables lie on it; the write-ahead log does
    /// not. Returns the disk, to be dropped after the server, and the database's URL.
    ///
    /// # Errors
    /// Where this process may not mount, or the server does not answer.
    pub async fn database_on_small_disk(&self, mebibytes: u32) -> Result<(SmallDisk, String)> {
        let disk = SmallDisk::mount(mebibytes, other_user(self.dir())?)?;
        let (client, connection) = tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await?;
        let place = format!("CREATE TABLESPACE small LOCATION '{}'", disk.folder().display());
        let work = async move {
            client.batch_execute(&place).await?;
            client.batch_execute("CREATE DATABASE small TABLESPACE small").await
        };
        let (made, _) = tokio::join!(work, connection);
        made.context("cannot make a database on a small disk")?;
        Ok((disk, format!("postgres://postgres@127.0.0.1:{}/small", self.port())))
    }
}

fn prepare(options: &Options, dir: &Path, port: u16) -> Result<Recipe> {
    let bin = bin_dir()?;
    let user = other_user(dir)?;
    let data = dir.join("data");
    if !data.join("PG_VERSION").exists() {
        fs::create_dir_all(&data)?;
        fs::set_permissions(&data, Permissions::from_mode(0o700))?;
        if let Some((uid, gid)) = user {
            // The server must get through to its data.
            fs::set_permissions(dir, Permissions::from_mode(0o755))?;
            chown(&data, Some(uid), Some(gid))?;
        }
        let mut initdb = Command::new(bin.join("initdb"));
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--pgdata"]);
        initdb.arg(&data).current_dir(dir);
        let output = process::bind(&initdb, Bond::DiesWithUs, user)?.output().context("initdb cannot be started")?;
        ensure!(
            output.status.success(),
            "initdb failed (a folder on its way may be closed to the user that Postgres runs as):\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    let mut command = Command::new(bin.join("postgres"));
    command.arg("-D").arg(&data).args(["-p", &port.to_string()]).current_dir(dir);
    let ours = [
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("max_connections", "300"),
        ("shared_buffers", "128MB"),
    ];
    for (name, value) in ours {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    // Of a name given twice the last counts.
    for (name, value) in &options.settings {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    let is_ready = bin.join("pg_isready");
    Ok(Recipe {
        name: "postgres",
        port,
        // Fast: ends the sessions instead of waiting for them.
        stop_signal: "INT",
        user,
        command,
        ready: Box::new(move |_| {
            let port = port.to_string();
            let output = Command::new(&is_ready).args(["-h", "127.0.0.1", "-t", "5", "-p", &port]).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout).trim());
            Ok(())
        }),
    })
}

/// Debian keeps the server's programs off the path, in a folder for each version: the newest is taken.
fn bin_dir() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("HEADWATER_TEST_POSTGRES_BIN") {
        return Ok(PathBuf::from(folder));
    }
    let newest = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .max_by_key(|bin| bin.parent().and_then(|version| version.file_name()?.to_str()?.parse::<u32>().ok()));
    match newest {
        Some(folder) => Ok(folder),
        None => Ok(program("initdb", "postgres")?.parent().context("a program lies in a folder")?.to_owned()),
    }
}

/// Postgres refuses to run as root: then it gets the user `postgres`, else `nobody`. Returns uid and gid.
fn other_user(dir: &Path) -> Result<Option<(u32, u32)>> {
    // The folder is ours: its owner tells who we are.
    if fs::metadata(dir)?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("cannot look up a user for Postgres")?;
    let id = |name: &str| {
        users.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields.first() == Some(&name)).then_some(())?;
            Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
        })
    };
    id("postgres").or_else(|| id("nobody")).map(Some).context("there is neither a user postgres nor nobody")
}
