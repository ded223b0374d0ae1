//! How a node starts: open what is on disk, let openraft run, and wait until it may be used.
//!
//! Holds:
//! - When [`Node::start`] returns there is a leader and everything that the log held is applied, so
//!   a read after it never shows less than a read before the last stop.
//! - An empty log is taken for a new one only at genesis. Where `node.meta` says that this node had
//!   entries and they are gone, or where there is a log or a state without a `node.meta`, the start
//!   is refused, and what must be there is looked for before anything is written: guessing here is
//!   how a node votes twice or loses what it acknowledged.
//! - `boot` is greater than in `node.meta` and than any that the log has seen of this node, and is
//!   durable before openraft runs: so no pack of this life is taken for one of another.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::Raft;
use openraft::ServerState;
use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::metrics::{RaftMetrics, RaftServerMetrics, WaitError};
use storage::{Disk, NodeId, State, StateParts, Term, Wal};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::codec;
use crate::config::Config;
use crate::error::Error;
use crate::halt::Halt;
use crate::identity::Identity;
use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::metrics::Metrics;
use crate::network::Network;
use crate::node::{Inner, Node, Rest};
use crate::types::{Peer, Types};

/// What a start found.
#[derive(Debug)]
pub struct Started {
    /// True: the cluster was made just now.
    pub fresh: bool,
    /// Its id.
    pub cluster: String,
    /// This node.
    pub node: NodeId,
    /// How often it has started.
    pub boot: u64,
    /// What became of the state.
    pub opened: storage::Opened,
    /// What the log held.
    pub recovered: storage::Recovered,
}

/// What lies in a data directory, open.
struct Parts {
    identity: Identity,
    wal: Wal,
    recovered: storage::Recovered,
    state: State,
    opened: storage::Opened,
    lock: Box<dyn Send + Sync>,
}

impl Node {
    /// Opens what is in `data_dir`, or makes a new cluster of one there. `progress` hears of a
    /// long rebuild.
    pub async fn start(
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        config: Config,
        storage: storage::Config,
        progress: impl FnMut(storage::Progress) + Send + 'static,
    ) -> Result<(Self, Started), Error> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(Error::Config { problems });
        }
        let (on_disk, dir) = (Arc::clone(&disk), data_dir.to_owned());
        // Opening may read gigabytes, so it gets a thread that nobody else waits for.
        let parts = blocking(move || open(&on_disk, &dir, &storage, progress)).await?;
        let identity = parts.identity;
        let (opened, recovered) = (parts.opened.clone(), parts.recovered.clone());
        let node = Self::run(parts, &config).await?;
        if let Err(error) = node.join(&config).await {
            // The first error is the one to tell.
            drop(node.close().await);
            return Err(error);
        }
        if identity.is_provisional {
            let settled = Identity {
                is_provisional: false,
                ..identity
            };
            let dir = data_dir.to_owned();
            blocking(move || settled.save(&*disk, &dir)).await?;
        }
        let started = Started {
            fresh: identity.is_provisional,
            cluster: identity.cluster.to_string(),
            node: identity.node,
            boot: identity.boot,
            opened,
            recovered,
        };
        info!(node = %started.node, boot = started.boot, cluster = started.cluster, "raft started");
        Ok((node, started))
    }

    /// Puts the parts together and lets openraft run.
    async fn run(parts: Parts, config: &Config) -> Result<Self, Error> {
        let Parts {
            identity,
            wal,
            state,
            lock,
            ..
        } = parts;
        let settings = config.openraft();
        let settings = settings.map_err(|error| Error::Config {
            problems: vec![error.to_string()],
        })?;
        let halt = Halt::default();
        let told = halt.clone();
        wal.on_poison(Box::new(move |why| {
            told.set(&format!("the log failed: {why}"));
        }));
        let metrics = Metrics::default();
        let view = state.view();
        let (machine, applying) =
            Machine::spawn(state, wal.clone(), halt.clone(), metrics.clone()).map_err(unstarted)?;
        let snapshots = machine.snapshots().clone();
        let purging = Arc::new(snapshots.clone());
        let log = LogStore::new(wal.clone(), config.read_bytes_max, purging);
        let number = u64::from(identity.node.0);
        let raft = Raft::new(number, settings, Network, log, machine)
            .await
            .map_err(unstarted)?;
        let (publish, leadership) = watch::channel(None);
        let tasks = TaskTracker::new();
        let follow = Follow {
            publish,
            halt: halt.clone(),
            metrics: metrics.clone(),
        };
        tasks.spawn(follow.run(raft.server_metrics(), raft.metrics()));
        let inner = Inner {
            raft,
            identity,
            wal,
            view,
            snapshots,
            halt,
            metrics,
            applied: applying.applied.clone(),
            leadership,
            tasks,
            is_closing: AtomicBool::new(false),
            rest: Mutex::new(Some(Rest { applying, lock })),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Makes the cluster where there is none; waits for a leader and for the log to be applied.
    async fn join(&self, config: &Config) -> Result<(), Error> {
        let raft = &self.inner.raft;
        let me = u64::from(self.inner.identity.node.0);
        let is_initialized = raft
            .is_initialized()
            .await
            .map_err(|fatal| self.stopped(&fatal))?;
        if !is_initialized {
            let members = BTreeMap::from([(me, Peer::default())]);
            raft.initialize(members).await.map_err(unstarted)?;
        }
        let limit = Some(Duration::from_millis(config.start_ms_max));
        let wait = raft.wait(limit);
        let leader = wait.metrics(|seen| seen.current_leader.is_some(), "waiting for a leader");
        leader.await.map_err(|error| self.not_ready(&error))?;
        raft.wait_for_recovery(limit)
            .await
            .map_err(|error| self.not_ready(&error))?;
        Ok(())
    }

    fn not_ready(&self, error: &WaitError) -> Error {
        match error {
            WaitError::Timeout(..) => Error::Start {
                what: error.to_string(),
            },
            WaitError::ShuttingDown => self.stopped(&Fatal::Stopped),
        }
    }
}

/// Everything that a start does to the disk before openraft runs.
fn open(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    config: &storage::Config,
    mut progress: impl FnMut(storage::Progress),
) -> Result<Parts, Error> {
    let failed = |op, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { op, path, source }
    };
    storage::create_dir_durably(&**disk, data_dir).map_err(failed("create", data_dir))?;
    let lock_path = data_dir.join("LOCK");
    let lock = match disk.lock(&lock_path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(storage::Error::Locked { path: lock_path }.into());
        }
        Err(error) => return Err(failed("lock", &lock_path)(error)),
    };
    let wal_dir = data_dir.join("wal");
    let state_dir = data_dir.join("state");
    let mut identity = if let Some(identity) = Identity::load(&**disk, data_dir)? {
        if !identity.is_provisional {
            require_log(&**disk, &wal_dir)?;
        }
        identity
    } else {
        let checkpoints_dir = data_dir.join("checkpoints");
        let theirs = [
            ("log", &wal_dir),
            ("state", &state_dir),
            ("checkpoint", &checkpoints_dir),
        ];
        refuse_orphans(&**disk, theirs)?;
        let genesis = Identity::genesis(data_dir)?;
        // Before there is a log: one without a `node.meta` is nobody's.
        genesis.save(&**disk, data_dir)?;
        genesis
    };
    let (wal, recovered) = Wal::open(Arc::clone(disk), &wal_dir, &config.wal)?;
    if !identity.is_provisional && recovered.last.is_none() {
        return Err(lost(&wal_dir));
    }
    let parts = StateParts {
        disk: Arc::clone(disk),
        dir: &state_dir,
        config: &config.state,
        wal: &wal,
        voters_of: codec::voters_of,
        had_peers: identity.ever_had_peers,
    };
    let (state, opened) = State::open(&parts, &mut progress)?;
    // A `node.meta` from a backup counts fewer lives than the log has seen: no number comes twice.
    let last_boot = state.last_boot(&wal, identity.node)?;
    identity.boot = identity.boot.max(last_boot) + 1;
    identity.save(&**disk, data_dir)?;
    Ok(Parts {
        identity,
        wal,
        recovered,
        state,
        opened,
        lock,
    })
}

