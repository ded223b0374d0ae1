//! What people see of the destination: state in words, how long transactions take, what failed.
//!
//! Holds: telling never decides.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::json;

use super::audit::{self, Finding, Level};
use super::fault::Kind;
use super::session::Session;
use super::setup::Setup;
use crate::metrics::Metrics;
use crate::status::Notes;

/// Transactions that the shown times are drawn from.
const TIMES_MAX: usize = 256;

/// Between two tellings of what changes with every transaction.
const PACE: Duration = Duration::from_millis(250);

/// What is told of one task.
pub(super) struct Telling {
    notes: Notes,
    metrics: Metrics,
    task: String,
    control: String,
    transactional_id: String,
    state: String,
    times_ms: VecDeque<u64>,
    transactions: u64,
    aborts: BTreeMap<&'static str, u64>,
    fences: u64,
    epochs: u64,
    topics: serde_json::Value,
    alarm: Option<String>,
    audit: serde_json::Value,
    told: Option<Instant>,
    is_stale: bool,
}

impl Telling {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            notes: setup.notes.clone(),
            metrics: setup.metrics.clone(),
            task: setup.owner.task.clone(),
            control: setup.control.clone(),
            transactional_id: setup.transactional_id.clone(),
            state: String::new(),
            times_ms: VecDeque::new(),
            transactions: 0,
            aborts: BTreeMap::new(),
            fences: 0,
            epochs: 0,
            topics: serde_json::Value::Null,
            alarm: None,
            audit: serde_json::Value::Null,
            told: None,
            is_stale: false,
        }
    }

    pub(super) fn state(&mut self, state: &str) {
        let is_news = self.state != state;
        state.clone_into(&mut self.state);
        let is_busy = matches!(state, "open" | "delivering");
        if is_news && (!is_busy || self.told.is_none_or(|told| PACE <= told.elapsed())) {
            self.tell();
        } else {
            self.is_stale |= is_news;
        }
    }

    /// Nothing is to do: tells what was too quick to be told.
    pub(super) fn rest(&mut self) {
        if self.is_stale {
            self.tell();
        }
    }

    /// Something that a person must see, whatever comes after it.
    pub(super) fn alarm(&mut self, words: &str) {
        self.alarm = Some(words.to_owned());
        self.tell();
    }

    pub(super) fn audited(&mut self, findings: &[Finding]) {
        let levels = [Level::Red, Level::Amber, Level::Unknown, Level::Green];
        let counts = levels.map(|level| audit::count(findings, level));
        self.metrics.kafka_audited(&self.task, counts);
        self.audit = audit::told(findings);
        self.tell();
    }

    pub(super) fn not_audited(&mut self, why: &str) {
        self.audit = json!({ "failed": why });
        self.tell();
    }

    /// A producer has fenced all older ones.
    pub(super) fn fenced(&mut self) {
        self.epochs += 1;
        self.is_stale = true;
    }

    pub(super) fn at(&mut self, session: &Session) {
        self.topics = json!(session.rest.marks);
    }

    pub(super) fn committed(&mut self, took: Duration) {
        self.transactions += 1;
        if self.times_ms.len() == TIMES_MAX {
            self.times_ms.pop_front();
        }
        self.times_ms
            .push_back(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        self.metrics.kafka_committed(&self.task, took.as_secs_f64());
    }

    pub(super) fn failed(&mut self, kind: Kind) {
        *self.aborts.entry(kind.label()).or_default() += 1;
        self.metrics.kafka_aborted(&self.task, kind.label());
        if kind == Kind::Fenced {
            self.fences += 1;
            self.metrics.kafka_fenced(&self.task);
        }
    }

    pub(super) fn tell(&mut self) {
        self.told = Some(Instant::now());
        self.is_stale = false;
        let mut sorted: Vec<u64> = self.times_ms.iter().copied().collect();
        sorted.sort_unstable();
        let p99 = sorted.get(sorted.len().saturating_sub(1) * 99 / 100);
        self.notes.set(json!({
            "state": self.state,
            "alarm": self.alarm,
            "transactional_id": self.transactional_id,
            "control_topic": self.control,
            "transactions": self.transactions,
            "transaction_ms": { "last": self.times_ms.back(), "p99": p99 },
            "aborts": self.aborts,
            "fences": self.fences,
            "epochs": self.epochs,
            "topics": self.topics,
            "audit": self.audit,
            "consumers": "enable.auto.commit=false, isolation.level=read_committed",
        }));
    }
}
