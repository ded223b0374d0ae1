//! A destination, and what it promises.
//!
//! The contract, in prose. The pump calls [`Sink::open`], then [`Sink::deliver`] with batches in
//! the order of positions, one at a time, and never drops a delivery half-way. The sink answers
//! what became of the *whole* batch. What it may do besides: nothing. It sees neither the feed
//! nor a cursor other than its own.
//!
//! Holds: [`Delivery::Taken`] is said only when everything up to that position is at the
//! destination and stays there through a power cut. A sink that can keep our cursor together with
//! the data, so that neither is there without the other, says it in `open`; that cursor is the
//! truth, and the replicated one only a cache. It is the truth about the destination, not about the
//! log: a log that is not synced before it answers can lose its tail in a power cut, and a sheet
//! that was synced then holds what never happened. [`Sink::begin_anew`] is for that.
//! `tests/contract.rs` runs the suite that says all this again in code; every sink passes it.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::error::{SinkError, Trouble};
use crate::feed::Standing;
use crate::record::{Position, Record};

/// The destination's own cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The task's life that wrote it. The sink itself refuses a later life's and replaces an
    /// earlier one's before it says `open`ed, so the pump only checks.
    pub incarnation: u64,
    /// Everything up to here, inclusive, is there (or parked).
    pub position: Position,
    /// The id of the record at `position`, where the destination keeps it: a log that lost its tail
    /// uses positions again, and an id never.
    pub id: Option<String>,
}

/// What the log knows about the lane when its sink is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Where the log says that it stands. A destination that holds no cursor of this life is given
    /// one at `standing.position`, by one atomic write there, before any record.
    pub standing: Standing,
    /// The term of the lease; 0 for a local sink.
    pub term: u64,
}

impl Opening {
    /// Whether nothing of this life can have been delivered yet, as far as the log knows. A
    /// destination without a cursor of this life is then a new one; otherwise it has lost it.
    pub fn is_first(&self) -> bool {
        self.standing.position == self.standing.start
    }
}

/// What one delivery carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Positions grow; one form, or for a lane over all forms those of the task. A local sink gets
    /// at least one. Another may get none: then only its cursor moves, past what was parked.
    pub records: Vec<Record>,
    /// Where the destination's cursor stands once all is taken: at the last record, or behind it
    /// where what follows is parked. What `Taken` says when all is taken.
    pub upto: Position,
    /// The form's fields by its present definition; none for a lane over all forms. A body may hold
    /// others, of older versions.
    pub fields: Arc<[String]>,
}

impl Batch {
    /// A batch whose last record is where the cursor will stand.
    pub fn new(records: Vec<Record>, fields: Arc<[String]>) -> Self {
        let upto = records.last().map(|record| record.position);
        Self {
            records,
            upto: upto.unwrap_or_default(),
            fields,
        }
    }

    /// Bytes of all bodies.
    pub fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.body.len()).sum()
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Everything up to `upto`, inclusive, is at the destination for good.
    Taken {
        /// The batch's `upto`, or the position of one of its records.
        upto: Position,
    },
    /// Nothing of it is there, and the sink knows so; try again.
    Again(Trouble),
    /// What is there is not known, or is not what the sink left there: `open` it again and go on
    /// from the cursor that it says.
    Reopen(Trouble),
    /// Nothing of it is there, and the record at `which` will never be: it is parked, then the
    /// batch comes again without it.
    Never {
        /// A record of the batch.
        which: Position,
        /// Why, in words.
        why: String,
        /// The destination's answer, in its own words.
        answer: String,
    },
}

/// What to do about the successors of a record that the destination will never take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnPoison {
    /// Park it and go on.
    #[default]
    Park,
    /// Park it, and its successors under the same key, so that none passes it: a record's key is its
    /// form. At a destination of the node's own, which nobody else would park for, the same as `Stop`.
    ParkKey,
    /// Stop the lane in front of it and wait for a person.
    Stop,
}

/// Leave to use a destination that many lanes share under one quota; given back on drop.
pub type Leave = Box<dyn Send>;

/// A destination for one lane.
pub trait Sink: Send + 'static {
    /// True if every node writes a destination of its own, and its own cursor alone counts: the
    /// pump then needs no lease and moves no replicated cursor.
    fn is_local(&self) -> bool;

    /// Resolves when it is this lane's turn to use the destination. Asked before `open` and before the
    /// records of a batch are read, so that a lane that waits for a quota holds none; kept until the
    /// destination has been opened and has answered the first batch, or has none to get. May be
    /// dropped at any await.
    fn leave(&mut self) -> BoxFuture<'_, Leave> {
        Box::pin(std::future::ready(Box::new(()) as Leave))
    }

    /// Makes the destination ready and reads its cursor; `None` if it holds none, as a new one
    /// does. Called before the first delivery, again after each [`Delivery::Reopen`], and, unless
    /// the sink is local, whenever the lease is another one.
    fn open(&mut self, opening: Opening) -> BoxFuture<'_, Result<Option<Cursor>, SinkError>>;

    /// The lease is lost, or a person has paused the lane: lets go of what is open. `open` comes
    /// before the next delivery. Must not block.
    fn close(&mut self) {}

    /// Resolves when the sink has found out by itself, while nothing is delivered, that it must be
    /// opened again. May be dropped at any await.
    fn uneasy(&mut self) -> BoxFuture<'_, Trouble> {
        Box::pin(std::future::pending())
    }

    /// Puts what the destination holds out of the way, without losing it, and stands as if it were
    /// new: the next delivery is its first. Asked, behind `open`, of a local sink whose last record
    /// is not in the log. One that cannot do it waits for a person.
    fn begin_anew(&mut self, why: String) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(std::future::ready(Err(SinkError::Stop(why))))
    }

    /// Brings a batch there. Must not block a tokio worker, and must end by itself: a sink that
    /// talks to somebody has its own time limit.
    fn deliver(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Delivery>;
}
