//! Opening the state: is it what this log gives, or is it to be built again?
//!
//! Holds: the log is the truth. Rows whose store does not open, whose digest is not that of their
//! rows, whose last entry is not in the log or another one there, are set aside, never repaired
//! and never deleted; then the newest checkpoint that the log reaches is taken, or nothing where the
//! log has its beginning, and the log applied from there up to what is known to be committed, and
//! never beyond. Where the log has lost its beginning and no checkpoint reaches it, nothing is moved
//! and the start is refused.
//!
//! Rows that end behind the log, or below its beginning, are what a crash leaves of a store that is
//! not synced on the way: put right without a word of alarm. One finding stops the node instead: a
//! single node that syncs before it answers has applied entries which its log lacks. Then the log
//! has lost what was acknowledged, and both are kept as they are for a person to look at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{Checkpoint, Checkpoints, Cutter};
use super::home::{Home, Verdict};
use super::verify::Verifier;
use super::{State, StateConfig, VotersOf};
use crate::disk::Disk;
use crate::error::Error;
use crate::ids::Index;
use crate::rows::Rows;
use crate::wal::Wal;

/// What the state is opened with.
pub struct StateParts<'a> {
    /// Where names and the mark of an orderly end go. fjall reads and writes its own files.
    pub disk: Arc<dyn Disk>,
    /// The state's directory; `checkpoints` and `quarantine` stand beside it.
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
        /// A crash leaves it like that now and then: nothing is wrong.
        is_expected: bool,
        /// The entry of the checkpoint that it was built on; `None`: on nothing.
        base: Option<Index>,
        /// Where the old ones lie now, if there were any.
        set_aside: Option<PathBuf>,
        /// How many entries were applied.
        entries: u64,
    },
}

/// What takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading the core rows, after an end without order.
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
        let dir = parts.dir.with_file_name("checkpoints");
        let checkpoints = Checkpoints::open(Arc::clone(&parts.disk), &dir)?;
        checkpoints.fit(parts.wal)?;
        let word = home.take_word()?;
        let is_new = !home.has_rows(parts.config)?;
        let verdict = if is_new {
            Verdict::Build {
                why: "there was no state".to_owned(),
                is_expected: true,
            }
        } else {
            home.judge(word, parts, progress)?
        };
        let (why, is_expected) = match verdict {
            Verdict::Keep { rows, is_whole } => {
                let snapshot = (!is_whole).then(|| rows.snapshot());
                let mut state = Self::over(rows, parts.voters_of, Some(home))?;
                state.verifier = snapshot.map(Verifier::of).unwrap_or_default();
                state.mend(&checkpoints, parts)?;
                state.attach(checkpoints, parts);
                return Ok((state, Opened::Kept));
            }
            Verdict::Build { why, is_expected } => (why, is_expected),
        };
        let base = base(&checkpoints, parts.wal)?;
        let set_aside = if is_new {
            None
        } else {
            Some(home.set_aside()?)
        };
        let rows = home.rows(parts.config)?;
        if let Some(base) = &base {
            super::export::import(&*rows, &mut checkpoints.read(base)?)?;
        }
        let mut state = Self::over(rows, parts.voters_of, Some(home))?;
        let entries = state.rebuild(parts.wal, progress)?;
        state.attach(checkpoints, parts);
        if is_new && parts.wal.last().is_none() {
            return Ok((state, Opened::Fresh));
        }
        let rebuilt = Opened::Rebuilt {
            why,
            is_expected,
            base: base.map(|base| base.id.index),
            set_aside,
            entries,
        };
        rebuilt.tell();
        Ok((state, rebuilt))
    }

    /// From here on checkpoints are cut.
    fn attach(&mut self, checkpoints: Checkpoints, parts: &StateParts<'_>) {
        let bytes = parts.config.checkpoint_bytes;
        self.cutter = Some(Cutter::new(checkpoints, parts.wal.clone(), bytes));
        #[cfg(feature = "testing")]
        {
            self.spoil_at = parts.config.spoil_at;
        }
    }

    /// A log without its beginning needs a checkpoint. Where it is gone and the state is not, a
    /// single node makes another of that; one of several would send it to a peer that lacks what
    /// lies below.
    fn mend(&self, checkpoints: &Checkpoints, parts: &StateParts<'_>) -> Result<(), Error> {
        let (Some(purged), Some(applied)) = (parts.wal.purged(), self.applied()) else {
            return Ok(());
        };
        let is_covered = |one: &Checkpoint| purged.index <= one.id.index;
        if checkpoints
            .newest(applied.index)
            .is_some_and(|one| is_covered(&one))
        {
            return Ok(());
        }
        if parts.had_peers {
            return Err(no_checkpoint(checkpoints, purged.index));
        }
        tracing::warn!(index = %applied.index, "the log's checkpoint is gone; another one is made");
        let rows: &dyn Rows = &*self.shared.rows;
        checkpoints.write(&*rows.snapshot(), applied, &Arc::default())?;
        Ok(())
    }

    /// Applies the log from what is applied through what is known to be committed.
    fn rebuild(&mut self, wal: &Wal, progress: &mut dyn FnMut(Progress)) -> Result<u64, Error> {
        let (Some(first), Some(committed), Some(last)) = (wal.first(), wal.committed(), wal.last())
        else {
            return Ok(0);
        };
        let first = self.applied().map_or(first, |id| id.index.next());
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

impl Opened {
    fn tell(&self) {
        let Self::Rebuilt {
            why,
            is_expected,
            base,
            set_aside: Some(path),
            entries,
        } = self
        else {
            return;
        };
        let (base, path) = (base.unwrap_or_default(), path.display());
        if *is_expected {
            tracing::info!(why, %path, %base, entries, "state rebuilt from the log");
        } else {
            tracing::warn!(why, %path, %base, entries, "state rebuilt from the log");
        }
    }
}

/// The newest checkpoint that the log reaches and that is whole; `None`: the log has its beginning.
fn base(checkpoints: &Checkpoints, wal: &Wal) -> Result<Option<Checkpoint>, Error> {
    let index = |id: Option<crate::ids::LogId>| id.map(|id| id.index).unwrap_or_default();
    let purged = index(wal.purged());
    // What was purged was committed, whether the mark of that was lost or not.
    let end = index(wal.committed()).min(index(wal.last())).max(purged);
    while let Some(one) = checkpoints.newest(end).filter(|one| purged <= one.id.index) {
        match checkpoints.check(&one) {
            Ok(()) => return Ok(Some(one)),
            Err(error) => checkpoints.set_aside(&one, &error.to_string())?,
        }
    }
    if purged == Index(0) {
        Ok(None)
    } else {
        Err(no_checkpoint(checkpoints, purged))
    }
}

fn no_checkpoint(checkpoints: &Checkpoints, purged: Index) -> Error {
    Error::NoCheckpoint {
        first: purged.next(),
        dir: checkpoints.dir().to_owned(),
    }
}
