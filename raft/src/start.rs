//! How a node starts: open what is on disk, let openraft run, and wait until it may be used.
//!
//! Holds:
//! - When [`Node::start`] returns there is a leader and everything that the log held is applied, so
//!   a read after it never shows less than a read before the last stop.
//! - An empty log is taken for a new one only at genesis. Where `node.meta` says that this node had
//!   entries, or where there is a log without a `node.meta`, the start is refused and nothing is
//!   touched: guessing here is how a node votes twice or loses what it acknowledged.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
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
        let parts = blocking(move || open(on_disk, &dir, &storage, progress)).await?;
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
        let log = LogStore::new(wal.clone(), config.read_bytes_max);
        let (machine, applying) =
            Machine::spawn(state, wal.clone(), halt.clone(), metrics.clone()).map_err(unstarted)?;
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
    disk: Arc<dyn Disk>,
    data_dir: &Path,
    config: &storage::Config,
    mut progress: impl FnMut(storage::Progress),
) -> Result<Parts, Error> {
    let failed = |op, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { op, path, source }
    };
    create_dir(&*disk, data_dir).map_err(failed("create", data_dir))?;
    let lock_path = data_dir.join("LOCK");
    let lock = match disk.lock(&lock_path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(storage::Error::Locked { path: lock_path }.into());
        }
        Err(error) => return Err(failed("lock", &lock_path)(error)),
    };
    let wal_dir = data_dir.join("wal");
    let mut identity = if let Some(identity) = Identity::load(&*disk, data_dir)? {
        identity
    } else {
        refuse_orphan(&*disk, &wal_dir)?;
        Identity::genesis(data_dir)?
    };
    identity.boot += 1;
    identity.save(&*disk, data_dir)?;
    let (wal, recovered) = Wal::open(Arc::clone(&disk), &wal_dir, &config.wal)?;
    if !identity.is_provisional && recovered.last.is_none() {
        let what = "node.meta says that this node had entries, and its log has none".to_owned();
        return Err(Error::Identity {
            path: wal_dir,
            what,
        });
    }
    let parts = StateParts {
        disk,
        dir: &data_dir.join("state"),
        config: &config.state,
        wal: &wal,
        voters_of: codec::voters_of,
        had_peers: identity.ever_had_peers,
    };
    let (state, opened) = State::open(&parts, &mut progress)?;
    Ok(Parts {
        identity,
        wal,
        recovered,
        state,
        opened,
        lock,
    })
}

/// Makes a directory whose name is durable: a log is worth nothing in a directory that is lost.
fn create_dir(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    for dir in dir.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
        if disk.exists(dir)? {
            break;
        }
        missing.push(dir);
    }
    disk.create_dir_all(dir)?;
    for dir in missing {
        let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
        disk.sync_dir(above.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// A log without a `node.meta` belongs to a node whose number is not known.
fn refuse_orphan(disk: &dyn Disk, wal_dir: &Path) -> Result<(), Error> {
    let io = |source| Error::Io {
        op: "look into",
        path: wal_dir.to_owned(),
        source,
    };
    if disk.exists(wal_dir).map_err(io)? && !disk.list(wal_dir).map_err(io)?.is_empty() {
        return Err(Error::Identity {
            path: wal_dir.to_owned(),
            what: "there is a log, but no node.meta says whose it is".to_owned(),
        });
    }
    Ok(())
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
