//! A job: submissions that go into one pack side by side, and who waits for their answers.
//!
//! Holds: exactly one of two decides about a job: the batcher, by taking it into a pack, or the
//! waiter, by withdrawing it. So one who stops waiting knows whether the outcome is unknown or the
//! submission was never proposed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use storage::{Index, Placed, SlotOutcome, Submission, Terms};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::receipt::Receipt;
use super::refused::Refused;
use super::submission::Stamp;
use crate::forms::Form;

/// What waits for a pack.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) submissions: Vec<Submission>,
    /// Of the bodies.
    pub(super) bytes: usize,
    pub(super) seat: Seat,
    decided: Arc<AtomicBool>,
}

/// Where a job's answers go.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) count: usize,
    /// When it began to wait.
    pub(super) since: Instant,
    reply: oneshot::Sender<Result<Answers, Refused>>,
    /// Room is given back when nothing of the job is left here.
    _room: OwnedSemaphorePermit,
}

/// The other end of a job.
#[derive(Debug)]
pub(super) struct Waiter {
    answer: oneshot::Receiver<Result<Answers, Refused>>,
    decided: Arc<AtomicBool>,
}

/// What `apply` said about a job's submissions, in their order.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) index: Index,
    pub(super) terms: Terms,
    pub(super) slots: Vec<SlotOutcome>,
}

impl Job {
    pub(super) fn new(submissions: Vec<Submission>, room: OwnedSemaphorePermit) -> (Self, Waiter) {
        let (reply, answer) = oneshot::channel();
        let decided = Arc::new(AtomicBool::new(false));
        let bytes = submissions
            .iter()
            .map(|submission| submission.body.len())
            .sum();
        let seat = Seat {
            count: submissions.len(),
            since: Instant::now(),
            reply,
            _room: room,
        };
        let waiter = Waiter {
            answer,
            decided: Arc::clone(&decided),
        };
        (
            Self {
                submissions,
                bytes,
                seat,
                decided,
            },
            waiter,
        )
    }

    /// Decides that the job goes into a pack; false: it was withdrawn.
    pub(super) fn take(&self) -> bool {
        !self.decided.swap(true, Ordering::AcqRel)
    }
}

impl Seat {
    /// Answers the job. One who waits no more misses nothing: a retry will find out.
    pub(super) fn answer(self, answer: Result<Answers, Refused>) {
        drop(self.reply.send(answer));
    }
}

impl Waiter {
    /// Waits for the answer, at most this long.
    pub(super) async fn wait(self, time_max: Duration) -> Result<Answers, Refused> {
        let Self { answer, decided } = self;
        let is_withdrawn = || !decided.swap(true, Ordering::AcqRel);
        match tokio::time::timeout(time_max, answer).await {
            Ok(Ok(answer)) => answer,
            // The batcher ended; what it had not taken is in no pack.
            Ok(Err(_dropped)) if is_withdrawn() => Err(Refused::Draining),
            Err(_elapsed) if is_withdrawn() => Err(Refused::NoQuorum),
            Ok(Err(_)) | Err(_) => Err(Refused::Unknown),
        }
    }
}

impl Answers {
    /// The receipt of one submission of the job, or why it has none.
    pub(super) fn receipt(
        &self,
        at: usize,
        form: &Form,
        stamp: &Stamp,
    ) -> Result<Receipt, Refused> {
        let seq = match self.slots.get(at) {
            Some(SlotOutcome::Accepted { seq }) => Some(*seq),
            Some(SlotOutcome::Withheld) => None,
            Some(SlotOutcome::Duplicate(first)) => {
                return Ok(Receipt::new(&form.name, first, true));
            }
            Some(SlotOutcome::KeyReused) => return Err(Refused::KeyReused),
            Some(SlotOutcome::FormRetired) => return Err(Refused::FormRetired),
            Some(SlotOutcome::FormUnknown) => return Err(Refused::FormUnknown),
            Some(SlotOutcome::KeysFull) => return Err(Refused::KeysFull),
            None => return Err(Refused::Unknown),
        };
        let placed = Placed {
            id: stamp.id,
            seq,
            index: self.index,
            received_ms: stamp.received_ms,
            terms: self.terms,
        };
        Ok(Receipt::new(&form.name, &placed, false))
    }
}
