//! Records arrive once and in order, whatever the destination says.

use bridge::testing::{Place, Step, VecFeed};
use bridge::{Cause, FeedError, Lane, LaneState, OnPoison, Position, TaskSpec, TaskStatus};

use crate::world::{World, task, upto};

#[tokio::test(start_paused = true)]
async fn records_arrive_once_in_order_and_the_cursor_follows() {
    let place = Place::new(false);
    let world = World::new(&[("t/f", &place)], vec![task("t", 1, &["f"])]);
    world.push("f", 25);
    world.until_delivered("t").await;
    assert_eq!(place.seqs(), upto(25));
    assert_eq!(place.biggest_batch(), 10, "a batch is bounded");
    let lane = Lane::new("t", "f");
    assert_eq!(world.feed.cursor_of(&lane), Position { index: 25, slot: 0 });
    world.push("f", 5);
    world.until_delivered("t").await;
    assert_eq!(place.seqs(), upto(30));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_burns_no_attempts_and_heals_by_itself() {
    let place = Place::new(false);
    let world = World::new(&[("t/f", &place)], vec![task("t", 1, &["f"])]);
    // Far more failures than attempts.
    place.script(&[Step::Fail(Cause::Away); 40]);
    place.script(&[
        Step::Fail(Cause::Quota),
        Step::Fail(Cause::Auth),
        Step::Fail(Cause::Room),
    ]);
    world.push("f", 3);
    let status = world
        .until("a trouble is told", |status| status.last_error.is_some())
        .await;
    assert_eq!(status.state, LaneState::Retrying);
    assert_eq!(status.lag_records, 3);
    assert_eq!(
        status.oldest_age_ms,
        Some(59_999),
        "the first was accepted at …001"
    );
    world.until_delivered("t").await;
    assert_eq!(place.seqs(), upto(3));
    assert!(world.feed.parked(&Lane::new("t", "f")).is_empty());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_read_is_not_told_to_be_delivered() {
    let place = Place::new(false);
    let world = World::new(&[("t/f", &place)], vec![task("t", 1, &["f"])]);
    place.script(&[Step::Fail(Cause::Away); 40]);
    world.push("f", 3);
    let lags = |status: &TaskStatus| status.lag_records == 3;
    world.until("it lags", lags).await;
    world.feed.set_unread(true);
    let status = world.until("it is told", |_| true).await;
    assert!(lags(&status), "{status:?}");
    assert_eq!(
        (status.lag_bytes, status.oldest_age_ms),
        (Some(6), Some(59_999))
    );
    world.feed.set_unread(false);
    world.until_delivered("t").await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_doubles_nothing_where_the_destination_keeps_our_cursor() {
    let place = Place::new(false);
    let world = World::new(&[("t/f", &place)], vec![task("t", 1, &["f"])]);
    place.script(&[
        Step::LoseReply,
        Step::LoseReply,
        Step::TakeFirst(2),
        Step::LoseReply,
    ]);
    world.push("f", 35);
    world.until_delivered("t").await;
    assert_eq!(place.seqs(), upto(35));
    assert_eq!(place.opens(), 4, "it is read again after each");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_parked_and_the_rest_goes_on() {
    let place = Place::new(false);
    let world = World::new(&[("t/f", &place)], vec![task("t", 1, &["f"])]);
    place.refuse(&[2, 3, 10, 25]);
    world.push("f", 25);
    let status = world.until_delivered("t").await;
    let expected: Vec<u64> = upto(25)
        .into_iter()
        .filter(|seq| ![2, 3, 10, 25].contains(seq))
        .collect();
    assert_eq!(place.seqs(), expected);
    let parked = world.feed.parked(&Lane::new("t", "f"));
    let seqs: Vec<u64> = parked.iter().map(|parked| parked.record.seq).collect();
    assert_eq!(seqs, [2, 3, 10, 25]);
    assert_eq!(parked[0].answer, "400 bad record");
    assert_eq!(status.lanes[0].parked_records, 4);
    assert_eq!(
        world.feed.cursor_of(&Lane::new("t", "f")).index,
        25,
        "the cursor passes them"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_every_attempt_fails_on_is_found_and_parked() {
    let place = Place::new(false);
    let world = World::new(&[("t/f", &place)], vec![task("t", 1, &["f"])]);
    place.grumble_at(&[7]);
    world.push("f", 23);
    world.until_delivered("t").await;
    let expected: Vec<u64> = upto(23).into_iter().filter(|seq| *seq != 7).collect();
    assert_eq!(place.seqs(), expected);
    let parked = world.feed.parked(&Lane::new("t", "f"));
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].record.seq, 7);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_stops_at_poison_stops_in_front_of_it_and_says_why() {
    // A place of the node's own cannot park for the others: nothing may pass a key there.
    for (on_poison, is_local) in [(OnPoison::Stop, false), (OnPoison::ParkKey, true)] {
        let place = Place::new(is_local);
        let spec = TaskSpec {
            on_poison,
            ..task("t", 1, &["f"])
        };
        let world = World::new(&[("t/f", &place)], vec![spec]);
        world.push("f", 2);
        world.until_delivered("t").await;
        place.refuse(&[4]);
        world.push("f", 3);
        let status = world
            .until("stopped", |status| status.state == LaneState::Stopped)
            .await;
        assert!(
            !place.seqs().contains(&4) && !place.seqs().contains(&5),
            "{:?}",
            place.seqs()
        );
        let why = status.last_error.map(|error| error.why).unwrap_or_default();
        assert!(why.contains("record 4 is refused"), "{why}");
        assert!(world.feed.parked(&Lane::new("t", "f")).is_empty());
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_feed_in_trouble_is_asked_again_and_nothing_comes_twice() {
    let place = Place::new(false);
    let feed = VecFeed::new();
    feed.fail_read(FeedError::Again("no leader".to_owned()));
    feed.fail_advance(FeedError::Again("no quorum".to_owned()));
    feed.fail_advance(FeedError::Again("no quorum".to_owned()));
    let world = World::over(feed, &[("t/f", &place)], vec![task("t", 1, &["f"])]);
    world.push("f", 4);
    world.until_delivered("t").await;
    world
        .until("the cursor follows", |_| {
            world.feed.cursor_of(&Lane::new("t", "f")).index == 4
        })
        .await;
    assert_eq!((place.seqs(), place.opens()), (upto(4), 1));
    world.end().await;
}
