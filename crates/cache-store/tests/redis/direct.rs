//! Other clients of the same Redis.

use std::time::Duration;

use headwater_cache_store::{
    CacheStore, Condition, Done, Entry, Got, Layout, LeaseAsk, Op, Outcome, Refusal, Space, Write, redis::RedisStore,
};
use headwater_testkit::{REDIS, require};

use crate::world::{Listener, add, cli, put, set, shared, spread, value, write};

#[tokio::test]
async fn what_other_clients_write_is_read_and_told() {
    let (store, root) = shared();
    let url = require(REDIS);
    let space = spread(&root);
    let key = |name: &str| String::from_utf8(space.stored_key(name.as_bytes())).unwrap();
    let mut listener = Listener::start(&store, &[&format!("{root}:v:")]).await;
    cli::<()>(&url, &["SET", &key("a"), "1"]).await;
    assert_eq!(listener.told().await, [key("a")]);
    assert_eq!(value(&store, &space, "a").await, Ok(Some("1".into())));
    // What the store writes is told too, and its own keys are not.
    set(&store, &space, "a", "2").await;
    assert_eq!(listener.told().await, [key("a")]);
    assert_eq!(cli::<String>(&url, &["GET", &key("a")]).await, "2");
    cli::<()>(&url, &["PEXPIRE", &key("a"), "1"]).await;
    assert_eq!(listener.told().await, [key("a")]);
    tokio::time::sleep(Duration::from_millis(5)).await;
    // Redis notices at the latest when somebody asks.
    assert_eq!(value(&store, &space, "a").await, Ok(None));
    assert_eq!(listener.told().await, [key("a")]);
    cli::<()>(&url, &["SET", &format!("{root}:elsewhere"), "1"]).await;
    assert_eq!(listener.told().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_empty_prefix_tells_of_all_keys() {
    let (store, root) = shared();
    let mut listener = Listener::start(&store, &[""]).await;
    let key = format!("{root}:elsewhere");
    cli::<()>(&require(REDIS), &["SET", &key, "1"]).await;
    assert!(listener.told().await.contains(&key));
}

#[tokio::test]
async fn several_prefixes_are_told() {
    let (store, root) = shared();
    let url = require(REDIS);
    let (one, two) = (format!("{root}:one:"), format!("{root}:two:"));
    let mut listener = Listener::start(&store, &[&one, &two]).await;
    for key in [format!("{one}a"), format!("{two}b"), format!("{root}:three:c")] {
        cli::<()>(&url, &["SET", &key, "1"]).await;
    }
    assert_eq!(listener.told().await, [format!("{one}a"), format!("{two}b")]);
}

#[tokio::test]
async fn a_fill_does_not_replace_what_another_client_wrote() {
    let (store, root) = shared();
    let space = spread(&root);
    let lease = LeaseAsk { token: "t".into(), for_ms: 10_000 };
    assert!(store.get(&space, b"a", Some(&lease)).await.unwrap().is_leased);
    let stored = String::from_utf8(space.stored_key(b"a")).unwrap();
    cli::<()>(&require(REDIS), &["SET", &stored, "theirs"]).await;
    let op = Op::Put { value: "loaded".into(), ttl_ms: None, condition: Condition::Lease("t".into()) };
    let outcome = write(&store, &space, Write { key: "a".into(), op }).await;
    assert!(matches!(outcome, Ok(Outcome::Refused(Refusal::NotMet { current: Some(_) }))), "{outcome:?}");
    assert_eq!(value(&store, &space, "a").await, Ok(Some("theirs".into())));
}

#[tokio::test]
async fn what_is_no_string_is_no_value() {
    let (store, root) = shared();
    let layouts = [Layout::Spread, Layout::Slot, Layout::Ranked { entries_max: 10 }];
    for (name, layout) in ["spread", "slot", "ranked"].into_iter().zip(layouts) {
        for kept_stale_ms in [0, 60_000] {
            let space = Space { kept_stale_ms, ..Space::new(&root, name, layout) };
            let list = List { url: require(REDIS), space: &space };
            is_no_value(&store, &list).await;
            is_not_touched_and_deleted(&store, &list).await;
        }
        is_written_over(&store, &Space::new(&root, name, layout)).await;
    }
}

/// Lists that another program puts at keys of a namespace.
struct List<'a> {
    url: String,
    space: &'a Space,
}

impl List<'_> {
    fn at(&self, key: &str) -> String {
        String::from_utf8(self.space.stored_key(key.as_bytes())).unwrap()
    }

    async fn put(&self, key: &str, ttl_ms: Option<u64>) {
        cli::<()>(&self.url, &["DEL", &self.at(key)]).await;
        cli::<()>(&self.url, &["RPUSH", &self.at(key), "1"]).await;
        if let Some(ttl_ms) = ttl_ms {
            cli::<()>(&self.url, &["PEXPIRE", &self.at(key), &ttl_ms.to_string()]).await;
        }
    }

    async fn is_there(&self, key: &str) -> bool {
        cli::<String>(&self.url, &["TYPE", &self.at(key)]).await == "list"
    }
}

