//! The cases by name.

mod crash;
mod delivery;
mod lost;
mod opening;
mod profile;
mod refused;

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::world::World;

type Case = fn(Arc<World>) -> BoxFuture<'static, ()>;

macro_rules! cases {
    ($($module:ident :: $name:ident),* $(,)?) => {
        /// Every case.
        pub(crate) const ALL: &[(&str, Case)] = &[
            $((stringify!($name), |world| async move { $module::$name(&world).await }.boxed())),*
        ];
    };
}

cases! {
    profile::three_brokers_keep_the_durability_table,
    profile::a_lone_broker_is_red_or_amber_and_told_how_to_mend,
    profile::the_reader_sees_what_a_consumer_sees,
    delivery::records_and_cursor_arrive_together,
    delivery::the_sink_keeps_the_contract,
    delivery::records_of_many_forms_go_to_their_topics_by_key,
    delivery::what_was_parked_is_passed_by_a_cursor_alone,
    delivery::a_large_batch_is_one_transaction,
    crash::a_crash_before_the_cursor_leaves_nothing,
    crash::a_crash_before_the_commit_leaves_nothing,
    crash::a_crash_behind_the_commit_doubles_nothing,
    opening::a_second_sink_fences_the_first,
    opening::an_earlier_life_is_replaced_and_a_later_one_stops,
    opening::another_clusters_cursor_stops,
    opening::a_cursor_that_is_gone_stops,
    opening::an_open_transaction_hides_the_cursor_and_is_waited_out,
    opening::a_control_topic_of_two_tasks_stops,
    opening::what_a_thief_of_the_id_left_open_is_aborted,
    opening::an_idle_task_keeps_itself_alive,
    opening::nobody_answers,
    lost::a_deleted_topic_stops_the_task,
    lost::a_topic_that_was_made_again_stops_the_task,
    lost::a_loss_is_found_while_nothing_is_delivered,
    lost::a_topic_that_was_made_again_and_has_grown_stops_the_task,
    lost::a_topic_that_was_made_again_and_ends_in_a_marker_stops_the_task,
    lost::a_topic_that_is_made_again_behind_a_session_stops_it,
    lost::what_a_session_does_not_notice_an_audit_does,
    lost::what_was_compacted_away_is_no_loss,
    lost::what_retention_has_deleted_is_no_loss,
    refused::a_record_that_is_too_large_is_named_among_good_ones,
    refused::a_record_that_is_too_large_is_seen_before_it_is_sent,
    refused::old_records_outlive_the_retention_of_their_topic,
    refused::a_refused_timestamp_becomes_the_time_of_delivery,
    refused::a_missing_topic_is_waited_for,
    refused::a_topic_that_has_grown_alarms_and_goes_on,
    refused::what_can_lose_records_is_refused_unless_it_is_said_in_words,
}
