//! openraft's own suite for storage, run on our log and our state.
//!
//! Each of its tests gets a log and a state of their own, on a real disk.

use std::io::{self, Error};
use std::sync::Arc;

use openraft::StorageError;
use openraft::errors::ErrorSource;
use openraft::impls::BoxedErrorSource;
use openraft::testing::log::{StoreBuilder, Suite};
use raft::testing::{Halt, LogStore, Machine, Types, voters_of};
use raft::{Config, Metrics};
use storage::{Disk, OsDisk, State, StateConfig, StateParts, Wal, WalConfig};
use tempfile::TempDir;

struct Builder;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<Types>> {
        build().map_err(|error| StorageError::read(BoxedErrorSource::from_error(&error)))
    }
}

fn build() -> io::Result<(TempDir, LogStore, Machine)> {
    let dir = tempfile::tempdir()?;
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let wal = Wal::open(
        Arc::clone(&disk),
        &dir.path().join("wal"),
        &WalConfig::default(),
    );
    let (wal, _) = wal.map_err(Error::other)?;
    let log = LogStore::new(wal.clone(), Config::default().read_bytes_max);
    let parts = StateParts {
        disk,
        dir: &dir.path().join("state"),
        config: &StateConfig::default(),
        wal: &wal,
        voters_of,
        had_peers: false,
    };
    let (state, _) = State::open(&parts, &mut |_| {}).map_err(Error::other)?;
    let (machine, _) = Machine::spawn(state, wal, Halt::default(), Metrics::default())?;
    Ok((dir, log, machine))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_log_and_state_keep_every_promise_that_openraft_asks_for() {
    Suite::test_all(Builder).await.unwrap();
}
