//! One suite for every store of live statistics, and what only Redis can show.
#![allow(clippy::unwrap_used, reason = "tests")]

mod away;
mod cluster;
mod contract;
mod durability;
mod figures;
mod model;
mod offsets;
mod server;
mod store;
mod suitable;
mod windows;

use store::Store;

/// Runs each case on each store. A Cluster takes seconds to start, so that all cases share one there.
macro_rules! suite {
    ($($module:ident::$case:ident,)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::$module::$case(&crate::Store::memory()).await;
            })*
        }

        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::$module::$case(&crate::Store::shared_redis()).await;
            })*
        }

        /// Every case, one after the other.
        async fn every_case(store: &Store) {
            $(
                eprintln!("{}", stringify!($case));
                crate::$module::$case(store).await;
            )*
        }
    };
}

suite! {
    offsets::a_redelivery_changes_nothing,
    offsets::a_gap_changes_nothing,
    offsets::an_overlap_is_a_gap,
    offsets::what_was_emptied_is_a_gap_until_the_start_comes_again,
    offsets::what_was_rolled_back_is_a_gap_until_the_rest_comes_again,
    offsets::a_batch_without_operations_is_applied,
    offsets::partitions_have_offsets_of_their_own,
    offsets::partitions_can_be_applied_at_once,
    offsets::generations_do_not_touch,
    offsets::removing_leaves_nothing,
    offsets::nothing_is_known_of_what_was_never_applied,
    windows::a_distinct_counts_from_the_edge_of_its_window_on,
    windows::a_late_event_does_not_make_a_member_older,
    windows::an_event_ahead_counts_at_once,
    windows::a_sum_counts_whole_minutes_and_the_running_one,
    windows::what_cannot_be_answered_is_refused,
    windows::trimming_keeps_what_windows_reach_and_nothing_else,
    windows::trimming_keeps_memory_flat,
    figures::pages_follow_each_other,
    figures::equal_figures_are_ordered_by_key,
    figures::sums_are_negative_and_zero,
    figures::sums_are_exact_to_64_bits,
    figures::an_overflow_is_told_and_stays,
    figures::a_window_can_overflow_when_none_of_its_buckets_does,
    figures::a_batch_that_was_cut_off_overflows,
    figures::keys_can_be_any_text,
    figures::large_batches_are_applied_whole,
    model::one_shard_counts_as_brute_force_does,
    model::sixteen_shards_count_as_brute_force_does,
}
