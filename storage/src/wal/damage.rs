//! What opening and scrubbing found that is not as it was written, as values: who reads them decides.
//!
//! Holds: a finding names its place. "Torn" is never said where something could have been
//! acknowledged; that is [`Damage::Tail`], and with it comes a [`Floor`].

use std::fmt;
use std::ops::RangeInclusive;

use super::entry::SegmentId;
use crate::command::Policy;
use crate::ids::{Index, LogId};

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The last write is not whole, and nothing says whether it was synced: cut off by a crash, or
    /// damaged after it was acknowledged. What of it is whole was kept; the rest is left out.
    Tail {
        /// The file.
        segment: SegmentId,
        /// Where the write begins.
        offset: u64,
        /// The entries that it was to carry and that are left out; `None`: nobody knows.
        entries: Option<RangeInclusive<Index>>,
    },
    /// Writes that were not synced yet when the machine stopped, under a policy that lets them
    /// wait. They were acknowledged and are left out.
    Unsynced {
        /// The file.
        segment: SegmentId,
        /// Where the first of them begins.
        offset: u64,
    },
    /// The machine stopped without order under this policy: what the last interval acknowledged may
    /// be missing without a trace.
    PossibleLoss {
        /// The policy.
        policy: Policy,
    },
    /// Entries that were durable and cannot be read any more.
    Entries {
        /// The file.
        segment: SegmentId,
        /// Where the damaged batch begins.
        offset: u64,
        /// Which entries.
        entries: RangeInclusive<Index>,
        /// How it shows.
        what: &'static str,
    },
    /// A file, or a stretch of one, that was durable and cannot be read; what it held beside entries
    /// that are reported on their own is not known.
    Segment {
        /// The file.
        segment: SegmentId,
        /// Where.
        offset: u64,
        /// How it shows.
        what: &'static str,
    },
}

impl Damage {
    /// Whether something that was durable is gone. The others are what crashes leave.
    pub const fn is_corruption(&self) -> bool {
        matches!(self, Self::Entries { .. } | Self::Segment { .. })
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tail {
                segment,
                offset,
                entries,
            } => {
                write!(
                    f,
                    "the last write (byte {offset} of segment {segment}) is not whole: \
                     unfinished when the process or the machine stopped, or damaged since; "
                )?;
                match entries {
                    Some(entries) => write!(
                        f,
                        "entries {} to {} are left out",
                        entries.start(),
                        entries.end()
                    ),
                    None => f.write_str("what it held is not known"),
                }
            }
            Self::Unsynced { segment, offset } => write!(
                f,
                "writes from byte {offset} of segment {segment} on had not been synced when the \
                 machine stopped; they are left out"
            ),
            Self::PossibleLoss { policy } => write!(
                f,
                "the machine stopped under the policy `{policy}`: what was acknowledged shortly \
                 before may be missing"
            ),
            Self::Entries {
                segment,
                offset,
                entries,
                what,
            } => write!(
                f,
                "entries {} to {} cannot be read: {what} at byte {offset} of segment {segment}",
                entries.start(),
                entries.end()
            ),
            Self::Segment {
                segment,
                offset,
                what,
            } => write!(f, "{what} at byte {offset} of segment {segment}"),
        }
    }
}

/// The amnesia floor: this node may have promised to keep entries up to here and lost them, so it
/// must not help to elect anybody who has less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// No further than this. The term is the newest that the node had heard of: an upper bound.
    Upto(LogId),
    /// Nobody knows how far.
    Unknown,
}

impl Floor {
    /// What holds where both do.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        match (self, other) {
            (Self::Upto(one), Self::Upto(two)) => Self::Upto(one.max(two)),
            _ => Self::Unknown,
        }
    }
}
