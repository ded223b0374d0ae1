//! The bare device, by the log's own method: a growing file, one 4 KiB write and one fdatasync a round.
//!
//! Why 4 KiB: the log's batches start on 4 KiB blocks, so one waiting client costs one block.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

const BLOCK: [u8; 4096] = [0x5a; 4096];

/// Syncs for `duration`; latencies in microseconds.
pub(crate) fn measure(folder: &Path, duration: Duration) -> Result<(f64, Histogram<u64>)> {
    let path = folder.join("raw-sync");
    let file: File = OpenOptions::new()
        .create_new(true)
        .write(true)
        .open(&path)?;
    let mut latencies = Histogram::new(3)?;
    let began = Instant::now();
    let mut offset = 0;
    while began.elapsed() < duration {
        let round = Instant::now();
        file.write_all_at(&BLOCK, offset)?;
        file.sync_data()?;
        offset += 4096;
        latencies.record(u64::try_from(round.elapsed().as_micros())?)?;
    }
    let rate = offset as f64 / 4096.0 / began.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok((rate, latencies))
}
