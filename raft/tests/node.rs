//! One node from the outside: what it promises over closes, power cuts and failures.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use raft::{Config, Error, Identity, Node, Role, Setup, Started};
use storage::{
    Command, DefineForm, Disk, Engine, Expect, Fault, FaultDisk, File, Index, NodeId, OsDisk,
    Outcome, Pack, Policy, Reaction, Seq, SetPolicy, Submission, Voters, encode_command,
};

const DIR: &str = "/data";
/// Far above what anything here takes: a wait that never ends fails its test.
const LIMIT: Duration = Duration::from_mins(1);

fn settings() -> storage::Config {
    let mut settings = storage::Config::default();
    settings.state.engine = Engine::Memory;
    settings.wal = storage::WalConfig::simulated();
    settings
}

async fn try_start(disk: &FaultDisk) -> Result<(Node, Started), Error> {
    let disk = Arc::new(disk.clone());
    let start = Node::start(Setup::alone(disk, Path::new(DIR), settings()), |_| {});
    tokio::time::timeout(LIMIT, start).await.unwrap()
}

async fn start(disk: &FaultDisk) -> (Node, Started) {
    try_start(disk).await.unwrap()
}

fn define(name: &str) -> Bytes {
    encode_command(&Command::DefineForm(DefineForm {
        name: name.to_owned(),
        expect: Expect::Absent,
        definition: Bytes::from_static(b"{}"),
    }))
}

fn has_form(node: &Node, name: &str) -> bool {
    node.view().form(name).unwrap().is_some()
}

#[tokio::test]
async fn a_new_node_leads_a_cluster_of_one_and_says_so() {
    let disk = FaultDisk::new();
    let (node, started) = start(&disk).await;
    assert!(started.fresh);
    assert_eq!((started.node, started.boot), (NodeId(1), 1));
    let status = node.status();
    assert_eq!(status.role, Role::Leader);
    assert_eq!(status.leader, Some(NodeId(1)));
    assert_eq!(status.cluster, started.cluster);
    assert_eq!(
        status.voters,
        Voters {
            quorum: 1,
            count: 1
        }
    );
    assert_eq!(status.stopped, None);
    assert_eq!(*node.leadership().borrow(), Some(status.term));
    // The membership and the leader's own entry.
    assert_eq!((status.last, status.applied), (Index(2), Index(2)));
    node.close().await.unwrap();
}

#[tokio::test]
async fn a_close_keeps_outcomes_and_identity_and_counts_the_boot() {
    let disk = FaultDisk::new();
    let (node, first) = start(&disk).await;
    let applied = node.propose(define("a")).await.unwrap();
    assert!(matches!(
        applied.outcome,
        Outcome::Form {
            version: 1,
            is_changed: true,
            ..
        }
    ));
    assert_eq!(*node.applied().borrow(), applied.log_id.index);
    node.close().await.unwrap();

    let (node, second) = start(&disk).await;
    assert!(!second.fresh);
    assert!(
        second.recovered.committed >= Some(applied.log_id),
        "{:?}",
        second.recovered
    );
    assert_eq!(second.cluster, first.cluster);
    assert_eq!(second.boot, 2);
    assert_eq!(node.sender().boot, 2);
    assert!(has_form(&node, "a"));
    let entry = node
        .wal()
        .read(applied.log_id.index..applied.log_id.index.next(), 1)
        .unwrap();
    assert_eq!(entry.first().unwrap().id, applied.log_id);
    let again = node.propose(define("b")).await.unwrap();
    assert!(again.log_id > applied.log_id);
    node.close().await.unwrap();
}

#[tokio::test]
async fn what_was_answered_survives_a_power_cut() {
    for seed in 0..8 {
        let disk = FaultDisk::new();
        let (node, _) = start(&disk).await;
        for name in ["a", "b", "c"] {
            node.propose(define(name)).await.unwrap();
        }
        disk.power_cut(seed);
        drop(node);
        let (node, started) = start(&disk).await;
        assert!(!started.fresh, "seed {seed}");
        for name in ["a", "b", "c"] {
            assert!(has_form(&node, name), "seed {seed} lost {name}");
        }
        node.close().await.unwrap();
    }
}

