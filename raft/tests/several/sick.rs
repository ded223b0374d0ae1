//! Disks that are slow, full or broken, and states that differ: who hands over, who stops, who goes on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::site::{
    Site, close_all, define, has_form_everywhere, last, leader_of, propose, seat, start, until,
};
use bytes::Bytes;
use raft::{Node, Standing};
use storage::{
    Command, DefineForm, Disk, Expect, Fault, FaultDisk, File, Health, Index, NodeId, Outcome,
    encode_command,
};

/// A disk whose syncs, and writes past the cache, take their time.
#[derive(Clone)]
struct Slow {
    disk: FaultDisk,
    delay_ms: Arc<AtomicU64>,
}

struct SlowFile {
    file: Box<dyn File>,
    delay_ms: Arc<AtomicU64>,
    is_direct: bool,
}

impl Slow {
    fn new(disk: &FaultDisk) -> Self {
        Self {
            disk: disk.clone(),
            delay_ms: Arc::default(),
        }
    }

    fn set(&self, delay: Duration) {
        let ms = u64::try_from(delay.as_millis()).unwrap();
        self.delay_ms.store(ms, Ordering::SeqCst);
    }
}

impl SlowFile {
    /// It is the disk that sleeps.
    fn wait(&self) {
        // As a disk would that takes its time.
        std::thread::park_timeout(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst)));
    }
}

impl File for SlowFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        if self.is_direct {
            self.wait();
        }
        self.file.write_at(buf, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.wait();
        self.file.sync()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn reserve(&self, len: u64) -> io::Result<()> {
        self.file.reserve(len)
    }
}

