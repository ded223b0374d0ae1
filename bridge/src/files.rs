//! The few things that a sheet asks of a file system, so that tests can break each of them.
//!
//! Holds: nothing here is durable by itself. Bytes are after [`OpenFile::sync`]; a name that was
//! created, renamed or removed is after [`Files::sync_dir`]. All calls block: they run on threads
//! made for it, never on a tokio worker.

use std::fmt;
use std::io;
use std::path::Path;

/// What tells that a file is the one that was left, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub len: u64,
    /// Last change of its bytes, nanoseconds since 1970 UTC as the file system says it.
    pub modified_ns: i64,
    /// The file's number: another file under the same name has another one.
    pub inode: u64,
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Read only; it must be there.
    Read,
    /// Read and write; it must be there.
    Write,
    /// Read and write; made if it is not there, emptied if it is.
    Create,
}

/// A file system.
pub trait Files: Send + Sync + fmt::Debug + 'static {
    /// Opens a file.
    fn open(&self, path: &Path, how: How) -> io::Result<Box<dyn OpenFile>>;
    /// What stands under a name; `None` if nothing does.
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;
    /// Gives a file another name, in the place of whatever had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; fine if there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory and those above it; fine if it is there. Durable when it returns.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file.
pub trait OpenFile: Send + fmt::Debug {
    /// Reads from `offset`; 0 at the end. May read less than there is room for.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts or lengthens it.
    fn set_len(&mut self, len: u64) -> io::Result<()>;
    /// Makes its bytes and its length durable.
    fn sync(&mut self) -> io::Result<()>;
    /// What tells this file from another.
    fn stat(&self) -> io::Result<Stat>;
}

/// The operating system's. The only place in this room that touches it.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFiles;

#[derive(Debug)]
struct OsFile(std::fs::File);

impl Files for OsFiles {
    fn open(&self, path: &Path, how: How) -> io::Result<Box<dyn OpenFile>> {
        let mut options = std::fs::OpenOptions::new();
        options.read(true);
        match how {
            How::Read => {}
            How::Write => {
                options.write(true);
            }
            How::Create => {
                options.write(true).create(true).truncate(true);
            }
        }
        Ok(Box::new(OsFile(options.open(path)?)))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(stat_of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        // Each new directory is a name in the one above, which is synced only where it was new:
        // those further up may not even be ours to open.
        let missing: Vec<&Path> = dir
            .ancestors()
            .take_while(|above| !above.as_os_str().is_empty() && !above.is_dir())
            .collect();
        std::fs::create_dir_all(dir)?;
        for above in missing.iter().filter_map(|made| made.parent()) {
            self.sync_dir(above)?;
        }
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the seam that tests replace"
    )]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        std::fs::File::open(dir)?.sync_all()
    }
}

impl OpenFile for OsFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.0, buf, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(stat_of(&self.0.metadata()?))
    }
}

/// What a person keeps in a file of its own, as a password; the line's end is not part of it.
#[cfg(feature = "kafka")]
pub(crate) fn read_secret(path: &Path) -> io::Result<String> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn stat_of(metadata: &std::fs::Metadata) -> Stat {
    use std::os::unix::fs::MetadataExt;
    Stat {
        len: metadata.len(),
        modified_ns: metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec()),
        inode: metadata.ino(),
    }
}
