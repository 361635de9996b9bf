//! What the cache counts. A read costs it one addition: the instruments look at the counts when they are asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use crate::namespaces::Namespaces;

const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) l1_hits: Count,
    pub(crate) l2_hits: Count,
    pub(crate) loader_hits: Count,
    pub(crate) misses: Count,
    pub(crate) stale_l1: Count,
    pub(crate) stale_l2: Count,
    pub(crate) failed: Count,
    pub(crate) collapsed: Count,
    pub(crate) writes: Count,
    pub(crate) evicted_for_room: Count,
    pub(crate) evicted_by_age: Count,
    pub(crate) evicted_by_change: Count,
    pub(crate) evicted_by_rank: Count,
    pub(crate) ranks_dropped: Count,
}

/// What is measured of all namespaces together.
#[derive(Clone, Debug)]
pub(crate) struct Measures {
    pub(crate) load_s: Histogram<f64>,
    pub(crate) invalidation_lag_s: Histogram<f64>,
}

impl Measures {
    pub(crate) fn new(meter: &Meter) -> Self {
        Self {
            load_s: meter
                .f64_histogram("headwater.cache.load.duration")
                .with_description("Time that a load took, by namespace and outcome")
                .with_unit("s")
                .with_boundaries(SECONDS.to_vec())
                .build(),
            invalidation_lag_s: meter
                .f64_histogram("headwater.cache.invalidation.lag")
                .with_description("Time from sending a write to noticing, as every replica does, that its key changed")
                .with_unit("s")
                .with_boundaries(SECONDS.to_vec())
                .build(),
        }
    }
}

/// Makes the instruments that look at the namespaces when they are asked.
pub(crate) fn observe(meter: &Meter, namespaces: &Arc<Namespaces>) {
    let of = Arc::clone(namespaces);
    meter
        .u64_observable_counter("headwater.cache.reads")
        .with_description("Reads by namespace, outcome (hit, miss, stale, failed) and layer")
        .with_unit("{read}")
        .with_callback(move |observer| {
            for namespace in of.all() {
                let counts = &namespace.counts;
                let lines = [
                    (&counts.l1_hits, "hit", "l1"),
                    (&counts.l2_hits, "hit", "l2"),
                    (&counts.loader_hits, "hit", "loader"),
                    (&counts.misses, "miss", "l2"),
                    (&counts.stale_l1, "stale", "l1"),
                    (&counts.stale_l2, "stale", "l2"),
                    (&counts.failed, "failed", "l2"),
                ];
                for (count, outcome, layer) in lines {
                    let labels = [name(&namespace.info.name), label("outcome", outcome), label("layer", layer)];
                    observer.observe(count.get(), &labels);
                }
            }
        })
        .build();
    type Pick = fn(&Counts) -> &Count;
    let counters: [(&'static str, &'static str, Pick); 3] = [
        ("headwater.cache.collapsed_reads", "Reads that another's answered, by namespace", |counts| &counts.collapsed),
        ("headwater.cache.writes", "Writes done or queued, by namespace", |counts| &counts.writes),
        ("headwater.cache.dropped_ranks", "Reads whose rank was lost, by namespace", |counts| &counts.ranks_dropped),
    ];
    for (instrument, description, pick) in counters {
        let of = Arc::clone(namespaces);
        meter
            .u64_observable_counter(instrument)
            .with_description(description)
            .with_callback(move |observer| {
                for namespace in of.all() {
                    observer.observe(pick(&namespace.counts).get(), &[name(&namespace.info.name)]);
                }
            })
            .build();
    }
    let of = Arc::clone(namespaces);
    meter
        .u64_observable_counter("headwater.cache.evictions")
        .with_description("Entries that left, by namespace and cause: room, age, change (of L1), rank (of the store)")
        .with_unit("{entry}")
        .with_callback(move |observer| {
            for namespace in of.all() {
                let counts = &namespace.counts;
                let lines = [
                    (&counts.evicted_for_room, "room"),
                    (&counts.evicted_by_age, "age"),
                    (&counts.evicted_by_change, "change"),
                    (&counts.evicted_by_rank, "rank"),
                ];
                for (count, cause) in lines {
                    observer.observe(count.get(), &[name(&namespace.info.name), label("cause", cause)]);
                }
            }
        })
        .build();
    type Size = fn((u64, u64)) -> u64;
    let gauges: [(&'static str, &'static str, Size); 2] = [
        ("headwater.cache.entries", "Entries in L1, by namespace", |(entries, _)| entries),
        ("headwater.cache.bytes", "Bytes of keys and values in L1, by namespace", |(_, bytes)| bytes),
    ];
    for (instrument, description, pick) in gauges {
        let of = Arc::clone(namespaces);
        meter
            .u64_observable_gauge(instrument)
            .with_description(description)
            .with_callback(move |observer| {
                for namespace in of.all() {
                    observer.observe(pick(namespace.l1.usage()), &[name(&namespace.info.name)]);
                }
            })
            .build();
    }
}

pub(crate) fn name(name: &Arc<str>) -> KeyValue {
    KeyValue::new("namespace", Arc::clone(name))
}

pub(crate) fn label(key: &'static str, value: &'static str) -> KeyValue {
    KeyValue::new(key, value)
}
