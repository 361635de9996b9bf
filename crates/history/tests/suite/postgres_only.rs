//! What can go wrong between a process and Postgres, and what the tables look like.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use headwater_history::postgres::{PostgresHistory, PostgresOptions};
use headwater_history::{CommitOutcome, History, HistoryError, HistoryQuery};

use headwater_testkit::{Options, Postgres};

use crate::events::{DAY_US, NOON_US, batch, clicks, counted, event, shared, views};
use crate::proxy::{Mode, Proxy};
use crate::world::{World, connect, options, postgres_url};

/// A world, a history that reaches it through a proxy, and partition 0 taken by it with one batch [0, 3).
async fn through_proxy() -> (World, Proxy, PostgresHistory) {
    let world = World::postgres().await;
    let proxy = Proxy::to(&postgres_url()).await;
    let history = PostgresHistory::connect(&options(&proxy.url, world.schema())).unwrap();
    history.prepare(&shared(&clicks())).await.unwrap();
    history.take(&clicks(), 0, "proxied").await.unwrap();
    assert_eq!(history.commit(&clicks(), &batch(0, 1, 0, 3, views(0, 0..3))).await, Ok(CommitOutcome::Committed));
    (world, proxy, history)
}

async fn stored(world: &World) -> i64 {
    world.number("SELECT count(*) FROM test_clicks").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_found_out() {
    let (world, proxy, history) = through_proxy().await;
    let schema = clicks();
    proxy.set(Mode::LoseAnswer);
    let second = batch(0, 1, 3, 6, views(0, 3..6));
    assert_eq!(history.commit(&schema, &second).await, Ok(CommitOutcome::Committed));
    assert_eq!(proxy.mode(), Mode::Pass, "the answer was not lost");
    assert_eq!(stored(&world).await, 6);
    assert_eq!(history.commit(&schema, &batch(0, 1, 6, 7, views(0, 6..7))).await, Ok(CommitOutcome::Committed));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_lost_is_not_stored_and_can_be_repeated() {
    let schema = clicks();
    for mode in [Mode::LoseCommit, Mode::HangBeforeCommit] {
        let (world, proxy, history) = through_proxy().await;
        proxy.set(mode);
        let second = batch(0, 1, 3, 6, views(0, 3..6));
        let begun = Instant::now();
        let error = history.commit(&schema, &second).await.unwrap_err();
        assert!(matches!(error, HistoryError::Unavailable(_)), "{mode:?}: {error}");
        assert_eq!(proxy.mode(), Mode::Pass, "the COMMIT was not lost");
        assert_eq!(stored(&world).await, 3);
        assert_eq!(history.commit(&schema, &second).await, Ok(CommitOutcome::Committed), "{mode:?}");
        // The session that hung did not have to time out.
        assert!(begun.elapsed() < Duration::from_secs(10), "{mode:?}: {:?}", begun.elapsed());
        assert_eq!(stored(&world).await, 6);
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_while_the_database_is_away_is_found_out_later() {
    let (world, proxy, history) = through_proxy().await;
    let schema = clicks();
    let second = batch(0, 1, 3, 6, views(0, 3..6));
    let commit = async {
        proxy.set(Mode::LoseAnswer);
        let away = async {
            while proxy.mode() == Mode::LoseAnswer {
                tokio::time::sleep(Duration::from_micros(50)).await;
            }
            proxy.set(Mode::Refuse);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = history.commit(&schema, &second) => outcome,
            () = away => unreachable!("it has no end"),
        }
    };
    // It is found out at once where the way back was open for long enough.
    match commit.await {
        Err(HistoryError::Unavailable(_)) | Ok(CommitOutcome::Committed) => {}
        other => panic!("{other:?}"),
    }
    proxy.set(Mode::Pass);
    assert_eq!(history.commit(&schema, &second).await, Ok(CommitOutcome::Committed));
    assert_eq!(stored(&world).await, 6);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_owner_meanwhile_fences_a_lost_commit() {
    let (world, proxy, history) = through_proxy().await;
    let schema = clicks();
    let other = world.again();
    other.take(&schema, 0, "other").await.unwrap();
    // The take ended the session; a new one is not given to a former owner.
    let second = batch(0, 1, 3, 6, views(0, 3..6));
    assert_eq!(history.commit(&schema, &second).await, Ok(CommitOutcome::Fenced { epoch: 2, next: Some(3) }));
    proxy.cut();
    assert_eq!(history.commit(&schema, &second).await, Ok(CommitOutcome::Fenced { epoch: 2, next: Some(3) }));
    assert_eq!(stored(&world).await, 3);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn away_is_unavailable_and_back_is_found_by_itself() {
    let (world, proxy, history) = through_proxy().await;
    let schema = clicks();
    let next = batch(0, 1, 3, 4, views(0, 3..4));
    for away in [Mode::Refuse, Mode::Silent] {
        proxy.set(away);
        proxy.cut();
        let begun = Instant::now();
        for error in [
            history.check().await.unwrap_err(),
            history.commit(&schema, &next).await.unwrap_err(),
            history.take(&schema, 5, "proxied").await.unwrap_err(),
            history.query(&schema, &HistoryQuery { limit: 1, ..HistoryQuery::default() }).await.unwrap_err(),
            history.progress(&schema).await.unwrap_err(),
            history.prepare(&shared(&schema)).await.unwrap_err(),
        ] {
            assert!(matches!(error, HistoryError::Unavailable(_)), "{away:?}: {error}");
        }
        // Six calls, of which none waits longer than to connect.
        assert!(begun.elapsed() < Duration::from_secs(14), "{away:?}: {:?}", begun.elapsed());
        proxy.set(Mode::Pass);
        proxy.cut();
        history.check().await.unwrap();
    }
    assert_eq!(history.commit(&schema, &next).await, Ok(CommitOutcome::Committed));
    assert_eq!(history.progress(&schema).await.unwrap()[0].next, 4);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_starts_while_the_database_is_away_starts() {
    let world = World::postgres().await;
    let proxy = Proxy::to(&postgres_url()).await;
    proxy.set(Mode::Refuse);
    let history = PostgresHistory::connect(&options(&proxy.url, world.schema())).unwrap();
    assert!(matches!(history.check().await, Err(HistoryError::Unavailable(_))));
    assert!(matches!(history.prepare(&shared(&clicks())).await, Err(HistoryError::Unavailable(_))));
    proxy.set(Mode::Pass);
    history.prepare(&shared(&clicks())).await.unwrap();
    // Cut in the middle of everything, at random.
    let history = Arc::new(history);
    let working = history.clone();
    let work = tokio::spawn(async move {
        let (schema, mut first) = (clicks(), 0);
        let mut epoch = None;
        while first < 60 {
            let Some(mine) = epoch else {
                epoch = working.take(&schema, 0, "cut").await.ok().map(|owned| owned.epoch);
                continue;
            };
            match working.commit(&schema, &batch(0, mine, first, first + 2, views(0, first..first + 2))).await {
                Ok(CommitOutcome::Committed) => first += 2,
                Err(HistoryError::Unavailable(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    let mut cuts = 0;
    while !work.is_finished() {
        tokio::time::sleep(Duration::from_millis(7 + cuts % 13)).await;
        proxy.cut();
        cuts += 1;
        assert!(cuts < 3000, "no batch gets through");
        if cuts % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }
    work.await.unwrap();
    let recorded = history.batches(&clicks(), 0, None, 100).await.unwrap();
    let rows: Vec<_> = recorded.into_iter().flat_map(|batch| batch.stored).collect();
    assert_eq!(rows, views(0, 0..60));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_or_stands_still_loses_nothing() {
    let mut server = tokio::task::spawn_blocking(|| Postgres::start(Options::default())).await.unwrap().unwrap();
    let mut options = options(&server.url(), "headwater");
    options.statement_timeout = Duration::from_secs(1);
    let history = Arc::new(PostgresHistory::connect(&options).unwrap());
    history.prepare(&shared(&clicks())).await.unwrap();
    let epoch = history.take(&clicks(), 0, "only").await.unwrap().epoch;
    let (working, next, stop) = (history.clone(), Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let (reached, stopped) = (next.clone(), stop.clone());
    let work = tokio::spawn(async move {
        let (mut first, mut unavailable) = (0, 0);
        while !stopped.load(Ordering::SeqCst) {
            match working.commit(&clicks(), &batch(0, epoch, first, first + 1, views(0, first..first + 1))).await {
                Ok(CommitOutcome::Committed) => first += 1,
                Err(HistoryError::Unavailable(_)) => {
                    unavailable += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => panic!("{other:?}"),
            }
            reached.store(first, Ordering::SeqCst);
        }
        (first, unavailable)
    });
    let until = async |offset: i64| {
        while next.load(Ordering::SeqCst) < offset {
            assert!(!work.is_finished(), "the work ended early");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    until(20).await;
    server.kill().unwrap();
    server.restart().unwrap();
    let begun = Instant::now();
    until(next.load(Ordering::SeqCst) + 20).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?} to recover", begun.elapsed());
    server.pause().unwrap();
    // Longer than a call waits.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(matches!(history.check().await, Err(HistoryError::Unavailable(_))));
    server.resume().unwrap();
    until(next.load(Ordering::SeqCst) + 20).await;
    stop.store(true, Ordering::SeqCst);
    let (first, unavailable) = work.await.unwrap();
    assert!(unavailable >= 2, "the server was never away");
    let recorded = history.batches(&clicks(), 0, None, 1_000_000).await.unwrap();
    let rows: Vec<_> = recorded.into_iter().flat_map(|batch| batch.stored).collect();
    assert_eq!(rows, views(0, 0..first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taking_ends_the_former_owners_session_and_no_other() {
    let world = World::postgres().await;
    let schema = clicks();
    world.ready(&schema).await;
    let sql = world.sql().await;
    let owner = "SELECT owner_pid, owner, owner_application FROM offsets WHERE partition = 0";
    let alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1";
    let row = sql.query_one(owner, &[]).await.unwrap();
    let former: i32 = row.get(0);
    assert_eq!((row.get::<_, &str>(1), row.get::<_, &str>(2)), ("test", "headwater 0 test-clicks"));
    assert_eq!(sql.query_one(alive, &[&former]).await.unwrap().get::<_, i64>(0), 1);
    world.again().take(&schema, 0, "other").await.unwrap();
    assert_eq!(sql.query_one(alive, &[&former]).await.unwrap().get::<_, i64>(0), 0);

    // The former owner is gone, and its process id is now somebody else's.
    let innocent = connect(&postgres_url()).await;
    let pid: i32 = innocent.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    sql.execute("UPDATE offsets SET owner_pid = $1", &[&pid]).await.unwrap();
    innocent.batch_execute("SET application_name = 'headwater 0 test-clicks'").await.unwrap();
    assert_eq!(world.again().take(&schema, 0, "third").await.unwrap().epoch, 3);
    assert_eq!(innocent.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_owner_that_hangs_in_its_transaction_does_not_stop_the_next() {
    let (world, proxy, history) = through_proxy().await;
    let schema = clicks();
    proxy.set(Mode::HangBeforeCommit);
    let hanging = batch(0, 1, 3, 6, views(0, 3..6));
    let (outcome, owned) = tokio::join!(history.commit(&schema, &hanging), async {
        while proxy.mode() != Mode::Pass {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let begun = Instant::now();
        let owned = world.history.take(&schema, 0, "next").await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        owned
    });
    assert_eq!((owned.epoch, owned.next), (2, Some(3)));
    assert!(!matches!(outcome, Ok(CommitOutcome::Committed)), "{outcome:?}");
    assert_eq!(stored(&world).await, 3);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_ended_is_replaced() {
    let world = World::postgres().await;
    let schema = clicks();
    world.ready(&schema).await;
    let sql = world.sql().await;
    for first in 0..5 {
        let end = "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity JOIN offsets ON owner_pid = pid";
        sql.query(end, &[]).await.unwrap();
        let mine = batch(0, 1, first, first + 1, views(0, first..first + 1));
        let mut outcome = world.history.commit(&schema, &mine).await;
        if matches!(outcome, Err(HistoryError::Unavailable(_))) {
            outcome = world.history.commit(&schema, &mine).await;
        }
        assert_eq!(outcome, Ok(CommitOutcome::Committed));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_make_the_same_parts_at_once() {
    let world = World::postgres().await;
    let schema = clicks();
    world.history.prepare(&shared(&schema)).await.unwrap();
    let mut processes = tokio::task::JoinSet::new();
    for partition in 0..4 {
        let (history, schema) = (world.again(), schema.clone());
        processes.spawn(async move {
            history.take(&schema, partition, "racer").await.unwrap();
            for first in 0..3_i64 {
                let row = |n: i64| {
                    let at_us = NOON_US - (first * 10 + n % 10) * 9 * DAY_US;
                    counted(first * 20 + n, event(&format!("r{partition}-{first}-{n}"), at_us, "u", "view"))
                };
                let mine = batch(partition, 1, first * 20, first * 20 + 20, (0..20).map(row).collect());
                assert_eq!(history.commit(&schema, &mine).await, Ok(CommitOutcome::Committed));
            }
        });
    }
    while let Some(done) = processes.join_next().await {
        done.unwrap();
    }
    assert_eq!(stored(&world).await, 240);
    // The days of the last 92 have parts of their own, but for one whose month was made for an older day before.
    let parts = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = 'test_clicks'::regclass ORDER BY 1";
    let names: Vec<String> = world.sql().await.query(parts, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(names.contains(&"test_clicks$20251121".to_owned()), "{names:?}");
    assert!(names.contains(&"test_clicks$202504".to_owned()), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.len() == "test_clicks$20251121".len()).count(), 10, "{names:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_another_process_dropped_is_made_again() {
    let world = World::postgres().await;
    let schema = clicks();
    world.ready(&schema).await;
    world.committed(&schema, &batch(0, 1, 0, 2, views(0, 0..2))).await;
    assert_eq!(world.again().prune(&schema, 4_000_000_000_000, Some(NOON_US + DAY_US)).await.unwrap(), 2);
    world.committed(&schema, &batch(0, 1, 2, 4, views(0, 2..4))).await;
    assert_eq!(stored(&world).await, 2);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_and_indexes_are_those_that_are_documented() {
    let world = World::postgres().await;
    let mut schema = clicks();
    schema.indexes = vec![schema.key];
    world.ready(&schema).await;
    world.committed(&schema, &batch(0, 1, 0, 1, views(0, 0..1))).await;
    let sql = world.sql().await;
    let types = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute
                 WHERE attrelid = 'test_clicks'::regclass AND attnum > 0 ORDER BY attnum";
    let types: Vec<String> = sql.query(types, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let collations = "SELECT count(*) FROM pg_attribute JOIN pg_collation c ON c.oid = attcollation AND collname = 'C'
                      WHERE attrelid = 'test_clicks'::regclass AND attnum BETWEEN 1 AND 4";
    assert_eq!(sql.query_one(collations, &[]).await.unwrap().get::<_, i64>(0), 3);
    let timestamptz = "timestamp with time zone";
    assert_eq!(
        types,
        [
            "text",
            timestamptz,
            "text",
            "text",
            "boolean",
            "bigint",
            "numeric(20,0)",
            "double precision",
            "bytea",
            timestamptz,
            "jsonb",
            "integer",
            "bigint",
            timestamptz,
            "text",
            "integer",
            "bigint",
            "bytea"
        ]
    );
    let on_part = "SELECT indexdef FROM pg_indexes WHERE schemaname = $1 AND tablename = 'test_clicks$20251121'";
    let indexes = sql.query(on_part, &[&world.schema()]).await.unwrap();
    let indexes: Vec<String> = indexes.iter().map(|row| row.get(0)).collect();
    for wanted in ["UNIQUE", "btree (event_id, at)", "brin (at)", "brin (_offset", "btree (\"user\", at)"] {
        assert!(indexes.iter().any(|index| index.contains(wanted)), "{wanted} is missing in {indexes:#?}");
    }
    assert_eq!(indexes.len(), 4);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preparing_that_is_cut_anywhere_can_be_repeated() {
    for commits in 0..12 {
        let world = World::postgres().await;
        let proxy = Proxy::to(&postgres_url()).await;
        let history = PostgresHistory::connect(&options(&proxy.url, world.schema())).unwrap();
        proxy.lose_after(commits);
        let lost = history.prepare(&shared(&clicks())).await.is_err();
        assert!(lost || commits > 2, "nothing was cut");
        proxy.set(Mode::Pass);
        history.prepare(&shared(&clicks())).await.unwrap_or_else(|error| panic!("after {commits} commits: {error}"));
        world.end().await;
        if !lost {
            return;
        }
    }
    panic!("preparing has no end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_options_are_refused_before_anything_is_sent() {
    let wrong = [
        PostgresOptions::new("http://nowhere"),
        PostgresOptions::new("postgres://u@127.0.0.1:1/db?sslmode=require"),
        PostgresOptions { schema: "a b".to_owned(), ..PostgresOptions::new("postgres://u@127.0.0.1:1/db") },
    ];
    for options in wrong {
        assert!(matches!(PostgresHistory::connect(&options), Err(HistoryError::Refused(_))), "{}", options.url);
    }
}
