//! What applying a command answered: known only after commit, equal on every node.

use serde::{Deserialize, Serialize};

use crate::command::Policy;
use crate::ids::{FormId, Index, Seq};

/// The answer to one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// An entry that carries no command, or one that cannot fail.
    Done,
    /// To `Submit`.
    Pack(PackOutcome),
    /// To `Submit`: not this sender's next pack; nothing was changed.
    OutOfTurn {
        /// The number that would have been taken; `None`: this boot of the sender is over.
        expected: Option<u64>,
    },
    /// To `DefineForm`, `RetireForm`: the form as it is now.
    Form {
        /// Its number.
        id: FormId,
        /// Its version.
        version: u32,
        /// False where the very definition was there already.
        is_changed: bool,
    },
    /// To `DefineTask`, `RetireTask`, `SetTaskState`: the task as it is now.
    Task {
        /// Its present life.
        incarnation: Index,
        /// Its version.
        version: u32,
        /// False where the very definition was there already.
        is_changed: bool,
    },
    /// To `Release`: how many were released; those already released are not counted.
    Released {
        /// How many.
        count: u32,
    },
    /// Compare-and-set failed: this is the present version (0: none).
    Conflict {
        /// The present one.
        version: u32,
    },
    /// No form, task or record of that name.
    Missing,
    /// A cursor of an older life, or one that does not stand where the command says.
    Fenced,
}

/// One answer a slot, in the pack's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackOutcome {
    /// The entry.
    pub index: Index,
    /// What a receipt of this entry says about durability.
    pub terms: Terms,
    /// As many as the pack had submissions.
    pub slots: Vec<SlotOutcome>,
}

/// The answer to one submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotOutcome {
    /// It has its place in its form's order.
    Accepted {
        /// That place.
        seq: Seq,
    },
    /// Kept for a person to look at; no seq.
    Withheld,
    /// Its key was there with the same body: the first receipt again.
    Duplicate(Placed),
    /// Its key was there with another body: 422.
    KeyReused,
    /// Its form was retired before this entry: 409.
    FormRetired,
    /// No such form or version: 409.
    FormUnknown,
    /// A new key would push out one younger than ten minutes: 503.
    KeysFull,
}

/// Where a submission was placed: the facts of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Its id.
    pub id: [u8; 16],
    /// Its place in the form's order; `None`: withheld.
    pub seq: Option<Seq>,
    /// The entry that carries it.
    pub index: Index,
    /// Accept time.
    pub received_ms: u64,
    /// What the first receipt said about durability.
    pub terms: Terms,
}

/// What a receipt says about durability, as it was at its entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The policy.
    pub policy: Policy,
    /// Who had to have it.
    pub voters: Voters,
}

/// How many nodes vote, and how many of them make a majority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voters {
    /// A majority; in a joint change the larger of both.
    pub quorum: u8,
    /// All that vote.
    pub count: u8,
}
