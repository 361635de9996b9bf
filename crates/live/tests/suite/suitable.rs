//! A Redis that would lose statistics is refused, with the command that mends it.

use headwater_live::{
    LiveError, LiveStatistics,
    redis::{RedisLive, RedisOptions},
};

use crate::server::RedisServer;

fn live(url: &str) -> RedisLive {
    RedisLive::new(RedisOptions::new(url)).unwrap()
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused() {
    let server = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]);
    let live = live(&server.url());
    match live.check().await {
        Err(LiveError::Unsuitable(text)) => {
            assert!(text.contains("allkeys-lru"), "{text}");
            assert!(text.contains("CONFIG SET maxmemory-policy noeviction"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    server.run("CONFIG SET maxmemory-policy noeviction");
    assert_eq!(live.check().await, Ok(()));
}

#[tokio::test]
async fn the_policy_is_found_without_config() {
    let server = RedisServer::start(&["--maxmemory-policy", "volatile-ttl", "--rename-command", "CONFIG", ""]);
    let result = live(&server.url()).check().await;
    assert!(matches!(&result, Err(LiveError::Unsuitable(text)) if text.contains("volatile-ttl")), "{result:?}");
}

#[tokio::test]
async fn the_policy_is_found_without_info() {
    let server = RedisServer::start(&["--maxmemory-policy", "allkeys-lfu"]);
    server.run("ACL SETUSER counter on >secret ~* +@all -info");
    let live = live(&format!("redis://counter:secret@127.0.0.1:{}", server.port));
    let result = live.check().await;
    assert!(matches!(&result, Err(LiveError::Unsuitable(text)) if text.contains("allkeys-lfu")), "{result:?}");
    server.run("CONFIG SET maxmemory-policy noeviction");
    assert_eq!(live.check().await, Ok(()));
    // Where neither may be asked, there is a warning and no refusal.
    server.run("ACL SETUSER counter -config");
    assert_eq!(live.check().await, Ok(()));
}

#[tokio::test]
async fn a_node_of_a_cluster_is_not_taken_for_a_redis() {
    let server = RedisServer::start(&["--cluster-enabled", "yes"]);
    let result = live(&server.url()).check().await;
    assert!(matches!(&result, Err(LiveError::Unsuitable(text)) if text.contains("Cluster")), "{result:?}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_shown() {
    let server = RedisServer::start(&[]);
    server.run("CONFIG SET requirepass right");
    let result = live(&format!("redis://:wrong@127.0.0.1:{}", server.port)).check().await;
    match result {
        Err(LiveError::Refused(text)) => assert!(!text.contains("wrong@"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn options_that_cannot_work_are_refused() {
    let usual = || RedisOptions::new("redis://127.0.0.1");
    for options in [
        RedisOptions::new("http://127.0.0.1"),
        RedisOptions { urls: vec![], ..usual() },
        RedisOptions { urls: vec![], cluster: true, ..usual() },
        RedisOptions { urls: vec!["redis://a".into(), "redis://b".into()], ..usual() },
        RedisOptions { prefix: "a{b}".into(), ..usual() },
    ] {
        assert!(matches!(RedisLive::new(options.clone()), Err(LiveError::Refused(_))), "{options:?}");
    }
}
