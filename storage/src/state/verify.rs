//! Are the rows whole? What a start asks before it trusts rows that nobody closed.
//!
//! Why it is asked at all: the store replays its own journal, and what a crash leaves of that is
//! exactly the state after some entry. But a bit that has rotted in a sealed part of the journal
//! gives a hole without a word: rows are missing in the middle, and what is applied reads as if they
//! were there. Only the count and the sum of all rows show it.
//!
//! Why not all of it before the doors open: a million rows take seconds, and such a start happens
//! after every kill. So it is done in two parts:
//!
//! - The core tables (facts, members, forms, heads, sessions, tasks, cursors, tokens) have a sum of
//!   their own and are read at once: they are few, and every answer rests on them. No seq is given
//!   twice, no pack taken twice and no cursor believed by rows that were not looked at.
//! - The rest (places, keys, parked records) is read beside the running node, from a snapshot of what
//!   was found. If it does not fit, a mark is left that makes the next start build the state anew,
//!   and the node stops. Until then a hole among the keys may take a retry for a new submission, and
//!   a hole among the places is an error to whoever reads there: it takes rot in the seconds of
//!   journal before a kill, and is noticed within seconds of the start.
//!
//! Holds: the word of an orderly end is left only for rows that were looked at to the end, so what
//! was not finished is done again.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::digests::{Applied, Tally};
use super::home::Home;
use super::open::{PROGRESS_STEP, Phase, Progress};
use super::{keys, view};
use crate::error::Error;
use crate::rows::{KeyRange, Read, Side};

/// Told once, with the reason, that the rows are not whole.
pub type OnDoubt = Box<dyn FnOnce(String) + Send>;

/// Compares the rows of the core tables with what `applied` says about them.
pub(super) fn core(
    rows: &dyn Read,
    applied: &Applied,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), String> {
    let mut found = Tally::default();
    let tables = (0..u8::MAX).filter(|table| keys::is_core(*table));
    for table in tables {
        let range = KeyRange::prefix(vec![table]);
        tally(rows, &range, &mut found, &mut |_| ControlFlow::Continue(()))
            .map_err(|error| error.to_string())?;
    }
    progress(Progress {
        phase: Phase::Verify,
        done: found.core_count,
        total: applied.tally.core_count,
    });
    let is = (found.core_count, found.core);
    compare(is, (applied.tally.core_count, applied.tally.core))
}

fn compare<T: Copy + PartialEq>(is: (u64, T), should_be: (u64, T)) -> Result<(), String> {
    if is.0 != should_be.0 {
        return Err(format!(
            "there are {} rows and should be {}",
            is.0, should_be.0
        ));
    }
    if is.1 != should_be.1 {
        return Err("the digest does not fit the rows".to_owned());
    }
    Ok(())
}

/// Adds the rows of `range`; `each` hears of every few thousand.
fn tally(
    rows: &dyn Read,
    range: &KeyRange,
    found: &mut Tally,
    each: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<(), Error> {
    rows.scan(range, Side::First, &mut |key, value| {
        found.add(key, value);
        Ok(if found.row_count.is_multiple_of(PROGRESS_STEP) {
            each(found.row_count)
        } else {
            ControlFlow::Continue(())
        })
    })
}

/// The look at all rows, beside the running node.
#[derive(Default)]
pub(super) struct Verifier {
    /// What is to be looked at, until somebody begins.
    snapshot: Option<Box<dyn Read>>,
    is_doubtful: Arc<AtomicBool>,
    cancel: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Verifier {
    /// Of rows that may have holes.
    pub(super) fn of(snapshot: Box<dyn Read>) -> Self {
        Self {
            snapshot: Some(snapshot),
            is_doubtful: Arc::new(AtomicBool::new(true)),
            cancel: Arc::default(),
            thread: None,
        }
    }

    /// Begins, if there is something to look at. Where no thread can be had, it is done here.
    pub(super) fn begin(&mut self, home: Option<Home>, on_doubt: OnDoubt) {
        let Some(snapshot) = self.snapshot.take() else {
            return;
        };
        let (is_doubtful, cancel) = (Arc::clone(&self.is_doubtful), Arc::clone(&self.cancel));
        let look = move || {
            let began = Instant::now();
            match all(&*snapshot, &cancel) {
                Ok(Some(rows)) => {
                    is_doubtful.store(false, Ordering::Release);
                    let elapsed_ms = began.elapsed().as_millis();
                    tracing::info!(rows, elapsed_ms, "the state's rows are whole");
                }
                Ok(None) => {}
                Err(why) => {
                    if let Some(Err(error)) = home.map(|home| home.leave_doubt(&why)) {
                        // The next start looks at all rows again, and comes to the same end.
                        tracing::error!(%error, "cannot leave word of a damaged state");
                    }
                    on_doubt(why);
                }
            }
        };
        if crate::simulation::is_on() {
            return look();
        }
        let thread = std::thread::Builder::new().name("verify".to_owned());
        match thread.spawn(look) {
            Ok(thread) => self.thread = Some(thread),
            Err(error) => tracing::warn!(%error, "the state's rows are not looked at"),
        }
    }

    /// Ends the look. Whether the rows are known to be whole.
    pub(super) fn end(&mut self) -> bool {
        self.snapshot = None;
        self.cancel.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        !self.is_doubtful.load(Ordering::Acquire)
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.end();
    }
}

/// How many rows there are, all of them whole; `None`: it was broken off.
fn all(rows: &dyn Read, cancel: &AtomicBool) -> Result<Option<u64>, String> {
    let applied = view::load::<Applied>(rows, &keys::meta_applied(), "what is applied");
    let applied = applied
        .map_err(|error| error.to_string())?
        .unwrap_or_default();
    let range = KeyRange {
        start: vec![keys::META + 1],
        end: vec![u8::MAX],
    };
    let mut found = Tally::default();
    let mut is_cut = false;
    let scanned = tally(rows, &range, &mut found, &mut |_| {
        is_cut = cancel.load(Ordering::Acquire);
        if is_cut {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    scanned.map_err(|error| error.to_string())?;
    if is_cut {
        return Ok(None);
    }
    compare(
        (found.row_count, found),
        (applied.tally.row_count, applied.tally),
    )?;
    Ok(Some(found.row_count))
}