impl Disk for Slow {
    fn open(&self, path: &Path, how: storage::Open) -> io::Result<Box<dyn File>> {
        Ok(Box::new(SlowFile {
            file: self.disk.open(path, how)?,
            delay_ms: Arc::clone(&self.delay_ms),
            is_direct: how == storage::Open::Direct,
        }))
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

async fn all_well(nodes: &[Node]) {
    until("all see all well", || {
        nodes.iter().all(|node| {
            let roster = node.roster();
            roster.len() == nodes.len() && roster.iter().all(|seat| seat.state == Standing::Ok)
        })
    })
    .await;
}

/// Three nodes whose disks can be made slow.
async fn slow_site(site: &Site) -> (Vec<Slow>, Vec<Node>) {
    let disks: Vec<_> = site.disks.iter().map(Slow::new).collect();
    let starts = disks
        .iter()
        .enumerate()
        .map(|(at, disk)| start(site.setup_on(at, Arc::new(disk.clone()))));
    let started = futures::future::join_all(starts).await;
    let nodes: Vec<_> = started.into_iter().map(|(node, _)| node).collect();
    propose(&nodes[0], &define("first")).await;
    all_well(&nodes).await;
    (disks, nodes)
}

/// So long that an election's shortest timeout is less.
const SLOW: Duration = Duration::from_millis(2100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_is_slow_three_times_hands_over() {
    let site = Site::new(3);
    let (disks, nodes) = slow_site(&site).await;
    let at = leader_of(&nodes).unwrap();
    let number = nodes[at].status().node;
    disks[at].set(SLOW);
    let began = tokio::time::Instant::now();
    let mut count = 0;
    while leader_of(&nodes) == Some(at) {
        count += 1;
        propose(&nodes[at], &define(&format!("f{count}"))).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(began.elapsed() < Duration::from_secs(30), "it leads on");
    }
    assert!(SLOW * 2 < began.elapsed(), "two slow syncs are no reason");
    until("somebody else leads", || {
        leader_of(&nodes).is_some_and(|now| now != at)
    })
    .await;
    let other = leader_of(&nodes).unwrap();
    until("they say why", || {
        seat(&nodes[other], number).is_some_and(|seat| seat.state == Standing::Sick)
    })
    .await;
    propose(&nodes[other], &define("after")).await;
    assert_ne!(leader_of(&nodes), Some(at));
    disks[at].set(Duration::ZERO);
    has_form_everywhere(&nodes, "after").await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_follower_holds_nobody_up_and_is_named() {
    let site = Site::new(3);
    let (disks, nodes) = slow_site(&site).await;
    let at = leader_of(&nodes).unwrap();
    let slow = (at + 1) % 3;
    let (number, term) = (nodes[slow].status().node, nodes[at].status().term);
    disks[slow].set(SLOW);
    let began = tokio::time::Instant::now();
    for count in 0..50 {
        propose(&nodes[at], &define(&format!("f{count}"))).await;
    }
    assert!(began.elapsed() < SLOW, "{:?}", began.elapsed());
    let mut count = 0;
    let mut named = false;
    while !named {
        count += 1;
        propose(&nodes[at], &define(&format!("g{count}"))).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        named = seat(&nodes[at], number).is_some_and(|seat| seat.state == Standing::Sick);
        assert!(began.elapsed() < Duration::from_secs(30), "nobody says so");
    }
    assert_eq!(leader_of(&nodes), Some(at));
    assert_eq!(nodes[at].status().term, term);
    assert_ne!(
        nodes[at].transfer(None).await.unwrap(),
        number,
        "not to that one"
    );
    disks[slow].set(Duration::ZERO);
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_cannot_serve_all_tasks_hands_over_to_whoever_can() {
    let site = Site::new(3);
    let (_disks, nodes) = slow_site(&site).await;
    let at = leader_of(&nodes).unwrap();
    let able = (at + 1) % 3;
    let other = (at + 2) % 3;
    let number = nodes[other].status().node;
    nodes[other].tell_lacks(Some("task t: no key".to_owned()));
    until("the others see what it lacks", || {
        let lacking =
            |seat: raft::Seat| seat.state == Standing::Lacking && seat.words.contains("no key");
        seat(&nodes[at], number).is_some_and(lacking)
    })
    .await;
    nodes[at].tell_lacks(Some("task t: no key".to_owned()));
    until("the one that lacks nothing leads", || {
        leader_of(&nodes) == Some(able)
    })
    .await;
    propose(&nodes[able], &define("after")).await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_lack_the_same_nobody_hands_over() {
    let site = Site::new(3);
    let (_disks, nodes) = slow_site(&site).await;
    let at = leader_of(&nodes).unwrap();
    let term = nodes[at].status().term;
    for node in &nodes {
        node.tell_lacks(Some("task t: no key".to_owned()));
    }
    until("each is seen to lack it", || {
        let roster = nodes[at].roster();
        roster.iter().all(|seat| seat.state == Standing::Lacking)
    })
    .await;
    // Rounds go on: in each the leader looks for somebody who could lead instead.
    for count in 0..20 {
        propose(&nodes[at], &define(&format!("f{count}"))).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(leader_of(&nodes), Some(at));
    assert_eq!(nodes[at].status().term, term);
    close_all(nodes).await;
}

/// Definitions of some size, so that the disk fills.
fn big(count: usize) -> Bytes {
    encode_command(&Command::DefineForm(DefineForm {
        name: format!("big{count}"),
        expect: Expect::Absent,
        definition: Bytes::from(vec![b' '; 2000]),
    }))
}

fn filling_site() -> Site {
    let mut site = Site::new(3);
    site.storage.wal.segment_bytes = 64 << 10;
    site.storage.wal.batch_bytes_max = 16 << 10;
    site.storage.wal.prepared_segments = 2;
    site
}

/// Fills the disks at these places; the others have room.
async fn fill(site: &Site, nodes: &[Node], full: &[usize]) {
    for at in full {
        site.disks[*at].inject(Fault::Full(0));
    }
    let is_full = |at: &usize| matches!(nodes[*at].wal().health(), Health::Full(_));
    let mut count = 0;
    while !full.iter().all(is_full) {
        count += 1;
        assert!(count < 1000, "a full disk is noticed");
        let command = big(count);
        let proposed = propose(&nodes[0], &command);
        // Where two are full nothing more is committed.
        if tokio::time::timeout(Duration::from_secs(2), proposed)
            .await
            .is_err()
        {
            break;
        }
    }
    until("they are full", || full.iter().all(is_full)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_a_full_disk_hands_over_and_one_full_disk_is_no_majority() {
    let site = filling_site();
    let nodes = site.start_all().await;
    propose(&nodes[0], &define("first")).await;
    all_well(&nodes).await;
    let at = leader_of(&nodes).unwrap();
    let number = nodes[at].status().node;
    fill(&site, &nodes, &[at]).await;
    until("another one leads", || {
        leader_of(&nodes).is_some_and(|now| now != at)
    })
    .await;
    let other = leader_of(&nodes).unwrap();
    propose(&nodes[other], &define("after")).await;
    until("it is named", || {
        seat(&nodes[other], number).is_some_and(|seat| seat.state == Standing::Full)
    })
    .await;
    assert_eq!(nodes[other].crowded(), None, "two have room");
    site.disks[at].clear_faults();
    all_well(&nodes).await;
    has_form_everywhere(&nodes, "after").await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_full_followers_are_named_and_heal() {
    let site = filling_site();
    let nodes = site.start_all().await;
    propose(&nodes[0], &define("first")).await;
    all_well(&nodes).await;
    let at = leader_of(&nodes).unwrap();
    let full = [(at + 1) % 3, (at + 2) % 3];
    fill(&site, &nodes, &full).await;
    let mut numbers = full.map(|at| nodes[at].status().node);
    numbers.sort();
    let words = format!(
        "the disks of nodes {} and {} are full",
        numbers[0], numbers[1]
    );
    until("all say so", || {
        nodes
            .iter()
            .all(|node| node.crowded().is_some_and(|said| said.contains(&words)))
    })
    .await;
    for at in full {
        site.disks[at].clear_faults();
    }
    until("it heals", || {
        nodes.iter().all(|node| node.crowded().is_none())
    })
    .await;
    propose(&nodes[0], &define("after")).await;
    has_form_everywhere(&nodes, "after").await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_log_fails_stops_and_the_others_elect() {
    let site = Site::new(3);
    let mut nodes = site.start_all().await;
    propose(&nodes[0], &define("first")).await;
    let at = leader_of(&nodes).unwrap();
    let disk = &site.disks[at];
    disk.inject(Fault::FailSync(disk.syncs() + 1));
    // Taken or not: it is the leader's disk that fails.
    drop(nodes[at].submit(define("at the moment")).await);
    let failed = nodes.remove(at);
    let why = tokio::time::timeout(crate::site::LIMIT, failed.fatal())
        .await
        .unwrap();
    assert!(why.starts_with("the log failed: "), "{why}");
    until("another one leads", || leader_of(&nodes).is_some()).await;
    propose(&nodes[0], &define("after")).await;
    has_form_everywhere(&nodes, "after").await;
    drop(failed.close().await);
    disk.clear_faults();
    let (back, _) = site.start(at).await;
    nodes.push(back);
    has_form_everywhere(&nodes, "after").await;
    close_all(nodes).await;
}

/// Both digests are kept at this entry.
const DIGEST_AT: u64 = 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_minority_whose_state_differs_stops_and_the_others_say_so() {
    let site = Site::new(3);
    let starts = (0..3).map(|at| {
        let mut setup = site.setup(at);
        // One row is not what was applied, on one node.
        setup.storage.state.spoil_at = (at == 1).then_some(Index(500));
        start(setup)
    });
    let started = futures::future::join_all(starts).await;
    let (mut nodes, numbers): (Vec<_>, Vec<NodeId>) = started
        .into_iter()
        .map(|(node, started)| (node, started.node))
        .unzip();
    propose(&nodes[0], &define("first")).await;
    while last(&nodes[0]) < Index(DIGEST_AT + 10) {
        let mut waiting = Vec::new();
        for count in 0..100 {
            if let Ok(pending) = nodes[0].submit(define(&format!("f{count}"))).await {
                waiting.push(pending);
            }
        }
        for pending in waiting {
            drop(pending.await); // a leader may change: others are proposed then
        }
    }
    let spoilt = nodes.remove(1);
    let why = tokio::time::timeout(crate::site::LIMIT, spoilt.fatal())
        .await
        .unwrap();
    assert!(why.contains("the state of this node differs"), "{why}");
    assert!(why.contains("1024"), "{why}");
    until("the others say so", || {
        nodes.iter().all(|node| {
            seat(node, numbers[1]).is_some_and(|seat| seat.state == Standing::Divergent)
        })
    })
    .await;
    drop(spoilt.close().await);
    let after = propose(&nodes[0], &define("after")).await;
    assert!(matches!(after, Outcome::Form { .. }));
    has_form_everywhere(&nodes, "after").await;
    assert!(nodes.iter().all(|node| node.status().stopped.is_none()));
    close_all(nodes).await;
}
