//! How many page events a second a store applies: `throughput [redis://…] [batches]`, without an address in memory.
//!
//! A batch has 5,000 events of 1,000 users, 200 pages and 3 sessions per user; its operations are made before the clock
//! runs. What a Redis has under the prefix `throughput` is removed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater_domain::{Bucket, LiveBatch, Operation, Tier};
use headwater_live::{
    ApplyOutcome, GenerationKey, LiveStatistics,
    memory::MemoryLive,
    redis::{RedisLive, RedisOptions},
};

const EVENTS: i64 = 5_000;
const WINDOW_MAX_MS: i64 = 24 * 3_600_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args = std::env::args().skip(1);
    let url = args.next();
    let batches: i64 = args.next().map_or(100, |batches| batches.parse().expect("a number of batches"));
    let live: Box<dyn LiveStatistics> = match &url {
        None => Box::new(MemoryLive::new(WINDOW_MAX_MS)),
        Some(url) => {
            let options = RedisOptions { prefix: "throughput".into(), ..RedisOptions::new(url) };
            Box::new(RedisLive::new(options).expect("an address"))
        }
    };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    for shards in [1, 16] {
        let generation = GenerationKey { stream: "page-events".into(), generation: 1, shards };
        live.remove(&generation).await.expect("removed");
        let mut longest = Duration::ZERO;
        let mut all = Duration::ZERO;
        for n in 0..batches {
            let batch = batch(n, now_ms + n * 50);
            let began = Instant::now();
            assert_eq!(live.apply(&generation, &batch).await, Ok(ApplyOutcome::Applied));
            longest = longest.max(began.elapsed());
            all += began.elapsed();
        }
        let rate = (batches * EVENTS) as f64 / all.as_secs_f64();
        println!("{shards} shards: {rate:.0} events/s, {:?} a batch, at most {longest:?}", all / batches as u32);
        live.remove(&generation).await.expect("removed");
    }
}

/// A batch as `headwater_domain::operations` makes it: each key and bucket once.
fn batch(n: i64, time_ms: i64) -> LiveBatch {
    let (mut seen, mut pages) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(n as u64 + 1);
    for event in 0..EVENTS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (user, page, session) = ((random >> 33) % 1_000, (random >> 43) % 200, (random >> 53) % 3);
        let (user, page) = (format!("user-{user:05}"), format!("/shop/page/{page}"));
        let time_ms = time_ms + event / 100;
        seen.insert((0, String::new(), user.clone()), time_ms);
        seen.insert((2, user.clone(), format!("session-{user}-{session}")), time_ms);
        for tier in [Some(Tier::Minute), Some(Tier::Hour), None] {
            let bucket = tier.map(|tier| Bucket::holding(tier, time_ms));
            *pages.entry((page.clone(), bucket)).or_insert(0) += 1;
        }
    }
    let seen = seen.into_iter().map(|((stat, by, member), time_ms)| Operation::Seen { stat, by, member, time_ms });
    let pages = pages.into_iter().map(|((key, bucket), amount)| Operation::Add { stat: 1, key, bucket, amount });
    let operations = seen.chain(pages).collect();
    LiveBatch { partition: 0, first: n * EVENTS, next: (n + 1) * EVENTS, is_start: n == 0, operations }
}
