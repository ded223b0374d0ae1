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

mod follow;
mod past;
mod setup;

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use openraft::Raft;
use openraft::errors::Fatal;
use openraft::metrics::WaitError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

pub use setup::{Progress, Setup, Started};

use follow::Follow;
use past::Found;

use crate::bootstrap::{Bootstrap, Crowd, Members};
use crate::error::Error;
use crate::facts;
use crate::floor;
use crate::gate::Gate;
use crate::halt::Halt;
use crate::identity::Identity;
use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::mend;
use crate::metrics::Metrics;
use crate::network::Network;
use crate::node::{Inner, Node, Rest};
use crate::opening::{Opened, Past, look};
use crate::peer::desk::Desk;
use crate::peer::hello::Me;
use crate::peer::link::Dialer;
use crate::peer::serve::serve;
use crate::rounds::{self, Rounds};
use crate::sending::Sending;
use crate::types::Peer;

impl Node {
    /// Opens what is in the data directory; where there is nothing, makes a cluster, or becomes a
    /// member of one. `progress` hears of what takes long.
    pub fn start(
        setup: Setup,
        progress: impl FnMut(Progress) + Send + 'static,
    ) -> BoxFuture<'static, Result<(Self, Started), Error>> {
        begin(setup, Box::new(progress))
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

/// Not generic, and boxed here: whoever starts a node would otherwise build all of openraft once more.
fn begin(setup: Setup, progress: Tell) -> BoxFuture<'static, Result<(Node, Started), Error>> {
    async move {
        let setup = setup.checked().await?;
        let (disk, dir) = (Arc::clone(&setup.disk), setup.data_dir.clone());
        let (lock, past) = blocking(move || look(&*disk, &dir)).await?;
        let has_peers = !setup.cluster.peers.is_empty()
            || past
                .identity()
                .is_some_and(|identity| identity.ever_had_peers);
        let listen = setup.peer.listen.ip();
        if matches!(past, Past::None)
            && !has_peers
            && !setup.cluster.single
            && !listen.is_loopback()
        {
            return Err(Error::Identity {
                path: setup.data_dir,
                what: format!(
                    "the disk is empty, cluster.peers lists nobody, and peer.listen ({listen}) is not loopback: \
                     list the peers, or say cluster.single = true to start a cluster of one"
                ),
            });
        }
        let beginning = Beginning::new(setup, progress, has_peers);
        let stop = beginning.dialer.stop.clone();
        let tasks = beginning.dialer.tasks.clone();
        let started = beginning.run(lock, past).await;
        if started.is_err() {
            stop.cancel();
            tasks.close();
            tasks.wait().await;
        }
        started
    }
    .boxed()
}

/// Hears of what takes long.
type Tell = Box<dyn FnMut(Progress) + Send>;

/// A start under way.
struct Beginning {
    setup: Setup,
    progress: Arc<Mutex<Tell>>,
    has_peers: bool,
    address: String,
    desk: Arc<Desk>,
    dialer: Dialer,
}

impl Beginning {
    fn new(setup: Setup, progress: Tell, has_peers: bool) -> Self {
        let dialer = Dialer {
            transport: Arc::clone(&setup.transport),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            me: None,
        };
        Self {
            address: setup.peer.address(),
            progress: Arc::new(Mutex::new(progress)),
            desk: Arc::default(),
            has_peers,
            setup,
            dialer,
        }
    }

    async fn run(
        mut self,
        lock: Box<dyn Send + Sync>,
        past: Past,
    ) -> Result<(Node, Started), Error> {
        if self.has_peers {
            self.desk
                .set_still(facts::still(self.address.clone(), past.identity(), None));
            self.listen().await?;
        }
        let mut set_aside = None;
        let mut opened = match self.open_past(past).await? {
            Found::Opened(opened) => Some(*opened),
            Found::Nothing if !self.has_peers => Some(self.make().await?),
            Found::Nothing => None,
            Found::SetAside(path) => {
                set_aside = Some(path);
                None
            }
        };
        let is_blank = opened.as_ref().is_none_or(|opened| {
            opened.identity.is_provisional
                && opened.recovered.vote.is_none()
                && opened.recovered.last.is_none()
        });
        let mut members = None;
        if self.has_peers && is_blank {
            let (identity, founded) = self.become_somebody(opened.as_ref()).await?;
            members = founded;
            // Nothing of a cluster that never was is in a blank log.
            opened = match opened.take() {
                Some(opened) => Some(Opened { identity, ..opened }),
                None => Some(self.open(identity).await?),
            };
        }
        let Some(opened) = opened else {
            unreachable!("a node without peers has made its identity");
        };
        let identity = opened.identity;
        let facts = Started::of(&opened, set_aside);
        self.dialer.me = Some((identity.cluster.0, identity.node));
        self.desk.set_me(Me {
            cluster: identity.cluster.0,
            node: identity.node,
            boot: identity.boot,
        });
        let node = self.put_together(opened, lock).await?;
        if let Err(error) = self.settle(&node, members).await {
            // The first error is the one to tell.
            drop(node.close().await);
            return Err(error);
        }
        info!(node = %facts.node, boot = facts.boot, cluster = facts.cluster, "raft started");
        Ok((node, facts))
    }

