//! A bridge over a vector and places in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bridge::testing::{Place, VecFeed};
use bridge::{
    Bridge, Config, Lane, LaneState, Limit, Metrics, OnPoison, Parts, Position, Sink, SinkKind,
    SinkSpec, Sinks, TaskSpec, TaskStatus,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) const LIMIT: Limit = Limit {
    count_max: 10,
    bytes_max: 1 << 20,
};
/// Longer than any wait between two tries: what has not happened by then never does.
const EVER: Duration = Duration::from_mins(10);

/// A bridge over a vector and places in memory, one a (task, form).
pub(crate) struct World {
    pub(crate) feed: VecFeed,
    pub(crate) places: BTreeMap<String, Place>,
    pub(crate) bridge: Bridge,
    pub(crate) tracker: TaskTracker,
    pub(crate) token: CancellationToken,
}

pub(crate) fn task(name: &str, incarnation: u64, forms: &[&str]) -> TaskSpec {
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
pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.retry.max_ms = 1000;
    config
}

impl World {
    pub(crate) fn new(places: &[(&str, &Place)], tasks: Vec<TaskSpec>) -> Self {
        let feed = VecFeed::new();
        Self::over(feed, places, tasks)
    }

    pub(crate) fn over(feed: VecFeed, places: &[(&str, &Place)], tasks: Vec<TaskSpec>) -> Self {
        Self::of_kind(|kind| kind, feed, places, tasks)
    }

    /// Whose sinks are of another kind than the plainest.
    pub(crate) fn of_kind(
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

    pub(crate) fn push(&self, form: &str, count: usize) {
        for _ in 0..count {
            self.feed.push(form, "{}");
        }
    }

    pub(crate) async fn until(
        &self,
        what: &str,
        mut is_so: impl FnMut(&TaskStatus) -> bool,
    ) -> TaskStatus {
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

    pub(crate) async fn until_delivered(&self, task: &str) -> TaskStatus {
        self.until("all delivered", |status| {
            &*status.name == task
                && status.lag_records == 0
                && status.state == LaneState::Running
                && status.last_error.is_none()
        })
        .await
    }

    pub(crate) async fn end(self) {
        self.token.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

pub(crate) fn upto(count: u64) -> Vec<u64> {
    (1..=count).collect()
}

pub(crate) fn at(index: u64) -> Position {
    Position { index, slot: 0 }
}

pub(crate) fn lane() -> Lane {
    Lane::new("t", "f")
}

pub(crate) fn of(shape: fn(SinkKind) -> SinkKind, feed: &VecFeed, place: &Place) -> World {
    let tasks = vec![task("t", 1, &["f"])];
    World::of_kind(shape, feed.clone(), &[("t/f", place)], tasks)
}

pub(crate) fn plain(kind: SinkKind) -> SinkKind {
    kind
}

pub(crate) async fn stopped(world: &World) -> TaskStatus {
    world
        .until("stopped", |status| status.state == LaneState::Stopped)
        .await
}
