//! A task's lives: it begins, waits, is replaced, is led elsewhere, ends.

use std::sync::Arc;
use std::time::Duration;

use bridge::testing::{Place, Step};
use bridge::{Cause, Lane, LaneState, Position, SinkSpec, TaskSpec};

use crate::world::{World, config, task, upto};

#[tokio::test(start_paused = true)]
async fn a_pause_holds_and_a_resume_goes_on() {
    let place = Place::new(false);
    let paused = TaskSpec {
        is_paused: true,
        ..task("t", 1, &["f"])
    };
    let world = World::new(&[("t/f", &place)], vec![paused.clone()]);
    world.push("f", 3);
    let status = world
        .until("paused", |status| status.state == LaneState::Paused)
        .await;
    assert_eq!((status.lag_records, place.rows().len()), (3, 0));
    world.bridge.set_tasks(vec![task("t", 1, &["f"])]);
    world.until_delivered("t").await;
    assert_eq!(place.opens(), 1, "a resume is not another life");
    world.bridge.set_tasks(vec![paused]);
    world
        .until("paused", |status| status.state == LaneState::Paused)
        .await;
    world.push("f", 1);
    world.bridge.set_tasks(vec![task("t", 1, &["f"])]);
    world.until_delivered("t").await;
    assert_eq!(place.seqs(), upto(4));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn another_life_begins_after_the_old_one_has_ended() {
    let place = Place::new(false);
    let world = World::new(&[("t/f", &place)], vec![task("t", 1, &["f"])]);
    place.script(&[Step::Take, Step::Hang]);
    let mut deliveries = place.deliveries();
    world.push("f", 1);
    world.until_delivered("t").await;
    world.push("f", 1);
    deliveries
        .wait_for(|count| *count == 2)
        .await
        .expect("the place is there");
    // The old life hangs in a delivery; the new one must not open before that has ended.
    world.feed.set_incarnation("t", 2);
    world
        .feed
        .set_cursor(&Lane::new("t", "f"), Position::default());
    world.bridge.set_tasks(vec![task("t", 2, &["f"])]);
    world
        .until("starting", |status| {
            status.incarnation == 2 && status.state == LaneState::Starting
        })
        .await;
    assert_eq!(place.opens(), 1);
    place.release();
    world.until_delivered("t").await;
    assert_eq!(place.opens(), 2);
    assert_eq!(place.seqs(), upto(2), "a new life begins anew");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_form_that_is_added_or_taken_away_touches_no_other_lane() {
    let (f, g) = (Place::new(false), Place::new(false));
    let world = World::new(&[("t/f", &f), ("t/g", &g)], vec![task("t", 1, &["f"])]);
    world.push("f", 2);
    world.push("g", 2);
    world.until_delivered("t").await;
    assert_eq!(g.rows().len(), 0);
    world.bridge.set_tasks(vec![task("t", 1, &["f", "g"])]);
    world.until_delivered("t").await;
    assert_eq!((f.opens(), g.seqs()), (1, upto(2)));
    world.bridge.set_tasks(vec![task("t", 1, &["g"])]);
    world.push("f", 1);
    world.push("g", 1);
    world.until_delivered("t").await;
    assert_eq!((f.rows().len(), g.rows().len()), (2, 3));
    world.bridge.set_tasks(vec![]);
    world.tracker.close();
    world.tracker.wait().await;
    assert!(world.bridge.status().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn only_the_lease_of_a_term_delivers_and_a_new_term_reads_the_cursor_again() {
    let place = Place::new(false);
    let world = World::new(&[("t/f", &place)], vec![task("t", 1, &["f"])]);
    world.push("f", 1);
    world.until_delivered("t").await;
    world.feed.set_lease(None);
    world
        .until("standby", |status| status.state == LaneState::Standby)
        .await;
    world.push("f", 1);
    let status = world
        .until("it lags", |status| status.lag_records == 1)
        .await;
    assert_eq!(status.state, LaneState::Standby);
    assert_eq!(place.seqs(), upto(1));
    world.feed.set_lease(Some(2));
    world.until_delivered("t").await;
    assert_eq!((place.seqs(), place.opens()), (upto(2), 2));
    // From one term to the next, without a gap to see.
    world.feed.set_lease(Some(3));
    world.until("opened again", |_| place.opens() == 3).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_lane_whose_life_is_over_stops() {
    let place = Place::new(false);
    let world = World::new(&[("t/f", &place)], vec![task("t", 1, &["f"])]);
    world.feed.set_incarnation("t", 2);
    world.push("f", 1);
    let status = world
        .until("stopped", |status| status.state == LaneState::Stopped)
        .await;
    let why = status.last_error.map(|error| error.why).unwrap_or_default();
    assert!(why.contains("another life"), "{why}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_sink_is_unknown_says_so_and_disturbs_none() {
    let place = Place::new(false);
    let odd = TaskSpec {
        sink: SinkSpec::csv("{form}.csv"),
        ..task("odd", 1, &["f"])
    };
    let world = World::new(&[("t/f", &place)], vec![odd, task("t", 1, &["f"])]);
    world.push("f", 1);
    world.until_delivered("t").await;
    let status = world
        .until("stopped", |status| status.state == LaneState::Stopped)
        .await;
    let why = status.last_error.map(|error| error.why).unwrap_or_default();
    assert!(why.contains("no sink called \"csv\""), "{why}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_this_node_cannot_run_is_told_and_runs_once_it_can() {
    let place = Place::new(false);
    let good = task("t", 1, &["f"]);
    let unfit = |forms: &[&str]| TaskSpec {
        unfit: Some(Arc::from("of a newer release")),
        ..task("t", 1, forms)
    };
    // Whether or not it is known which forms it moves.
    let world = World::new(&[("t/f", &place)], vec![unfit(&[])]);
    world.push("f", 2);
    for forms in [&[][..], &["f"]] {
        world.bridge.set_tasks(vec![unfit(forms)]);
        let told = world.bridge.status().await;
        let [told] = &told[..] else {
            panic!("{told:#?}");
        };
        assert_eq!((told.state, told.lanes.len()), (LaneState::Stopped, 1));
        let why = told.last_error.as_ref().map(|error| &*error.why);
        assert_eq!(why, Some("of a newer release"));
        let lacks = world.bridge.lacks().await;
        assert_eq!(lacks.as_deref(), Some("task t: of a newer release"));
    }
    assert_eq!(place.opens(), 0);
    world.bridge.set_tasks(vec![good]);
    world.until_delivered("t").await;
    assert_eq!((place.seqs(), world.bridge.lacks().await), (upto(2), None));
    // And the other way round: what runs is ended.
    world.bridge.set_tasks(vec![unfit(&["f"])]);
    world.push("f", 1);
    let status = world
        .until("it lags", |status| status.lag_records == 1)
        .await;
    assert_eq!(status.state, LaneState::Stopped);
    assert_eq!(place.seqs(), upto(2));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_node_waits_until_what_is_there_is_delivered() {
    let place = Place::new(false);
    let world = World::new(&[("t/f", &place)], vec![task("t", 1, &["f"])]);
    place.script(&[Step::Hang]);
    let mut deliveries = place.deliveries();
    world.push("f", 100);
    deliveries
        .wait_for(|count| *count == 1)
        .await
        .expect("the place is there");
    world.token.cancel();
    place.release();
    let (place, feed) = (world.places["t/f"].clone(), world.feed.clone());
    world.end().await;
    assert_eq!(place.seqs(), upto(100));
    assert_eq!(feed.cursor_of(&Lane::new("t", "f")).index, 100);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_node_does_not_wait_for_a_destination_that_is_away() {
    let place = Place::new(false);
    let world = World::new(&[("t/f", &place)], vec![task("t", 1, &["f"])]);
    place.script(&[Step::Fail(Cause::Away); 1000]);
    world.push("f", 1);
    world
        .until("a trouble", |status| status.last_error.is_some())
        .await;
    let config = config();
    let began = tokio::time::Instant::now();
    world.end().await;
    assert!(began.elapsed() <= Duration::from_millis(config.drain_ms));
}

#[tokio::test(start_paused = true)]
async fn a_bridge_whose_handle_is_gone_goes_on() {
    let place = Place::new(true);
    let world = World::new(&[("t/f", &place)], vec![task("t", 1, &["f"])]);
    let World {
        feed,
        bridge,
        tracker,
        token,
        ..
    } = world;
    drop(bridge);
    let mut deliveries = place.deliveries();
    feed.push("f", "{}");
    deliveries
        .wait_for(|count| *count == 1)
        .await
        .expect("the place is there");
    token.cancel();
    tracker.close();
    tracker.wait().await;
    assert_eq!(place.seqs(), upto(1));
}