    /// Takes calls of peers from here on.
    async fn listen(&self) -> Result<(), Error> {
        let address = self.setup.peer.listen;
        let listener = self.setup.transport.listen(address).await;
        let listener = listener.map_err(|source| Error::Start {
            what: format!("cannot listen for peers on {address}: {source}"),
        })?;
        let Dialer { stop, tasks, .. } = self.dialer.clone();
        self.dialer
            .tasks
            .spawn(serve(listener, Arc::clone(&self.desk), stop, tasks));
        Ok(())
    }

    /// A cluster of one.
    async fn make(&self) -> Result<Opened, Error> {
        let (disk, dir) = (Arc::clone(&self.setup.disk), self.setup.data_dir.clone());
        let made = blocking(move || {
            let genesis = Identity::genesis(&dir)?;
            // Before there is a log: one without a `node.meta` is nobody's.
            genesis.save(&*disk, &dir)?;
            Ok(genesis)
        });
        self.open(made.await?).await
    }

    async fn become_somebody(
        &self,
        opened: Option<&Opened>,
    ) -> Result<(Identity, Option<Members>), Error> {
        let bootstrap = Bootstrap {
            disk: Arc::clone(&self.setup.disk),
            data_dir: self.setup.data_dir.clone(),
            desk: Arc::clone(&self.desk),
            crowd: self.crowd(),
            identity: opened.map(|opened| opened.identity),
            unfounded: None,
        };
        bootstrap.run(|words| self.tell(words)).await
    }

    fn crowd(&self) -> Crowd {
        Crowd::new(&self.dialer, &self.address, &self.setup.cluster.peers)
    }

