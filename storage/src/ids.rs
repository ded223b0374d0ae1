//! Names and positions: newtypes, so that an index is never taken for a seq.
//!
//! Holds: an [`Index`] counts entries of the log from 1; a [`Seq`] counts a form's records from 1;
//! zero stands for "none yet" in both, which is what a cursor before the first one says. What is read
//! of terms and indexes, from a disk or a peer, is no more than [`COUNT_MAX`]: to count one more, or
//! the length of a range, never overflows, whoever wrote the bytes.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// The most that a log counts to: a million a second for 146,000 years.
pub(crate) const COUNT_MAX: u64 = 1 << 62;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($(#[$read:meta])? $inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name($(#[$read])? pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// An entry's place in the replicated log. The first entry is 1.
    Index(#[serde(deserialize_with = "count")] u64)
}
number! {
    /// A raft era.
    Term(#[serde(deserialize_with = "count")] u64)
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

fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let count = u64::deserialize(from)?;
    if count <= COUNT_MAX {
        Ok(count)
    } else {
        Err(D::Error::custom(format!(
            "{count} is more than a log counts to"
        )))
    }
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

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, U64Deserializer};

    use super::*;

    #[test]
    fn a_peer_cannot_name_what_no_log_counts_to() {
        let number = |of: u64| -> U64Deserializer<Error> { of.into_deserializer() };
        assert_eq!(Ok(Index(COUNT_MAX)), Index::deserialize(number(COUNT_MAX)));
        assert!(Index::deserialize(number(COUNT_MAX + 1)).is_err());
        assert!(Term::deserialize(number(u64::MAX)).is_err());
    }
}
