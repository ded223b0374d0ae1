//! Three places with a disk each, a network between them, and what comes and goes there.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use raft::{ClusterConfig, Node, PeerConfig, Progress, Setup};
use storage::{
    Command, DefineForm, Disk, Engine, Expect, Fault, FaultDisk, FormId, Horizon, Index, WalConfig,
    encode_command,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::{self, Client};
use crate::dice::Dice;
use crate::disk::{LifeDisk, Locks};
use crate::driver::{Paces, data_dir};
use crate::ledger::Ledger;
use crate::net::{Net, address};
use crate::trace::Trace;

pub const PLACES: usize = 3;
pub const FORMS: [&str; 2] = ["a", "b"];

pub struct World {
    pub trace: Trace,
    pub net: Net,
    pub ledger: Ledger,
    pub paces: Paces,
    pub tasks: TaskTracker,
    /// Nothing is let go of the logs.
    pub keeps_all: AtomicBool,
    /// No new packs.
    pub quiet: CancellationToken,
    places: Mutex<Vec<Place>>,
    dice: Mutex<Dice>,
    /// How many applied entries stay behind the horizon, at least.
    kept: u64,
    repacks: bool,
}

struct Place {
    disk: FaultDisk,
    has_direct: bool,
    lives: u64,
    life: Option<Life>,
}

/// From a start to an end.
struct Life {
    number: u64,
    is_dead: Arc<AtomicBool>,
    /// Its disk is about to fail: it may stop by itself.
    is_doomed: Arc<AtomicBool>,
    stop: CancellationToken,
    node: Slot,
    starting: JoinHandle<()>,
    locks: Locks,
}

type Slot = Arc<Mutex<Option<Node>>>;

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process dies; what it wrote is with the system.
    Kill,
    /// The power goes.
    PowerCut,
    /// The power goes while something is written.
    TornPowerCut,
}

impl World {
    pub fn new(mut dice: Dice, trace: Trace, paces: Paces, repacks: bool) -> Arc<Self> {
        let places = (0..PLACES).map(|_| Place {
            disk: FaultDisk::new(),
            has_direct: dice.chance(50),
            lives: 0,
            life: None,
        });
        let places = places.collect();
        Arc::new(Self {
            net: Net::new(dice.fork(), trace.clone()),
            ledger: Ledger::new(trace.clone()),
            paces,
            tasks: TaskTracker::new(),
            keeps_all: AtomicBool::new(false),
            quiet: CancellationToken::new(),
            places: Mutex::new(places),
            kept: dice.between(20, 300),
            dice: Mutex::new(dice),
            trace,
            repacks,
        })
    }

    pub async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// The running node there.
    pub fn node(&self, at: usize) -> Option<Node> {
        let places = self.places.lock().unwrap();
        let life = places[at].life.as_ref()?;
        let node = life.node.lock().unwrap();
        node.clone()
    }

    pub fn is_up(&self, at: usize) -> bool {
        self.places.lock().unwrap()[at].life.is_some()
    }

    /// All that run.
    pub fn nodes(&self) -> Vec<(usize, Node)> {
        (0..PLACES)
            .filter_map(|at| Some((at, self.node(at)?)))
            .collect()
    }

    /// Where the leader is, by its own word: of several the newest.
    pub fn leader(&self) -> Option<usize> {
        let nodes = self.nodes();
        let leading = nodes.iter().filter_map(|(at, node)| {
            let term = *node.leadership().borrow();
            Some((term?, *at))
        });
        leading.max().map(|(_, at)| at)
    }

    fn setup(&self, at: usize, disk: LifeDisk) -> Setup {
        let mut storage = storage::Config::default();
        storage.state.engine = Engine::Memory;
        storage.wal = WalConfig {
            segment_bytes: 96 << 10,
            batch_bytes_max: 48 << 10,
            ..WalConfig::simulated()
        };
        let is_dead = Arc::clone(&disk.is_dead);
        Setup {
            peer: PeerConfig {
                advertise: address(at),
                ..PeerConfig::default()
            },
            cluster: ClusterConfig {
                peers: (0..PLACES).map(address).collect(),
                single: false,
            },
            transport: Arc::new(self.net.phone(at, is_dead)),
            ..Setup::alone(Arc::new(disk), &PathBuf::from(data_dir(at)), storage)
        }
    }

