//! The pump's promises: in order, once, without waiting for each other, and telling what is wrong.
//!
//! Time is paused: a wait of hours costs nothing, and a test that waits for what never comes fails
//! at once.

mod seams;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bridge::testing::{Place, Step, VecFeed};
use bridge::{
    Bridge, Cause, Config, CsvConfig, Feed, FeedError, Lane, LaneState, Limit, Metrics, OnPoison,
    OsFiles, Parts, Position, Sink, SinkKind, SinkSpec, Sinks, TaskSpec, TaskStatus,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const LIMIT: Limit = Limit {
    count_max: 10,
    bytes_max: 1 << 20,
};
/// Longer than any wait between two tries: what has not happened by then never does.
const EVER: Duration = Duration::from_mins(10);

/// A bridge over a vector and places in memory, one a (task, form).
struct World {
    feed: VecFeed,
    places: BTreeMap<String, Place>,
    bridge: Bridge,
    tracker: TaskTracker,
    token: CancellationToken,
}

fn task(name: &str, incarnation: u64, forms: &[&str]) -> TaskSpec {
    TaskSpec {
        name: Arc::from(name),
        incarnation,
        forms: forms.iter().map(|&form| Arc::from(form)).collect(),
        sink: SinkSpec {
            name: Arc::from("flaky"),
            settings: serde_json::Value::Null,
        },
        on_poison: OnPoison::Park,
        is_paused: false,
        unfit: None,
    }
}

/// Waits short enough to step through.
fn config() -> Config {
    let mut config = Config::default();
    config.retry.max_ms = 1000;
    config
}

impl World {
    fn new(places: &[(&str, &Place)], tasks: Vec<TaskSpec>) -> Self {
        let feed = VecFeed::new();
        Self::over(feed, places, tasks)
    }

    fn over(feed: VecFeed, places: &[(&str, &Place)], tasks: Vec<TaskSpec>) -> Self {
        Self::of_kind(|kind| kind, feed, places, tasks)
    }

    /// Whose sinks are of another kind than the plainest.
    fn of_kind(
        shape: fn(SinkKind) -> SinkKind,
        feed: VecFeed,
        places: &[(&str, &Place)],
        tasks: Vec<TaskSpec>,
    ) -> Self {
        let places: BTreeMap<String, Place> = places
            .iter()
            .map(|&(lane, place)| (lane.to_owned(), place.clone()))
            .collect();
        let mut sinks = Sinks::default();
        let known = places.clone();
        let plain = SinkKind::new(LIMIT, 4, move |life, _, _| {
            let place = known.get(&life.lane.to_string()).ok_or("no such place")?;
            let sink: Box<dyn Sink> = Box::new(place.sink(life.incarnation));
            Ok(sink)
        });
        sinks.add("flaky", shape(plain));
        let (tracker, token) = (TaskTracker::new(), CancellationToken::new());
        let parts = Parts {
            feed: Arc::new(feed.clone()),
            sinks,
            metrics: Metrics::default(),
            now_ms: Arc::new(|| 1_764_000_060_000),
            seed: 7,
        };
        let bridge = Bridge::spawn(config(), parts, tasks, tracker.clone(), token.clone());
        Self {
            feed,
            places,
            bridge,
            tracker,
            token,
        }
    }

    fn push(&self, form: &str, count: usize) {
        for _ in 0..count {
            self.feed.push(form, "{}");
        }
    }

    async fn until(&self, what: &str, mut is_so: impl FnMut(&TaskStatus) -> bool) -> TaskStatus {
        let reached = async {
            loop {
                for status in self.bridge.status().await {
                    if is_so(&status) {
                        return status;
                    }
                }
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        };
        match tokio::time::timeout(EVER, reached).await {
            Ok(status) => status,
            Err(late) => panic!("{what}: {late}; {:#?}", self.bridge.status().await),
        }
    }

    async fn until_delivered(&self, task: &str) -> TaskStatus {
        self.until("all delivered", |status| {
            &*status.name == task
                && status.lag_records == 0
                && status.state == LaneState::Running
                && status.last_error.is_none()
        })
        .await
    }

    async fn end(self) {
        self.token.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

fn upto(count: u64) -> Vec<u64> {
    (1..=count).collect()
}

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
async fn one_slow_task_delays_no_other() {
    let (slow, quick) = (Place::new(false), Place::new(false));
    let tasks = vec![task("slow", 1, &["f"]), task("quick", 1, &["f"])];
    let world = World::new(&[("slow/f", &slow), ("quick/f", &quick)], tasks);
    slow.script(&[Step::Hang]);
    world.push("f", 12);
    world.until_delivered("quick").await;
    assert_eq!(quick.seqs(), upto(12));
    assert_eq!(slow.rows().len(), 0);
    slow.release();
    world.until_delivered("slow").await;
    assert_eq!(slow.seqs(), upto(12));
    world.end().await;
}

/// Twenty lanes of one task, each with a place that fails like `cause` says.
fn twenty_lanes(cause: Cause) -> (World, Vec<Place>) {
    let forms: Vec<String> = (0..20).map(|n| format!("f{n}")).collect();
    let lanes: Vec<String> = forms.iter().map(|form| format!("t/{form}")).collect();
    let places: Vec<Place> = (0..20).map(|_| Place::new(false)).collect();
    let known: Vec<(&str, &Place)> = lanes.iter().map(|lane| &**lane).zip(&places).collect();
    let forms: Vec<&str> = forms.iter().map(String::as_str).collect();
    for place in &places {
        place.script(&[Step::Fail(cause); 1000]);
    }
    let world = World::new(&known, vec![task("t", 1, &forms)]);
    for form in &forms {
        world.push(form, 1);
    }
    (world, places)
}

/// How often the places were tried within a while.
async fn tries(world: &World, places: &[Place]) -> u64 {
    let began = tokio::time::Instant::now();
    world
        .until("a while", |_| began.elapsed() > Duration::from_secs(20))
        .await;
    places
        .iter()
        .map(|place| *place.deliveries().borrow())
        .sum()
}

#[tokio::test(start_paused = true)]
async fn lanes_of_a_task_wait_together_for_a_destination_that_is_away() {
    let (world, places) = twenty_lanes(Cause::Away);
    let tries = tries(&world, &places).await;
    assert!(
        (10..100).contains(&tries),
        "one looks for all, but there were {tries} tries"
    );
    for place in &places {
        place.mend();
    }
    world.until_delivered("t").await;
    assert!(places.iter().all(|place| place.seqs() == [1]));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_lane_whose_own_place_is_in_trouble_holds_up_no_other() {
    let (world, places) = twenty_lanes(Cause::Place);
    let tries = tries(&world, &places).await;
    assert!(
        tries > 200,
        "each looks for itself, but there were {tries} tries"
    );
    let (bad, good) = places.split_first().expect("twenty");
    for place in good {
        place.mend();
    }
    world
        .until("the others delivered", |_| {
            good.iter().all(|place| place.seqs() == [1])
        })
        .await;
    assert!(bad.rows().is_empty());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_has_leave_does_not_wait_for_one_that_waits_for_leave() {
    // Two forms of one spreadsheet. While one sends, the other waits for its leave; the answer is
    // lost, and the circuit opens. The other one has opened by then and keeps its leave for its first
    // batch: it must not wait behind the one that looks, which waits for that leave.
    let (one, two) = (Place::new(false), Place::new(false));
    let seats = Arc::new(Semaphore::new(1));
    for place in [&one, &two] {
        place.share(&seats);
        place.script(&[Step::LoseReply, Step::LoseReply]);
    }
    let known = [("t/f", &one), ("t/g", &two)];
    let taken = seats.acquire().await.expect("a seat");
    let world = World::new(&known, vec![task("t", 1, &["f", "g"])]);
    world.push("f", 25);
    world.push("g", 25);
    let begun = tokio::time::Instant::now();
    let both_wait = |_: &TaskStatus| begun.elapsed() > Duration::from_secs(1);
    world.until("both wait for leave", both_wait).await;
    drop(taken);
    world.until_delivered("t").await;
    assert_eq!((one.seqs(), two.seqs()), (upto(25), upto(25)));
    world.end().await;
}

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

/// Three hundred sheets at once, on two threads for async work and a few for files.
#[test]
fn hundreds_of_sheets_need_few_threads() {
    let dir = tempfile::tempdir().expect("a directory");
    let workers_max = 4;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(workers_max)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let feed = VecFeed::new();
        let config = CsvConfig {
            dir: dir.path().into(),
            workers_max,
            ..CsvConfig::default()
        };
        let forms: Vec<Arc<str>> = (0..300).map(|n| Arc::from(format!("f{n}"))).collect();
        let spec = TaskSpec {
            forms: forms.clone(),
            sink: SinkSpec::csv("{form}.csv"),
            ..task("sheets", 1, &[])
        };
        let parts = Parts {
            feed: Arc::new(feed.clone()),
            sinks: Sinks::new(&config, Arc::new(OsFiles), "cluster"),
            metrics: Metrics::default(),
            now_ms: Arc::new(|| 0),
            seed: 1,
        };
        let (tracker, token) = (TaskTracker::new(), CancellationToken::new());
        for form in &forms {
            for _ in 0..3 {
                feed.push(form, r#"{"a":"b"}"#);
            }
        }
        let bridge = Bridge::spawn(
            Config::default(),
            parts,
            vec![spec],
            tracker.clone(),
            token.clone(),
        );
        let mut behind = u64::MAX;
        while behind > 0 {
            tokio::task::yield_now().await;
            behind = bridge
                .status()
                .await
                .iter()
                .map(|status| status.lag_records)
                .sum();
        }
        for form in &forms {
            let sheet = std::fs::read_to_string(dir.path().join(format!("{form}.csv")));
            let rows = sheet.expect("a sheet").lines().count();
            assert_eq!(rows, 4, "{form}");
            assert_eq!(
                feed.behind(&Lane::new("sheets", form), Position::default())
                    .await
                    .expect("a feed")
                    .records,
                3
            );
        }
        token.cancel();
        tracker.close();
        tracker.wait().await;
    });
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
