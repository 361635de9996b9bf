//! How often L1 has what is asked for, by policy.

use anyhow::Result;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::RunArgs;
use crate::zipf::Zipf;

const KEYS: usize = 100_000;
const HELD: u64 = 10_000;
const READS: usize = 1_000_000;

/// The two policies that L1 offers, on the same reads.
pub(crate) fn run(_: &RunArgs) -> Result<()> {
    for exponent in [0.7, 0.9, 1.1] {
        let zipf = Zipf::new(KEYS, exponent);
        let (lfu, lru) = (ratio(&zipf, EvictionPolicy::tiny_lfu()), ratio(&zipf, EvictionPolicy::lru()));
        println!("   Zipf {exponent}: tiny_lfu {lfu:.4}, lru {lru:.4}: {:+.4}", lfu - lru);
    }
    Ok(())
}

fn ratio(zipf: &Zipf, policy: EvictionPolicy) -> f64 {
    let cache: Cache<usize, ()> = Cache::builder().max_capacity(HELD).eviction_policy(policy).build();
    let mut random = fastrand::Rng::with_seed(7);
    let mut hits = 0_u32;
    for read in 0..2 * READS {
        let key = zipf.draw(&mut random);
        let is_hit = cache.get(&key).is_some();
        if !is_hit {
            cache.insert(key, ());
        }
        // What moka puts off it does now, as it would between reads that come over a network.
        if read % 64 == 0 {
            cache.run_pending_tasks();
        }
        // The first half warms it up.
        hits += u32::from(is_hit && read >= READS);
    }
    f64::from(hits) / f64::from(u32::try_from(READS).unwrap_or(u32::MAX))
}