    /// A process starts there.
    pub fn start(self: &Arc<Self>, at: usize) {
        let mut places = self.places.lock().unwrap();
        let place = &mut places[at];
        assert!(place.life.is_none(), "one process a place");
        place.lives += 1;
        let life = place.lives;
        if !place.has_direct {
            place.disk.inject(Fault::NoDirect);
        }
        let is_dead = Arc::new(AtomicBool::new(false));
        let disk = LifeDisk {
            disk: place.disk.clone(),
            is_dead: Arc::clone(&is_dead),
            locks: Locks::default(),
        };
        let locks = Arc::clone(&disk.locks);
        let setup = self.setup(at, disk);
        let stop = CancellationToken::new();
        let slot = Slot::default();
        self.trace.say(format_args!("n{at} starts, life {life}"));
        let run = Run {
            world: Arc::clone(self),
            at,
            life,
            is_dead: Arc::clone(&is_dead),
            is_doomed: Arc::default(),
            stop: stop.clone(),
        };
        let is_doomed = Arc::clone(&run.is_doomed);
        let starting = self.tasks.spawn(run.start(setup, Arc::clone(&slot)));
        place.life = Some(Life {
            number: life,
            is_dead,
            is_doomed,
            stop,
            node: slot,
            starting,
            locks,
        });
    }

    /// A life ends without warning; returns once nothing of it runs any more.
    pub async fn end(&self, at: usize, how: End) {
        let Some(mut life) = self.take(at) else {
            return;
        };
        let disk = self.places.lock().unwrap()[at].disk.clone();
        if how == End::TornPowerCut {
            // The next write or two are the last, and may be torn.
            life.is_doomed.store(true, Ordering::Relaxed);
            let after = self.dice.lock().unwrap().between(1, 3);
            disk.inject(Fault::DieAfter(disk.changes() + after));
            let time = self.dice.lock().unwrap().ms(5, 100);
            self.sleep(time).await;
        }
        self.trace
            .say(format_args!("n{at} ends by {how:?}, life {}", life.number));
        life.is_dead.store(true, Ordering::Relaxed);
        life.stop.cancel();
        self.net.unplug(at);
        if how != End::Kill {
            let seed = self.dice.lock().unwrap().next();
            disk.power_cut(seed);
        }
        life.starting.abort();
        drop((&mut life.starting).await);
        life.locks.lock().unwrap().clear();
        self.close(at, life).await;
    }

    /// An orderly stop.
    pub async fn stop(&self, at: usize) {
        if self.node(at).is_none() {
            // It is still starting: nobody waits for that.
            return self.end(at, End::Kill).await;
        }
        let Some(mut life) = self.take(at) else {
            return;
        };
        self.trace
            .say(format_args!("n{at} stops, life {}", life.number));
        let node = life.node.lock().unwrap().clone();
        if let Some(node) = node {
            node.hand_over().await;
        }
        life.stop.cancel();
        drop((&mut life.starting).await);
        self.close(at, life).await;
        self.net.unplug(at);
    }

    fn take(&self, at: usize) -> Option<Life> {
        self.places.lock().unwrap()[at].life.take()
    }

    async fn close(&self, at: usize, life: Life) {
        let node = life.node.lock().unwrap().take();
        if let Some(node) = node
            && tokio::time::timeout(Duration::from_mins(1), node.close())
                .await
                .is_err()
        {
            self.ledger.wrong(format!("n{at} does not close"));
        }
        self.trace.say(format_args!("n{at} is gone"));
    }

    /// Where the log there ends, in its last file.
    pub fn end_of_log(&self, at: usize) -> Option<u64> {
        let segments = self.node(at)?.wal().segments();
        segments.last().map(|segment| segment.bytes)
    }

