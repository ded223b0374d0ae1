//! The seam to the file system: everything that this room does with files goes through [`Disk`].
//!
//! Holds: a name is durable only after `sync_dir` of its directory, bytes only after `sync` of
//! their file. Why a trait: tests put `FaultDisk` here and tear, lose, refuse and count.

use std::io;
use std::path::{Path, PathBuf};

#[cfg(feature = "testing")]
mod fault;
mod mapped;
mod os;

#[cfg(feature = "testing")]
pub use fault::{Fault, FaultDisk};
pub use mapped::Mapped;
pub use os::OsDisk;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// To read; it must exist.
    Read,
    /// To read and write; it must exist.
    Write,
    /// To write whole blocks from aligned memory, past the system's cache; it must exist. A write
    /// is durable when it returns. Systems that cannot do this refuse it here or at the first write.
    Direct,
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
    /// Makes the names inside `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whether there is a file or directory of that name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Bytes that may still be written to the volume of `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Which life of the machine this is: another one after each boot, and zeros where the system
    /// does not tell. What a process wrote survives its own death, but not the machine's.
    fn boot_id(&self) -> [u8; 16];
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
    /// Sets room aside for the first `len` bytes, so that writing them never meets a full disk. Does
    /// nothing where the system cannot; what was never written reads as zeros.
    fn reserve(&self, len: u64) -> io::Result<()>;
    /// Gives the blocks of a stretch back to the volume where the system can; it reads as zeros then,
    /// or as before. The length stays.
    fn release(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
    /// Whether a stretch of it was never written, or was given back: the first write there costs the file
    /// system a commit of its own. `false` where the system does not tell; where it keeps zeros as holes (ZFS
    /// that compresses), always `true`.
    fn has_holes(&self) -> io::Result<bool> {
        Ok(false)
    }
    /// Lets the system forget its copy of what is durable, so that the next read sees the device.
    fn forget_cached(&self) -> io::Result<()> {
        Ok(())
    }
    /// The whole file as memory, where the system can. Only for files that nobody writes any more.
    fn map(&self) -> io::Result<Option<Mapped>> {
        Ok(None)
    }
}

/// Makes a directory, and those above it that are not there, so that their names survive a crash;
/// what lies in a directory is worth nothing once its name is lost.
///
/// The name of one that is there already is made durable too: whoever made it may have stopped
/// before it was.
pub fn create_dir_durably(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let mut unsynced = vec![path];
    for dir in path.ancestors().skip(1) {
        if dir.as_os_str().is_empty() || disk.exists(dir)? {
            break;
        }
        unsynced.push(dir);
    }
    for dir in unsynced.into_iter().rev() {
        disk.create_dir_all(dir)?;
        match dir.parent() {
            Some(parent) if parent.as_os_str().is_empty() => disk.sync_dir(Path::new("."))?,
            Some(parent) => disk.sync_dir(parent)?,
            // The root has no name.
            None => {}
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_was_made_durably_survives_whoever_began_it() {
        for seed in 0..64 {
            for (begun, path) in [
                (None, "/a/b/c"),
                (Some("/a/b/c"), "/a/b/c"),
                (None, "x"),
                (Some("x"), "x"),
                (None, "x/y"),
            ] {
                let disk = FaultDisk::new();
                if let Some(begun) = begun {
                    if let Some(parent) = Path::new(begun).parent() {
                        create_dir_durably(&disk, parent).unwrap();
                    }
                    disk.create_dir_all(Path::new(begun)).unwrap();
                }
                create_dir_durably(&disk, Path::new(path)).unwrap();
                disk.power_cut(seed);
                assert!(disk.exists(Path::new(path)).unwrap(), "{path}, seed {seed}");
            }
        }
    }

    #[test]
    fn the_root_and_the_place_one_stands_in_are_there_already() {
        for path in ["/", ".", ""] {
            create_dir_durably(&OsDisk, Path::new(path)).unwrap();
        }
    }
}
