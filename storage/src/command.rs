//! What raft replicates: every way in which the state can change.
//!
//! Holds: a kind's number is written to disk and never reused; `codec` maps kinds to numbers. What
//! a command carries is all that `apply` may look at beside the state: time and dice were thrown
//! at the door and travel inside.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{FormId, Index, NodeId, Position, Seq, Slot, Term};

/// One command. The number of each kind stands in `codec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Take many submissions.
    Submit(Pack),
    /// Define a form, or a new version of one.
    DefineForm(DefineForm),
    /// Take no more for a form; what it holds stays and is still delivered.
    RetireForm(RetireForm),
    /// Define a task, or change one.
    DefineTask(DefineTask),
    /// Delete a task.
    RetireTask(RetireTask),
    /// Move a task's cursor forward.
    Advance(Advance),
    /// A send is under way; cleared by the `Advance` that follows.
    SendStarted(SendStarted),
    /// Set a record aside that its destination will never take.
    Park(Park),
    /// Deliver a parked record at this entry's position.
    Unpark(Unpark),
    /// Give withheld submissions their seq, at this entry's position.
    Release(Release),
    /// Pause, resume or stop a task.
    SetTaskState(SetTaskState),
    /// Let state time pass.
    Tick(Tick),
    /// What the log may forget.
    Horizon(Horizon),
    /// Which rules run.
    SetLevel(SetLevel),
    /// How durable an acknowledged submission is.
    SetPolicy(SetPolicy),
    /// Replace a token's hash.
    SetToken(SetToken),
    /// Forget the session of a removed node.
    EndSession(EndSession),
    /// Begin a new life of a task elsewhere in the log. From level 2 on.
    SeekTask(SeekTask),
}

/// Many submissions of one sender, in order.
///
/// Holds: a sender numbers its packs 1, 2, 3 … within one boot. `apply` takes each number once: a
/// repeated one gets the stored outcome, one out of turn has no effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// Who packed it.
    pub sender: Sender,
    /// Its number within the sender's boot, from 1.
    pub number: u64,
    /// At most 4096, at most 512 KiB in all.
    pub submissions: Vec<Submission>,
}

/// A node in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The node.
    pub node: NodeId,
    /// How often it had started, this start included. Grows with every start.
    pub boot: u64,
}

/// A validated body on its way into the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// UUID version 7, thrown at the door.
    pub id: [u8; 16],
    /// For which form.
    pub form: FormId,
    /// The definition that it was checked against.
    pub form_version: u32,
    /// Accept time at the door, milliseconds since 1970 UTC. Shown to people; decides nothing.
    pub received_ms: u64,
    /// The client's word for "the same submission".
    pub key: Option<Key>,
    /// The first 16 bytes of the SHA-256 of the body as it was received. Compared under one key.
    pub digest: [u8; 16],
    /// A bot's, by the honeypot: kept and listed, given a seq only when a person releases it.
    pub is_withheld: bool,
    /// The document as it was validated: JSON, UTF-8.
    pub body: Bytes,
}

/// An idempotency key, within its form. At most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Key {
    /// A key of one submission.
    Own(String),
    /// Line `line` (from 1) of a request whose header carried `header`: equal to the own key
    /// `<header>#<line>` in meaning, stored one row a run of lines.
    Line {
        /// The header's value.
        header: String,
        /// The line's number in the request, from 1.
        line: u32,
    },
}

/// What the writer of a definition believed the present version to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// Whatever it is.
    Any,
    /// None: create it, or leave alone what is there (a retired name counts as absent).
    Absent,
    /// This version, and not retired.
    Version(u32),
}

/// Define a form, or a new version of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefineForm {
    /// Lower-case letters, digits, `-` and `_`; at most 64.
    pub name: String,
    /// Compare-and-set.
    pub expect: Expect,
    /// The definition as JSON; at most 256 KiB. Opaque to this room.
    pub definition: Bytes,
}

/// Take no more for a form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetireForm {
    /// Its name.
    pub name: String,
    /// Compare-and-set.
    pub expect: Expect,
}

/// Define a task, or change one. Its incarnation is the index of this entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefineTask {
    /// Same alphabet as a form's.
    pub name: String,
    /// Compare-and-set.
    pub expect: Expect,
    /// The definition as JSON; at most 256 KiB. Opaque to this room.
    pub definition: Bytes,
    /// Where it begins: the first position, or this entry.
    pub start: Start,
}

