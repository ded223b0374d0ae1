//! What a sync of this disk takes: told at the start, since every acknowledgement waits for one.

use std::sync::Arc;
use std::time::Duration;

use storage::{Disk, SyncLatency, probe_sync};

use super::error::Error;
use crate::config::Config;

/// Syncs that the start measures at most: enough for a median.
const PROBE_ROUNDS_MAX: usize = 20;
/// On a disk that is slower than that, fewer.
const PROBE_TIME_MAX: Duration = Duration::from_millis(400);

/// Measures it; `None` where the disk is full.
pub(super) async fn probe(
    disk: &Arc<dyn Disk>,
    config: &Config,
) -> Result<Option<SyncLatency>, Error> {
    let (disk, dir) = (Arc::clone(disk), config.data_dir.clone());
    let measured = tokio::task::spawn_blocking(move || {
        let first = probe_sync(&*disk, &dir, 1)?;
        match rounds_after(first.p50) {
            0 => Ok(first),
            rounds => probe_sync(&*disk, &dir, rounds),
        }
    });
    // A full disk is no reason not to start: reads go on, and it may have room again soon.
    let unless_full = |error: storage::Error| {
        if error.is_full() {
            Ok(None)
        } else {
            Err(error)
        }
    };
    let lost = |error| Error::System {
        op: "measure the disk",
        source: std::io::Error::other(error),
    };
    let measured = measured.await.map_err(lost)?;
    Ok(measured.map(Some).or_else(unless_full)?)
}

/// How many more syncs are measured after one that took this long.
fn rounds_after(first: Duration) -> usize {
    let left = PROBE_TIME_MAX.saturating_sub(first).as_nanos();
    let fit = left / first.as_nanos().max(1);
    usize::try_from(fit).map_or(PROBE_ROUNDS_MAX, |fit| fit.min(PROBE_ROUNDS_MAX - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_disk_is_measured_less_often() {
        let after = |ms: u64| rounds_after(Duration::from_millis(ms));
        let rounds = [0, 1, 20, 100, 150, 300, 5_000].map(after);
        assert_eq!(rounds, [19, 19, 19, 3, 1, 0, 0]);
    }
}
