//! What can go wrong in this room, and what a caller does about it.
//!
//! Holds: one variant a *different thing a caller does*. Everything a caller needs to act (verb,
//! path, place) is in the variant; the source's own words are never repeated in the text.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::ids::{Index, Seq};
use crate::wal::SegmentId;

/// Everything that this room refuses or fails at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {op} {}", path.display())]
    Io {
        /// The verb.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process holds the directory.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Bytes of the log that are not what was written. Nothing was repaired or deleted.
    #[error("corrupt log at byte {offset} of segment {segment}: {what}")]
    Corrupt {
        /// The file.
        segment: SegmentId,
        /// Where in it.
        offset: u64,
        /// How it shows.
        what: &'static str,
    },
    /// Entries that were durable and cannot be read; see [`crate::Damage`].
    #[error("entries {first} to {last} of the log are damaged")]
    Damaged {
        /// The first one.
        first: Index,
        /// The last one.
        last: Index,
    },
    /// Written by a newer release.
    #[error("segment {segment} has format version {found}, this build reads up to {known}")]
    Version {
        /// The file.
        segment: SegmentId,
        /// What it says.
        found: u16,
        /// What this build knows.
        known: u16,
    },
    /// A write or sync failed earlier; the log takes nothing more in this process's life.
    #[error("the log stopped for good: {reason}")]
    Poisoned {
        /// The first failure.
        reason: Arc<str>,
    },
    /// The write or sync that carried this failed: it may be durable or not.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// The failure.
        reason: Arc<str>,
    },
    /// The log was closed before this was written.
    #[error("the log is closed")]
    Closed,
    /// Entries that the log has forgotten.
    #[error("the log begins at {first}")]
    Purged {
        /// The oldest entry that may still be there.
        first: Index,
    },
    /// Records that the log has let go of.
    #[error("the oldest record that is still there is {oldest}")]
    Forgotten {
        /// The first seq that can be read.
        oldest: Seq,
    },
    /// The log's beginning is gone, the state cannot be used, and nothing is left to build it from.
    #[error("the log begins at {first}, and no checkpoint in {} can be used to build the state that \
             it goes on from", dir.display())]
    NoCheckpoint {
        /// The oldest entry.
        first: Index,
        /// Where one was looked for.
        dir: PathBuf,
    },
    /// A command of a kind or version that this build does not know.
    #[error("unknown command kind {kind} version {version}")]
    UnknownCommand {
        /// Byte 0.
        kind: u8,
        /// Byte 1.
        version: u8,
    },
    /// Bytes that should be a value of ours and are not.
    #[error("cannot decode {what}")]
    Decode {
        /// What they should have been.
        what: &'static str,
    },
    /// The state proves that the log once held entries which are gone. Both are kept.
    #[error("entries {first} to {last} were acknowledged and are no longer in the log")]
    Vanished {
        /// The first one missing.
        first: Index,
        /// The last one missing.
        last: Index,
    },
    /// The store of rows failed.
    #[error("cannot {op} state: {reason}")]
    Rows {
        /// The verb.
        op: &'static str,
        /// The store's words.
        reason: String,
    },
    /// The cluster runs rules that this build does not have.
    #[error("the cluster runs at level {level}, this build knows levels up to {known}")]
    UnknownLevel {
        /// The cluster's.
        level: u32,
        /// This build's.
        known: u32,
    },
    /// The state is not what applying the log gives; it has to be rebuilt.
    #[error("the state does not fit its log: {what}")]
    Unfit {
        /// How it shows.
        what: &'static str,
    },
}

/// What a caller does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Tell the one who asked: it will not get better by itself.
    Reject,
    /// Come again later.
    Retry,
    /// End this node: going on would risk what was promised.
    Stop,
}

impl Error {
    /// What a caller does about it.
    pub const fn reaction(&self) -> Reaction {
        match self {
            Self::Purged { .. } | Self::Forgotten { .. } => Reaction::Reject,
            Self::Closed => Reaction::Retry,
            Self::Io { .. }
            | Self::Locked { .. }
            | Self::Corrupt { .. }
            | Self::Damaged { .. }
            | Self::Version { .. }
            | Self::Poisoned { .. }
            | Self::Unknown { .. }
            | Self::UnknownCommand { .. }
            | Self::Decode { .. }
            | Self::Vanished { .. }
            | Self::Rows { .. }
            | Self::UnknownLevel { .. }
            | Self::NoCheckpoint { .. }
            | Self::Unfit { .. } => Reaction::Stop,
        }
    }

    /// Whether it says that bytes which were durable are gone: no later start will find them.
    pub fn is_loss(&self) -> bool {
        if let Self::Io { op, source, .. } = self {
            // Both copies of hardstate damaged; hardstate gone.
            let kinds = [io::ErrorKind::InvalidData, io::ErrorKind::NotFound];
            return matches!(*op, "trust" | "find") && kinds.contains(&source.kind());
        }
        matches!(
            self,
            Self::Corrupt { .. } | Self::Damaged { .. } | Self::NoCheckpoint { .. }
        )
    }

    /// Whether the disk was full: an error that may be gone the next time.
    pub fn is_full(&self) -> bool {
        let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Self::Io { source, .. } if kinds.contains(&source.kind()))
    }

    /// For `map_err`: an [`Error::Io`] that knows verb and path.
    pub(crate) fn io(op: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { op, path, source }
    }
}
