//! The filler: a file of somebody else's on the same disk, that takes all room but some.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// Less than asked for, where the file system needs some for itself.
const STEP: u64 = 256 << 10;

#[derive(Debug)]
pub(crate) struct Filler {
    root: PathBuf,
    left: u64,
}

impl Filler {
    /// `left` bytes are what it leaves.
    pub(crate) fn new(root: &Path, left: u64) -> Self {
        let root = root.to_owned();
        Self { root, left }
    }

    /// Answers how much it has taken.
    pub(crate) fn fill(&self) -> anyhow::Result<u64> {
        let mut open = OpenOptions::new();
        let file = open.create_new(true).write(true).open(self.path())?;
        let mut len = self.room()?.saturating_sub(self.left);
        while len > 0 {
            match fallocate(&file, FallocateFlags::empty(), 0, len) {
                Ok(()) => break,
                Err(Errno::NOSPC) => len = len.saturating_sub(STEP),
                Err(error) => return Err(error).context("cannot fill the disk"),
            }
        }
        ensure!(len > 0, "the disk was full before it was filled");
        Ok(len)
    }

    /// Gives all back; when it returns there is room.
    pub(crate) fn free(&self) -> anyhow::Result<()> {
        std::fs::remove_file(self.path())?;
        // The blocks can be had once the journal has it.
        OpenOptions::new().read(true).open(&self.root)?.sync_all()?;
        Ok(())
    }

    /// For those without privileges.
    fn room(&self) -> anyhow::Result<u64> {
        let disk = statvfs(&self.root)?;
        Ok(disk.f_bavail * disk.f_frsize)
    }

    fn path(&self) -> PathBuf {
        self.root.join("filler")
    }
}
