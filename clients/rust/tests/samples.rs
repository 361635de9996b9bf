//! Samples run as they are, against a real `headwater dev`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take while the machine also compiles.
const START_MAX: Duration = Duration::from_secs(30);

struct Platform {
    child: Child,
    grpc: SocketAddr,
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What cargo built beside this test: target/PROFILE.
fn built(name: &str) -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join(name);
    assert!(
        path.exists(),
        "{} is missing: run `make test`, or `cargo build -p headwater` and `cargo build -p headwater-client --examples`",
        path.display()
    );
    path
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn platform() -> Platform {
    let program = std::env::var_os("HEADWATER_TEST_BIN").map_or_else(|| built("headwater"), PathBuf::from);
    let (grpc, http) = (free(), free());
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HEADWATER_")) {
        command.env_remove(name);
    }
    command.args(["dev", "--rate", "0", "--listen-grpc", &grpc.to_string(), "--listen-http", &http.to_string()]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut platform = Platform { child, grpc };
    let began = Instant::now();
    while !ready(http) {
        assert!(platform.child.try_wait().unwrap().is_none(), "headwater dev ended");
        assert!(began.elapsed() < START_MAX, "headwater dev is not ready");
        std::thread::sleep(Duration::from_millis(50));
    }
    platform
}

fn ready(http: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(http) else { return false };
    let mut answer = String::new();
    let _ = stream.write_all(b"GET /readyz HTTP/1.0\r\nhost: x\r\n\r\n");
    let _ = stream.read_to_string(&mut answer);
    answer.split_whitespace().nth(1) == Some("200")
}

#[test]
fn samples_do_what_they_say() {
    let platform = platform();
    let run = |sample: &str| {
        let endpoint = format!("http://{}", platform.grpc);
        let output = Command::new(built(&format!("examples/{sample}"))).arg(endpoint).output().unwrap();
        assert!(output.status.success(), "{sample}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let published = run("publish");
    assert_eq!(published.matches("accepted ").count(), 2, "{published}");
    assert_eq!(published.matches("rejected: ").count(), 1, "{published}");
    let cached = run("cache");
    assert!(cached.contains("hello") && cached.contains("Miss"), "{cached}");
    let rebuilt = run("rebuild");
    assert!(rebuilt.contains("transactions 2: Done"), "{rebuilt}");
    let streamed = run("publish_stream");
    assert!(streamed.starts_with("100000 accepted, 0 not"), "{streamed}");
    assert_eq!(first_figures(&platform), ["       1  /", "       1  /products"], "the pages that `publish` told of");
}

/// What `top_pages`, which goes on for ever, prints first.
fn first_figures(platform: &Platform) -> Vec<String> {
    let mut command = Command::new(built("examples/top_pages"));
    let mut sample = command.arg(format!("http://{}", platform.grpc)).stdout(Stdio::piped()).spawn().unwrap();
    let printed = BufReader::new(sample.stdout.take().unwrap());
    let figures = printed.lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
    sample.kill().unwrap();
    sample.wait().unwrap();
    figures
}