#[tokio::test]
async fn commands_are_in_the_log_in_the_order_of_their_submits() {
    let disk = FaultDisk::new();
    let (node, _) = start(&disk).await;
    let mut waiting = Vec::new();
    for number in 0..300 {
        waiting.push(node.submit(define(&format!("f{number}"))).await.unwrap());
    }
    let mut before = node.propose(define("last")).await.unwrap().log_id.index;
    for pending in waiting.into_iter().rev() {
        let index = pending.await.unwrap().log_id.index;
        assert_eq!(index.next(), before, "no gap, no swap");
        before = index;
    }
    node.close().await.unwrap();
}

#[tokio::test]
async fn a_start_of_one_node_waits_for_no_election_timeout() {
    let config = Config {
        election_ms_min: 600_000,
        election_ms_max: 1_200_000,
        start_ms_max: 2_400_000,
        ..Config::default()
    };
    let disk = FaultDisk::new();
    for _ in 0..2 {
        let shared = Arc::new(disk.clone());
        let start = Node::start(
            Setup {
                raft: config.clone(),
                ..Setup::alone(shared, Path::new(DIR), settings())
            },
            |_| {},
        );
        let (node, _) = tokio::time::timeout(LIMIT, start).await.unwrap().unwrap();
        node.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_failed_sync_ends_the_node_and_leaves_no_one_waiting() {
    let disk = FaultDisk::new();
    let (node, _) = start(&disk).await;
    node.propose(define("before")).await.unwrap();
    let term = *node.leadership().borrow();
    assert!(term.is_some());
    disk.inject(Fault::FailSync(disk.syncs() + 1));
    let mut waiting = Vec::new();
    for number in 0..20 {
        // Refused once the failure is known: then it is in no log.
        match node.submit(define(&format!("f{number}"))).await {
            Ok(pending) => waiting.push(pending),
            Err(error) => assert!(matches!(error, Error::Fatal { .. }), "{error}"),
        }
    }
    assert!(!waiting.is_empty());
    for pending in waiting {
        let ended = tokio::time::timeout(LIMIT, pending).await.unwrap();
        assert!(matches!(ended, Err(Error::Unknown)), "{ended:?}");
    }
    let why = tokio::time::timeout(LIMIT, node.fatal()).await.unwrap();
    assert!(why.starts_with("the log failed: "), "{why}");
    let refused = node.submit(define("after")).await.unwrap_err();
    assert_eq!(refused.reaction(), Reaction::Stop, "{refused}");
    let mut leadership = node.leadership();
    let lost = leadership.wait_for(Option::is_none);
    tokio::time::timeout(LIMIT, lost).await.unwrap().unwrap();
    assert_eq!(node.status().role, Role::Stopped);
    assert_eq!(node.status().stopped.as_deref(), Some(why.as_str()));
    assert!(
        node.close().await.is_err(),
        "closing does not hide what happened"
    );

    disk.power_cut(1);
    let (node, _) = start(&disk).await;
    assert!(has_form(&node, "before"));
    node.close().await.unwrap();
}

#[tokio::test]
async fn a_command_that_cannot_be_applied_stops_this_node_and_every_later_start() {
    let disk = FaultDisk::new();
    let (node, _) = start(&disk).await;
    let unknown = node
        .submit(Bytes::from_static(&[0xff, 0xff]))
        .await
        .unwrap();
    let ended = tokio::time::timeout(LIMIT, unknown).await.unwrap();
    assert!(matches!(ended, Err(Error::Unknown)), "{ended:?}");
    let why = tokio::time::timeout(LIMIT, node.fatal()).await.unwrap();
    assert!(why.starts_with("cannot apply the state: "), "{why}");
    drop(node.close().await);
    let error = try_start(&disk).await.unwrap_err();
    assert_eq!(error.reaction(), Reaction::Stop, "{error}");
}

#[tokio::test]
async fn the_log_follows_the_policy_of_the_cluster_not_of_the_settings() {
    let disk = FaultDisk::new();
    let (node, _) = start(&disk).await;
    assert_eq!(node.wal().policy(), Policy::Always);
    let command = Command::SetPolicy(SetPolicy {
        policy: Policy::Never,
    });
    node.propose(encode_command(&command)).await.unwrap();
    assert_eq!(node.wal().policy(), Policy::Never);
    assert_eq!(node.status().policy, "never");
    node.close().await.unwrap();
    let (node, _) = start(&disk).await;
    assert_eq!(node.wal().policy(), Policy::Never);
    node.close().await.unwrap();
}

#[tokio::test]
async fn a_closed_node_takes_nothing_and_a_second_close_is_no_error() {
    let disk = FaultDisk::new();
    let (node, _) = start(&disk).await;
    let other = node.clone();
    let pending = node.submit(define("a")).await.unwrap();
    node.close().await.unwrap();
    // Answered or unknown, but ended.
    drop(tokio::time::timeout(LIMIT, pending).await.unwrap());
    assert!(matches!(
        other.submit(define("b")).await,
        Err(Error::Stopping)
    ));
    assert_eq!(*other.leadership().borrow(), None);
    other.close().await.unwrap();
}

#[tokio::test]
async fn a_data_directory_has_one_node_at_a_time() {
    let disk = FaultDisk::new();
    let (node, _) = start(&disk).await;
    let error = try_start(&disk).await.unwrap_err();
    assert!(
        matches!(error, Error::Storage(storage::Error::Locked { .. })),
        "{error}"
    );
    node.close().await.unwrap();
    let (node, started) = start(&disk).await;
    assert_eq!(started.boot, 2, "the refused start was none");
    node.close().await.unwrap();
}

#[tokio::test]
async fn a_lost_log_is_named_and_never_taken_for_a_new_one() {
    let disk = FaultDisk::new();
    let (node, _) = start(&disk).await;
    node.close().await.unwrap();
    let wal = Path::new(DIR).join("wal");
    disk.rename(&wal, Path::new("/elsewhere")).unwrap();
    let meta = disk.read(&Identity::path(Path::new(DIR))).unwrap();
    let before = disk.list(Path::new(DIR)).unwrap();
    for _ in 0..2 {
        let error = try_start(&disk).await.unwrap_err();
        assert!(matches!(error, Error::Identity { .. }), "{error}");
        // Not even counted, and no log was begun: what was moved away can be moved back.
        assert_eq!(meta, disk.read(&Identity::path(Path::new(DIR))).unwrap());
        assert_eq!(before, disk.list(Path::new(DIR)).unwrap());
    }
    disk.rename(Path::new("/elsewhere"), &wal).unwrap();
    let (node, started) = start(&disk).await;
    assert_eq!(started.boot, 2);
    node.close().await.unwrap();
}

#[tokio::test]
async fn a_log_or_a_state_without_its_node_meta_is_refused() {
    let disk = FaultDisk::new();
    let (node, _) = start(&disk).await;
    node.close().await.unwrap();
    let dir = Path::new(DIR);
    disk.remove(&Identity::path(dir)).unwrap();
    for lost in ["nothing", "wal"] {
        if disk.exists(&dir.join(lost)).unwrap() {
            disk.rename(&dir.join(lost), Path::new("/elsewhere"))
                .unwrap();
        }
        let before = disk.list(dir).unwrap();
        assert!(before.contains(&dir.join("state")), "{before:?}");
        let error = try_start(&disk).await.unwrap_err();
        assert!(matches!(error, Error::Identity { .. }), "{error}");
        assert_eq!(before, disk.list(dir).unwrap(), "{lost} lost");
    }
}

#[tokio::test]
async fn a_node_meta_from_a_backup_never_counts_a_life_twice() {
    let disk = FaultDisk::new();
    let (node, _) = start(&disk).await;
    node.close().await.unwrap();
    let path = Identity::path(Path::new(DIR));
    let backup = disk.read(&path).unwrap();
    let (node, started) = start(&disk).await;
    let form = node.propose(define("a")).await.unwrap();
    let Outcome::Form { id: form, .. } = form.outcome else {
        unreachable!("{form:?}")
    };
    let submit = |sender, body: &'static str| {
        let pack = Command::Submit(Pack {
            sender,
            number: 1,
            submissions: vec![Submission {
                id: [1; 16],
                form,
                form_version: 1,
                received_ms: 1,
                key: None,
                digest: [1; 16],
                is_withheld: false,
                body: Bytes::from_static(body.as_bytes()),
            }],
        });
        encode_command(&pack)
    };
    node.propose(submit(node.sender(), "one")).await.unwrap();
    node.close().await.unwrap();
    disk.write_atomic(&path, &backup).unwrap();

    let (node, again) = start(&disk).await;
    assert!(again.boot > started.boot, "{again:?}");
    assert_eq!(node.sender().boot, again.boot);
    let kept = Identity::load(&disk, Path::new(DIR)).unwrap().unwrap();
    assert_eq!(kept.boot, again.boot);
    node.propose(submit(node.sender(), "two")).await.unwrap();
    let head = node.view().head(form).unwrap();
    assert_eq!(head, Seq(2), "the receipt of the second is not the first's");
    node.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_node_meta_is_refused() {
    let disk = FaultDisk::new();
    let (node, _) = start(&disk).await;
    node.close().await.unwrap();
    assert!(disk.flip(&Identity::path(Path::new(DIR)), 17, 0x10));
    let error = try_start(&disk).await.unwrap_err();
    assert!(matches!(error, Error::Identity { .. }), "{error}");
}

/// Lets the disk die after its n-th change for every n, until a start gets through; after each
/// cut the next start has to succeed.
async fn cut_everywhere(prepared: &FaultDisk, check: impl Fn(&Node)) {
    for count in 1.. {
        let disk = prepared.copy();
        disk.inject(Fault::DieAfter(disk.changes() + count));
        let cut = try_start(&disk).await;
        let is_through = match &cut {
            Ok((node, _)) => node.status().stopped.is_none() && disk.exists(Path::new(DIR)).is_ok(),
            Err(_) => false,
        };
        disk.power_cut(count);
        drop(cut);
        let (node, _) = try_start(&disk)
            .await
            .unwrap_or_else(|error| panic!("cut {count}: {error}"));
        check(&node);
        node.close().await.unwrap();
        if is_through {
            assert!(count > 5, "the cuts began within the start");
            return;
        }
    }
}

#[tokio::test]
async fn a_first_start_may_be_cut_anywhere() {
    cut_everywhere(&FaultDisk::new(), |node| {
        assert_eq!(node.status().role, Role::Leader);
    })
    .await;
}

#[tokio::test]
async fn a_later_start_may_be_cut_anywhere() {
    let disk = FaultDisk::new();
    let (node, _) = start(&disk).await;
    node.propose(define("a")).await.unwrap();
    node.close().await.unwrap();
    cut_everywhere(&disk, |node| assert!(has_form(node, "a"))).await;
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let to = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy_dir(&item.path(), &to);
        } else {
            std::fs::copy(item.path(), to).unwrap();
        }
    }
}

