//! Checkpoints: files that hold the whole state as it was after one entry.
//!
//! ```text
//! checkpoints/0000000000004711.ckpt       the state after entry 4711, as `export` writes it
//! checkpoints/0000000000004711.ckpt.tmp   one that is being written; removed at the next open
//! quarantine/checkpoint-4711-1            one that could not be used
//! ```
//! Holds: a name `*.ckpt` is given only to a whole, synced file and is never written to again. They
//! lie beside the state's directory, not in it, since that one is set aside as a whole. What is
//! damaged is moved to quarantine, never deleted; deleted is only what another one has made useless.
//!
//! The log may be purged up to a checkpoint that is here (see [`Checkpoints::floor`]), and of those
//! at or below what is *durably* purged the newest stays. Above it a few stay: where a stuck task
//! lets the log grow for ever, every second one goes when they are too many. The order, and what a start finds when the
//! power goes between two steps:
//!
//! 1. the checkpoint is written, synced, renamed, its directory synced: a `.tmp` that is removed, or
//!    a whole file under its name;
//! 2. the purge is written to the log and synced: a log that still has the entries, which costs
//!    nothing, or one that begins behind the checkpoint. Whatever stands in front of the purge in
//!    the log is durable with it, so under every policy the log reaches the checkpoint's entry;
//! 3. older files are removed: some or all of them are still there, and the next round removes them.
//!    Were they removed before step 2, a log that lost its unsynced tail could end below the only
//!    checkpoint left, and nothing would cover what it had purged before.
//!
//! A file above the end of the log, or of another entry than the log has there, belongs to a history
//! that did not happen (the log lost a tail that was never synced): it is put aside as well.

mod cutter;
mod file;

use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

pub(crate) use cutter::Cutter;
pub use file::Incoming;
use file::{FileReader, FileWriter};

use super::{export, home};
use crate::disk::{Disk, Open, create_dir_durably};
use crate::error::Error;
use crate::ids::{Index, LogId};
use crate::rows::Read;
use crate::wal::Wal;

/// What an export ends with: an empty chunk.
const END: [u8; 8] = [0; 8];
/// More of them cost room and make a rebuild no shorter; only the horizon moves in finer steps.
const CHECKPOINTS_MAX: usize = 16;
/// What is read and written at once.
const BUFFER_BYTES: usize = 512 << 10;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last entry that is in it.
    pub id: LogId,
    /// The members as of that entry, as the room above wrote them.
    pub members: Option<(LogId, Bytes)>,
    /// How long it is.
    pub bytes: u64,
}

/// All of one node. Clones are the same ones.
#[derive(Clone)]
pub struct Checkpoints {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    shelf: Mutex<Shelf>,
    /// One is to be cut as soon as there is a boundary.
    is_wanted: AtomicBool,
}

#[derive(Default)]
struct Shelf {
    known: BTreeMap<Index, Checkpoint>,
    /// Durably purged up to here.
    purged: Index,
    /// A peer's, which is at or below its horizon whatever ours was then.
    installed: Index,
}

impl Checkpoints {
    /// Looks what there is in `dir`, and clears away what a crash left half done.
    pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, Error> {
        let this = Self {
            inner: Arc::new(Inner {
                disk,
                dir: dir.to_owned(),
                shelf: Mutex::default(),
                is_wanted: AtomicBool::new(false),
            }),
        };
        let disk = &this.inner.disk;
        if !disk.exists(dir).map_err(Error::io("look for", dir))? {
            return Ok(this);
        }
        let mut is_changed = false;
        for path in disk.list(dir).map_err(Error::io("look into", dir))? {
            let extension = path.extension().unwrap_or_default();
            if extension == "tmp" {
                disk.remove(&path).map_err(Error::io("remove", &path))?;
                is_changed = true;
            } else if extension == "ckpt" {
                match this.look(&path) {
                    Ok(found) => drop(this.shelf().known.insert(found.id.index, found)),
                    Err(error) => this.set_path_aside(&path, &error.to_string())?,
                }
            }
        }
        if is_changed {
            disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        }
        Ok(this)
    }