/// A node that had entries has a log. Asked before anything is written, so that the directory stays
/// as it was found.
fn require_log(disk: &dyn Disk, wal_dir: &Path) -> Result<(), Error> {
    let is_there = content(disk, wal_dir)?
        .iter()
        .any(|path| path.extension().is_some_and(|extension| extension == "seg"));
    if is_there { Ok(()) } else { Err(lost(wal_dir)) }
}

fn lost(wal_dir: &Path) -> Error {
    Error::Identity {
        path: wal_dir.to_owned(),
        what: "node.meta says that this node had entries, and its log has none".to_owned(),
    }
}

/// A log or a state without a `node.meta` belongs to a node whose number is not known.
fn refuse_orphans(disk: &dyn Disk, dirs: [(&str, &PathBuf); 3]) -> Result<(), Error> {
    for (name, dir) in dirs {
        if !content(disk, dir)?.is_empty() {
            return Err(Error::Identity {
                path: dir.clone(),
                what: format!("there is a {name}, but no node.meta says whose it is"),
            });
        }
    }
    Ok(())
}

/// What lies in `dir`; nothing where it is not there.
fn content(disk: &dyn Disk, dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let io = |source| Error::Io {
        op: "look into",
        path: dir.to_owned(),
        source,
    };
    if disk.exists(dir).map_err(io)? {
        disk.list(dir).map_err(io)
    } else {
        Ok(Vec::new())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(unstarted)?
}

fn unstarted(error: impl std::error::Error) -> Error {
    Error::Start {
        what: error.to_string(),
    }
}

/// Turns what openraft shows into what this room promises to tell.
struct Follow {
    publish: watch::Sender<Option<Term>>,
    halt: Halt,
    metrics: Metrics,
}

impl Follow {
    /// Until raft's task ends.
    async fn run(
        self,
        mut server: WatchReceiverOf<Types, RaftServerMetrics<Types>>,
        all: WatchReceiverOf<Types, RaftMetrics<Types>>,
    ) {
        loop {
            let (term, leads) = {
                let now = server.borrow_watched();
                (
                    Term(now.vote.leader_id.term),
                    now.state == ServerState::Leader,
                )
            };
            self.metrics.leads(term, leads);
            self.tell(leads.then_some(term));
            if server.changed().await.is_err() {
                break;
            }
        }
        self.tell(None);
        match &all.borrow_watched().running_state {
            Err(Fatal::Stopped) => {}
            Err(fatal) => self.halt.set(&format!("raft stopped: {fatal}")),
            // It ended without a word.
            Ok(()) => self.halt.set("raft panicked"),
        }
    }

    fn tell(&self, leads: Option<Term>) {
        self.publish
            .send_if_modified(|before| std::mem::replace(before, leads) != leads);
    }
}
