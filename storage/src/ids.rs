//! Names and positions: newtypes, so that an index is never taken for a seq.
//!
//! Holds: an [`Index`] counts entries of the log from 1; a [`Seq`] counts a form's records from 1;
//! zero stands for "none yet" in both, which is what a cursor before the first one says.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// An entry's place in the replicated log. The first entry is 1.
    Index(u64)
}
number! {
    /// A raft era.
    Term(u64)
}
number! {
    /// A member of the cluster. Never reused: an empty disk joins under a fresh one.
    NodeId(u32)
}
number! {
    /// A record's number within its form. The first record is 1; no number is ever skipped.
    Seq(u64)
}
number! {
    /// A submission within its pack, from 0.
    Slot(u32)
}
number! {
    /// A form's number: given once a name, kept when the form is retired and defined again.
    FormId(u32)
}

impl Index {
    /// The entry after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Seq {
    /// The record after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// An entry's full name: two entries with one `LogId` are the same entry, on every node.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LogId {
    /// Era of the leader that proposed it.
    pub term: Term,
    /// That leader.
    pub node: NodeId,
    /// Where it stands in the log.
    pub index: Index,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.term, self.node, self.index)
    }
}

/// A place in the log that a cursor can stand on: entry and slot. Ordered as records are delivered.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// The entry.
    pub index: Index,
    /// The submission within it.
    pub slot: Slot,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.index, self.slot)
    }
}