async fn start_on_files(dir: &Path) -> (Node, Started) {
    let settings = storage::Config {
        wal: storage::WalConfig::simulated(),
        ..storage::Config::default()
    };
    let start = Node::start(Setup::alone(Arc::new(OsDisk), dir, settings), |_| {});
    tokio::time::timeout(LIMIT, start).await.unwrap().unwrap()
}

/// What a process that is killed leaves behind is what lies in its directory while it runs.
#[tokio::test]
async fn a_killed_process_leaves_a_directory_that_the_next_one_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let (living, left) = (dir.path().join("living"), dir.path().join("left"));
    let (node, first) = start_on_files(&living).await;
    for name in ["a", "b", "c"] {
        node.propose(define(name)).await.unwrap();
    }
    copy_dir(&living, &left);
    let digests = node.view().digests();
    node.close().await.unwrap();

    let (node, second) = start_on_files(&left).await;
    assert_eq!((second.cluster, second.boot), (first.cluster, 2));
    assert!(
        ["a", "b", "c"]
            .into_iter()
            .all(|name| has_form(&node, name))
    );
    let log = node
        .wal()
        .read(Index(1)..digests.index.next(), usize::MAX)
        .unwrap();
    assert_eq!(log.last().unwrap().id.index, digests.index);
    assert_eq!(
        node.view().digests().rows,
        digests.rows,
        "a new term adds no row"
    );
    node.close().await.unwrap();
}

