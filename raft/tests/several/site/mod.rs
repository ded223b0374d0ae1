//! Disks, addresses and settings of a small cluster on loopback; the nodes come and go.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bytes::Bytes;
use raft::{ClusterConfig, Config, Error, Node, PeerConfig, Seat, Setup, Started};
use storage::{
    Command, DefineForm, Disk, Engine, Expect, FaultDisk, Index, NodeId, Outcome, encode_command,
};

/// Far above what anything here takes: a wait that never ends fails its test.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

pub(crate) struct Site {
    pub(crate) disks: Vec<FaultDisk>,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) storage: storage::Config,
}

/// An address that nobody gets while its node is down: no other test, since each is given out once, and
/// no connection, since the kernel picks its own ports above these.
fn address() -> SocketAddr {
    const PORTS: std::ops::Range<u16> = 10_000..32_000;
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let spread = u16::try_from(std::process::id() % 200).unwrap() * 100;
    let free = PORTS.map(|_| {
        let at = spread + GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + at % (PORTS.end - PORTS.start);
        SocketAddr::from(([127, 0, 0, 1], port))
    });
    let mut free = free.filter(|address| TcpListener::bind(address).is_ok());
    free.next().unwrap()
}

impl Site {
    pub(crate) fn new(count: usize) -> Self {
        let mut storage = storage::Config::default();
        storage.state.engine = Engine::Memory;
        storage.wal = storage::WalConfig::simulated();
        Self {
            disks: (0..count).map(|_| FaultDisk::new()).collect(),
            addresses: (0..count).map(|_| address()).collect(),
            storage,
        }
    }

    pub(crate) fn setup(&self, at: usize) -> Setup {
        self.setup_on(at, Arc::new(self.disks[at].clone()))
    }

    pub(crate) fn setup_on(&self, at: usize, disk: Arc<dyn Disk>) -> Setup {
        Setup {
            raft: Config {
                heartbeat_ms: 50,
                election_ms_min: 300,
                election_ms_max: 600,
                ..Config::default()
            },
            peer: PeerConfig {
                listen: self.addresses[at],
                ..PeerConfig::default()
            },
            cluster: ClusterConfig {
                peers: self.addresses.iter().map(ToString::to_string).collect(),
                single: false,
            },
            ..Setup::alone(disk, Path::new("/data"), self.storage.clone())
        }
    }

    pub(crate) async fn start(&self, at: usize) -> (Node, Started) {
        start(self.setup(at)).await
    }

    pub(crate) async fn start_all(&self) -> Vec<Node> {
        let starts = (0..self.disks.len()).map(|at| self.start(at));
        let started = futures::future::join_all(starts).await;
        started.into_iter().map(|(node, _)| node).collect()
    }
}

pub(crate) async fn start(setup: Setup) -> (Node, Started) {
    let start = Node::start(setup, |_| {});
    tokio::time::timeout(LIMIT, start).await.unwrap().unwrap()
}

pub(crate) fn define(name: &str) -> Bytes {
    encode_command(&Command::DefineForm(DefineForm {
        name: name.to_owned(),
        expect: Expect::Absent,
        definition: Bytes::from_static(b"{}"),
    }))
}

pub(crate) async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let wait = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, wait).await.is_ok(), "{what}");
}

/// Proposes until it is taken: a leader may be about to change.
pub(crate) async fn propose(node: &Node, command: &Bytes) -> Outcome {
    let tries = async {
        loop {
            match node.propose(command.clone()).await {
                Ok(applied) => return applied.outcome,
                Err(Error::NotLeader { .. } | Error::Unknown) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(LIMIT, tries).await.unwrap()
}

pub(crate) fn leader_of(nodes: &[Node]) -> Option<usize> {
    nodes
        .iter()
        .position(|node| node.leadership().borrow().is_some())
}

pub(crate) fn has_form(node: &Node, name: &str) -> bool {
    node.view().form(name).unwrap().is_some()
}

pub(crate) async fn has_form_everywhere(nodes: &[Node], name: &str) {
    until(name, || nodes.iter().all(|node| has_form(node, name))).await;
}

pub(crate) async fn close_all(nodes: Vec<Node>) {
    for node in nodes {
        node.close().await.unwrap();
    }
}

/// How `node` sees the member with this number.
pub(crate) fn seat(node: &Node, member: NodeId) -> Option<Seat> {
    node.roster().into_iter().find(|seat| seat.node == member)
}

pub(crate) fn last(node: &Node) -> Index {
    node.wal().last().map(|id| id.index).unwrap_or_default()
}
