//! The pairs.

mod cold_key;
mod hit_ratio;
pub(crate) mod memory;
mod reads;

use anyhow::Result;

use crate::RunArgs;

/// A pair, or a measurement by itself.
pub(crate) struct Pair {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&RunArgs) -> Result<()>,
}

/// All of them.
pub(crate) const ALL: &[Pair] = &[
    Pair {
        name: "cache-l1-hit-1",
        about: "hits of L1 over 1 connection, 1 KiB, Zipf 0.9, against an empty unary call",
        run: |args| reads::l1_hit(args, 1),
    },
    Pair {
        name: "cache-l1-hit-8",
        about: "hits of L1 over 8 connections, 1 KiB, Zipf 0.9, against an empty unary call",
        run: |args| reads::l1_hit(args, 8),
    },
    Pair {
        name: "cache-l2-hit",
        about: "hits of Redis past L1, over 8 connections, 1 KiB, against a bare handler with one GET",
        run: |args| reads::l2_hit(args, true),
    },
    Pair {
        name: "cache-l2-fill",
        about: "hits of Redis that L1 takes, over 8 connections, 1 KiB, against a bare handler with one GET",
        run: |args| reads::l2_hit(args, false),
    },
    Pair {
        name: "cache-batch-get",
        about: "BatchGet of 64 keys from Redis past L1, over 8 connections, 1 KiB, against a bare handler with one MGET",
        run: |args| reads::batch_get(args, true),
    },
    Pair {
        name: "cache-batch-fill",
        about: "BatchGet of 64 keys from Redis that L1 takes, over 8 connections, 1 KiB, against the same handler",
        run: |args| reads::batch_get(args, false),
    },
    Pair {
        name: "cache-cold-key",
        about: "10,000 callers of one cold key whose load takes 2 s: loads, and the last answer",
        run: cold_key::run,
    },
    Pair {
        name: "cache-memory",
        about: "memory of an entry of L1: 16 bytes of key, 100 and 1024 bytes of value",
        run: memory::run,
    },
    Pair {
        name: "cache-hit-ratio",
        about: "hit ratio of tiny_lfu against lru, 10,000 of 100,000 keys held, Zipf 0.7, 0.9 and 1.1",
        run: hit_ratio::run,
    },
];