/// Segments so small that a few dozen commands fill some.
fn small() -> storage::Config {
    let mut settings = settings();
    settings.wal.segment_bytes = 64 << 10;
    settings.wal.batch_bytes_max = 16 << 10;
    settings.state.checkpoint_bytes = 1;
    settings
}

async fn start_small(disk: &FaultDisk) -> Result<(Node, Started), Error> {
    let disk = Arc::new(disk.clone());
    let start = Node::start(Setup::alone(disk, Path::new(DIR), small()), |_| {});
    tokio::time::timeout(LIMIT, start).await.unwrap()
}

async fn fill(node: &Node, names: std::ops::Range<u32>) {
    for number in names {
        node.propose(define(&format!("f{number}"))).await.unwrap();
    }
}

async fn set_horizon(node: &Node, index: Index) {
    let command = Command::Horizon(storage::Horizon { index });
    node.propose(encode_command(&command)).await.unwrap();
}

/// Purges until `wanted` is gone and what is useless then too.
async fn forget(node: &Node, wanted: Index) {
    for _ in 0..200 {
        let gone = node.forget(Index(u64::MAX)).await.unwrap();
        let first = node.checkpoints().all().first().map(|one| one.id.index);
        if gone.purged == wanted && first == Some(wanted) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{:?} {:?}", node.wal().purged(), node.checkpoints().all());
}

/// Waits until so many checkpoints are written.
async fn checkpoints(node: &Node, count: usize) -> Vec<Index> {
    let look = async {
        loop {
            let all = node.checkpoints().all();
            if all.len() >= count {
                return all.iter().map(|one| one.id.index).collect();
            }
            fill(node, 0..8).await;
        }
    };
    tokio::time::timeout(LIMIT, look).await.unwrap()
}

#[tokio::test]
async fn a_log_that_was_purged_starts_again_from_its_checkpoint_and_goes_on() {
    let disk = FaultDisk::new();
    let (node, _) = start_small(&disk).await.unwrap();
    fill(&node, 0..50).await;
    let indexes = checkpoints(&node, 3).await;
    assert_eq!(
        node.forget(Index(u64::MAX)).await.unwrap().purged,
        Index(0),
        "no horizon"
    );
    set_horizon(&node, Index(indexes[1].0 + 1)).await;
    let own = node.forget(indexes[0]).await.unwrap();
    assert_eq!(own.purged, indexes[0], "no further than this node lets");
    forget(&node, indexes[1]).await;
    assert!(node.wal().segments().first().unwrap().last > Some(indexes[1]));
    fill(&node, 50..60).await;
    let digests = node.view().digests();
    node.close().await.unwrap();

    for seed in 0..4 {
        let (node, started) = start_small(&disk).await.unwrap();
        assert_eq!(started.recovered.purged.unwrap().index, indexes[1]);
        let storage::Opened::Rebuilt { base, .. } = started.opened else {
            panic!("{started:?}")
        };
        assert!(base >= Some(indexes[1]), "{base:?}");
        assert!(has_form(&node, "f0") && has_form(&node, "f59"));
        assert_eq!(node.view().digests().rows, digests.rows);
        let floor = node.checkpoints().floor(node.view().horizon().unwrap());
        assert_eq!(
            floor.unwrap().id.index,
            indexes[1],
            "the same one as before"
        );
        fill(&node, 0..10).await;
        disk.power_cut(seed);
        drop(node);
    }
}

#[tokio::test]
async fn a_purge_may_be_cut_anywhere() {
    let prepared = FaultDisk::new();
    let (node, _) = start_small(&prepared).await.unwrap();
    fill(&node, 0..50).await;
    let indexes = checkpoints(&node, 2).await;
    set_horizon(&node, indexes[1]).await;
    let rows = node.view().digests().rows;
    node.close().await.unwrap();
    for count in 1.. {
        let disk = prepared.copy();
        let (node, _) = start_small(&disk).await.unwrap();
        disk.inject(Fault::DieAfter(disk.changes() + count));
        let mut last = Index(0);
        for _ in 0..3 {
            // Once the disk is dead it fails, or sees nothing move.
            if let Ok(gone) = tokio::time::timeout(LIMIT, node.forget(indexes[1]))
                .await
                .unwrap()
            {
                last = gone.purged;
            }
            // Behind the purge in the log: it is durable once this is known.
            if let Ok(pending) = node.submit(define("later")).await {
                drop(pending.await);
            }
        }
        let is_through = node.checkpoints().all().len() == 1 && disk.exists(Path::new(DIR)).is_ok();
        disk.power_cut(count);
        drop(node);
        let (node, started) = start_small(&disk)
            .await
            .unwrap_or_else(|error| panic!("cut {count}, purged {last}: {error}"));
        assert!(has_form(&node, "f49"), "{started:?}");
        if !has_form(&node, "later") {
            assert_eq!(node.view().digests().rows, rows, "cut {count}");
        }
        node.close().await.unwrap();
        if is_through {
            assert!(count > 3, "the cuts began within the purge");
            return;
        }
    }
}

/// A disk whose syncs of the log wait while the gate is shut.
#[derive(Clone)]
struct Gated {
    disk: FaultDisk,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_shut: Mutex<bool>,
    opened: Condvar,
    /// How many syncs have come to it while it was shut.
    came: AtomicUsize,
}

struct GatedFile(Box<dyn File>, Arc<Gate>);

impl Gated {
    fn set(&self, is_shut: bool) {
        *self.gate.is_shut.lock().unwrap() = is_shut;
        self.gate.opened.notify_all();
    }
}

impl File for GatedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(buf, offset)
    }
    fn sync(&self) -> io::Result<()> {
        let is_shut = self.1.is_shut.lock().unwrap();
        if *is_shut {
            self.1.came.fetch_add(1, Ordering::SeqCst);
        }
        drop(
            self.1
                .opened
                .wait_while(is_shut, |is_shut| *is_shut)
                .unwrap(),
        );
        self.0.sync()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn reserve(&self, len: u64) -> io::Result<()> {
        self.0.reserve(len)
    }
}

