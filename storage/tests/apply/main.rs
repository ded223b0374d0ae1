//! The rules of the queue, one sentence a test.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    reason = "tests stop at the first surprise"
)]

mod facts;
mod keys;
mod packs;
mod parked;
mod reads;
mod tasks;
mod withheld;
#[expect(unreachable_pub, reason = "shared by the test files")]
#[path = "../world/mod.rs"]
mod world;

use bytes::Bytes;
use storage::{FormId, Index, Position, Seq, Slot, SlotOutcome};
use world::*;

pub(crate) fn at(index: u64, slot: u32) -> Position {
    Position {
        index: Index(index),
        slot: Slot(slot),
    }
}

pub(crate) fn accepted(seq: u64) -> SlotOutcome {
    SlotOutcome::Accepted { seq: Seq(seq) }
}

pub(crate) fn slots_of(
    world: &mut World,
    submissions: Vec<storage::Submission>,
) -> Vec<SlotOutcome> {
    world.submit(submissions).slots
}

pub(crate) fn many(form: FormId, count: u32) -> Vec<storage::Submission> {
    (0..count)
        .map(|n| submission(form, &format!("{{\"n\":{n}}}")))
        .collect()
}

pub(crate) fn str_of(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