    fn tell(&self, words: String) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress(Progress::Waiting(words));
    }

    /// Puts the parts together and lets openraft run.
    #[expect(clippy::too_many_lines, reason = "the parts of a node, each once")]
    async fn put_together(
        &self,
        opened: Opened,
        lock: Box<dyn Send + Sync>,
    ) -> Result<Node, Error> {
        let Opened {
            identity,
            wal,
            state,
            ..
        } = opened;
        let config = &self.setup.raft;
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
        let closing = CancellationToken::new();
        let mut log = LogStore::new(wal.clone(), config.read_bytes_max, purging);
        if identity.ever_had_peers {
            log.wait_for_repairs(halt.clone(), closing.clone());
        }
        let pulse = log.pulse().clone();
        let network = Network {
            dialer: self.dialer.clone(),
            sending: Sending::default(),
            gate: Gate::default(),
            wal: wal.clone(),
        };
        let number = u64::from(identity.node.0);
        let raft = Raft::new(number, settings, network.clone(), log, machine)
            .await
            .map_err(unstarted)?;
        let own = wal.last();
        let is_floored = wal.floor().is_some_and(|floor| !floor::reaches(own, floor));
        // A node alone has nobody to wait for: what it has is all that is left.
        raft.runtime_config().elect(!(is_floored && self.has_peers));
        let (publish, leadership) = watch::channel(None);
        let (publish_leader, leader) = watch::channel(None);
        let rounds = Rounds::new(self.dialer.clone(), Arc::clone(&network.gate.asked));
        let follow = Follow {
            me: identity.node,
            rounds: rounds.clone(),
            publish,
            publish_leader,
            halt: halt.clone(),
            metrics: metrics.clone(),
        };
        let Dialer { stop, tasks, .. } = self.dialer.clone();
        tasks.spawn(follow.run(raft.server_metrics(), raft.metrics()));
        let inner = Inner {
            raft,
            identity,
            disk: Arc::clone(&self.setup.disk),
            data_dir: self.setup.data_dir.clone(),
            address: if self.has_peers {
                self.address.clone()
            } else {
                String::new()
            },
            desk: Arc::clone(&self.desk),
            rounds,
            gate: network.gate,
            sending: network.sending,
            pulse,
            suspects: Mutex::default(),
            is_removed: AtomicBool::new(false),
            changing: tokio::sync::Mutex::new(()),
            since: tokio::time::Instant::now(),
            wal,
            view,
            snapshots,
            halt,
            metrics,
            applied: applying.applied.clone(),
            leadership,
            leader,
            stop,
            tasks,
            is_closing: AtomicBool::new(false),
            delivered: AtomicU64::new(0),
            lacks: Mutex::default(),
            closing,
            rest: Mutex::new(Some(Rest { applying, lock })),
        };
        Ok(Node {
            inner: Arc::new(inner),
        })
    }

    /// Makes the cluster where there is none; waits for a leader and for the log to be applied.
    async fn settle(&self, node: &Node, members: Option<Members>) -> Result<(), Error> {
        let raft = &node.inner.raft;
        let identity = node.inner.identity;
        let alone = || Members::from([(u64::from(identity.node.0), Peer::default())]);
        let members = members.or_else(|| (!self.has_peers).then(alone));
        if let Some(members) = members {
            let is_initialized = raft.is_initialized().await;
            if !is_initialized.map_err(|fatal| node.stopped(&fatal))? {
                raft.initialize(members).await.map_err(unstarted)?;
            }
        }
        if self.has_peers {
            self.desk.open(node);
            node.inner.tasks.spawn(rounds::run(node.clone()));
            let own = mend::watch(node.clone(), self.dialer.clone());
            node.inner.tasks.spawn(own);
            if identity.is_joining {
                let own = node.clone();
                node.inner.tasks.spawn(enroll(own, self.crowd()));
            }
        }
        if self.has_peers && !identity.is_provisional {
            // The log of a member is read and served without a leader too: the doors say so.
            let soon = Duration::from_millis(self.setup.raft.election_ms_max.saturating_mul(2));
            drop(ready(node, soon).await);
            return Ok(());
        }
        let limit = Duration::from_millis(self.setup.raft.start_ms_max);
        while let Err(error) = ready(node, limit).await {
            if !self.has_peers || !matches!(error, WaitError::Timeout(..)) {
                return Err(node.not_ready(&error));
            }
            self.tell("waiting for a leader and for the log".to_owned());
        }
        if identity.is_provisional {
            let settled = Identity {
                is_provisional: false,
                ..identity
            };
            let (disk, dir) = (Arc::clone(&self.setup.disk), self.setup.data_dir.clone());
            blocking(move || settled.save(&*disk, &dir)).await?;
        }
        Ok(())
    }
}

/// A leader is known, and everything that the log held is applied.
async fn ready(node: &Node, limit: Duration) -> Result<(), WaitError> {
    let raft = &node.inner.raft;
    let until = tokio::time::Instant::now() + limit;
    let wait = raft.wait(Some(limit));
    let leader = wait.metrics(|seen| seen.current_leader.is_some(), "waiting for a leader");
    leader.await?;
    let left = until.saturating_duration_since(tokio::time::Instant::now());
    raft.wait_for_recovery(Some(left)).await.map(drop)
}

/// Asks to be made a voter until this node is one, then notes that it is.
async fn enroll(node: Node, crowd: Crowd) {
    let me = node.inner.identity.node;
    let stop = node.inner.stop.clone();
    let mut told = String::new();
    while !node.voters().contains(&me) {
        let tried = async {
            if let Err(why) = crowd.enroll(me).await
                && told != why
            {
                info!(why, "not a voter yet");
                told = why;
            }
            tokio::time::sleep(ENROLL_AGAIN).await;
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tried => {}
        }
    }
    let identity = Identity {
        is_joining: false,
        is_provisional: false,
        ..node.inner.identity
    };
    let (disk, dir) = (Arc::clone(&node.inner.disk), node.inner.data_dir.clone());
    if let Err(error) = blocking(move || identity.save(&*disk, &dir)).await {
        node.inner
            .halt
            .set(&format!("cannot note that this node has joined: {error}"));
    }
}

/// Between two tries of a node that is not a voter yet.
const ENROLL_AGAIN: Duration = Duration::from_millis(500);
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    crate::blocking::blocking(work).await.map_err(unstarted)?
}

fn unstarted(error: impl std::error::Error) -> Error {
    Error::Start {
        what: error.to_string(),
    }
}