impl Disk for Gated {
    fn open(&self, path: &Path, how: storage::Open) -> io::Result<Box<dyn File>> {
        let file = self.disk.open(path, how)?;
        Ok(Box::new(GatedFile(file, Arc::clone(&self.gate))))
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.free_bytes(path)
    }
    fn boot_id(&self) -> [u8; 16] {
        self.disk.boot_id()
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock(path)
    }
}

/// Applying waits for a sync here, which would hold up a test on the same thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_was_appended_under_a_looser_policy_is_synced_before_always_is_promised() {
    let disk = Gated {
        disk: FaultDisk::new(),
        gate: Arc::default(),
    };
    let shared = Arc::new(disk.clone());
    let start = Node::start(Setup::alone(shared, Path::new(DIR), settings()), |_| {});
    let (node, _) = tokio::time::timeout(LIMIT, start).await.unwrap().unwrap();
    let set = |policy| encode_command(&Command::SetPolicy(SetPolicy { policy }));
    node.propose(set(Policy::Never)).await.unwrap();
    // The first batch under a weaker policy says so durably before it is written.
    node.propose(define("first")).await.unwrap();
    disk.set(true);
    node.propose(define("before")).await.unwrap();
    let mut tightened = tokio::task::JoinSet::new();
    tightened.spawn(node.submit(set(Policy::Always)).await.unwrap());
    // Either a sync stands at the gate, or the answer has come without one.
    let began = std::time::Instant::now();
    let mut early = false;
    while !early && disk.gate.came.load(Ordering::SeqCst) == 0 {
        early = tightened.try_join_next().is_some();
        assert!(began.elapsed() < LIMIT, "neither a sync nor an answer");
        tokio::task::yield_now().await;
    }
    // An answer that does not wait for that sync gets every chance to come.
    for _ in 0..20_000 {
        early |= tightened.try_join_next().is_some();
        tokio::task::yield_now().await;
    }
    assert!(!early, "acknowledged without a sync");
    disk.set(false);
    let told = tokio::time::timeout(LIMIT, tightened.join_next()).await;
    told.unwrap().unwrap().unwrap().unwrap();
    disk.disk.power_cut(7);
    drop(node);
    let (node, _) = start_small(&disk.disk).await.unwrap();
    assert!(has_form(&node, "before"));
    node.close().await.unwrap();
}
