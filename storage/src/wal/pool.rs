//! Rooms for segments to come, made before they are needed, and the one place that meets a full disk.
//!
//! Holds: a segment has all its blocks before the first batch is written to it, so writing a batch
//! never needs room. When no more room can be made the log says [`Shortage`]: whoever admits
//! submissions refuses them then, and votes, purges and cursors go on in what is left of the active
//! segment and in the rooms that are ready: that is the reserve. It ends by itself when room can be
//! made again, or when a purge gives a segment back.
//!
//! A room that was filled with zeros has blocks that were written before: overwriting them changes no
//! metadata, where a growing or merely reserved file costs the file system a commit a batch. A purged
//! segment is taken as it is: a secret salt makes its old batches nobody's, and a block of zeros
//! behind each new batch shows where the new ones end.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::aligned::AlignedBuf;
use super::core::Core;
use super::directory::Room;
use super::entry::SegmentId;
use super::mode::WriteMode;
use crate::disk::{File, Open};
use crate::error::Error;

/// Zeros are written in such steps, so that a batch waits for one step at most.
const FILL_BYTES: usize = 1 << 20;
/// How often a full disk is tried again, and how often the free room is looked at in peace.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The log cannot make room for more segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Since when.
    pub since: Instant,
    /// Bytes that the volume had when it was last looked at.
    pub free_bytes: u64,
    /// Bytes that it must have for the log to go on.
    pub needed_bytes: u64,
}

#[derive(Default)]
pub(super) struct Pool {
    state: Mutex<PoolState>,
    changed: Condvar,
}

#[derive(Default)]
struct PoolState {
    ready: VecDeque<Room>,
    shortage: Option<Shortage>,
    next_number: u64,
    is_closing: bool,
}

