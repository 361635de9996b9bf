use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use headwater_domain::format_units;
use headwater_testkit::{KAFKA, POSTGRES, REDIS, REGISTRY, fresh_database, require, unique};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::{LOOK_EVERY, Topic, until};

/// How long what was sent may take to be counted.
const COUNTED_MAX: Duration = Duration::from_secs(30);
/// The transaction's text, within the root of the contracts.
pub(crate) const EVENT: &str = "headwater/event/v1/transaction.proto";

/// The platform's program, which `cargo build` leaves beside the tests' own.
pub(crate) fn headwater() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_headwater-consume-transactions")).with_file_name("headwater");
    assert!(program.exists(), "{} is not there: run `cargo build -p headwater`", program.display());
    program
}

/// The contract in a folder of contracts, with the topic as the stream's name: the platform's topic has that of the stream.
pub(crate) fn named(contracts: &Path, topic: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(contracts.join(EVENT)).unwrap();
    let path = folder.path().join(EVENT);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let name = "name: \"transactions\"";
    assert_eq!(text.matches(name).count(), 1);
    fs::write(path, text.replace(name, &format!("name: \"{topic}\""))).unwrap();
    folder
}

/// `headwater serve` with these roles on the shared servers, under names that no other test has.
pub(crate) fn serve(roles: &str, contracts: &Path, postgres: &str) -> Command {
    let mut command = Command::new(headwater());
    // None of the settings that the test's own environment has.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HEADWATER_")) {
        command.env_remove(name);
    }
    command
        .args(["serve", "--role", roles, "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"])
        .args(["--contracts".as_ref(), contracts.as_os_str()])
        .args(["--kafka-brokers", &require(KAFKA), "--registry-url", &require(REGISTRY)])
        .args(["--redis-url", &require(REDIS), "--postgres-url", postgres])
        .args(["--kafka-group", &unique("conformance"), "--redis-prefix", &unique("conformance")])
        .stdin(Stdio::null());
    command
}

/// The platform: ingest, processor and stats of one stream, killed when the handle is dropped.
pub(crate) struct Platform {
    child: Child,
    folder: TempDir,
    _contracts: TempDir,
    address: String,
    stream: String,
}

impl Platform {
    /// Starts it on a topic, with the transaction of a folder of contracts.
    pub(crate) fn start(topic: &Topic, contracts: &Path) -> Self {
        let contracts = named(contracts, &topic.name);
        let folder = tempfile::tempdir().unwrap();
        let postgres = topic.runtime.block_on(fresh_database(&require(POSTGRES))).unwrap();
        let child = serve("ingest,processor,stats", contracts.path(), &postgres)
            .env("HEADWATER_LOG_FORMAT", "json")
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let stream = topic.name.clone();
        let mut platform = Self { child, folder, _contracts: contracts, address: String::new(), stream };
        platform.address = platform.listens();
        platform
    }

    /// Publishes a file of JSON lines; everything must be accepted.
    pub(crate) fn publish(&self, file: &Path) {
        let output = self.command(&["publish", "--stream", &self.stream]).arg(file).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// By account, as summaries show them, once everything in the topic is counted.
    pub(crate) fn sums(&self, expected: &BTreeMap<String, Json>) -> BTreeMap<String, Json> {
        let began = Instant::now();
        loop {
            let (sums, lag) = self.account_total();
            if lag == json!("0s") && sums == *expected || began.elapsed() > COUNTED_MAX {
                return sums;
            }
            sleep(LOOK_EVERY);
        }
    }

    /// `account_total` of every account, and how far behind it is.
    fn account_total(&self) -> (BTreeMap<String, Json>, Json) {
        let arguments = ["stats", "get", &self.stream, "account_total", "--limit", "1000", "--json"];
        let output = self.command(&arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let result: Json = serde_json::from_slice(&output.stdout).unwrap();
        let sum = |value: &Json| {
            let cents = value["value"].as_str().map_or(0, |units| units.parse().unwrap());
            (value["key"].as_str().unwrap().to_owned(), json!(format_units(cents, 2)))
        };
        let values = result["values"].as_array().map(|values| values.iter().map(sum).collect());
        (values.unwrap_or_default(), result["lag"].clone())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(headwater());
        command.args(arguments).args(["--address", &self.address]).stdin(Stdio::null());
        command
    }

    fn listens(&mut self) -> String {
        until("it listens", || {
            let log = self.log();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
            let listening = lines.into_iter().find(|line| line["message"] == "listening");
            if let Some(grpc) = listening.as_ref().and_then(|line| line["grpc"].as_str()) {
                return Some(format!("http://{grpc}"));
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended with {ended:?}:\n{log}");
            None
        })
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("log")).unwrap()).into_owned()
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the platform's log:\n{}", self.log());
        }
    }
}
