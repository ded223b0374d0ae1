//! What this room tells a scraper: every name once, each with its sentence.
//!
//! Holds: nothing is decided by these numbers; a clone counts into the same ones.

use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use storage::{Index, Term};

/// The numbers of one node.
#[derive(Clone, Debug)]
pub struct Metrics {
    applied_index: Gauge,
    term: Gauge,
    is_leader: Gauge,
    apply_seconds: Histogram,
    propose_seconds: Histogram,
    unknown: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        // 50 us, an entry from memory, doubled up to 1.6 s, a disk that hangs.
        let buckets = || Histogram::new(exponential_buckets(0.000_05, 2.0, 16));
        Self {
            applied_index: Gauge::default(),
            term: Gauge::default(),
            is_leader: Gauge::default(),
            apply_seconds: buckets(),
            propose_seconds: buckets(),
            unknown: Counter::default(),
        }
    }
}

impl Metrics {
    /// Declares them. The registry adds `_total` to counters.
    pub fn register(&self, registry: &mut Registry) {
        let raft = registry.sub_registry_with_prefix("formspool_raft");
        raft.register(
            "applied_index",
            "Last entry applied here",
            self.applied_index.clone(),
        );
        raft.register("term", "Raft era that this node is in", self.term.clone());
        raft.register(
            "is_leader",
            "1 while this node leads",
            self.is_leader.clone(),
        );
        raft.register(
            "apply_seconds",
            "Time to apply an entry",
            self.apply_seconds.clone(),
        );
        raft.register(
            "propose_seconds",
            "Time from a command's proposal to its outcome",
            self.propose_seconds.clone(),
        );
        raft.register(
            "outcomes_unknown",
            "Commands whose outcome this node could not tell",
            self.unknown.clone(),
        );
    }

    pub(crate) fn applying<T>(&self, apply: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = apply();
        self.apply_seconds.observe(start.elapsed().as_secs_f64());
        result
    }

    pub(crate) fn applied(&self, index: Index) {
        self.applied_index.set(gauge(index.0));
    }

    pub(crate) fn proposed(&self, elapsed: Duration) {
        self.propose_seconds.observe(elapsed.as_secs_f64());
    }

    pub(crate) fn unknown(&self) {
        self.unknown.inc();
    }

    pub(crate) fn leads(&self, term: Term, is_leader: bool) {
        self.term.set(gauge(term.0));
        self.is_leader.set(i64::from(is_leader));
    }
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_told_with_a_sentence() {
        let mut registry = Registry::default();
        let metrics = Metrics::default();
        metrics.unknown();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert_eq!(
            6,
            text.lines()
                .filter(|line| line.starts_with("# HELP"))
                .count()
        );
        assert!(
            text.contains("formspool_raft_outcomes_unknown_total 1"),
            "{text}"
        );
    }
}
