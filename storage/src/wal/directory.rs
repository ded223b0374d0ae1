//! The log's directory: which files it has, and how one comes and goes.
//!
//! ```text
//! LOCK                    held by the process that writes
//! hardstate.0, .1         see `hardstate`
//! 0000000000000001.seg    segments, numbered from 1; the oldest go when they are purged
//! 0000000000000002.zero   room for a segment to come: zeros from end to end
//! 0000000000000003.used   the same: a purged segment, whose old bytes are still in it
//! 0000000000000004.tmp    room that is being made: never used, removed at open
//! 0000000000000001.damaged  empty: segment 1 was found damaged, so its footer is not believed
//! quarantine/             damaged segments that the log no longer needs, as they were found
//! ```
//! Holds: a `.seg` name appears only when its header is durable, and goes only when the files
//! before it have gone durably; so the numbers that are there never have a gap. Nothing else in
//! the directory is touched.
//!
//! A cut between the two halves of a rename may leave one file under both names, on file systems
//! without a journal. [`Directory::rooms`] takes the spare name away then: writing a new segment into
//! what is still one would be the end of both.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::SegmentId;
use super::format::{BLOCK_LEN, FIRST_BATCH_AT, HeaderCopy, SegmentHeader};
use crate::disk::{Disk, File, Open, create_dir_durably, read_full};
use crate::error::Error;
use crate::ids::COUNT_MAX;

/// Room for a segment to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) path: PathBuf,
    pub(super) len: u64,
    /// Old bytes are in it.
    pub(super) is_recycled: bool,
}

/// The directory of one log.
#[derive(Clone)]
pub(super) struct Directory {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Directory {
    pub(super) fn new(disk: Arc<dyn Disk>, path: &Path) -> Self {
        Self {
            disk,
            path: path.to_owned(),
        }
    }

    /// Makes the directory, and those above it that are not there, durably.
    pub(super) fn ensure(&self) -> Result<(), Error> {
        create_dir_durably(&*self.disk, &self.path).map_err(Error::io("create", &self.path))
    }

    /// Keeps every other process out until the guard drops.
    pub(super) fn lock(&self) -> Result<Box<dyn Send + Sync>, Error> {
        let path = self.path.join("LOCK");
        self.disk.lock(&path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::WouldBlock {
                Error::Locked { path }
            } else {
                Error::Io {
                    op: "lock",
                    path,
                    source: error,
                }
            }
        })
    }

