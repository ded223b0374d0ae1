//! What one sync costs on this disk, measured before anybody waits for one.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::disk::{Disk, Open};
use crate::error::Error;

/// The cost of one 4 KiB write and its sync, on a growing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncLatency {
    /// Half are faster.
    pub p50: Duration,
    /// One in a hundred is slower.
    pub p99: Duration,
}

/// Measures `rounds` syncs on a file of its own in `dir`, which is removed afterwards.
pub fn probe_sync(disk: &dyn Disk, dir: &Path, rounds: usize) -> Result<SyncLatency, Error> {
    let path = dir.join("probe.tmp");
    let file = disk
        .open(&path, Open::CreateOrTruncate)
        .map_err(Error::io("create", &path))?;
    let block = [0xA5; 4096];
    let mut costs = Vec::with_capacity(rounds.max(1));
    for round in 0..rounds.max(1) as u64 {
        let start = Instant::now();
        file.write_at(&block, round * 4096)
            .map_err(Error::io("write", &path))?;
        file.sync().map_err(Error::io("sync", &path))?;
        costs.push(start.elapsed());
    }
    drop(file);
    disk.remove(&path).map_err(Error::io("remove", &path))?;
    costs.sort_unstable();
    let at = |percent: usize| {
        let rank = (costs.len() * percent).div_ceil(100).saturating_sub(1);
        costs.get(rank).copied().unwrap_or_default()
    };
    Ok(SyncLatency {
        p50: at(50),
        p99: at(99),
    })
}
