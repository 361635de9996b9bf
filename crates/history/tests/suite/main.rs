//! What every history must do, on both of them; and what only the one in Postgres can do wrong.
//!
//! The tests need a Postgres, named by `HEADWATER_TEST_POSTGRES`; each makes a Postgres schema of its own there.
#![allow(clippy::unwrap_used, reason = "tests")]

mod changes;
mod commits;
mod detached;
mod events;
mod explain;
mod generations;
mod postgres_only;
mod proxy;
mod reads;
mod values;
mod world;

/// Makes a test of each case for each history.
macro_rules! on_both {
    ($($module:ident: $($case:ident)*;)*) => {
        mod sqlite {$($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let world = crate::world::World::sqlite();
                crate::$module::$case(&world).await;
                world.end().await;
            }
        )*)*}
        mod postgres {$($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let world = crate::world::World::postgres().await;
                crate::$module::$case(&world).await;
                world.end().await;
            }
        )*)*}
    };
}

on_both! {
    commits:
        a_partition_is_taken_with_a_greater_epoch_each_time
        a_stopped_partition_goes_on_where_it_is_told
        a_batch_is_stored_once
        only_the_owner_at_its_offset_commits
        an_event_that_is_stored_is_a_duplicate
        an_event_twice_in_a_batch_is_refused
        dead_letters_are_kept_whole
        a_batch_without_events_moves_the_offset
        partitions_and_streams_are_apart
        nothing_unstorable_enters
        two_owners_race_and_every_event_is_stored_once;
    values:
        every_kind_of_value_comes_back
        days_of_any_year_are_stored
        verdicts_and_unknown_fields_come_back;
    reads:
        replay_equals_what_was_committed
        spans_are_counted_as_the_rules_see_them
        spans_far_apart_are_counted
        pages_are_by_time_and_id
        queries_filter
        distinct_over_all_time
        old_batches_and_days_are_forgotten
        before_prepare_the_history_is_unavailable;
    generations:
        generations_follow_the_fingerprint
        a_generation_is_built_beside_and_switched_to
        a_build_is_given_up;
    explain:
        an_id_is_explained
        explanations_come_in_pages
        a_dead_letter_is_found_by_an_id_that_an_event_could_have
        what_is_pruned_is_not_explained_any_more;
    changes:
        preparing_again_and_at_once_changes_nothing
        a_new_field_adds_a_column
        a_renamed_field_keeps_its_column
        a_field_that_is_gone_keeps_its_column
        another_meaning_is_refused_once_there_is_data
        names_that_cannot_be_are_refused
        indexes_come_and_go;
}