    /// The segments, oldest first. A name that should be one and is none is an error: what cannot
    /// be read is never taken for "nothing there".
    pub(super) fn segments(&self) -> Result<Vec<SegmentId>, Error> {
        let mut ids = Vec::new();
        for path in self.list()? {
            if has_extension(&path, "seg") {
                let id = SegmentId(number_of(&path).unwrap_or_default());
                if id.0 == 0 || COUNT_MAX < id.0 || self.path_of(id) != path {
                    let source = std::io::ErrorKind::InvalidData.into();
                    return Err(Error::io("number", path)(source));
                }
                ids.push(id);
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn list(&self) -> Result<Vec<PathBuf>, Error> {
        self.disk
            .list(&self.path)
            .map_err(Error::io("list", &self.path))
    }

    /// Removes what a crash left of rooms that were being made, and marks of segments that are gone.
    pub(super) fn remove_unfinished(&self) -> Result<(), Error> {
        let paths = self.list()?;
        for path in &paths {
            let is_left =
                has_extension(path, "damaged") && !paths.contains(&path.with_extension("seg"));
            if is_left || has_extension(path, "tmp") {
                self.remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Notes, durably, that a segment was found damaged.
    pub(super) fn mark(&self, id: SegmentId) -> Result<(), Error> {
        let path = self.path_of(id).with_extension("damaged");
        self.open_path(&path, Open::CreateOrTruncate)?
            .sync()
            .map_err(Error::io("sync", &path))?;
        self.sync()
    }

    /// The segments that were found damaged.
    pub(super) fn marked(&self) -> Result<BTreeSet<SegmentId>, Error> {
        let paths = self.list()?.into_iter();
        let marks = paths.filter(|path| has_extension(path, "damaged"));
        Ok(marks
            .filter_map(|path| number_of(&path).map(SegmentId))
            .collect())
    }

    /// The rooms that are there, whole and of the length `len`; others are removed, and names that
    /// stand for a segment too. `salts`: of the segments that there are.
    pub(super) fn rooms(&self, len: u64, salts: &[u64]) -> Result<Vec<Room>, Error> {
        let mut rooms = Vec::new();
        for path in self.list()? {
            let is_recycled = has_extension(&path, "used");
            if !is_recycled && !has_extension(&path, "zero") {
                continue;
            }
            let file = self.open_path(&path, Open::Read)?;
            let mut head = vec![0; BLOCK_LEN];
            let is_read = read_full(&*file, &mut head, 0).is_ok();
            let is_segment = match SegmentHeader::decode(&head) {
                HeaderCopy::Good(header) => salts.contains(&header.salt),
                HeaderCopy::Version(_) | HeaderCopy::Bad => false,
            };
            if is_read && !is_segment && is_whole(&*file, len) {
                rooms.push(Room {
                    path,
                    len,
                    is_recycled,
                });
            } else {
                drop(file);
                self.remove_file(&path)?;
            }
        }
        Ok(rooms)
    }

    /// A number for the next room.
    pub(super) fn next_room_number(&self) -> Result<u64, Error> {
        let numbers = self.list()?.into_iter().filter(|path| {
            ["zero", "used", "tmp"]
                .iter()
                .any(|extension| has_extension(path, extension))
        });
        Ok(numbers
            .filter_map(|path| number_of(&path))
            .max()
            .unwrap_or(0)
            + 1)
    }

    /// Makes room of `len` bytes: when this returns it has its blocks, and name and length are
    /// durable. `fill` writes the zeros, in steps of its own.
    pub(super) fn make_room(
        &self,
        number: u64,
        len: u64,
        fill: &mut dyn FnMut(&Path, &dyn File) -> Result<(), Error>,
    ) -> Result<Room, Error> {
        let unfinished = self.path.join(format!("{number:016}.tmp"));
        let made = self.make_unfinished(&unfinished, len, fill);
        if let Err(error) = made {
            // What was made of it may be what fills the disk; the first error is the one to tell.
            drop(self.disk.remove(&unfinished));
            return Err(error);
        }
        let path = unfinished.with_extension("zero");
        self.disk
            .rename(&unfinished, &path)
            .map_err(Error::io("rename", &unfinished))?;
        self.sync()?;
        Ok(Room {
            path,
            len,
            is_recycled: false,
        })
    }

    fn make_unfinished(
        &self,
        path: &Path,
        len: u64,
        fill: &mut dyn FnMut(&Path, &dyn File) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let file = self.open_path(path, Open::CreateOrTruncate)?;
        file.reserve(len).map_err(Error::io("reserve", path))?;
        fill(path, &*file)?;
        let end = file.len().map_err(Error::io("measure", path))?;
        if end < len {
            // The system cannot reserve and nothing was filled: the last block gives the length.
            let zeros = [0; BLOCK_LEN];
            file.write_at(&zeros, len - BLOCK_LEN as u64)
                .map_err(Error::io("write", path))?;
        }
        file.sync().map_err(Error::io("sync", path))
    }

    /// Makes a room the next segment: when this returns, name and header are durable.
    pub(super) fn begin(&self, room: &Room, header: &SegmentHeader) -> Result<(), Error> {
        let mut bytes = header.encode();
        // Whatever lay where the first batch belongs.
        bytes.resize(bytes.len() + BLOCK_LEN, 0);
        let file = self.open_path(&room.path, Open::Write)?;
        file.write_at(&bytes, 0)
            .map_err(Error::io("write", &room.path))?;
        file.sync().map_err(Error::io("sync", &room.path))?;
        self.disk
            .rename(&room.path, &self.path_of(header.id))
            .map_err(Error::io("rename", &room.path))?;
        self.sync()
    }

    /// Makes a purged segment room for another one.
    pub(super) fn recycle(&self, id: SegmentId, number: u64, len: u64) -> Result<Room, Error> {
        let path = self.path.join(format!("{number:016}.used"));
        let old = self.path_of(id);
        self.disk
            .rename(&old, &path)
            .map_err(Error::io("rename", old))?;
        self.sync()?;
        Ok(Room {
            path,
            len,
            is_recycled: true,
        })
    }

    /// Moves a damaged segment away, as it is.
    pub(super) fn quarantine(&self, id: SegmentId) -> Result<PathBuf, Error> {
        let dir = self.path.join("quarantine");
        create_dir_durably(&*self.disk, &dir).map_err(Error::io("create", &dir))?;
        let old = self.path_of(id);
        let mut path = dir.join(format!("{:016}.seg", id.0));
        let mut number = 1;
        while self
            .disk
            .exists(&path)
            .map_err(Error::io("look for", &path))?
        {
            number += 1;
            path = dir.join(format!("{:016}-{number}.seg", id.0));
        }
        self.disk
            .rename(&old, &path)
            .map_err(Error::io("set aside", old))?;
        // First the new name, then the loss of the old one.
        self.disk.sync_dir(&dir).map_err(Error::io("sync", &dir))?;
        self.sync()?;
        let mark = self.path_of(id).with_extension("damaged");
        if self
            .disk
            .exists(&mark)
            .map_err(Error::io("look for", &mark))?
        {
            self.remove_file(&mark)?;
        }
        Ok(path)
    }

    /// Opens a segment.
    pub(super) fn open(&self, id: SegmentId, how: Open) -> Result<Arc<dyn File>, Error> {
        self.open_path(&self.path_of(id), how)
    }

    pub(super) fn open_path(&self, path: &Path, how: Open) -> Result<Arc<dyn File>, Error> {
        let file = self.disk.open(path, how).map_err(Error::io("open", path))?;
        Ok(Arc::from(file))
    }

    /// Removes a segment, durably: the next one may go only after this.
    pub(super) fn remove(&self, id: SegmentId) -> Result<(), Error> {
        self.remove_file(&self.path_of(id))?;
        self.sync()
    }

    fn remove_file(&self, path: &Path) -> Result<(), Error> {
        self.disk.remove(path).map_err(Error::io("remove", path))
    }

    /// Bytes that the volume still has.
    pub(super) fn free_bytes(&self) -> Result<u64, Error> {
        self.disk
            .free_bytes(&self.path)
            .map_err(Error::io("measure the volume of", &self.path))
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the names durable.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.disk
            .sync_dir(&self.path)
            .map_err(Error::io("sync", &self.path))
    }

    /// A segment's name, for errors and for people.
    pub(super) fn path_of(&self, id: SegmentId) -> PathBuf {
        self.path.join(format!("{:016}.seg", id.0))
    }
}

/// Whether a file has this length and was written from end to end: then no batch needs room, and none costs
/// the file system a commit of its own.
pub(super) fn is_whole(file: &dyn File, len: u64) -> bool {
    file.len().is_ok_and(|found| found == len) && file.has_holes().is_ok_and(|has_holes| !has_holes)
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

const _: () = assert!(
    FIRST_BATCH_AT == 2 * BLOCK_LEN as u64,
    "a header's two copies end where the first batch begins"
);
