//! openraft's own suite for storage, run on our log and our state.
//!
//! Each of its tests gets a log and a state of their own, on a real disk. The suite knows of no
//! horizon: it wants a snapshot of the tip, and to purge without one. So the log is let go as far as
//! is asked here, and the machine is wrapped in one that cuts at the tip and remembers what it cut.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::{self, Error};
use std::sync::{Arc, Mutex};

use futures::Stream;
use openraft::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::errors::ErrorSource;
use openraft::impls::BoxedErrorSource;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, RaftSnapshotBuilder, StorageError};
use raft::testing::{Halt, LogStore, Machine, Purging, SnapshotData, Types, voters_of};
use raft::{Config, Metrics};
use storage::{Disk, Index, OsDisk, State, StateConfig, StateParts, Wal, WalConfig};
use tempfile::TempDir;

struct Builder;

impl StoreBuilder<Types, LogStore, AtTheTip, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, AtTheTip), StorageError<Types>> {
        build().map_err(|error| StorageError::read(BoxedErrorSource::from_error(&error)))
    }
}

struct Everything;

impl Purging for Everything {
    fn floor(&self) -> Result<Index, storage::Error> {
        Ok(Index(u64::MAX))
    }

    fn purged(&self, _upto: Index) {}
}

/// `None`: of no entry at all, which the suite asks for too.
type Data = Option<SnapshotData>;
type Current = Arc<Mutex<Option<SnapshotOf<Types, Data>>>>;

/// Cuts its snapshots at the tip.
struct AtTheTip {
    machine: Machine,
    current: Current,
}

struct Cut(Machine, Current);

impl RaftSnapshotBuilder<Types> for Cut {
    type SnapshotData = Data;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, Data>> {
        let (applied, membership) = self.0.applied_state().await?;
        let cut = if applied.is_none() {
            SnapshotOf::<Types, Data> {
                meta: SnapshotMetaOf::<Types> {
                    last_log_id: None,
                    last_membership: membership,
                },
                snapshot: None,
            }
        } else {
            let cut = self.0.cut().await?;
            assert_eq!(cut.meta.last_log_id, applied);
            SnapshotOf::<Types, Data> {
                meta: cut.meta,
                snapshot: Some(cut.snapshot),
            }
        };
        *self.1.lock().unwrap() = Some(cut.clone());
        Ok(cut)
    }
}

impl RaftStateMachine<Types> for AtTheTip {
    type SnapshotData = Data;
    type SnapshotBuilder = Cut;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        self.machine.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        self.machine.apply(entries).await
    }

    async fn get_snapshot_builder(&mut self) -> Cut {
        Cut(self.machine.clone(), Arc::clone(&self.current))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        snapshot: Data,
    ) -> io::Result<()> {
        if let Some(data) = snapshot.clone() {
            self.machine.install_snapshot(meta, data).await?;
        }
        *self.current.lock().unwrap() = Some(SnapshotOf::<Types, Data> {
            meta: meta.clone(),
            snapshot,
        });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, Data>>> {
        Ok(self.current.lock().unwrap().clone())
    }
}

fn build() -> io::Result<(TempDir, LogStore, AtTheTip)> {
    let dir = tempfile::tempdir()?;
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let wal = Wal::open(
        Arc::clone(&disk),
        &dir.path().join("wal"),
        &WalConfig::simulated(),
    );
    let (wal, _) = wal.map_err(Error::other)?;
    let log = LogStore::new(
        wal.clone(),
        Config::default().read_bytes_max,
        Arc::new(Everything),
    );
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
    let current = Current::default();
    Ok((dir, log, AtTheTip { machine, current }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_log_and_state_keep_every_promise_that_openraft_asks_for() {
    Suite::test_all(Builder).await.unwrap();
}
