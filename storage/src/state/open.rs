//! Opening the state: is it what this log gives, or is it to be built again?
//!
//! Holds: the log is the truth. Rows whose store does not open, whose digest is not that of their
//! rows, whose last entry is not in the log or another one there, are set aside, never repaired
//! and never deleted; then the log is applied from its start up to what is known to be committed,
//! and never beyond. One finding stops the node instead: a single node that syncs before it
//! answers has applied entries which its log lacks. Then the log has lost what was acknowledged,
//! and both are kept as they are for a person to look at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::home::{Home, Verdict};
use super::{State, StateConfig, VotersOf};
use crate::disk::Disk;
use crate::error::Error;
use crate::wal::Wal;

/// What the state is opened with.
pub struct StateParts<'a> {
    /// Where names and the mark of an orderly end go. fjall reads and writes its own files.
    pub disk: Arc<dyn Disk>,
    /// The state's directory; `quarantine` stands beside it.
    pub dir: &'a Path,
    /// How it is kept.
    pub config: &'a StateConfig,
    /// What it is derived from.
    pub wal: &'a Wal,
    /// Reads how many vote out of a membership.
    pub voters_of: VotersOf,
    /// This node was ever one of several: then it may have applied what a majority had before its
    /// own log did, and a log that ends earlier is nothing to worry about.
    pub had_peers: bool,
}

impl std::fmt::Debug for StateParts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateParts")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// No state and no log: a new node.
    Fresh,
    /// The rows are what the log gives.
    Kept,
    /// They were built from the log.
    Rebuilt {
        /// Why.
        why: String,
        /// Where the old ones lie now, if there were any.
        set_aside: Option<PathBuf>,
        /// How many entries were applied.
        entries: u64,
    },
}

/// What takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading every row, after an end without order.
    Verify,
    /// Applying the log.
    Rebuild,
}

/// How far opening is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// With what.
    pub phase: Phase,
    /// So many rows or entries are done.
    pub done: u64,
    /// Of so many.
    pub total: u64,
}

/// How often progress is told.
pub(super) const PROGRESS_STEP: u64 = 4096;
/// How much of the log a rebuild holds in memory.
const READ_BYTES_MAX: usize = 4 << 20;

impl State {
    /// Opens the state of a node, or builds it from the log.
    pub fn open(
        parts: &StateParts<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Self, Opened), Error> {
        let home = Home::new(parts);
        let word = home.take_word()?;
        let is_new = !home.has_rows(parts.config)?;
        let verdict = if is_new {
            Verdict::Build {
                why: "there was no state".to_owned(),
            }
        } else {
            home.judge(word, parts, progress)?
        };
        let why = match verdict {
            Verdict::Keep(rows) => {
                let state = Self::over(rows, parts.voters_of, Some(home))?;
                return Ok((state, Opened::Kept));
            }
            Verdict::Build { why } => why,
        };
        if let Some(purged) = parts.wal.purged() {
            // The log alone cannot give the state any more. Nothing is moved, so nothing is lost.
            return Err(Error::Purged {
                first: purged.index.next(),
            });
        }
        let set_aside = if is_new {
            None
        } else {
            Some(home.set_aside()?)
        };
        let rows = home.rows(parts.config)?;
        let mut state = Self::over(rows, parts.voters_of, Some(home))?;
        let entries = state.rebuild(parts.wal, progress)?;
        let is_fresh = is_new && parts.wal.last().is_none();
        if let Some(path) = &set_aside {
            tracing::warn!(why, path = %path.display(), entries, "state rebuilt from the log");
        }
        let rebuilt = Opened::Rebuilt {
            why,
            set_aside,
            entries,
        };
        Ok((state, if is_fresh { Opened::Fresh } else { rebuilt }))
    }

    /// Applies the log from its start through what is known to be committed.
    fn rebuild(&mut self, wal: &Wal, progress: &mut dyn FnMut(Progress)) -> Result<u64, Error> {
        let (Some(first), Some(committed), Some(last)) = (wal.first(), wal.committed(), wal.last())
        else {
            return Ok(0);
        };
        let end = committed.index.min(last.index).next();
        let total = end.0.saturating_sub(first.0);
        let mut next = first;
        let mut done = 0;
        while next < end {
            let entries = wal.read(next..end, READ_BYTES_MAX)?;
            assert!(
                !entries.is_empty(),
                "the log ends before {end}, which it says it holds"
            );
            for entry in entries {
                self.apply(&entry)?;
                next = entry.id.index.next();
                done += 1;
                if done % PROGRESS_STEP == 0 || next == end {
                    progress(Progress {
                        phase: Phase::Rebuild,
                        done,
                        total,
                    });
                }
            }
        }
        Ok(done)
    }
}
