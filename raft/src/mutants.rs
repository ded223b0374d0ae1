//! Ways to be wrong on purpose: what the simulation is tried on.
//!
//! Holds: without the feature `mutants`, `is` is a constant `false` and none is compiled in. One process
//! is wrong in one way at most, picked at its start.

/// One way to be wrong in this room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutant {
    /// A vote is answered before it is durable.
    VoteNotSynced = 1,
    /// A follower's entries count as soon as they are sent.
    AckBeforeCommit = 2,
    /// A node that may have lost the end of its log votes like any other.
    FloorIgnored = 3,
    /// A peer is sent the newest checkpoint, not the one at the horizon.
    SnapshotAtTip = 4,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::VoteNotSynced,
        Self::AckBeforeCommit,
        Self::FloorIgnored,
        Self::SnapshotAtTip,
    ];

    /// The word that picks it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VoteNotSynced => "vote-not-synced",
            Self::AckBeforeCommit => "ack-before-commit",
            Self::FloorIgnored => "floor-ignored",
            Self::SnapshotAtTip => "snapshot-at-tip",
        }
    }
}

#[cfg(feature = "mutants")]
mod picked {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Mutant;

    // One a process, set at start before any thread: a mutant is a build of its own in spirit.
    static PICKED: AtomicU8 = AtomicU8::new(0);

    /// Makes this process wrong in the way of that name; false: there is none.
    pub fn pick(name: &str) -> bool {
        let mutant = Mutant::ALL.into_iter().find(|mutant| mutant.name() == name);
        PICKED.store(mutant.map_or(0, |mutant| mutant as u8), Ordering::SeqCst);
        mutant.is_some()
    }

    pub(crate) fn is(mutant: Mutant) -> bool {
        PICKED.load(Ordering::Relaxed) == mutant as u8
    }
}

#[cfg(not(feature = "mutants"))]
mod picked {
    use super::Mutant;

    /// Always refuses: this build has no mutants.
    pub const fn pick(_: &str) -> bool {
        false
    }

    /// Never: this build has no mutants.
    pub(crate) const fn is(_: Mutant) -> bool {
        false
    }
}

pub(crate) use picked::is;
pub use picked::pick;
