//! The history: what was sent, and what was answered, in the order in which it happened.
//!
//! Holds: append-only; an answer stands after the invocation that it answers.
//! Three outcomes, never mixed up:
//! - `Ok`: the promise was given. It must be there, once.
//! - `Refused` (or never sent): it must be in no reader's sight.
//! - `Unknown` (no answer, 5xx): it may be there once or not at all, never twice.
//!
//! A timeout is never taken for a refusal.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::checker::digest::Digests;
use crate::form::{Form, Submission};

/// A receipt, packed small: a run holds a million of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) id: u128,
    /// `None`: withheld.
    pub(crate) seq: Option<u64>,
    /// The digits of the time stamp, read as one number: only compared.
    pub(crate) received_at: u64,
    pub(crate) index: u64,
    /// Digest of `durability` and `replicas`.
    pub(crate) terms: u64,
    pub(crate) is_duplicate: bool,
}

impl Receipt {
    /// Equal but for `duplicate`.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        Self {
            is_duplicate: false,
            ..*self
        } == Self {
            is_duplicate: false,
            ..*other
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Invoke {
        process: u32,
        form: Form,
        is_keyed: bool,
        digests: Digests,
    },
    Ok(Receipt),
    Refused(u16),
    /// It never left this machine: the connection could not be made.
    NotSent,
    Unknown,
}

impl What {
    /// The receipt that it must be.
    pub(crate) fn receipt(self, name: &str) -> anyhow::Result<Receipt> {
        match self {
            Self::Ok(receipt) => Ok(receipt),
            Self::Invoke { .. } | Self::Refused(_) | Self::NotSent | Self::Unknown => {
                anyhow::bail!("{name}: {self:?}")
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// Nanoseconds since the run began.
    pub(crate) at: u64,
    pub(crate) marker: u64,
    pub(crate) what: What,
}

/// Shared by all workers of a run.
#[derive(Clone, Debug)]
pub(crate) struct History {
    started: Instant,
    events: Arc<Mutex<Vec<Event>>>,
    markers: Arc<AtomicU64>,
}

impl History {
    pub(crate) fn new() -> Self {
        let started = Instant::now();
        Self {
            started,
            events: Arc::default(),
            markers: Arc::default(),
        }
    }

    /// A marker that nobody has.
    pub(crate) fn next_marker(&self) -> u64 {
        self.markers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn invoke(&self, process: u32, submission: &Submission) {
        let is_keyed = submission.key.is_some();
        let (form, digests) = (submission.form, submission.digests);
        self.push(
            submission.marker,
            What::Invoke {
                process,
                form,
                is_keyed,
                digests,
            },
        );
    }

    /// Notes an answer or its absence.
    pub(crate) fn push(&self, marker: u64, what: What) {
        let mut events = self.lock();
        // Stamped under the lock, so that the order of events is the order of their times.
        let at = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        events.push(Event { at, marker, what });
    }

    /// What was noted since `from`.
    pub(crate) fn since(&self, from: usize) -> Vec<Event> {
        self.lock().get(from..).unwrap_or_default().to_vec()
    }

    /// As text, one event a line: kept beside a run that failed.
    pub(crate) fn write(&self, path: &std::path::Path) -> std::io::Result<()> {
        let mut open = std::fs::OpenOptions::new();
        let file = open.create(true).truncate(true).write(true).open(path)?;
        let mut out = std::io::BufWriter::new(file);
        for event in self.since(0) {
            writeln!(out, "{} m{} {:?}", event.at, event.marker, event.what)?;
        }
        out.flush()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
