//! All tasks of this node: begins a pump a lane, ends it, and tells how each is doing.
//!
//! Holds: a lane is served by at most one pump at any moment. One that replaces another (a new
//! life, another sink) begins after the other has ended, so no destination is written by both.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::pump::{Order, Pump, Shared};
use crate::record::Lane;
use crate::retry::{Backoff, Circuit};
use crate::sink::OnPoison;
use crate::sinks::{Life, SinkKind, SinkSpec, Sinks};
use crate::status::{Cell, LaneState, Notes, TaskStatus, sum};

/// Wall time, milliseconds since 1970 UTC: to tell ages, never to decide.
pub type NowMs = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A task as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSpec {
    /// Its name.
    pub name: Arc<str>,
    /// Its present life: the index of the entry that defined it, or sought, or replayed.
    pub incarnation: u64,
    /// The forms that it moves, by name. For a task over all forms the caller names them all, and
    /// calls [`Bridge::set_tasks`] again when a form is defined.
    pub forms: Vec<Arc<str>>,
    /// Where to.
    pub sink: SinkSpec,
    /// What happens behind a record that the destination will never take.
    pub on_poison: OnPoison,
    /// A person has paused it.
    pub is_paused: bool,
    /// Why this node cannot run it, in words: nothing of it is delivered, and it is told as stopped.
    pub unfit: Option<Arc<str>>,
}

/// What the bridge works with.
pub struct Parts {
    /// The queue.
    pub feed: Arc<dyn Feed>,
    /// The destinations.
    pub sinks: Sinks,
    /// Its numbers.
    pub metrics: Metrics,
    /// Wall time, for ages.
    pub now_ms: NowMs,
    /// Seeds the spread of waits.
    pub seed: u64,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("sinks", &self.sinks)
            .finish_non_exhaustive()
    }
}

/// Handle to all tasks. Cheap to clone; the pumps live on the tracker, not in the handle.
#[derive(Clone, Debug)]
pub struct Bridge {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: Parts,
    shared: Shared,
    tracker: TaskTracker,
    token: CancellationToken,
    /// Written by `set_tasks` alone; held for moments, never across an await.
    tasks: Mutex<BTreeMap<Arc<str>, Task>>,
}

#[derive(Debug)]
struct Task {
    spec: TaskSpec,
    circuit: Arc<Circuit>,
    /// By form; one alone, without a form, where the destination keeps one cursor a task.
    lanes: BTreeMap<Option<Arc<str>>, Running>,
}

/// A lane's pump, seen from outside.
#[derive(Debug)]
struct Running {
    orders: watch::Sender<Order>,
    ended: CancellationToken,
    cell: Arc<Cell>,
}

impl Bridge {
    /// Begins all lanes of `tasks` on `tracker`. When `token` is cancelled, each lane goes on with
    /// what is there for at most `drain_ms`, then ends; the tracker tells when all have.
    pub fn spawn(
        config: Config,
        parts: Parts,
        tasks: Vec<TaskSpec>,
        tracker: TaskTracker,
        token: CancellationToken,
    ) -> Self {
        let shared = Shared {
            feed: Arc::clone(&parts.feed),
            metrics: parts.metrics.clone(),
            now_ms: Arc::clone(&parts.now_ms),
            config,
            token: token.clone(),
        };
        let inner = Inner {
            parts,
            shared,
            tracker,
            token,
            tasks: Mutex::default(),
        };
        let bridge = Self {
            inner: Arc::new(inner),
        };
        bridge.set_tasks(tasks);
        bridge
    }

