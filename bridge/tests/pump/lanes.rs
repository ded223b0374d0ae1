//! Lanes wait together where the trouble is everybody's, and for nobody where it is their own.

use std::sync::Arc;
use std::time::Duration;

use bridge::testing::{Place, Step, VecFeed};
use bridge::{
    Bridge, Cause, Config, CsvConfig, Feed as _, Lane, Metrics, OsFiles, Parts, Position, SinkSpec,
    Sinks, TaskSpec, TaskStatus,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::world::{World, task, upto};

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
