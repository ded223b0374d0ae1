//! What the pump promises to sinks whose destination others may write too: one that holds the cursor,
//! that may take a request late, that is opened under a lease.

use std::sync::Arc;

use bridge::testing::{Place, Step, VecFeed};
use bridge::{Cause, FeedError, Lane, LaneState, SinkKind, TaskSpec, TaskStatus};

use crate::world::{World, at, lane, of, plain, stopped, task, upto};

fn why(status: &TaskStatus) -> &str {
    status.last_error.as_ref().map_or("", |error| &error.why)
}

/// A place that has taken five records, and the feed of them.
async fn five() -> (Place, VecFeed) {
    let (place, feed) = (Place::new(false), VecFeed::new());
    let world = of(plain, &feed, &place);
    world.push("f", 5);
    world.until_delivered("t").await;
    world.end().await;
    (place, feed)
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_has_lost_something_stops_the_lane_and_says_how_to_send_it_again() {
    let (place, feed) = five().await;
    place.set_cursor(1, at(3));
    let world = of(plain, &feed, &place);
    let status = stopped(&world).await;
    for part in ["at 3:0", "up to 5:0", "formspool tasks replay t --from 3:0"] {
        assert!(why(&status).contains(part), "{part}: {}", why(&status));
    }
    assert_eq!(place.rows().len(), 5, "nothing is sent unasked");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_beyond_the_log_stops_the_lane() {
    let (place, feed) = five().await;
    place.set_cursor(1, at(99));
    let world = of(plain, &feed, &place);
    let status = stopped(&world).await;
    assert!(why(&status).contains("the log ends at 5"), "{status:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_ahead_of_the_replicated_cursor_is_believed_and_the_cursor_follows() {
    let (place, feed) = five().await;
    // As after a crash between the delivery and the move of the replicated cursor.
    feed.set_cursor(&lane(), at(2));
    let world = of(plain, &feed, &place);
    world.push("f", 1);
    world.until_delivered("t").await;
    assert_eq!(place.seqs(), upto(6), "nothing comes twice");
    assert_eq!(feed.cursor_of(&lane()), at(6));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_log_knows_is_told_when_a_destination_is_opened() {
    let (place, feed) = (Place::new(false), VecFeed::new());
    feed.set_start(&lane(), at(2));
    let world = of(plain, &feed, &place);
    world.push("f", 4);
    world.until_delivered("t").await;
    let opening = place.last_opening();
    assert!(opening.is_first(), "{opening:?}");
    assert_eq!((opening.standing.start, opening.term), (at(2), 1));
    assert_eq!(place.seqs(), [3, 4], "from the start on");
    world.feed.set_lease(Some(2));
    world.until("opened again", |_| place.opens() == 2).await;
    let opening = place.last_opening();
    assert_eq!((opening.is_first(), opening.term), (false, 2));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_send_is_announced_before_it_begins_and_over_when_the_cursor_has_moved() {
    let (place, feed) = (Place::new(false), VecFeed::new());
    place.script(&[Step::Hang]);
    let mut deliveries = place.deliveries();
    let world = of(SinkKind::announcing_sends, &feed, &place);
    world.push("f", 3);
    let begun = deliveries.wait_for(|count| *count == 1).await;
    assert_eq!(begun.map(|count| *count).ok(), Some(1));
    let announced = feed.sending(&lane()).map(|upto| upto.index);
    assert!(announced.is_some_and(|upto| upto >= 1), "{announced:?}");
    assert_eq!(place.rows().len(), 0);
    place.release();
    world.until_delivered("t").await;
    assert_eq!(feed.sending(&lane()), None);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_that_could_not_be_announced() {
    let (place, feed) = (Place::new(false), VecFeed::new());
    for _ in 0..3 {
        feed.fail_send(FeedError::Again("no quorum".to_owned()));
    }
    let world = of(SinkKind::announcing_sends, &feed, &place);
    world.push("f", 3);
    world
        .until("a trouble", |status| why(status).contains("no quorum"))
        .await;
    assert_eq!(*place.deliveries().borrow(), 0);
    world.until_delivered("t").await;
    assert_eq!(place.seqs(), upto(3));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_lets_go_when_the_lease_is_lost_and_when_it_is_paused() {
    let (place, feed) = (Place::new(false), VecFeed::new());
    let world = of(plain, &feed, &place);
    world.push("f", 2);
    world.until_delivered("t").await;
    assert_eq!(place.closes(), 0);
    feed.set_lease(None);
    let status = world
        .until("standby", |status| status.state == LaneState::Standby)
        .await;
    assert_eq!(place.closes(), 1);
    // Another node goes on with it: how far it is only the replicated cursor tells here.
    assert_eq!(status.lanes[0].position, None);
    world.push("f", 2);
    feed.set_cursor(&lane(), at(4));
    place.set_cursor(1, at(4));
    let there = |status: &TaskStatus| status.lanes[0].seq == 4;
    let status = world.until("the other's word", there).await;
    assert_eq!((status.lag_records, place.rows().len()), (0, 2));
    feed.set_lease(Some(2));
    world.until_delivered("t").await;
    world.bridge.set_tasks(vec![TaskSpec {
        is_paused: true,
        ..task("t", 1, &["f"])
    }]);
    world
        .until("paused", |status| status.state == LaneState::Paused)
        .await;
    assert_eq!(place.closes(), 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_uneasy_is_opened_again_and_goes_on() {
    let (place, feed) = (Place::new(false), VecFeed::new());
    let world = of(plain, &feed, &place);
    world.push("f", 2);
    world.until_delivered("t").await;
    place.disturb();
    world.until("opened again", |_| place.opens() == 2).await;
    world.push("f", 2);
    world.until_delivered("t").await;
    assert_eq!(place.seqs(), upto(4));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn reading_ahead_neither_loses_nor_doubles_whatever_becomes_of_the_batch() {
    let (place, feed) = (Place::new(false), VecFeed::new());
    feed.fail_read(FeedError::Again("not now".to_owned()));
    place.script(&[
        Step::Take,
        Step::TakeFirst(3),
        Step::Fail(Cause::Away),
        Step::LoseReply,
        Step::TakeFirst(9),
        Step::Take,
        Step::TakeFirst(1),
        Step::Fail(Cause::Quota),
    ]);
    place.refuse(&[10, 20, 30, 31, 60]);
    let world = of(SinkKind::reading_ahead, &feed, &place);
    world.push("f", 95);
    world.until_delivered("t").await;
    let refused = [10, 20, 30, 31, 60];
    let expected = upto(95).into_iter().filter(|seq| !refused.contains(seq));
    assert_eq!(place.seqs(), expected.collect::<Vec<_>>());
    assert_eq!(feed.parked(&lane()).len(), refused.len());
    let reads = feed.reads();
    world.push("f", 30);
    world.until_delivered("t").await;
    assert_eq!(place.rows().len(), 95 - refused.len() + 30);
    assert!(reads < feed.reads());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_lane_looks_again_under_the_next_lease() {
    let (place, feed) = five().await;
    place.set_cursor(1, at(3));
    let world = of(plain, &feed, &place);
    stopped(&world).await;
    // Whatever was wrong is mended; this node leads no more, then again.
    place.set_cursor(1, at(5));
    feed.set_lease(None);
    world
        .until("standby", |status| status.state == LaneState::Standby)
        .await;
    feed.set_lease(Some(2));
    world.push("f", 1);
    world.until_delivered("t").await;
    assert_eq!(place.seqs(), upto(6));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_lane_looks_again_when_it_is_paused_and_resumed() {
    let (place, feed) = five().await;
    place.set_cursor(1, at(3));
    let world = of(plain, &feed, &place);
    stopped(&world).await;
    place.set_cursor(1, at(5));
    world.bridge.set_tasks(vec![TaskSpec {
        is_paused: true,
        ..task("t", 1, &["f"])
    }]);
    world
        .until("paused", |status| status.state == LaneState::Paused)
        .await;
    world.bridge.set_tasks(vec![task("t", 1, &["f"])]);
    world.push("f", 1);
    world.until_delivered("t").await;
    assert_eq!(place.seqs(), upto(6));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_with_one_cursor_gets_all_forms_in_the_order_of_the_log() {
    let (place, feed) = (Place::new(false), VecFeed::new());
    let spec = |forms: &[&str]| task("t", 1, forms);
    let world = World::of_kind(
        SinkKind::with_one_lane,
        feed.clone(),
        &[("t", &place)],
        vec![spec(&["f", "g"])],
    );
    for _ in 0..7 {
        world.push("f", 1);
        world.push("g", 2);
    }
    let status = world.until_delivered("t").await;
    assert_eq!(&*status.lanes[0].form, "*");
    let rows = place.rows();
    assert!(rows.is_sorted_by_key(|row| row.position), "{rows:?}");
    let forms: Vec<Arc<str>> = rows.iter().map(|row| Arc::clone(&row.form)).collect();
    let count = |form: &str| forms.iter().filter(|one| &***one == form).count();
    assert_eq!((count("f"), count("g")), (7, 14));
    assert_eq!(feed.cursor_of(&Lane::of_all("t")), at(21));
    // A form more or less is no reason to open it again.
    world.bridge.set_tasks(vec![spec(&["f", "g", "h"])]);
    world.push("h", 1);
    world.until_delivered("t").await;
    assert_eq!((place.rows().len(), place.opens()), (22, 1));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_move_of_the_cursor_whose_answer_was_lost_stops_nothing() {
    let (place, feed) = (Place::new(false), VecFeed::new());
    feed.lose_advance();
    let world = of(plain, &feed, &place);
    world.push("f", 3);
    world.until_delivered("t").await;
    world.push("f", 3);
    world.until_delivered("t").await;
    assert_eq!((place.seqs(), place.opens()), (upto(6), 1));
    assert_eq!(feed.cursor_of(&lane()), at(6));
    world.end().await;
}