    /// The last write before `end` did not reach the disk as it was.
    pub fn damage(&self, at: usize, end: Option<u64>) {
        let places = self.places.lock().unwrap();
        let disk = &places[at].disk;
        let dir = PathBuf::from(data_dir(at)).join("wal");
        let files = disk.list(&dir).unwrap();
        let is_segment = |path: &&PathBuf| path.extension().is_some_and(|one| one == "seg");
        let last = files.iter().rfind(is_segment).unwrap();
        let offset = usize::try_from(end.unwrap_or(0))
            .unwrap()
            .saturating_sub(4096);
        let is_there = disk.flip(last, offset, 0xff);
        self.trace.say(format_args!(
            "the last write of n{at} is damaged: {is_there}"
        ));
    }

    /// Its disk is replaced by an empty one.
    pub fn wipe(&self, at: usize) {
        let mut places = self.places.lock().unwrap();
        assert!(places[at].life.is_none(), "nobody pulls a running disk");
        places[at].disk = FaultDisk::new();
        self.ledger.forget_place(at);
        self.trace.say(format_args!("n{at} has an empty disk"));
    }

    /// Waits until all run, lead or follow one leader, and have heard of it.
    pub async fn settled(&self, limit: Duration) -> bool {
        let is_settled = || {
            let nodes = self.nodes();
            let leaders: Vec<_> = nodes
                .iter()
                .map(|(_, node)| *node.leader().borrow())
                .collect();
            nodes.len() == PLACES
                && leaders[0].is_some()
                && leaders.iter().all(|leader| *leader == leaders[0])
                && self.leader().is_some()
        };
        self.wait(limit, is_settled).await
    }

    /// How everybody stands, for whoever wonders why.
    pub fn tell(&self) {
        for (at, node) in self.nodes() {
            let status = node.status();
            self.trace.say(format_args!(
                "n{at} is node {} {:?} term {} leader {:?} last {} committed {} applied {} floor {:?} purged {:?} members {:?}",
                status.node,
                status.role,
                status.term,
                status.leader,
                status.last,
                status.committed,
                status.applied,
                node.wal().floor(),
                node.wal().purged().map(|id| id.index.0),
                status.members,
            ));
            for seat in node.roster() {
                self.trace.say(format_args!(
                    "    sees {} {:?} {}",
                    seat.node, seat.state, seat.words
                ));
            }
        }
    }

    /// Looks every few milliseconds.
    pub async fn wait(&self, limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
        let until = tokio::time::Instant::now() + limit;
        while !is_so() {
            if until < tokio::time::Instant::now() || self.ledger.is_wrong() {
                return false;
            }
            self.sleep(Duration::from_millis(20)).await;
        }
        true
    }
}

/// One life, from the inside.
#[derive(Clone)]
struct Run {
    world: Arc<World>,
    at: usize,
    life: u64,
    is_dead: Arc<AtomicBool>,
    is_doomed: Arc<AtomicBool>,
    stop: CancellationToken,
}

impl Run {
    async fn start(self, setup: Setup, slot: Slot) {
        let (trace, at) = (self.world.trace.clone(), self.at);
        let progress = move |step| {
            if let Progress::Waiting(words) = step {
                trace.say(format_args!("n{at} waits: {words}"));
            }
        };
        let started = Node::start(setup, progress).await;
        if self.is_over() {
            // The power went meanwhile.
            if let Ok((node, _)) = started {
                *slot.lock().unwrap() = Some(node);
            }
            return;
        }
        let (node, started) = match started {
            Ok(started) => started,
            Err(error) => {
                if !self.is_doomed.load(Ordering::Relaxed) {
                    let at = self.at;
                    self.world
                        .ledger
                        .wrong(format!("n{at} does not start: {error}"));
                }
                return;
            }
        };
        self.world.trace.say(format_args!(
            "n{at} is node {} boot {}: last {:?} committed {:?} floor {:?} damage {:?}",
            started.node,
            started.boot,
            started.recovered.last.map(|id| id.index.0),
            started.recovered.committed.map(|id| id.index.0),
            started.recovered.floor,
            started.recovered.damage,
        ));
        *slot.lock().unwrap() = Some(node.clone());
        let tasks = &self.world.tasks;
        tasks.spawn(self.clone().until_stop(self.clone().watch(node.clone())));
        tasks.spawn(
            self.clone()
                .until_stop(self.clone().watch_role(node.clone())),
        );
        tasks.spawn(
            self.clone()
                .until_stop(self.clone().watch_end(node.clone())),
        );
        tasks.spawn(self.clone().until_stop(self.clone().forget(node.clone())));
        tasks.spawn(self.clone().until_stop(self.clone().people(node)));
    }