    /// Puts aside what does not belong to this log, and remembers what is purged.
    pub(super) fn fit(&self, wal: &Wal) -> Result<(), Error> {
        let last = wal.last().map(|last| last.index).unwrap_or_default();
        let purged = wal.purged().map(|id| id.index).unwrap_or_default();
        for found in self.all() {
            let index = found.id.index;
            let is_ours = index < purged
                || index <= last && wal.log_id(index)?.is_none_or(|id| id == found.id);
            if !is_ours {
                // What a crash leaves where the log's tail was not synced, or not here.
                self.shelf().known.remove(&index);
                let to = self.move_aside(&self.path(index))?;
                tracing::info!(%index, path = %to.display(), "checkpoint of no entry of the log set aside");
            }
        }
        self.shelf().purged = purged;
        Ok(())
    }

    /// Where they lie.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// All of them, oldest first.
    pub fn all(&self) -> Vec<Checkpoint> {
        self.shelf().known.values().cloned().collect()
    }

    /// The newest one at or below `index`.
    pub fn newest(&self, index: Index) -> Option<Checkpoint> {
        let shelf = self.shelf();
        shelf
            .known
            .range(..=index)
            .next_back()
            .map(|(_, one)| one)
            .cloned()
    }

    /// The one up to which the log may be purged, and which a peer is sent, where the horizon is
    /// `horizon`. The same one again after a restart, or a newer one.
    pub fn floor(&self, horizon: Index) -> Option<Checkpoint> {
        let limit = {
            let shelf = self.shelf();
            horizon.max(shelf.purged).max(shelf.installed)
        };
        self.newest(limit)
    }

    /// Asks for one to be cut at the next boundary of a segment, however little has happened.
    pub fn demand(&self) {
        self.inner.is_wanted.store(true, Ordering::Release);
    }

    fn is_wanted(&self) -> bool {
        self.inner.is_wanted.load(Ordering::Acquire)
    }

    /// The log is durably purged up to `index`.
    pub fn purged(&self, index: Index) {
        let mut shelf = self.shelf();
        shelf.purged = shelf.purged.max(index);
    }

    /// Removes those that a newer one has made useless, and every second one where they are too
    /// many. Returns how many. `horizon` as for [`Self::floor`], whose answer stays.
    pub fn tidy(&self, horizon: Index) -> Result<usize, Error> {
        let floor = self.floor(horizon).map(|one| one.id.index);
        let mut useless = Vec::new();
        {
            let mut shelf = self.shelf();
            let purged = shelf.purged;
            let covers = shelf.known.range(..=purged).next_back();
            if let Some(stays) = covers.map(|(at, _)| *at) {
                let kept = shelf.known.split_off(&stays);
                useless = std::mem::replace(&mut shelf.known, kept)
                    .into_keys()
                    .collect();
            }
            if shelf.known.len() > CHECKPOINTS_MAX {
                let ends = [shelf.known.keys().next(), shelf.known.keys().next_back()];
                let ends = ends.map(Option::<&Index>::copied);
                let surplus = shelf.known.keys().copied().skip(1).step_by(2);
                let surplus = surplus.filter(|at| Some(*at) != floor && !ends.contains(&Some(*at)));
                let surplus: Vec<Index> = surplus.collect();
                for at in surplus {
                    shelf.known.remove(&at);
                    useless.push(at);
                }
            }
        }
        let Inner { disk, dir, .. } = &*self.inner;
        for at in &useless {
            let path = self.path(*at);
            disk.remove(&path).map_err(Error::io("remove", &path))?;
        }
        if !useless.is_empty() {
            disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        }
        Ok(useless.len())
    }

    /// Reads one from its beginning. What comes is checked by whoever makes a state of it.
    pub fn read(&self, one: &Checkpoint) -> Result<impl io::Read + Send + use<>, Error> {
        let path = self.path(one.id.index);
        let file = self.inner.disk.open(&path, Open::Read);
        let file = file.map_err(Error::io("open", &path))?;
        Ok(BufReader::with_capacity(
            BUFFER_BYTES,
            FileReader::new(file),
        ))
    }

    /// Reads all of one and compares it with what it says about itself.
    pub fn check(&self, one: &Checkpoint) -> Result<(), Error> {
        export::check(&mut self.read(one)?)
    }

