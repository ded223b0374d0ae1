//! How a node tells about itself: progress of a long start, and `GET /v1/status`.
//!
//! Holds: telling never decides; what is told may be a moment old.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use storage::{Health, Opened, Phase, Progress, StateView, SyncLatency};
use tracing::{info, warn};

use super::banner::durability_in_words;
use super::tasks::Overview;
use crate::forms::Registry;

/// A start that takes longer tells how far it is, this often.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// Tells how far a long start is.
pub(super) fn progress() -> impl FnMut(Progress) + Send + 'static {
    let mut told = Instant::now();
    move |Progress { phase, done, total }| {
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
            set_aside,
            entries,
        } => {
            let aside = set_aside.as_ref().map_or_else(String::new, |path| {
                format!("; the old one lies in {}", path.display())
            });
            Some(format!(
                "rebuilt from the log, {entries} entries: {why}{aside}"
            ))
        }
    }
}

/// Where a status is read from.
pub(super) struct Report {
    pub(super) raft: raft::Node,
    pub(super) registry: Registry,
    pub(super) overview: Overview,
    pub(super) sync: SyncLatency,
}

impl Report {
    /// The body of `GET /v1/status`.
    pub(super) fn status(&self) -> Value {
        let wal = self.raft.wal();
        let health = match wal.health() {
            Health::Ok => "ok".to_owned(),
            Health::Poisoned(why) => format!("stopped for good: {why}"),
        };
        let policy = wal.policy();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "node": self.raft.status(),
            "durability": {
                "policy": policy.to_string(),
                "words": durability_in_words(policy, self.sync),
                "sync_us_p50": self.sync.p50.as_micros(),
                "sync_us_p99": self.sync.p99.as_micros(),
            },
            "wal": {
                "health": health,
                "first": wal.first(),
                "last": wal.last().map(|last| last.index),
                "bytes": wal.segments().iter().map(|segment| segment.bytes).sum::<u64>(),
                "segments": wal.segments().len(),
            },
            "forms": self.registry.list(),
            "tasks": self.overview.tasks(),
            "state": self.state(),
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