async fn is_no_value(store: &RedisStore, list: &List<'_>) {
    let space = list.space;
    set(store, space, "b", "1").await;
    // The second would be past its time to live, were it a value that is kept for a minute more.
    for ttl_ms in [None, Some(30_000)] {
        set(store, space, "a", "1").await;
        list.put("a", ttl_ms).await;
        assert_eq!(value(store, space, "a").await, Ok(None), "{space:?}");
        let read = store.batch_get(space, &["a".into(), "b".into(), "c".into()]).await;
        let b = Entry { value: "1".into(), ttl_ms: None };
        assert_eq!(read, [Ok(None), Ok(Some(b)), Ok(None)], "{space:?}");
        if list.space.layout != Layout::Spread && list.space.layout != Layout::Slot {
            assert_eq!(store.held(space).await.unwrap().entries, Some(1));
        }
        // It can be filled, and denied.
        let lease = LeaseAsk { token: "t".into(), for_ms: 10_000 };
        let leased = Got { is_leased: true, ..Got::default() };
        assert_eq!(store.get(space, b"a", Some(&lease)).await, Ok(leased), "{space:?}");
        store.deny(space, b"a", b"t", b"why", 10_000).await.unwrap();
        for lease in [None, Some(&lease)] {
            let got = store.get(space, b"a", lease).await.unwrap();
            assert!(got.denied.is_some_and(|(why, _)| why == "why") && got.entry.is_none(), "{space:?}");
        }
        let add = write(store, space, add("a", 1)).await;
        assert_eq!(add, Ok(Outcome::Refused(Refusal::NotANumber)), "{space:?}");
        assert!(list.is_there("a").await, "{space:?}");
        cli::<()>(&list.url, &["DEL", &list.at("a")]).await;
        write(store, space, Write { key: "a".into(), op: Op::Delete }).await.unwrap();
    }
}

async fn is_not_touched_and_deleted(store: &RedisStore, list: &List<'_>) {
    let space = list.space;
    list.put("a", None).await;
    let touch = write(store, space, Write { key: "a".into(), op: Op::Touch { ttl_ms: Some(1000) } }).await;
    assert_eq!(touch, Ok(Outcome::Done(Done::default())), "{space:?}");
    assert_eq!(cli::<i64>(&list.url, &["PTTL", &list.at("a")]).await, -1, "{space:?}");
    for is_there in [true, false] {
        assert_eq!(list.is_there("a").await, is_there, "{space:?}");
        let delete = write(store, space, Write { key: "a".into(), op: Op::Delete }).await;
        assert_eq!(delete, Ok(Outcome::Done(Done::default())), "{space:?}");
    }
}

async fn is_written_over(store: &RedisStore, space: &Space) {
    let keeping = Space { is_overwrite_refused: true, ..space.clone() };
    let lease = LeaseAsk { token: "t".into(), for_ms: 10_000 };
    let not_met = Ok(Outcome::Refused(Refusal::NotMet { current: None }));
    for space in [space, &keeping] {
        let list = List { url: require(REDIS), space };
        for (condition, is_met) in [
            (Condition::Any, true),
            (Condition::Absent, true),
            (Condition::Lease("t".into()), true),
            (Condition::Present, false),
            (Condition::Etag([0; 20]), false),
        ] {
            list.put("a", None).await;
            assert!(store.get(space, b"a", Some(&lease)).await.unwrap().is_leased);
            let op = Op::Put { value: "new".into(), ttl_ms: None, condition: condition.clone() };
            let outcome = write(store, space, Write { key: "a".into(), op }).await;
            if is_met {
                assert!(matches!(outcome, Ok(Outcome::Done(_))), "{space:?} {condition:?}: {outcome:?}");
                assert_eq!(value(store, space, "a").await, Ok(Some("new".into())));
            } else {
                assert_eq!(outcome, not_met, "{space:?} {condition:?}");
                assert!(list.is_there("a").await);
                store.release(space, b"a", b"t").await.unwrap();
            }
        }
        list.put("a", None).await;
        let add = write(store, space, add("a", 1)).await;
        assert_eq!(add, Ok(Outcome::Refused(Refusal::NotANumber)), "{space:?}");
        write(store, space, Write { key: "a".into(), op: Op::Delete }).await.unwrap();
    }
}

#[tokio::test]
async fn what_another_client_wrote_is_ranked_at_its_first_read() {
    let (store, root) = shared();
    let url = require(REDIS);
    let space = Space::new(&root, "ranked", Layout::Ranked { entries_max: 2 });
    let key = |name: &str| String::from_utf8(space.stored_key(name.as_bytes())).unwrap();
    set(&store, &space, "a", "1").await;
    set(&store, &space, "b", "1").await;
    assert_eq!(value(&store, &space, "b").await, Ok(Some("1".into())));
    cli::<()>(&url, &["SET", &key("c"), "1"]).await;
    // Its read makes room: the lowest rank leaves.
    assert_eq!(value(&store, &space, "c").await, Ok(Some("1".into())));
    assert_eq!(store.held(&space).await.unwrap().entries, Some(2));
    assert_eq!(value(&store, &space, "a").await, Ok(None));
    // What another client deleted has room, and nobody leaves for it.
    cli::<()>(&url, &["DEL", &key("c")]).await;
    assert_eq!(set(&store, &space, "d", "1").await.evicted, 0);
    assert_eq!(value(&store, &space, "b").await, Ok(Some("1".into())));
    assert_eq!(store.held(&space).await.unwrap().entries, Some(2));
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_told_anew() {
    let (store, root) = shared();
    let space = spread(&root);
    for round in 0..5 {
        cli::<()>(&require(REDIS), &["SCRIPT", "FLUSH"]).await;
        let keys: Vec<Write> = (0..20).map(|n| put(&format!("{}", n % 7), &format!("{round} {n}"))).collect();
        for outcome in store.write(&space, &keys).await {
            assert!(matches!(outcome, Ok(Outcome::Done(_))), "{outcome:?}");
        }
        assert_eq!(value(&store, &space, "0").await, Ok(Some(format!("{round} 14"))));
    }
}
