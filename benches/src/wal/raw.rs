//! The bare device: the same bytes a sync, by the same method, in a tight loop.
//!
//! Holds: a method is never replaced by another one in silence; a disk that refuses it ends the run.
//! Only the write and its sync are timed, so what the loop itself costs is not held against the disk.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use memmap2::{Advice, MmapMut};
use rustix::fs::OFlags;

/// What writes are aligned to and rounded to.
const BLOCK: u64 = 4096;
const ALIGN: usize = 4096;
const HUGE_PAGE: usize = 2 << 20;
const _: () = assert!(BLOCK == ALIGN as u64, "one size, in two types");

/// The length of the prepared file, and where a growing one is begun anew.
const FILE_BYTES: u64 = 128 << 20;

/// How bytes are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// A zero-filled file, past the page cache: one write that returns when it is durable.
    Direct,
    /// A zero-filled file, through the page cache: write, then fdatasync.
    Buffered,
    /// A file that grows: write, then fdatasync.
    Growing,
}

impl Method {
    /// The one that a log with this write mode uses.
    pub(crate) fn of_write_mode(mode: &str) -> Result<Self> {
        match mode {
            "direct" => Ok(Self::Direct),
            "buffered" => Ok(Self::Buffered),
            "growing" => Ok(Self::Growing),
            other => bail!("no raw method is the like of the log's write mode `{other}`"),
        }
    }

    const fn is_prepared(self) -> bool {
        matches!(self, Self::Direct | Self::Buffered)
    }

    fn flags(self) -> Result<i32> {
        let flags = match self {
            Self::Direct => OFlags::DIRECT | OFlags::DSYNC,
            Self::Buffered | Self::Growing => OFlags::empty(),
        };
        Ok(i32::try_from(flags.bits())?)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "O_DIRECT|O_DSYNC, zero-filled",
            Self::Buffered => "write+fdatasync, zero-filled",
            Self::Growing => "write+fdatasync, growing",
        })
    }
}

/// Where the bytes to write lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// As a program gets it that asks for nothing.
    Plain,
    /// In huge pages, where the system has them: the device is handed fewer, longer pieces.
    Huge,
}

/// A file that is written in a loop. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Raw {
    method: Method,
    memory: Memory,
    path: PathBuf,
    file: File,
    offset: u64,
}

/// What a loop of it came to.
#[derive(Debug)]
pub(crate) struct Synced {
    pub(crate) syncs: u64,
    /// Syncs a second of writing and syncing.
    pub(crate) rate: f64,
    /// Of one write and its sync, in nanoseconds.
    pub(crate) latencies: Histogram<u64>,
}

impl Raw {
    /// Makes the file: for all methods but `Growing` filled with zeros and synced, so that no write
    /// has to tell the file system anything.
    pub(crate) fn prepare(folder: &Path, method: Method, memory: Memory) -> Result<Self> {
        let path = folder.join(format!("raw-{method:?}-{memory:?}"));
        let file = begin(&path, method)?;
        Ok(Self {
            method,
            memory,
            path,
            file,
            offset: 0,
        })
    }

    /// Writes and syncs `bytes` again and again, for `duration`.
    pub(crate) fn measure(&mut self, bytes: u64, duration: Duration) -> Result<Synced> {
        let block = Aligned::new(usize::try_from(bytes)?, self.memory)?;
        let mut latencies = Histogram::new(3)?;
        let mut busy = Duration::ZERO;
        let start = Instant::now();
        while start.elapsed() < duration {
            if self.offset + bytes > FILE_BYTES {
                self.wrap()?;
            }
            let round = Instant::now();
            self.file.write_all_at(block.bytes(), self.offset)?;
            if self.method != Method::Direct {
                self.file.sync_data()?;
            }
            let took = round.elapsed();
            busy += took;
            latencies.record(u64::try_from(took.as_nanos())?)?;
            self.offset += bytes;
        }
        let syncs = latencies.len();
        Ok(Synced {
            syncs,
            rate: syncs as f64 / busy.as_secs_f64(),
            latencies,
        })
    }

    fn wrap(&mut self) -> Result<()> {
        self.offset = 0;
        if !self.method.is_prepared() {
            self.file = begin(&self.path, self.method)?;
        }
        Ok(())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The folder goes too; there is nobody to tell.
        drop(std::fs::remove_file(&self.path));
    }
}

