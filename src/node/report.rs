//! How a node tells about itself: progress of a long start, and `GET /v1/status`.
//!
//! Holds: telling never decides; what is told may be a moment old.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use storage::{Health, Opened, Phase, Progress, Shortage, StateView, SyncLatency};
use tracing::{info, warn};

use super::banner::durability_in_words;
use super::cluster;
use super::ready::Readiness;
use super::tasks::Overview;
use crate::forms::Registry;
use crate::retention::Retention;

/// A start that takes longer tells how far it is, this often.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// Tells how far a long start is: in the log, and what it waits for at `/readyz`.
pub(super) fn progress(ready: Readiness) -> impl FnMut(raft::Progress) + Send + 'static {
    let mut told = Instant::now();
    move |step| {
        let Progress { phase, done, total } = match step {
            raft::Progress::Storage(step) => step,
            raft::Progress::Waiting(words) => {
                info!(words, "not started yet");
                ready.starting(words);
                return;
            }
        };
        if told.elapsed() < TELL_AGAIN {
            return;
        }
        told = Instant::now();
        let percent = done.saturating_mul(100) / total.max(1);
        match phase {
            Phase::Verify => info!(done, total, percent, "checking the state's rows"),
            Phase::Rebuild => info!(done, total, percent, "rebuilding the state from the log"),
        }
    }
}

/// What became of the state, if it was not simply kept.
pub(super) fn opened(opened: &Opened) -> Option<String> {
    match opened {
        Opened::Fresh | Opened::Kept => None,
        Opened::Rebuilt {
            why,
            is_expected: _,
            base,
            set_aside,
            entries,
        } => {
            let aside = set_aside.as_ref().map_or_else(String::new, |path| {
                format!("; the old one lies in {}", path.display())
            });
            let from = base.map_or_else(String::new, |index| format!("checkpoint {index} and "));
            Some(format!(
                "rebuilt from {from}the log, {entries} entries: {why}{aside}"
            ))
        }
    }
}

/// What a full disk means, and what to do.
pub(super) fn shortage_in_words(shortage: &Shortage) -> String {
    let mib = |bytes: u64| bytes >> 20;
    format!(
        "disk full for {} s: the volume of the log has {} MiB left and needs {} MiB; submissions \
         are refused until there is room, nothing that was acknowledged is touched",
        shortage.since.elapsed().as_secs(),
        mib(shortage.free_bytes),
        mib(shortage.needed_bytes).max(1),
    )
}

/// Where a status is read from.
pub(super) struct Report {
    pub(super) raft: raft::Node,
    pub(super) registry: Registry,
    pub(super) overview: Overview,
    pub(super) retention: Retention,
    pub(super) sync: Option<SyncLatency>,
}

impl Report {
    /// The body of `GET /v1/status`.
    pub(super) fn status(&self) -> Value {
        let wal = self.raft.wal();
        let health = match wal.health() {
            Health::Ok => "ok".to_owned(),
            Health::Full(shortage) => shortage_in_words(&shortage),
            Health::Poisoned(why) => format!("stopped for good: {why}"),
        };
        let policy = wal.policy();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "node": cluster::node(&self.raft),
            "durability": {
                "policy": policy.to_string(),
                "words": durability_in_words(policy, self.sync),
                "sync_us_p50": self.sync.map(|sync| sync.p50.as_micros()),
                "sync_us_p99": self.sync.map(|sync| sync.p99.as_micros()),
            },
            "wal": {
                "health": health,
                "first": wal.first(),
                "last": wal.last().map(|last| last.index),
                "bytes": wal.segments().iter().map(|segment| segment.bytes).sum::<u64>(),
                "segments": wal.segments().len(),
                "write_mode": wal.write_mode().to_string(),
                "damage": wal.findings().iter().map(ToString::to_string).collect::<Vec<_>>(),
                "scrubbed": json!({
                    "rounds": wal.scrubbed().rounds,
                    "bytes": wal.scrubbed().bytes,
                }),
            },
            "forms": self.registry.list(),
            "tasks": self.overview.tasks(),
            "state": self.state(),
            "retention": self.retention.report(),
        })
    }

    fn state(&self) -> Value {
        let view = self.raft.view();
        let digests = view.digests();
        let facts = || -> Result<Value, storage::Error> {
            Ok(json!({
                "applied": digests.index,
                "rows": view.row_count(),
                "rows_digest": format!("{:032x}", digests.rows),
                "log_digest": format!("{:032x}", u128::from_be_bytes(digests.log)),
                "time_ms": view.state_time()?,
                "keys_bytes": view.keys_bytes()?,
                "keys_bytes_max": StateView::KEYS_BYTES_MAX,
                "disk_bytes": view.disk_bytes(),
                "level": view.level()?,
                "horizon": view.horizon()?,
            }))
        };
        facts().unwrap_or_else(|error| {
            warn!(%error, "cannot read the state's own numbers");
            Value::Null
        })
    }
}