/// Where a new life of a task begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// With the oldest record that the log holds.
    Beginning,
    /// With what is accepted after its definition.
    Now,
    /// Nowhere: a task that there is already goes on in the life that it has, where it stands. One
    /// that there is not begins with the oldest record. From level 2 on.
    Kept,
}

/// Delete a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetireTask {
    /// Its name.
    pub name: String,
    /// Compare-and-set.
    pub expect: Expect,
}

/// Move a cursor forward: exactly from `from` to `to`, within one incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advance {
    /// Whose.
    pub task: String,
    /// Index of the entry that began the task's present life.
    pub incarnation: Index,
    /// For a task that keeps one cursor a form: which.
    pub form: Option<FormId>,
    /// Where it stood.
    pub from: Position,
    /// Where it stands now: everything up to here, inclusive, is delivered or parked.
    pub to: Position,
}

/// A send is under way whose end may stay unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendStarted {
    /// Whose.
    pub task: String,
    /// Present life.
    pub incarnation: Index,
    /// For a task that keeps one cursor a form: which.
    pub form: Option<FormId>,
    /// The cursor.
    pub from: Position,
    /// The cursor if the send arrives.
    pub to: Position,
}

/// Set a record aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Park {
    /// Whose destination will never take it.
    pub task: String,
    /// Present life.
    pub incarnation: Index,
    /// The record's form.
    pub form: FormId,
    /// The record.
    pub position: Position,
    /// Why, in words; at most 1 KiB.
    pub reason: String,
    /// The destination's last answer; at most 2 KiB.
    pub answer: String,
    /// What else is known of the record, and its body, so that it outlives the log.
    pub record: ParkedRecord,
}

/// A record as it is kept beside the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedRecord {
    /// As it was thrown at the door.
    pub id: [u8; 16],
    /// Its number within its form.
    pub seq: Seq,
    /// The term of the entry that carried it.
    pub term: Term,
    /// Accept time at the door, milliseconds since 1970 UTC.
    pub received_ms: u64,
    /// The definition that it was checked against.
    pub form_version: u32,
    /// The document.
    pub body: Bytes,
}

/// Deliver a parked record again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpark {
    /// Whose.
    pub task: String,
    /// The record.
    pub position: Position,
}

/// A person says that these withheld submissions are real.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Their form.
    pub form: FormId,
    /// Where they lie; at most 1000.
    pub positions: Vec<Position>,
}

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskState {
    /// Delivers.
    Running,
    /// Waits for a person.
    Paused,
}

/// Pause or resume a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetTaskState {
    /// Which.
    pub task: String,
    /// To what.
    pub state: TaskState,
}

/// Begin a new life of a task: its cursors stand elsewhere from now on, and those of the old life
/// count no more. Its incarnation is the index of this entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeekTask {
    /// Which.
    pub task: String,
    /// Everything up to here, inclusive, counts as delivered.
    pub to: Position,
    /// What the old life had delivered is marked when it is delivered again.
    pub is_replay: bool,
}

/// Milliseconds of the leader's monotonic clock since its last tick of this term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// How long.
    pub elapsed_ms: u64,
}

/// What the log may forget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Horizon {
    /// Entries at or below may go.
    pub index: Index,
}

/// Which rules run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetLevel {
    /// Every member supports it.
    pub level: u32,
}

/// How durable an acknowledged submission is, on each node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// Synced before it is acknowledged.
    #[default]
    Always,
    /// Synced at the latest this many milliseconds after.
    IntervalMs(u32),
    /// Left to the operating system.
    Never,
}

/// Set the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetPolicy {
    /// From the next entry on.
    pub policy: Policy,
}

/// Replace a token's hash; the token itself is never in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetToken {
    /// `admin`.
    pub name: String,
    /// SHA-256.
    pub hash: [u8; 32],
    /// Only where none is set (genesis).
    pub only_if_absent: bool,
}

/// Forget the session of a removed node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndSession {
    /// Which.
    pub node: NodeId,
}

/// The largest pack, by submissions: a slot's number and an outcome's size stay small.
pub const PACK_SUBMISSIONS_MAX: usize = 4096;
/// The largest pack, by bytes of bodies: about a millisecond of a disk, and one frame to a peer.
pub const PACK_BYTES_MAX: usize = 512 << 10;

impl Pack {
    /// The submission in `slot`.
    pub fn get(&self, slot: Slot) -> Option<&Submission> {
        usize::try_from(slot.0)
            .ok()
            .and_then(|at| self.submissions.get(at))
    }
}
