//! A file of [`Disk`] as a stream, and a stream that becomes a checkpoint.
//!
//! Holds: a checkpoint that comes from a peer is whole, checked and durable before it has a name
//! that an open looks at.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Checkpoint, Checkpoints};
use crate::disk::{Disk, File, Open};
use crate::error::Error;
use crate::state::export;

/// Reads from the beginning.
pub(super) struct FileReader {
    file: Box<dyn File>,
    offset: u64,
}

impl FileReader {
    pub(super) const fn new(file: Box<dyn File>) -> Self {
        Self { file, offset: 0 }
    }
}

impl io::Read for FileReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buf, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Writes from the beginning.
pub(super) struct FileWriter {
    file: Box<dyn File>,
    offset: u64,
    /// Set: nothing more is written.
    cancel: Option<Arc<AtomicBool>>,
}

impl FileWriter {
    pub(super) fn create(
        disk: &dyn Disk,
        path: &Path,
        cancel: Option<Arc<AtomicBool>>,
    ) -> Result<Self, Error> {
        let file = disk.open(path, Open::CreateOrTruncate);
        Ok(Self {
            file: file.map_err(Error::io("create", path))?,
            offset: 0,
            cancel,
        })
    }

    pub(super) fn sync(&self, path: &Path) -> Result<(), Error> {
        self.file.sync().map_err(Error::io("sync", path))
    }
}

impl io::Write for FileWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let is_off = |cancel: &Arc<AtomicBool>| cancel.load(Ordering::Acquire);
        if self.cancel.as_ref().is_some_and(is_off) {
            return Err(io::Error::other("the node is stopping"));
        }
        self.file.write_at(buf, self.offset)?;
        self.offset += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A checkpoint on its way to here: written to, then [finished](Self::finish).
pub struct Incoming {
    shelf: Checkpoints,
    path: PathBuf,
    file: FileWriter,
}

impl Incoming {
    pub(super) const fn new(shelf: Checkpoints, path: PathBuf, file: FileWriter) -> Self {
        Self { shelf, path, file }
    }

    /// Checks what came, makes it durable and gives it its name.
    pub fn finish(self) -> Result<Checkpoint, Error> {
        let disk = &self.shelf.inner.disk;
        let file = disk.open(&self.path, Open::Read);
        let file = file.map_err(Error::io("open", &self.path))?;
        let mut from = io::BufReader::with_capacity(super::BUFFER_BYTES, FileReader::new(file));
        export::check(&mut from)?;
        if from.read(&mut [0]).map_err(Error::io("read", &self.path))? != 0 {
            return Err(Error::Decode {
                what: "an exported state: its end",
            });
        }
        self.shelf.keep(&self.path, &self.file)
    }
}

impl io::Write for Incoming {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
