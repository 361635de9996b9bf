//! One suite for every store of the cache, and what only one of them can show.
#![allow(clippy::unwrap_used, reason = "tests")]

mod adding;
mod conditions;
mod flushing;
mod following;
mod leases;
mod listener;
mod memory_only;
mod model;
mod namespaces;
mod queue;
mod ranked;
mod reads;
mod times;
mod world;

use world::World;

/// Runs each case on each store, in a world of its own. A Cluster takes seconds to start, so that all cases share one.
macro_rules! suite {
    ($($module:ident::$case:ident,)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::$module::$case(&crate::World::memory()).await;
            })*

            #[test]
            fn it_does_as_the_model_does() {
                crate::model::memory_does_as_the_model_does();
            }
        }

        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::$module::$case(&crate::World::redis()).await;
            })*

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn it_does_as_the_model_does() {
                crate::model::a_store_does_as_the_model_does(&crate::World::redis()).await;
            }
        }

        mod cluster {
            use futures::{FutureExt, StreamExt, future::LocalBoxFuture, stream};
            use headwater_testkit::{Options, RedisCluster};

            /// Cases that run at once.
            const AT_ONCE: usize = 8;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn every_case_holds_on_a_cluster() {
                // Nothing fails here; and on a busy machine nobody shall take it for that.
                let options = Options::default().setting("cluster-node-timeout", "30000");
                let cluster = RedisCluster::with_replicas(3, options).unwrap();
                let cases: Vec<LocalBoxFuture<'_, ()>> = vec![
                    $(async { crate::$module::$case(&crate::World::cluster(cluster.urls())).await }.boxed_local(),)*
                ];
                stream::iter(cases).buffer_unordered(AT_ONCE).collect::<()>().await;
                crate::model::a_store_does_as_the_model_does(&crate::World::cluster(cluster.urls())).await;
            }
        }
    };
}

suite! {
    reads::nothing_is_there_before_it_is_written,
    reads::a_batch_is_answered_in_order,
    reads::keys_and_values_are_any_bytes,
    reads::namespaces_do_not_touch,
    reads::a_thousand_keys_are_read_and_written_at_once,
    reads::a_value_is_its_own_bytes_for_other_clients,
    times::a_value_expires,
    times::a_time_to_live_is_told_to_the_millisecond,
    times::a_write_sets_the_time_and_touch_changes_it,
    times::a_stale_value_is_told_and_then_gone,
    times::what_is_stale_counts_as_absent,
    times::what_was_kept_for_longer_is_fresh_for_longer,
    conditions::a_condition_decides,
    conditions::a_refused_write_changes_nothing,
    conditions::overwriting_is_refused,
    conditions::writes_of_one_key_are_done_in_order,
    conditions::a_delete_forgets,
    conditions::of_many_at_once_one_is_first,
    adding::integers_are_added,
    adding::sums_pass_no_64_bits,
    adding::only_integers_are_added_to,
    adding::what_is_added_keeps_or_gets_its_time,
    adding::nothing_is_lost_when_many_add,
    leases::one_at_a_time_has_a_lease,
    leases::a_lease_lets_one_write,
    leases::every_write_takes_the_lease_away,
    leases::a_refused_write_leaves_the_lease,
    leases::a_lease_expires,
    leases::what_is_denied_is_told,
    leases::every_write_takes_the_denial_away,
    leases::a_denial_expires,
    leases::a_lease_of_a_stale_key_is_given,
    leases::of_many_who_ask_one_has_the_lease,
    ranked::an_update_at_capacity_evicts_nothing,
    ranked::the_lowest_rank_leaves_first,
    ranked::of_equal_ranks_the_oldest_insertion_leaves,
    ranked::what_has_expired_leaves_first,
    ranked::an_update_keeps_rank_and_age,
    ranked::what_was_deleted_begins_anew,
    ranked::every_kind_of_insert_makes_room,
    ranked::a_refused_write_makes_no_room,
    ranked::ranks_are_raised_by_reads_and_at_once,
    ranked::it_is_never_over_capacity,
    ranked::a_key_that_was_deleted_past_the_cache_is_forgotten,
    ranked::what_was_put_past_the_cache_is_a_member_once_it_is_read,
    ranked::a_lower_capacity_is_held_after_shrinking,
    ranked::the_newest_revision_says_the_capacity,
    ranked::a_capacity_of_one_holds_the_last,
    ranked::namespaces_are_ranked_apart,
    queue::writes_are_applied_in_order,
    queue::every_kind_of_write_is_queued,
    queue::two_enqueue_and_order_holds,
    queue::all_or_none_are_queued,
    queue::one_holder_applies,
    queue::many_appliers_apply_each_once,
    queue::some_are_applied_at_a_time,
    queue::the_last_outcomes_are_known,
    queue::an_unknown_id_is_unknown,
    queue::a_spread_namespace_has_no_queue,
    queue::queued_writes_take_leases_away_when_applied,
    flushing::a_flush_forgets_everything_but_the_queue,
    flushing::a_flush_takes_leases_and_denials_away,
    flushing::a_flush_leaves_its_neighbours,
    flushing::a_ranked_namespace_is_empty_after_a_flush,
    namespaces::a_namespace_is_saved_and_told,
    namespaces::a_revision_decides,
    namespaces::there_are_not_too_many,
    namespaces::of_many_who_save_one_wins,
    following::every_kind_of_change_is_told,
    following::what_changes_nothing_is_not_needed_to_be_told,
    following::only_the_prefix_is_told,
    following::heard_is_told_often,
    following::heard_never_runs_ahead,
    following::expiry_is_told,
    following::eviction_is_told,
    following::a_flush_is_told,
    following::every_follower_is_told,
    following::a_follower_may_leave,
}
