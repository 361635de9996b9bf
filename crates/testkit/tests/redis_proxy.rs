//! The way to Redis: what it does to the links that were meant, and to none other.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use headwater_testkit::{LinkFault, Links, Options, Redis, RedisProxy, Way};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than anything takes that is delivered.
const WITHIN: Duration = Duration::from_secs(10);
/// As long as it is watched that nothing is delivered.
const NOTHING_FOR: Duration = Duration::from_millis(150);

/// A connection through the proxy.
struct Link {
    stream: TcpStream,
    /// What came and was not waited for yet.
    heard: String,
}

impl Link {
    async fn open(proxy: &RedisProxy) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
        Self { stream, heard: String::new() }
    }

    /// One that is told which keys change, and was told of none yet.
    async fn tracking(proxy: &RedisProxy) -> Self {
        let mut link = Self::open(proxy).await;
        link.say("HELLO 3").await;
        link.hear("role").await.unwrap();
        link.say("CLIENT TRACKING ON BCAST").await;
        link.hear("+OK").await.unwrap();
        link
    }

    async fn say(&mut self, command: &str) {
        let words: Vec<String> = command.split(' ').map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        // A connection that was cut may not take it.
        let _ = self.stream.write_all(format!("*{}\r\n{}", words.len(), words.concat()).as_bytes()).await;
    }

    /// Waits until it hears something. None: the connection ended.
    async fn hear(&mut self, what: &str) -> Option<Duration> {
        let began = Instant::now();
        let mut part = [0; 1024];
        loop {
            if let Some(at) = self.heard.find(what) {
                self.heard.drain(..at + what.len());
                return Some(began.elapsed());
            }
            let length = tokio::time::timeout(WITHIN, self.stream.read(&mut part)).await.expect("nothing is heard");
            match length {
                Ok(length @ 1..) => self.heard.push_str(std::str::from_utf8(&part[..length]).unwrap()),
                _ => return None,
            }
        }
    }

    async fn hears_nothing(&mut self) {
        let heard = tokio::time::timeout(NOTHING_FOR, self.stream.read(&mut [0; 64])).await;
        assert!(heard.is_err(), "it heard something: {heard:?}");
    }

    async fn pings(&mut self) {
        self.say("PING").await;
        self.hear("PONG").await.unwrap();
    }
}

/// A server, a proxy, a link that is told of changes and one that is not.
async fn four() -> (Redis, RedisProxy, Link, Link) {
    let redis = tokio::task::spawn_blocking(|| Redis::start(Options::default()).unwrap()).await.unwrap();
    let proxy = RedisProxy::start(redis.port()).await.unwrap();
    let (tracking, other) = (Link::tracking(&proxy).await, Link::open(&proxy).await);
    until(|| proxy.count(Links::All) == 2).await;
    (redis, proxy, tracking, other)
}

async fn until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !holds() {
        assert!(Instant::now() < deadline, "it does not come to that");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn links_are_told_apart_and_cut_apart() {
    let (redis, proxy, mut tracking, mut other) = four().await;
    assert_eq!((proxy.count(Links::Tracking), proxy.count(Links::Others)), (1, 1));
    redis.ask("SET a 1").unwrap();
    tracking.hear("invalidate").await.unwrap();
    proxy.cut(Links::Tracking);
    assert_eq!(tracking.hear("nothing more").await, None, "it is cut");
    other.pings().await;
    until(|| proxy.count(Links::Tracking) == 0).await;
    // Another may come, and the first is no bar to cutting it.
    let mut tracking = Link::tracking(&proxy).await;
    proxy.cut(Links::Others);
    assert_eq!(other.hear("nothing more").await, None, "it is cut");
    tracking.pings().await;
    proxy.cut(Links::All);
    assert_eq!(tracking.hear("nothing more").await, None, "it is cut");
}

#[tokio::test]
async fn refused_links_end_once_they_are_known() {
    let (_redis, proxy, mut tracking, mut other) = four().await;
    proxy.set(Links::Tracking, LinkFault::Refused);
    assert_eq!(tracking.hear("nothing more").await, None, "it is cut");
    let mut again = Link::open(&proxy).await;
    again.pings().await;
    again.say("CLIENT TRACKING ON BCAST").await;
    assert_eq!(again.hear("nothing more").await, None, "it is cut");
    other.pings().await;
    proxy.set(Links::Tracking, LinkFault::None);
    Link::tracking(&proxy).await.pings().await;
}

#[tokio::test]
async fn a_black_hole_delivers_nothing_until_it_ends() {
    let (redis, proxy, mut tracking, mut other) = four().await;
    proxy.set(Links::Tracking, LinkFault::BlackHole(Way::Both));
    redis.ask("SET a 1").unwrap();
    tracking.say("PING").await;
    tracking.hears_nothing().await;
    // One that is made meanwhile is accepted, and hears nothing from its command on.
    let mut later = Link::open(&proxy).await;
    later.pings().await;
    later.say("CLIENT TRACKING ON BCAST").await;
    later.hears_nothing().await;
    other.pings().await;
    proxy.set(Links::Tracking, LinkFault::None);
    tracking.hear("invalidate").await.unwrap();
    tracking.hear("PONG").await.unwrap();
    later.hear("+OK").await.unwrap();
}

#[tokio::test]
async fn a_black_hole_may_be_open_on_one_side() {
    let (redis, proxy, mut tracking, _other) = four().await;
    proxy.set(Links::Tracking, LinkFault::BlackHole(Way::ToServer));
    tracking.say("PING").await;
    tracking.hears_nothing().await;
    redis.ask("SET a 1").unwrap();
    tracking.hear("invalidate").await.unwrap();
    proxy.set(Links::Tracking, LinkFault::BlackHole(Way::ToClient));
    tracking.say("CLIENT SETNAME reached").await;
    tracking.hears_nothing().await;
    let list = || redis.ask("CLIENT LIST TYPE normal").unwrap().unwrap();
    until(|| list().contains("name=reached")).await;
}

#[tokio::test]
async fn a_delay_is_kept_and_keeps_the_order() {
    const BY: Duration = Duration::from_millis(120);
    let (redis, proxy, mut tracking, mut other) = four().await;
    proxy.set(Links::Tracking, LinkFault::Delayed(Way::ToClient, BY));
    let began = Instant::now();
    redis.ask("SET a 1").unwrap();
    tracking.say("PING").await;
    tracking.hear("invalidate").await.unwrap();
    assert!(began.elapsed() >= BY, "it came after {:?}", began.elapsed());
    other.pings().await;
    tracking.hear("PONG").await.unwrap();
    assert!(began.elapsed() >= BY);
}

#[tokio::test]
async fn another_server_can_take_the_place() {
    let (first, proxy, mut tracking, mut other) = four().await;
    let second = tokio::task::spawn_blocking(|| Redis::start(Options::default()).unwrap()).await.unwrap();
    first.ask("SET who first").unwrap();
    second.ask("SET who second").unwrap();
    proxy.lead_to(second.port());
    other.say("GET who").await;
    other.hear("first").await.expect("it stays where it is");
    proxy.cut(Links::All);
    assert_eq!(other.hear("nothing more").await, None, "it is cut");
    assert_eq!(tracking.hear("nothing more").await, None, "it is cut");
    let mut other = Link::open(&proxy).await;
    other.say("GET who").await;
    other.hear("second").await.unwrap();
    // Without a server a connection ends.
    drop(second);
    assert_eq!(other.hear("nothing more").await, None, "it is cut");
    assert_eq!(Link::open(&proxy).await.hear("nothing").await, None, "it is refused");
}
