//! How often a disk was told to keep what it has: the kernel's count of flushes.
//!
//! Holds: a sync that returned after data was written is counted before it returns, so an
//! acknowledgement without a flush between sending and answer was given too early. Others that
//! use the same disk can only add: they may hide a fault, never make one.
//! Why this way: `kill -9` does not lose what the kernel holds, so killing alone never shows a
//! missing sync; asking the product would mean to believe it.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// The place of "flush requests completed" in a disk's `stat`.
const FLUSHES: usize = 15;
const TRIALS: u64 = 50;

#[derive(Debug)]
pub(crate) struct Flushes {
    /// Of every disk that may be meant.
    stats: Vec<PathBuf>,
}

impl Flushes {
    /// Of the disk that holds `directory`; of all disks where the kernel does not say which (an
    /// overlay). Fails where nothing can be judged: no disk below (tmpfs), or one whose flushes
    /// are not counted.
    pub(crate) fn of(directory: &Path) -> anyhow::Result<Self> {
        let device = std::fs::metadata(directory)?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let stats = match std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")) {
            // Of a partition the whole disk is counted.
            Ok(block) if block.join("partition").exists() => {
                vec![
                    block
                        .parent()
                        .context("a partition of no disk")?
                        .join("stat"),
                ]
            }
            Ok(block) => vec![block.join("stat")],
            Err(_) => all_disks()?,
        };
        let flushes = Self { stats };
        flushes.calibrate(directory)?;
        Ok(flushes)
    }

    pub(crate) fn count(&self) -> anyhow::Result<u64> {
        self.stats.iter().map(|stat| count(stat)).sum()
    }

    /// Our own syncs must be counted, each one.
    fn calibrate(&self, directory: &Path) -> anyhow::Result<()> {
        let file = tempfile::tempfile_in(directory)?;
        for trial in 0..TRIALS {
            let before = self.count()?;
            file.write_all_at(&[1; 4096], trial * 4096)?;
            file.sync_data()?;
            ensure!(
                self.count()? > before,
                "syncs in {} are not counted: no disk can be the witness, choose another --dir",
                directory.display()
            );
        }
        Ok(())
    }
}

fn all_disks() -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir("/sys/block").context("no disks in /sys/block")?;
    let stats = entries.map(|entry| Ok(entry?.path().join("stat")));
    stats.collect()
}

fn count(stat: &Path) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(stat);
    let text = text.with_context(|| format!("cannot read {}", stat.display()))?;
    let field = text.split_whitespace().nth(FLUSHES);
    field
        .context("the kernel counts no flushes")?
        .parse()
        .context("not a count")
}