impl Pool {
    /// What was found at open.
    pub(super) fn fill(&self, rooms: Vec<Room>, next_number: u64) {
        let mut state = self.state();
        state.ready = rooms.into();
        state.next_number = next_number;
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where one of the rooms lies.
    pub(super) fn any_path(&self) -> Option<PathBuf> {
        self.state().ready.front().map(|room| room.path.clone())
    }

    pub(super) fn shortage(&self) -> Option<Shortage> {
        self.state().shortage.clone()
    }

    /// Ends the preparer, and lets go whoever waits for room.
    pub(super) fn close(&self) {
        self.state().is_closing = true;
        self.changed.notify_all();
    }

    /// A room of `len` bytes at least. Waits where the disk is full; `Closed`: the log ended before.
    pub(super) fn take(&self, core: &Core, len: u64) -> Result<Room, Error> {
        let is_special = len > core.config.segment_bytes;
        let has_preparer = core.config.prepared_segments > 0 && !is_special;
        let mut state = self.state();
        loop {
            // The preparer may have met an error that stops the log: it makes no more.
            core.poison.check()?;
            let at = state.ready.iter().position(|room| len <= room.len);
            if let Some(room) = at.and_then(|at| state.ready.remove(at)) {
                drop(state);
                self.changed.notify_all();
                return Ok(room);
            }
            let is_closing = state.is_closing;
            if !has_preparer || is_closing {
                let number = state.number();
                drop(state);
                if let Some(room) = self.make(core, number, len, false)? {
                    Self::recover(core, &mut self.state());
                    return Ok(room);
                }
                if is_closing {
                    return Err(Error::Closed);
                }
                state = self.state();
            }
            let waited = self.changed.wait_timeout(state, LOOK_AGAIN);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Makes one room at once: for a start that has none. The start waits for the zeros (60 ms, measured):
    /// in a segment without them each batch would take half as long again until the first rotation, and a form
    /// that few people fill in comes to that after months.
    pub(super) fn make_first(&self, core: &Core) -> Result<(), Error> {
        let mut state = self.state();
        if !state.ready.is_empty() {
            return Ok(());
        }
        let number = state.number();
        drop(state);
        let len = core.config.segment_bytes;
        let room = self.make_filled(core, number, len)?;
        self.state().ready.push_back(room);
        Ok(())
    }

    /// A room, or `None` and a shortage where the disk is full.
    fn make(
        &self,
        core: &Core,
        number: u64,
        len: u64,
        is_ahead: bool,
    ) -> Result<Option<Room>, Error> {
        let free_bytes = core.directory.free_bytes()?;
        // What is made ahead of need leaves the others on the volume their room.
        let spare = if is_ahead {
            core.config.reserve_bytes
        } else {
            0
        };
        let needed_bytes = len.saturating_add(spare);
        let made = if free_bytes < needed_bytes {
            Err(None)
        } else {
            self.make_filled(core, number, len).map_err(Some)
        };
        match made {
            Ok(room) => Ok(Some(room)),
            Err(None) => {
                self.lack(core, free_bytes, needed_bytes);
                Ok(None)
            }
            Err(Some(error)) if error.is_full() => {
                self.lack(core, free_bytes, needed_bytes);
                Ok(None)
            }
            Err(Some(error)) => Err(error),
        }
    }

    /// A room whose blocks were all written; not all of them where the log closes meanwhile.
    fn make_filled(&self, core: &Core, number: u64, len: u64) -> Result<Room, Error> {
        let mut fill = |path: &Path, file: &dyn File| {
            let direct = match core.find_mode(path)? {
                WriteMode::Direct => Some(core.directory.open_path(path, Open::Direct)?),
                WriteMode::Buffered => None,
            };
            self.zero(file, direct.as_deref(), len)
                .map_err(Error::io("fill", path))
        };
        core.directory.make_room(number, len, &mut fill)
    }

    /// Writes zeros from end to end, past the cache where that works: they are not read again soon.
    fn zero(&self, file: &dyn File, direct: Option<&dyn File>, len: u64) -> io::Result<()> {
        let step = usize::try_from(len).unwrap_or(FILL_BYTES).min(FILL_BYTES);
        let zeros = AlignedBuf::zeroed(step);
        let mut at = 0;
        while at < len && !self.state().is_closing {
            let count = usize::try_from(len - at).unwrap_or(step).min(step);
            let bytes = zeros.as_slice().get(..count).unwrap_or_default();
            if let Some(direct) = direct {
                direct.write_at(bytes, at)?;
            } else {
                file.write_at(bytes, at)?;
                file.sync()?;
            }
            at += count as u64;
        }
        Ok(())
    }

    fn lack(&self, core: &Core, free_bytes: u64, needed_bytes: u64) {
        let mut state = self.state();
        let since = state.shortage.as_ref().map(|shortage| shortage.since);
        if since.is_none() {
            tracing::warn!(
                free_bytes,
                needed_bytes,
                "disk full: submissions are refused until there is room again"
            );
        }
        let since = since.unwrap_or_else(Instant::now);
        core.metrics.full.set(1);
        state.shortage = Some(Shortage {
            since,
            free_bytes,
            needed_bytes,
        });
    }

    fn recover(core: &Core, state: &mut PoolState) {
        if let Some(shortage) = state.shortage.take() {
            let elapsed_ms = shortage.since.elapsed().as_millis();
            tracing::warn!(elapsed_ms, "there is room on the disk again");
            core.metrics.full.set(0);
        }
    }

    /// Gives a purged segment back: kept as room, or removed where there is enough.
    pub(super) fn recycle(&self, core: &Core, id: SegmentId, len: u64) -> Result<(), Error> {
        let mut state = self.state();
        let wanted = core.config.prepared_segments.max(1);
        if state.ready.len() >= wanted || len != core.config.segment_bytes {
            drop(state);
            return core.directory.remove(id);
        }
        let number = state.number();
        drop(state);
        let room = core.directory.recycle(id, number, len)?;
        self.state().ready.push_back(room);
        self.changed.notify_all();
        Ok(())
    }

    /// The preparer: keeps as many rooms ready as the settings say. Of many it lets some go before it
    /// makes new ones: purges give segments back, and zeros cost as much of the disk as batches do.
    fn run(&self, core: &Core) {
        let wanted = core.config.prepared_segments;
        let enough = if wanted <= 2 { wanted } else { wanted / 2 + 1 };
        let mut is_filling = true;
        let mut state = self.state();
        while !state.is_closing {
            is_filling = state.ready.len() < if is_filling { wanted } else { enough };
            if is_filling {
                let number = state.number();
                drop(state);
                let made = self.make(core, number, core.config.segment_bytes, true);
                state = self.state();
                match made {
                    Ok(Some(room)) => {
                        state.ready.push_back(room);
                        self.changed.notify_all();
                        if state.ready.len() >= wanted {
                            Self::recover(core, &mut state);
                        }
                        continue;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        drop(state);
                        // Nothing of the log is lost, but this disk fails writes: the next may be a batch.
                        core.poison_by(&error);
                        return;
                    }
                }
            } else {
                drop(state);
                self.look(core);
                state = self.state();
            }
            let waited = self.changed.wait_timeout(state, LOOK_AGAIN);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All rooms are ready: still, others fill the volume too, and the state needs some of it.
    fn look(&self, core: &Core) {
        let Ok(free_bytes) = core.directory.free_bytes() else {
            return;
        };
        let needed_bytes = core.config.reserve_bytes / 2;
        if free_bytes < needed_bytes {
            self.lack(core, free_bytes, needed_bytes);
        } else if free_bytes >= needed_bytes / 2 * 3 {
            Self::recover(core, &mut self.state());
        }
    }
}

impl PoolState {
    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

/// Starts the preparer, if the settings want rooms ahead of need.
pub(super) fn spawn(core: &Arc<Core>) -> Result<Option<JoinHandle<()>>, Error> {
    if core.config.prepared_segments == 0 {
        return Ok(None);
    }
    let core = Arc::clone(core);
    let path = core.directory.path().to_owned();
    std::thread::Builder::new()
        .name("wal-preparer".to_owned())
        .spawn(move || core.pool.run(&core))
        .map(Some)
        .map_err(Error::io("start the preparer of", path))
}
