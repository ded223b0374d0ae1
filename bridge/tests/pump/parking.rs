//! What a destination will never take is set aside, and what follows it waits or goes on, as was said.

use bridge::testing::{Place, Step, VecFeed};
use bridge::{Feed as _, Lane, LaneState, OnPoison, Parked, SinkKind, TaskSpec};

use crate::world::{World, at, lane, of, plain, stopped, task, upto};

#[tokio::test(start_paused = true)]
async fn the_destinations_cursor_moves_past_a_tail_that_is_parked() {
    let (place, feed) = (Place::new(false), VecFeed::new());
    place.refuse(&[2, 3]);
    let world = of(plain, &feed, &place);
    world.push("f", 3);
    world.until_delivered("t").await;
    assert_eq!(place.seqs(), [1]);
    assert_eq!(place.cursor(), Some(at(3)), "its own one, not only ours");
    assert_eq!(feed.cursor_of(&lane()), at(3));
    place.refuse(&[4]);
    world.push("f", 1);
    world
        .until("past the only one", |_| place.cursor() == Some(at(4)))
        .await;
    assert_eq!(
        place.batches().last(),
        Some(&(vec![], at(4))),
        "an empty batch"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_is_set_aside_before_any_cursor_passes_it() {
    let (place, feed) = (Place::new(false), VecFeed::new());
    place.refuse(&[2]);
    place.script(&[Step::Hang]);
    let mut deliveries = place.deliveries();
    let world = of(plain, &feed, &place);
    world.push("f", 3);
    // The first is refused, the second is the rest, on its way.
    let begun = deliveries.wait_for(|count| *count == 2).await;
    assert_eq!(begun.map(|count| *count).ok(), Some(2));
    let parked = feed.parked(&lane());
    assert_eq!(parked.len(), 1, "before the rest is there");
    assert_eq!(place.cursor(), None);
    place.release();
    world.until_delivered("t").await;
    assert_eq!(place.seqs(), [1, 3]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_stops_at_poison_moves_no_cursor_past_it() {
    let (place, feed) = (Place::new(false), VecFeed::new());
    place.refuse(&[3]);
    let spec = TaskSpec {
        on_poison: OnPoison::Stop,
        ..task("t", 1, &["f"])
    };
    let world = World::over(feed.clone(), &[("t/f", &place)], vec![spec]);
    world.push("f", 5);
    stopped(&world).await;
    assert!(place.cursor().is_none_or(|cursor| cursor < at(3)));
    assert!(feed.cursor_of(&lane()) < at(3));
    world.end().await;
}

/// A task that keeps the order of each form, over `f` and `g`, at one place.
fn in_order_by_key(feed: &VecFeed, place: &Place) -> World {
    let spec = TaskSpec {
        on_poison: OnPoison::ParkKey,
        ..task("t", 1, &["f", "g"])
    };
    World::of_kind(
        SinkKind::with_one_lane,
        feed.clone(),
        &[("t", place)],
        vec![spec],
    )
}

fn seqs_of(place: &Place, form: &str) -> Vec<u64> {
    let rows = place.rows().into_iter().filter(|row| *row.form == *form);
    rows.map(|row| row.seq).collect()
}

fn parked_seqs(feed: &VecFeed) -> Vec<u64> {
    let parked = feed.parked(&Lane::of_all("t"));
    assert!(parked.iter().all(|parked| &*parked.record.form == "f"));
    parked.iter().map(|parked| parked.record.seq).collect()
}

#[tokio::test(start_paused = true)]
async fn behind_a_refused_record_its_form_alone_is_parked_until_it_is_sent_once_more() {
    let (place, feed) = (Place::new(false), VecFeed::new());
    place.refuse(&[4]);
    let world = in_order_by_key(&feed, &place);
    world.push("g", 3);
    world.push("f", 20);
    world.until_delivered("t").await;
    world.end().await;
    // What is held back is known to whoever comes next.
    let world = in_order_by_key(&feed, &place);
    world.push("f", 2);
    world.until_delivered("t").await;
    assert_eq!(
        (seqs_of(&place, "f"), seqs_of(&place, "g")),
        (upto(3), upto(3))
    );
    assert_eq!(parked_seqs(&feed), (4..=22).collect::<Vec<_>>());
    assert_eq!(place.cursor(), Some(at(25)), "nothing waits in the log");

    // Some are sent once more: what comes behind them must not pass the rest.
    place.pardon();
    for index in 7..=10 {
        feed.unpark(&Lane::of_all("t"), at(index));
    }
    world.push("f", 1);
    world.until_delivered("t").await;
    assert_eq!(seqs_of(&place, "f"), upto(7));
    for index in 11..=25 {
        feed.unpark(&Lane::of_all("t"), at(index));
    }
    feed.unpark(&Lane::of_all("t"), at(30));
    world.push("f", 1);
    world.until_delivered("t").await;
    assert_eq!(seqs_of(&place, "f"), upto(24), "in order, each once");
    assert!(place.rows().iter().any(|row| row.is_replay));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_refused_once_more_holds_back_what_follows_it_again() {
    let (place, feed) = (Place::new(false), VecFeed::new());
    place.refuse(&[2]);
    let world = in_order_by_key(&feed, &place);
    world.push("f", 4);
    world.until_delivered("t").await;
    for index in 2..=4 {
        feed.unpark(&Lane::of_all("t"), at(index));
    }
    world
        .until("all three back", |_| parked_seqs(&feed) == [2, 3, 4])
        .await;
    world.until_delivered("t").await;
    assert_eq!(seqs_of(&place, "f"), [1]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_parked_already_is_passed_and_not_sent() {
    let (place, feed) = (Place::new(false), VecFeed::new());
    let records: Vec<_> = (0..3).map(|_| feed.push("f", "{}")).collect();
    // Whoever parked them got no further.
    for record in &records[1..] {
        let parked = Parked {
            record: record.clone(),
            why: "too large".to_owned(),
            answer: String::new(),
        };
        assert_eq!(feed.park(&lane(), 1, parked).await, Ok(()));
    }
    let world = of(plain, &feed, &place);
    world.until_delivered("t").await;
    assert_eq!(place.seqs(), [1]);
    assert_eq!(
        (place.cursor(), feed.cursor_of(&lane())),
        (Some(at(3)), at(3))
    );
    world.end().await;
    // Another life tries them anew.
    feed.set_incarnation("t", 2);
    feed.set_cursor(&lane(), at(0));
    let tasks = vec![task("t", 2, &["f"])];
    let world = World::of_kind(plain, feed.clone(), &[("t/f", &place)], tasks);
    world.until_delivered("t").await;
    assert_eq!(place.seqs(), upto(3));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_accepted_while_records_come_again_does_not_pass_them() {
    let (place, feed) = (Place::new(false), VecFeed::new());
    place.refuse(&[1]);
    let world = in_order_by_key(&feed, &place);
    world.push("f", 2);
    world
        .until("both are parked", |_| parked_seqs(&feed) == [1, 2])
        .await;
    world.until_delivered("t").await;
    let spec = |is_paused| TaskSpec {
        on_poison: OnPoison::ParkKey,
        is_paused,
        ..task("t", 1, &["f", "g"])
    };
    world.bridge.set_tasks(vec![spec(true)]);
    world
        .until("paused", |status| status.state == LaneState::Paused)
        .await;
    place.pardon();
    // 3: the first again; 4: a new one; 5: the second again.
    feed.unpark(&Lane::of_all("t"), at(1));
    world.push("f", 1);
    feed.unpark(&Lane::of_all("t"), at(2));
    world.bridge.set_tasks(vec![spec(false)]);
    world.until_delivered("t").await;
    assert_eq!(
        (seqs_of(&place, "f"), parked_seqs(&feed)),
        (upto(2), vec![3])
    );
    feed.unpark(&Lane::of_all("t"), at(4));
    world.until_delivered("t").await;
    assert_eq!(seqs_of(&place, "f"), upto(3));
    world.end().await;
}
