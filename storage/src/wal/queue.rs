//! What waits for the writer, and who is told what became of it.
//!
//! Holds: every caller is told exactly once, in the order of the calls, whatever happens to the
//! writer: a reply that is dropped unspoken says "unknown".

use std::collections::VecDeque;
use std::sync::Arc;

use super::Done;
use super::batch::{Batch, NewFloor};
use super::piece::Piece;
use crate::error::Error;

/// Batches that were written and wait to be filled again. Under load three go round: one being filled, one
/// on its way to the disk, one that was there before; a burst has more.
const SPARE_MAX: usize = 3;

/// A caller's `done`, spoken once.
pub(super) struct Reply(Option<Done>);

impl Reply {
    pub(super) fn new(done: Done) -> Self {
        Self(Some(done))
    }

    /// Tells the caller.
    pub(super) fn send(mut self, result: Result<(), Error>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(Error::Unknown {
                reason: Arc::from("the log's writer ended"),
            }));
        }
    }
}

/// One call, in the batch that ends it.
pub(super) struct Call {
    pub(super) reply: Reply,
    /// It came after the end: nothing of it is written, and it is told so in its turn.
    pub(super) is_refused: bool,
}

/// What a call brings beside its records.
pub(super) struct Needs {
    pub(super) call: Call,
    pub(super) must_sync: bool,
    /// What the amnesia floor becomes.
    pub(super) floor: Option<NewFloor>,
    /// The cache's stamp after its entries.
    pub(super) stamp_end: u64,
    /// What it counts in the queue until it is written.
    pub(super) cost: usize,
}

impl Needs {
    pub(super) fn of(done: Done) -> Self {
        Self {
            call: Call {
                reply: Reply::new(done),
                is_refused: false,
            },
            must_sync: false,
            floor: None,
            stamp_end: 0,
            cost: 0,
        }
    }
}

/// Batches in order. What the writer holds still counts, until it is written.
#[derive(Default)]
pub(super) struct Queue {
    batches: VecDeque<Batch>,
    spare: Vec<Batch>,
    bytes: usize,
}

impl Queue {
    /// Takes a call in, for the segment of this salt.
    pub(super) fn push(
        &mut self,
        salt: u64,
        batch_bytes_max: usize,
        pieces: impl IntoIterator<Item = Piece>,
        needs: Needs,
    ) {
        let mut has_begun = false;
        for piece in pieces {
            if let Some(piece) = self.last(salt).push(piece, batch_bytes_max) {
                let mut batch = self.empty(salt);
                batch.has_earlier_part = has_begun;
                batch.begin_with(piece);
                self.batches.push_back(batch);
            }
            has_begun = true;
        }
        self.bytes += needs.cost;
        let batch = self.last(salt);
        batch.must_sync |= needs.must_sync;
        batch.floor = needs.floor.or(batch.floor);
        batch.stamp_end = batch.stamp_end.max(needs.stamp_end);
        batch.cost += needs.cost;
        batch.calls.push(needs.call);
    }

    fn empty(&mut self, salt: u64) -> Batch {
        let spare = self.spare.pop();
        let mut batch = spare.unwrap_or_else(|| Batch::new(salt));
        batch.reseed(salt);
        batch
    }

    fn last(&mut self, salt: u64) -> &mut Batch {
        if self.batches.is_empty() {
            let batch = self.empty(salt);
            self.batches.push_back(batch);
        }
        let at = self.batches.len() - 1;
        match self.batches.get_mut(at) {
            Some(batch) => batch,
            None => unreachable!("there is a last one: it was made above if there was none"),
        }
    }

    /// The batch that has waited longest.
    pub(super) fn pop(&mut self) -> Option<Batch> {
        self.batches.pop_front()
    }

    /// The writer is done with this one, and has cleared it.
    pub(super) fn give_back(&mut self, batch: Batch) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(batch);
        }
    }

    /// Calls that counted so many bytes are written.
    pub(super) fn release(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether so many more bytes may come in. One call may always wait, whatever its size.
    pub(super) fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.bytes == 0 || self.bytes + bytes <= bytes_max
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
