//! A destination of the node's own, which may hold what its log has lost.

use bridge::testing::{Place, VecFeed};
use bridge::{Feed as _, FeedError, Lane, Limit, Position};

use crate::world::{LIMIT, World, task, upto};

#[tokio::test(start_paused = true)]
async fn a_local_sink_needs_no_lease_and_moves_no_cursor() {
    let place = Place::new(true);
    let feed = VecFeed::new();
    feed.set_lease(None);
    let world = World::over(feed, &[("t/f", &place)], vec![task("t", 1, &["f"])]);
    world.push("f", 4);
    world.until_delivered("t").await;
    assert_eq!(place.seqs(), upto(4));
    assert_eq!(
        world.feed.cursor_of(&Lane::new("t", "f")),
        Position::default()
    );
    world.end().await;
}

/// A local place that took five records of a log that then lost the last two, and accepted `more`
/// before the lane was opened again.
async fn after_a_loss(more: usize) -> (Place, VecFeed) {
    let place = Place::new(true);
    let world = World::new(&[("t/f", &place)], vec![task("t", 1, &["f"])]);
    world.push("f", 5);
    world.until_delivered("t").await;
    let feed = world.feed.clone();
    world.end().await;
    feed.lose_after(3);
    let world = World::over(feed, &[("t/f", &place)], vec![task("t", 1, &["f"])]);
    world.push("f", more);
    world.until_delivered("t").await;
    let feed = world.feed.clone();
    world.end().await;
    (place, feed)
}

#[tokio::test(start_paused = true)]
async fn a_local_place_that_holds_what_the_log_lost_begins_anew() {
    // Short of the old cursor, at it, and beyond it.
    for more in [0, 1, 2, 4] {
        let (place, feed) = after_a_loss(more).await;
        let all = Limit {
            count_max: 100,
            ..LIMIT
        };
        let held = feed
            .read(&Lane::new("t", "f"), Position::default(), all)
            .await;
        assert_eq!(Ok(place.rows()), held, "{more} more");
        assert_eq!(place.beginnings(), 1, "{more} more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_local_place_whose_last_record_the_log_holds_goes_on() {
    let place = Place::new(true);
    let world = World::new(&[("t/f", &place)], vec![task("t", 1, &["f"])]);
    world.push("f", 5);
    world.until_delivered("t").await;
    let feed = world.feed.clone();
    world.end().await;
    // Another form's records are lost, after this one's last.
    feed.push("g", "{}");
    feed.lose_after(5);
    feed.fail_read(FeedError::Again("not now".to_owned()));
    let world = World::over(feed, &[("t/f", &place)], vec![task("t", 1, &["f"])]);
    world.push("f", 2);
    world.until_delivered("t").await;
    assert_eq!((place.seqs(), place.beginnings()), (upto(7), 0));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_local_place_whose_last_record_the_log_has_let_go_goes_on() {
    let place = Place::new(true);
    let world = World::new(&[("t/f", &place)], vec![task("t", 1, &["f"])]);
    world.push("f", 5);
    world.until_delivered("t").await;
    let feed = world.feed.clone();
    world.end().await;
    feed.forget_upto(5);
    let world = World::over(feed, &[("t/f", &place)], vec![task("t", 1, &["f"])]);
    world.push("f", 1);
    world.until_delivered("t").await;
    assert_eq!((place.seqs().len(), place.beginnings()), (6, 0));
    world.end().await;
}
