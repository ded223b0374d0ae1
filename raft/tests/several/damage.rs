//! Three nodes whose logs are damaged: peers repair them, or they join anew. Never is a node elected
//! that cannot read its log.

use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::site::{LIMIT, Site, close_all, define, has_form_everywhere, leader_of, propose, until};
use futures::future::BoxFuture;
use raft::{Error, Listener, Node, Pipe, Progress, Setup, Standing, Started, Tcp, Transport};
use storage::{Disk, Entry, Fault, FaultDisk, Index, Verify};
use tokio::sync::watch;

fn wal_dir() -> PathBuf {
    PathBuf::from("/data/wal")
}

/// The oldest segments of a disk.
fn segments(disk: &FaultDisk) -> Vec<PathBuf> {
    let paths = disk.list(&wal_dir()).unwrap().into_iter();
    paths
        .filter(|path| path.extension().is_some_and(|found| found == "seg"))
        .collect()
}

/// Where in its log a disk has the definition of this form: file and byte.
fn place_of(disk: &FaultDisk, name: &str) -> (PathBuf, usize) {
    let needle = name.as_bytes();
    for path in segments(disk) {
        let bytes = disk.read(&path).unwrap();
        let at = bytes
            .windows(needle.len())
            .position(|found| found == needle);
        if let Some(at) = at {
            return (path, at);
        }
    }
    panic!("{name} is in no file");
}

fn flip(disk: &FaultDisk, name: &str) {
    let (path, at) = place_of(disk, name);
    assert!(disk.flip(&path, at + 1, 4));
}

/// What stands there after [`flip`].
fn harmed(name: &str) -> String {
    let mut bytes = name.as_bytes().to_vec();
    bytes[1] ^= 4;
    String::from_utf8(bytes).unwrap()
}

/// Names that are found in the bytes of a log.
fn names() -> Vec<String> {
    (0..12).map(|at| format!("form-number-{at:02}")).collect()
}

/// A cluster that was closed in order, whose logs lie in several files each.
async fn closed(site: &Site) -> Vec<String> {
    let names = names();
    for some in names.chunks(4) {
        let nodes = site.start_all().await;
        for name in some {
            propose(&nodes[0], &define(name)).await;
        }
        for name in some {
            has_form_everywhere(&nodes, name).await;
        }
        close_all(nodes).await;
    }
    names
}

/// Nothing, if one of them cannot be read.
fn entries(node: &Node, upto: Index) -> Option<Vec<Entry>> {
    let first = node.wal().first().unwrap();
    let mut at = first;
    let mut entries = Vec::new();
    while at <= upto {
        let some = node.wal().read(at..upto.next(), 1 << 20).ok()?;
        at = some.last().unwrap().id.index.next();
        entries.extend(some);
    }
    Some(entries)
}

/// As far as all have applied.
async fn have_equal_logs(nodes: &[Node], what: &str) {
    let upto = nodes.iter().map(|node| *node.applied().borrow()).min();
    let upto = upto.unwrap();
    // What is found while a node runs, by this look at the latest, is repaired beside its work.
    let mut logs = Vec::new();
    until(what, || {
        logs = nodes.iter().map(|node| entries(node, upto)).collect();
        logs.iter().all(Option::is_some)
    })
    .await;
    for (node, log) in nodes.iter().zip(&logs) {
        assert_eq!(0, node.wal().holes(), "{what}");
        assert!(logs[0] == *log, "{what}: {:?} differs", node.status().node);
    }
}

/// All nodes have the same log, and the forms of `names` from it.
async fn are_equal(nodes: &[Node], names: &[String]) {
    propose(&nodes[0], &define("the end")).await;
    for name in names.iter().map(String::as_str).chain(["the end"]) {
        has_form_everywhere(nodes, name).await;
    }
    have_equal_logs(nodes, "at the end").await;
}

type Told = Arc<Mutex<Vec<String>>>;

/// Starts in the background; what is told meanwhile is kept.
fn begin(site: &Site, at: usize) -> (tokio::task::JoinHandle<(Node, Started)>, Told) {
    begin_with(site.setup(at))
}

