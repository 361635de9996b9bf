//! Days that are too old stay as tables of their own, where that is asked for.

use headwater_history::History;
use headwater_history::postgres::{OldDays, PostgresHistory, PostgresOptions};

use crate::events::{DAY_US, NOON_US, batch, clicks, counted, event};
use crate::world::{World, connect, options, postgres_url};

const FUTURE_MS: i64 = 4_000_000_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_days_are_detached_and_keep_their_events() {
    let world = World::postgres().await;
    let schema = clicks();
    world.ready(&schema).await;
    let options = PostgresOptions { old_days: OldDays::Detach, ..options(&postgres_url(), world.schema()) };
    let history = PostgresHistory::connect(&options).unwrap();
    let client = connect(&postgres_url()).await;
    let count = async |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {}.\"{table}\"", world.schema());
        client.query_one(&sql, &[]).await.unwrap().get(0)
    };
    let at = |offset, id: &str, days_ago: i64| counted(offset, event(id, NOON_US - days_ago * DAY_US, "u", "view"));
    world.committed(&schema, &batch(0, 1, 0, 3, vec![at(0, "a", 2), at(1, "b", 2), at(2, "c", 0)])).await;
    world.committed(&schema, &batch(0, 1, 3, 4, vec![at(3, "d", 0)])).await;
    assert_eq!(
        history.prune(&schema, FUTURE_MS, Some(NOON_US - DAY_US)).await.unwrap(),
        1 + 2,
        "a batch and two events"
    );
    let day = format!("{}$20251119", schema.table);
    assert_eq!((count(&schema.table).await, count(&format!("{day}_1")).await), (2, 2));
    assert!(history.dropped_before_us(&schema).await.unwrap().is_some(), "nothing counts them any more");

    // A late event of that day, and once more.
    world.committed(&schema, &batch(0, 1, 4, 5, vec![at(4, "e", 2)])).await;
    world.committed(&schema, &batch(0, 1, 5, 6, vec![at(5, "f", 0)])).await;
    assert_eq!(history.prune(&schema, FUTURE_MS, Some(NOON_US - DAY_US)).await.unwrap(), 2 + 1);
    assert_eq!((count(&schema.table).await, count(&format!("{day}_2")).await), (3, 1));
    drop(history);
    world.end().await;
}
