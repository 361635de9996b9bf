//! What every event log does: one suite, run on Kafka, on SQLite in a file and on SQLite in memory.
#![allow(clippy::unwrap_used, reason = "tests")]

mod appending;
mod fixture;
mod groups;
mod reading;

macro_rules! on_every_log {
    ($($case:path as $name:ident;)*) => {
        on_every_log!(@on kafka, $($case as $name;)*);
        on_every_log!(@on sqlite_file, $($case as $name;)*);
        on_every_log!(@on sqlite_memory, $($case as $name;)*);
    };
    (@on $log:ident, $($case:path as $name:ident;)*) => {
        mod $log {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    $case(crate::fixture::Fixture::$log()).await;
                }
            )*
        }
    };
}

on_every_log! {
    crate::appending::a_topic_is_made_once as a_topic_is_made_once;
    crate::appending::each_record_has_its_result as each_record_has_its_result;
    crate::appending::keys_keep_their_order as keys_keep_their_order;
    crate::appending::a_record_that_is_too_large_is_refused_alone as a_record_that_is_too_large_is_refused_alone;
    crate::appending::a_topic_must_exist as a_topic_must_exist;
    crate::appending::watermarks_tell_what_there_is as watermarks_tell_what_there_is;
    crate::appending::records_come_back_as_they_were as records_come_back_as_they_were;
    crate::appending::a_log_that_is_there_says_so as a_log_that_is_there_says_so;
    crate::reading::begins_at_the_offset as begins_at_the_offset;
    crate::reading::an_offset_outside_the_log_is_told as an_offset_outside_the_log_is_told;
    crate::reading::waits_at_the_end as waits_at_the_end;
    crate::reading::returns_no_more_than_asked as returns_no_more_than_asked;
    crate::reading::lingers_for_more as lingers_for_more;
    crate::reading::a_cancelled_read_loses_nothing as a_cancelled_read_loses_nothing;
    crate::reading::a_partition_that_is_not_read_stops_no_other as a_partition_that_is_not_read_stops_no_other;
    crate::groups::members_share_each_topic as members_share_each_topic;
    crate::groups::what_stays_is_read_on as what_stays_is_read_on;
    crate::groups::who_leaves_is_replaced as who_leaves_is_replaced;
    crate::groups::who_is_dropped_is_replaced as who_is_dropped_is_replaced;
    crate::groups::what_is_not_the_members_is_not_started as what_is_not_the_members_is_not_started;
    crate::groups::a_member_that_did_not_start_hears_again as a_member_that_did_not_start_hears_again;
    crate::groups::groups_do_not_meet as groups_do_not_meet;
    crate::groups::a_hint_moves_no_beginning as a_hint_moves_no_beginning;
    crate::groups::a_topic_must_exist_to_be_joined as a_topic_must_exist_to_be_joined;
}
