//! The seam to the file system: everything that this room does with files goes through [`Disk`].
//!
//! Holds: a name is durable only after `sync_dir` of its directory, bytes only after `sync` of
//! their file. Why a trait: tests put `FaultDisk` here and tear, lose, refuse and count.

use std::io;
use std::path::{Path, PathBuf};

#[cfg(feature = "testing")]
mod fault;
mod os;

#[cfg(feature = "testing")]
pub use fault::{Fault, FaultDisk};
pub use os::OsDisk;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// To read; it must exist.
    Read,
    /// To read and write; it must exist.
    Write,
    /// To read and write; it must not exist.
    Create,
    /// To read and write; what was there is gone.
    CreateOrTruncate,
}

/// Directories and names.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>>;
    /// Makes a directory and those above it.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Everything directly inside `dir`, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Gives a file or directory another name; what had that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and all that is in it.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes the names inside `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whether there is a file or directory of that name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Bytes that may still be written to the volume of `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Holds `path` against every other process until the guard drops; `WouldBlock` if held.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;

    /// The whole of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, Open::Read)?;
        let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        let count = read_full(&*file, &mut bytes, 0)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Replaces a whole file: after this returns it holds `bytes`, durably; a crash on the way
    /// leaves the old content or the new, never a mixture.
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut temporary = name.to_os_string();
        temporary.push(".tmp");
        let temporary = path.with_file_name(temporary);
        let file = self.open(&temporary, Open::CreateOrTruncate)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        self.rename(&temporary, path)?;
        self.sync_dir(path.parent().unwrap_or_else(|| Path::new(".")))
    }
}

/// One open file. Shared: reads and writes name their offset.
#[expect(
    clippy::len_without_is_empty,
    reason = "nobody asks a file whether it is empty"
)]
pub trait File: Send + Sync {
    /// Reads some bytes; fewer than asked for at the end of the file, 0 beyond it.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `buf`; the file grows as needed.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable, and the length with it.
    fn sync(&self) -> io::Result<()>;
    /// The length.
    fn len(&self) -> io::Result<u64>;
    /// Lets the system forget its copy of what is durable, so that the next read sees the device.
    fn forget_cached(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads until `buf` is full or the file ends; returns how much there was.
pub(crate) fn read_full(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut count = 0;
    while let Some(rest) = buf.get_mut(count..).filter(|rest| !rest.is_empty()) {
        let got = match file.read_at(rest, offset + count as u64) {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if got == 0 {
            break;
        }
        count += got;
    }
    Ok(count)
}