fn begin(path: &Path, method: Method) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let file = options.open(path).context("make the raw file")?;
    if method.is_prepared() {
        let zeros = vec![0; 1 << 20];
        for offset in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, offset)?;
        }
    }
    file.sync_all()?;
    let folder = path.parent().context("a folder")?;
    OpenOptions::new().read(true).open(folder)?.sync_all()?;
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(method.flags()?);
    let opened = options.open(path);
    opened.with_context(|| format!("this disk refuses {method}"))
}

/// To the nearest block, at least one.
pub(crate) fn whole_blocks(bytes: f64) -> u64 {
    let blocks = (bytes / BLOCK as f64).round().max(1.0);
    // At most a segment's blocks: far below where the cast would lose anything.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least 1, and a float saturates"
    )]
    let blocks = blocks as u64;
    blocks * BLOCK
}

/// Bytes that begin on a block, as direct writes must.
struct Aligned {
    room: MmapMut,
    start: usize,
    len: usize,
}

impl Aligned {
    fn new(len: usize, memory: Memory) -> Result<Self> {
        let align = match memory {
            Memory::Plain => ALIGN,
            Memory::Huge => HUGE_PAGE,
        };
        let mut room = MmapMut::map_anon(len.next_multiple_of(align) + align)?;
        if memory == Memory::Huge {
            // A system without them gives plain ones.
            drop(room.advise(Advice::HugePage));
        }
        room.fill(0x5a);
        let start = room.as_ptr().align_offset(align);
        Ok(Self { room, start, len })
    }

    fn bytes(&self) -> &[u8] {
        let bytes = self.room.get(self.start..self.start + self.len);
        bytes.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_method_is_that_of_the_log_or_the_run_ends() {
        for (mode, method) in [
            ("direct", Method::Direct),
            ("buffered", Method::Buffered),
            ("growing", Method::Growing),
        ] {
            assert_eq!(method, Method::of_write_mode(mode).unwrap());
        }
        let error = Method::of_write_mode("mapped").unwrap_err().to_string();
        assert!(error.contains("`mapped`"), "{error}");
    }

    #[test]
    fn only_direct_asks_for_writes_that_are_durable_when_they_return() {
        let direct = OFlags::DIRECT | OFlags::DSYNC;
        assert_eq!(
            direct.bits(),
            Method::Direct.flags().unwrap().cast_unsigned()
        );
        assert_eq!(0, Method::Buffered.flags().unwrap());
        assert_eq!(0, Method::Growing.flags().unwrap());
    }

    #[test]
    fn bytes_a_sync_are_rounded_to_the_nearest_block() {
        assert_eq!(4096, whole_blocks(0.0));
        assert_eq!(4096, whole_blocks(4096.0));
        assert_eq!(8192, whole_blocks(6144.0));
        assert_eq!(4096, whole_blocks(6100.0));
        assert_eq!(1 << 20, whole_blocks(1_048_000.0));
    }

    #[test]
    fn a_buffer_begins_on_a_block_and_is_whole() {
        for (memory, align) in [(Memory::Plain, 4096), (Memory::Huge, HUGE_PAGE)] {
            for len in [4096, 12_288] {
                let aligned = Aligned::new(len, memory).unwrap();
                assert_eq!(0, aligned.bytes().as_ptr().align_offset(align));
                assert_eq!(len, aligned.bytes().len());
            }
        }
    }

    #[test]
    fn prepared_files_keep_their_length_and_growing_ones_grow() {
        let folder = tempfile::tempdir().unwrap();
        let len = |raw: &Raw| raw.file.metadata().unwrap().len();
        let mut growing = Raw::prepare(folder.path(), Method::Growing, Memory::Plain).unwrap();
        assert_eq!(0, len(&growing));
        let synced = growing.measure(8192, Duration::from_millis(5)).unwrap();
        assert_eq!(8192 * synced.syncs, len(&growing));
        let mut prepared = Raw::prepare(folder.path(), Method::Buffered, Memory::Plain).unwrap();
        assert_eq!(FILE_BYTES, len(&prepared));
        prepared.offset = FILE_BYTES - 4096;
        let synced = prepared.measure(8192, Duration::from_millis(5)).unwrap();
        assert_eq!(
            8192 * synced.syncs,
            prepared.offset,
            "it began anew at the front"
        );
        assert_eq!(FILE_BYTES, len(&prepared));
    }
}
