//! Ways to be wrong on purpose: what the tests of the tests switch on.
//!
//! Holds: without the feature `mutants` no way of being wrong is compiled in: [`is`] is the
//! constant `false`. Why here and not in the tests: a checker is trusted only after it has caught
//! the very process that it will judge.

use std::fmt;

/// One way to be wrong in this room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutant {
    /// The log answers "durable" before it has written.
    AckBeforeWrite = 1,
    /// The log never syncs.
    SkipSync = 2,
    /// A key that was there already is taken as new.
    SkipIdempotency = 3,
    /// Now and then a seq is left out.
    SeqHole = 4,
    /// Now and then a body comes back altered.
    AlterBody = 5,
    /// Now and then an accepted submission gets no place.
    DropSlot = 6,
    /// A refused submission is shown to readers.
    ShowRefused = 7,
    /// A task that is sought stays in the life that it had.
    SeekSameLife = 8,
    /// A task that is deleted and made again goes on in its old life.
    TaskReborn = 9,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::AckBeforeWrite,
        Self::SkipSync,
        Self::SkipIdempotency,
        Self::SeqHole,
        Self::AlterBody,
        Self::DropSlot,
        Self::ShowRefused,
        Self::SeekSameLife,
        Self::TaskReborn,
    ];

    /// The word that picks it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeWrite => "ack-before-write",
            Self::SkipSync => "skip-sync",
            Self::SkipIdempotency => "skip-idempotency",
            Self::SeqHole => "seq-hole",
            Self::AlterBody => "alter-body",
            Self::DropSlot => "drop-slot",
            Self::ShowRefused => "show-refused",
            Self::SeekSameLife => "seek-same-life",
            Self::TaskReborn => "task-reborn",
        }
    }
}

/// No mutant of that name, or none compiled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchMutant(String);

impl fmt::Display for NoSuchMutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no mutant `{}` in this build", self.0)
    }
}

impl std::error::Error for NoSuchMutant {}

#[cfg(feature = "mutants")]
mod picked {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::{Mutant, NoSuchMutant};

    // One a process, set at start before any thread: a mutant is a build of its own in spirit.
    static PICKED: AtomicU8 = AtomicU8::new(0);

    /// Makes this process wrong in the way of that name, until it ends.
    pub fn pick(name: &str) -> Result<(), NoSuchMutant> {
        let mutant = Mutant::ALL.into_iter().find(|mutant| mutant.name() == name);
        let mutant = mutant.ok_or_else(|| NoSuchMutant(name.to_owned()))?;
        PICKED.store(mutant as u8, Ordering::SeqCst);
        Ok(())
    }

    /// Whether this process is wrong in that way.
    pub fn is(mutant: Mutant) -> bool {
        PICKED.load(Ordering::Relaxed) == mutant as u8
    }
}

#[cfg(not(feature = "mutants"))]
mod picked {
    use super::{Mutant, NoSuchMutant};

    /// Always refuses: this build has no mutants.
    pub fn pick(name: &str) -> Result<(), NoSuchMutant> {
        Err(NoSuchMutant(name.to_owned()))
    }

    /// Never: this build has no mutants.
    pub const fn is(_: Mutant) -> bool {
        false
    }
}

pub use picked::{is, pick};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wrong_until_it_is_picked_and_unknown_names_are_refused() {
        assert!(Mutant::ALL.into_iter().all(|mutant| !is(mutant)));
        assert!(pick("no-such-thing").is_err());
    }
}
