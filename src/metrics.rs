//! The numbers of this process, and the one registry of all rooms'.
//!
//! Holds: each room names its own numbers in its own `metrics.rs`; the names of this one are here
//! and nowhere else. Labels come from closed sets (routes of the table, status codes, names of
//! refusals), so a client cannot make a series.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use storage::StateView;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// What the door answered to submissions. A clone counts into the same numbers.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    accepted: Counter,
    rejected: Family<Reason, Counter>,
}

impl Answered {
    /// Counts one answer: `Err` is the name of a refusal.
    pub fn count(&self, answer: Result<(), &'static str>) {
        match answer {
            Ok(()) => self.accepted.inc(),
            Err(reason) => self.rejected.get_or_create(&Reason { reason }).inc(),
        };
    }

    /// Lets the numbers be read.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "formspool_ingest_accepted",
            "Submissions answered by a receipt, repeated ones too",
            self.accepted.clone(),
        );
        registry.register(
            "formspool_ingest_rejected",
            "Submissions answered by a refusal, by its reason",
            self.rejected.clone(),
        );
    }
}

/// All numbers of a node. A clone counts into the same ones.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    requests: Family<Answer, Counter>,
    seconds: Family<Route, Histogram>,
    resident_bytes: Gauge,
    open_files: Gauge,
    view: Arc<OnceLock<StateView>>,
    state_bytes: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Arc::default(),
            requests: Family::default(),
            // 0.25 ms, a fast disk's sync, doubled up to 8 s, when nobody waits any more.
            seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
            }),
            resident_bytes: Gauge::default(),
            open_files: Gauge::default(),
            view: Arc::default(),
            state_bytes: Gauge::default(),
        };
        metrics.register_own();
        metrics
    }
}

impl Metrics {
    /// Lets another room register its numbers, under the names that it gives in full.
    pub fn with(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// From here on the state's size is told too. Before, a node that reads its log tells the rest.
    pub fn with_state(&self, view: StateView) {
        self.view.get_or_init(|| view);
    }

    /// Counts an answer of the public listener.
    pub fn answered(&self, route: &'static str, status: u16, elapsed: Duration) {
        self.requests.get_or_create(&Answer { route, status }).inc();
        self.seconds
            .get_or_create(&Route { route })
            .observe(elapsed.as_secs_f64());
    }

    /// Everything, as Prometheus reads it. The gauges are of this moment.
    pub fn text(&self) -> String {
        self.resident_bytes.set(whole(resident_bytes()));
        self.open_files.set(whole(open_files()));
        self.state_bytes
            .set(whole(self.view.get().map_or(0, StateView::disk_bytes)));
        let mut text = String::new();
        self.with(|registry| {
            // Writing to a string cannot fail.
            encode(&mut text, registry).unwrap_or_default();
        });
        text
    }

    fn register_own(&self) {
        self.with(|registry| {
            let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
            registry.register("formspool_build", "Which release this is", version);
            registry.register(
                "formspool_http_requests",
                "Answers of the public listener by route and status",
                self.requests.clone(),
            );
            registry.register(
                "formspool_http_seconds",
                "Time from the end of a request's header to the end of its answer's, by route",
                self.seconds.clone(),
            );
            let gauges = [
                (
                    "formspool_process_resident_bytes",
                    "Resident memory",
                    &self.resident_bytes,
                ),
                (
                    "formspool_process_open_files",
                    "Open file descriptors",
                    &self.open_files,
                ),
                (
                    "formspool_state_disk_bytes",
                    "Room the state takes on disk",
                    &self.state_bytes,
                ),
            ];
            for (name, help, gauge) in gauges {
                registry.register(name, help, gauge.clone());
            }
        });
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok());
    let page = u64::try_from(rustix::param::page_size()).unwrap_or_default();
    pages.unwrap_or(0_u64) * page
}

fn open_files() -> u64 {
    let files = std::fs::read_dir("/proc/self/fd")
        .map(Iterator::count)
        .unwrap_or_default();
    u64::try_from(files).unwrap_or_default()
}