    fn is_over(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    async fn until_stop(self, work: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = work => {}
        }
    }

    /// Shows every state that is seen.
    async fn watch(self, node: Node) {
        let mut applied = node.applied();
        loop {
            let view = node.view();
            if let Some(id) = view.applied() {
                let digests = view.digests();
                if digests.index == id.index {
                    self.world.ledger.show(self.at, id, digests);
                }
            }
            if applied.changed().await.is_err() {
                return;
            }
        }
    }

    /// Shows who leads, and that nobody does who must not.
    async fn watch_role(self, node: Node) {
        let (mut leadership, mut leader) = (node.leadership(), node.leader());
        loop {
            let leads = *leadership.borrow_and_update();
            let follows = *leader.borrow_and_update();
            let status = node.status();
            self.world.ledger.show_term(self.at, status.term);
            if let Some(term) = leads {
                self.world
                    .trace
                    .say(format_args!("n{} leads in term {term}", self.at));
                self.world
                    .ledger
                    .lead(self.at, self.life, term, status.node);
                if let Some(floor) = node.wal().floor()
                    && let storage::Floor::Upto(id) = floor
                    && node.wal().last().is_none_or(|last| last < id)
                {
                    let what = format!("n{} leads below its floor {floor:?}", self.at);
                    self.world.ledger.wrong(what);
                }
            } else {
                self.world.trace.say(format_args!(
                    "n{} follows {follows:?} in term {}",
                    self.at, status.term
                ));
            }
            tokio::select! {
                biased;
                changed = leadership.changed() => if changed.is_err() { return },
                changed = leader.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn watch_end(self, node: Node) {
        let why = node.fatal().await;
        if !self.is_over() && !self.is_doomed.load(Ordering::Relaxed) {
            self.world
                .ledger
                .wrong(format!("n{} stopped: {why}", self.at));
        }
    }

    /// Retention: all but the newest entries may go.
    async fn forget(self, node: Node) {
        loop {
            self.world.sleep(Duration::from_secs(1)).await;
            node.checkpoints().demand();
            let applied = node.view().applied().map(|id| id.index).unwrap_or_default();
            let candidate = Index(applied.0.saturating_sub(self.world.kept));
            let at = node.checkpoints().newest(candidate).map(|one| one.id.index);
            let horizon = node.view().horizon().unwrap();
            if let Some(index) = at.filter(|at| horizon < *at)
                && node.leadership().borrow().is_some()
            {
                let command = encode_command(&Command::Horizon(Horizon { index }));
                if node.propose(command).await.is_ok() {
                    self.world.trace.say(format_args!("the horizon is {index}"));
                }
            }
            if !self.world.keeps_all.load(Ordering::Relaxed) {
                drop(node.forget(Index(u64::MAX)).await);
            }
        }
    }

    /// Those who submit at this door.
    async fn people(self, node: Node) {
        let forms = loop {
            if let Some(forms) = forms(&node) {
                break forms;
            }
            for name in FORMS {
                let define = DefineForm {
                    name: name.to_owned(),
                    expect: Expect::Absent,
                    definition: Bytes::from_static(b"{}"),
                };
                drop(
                    node.propose(encode_command(&Command::DefineForm(define)))
                        .await,
                );
            }
            self.world.sleep(Duration::from_millis(100)).await;
        };
        let dice = self.world.dice.lock().unwrap().fork();
        client::run(Client {
            at: self.at,
            node,
            forms,
            dice,
            ledger: self.world.ledger.clone(),
            trace: self.world.trace.clone(),
            stop: self.stop.clone(),
            quiet: self.world.quiet.clone(),
            repacks: self.world.repacks,
        })
        .await;
    }
}

/// Their numbers, if all are there.
pub fn forms(node: &Node) -> Option<Vec<FormId>> {
    let row = |name: &&str| node.view().form(name).unwrap().map(|row| row.id);
    FORMS.iter().map(row).collect()
}
