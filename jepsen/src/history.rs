//! The history: what was sent, and what was answered, in the order in which it happened.
//!
//! Holds: append-only; an answer stands after the invocation that it answers.
//! Three outcomes, never mixed up:
//! - `Ok`: the promise was given. It must be there, once.
//! - `Refused` (or never sent; 4xx, and 507: the disk is full): it must be in no reader's sight.
//! - `Unknown` (no answer, 5xx): it may be there once or not at all, never twice.
//!
//! A timeout is never taken for a refusal.

use std::collections::BTreeMap;
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
    /// By the tester, on every node's disk: from here on nothing was promised about it.
    Destroyed,
}

impl What {
    /// The receipt that it must be.
    pub(crate) fn receipt(self, name: &str) -> anyhow::Result<Receipt> {
        match self {
            Self::Ok(receipt) => Ok(receipt),
            Self::Invoke { .. }
            | Self::Refused(_)
            | Self::NotSent
            | Self::Unknown
            | Self::Destroyed => {
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
        let at = self.now();
        events.push(Event { at, marker, what });
    }

    /// How many events there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// What was noted since `from`.
    pub(crate) fn since(&self, from: usize) -> Vec<Event> {
        self.lock().get(from..).unwrap_or_default().to_vec()
    }

    /// The history as a power cut at this moment ends it: what has no answer never gets one.
    /// Both go on from here by themselves, and no marker is given out twice.
    pub(crate) fn cut(&self) -> Self {
        let mut events = self.since(0);
        let mut under_way = BTreeMap::new();
        for event in &events {
            let count = under_way.entry(event.marker).or_insert(0_i64);
            *count += match event.what {
                What::Invoke { .. } => 1,
                What::Ok(_) | What::Refused(_) | What::NotSent | What::Unknown => -1,
                What::Destroyed => 0,
            };
        }
        let (at, what) = (self.now(), What::Unknown);
        for (marker, count) in under_way {
            events.extend((0..count).map(|_| Event { at, marker, what }));
        }
        Self {
            started: self.started,
            events: Arc::new(Mutex::new(events)),
            markers: Arc::clone(&self.markers),
        }
    }

    /// Nanoseconds since the run began.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
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

#[cfg(test)]
mod tests {
    use super::{History, What};
    use crate::checker::accounts::{Accounts, Duty};
    use crate::form::{Bodies, Form};

    #[test]
    fn a_cut_leaves_in_doubt_what_has_no_answer_and_goes_on_alone() {
        let (history, bodies) = (History::new(), Bodies { nonce: 1 });
        for marker in 0..3 {
            assert_eq!(history.next_marker(), marker);
            history.invoke(0, &bodies.submission(Form::Free, marker, None));
        }
        history.push(0, What::Refused(507));
        history.push(1, What::Unknown);
        // Posted again, and not answered yet.
        history.invoke(0, &bodies.submission(Form::Free, 1, None));
        let cut = history.cut();
        let duties = |history: &History| {
            let accounts = Accounts::of(&history.since(0));
            accounts
                .iter()
                .map(|account| (account.duty(), account.unknown))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            duties(&cut),
            [(Duty::Never, 0), (Duty::May, 2), (Duty::May, 1)]
        );
        cut.push(2, What::Refused(422));
        assert_eq!(
            duties(&history),
            [(Duty::Never, 0), (Duty::May, 1), (Duty::Never, 0)]
        );
        assert_eq!((cut.next_marker(), history.next_marker()), (3, 4));
    }
}