    /// A peer's checkpoint on its way to here.
    pub fn receive(&self) -> Result<Incoming, Error> {
        self.ensure_dir()?;
        let path = self.inner.dir.join("incoming.ckpt.tmp");
        let file = FileWriter::create(&*self.inner.disk, &path, None)?;
        Ok(Incoming::new(self.clone(), path, file))
    }

    /// One that a peer has sent counts as being below the horizon.
    pub fn install(&self, one: &Checkpoint) {
        let mut shelf = self.shelf();
        shelf.installed = shelf.installed.max(one.id.index);
    }

    /// Moves one to quarantine.
    pub fn set_aside(&self, one: &Checkpoint, why: &str) -> Result<(), Error> {
        self.shelf().known.remove(&one.id.index);
        self.set_path_aside(&self.path(one.id.index), why)
    }

    fn set_path_aside(&self, path: &Path, why: &str) -> Result<(), Error> {
        let to = self.move_aside(path)?;
        tracing::warn!(error = why, path = %to.display(), "damaged checkpoint set aside");
        Ok(())
    }

    fn move_aside(&self, path: &Path) -> Result<PathBuf, Error> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("checkpoint-{}", stem.trim_start_matches('0'));
        home::set_aside(&*self.inner.disk, path, &self.inner.dir, &name)
    }

    /// Writes the state in `rows` down, durably. `cancel` breaks it off, with an error.
    pub(super) fn write(
        &self,
        rows: &dyn Read,
        id: LogId,
        cancel: &Arc<AtomicBool>,
    ) -> Result<Checkpoint, Error> {
        self.ensure_dir()?;
        let path = temporary(&self.path(id.index));
        let file = FileWriter::create(&*self.inner.disk, &path, Some(Arc::clone(cancel)))?;
        let mut to = BufWriter::with_capacity(BUFFER_BYTES, file);
        let written = export::export(rows, &mut to);
        let flushed = written.and_then(|()| to.flush().map_err(Error::io("write", &path)));
        let file = to.into_parts().0;
        if let Err(error) = flushed {
            drop(file);
            // Should it stay, the next open removes it.
            drop(self.inner.disk.remove(&path));
            return Err(error);
        }
        self.keep(&path, &file)
    }

    /// Gives a whole file its name.
    fn keep(&self, path: &Path, file: &FileWriter) -> Result<Checkpoint, Error> {
        file.sync(path)?;
        let found = self.look(path)?;
        let to = self.path(found.id.index);
        let Inner { disk, dir, .. } = &*self.inner;
        disk.rename(path, &to).map_err(Error::io("rename", path))?;
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        self.shelf().known.insert(found.id.index, found.clone());
        Ok(found)
    }

    /// What the beginning and the end of a file say.
    fn look(&self, path: &Path) -> Result<Checkpoint, Error> {
        let file = self.inner.disk.open(path, Open::Read);
        let file = file.map_err(Error::io("open", path))?;
        let bytes = file.len().map_err(Error::io("look at", path))?;
        let mut end = END.map(|byte| !byte);
        let at = bytes.saturating_sub(END.len() as u64);
        let count = crate::disk::read_full(&*file, &mut end, at);
        if count.map_err(Error::io("read", path))? < END.len() || end != END {
            return Err(Error::Decode {
                what: "an exported state: its end",
            });
        }
        let head = export::head(&mut BufReader::new(FileReader::new(file)))?;
        let id = head.applied.id.ok_or(Error::Unfit {
            what: "a checkpoint of no entry",
        })?;
        Ok(Checkpoint {
            id,
            members: head.members,
            bytes,
        })
    }

    fn ensure_dir(&self) -> Result<(), Error> {
        let Inner { disk, dir, .. } = &*self.inner;
        create_dir_durably(&**disk, dir).map_err(Error::io("create", dir))
    }

    fn path(&self, index: Index) -> PathBuf {
        self.inner.dir.join(format!("{:016}.ckpt", index.0))
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.inner
            .shelf
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

impl std::fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoints")
            .field("dir", &self.inner.dir)
            .finish_non_exhaustive()
    }
}
