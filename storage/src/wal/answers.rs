//! Telling callers what became of their calls, in their order.
//!
//! Holds: a few answers are given by the writer itself, which costs nobody a wake-up; many are given
//! by a thread of their own while the next batch is on its way to the disk. While that thread has
//! any left, all others go through it too, so the order of the calls is kept.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use super::batch::Batch;
use super::core::Core;
use super::queue::{Call, Reply};
use crate::error::Error;

/// Calls of one batch that the writer answers itself: to wake the other thread takes as long as about so many
/// answers do.
const HERE_MAX: usize = 128;
/// Batches whose answers wait; then the writer does too.
const BATCHES_MAX: usize = 4;

/// What became of a batch.
#[derive(Clone)]
pub(super) enum Verdict {
    /// As durable as the policy says.
    Written,
    /// It may be on the disk or not.
    Failed(Arc<str>),
    /// It was not written: the log had stopped for good.
    Poisoned(Arc<str>),
    /// It was not written: the log was closed.
    Closed,
}

struct Lot {
    calls: Vec<Call>,
    has_earlier_part: bool,
    verdict: Verdict,
}

pub(super) struct Answerer {
    core: Arc<Core>,
    lots: Option<SyncSender<Lot>>,
    outstanding: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// Poisons the log if a caller's `done` panics: nobody would answer the others.
struct PanicGuard(Weak<Core>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(core) = self.0.upgrade()
        {
            core.poison.set("answering a caller of the log panicked");
        }
    }
}

impl Answerer {
    pub(super) fn spawn(core: &Arc<Core>) -> io::Result<Self> {
        let (lots, inbox) = sync_channel::<Lot>(BATCHES_MAX);
        let outstanding = Arc::new(AtomicUsize::new(0));
        let guard = PanicGuard(Arc::downgrade(core));
        let count = Arc::clone(&outstanding);
        let thread = std::thread::Builder::new()
            .name("wal-answers".to_owned())
            .spawn(move || {
                for lot in inbox {
                    lot.tell();
                    count.fetch_sub(1, Ordering::Release);
                }
                drop(guard);
            })?;
        core.own(thread.thread().id());
        Ok(Self {
            core: Arc::clone(core),
            lots: Some(lots),
            outstanding,
            thread: Some(thread),
        })
    }

    /// Without the thread: all answers are given by whoever writes.
    #[cfg(feature = "testing")]
    pub(super) fn here(core: &Arc<Core>) -> Self {
        Self {
            core: Arc::clone(core),
            lots: None,
            outstanding: Arc::default(),
            thread: None,
        }
    }

    /// Answers the calls of a batch; gives it back, to be filled again.
    pub(super) fn answer(&mut self, mut batch: Batch, verdict: &Verdict) -> Batch {
        if 0 < batch.cost {
            // It was not written: that would have made the room.
            self.core.release(self.core.state(), &mut batch);
        }
        let lot = Lot {
            calls: std::mem::take(&mut batch.calls),
            has_earlier_part: batch.has_earlier_part,
            verdict: verdict.clone(),
        };
        let is_short = lot.calls.len() <= HERE_MAX;
        let is_for_here = is_short && self.outstanding.load(Ordering::Acquire) == 0;
        match &self.lots {
            Some(lots) if !is_for_here => {
                self.outstanding.fetch_add(1, Ordering::AcqRel);
                // Only a panic ends that thread early; then the replies speak as they are dropped.
                drop(lots.send(lot));
            }
            Some(_) | None => lot.tell(),
        }
        batch.clear(0);
        batch
    }

    /// Broken on purpose: tells everybody before anything is written.
    pub(super) fn answer_early(batch: &mut Batch) {
        for call in std::mem::take(&mut batch.calls) {
            call.reply.send(Ok(()));
            batch.calls.push(Call {
                reply: Reply::new(Box::new(drop)),
                is_refused: false,
            });
        }
    }

    /// Waits until everybody is told.
    pub(super) fn join(&mut self) {
        self.lots = None;
        // It panicked: its guard has told.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl Lot {
    fn tell(self) {
        let Self {
            calls,
            mut has_earlier_part,
            verdict,
        } = self;
        for call in calls {
            let was_begun = std::mem::take(&mut has_earlier_part);
            call.reply.send(verdict.of(call.is_refused, was_begun));
        }
    }
}

impl Verdict {
    /// `was_begun`: the call's first records were in the batch before.
    fn of(&self, is_refused: bool, was_begun: bool) -> Result<(), Error> {
        let unknown = |reason| Err(Error::Unknown { reason });
        match self {
            Self::Poisoned(reason) if was_begun => unknown(Arc::clone(reason)),
            Self::Closed if was_begun => unknown(Arc::from("the log was closed within it")),
            Self::Poisoned(reason) => Err(Error::Poisoned {
                reason: Arc::clone(reason),
            }),
            Self::Failed(reason) if !is_refused => unknown(Arc::clone(reason)),
            Self::Written if !is_refused => Ok(()),
            Self::Closed | Self::Failed(_) | Self::Written => Err(Error::Closed),
        }
    }
}
