//! How batches reach the disk: past the system's cache where a try says that it works.
//!
//! Holds: the try is made in the log's own directory, on a file that has its blocks already, with
//! the very kind of write that the log will make. Any refusal means the other way; only a full or
//! broken disk is an error.
//!
//! Why past the cache: one request to the device carries the bytes and the order to keep them, where
//! write and sync are two, with a copy between; measured, a third less time a batch. Only `always`
//! uses it: the other policies want the copy in the cache.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::aligned::AlignedBuf;
use super::format::{BLOCK_LEN, FIRST_BATCH_AT};
use crate::disk::{Disk, File, Open};
use crate::error::Error;

/// How a batch is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// One write past the cache, durable when it returns (`O_DIRECT|O_DSYNC`).
    Direct,
    /// A write into the cache and a sync (`fdatasync`): this file system refuses the other.
    Buffered,
}

impl fmt::Display for WriteMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Buffered => "buffered",
        })
    }
}

/// What one batch of one block costs on this disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncLatency {
    /// Half are faster.
    pub p50: Duration,
    /// One in a hundred is slower.
    pub p99: Duration,
    /// How it was written.
    pub mode: WriteMode,
}

const PROBE_BLOCKS: u64 = 16;

/// Measures `rounds` durable writes of 4 KiB, made as the log makes them under `always`, on a file of its own in
/// `dir`, which is removed afterwards.
pub fn probe_sync(disk: &dyn Disk, dir: &Path, rounds: usize) -> Result<SyncLatency, Error> {
    let path = dir.join("probe.tmp");
    let measured = measure(disk, &path, rounds.max(1));
    let removed = disk.remove(&path);
    let measured = measured.map_err(Error::io("measure", &path))?;
    removed.map_err(Error::io("remove", path))?;
    Ok(measured)
}

fn measure(disk: &dyn Disk, path: &Path, rounds: usize) -> io::Result<SyncLatency> {
    let block_len = BLOCK_LEN as u64;
    let file = disk.open(path, Open::CreateOrTruncate)?;
    let mut block = AlignedBuf::zeroed(BLOCK_LEN);
    for at in 0..PROBE_BLOCKS {
        file.write_at(block.as_slice(), at * block_len)?;
    }
    file.sync()?;
    let direct = try_direct(disk, path, 0, &block)?;
    block.as_mut_slice().fill(0xA5);
    let mut costs = Vec::with_capacity(rounds);
    for round in 0..rounds as u64 {
        let offset = round % PROBE_BLOCKS * block_len;
        let start = Instant::now();
        if let Some(direct) = &direct {
            direct.write_at(block.as_slice(), offset)?;
        } else {
            file.write_at(block.as_slice(), offset)?;
            file.sync()?;
        }
        costs.push(start.elapsed());
    }
    costs.sort_unstable();
    let at = |percent: usize| {
        let rank = (costs.len() * percent).div_ceil(100).saturating_sub(1);
        costs.get(rank).copied().unwrap_or_default()
    };
    Ok(SyncLatency {
        p50: at(50),
        p99: at(99),
        mode: direct.map_or(WriteMode::Buffered, |_| WriteMode::Direct),
    })
}

/// How this file can be written. It has its blocks, and nothing of worth where its first batch belongs.
pub(super) fn mode_on(disk: &dyn Disk, path: &Path) -> Result<WriteMode, Error> {
    let block = AlignedBuf::zeroed(BLOCK_LEN);
    let tried = try_direct(disk, path, FIRST_BATCH_AT, &block);
    let direct = tried.map_err(Error::io("try", path))?;
    Ok(direct.map_or(WriteMode::Buffered, |_| WriteMode::Direct))
}

fn try_direct(
    disk: &dyn Disk,
    path: &Path,
    offset: u64,
    block: &AlignedBuf,
) -> io::Result<Option<Box<dyn File>>> {
    let tried = disk.open(path, Open::Direct).and_then(|file| {
        file.write_at(block.as_slice(), offset)?;
        Ok(file)
    });
    match tried {
        Ok(file) => Ok(Some(file)),
        Err(error) if is_refusal(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}
