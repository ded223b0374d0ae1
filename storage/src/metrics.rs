//! What this room tells operators: names, and one sentence each.
//!
//! Holds: telling never decides anything. A name is declared here or nowhere.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::outcome::SlotOutcome;

/// The log's numbers. Clones count into the same ones.
#[derive(Clone, Debug)]
pub struct WalMetrics {
    pub(crate) entries: Counter,
    pub(crate) bytes: Counter,
    pub(crate) batches: Counter,
    pub(crate) batch_bytes: Histogram,
    pub(crate) sync_seconds: Histogram,
    pub(crate) queue_bytes: Gauge,
    pub(crate) cache_bytes: Gauge,
    pub(crate) segments: Gauge,
    pub(crate) disk_reads: Counter,
    pub(crate) poisoned: Gauge,
    pub(crate) damaged: Counter,
    pub(crate) full: Gauge,
}

impl Default for WalMetrics {
    fn default() -> Self {
        Self {
            entries: Counter::default(),
            bytes: Counter::default(),
            batches: Counter::default(),
            batch_bytes: Histogram::new(exponential_buckets(4096.0, 2.0, 12)),
            sync_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            queue_bytes: Gauge::default(),
            cache_bytes: Gauge::default(),
            segments: Gauge::default(),
            disk_reads: Counter::default(),
            poisoned: Gauge::default(),
            damaged: Counter::default(),
            full: Gauge::default(),
        }
    }
}

impl WalMetrics {
    /// Declares them. The registry adds `_total` to counters.
    pub fn register(&self, registry: &mut Registry) {
        let wal = registry.sub_registry_with_prefix("formspool_wal");
        wal.register(
            "entries",
            "Entries written to the log",
            self.entries.clone(),
        );
        wal.register(
            "bytes",
            "Bytes written to the log, padding included",
            self.bytes.clone(),
        );
        wal.register(
            "batches",
            "Batches written: one write each",
            self.batches.clone(),
        );
        wal.register("batch_bytes", "Length of a batch", self.batch_bytes.clone());
        wal.register(
            "sync_seconds",
            "Duration of a sync",
            self.sync_seconds.clone(),
        );
        wal.register(
            "queue_bytes",
            "Bytes waiting for the writer",
            self.queue_bytes.clone(),
        );
        wal.register(
            "cache_bytes",
            "Bytes of recent entries in memory",
            self.cache_bytes.clone(),
        );
        wal.register("segments", "Files of the log", self.segments.clone());
        wal.register(
            "disk_reads",
            "Reads that memory could not serve",
            self.disk_reads.clone(),
        );
        wal.register(
            "poisoned",
            "1 after a failed write or sync",
            self.poisoned.clone(),
        );
        wal.register(
            "damaged",
            "Segments found damaged since the start",
            self.damaged.clone(),
        );
        wal.register(
            "full",
            "1 while there is no room on the disk for more segments",
            self.full.clone(),
        );
    }
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Answer {
    Accepted,
    Withheld,
    Duplicate,
    KeyReused,
    FormRetired,
    FormUnknown,
    KeysFull,
}

/// The label of [`StateMetrics::submissions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Answered {
    pub(crate) answer: Answer,
}

/// The state's numbers. Clones count into the same ones.
#[derive(Clone, Debug, Default)]
pub struct StateMetrics {
    pub(crate) applied_index: Gauge,
    pub(crate) rows: Gauge,
    pub(crate) key_bytes: Gauge,
    pub(crate) time_ms: Gauge,
    pub(crate) submissions: Family<Answered, Counter>,
}

impl StateMetrics {
    /// Declares them. The registry adds `_total` to counters.
    pub fn register(&self, registry: &mut Registry) {
        let state = registry.sub_registry_with_prefix("formspool_state");
        let applied = self.applied_index.clone();
        state.register("applied_index", "The last entry applied", applied);
        state.register("rows", "Rows that the state consists of", self.rows.clone());
        state.register(
            "key_bytes",
            "Room that idempotency keys take",
            self.key_bytes.clone(),
        );
        state.register(
            "time_ms",
            "Replicated time since the first tick",
            self.time_ms.clone(),
        );
        let submissions = self.submissions.clone();
        state.register(
            "submissions",
            "Submissions in applied packs, by answer",
            submissions,
        );
    }

    /// Counts the answers of a pack.
    pub(crate) fn count(&self, slots: &[SlotOutcome]) {
        for slots in slots.chunk_by(|one, next| Answer::of(one) == Answer::of(next)) {
            let Some(slot) = slots.first() else { continue };
            let label = Answered {
                answer: Answer::of(slot),
            };
            self.submissions
                .get_or_create(&label)
                .inc_by(slots.len() as u64);
        }
    }
}

impl Answer {
    const fn of(slot: &SlotOutcome) -> Self {
        match slot {
            SlotOutcome::Accepted { .. } => Self::Accepted,
            SlotOutcome::Withheld => Self::Withheld,
            SlotOutcome::Duplicate(_) => Self::Duplicate,
            SlotOutcome::KeyReused => Self::KeyReused,
            SlotOutcome::FormRetired => Self::FormRetired,
            SlotOutcome::FormUnknown => Self::FormUnknown,
            SlotOutcome::KeysFull => Self::KeysFull,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_told_with_a_sentence() {
        let mut registry = Registry::default();
        WalMetrics::default().register(&mut registry);
        let state = StateMetrics::default();
        state.register(&mut registry);
        state.count(&[SlotOutcome::Withheld, SlotOutcome::Withheld]);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert_eq!(
            17,
            text.lines()
                .filter(|line| line.starts_with("# HELP"))
                .count()
        );
        assert!(text.contains("formspool_wal_entries_total 0"), "{text}");
        let withheld = "formspool_state_submissions_total{answer=\"Withheld\"} 2";
        assert!(text.contains(withheld), "{text}");
    }
}