    /// Makes what runs equal to `tasks`: begins lanes that are new, ends those that are gone after
    /// the batch in hand, replaces those whose life or sink is another, pauses and resumes.
    /// Returns at once.
    pub fn set_tasks(&self, tasks: Vec<TaskSpec>) {
        if self.inner.token.is_cancelled() {
            return;
        }
        let mut running = self
            .inner
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *running);
        for spec in tasks {
            let old = before.remove(&spec.name);
            let task = self.set_task(spec, old);
            running.insert(Arc::clone(&task.spec.name), task);
        }
        for (name, task) in before {
            tracing::info!(task = %name, "task ended");
            task.lanes.values().for_each(Running::drop_it);
            self.inner.parts.metrics.forget(&name);
        }
    }

    fn set_task(&self, spec: TaskSpec, old: Option<Task>) -> Task {
        let goes_on = old.as_ref().is_some_and(|old| {
            old.spec.incarnation == spec.incarnation
                && old.spec.sink == spec.sink
                && old.spec.on_poison == spec.on_poison
                && old.spec.unfit == spec.unfit
        });
        let (circuit, mut old_lanes) = match old {
            Some(old) if goes_on => (old.circuit, old.lanes),
            Some(old) => (Circuit::new(), old.lanes),
            None => (Circuit::new(), BTreeMap::new()),
        };
        let mut lanes = BTreeMap::new();
        for form in self.forms_of_lanes(&spec) {
            let lane = match old_lanes.remove(&form) {
                Some(lane) if goes_on => {
                    lane.order(order_of(&spec));
                    lane
                }
                replaced => {
                    if let Some(lane) = &replaced {
                        lane.drop_it();
                    }
                    let after = replaced.map(|lane| lane.ended);
                    self.begin(&spec, form.as_ref(), &circuit, after)
                }
            };
            lanes.insert(form, lane);
        }
        old_lanes.values().for_each(Running::drop_it);
        Task {
            spec,
            circuit,
            lanes,
        }
    }

    fn forms_of_lanes(&self, spec: &TaskSpec) -> Vec<Option<Arc<str>>> {
        let kind = self.inner.parts.sinks.get(&spec.sink.name);
        // One that cannot run has a lane whatever it covers: the lane tells why.
        let is_bare = spec.unfit.is_some() && spec.forms.is_empty();
        if is_bare || kind.is_some_and(|kind| kind.has_one_lane) {
            vec![None]
        } else {
            spec.forms.iter().cloned().map(Some).collect()
        }
    }

    fn begin(
        &self,
        spec: &TaskSpec,
        form: Option<&Arc<str>>,
        circuit: &Arc<Circuit>,
        after: Option<CancellationToken>,
    ) -> Running {
        let lane = Lane {
            task: Arc::clone(&spec.name),
            form: form.cloned(),
        };
        let seed = self.inner.parts.seed ^ u64::from(crc32fast::hash(lane.form().as_bytes()));
        let cell = Arc::new(Cell::new(&lane));
        let orders = watch::Sender::new(order_of(spec));
        let ended = CancellationToken::new();
        let life = Life {
            lane,
            incarnation: spec.incarnation,
        };
        let made = self.make(&life, spec, cell.notes());
        let running = Running {
            orders: orders.clone(),
            ended: ended.clone(),
            cell: Arc::clone(&cell),
        };
        match made {
            Ok((kind, sink)) => {
                let pump = Pump::new(
                    self.inner.shared.clone(),
                    life,
                    (kind, sink),
                    crate::pump::Outside {
                        on_poison: spec.on_poison,
                        circuit: Arc::clone(circuit),
                        backoff: Backoff::new(self.inner.shared.config.retry.clone(), seed),
                        orders,
                        cell,
                    },
                );
                self.inner.tracker.spawn(async move {
                    // Says so also when the pump panics: a successor must not wait for ever.
                    let _ended = ended.drop_guard();
                    if let Some(after) = after {
                        after.cancelled().await;
                    }
                    pump.run().await;
                });
            }
            Err(why) => {
                tracing::error!(task = %spec.name, error = %why, "lane cannot begin");
                cell.set_error(&why, (self.inner.parts.now_ms)());
                cell.set_state(LaneState::Stopped);
                match after {
                    Some(after) => drop(self.inner.tracker.spawn(async move {
                        let _ended = ended.drop_guard();
                        after.cancelled().await;
                    })),
                    None => ended.cancel(),
                }
            }
        }
        running
    }

    fn make(
        &self,
        life: &Life,
        spec: &TaskSpec,
        notes: &Notes,
    ) -> Result<(SinkKind, Box<dyn crate::sink::Sink>), String> {
        if let Some(why) = &spec.unfit {
            return Err(why.as_ref().to_owned());
        }
        let SinkSpec { name, settings } = &spec.sink;
        let kind = self.inner.parts.sinks.get(name);
        let kind = kind.ok_or_else(|| format!("there is no sink called {name:?}"))?;
        Ok((kind.clone(), kind.make(life, settings, notes)?))
    }

    /// What this node lacks to serve every task that is not paused, in words: the first of it.
    pub async fn lacks(&self) -> Option<String> {
        let specs: Vec<TaskSpec> = {
            let tasks = &self.inner.tasks;
            let running = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            running.values().map(|task| task.spec.clone()).collect()
        };
        for spec in specs.iter().filter(|spec| !spec.is_paused) {
            if let Some(why) = &spec.unfit {
                return Some(format!("task {}: {why}", spec.name));
            }
            if let Some(kind) = self.inner.parts.sinks.get(&spec.sink.name)
                && let Some(words) = kind.lacks(&spec.sink.settings).await
            {
                return Some(format!("task {}: {words}", spec.name));
            }
        }
        None
    }

    /// How every task is doing, by name; also brings the gauges up to date.
    pub async fn status(&self) -> Vec<TaskStatus> {
        let tasks: Vec<(TaskSpec, Vec<Arc<Cell>>)> = {
            let running = self
                .inner
                .tasks
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            running
                .values()
                .map(|task| {
                    let cells = task
                        .lanes
                        .values()
                        .map(|lane| Arc::clone(&lane.cell))
                        .collect();
                    (task.spec.clone(), cells)
                })
                .collect()
        };
        let now_ms = (self.inner.parts.now_ms)();
        let mut all = Vec::with_capacity(tasks.len());
        for (spec, cells) in tasks {
            let mut lanes = Vec::with_capacity(cells.len());
            for cell in cells {
                lanes.push(self.lane_status(&spec, &cell, now_ms).await);
            }
            let status = sum(&spec.name, spec.incarnation, &spec.sink.name, lanes);
            self.inner.parts.metrics.status(&status);
            all.push(status);
        }
        all
    }

    async fn lane_status(
        &self,
        spec: &TaskSpec,
        cell: &Cell,
        now_ms: u64,
    ) -> crate::status::LaneStatus {
        let mut status = cell.get();
        let lane = Lane {
            task: Arc::clone(&spec.name),
            form: (&*status.form != "*").then(|| Arc::clone(&status.form)),
        };
        let feed = &self.inner.parts.feed;
        let after = match status.position {
            Some(position) => Ok(position),
            None => feed.standing(&lane).await.map(|standing| standing.position),
        };
        let behind = match after {
            Ok(after) => feed.behind(&lane, after).await,
            Err(error) => Err(error),
        };
        // A log that cannot be read now is not a log that is delivered.
        let behind = behind.map_or_else(|_| cell.last_behind(), |behind| cell.note_behind(behind));
        status.lag_records = behind.records;
        status.lag_bytes = behind.bytes;
        status.seq = behind.head_seq.saturating_sub(behind.records);
        status.oldest_age_ms = behind
            .oldest_received_at_ms
            .map(|then| now_ms.saturating_sub(then));
        status
    }
}

fn order_of(spec: &TaskSpec) -> Order {
    if spec.is_paused {
        Order::Pause
    } else {
        Order::Run
    }
}

impl Running {
    fn order(&self, order: Order) {
        self.orders.send_if_modified(|present| {
            let is_new = *present != order;
            *present = order;
            is_new
        });
    }

    fn drop_it(&self) {
        self.order(Order::Drop);
    }
}
