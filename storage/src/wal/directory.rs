//! The log's directory: which files it has, and how one comes and goes.
//!
//! ```text
//! LOCK                    held by the process that writes
//! 0000000000000001.seg    segments, numbered from 1; the oldest go when they are purged
//! 0000000000000002.tmp    a segment whose header is not durable yet: never read, removed at open
//! ```
//! Holds: a `.seg` name appears only when its header is durable, and goes only when the files
//! before it have gone durably; so the numbers that are there never have a gap. Nothing else in
//! the directory is touched.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::SegmentId;
use super::format::SegmentHeader;
use crate::disk::{Disk, File, Open, create_dir_durably};
use crate::error::Error;

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
        let mut ids: Vec<SegmentId> = Vec::new();
        for path in self
            .disk
            .list(&self.path)
            .map_err(Error::io("list", &self.path))?
        {
            if path.extension().is_none_or(|extension| extension != "seg") {
                continue;
            }
            let number = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok());
            let id = SegmentId(number.unwrap_or_default());
            if id.0 == 0 || self.path_of(id) != path {
                let source = std::io::ErrorKind::InvalidData.into();
                return Err(Error::Io {
                    op: "number",
                    path,
                    source,
                });
            }
            ids.push(id);
        }
        ids.sort_unstable();
        for (one, two) in ids.iter().zip(ids.iter().skip(1)) {
            if one.next() != *two {
                let what = "the file is missing";
                return Err(Error::Corrupt {
                    segment: one.next(),
                    offset: 0,
                    what,
                });
            }
        }
        Ok(ids)
    }

    /// Removes what a crash left of segments that had not been made.
    pub(super) fn remove_unfinished(&self) -> Result<(), Error> {
        for path in self
            .disk
            .list(&self.path)
            .map_err(Error::io("list", &self.path))?
        {
            if path.extension().is_some_and(|extension| extension == "tmp") {
                self.disk
                    .remove(&path)
                    .map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Makes a segment: when this returns, name and header are durable.
    pub(super) fn create(&self, header: &SegmentHeader) -> Result<Arc<dyn File>, Error> {
        let path = self.path_of(header.id);
        let unfinished = path.with_extension("tmp");
        let file = self
            .disk
            .open(&unfinished, Open::CreateOrTruncate)
            .map_err(Error::io("create", &unfinished))?;
        file.write_at(&header.encode(), 0)
            .map_err(Error::io("write", &unfinished))?;
        file.sync().map_err(Error::io("sync", &unfinished))?;
        self.disk
            .rename(&unfinished, &path)
            .map_err(Error::io("rename", &unfinished))?;
        self.sync()?;
        Ok(Arc::from(file))
    }

    /// Opens a segment.
    pub(super) fn open(&self, id: SegmentId, how: Open) -> Result<Arc<dyn File>, Error> {
        let path = self.path_of(id);
        let file = self
            .disk
            .open(&path, how)
            .map_err(Error::io("open", &path))?;
        Ok(Arc::from(file))
    }

    /// Removes a segment, durably: the next one may go only after this.
    pub(super) fn remove(&self, id: SegmentId) -> Result<(), Error> {
        let path = self.path_of(id);
        self.disk
            .remove(&path)
            .map_err(Error::io("remove", &path))?;
        self.sync()
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