fn begin_with(setup: Setup) -> (tokio::task::JoinHandle<(Node, Started)>, Told) {
    let told = Told::default();
    let words = Arc::clone(&told);
    let start = Node::start(setup, move |progress| {
        if let Progress::Waiting(what) = progress {
            words.lock().unwrap().push(what);
        }
    });
    let start = async move { start.await.unwrap() };
    (tokio::spawn(start), told)
}

async fn end(start: tokio::task::JoinHandle<(Node, Started)>) -> (Node, Started) {
    tokio::time::timeout(LIMIT, start).await.unwrap().unwrap()
}

fn has_told(told: &Told, what: &str) -> bool {
    let told = told.lock().unwrap();
    told.iter().any(|words| words.contains(what))
}

/// TCP whose calls go out only once they may; others always reach the node.
struct Gated(watch::Receiver<bool>);

impl Transport for Gated {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Pipe>>> {
        if *self.0.borrow() {
            Tcp.dial(address)
        } else {
            Box::pin(ready(Err(io::Error::other("the gate is closed"))))
        }
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Tcp.listen(address)
    }
}

/// What `node` says of the one at `address`.
fn standing(node: &Node, site: &Site, at: usize) -> Option<Standing> {
    let address = site.addresses[at].to_string();
    let roster = node.roster();
    let seat = roster.into_iter().find(|seat| seat.address == address);
    seat.map(|seat| seat.state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_repaired_from_peers_before_the_node_takes_part() {
    let site = Site::new(3);
    let names = closed(&site).await;
    flip(&site.disks[2], &names[1]);
    flip(&site.disks[2], &names[6]);
    // Alone it waits, says for whom, and is no leader of anybody.
    let (start, told) = begin(&site, 2);
    until("it says for whom it waits", || {
        has_told(&told, "2 entries of the log")
            && has_told(&told, &site.addresses[0].to_string())
            && has_told(&told, &site.addresses[1].to_string())
    })
    .await;
    assert!(!start.is_finished());
    let mut nodes = vec![site.start(0).await.0];
    nodes.push(site.start(1).await.0);
    let (node, started) = end(start).await;
    nodes.push(node);
    assert!(has_told(&told, "repairing entries"));
    assert!(started.set_aside.is_none());
    assert!(!started.recovered.damage.is_empty());
    are_equal(&nodes, &names).await;
    until("all see all well", || {
        nodes
            .iter()
            .all(|node| node.roster().iter().all(|seat| seat.state == Standing::Ok))
    })
    .await;
    close_all(nodes).await;
    // And it stays repaired, with nobody there to ask.
    let (node, _) = site.start(2).await;
    assert_eq!(0, node.wal().holes());
    close_all(vec![node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_is_not_repaired_the_others_say_so_and_it_never_leads() {
    let site = Site::new(3);
    let names = closed(&site).await;
    flip(&site.disks[2], &names[1]);
    let (open, gate) = watch::channel(false);
    let setup = Setup {
        transport: Arc::new(Gated(gate)),
        ..site.setup(2)
    };
    let (start, told) = begin_with(setup);
    let (one, two) = futures::future::join(site.start(0), site.start(1)).await;
    let nodes = vec![one.0, two.0];
    for node in &nodes {
        until("it is said to be damaged", || {
            standing(node, &site, 2) == Some(Standing::Damaged)
        })
        .await;
    }
    propose(&nodes[0], &define("without it")).await;
    assert!(has_told(&told, "the gate is closed"));
    assert!(!start.is_finished());
    // Nobody else can make it lead either.
    let roster = nodes[0].roster();
    let address = site.addresses[2].to_string();
    let damaged = roster.iter().find(|seat| seat.address == address).unwrap();
    assert_eq!(1, damaged.holes);
    let refused = nodes[0].transfer(Some(damaged.node)).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(!start.is_finished());
    open.send(true).unwrap();
    let mut nodes = nodes;
    nodes.push(end(start).await.0);
    are_equal(&nodes, &names).await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_lost_the_same_entry_wait_for_the_third_and_help_each_other_meanwhile() {
    let site = Site::new(3);
    let names = closed(&site).await;
    // The same entry on two of three: the third, which has it, comes last.
    flip(&site.disks[1], &names[1]);
    flip(&site.disks[2], &names[1]);
    flip(&site.disks[1], &names[2]);
    flip(&site.disks[2], &names[3]);
    let (one, told_one) = begin(&site, 1);
    let (two, _) = begin(&site, 2);
    // What only one of them lacks the other gives, though neither takes part yet.
    until("each gave what it has", || {
        has_told(&told_one, "1 entries of the log")
    })
    .await;
    assert!(!one.is_finished() && !two.is_finished());
    // Without a majority nobody leads, and nobody who is damaged is elected.
    let limit = Duration::from_secs(30);
    let (node, _) = tokio::time::timeout(limit, site.start(0)).await.unwrap();
    let mut nodes = vec![node];
    nodes.push(end(one).await.0);
    nodes.push(end(two).await.0);
    are_equal(&nodes, &names).await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_file_sets_the_node_aside_and_it_joins_under_a_fresh_number() {
    // One between others; the first one; all of them; the vote; the identity.
    for what in 0..5 {
        let site = Site::new(3);
        let names = closed(&site).await;
        let disk = &site.disks[2];
        let old = segments(disk);
        match what {
            0 => disk.remove(&old[1]).unwrap(),
            1 => disk.remove(&old[0]).unwrap(),
            2 => old.iter().for_each(|path| disk.remove(path).unwrap()),
            3 => {
                for name in ["hardstate.0", "hardstate.1"] {
                    assert!(disk.flip(&wal_dir().join(name), 20, 1));
                }
            }
            _ => assert!(disk.flip(Path::new("/data/node.meta"), 20, 1)),
        }
        // Alone it waits: what is left may be what a person needs.
        let (start, told) = begin(&site, 2);
        until("it says for whom it waits", || {
            has_told(&told, "waiting for") && has_told(&told, &site.addresses[0].to_string())
        })
        .await;
        assert!(!site.disks[2].exists(Path::new("/data/quarantine")).unwrap());
        let mut nodes = vec![];
        for (node, _) in futures::future::join_all([site.start(0), site.start(1)]).await {
            nodes.push(node);
        }
        let (node, started) = end(start).await;
        assert!(started.node.0 > 3, "{what}: {}", started.node);
        let aside = started.set_aside.unwrap();
        assert_eq!(Path::new("/data/quarantine/1-damaged"), aside);
        let kept = site.disks[2].exists(&aside.join("node.meta")).unwrap();
        assert!(kept, "as it was found");
        nodes.push(node);
        until("it votes in place of the old one", || {
            nodes.iter().all(|node| {
                let roster = node.roster();
                roster.len() == 3
                    && roster.iter().all(|seat| seat.is_voter)
                    && roster.iter().any(|seat| seat.node == started.node)
            })
        })
        .await;
        are_equal(&nodes, &names).await;
        close_all(nodes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_at_different_entries_of_a_majority_is_repaired_from_who_has_them() {
    let site = Site::new(3);
    let names = closed(&site).await;
    for at in 0..3 {
        flip(&site.disks[at], &names[3 * at]);
        flip(&site.disks[at], &names[3 * at + 1]);
    }
    let nodes = site.start_all().await;
    are_equal(&nodes, &names).await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_found_while_the_node_runs_is_repaired_and_a_damaged_leader_hands_over() {
    let mut site = Site::new(3);
    site.storage.wal.verify = Verify::Tail;
    site.storage.wal.tail_cache_bytes_max = 0;
    let names = closed(&site).await;
    let nodes = site.start_all().await;
    propose(&nodes[0], &define("before")).await;
    has_form_everywhere(&nodes, "before").await;
    until("all are seen", || {
        nodes
            .iter()
            .all(|node| node.roster().iter().all(|seat| seat.state == Standing::Ok))
    })
    .await;
    let leader = leader_of(&nodes).unwrap();
    flip(&site.disks[leader], &names[5]);
    let wal = nodes[leader].wal().clone();
    // The scrubber would come by in its own time.
    tokio::task::spawn_blocking(move || wal.scrub())
        .await
        .unwrap();
    until("it is repaired", || nodes[leader].wal().holes() == 0).await;
    assert!(nodes[leader].status().stopped.is_none());
    are_equal(&nodes, &names).await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_log_nobody_can_repair_hands_over_stops_and_begins_anew() {
    let mut site = Site::new(3);
    site.storage.wal.verify = Verify::Tail;
    site.storage.wal.tail_cache_bytes_max = 0;
    let names = closed(&site).await;
    let mut nodes = site.start_all().await;
    propose(&nodes[0], &define("before")).await;
    has_form_everywhere(&nodes, "before").await;
    until("all are seen", || {
        nodes
            .iter()
            .all(|node| node.roster().iter().all(|seat| seat.state == Standing::Ok))
    })
    .await;
    let at = leader_of(&nodes).unwrap();
    let number = nodes[at].status().node;
    let disk = site.disks[at].clone();
    let (path, _) = place_of(&disk, &names[5]);
    disk.scribble(&path, 8192, &vec![0; disk.len(&path).unwrap() - 8192]);
    let wal = nodes[at].wal().clone();
    // The scrubber would come by in its own time.
    let scrubbed = wal.clone();
    tokio::task::spawn_blocking(move || scrubbed.scrub())
        .await
        .unwrap();
    assert!(0 < wal.holes());
    // It stands for no election, so whoever leads next is another.
    let why = tokio::time::timeout(LIMIT, nodes[at].fatal())
        .await
        .unwrap();
    assert!(why.contains("no peer's copy repairs them"), "{why}");
    until("another leads", || {
        leader_of(&nodes).is_some_and(|now| now != at)
    })
    .await;
    let now = leader_of(&nodes).unwrap();
    until("it is said to be damaged", || {
        standing(&nodes[now], &site, at) == Some(Standing::Damaged)
    })
    .await;
    let refused = nodes[now].transfer(Some(number)).await;
    assert!(matches!(refused, Err(Error::Cluster { .. })), "{refused:?}");
    drop(nodes.remove(at).close().await); // it has stopped
    // What was found is not forgotten, though the file's footer says that all is well.
    let (node, started) = site.start(at).await;
    assert!(started.set_aside.is_some() && started.node > number);
    nodes.push(node);
    are_equal(&nodes, &names).await;
    close_all(nodes).await;
}

/// A leader sends a follower what it missed, finds that it cannot read it, and is repaired by the
/// other follower: nobody stops for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_raft_itself_cannot_read_is_waited_for_and_repaired() {
    let mut site = Site::new(3);
    site.storage.wal.verify = Verify::Tail;
    site.storage.wal.tail_cache_bytes_max = 0;
    let names = closed(&site).await;
    let mut nodes = site.start_all().await;
    propose(&nodes[0], &define("before")).await;
    has_form_everywhere(&nodes, "before").await;
    let leader = leader_of(&nodes).unwrap();
    let behind = (leader + 1) % 3;
    nodes.remove(behind).close().await.unwrap();
    // More batches than a log keeps of those that it has read lately.
    let missed: Vec<_> = (0..100).map(|at| format!("was-missed-{at:02}")).collect();
    for name in &missed {
        propose(&nodes[0], &define(name)).await;
    }
    for name in &missed {
        has_form_everywhere(&nodes, name).await;
    }
    let leader = site.disks[leader].clone();
    // The first that were missed it may have read already, to send them: those behind them it has not.
    for at in [2, 5, 60, 90] {
        flip(&leader, &missed[at]);
    }
    nodes.push(site.start(behind).await.0);
    for name in &missed {
        has_form_everywhere(&nodes, name).await;
    }
    are_equal(&nodes, &names).await;
    for node in &nodes {
        assert_eq!(None, node.status().stopped);
    }
    close_all(nodes).await;
}

/// Whatever becomes of any file of one node: it comes back with the same log, or joins anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_damage_to_any_file_of_one_node_costs_nothing() {
    let mut site = Site::new(3);
    site.storage.wal.verify = Verify::Tail;
    let mut names = closed(&site).await;
    let mut nodes: Vec<_> = site.start_all().await;
    let mut dice = 7_u64;
    let mut roll = |sides: usize| {
        // Knuth's: enough to pick places by.
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(dice >> 33).unwrap() % sides
    };
    let (mut repaired, mut joined) = (0, 0);
    for round in 0..16 {
        let at = 2;
        nodes.remove(at).close().await.unwrap();
        let disk = &site.disks[at];
        let mut files = segments(disk);
        files.extend(["hardstate.0", "hardstate.1"].map(|name| wal_dir().join(name)));
        files.push(PathBuf::from("/data/node.meta"));
        let path = &files[roll(files.len())];
        let len = disk.len(path).unwrap();
        let byte = if len < 9000 {
            roll(len)
        } else {
            4096 + roll(16 << 10)
        };
        let harm = roll(5);
        match harm {
            0 | 1 => assert!(disk.flip(path, byte, 1 << roll(8))),
            2 => disk.scribble(path, byte / 512 * 512, &vec![0; 512.min(len)]),
            3 => disk.shorten(path, byte),
            _ => disk.remove(path).unwrap(),
        }
        let name = format!("round-{round}");
        propose(&nodes[0], &define(&name)).await;
        names.push(name);
        let what = format!("round {round}: harm {harm} at {byte} of {}", path.display());
        let start = Node::start(site.setup(at), |_| {});
        let started = tokio::time::timeout(LIMIT, start).await;
        let (node, started) = started.expect(&what).expect(&what);
        joined += u32::from(started.set_aside.is_some());
        repaired += u32::from(!started.recovered.damage.is_empty());
        nodes.push(node);
        for name in &names {
            has_form_everywhere(&nodes, name).await;
        }
        have_equal_logs(&nodes, &what).await;
    }
    assert!(0 < joined && 0 < repaired, "{joined} {repaired}");
    are_equal(&nodes, &names).await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_cannot_read_an_entry_elect_nobody_until_the_third_is_back() {
    let mut site = Site::new(3);
    site.storage.wal.verify = Verify::Tail;
    site.storage.wal.tail_cache_bytes_max = 0;
    let names = closed(&site).await;
    let mut nodes = site.start_all().await;
    propose(&nodes[0], &define("before")).await;
    has_form_everywhere(&nodes, "before").await;
    // All three, so that none can help.
    for disk in &site.disks {
        flip(disk, &names[5]);
    }
    for node in &nodes {
        let wal = node.wal().clone();
        tokio::task::spawn_blocking(move || wal.scrub())
            .await
            .unwrap();
        assert_eq!(1, node.wal().holes());
    }
    until("all are said to be damaged, and one still leads", || {
        let is_damaged = |node: &Node| {
            let roster = node.roster();
            roster.iter().all(|seat| seat.state == Standing::Damaged)
        };
        nodes.iter().all(is_damaged) && leader_of(&nodes).is_some()
    })
    .await;
    let at = leader_of(&nodes).unwrap();
    nodes.remove(at).close().await.unwrap();
    let elected = async {
        while leader_of(&nodes).is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // Five times the longest wait for an election.
    let elected = tokio::time::timeout(Duration::from_secs(3), elected).await;
    assert!(elected.is_err(), "a node with a hole leads");
    flip(&site.disks[at], &harmed(&names[5]));
    nodes.push(site.start(at).await.0);
    are_equal(&nodes, &names).await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_fails_once_is_no_damage() {
    let site = Site::new(3);
    let names = closed(&site).await;
    let disk = &site.disks[1];
    let mut failed = 0;
    for read in (1..30).step_by(4) {
        disk.inject(Fault::FailRead(disk.reads() + read));
        let start = Node::start(site.setup(1), |_| {});
        match tokio::time::timeout(LIMIT, start).await.unwrap() {
            Ok((node, started)) => {
                assert!(started.set_aside.is_none());
                node.close().await.unwrap();
            }
            Err(_) => failed += 1,
        }
        disk.clear_faults();
    }
    assert!(0 < failed);
    assert!(!disk.exists(Path::new("/data/quarantine")).unwrap());
    let nodes = site.start_all().await;
    are_equal(&nodes, &names).await;
    close_all(nodes).await;
}
