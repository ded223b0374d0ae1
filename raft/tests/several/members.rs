//! Who belongs: founding that is broken off, joining, removing, and those who come back.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::site::{
    LIMIT, Site, close_all, define, has_form_everywhere, leader_of, propose, seat, start, until,
};
use raft::{Node, Progress, Setup, Standing, Started};
use storage::{Fault, FaultDisk, NodeId};

/// Many elections could have been held in this time.
const QUIET: Duration = Duration::from_secs(4);

type Starting = tokio::task::JoinHandle<Result<(Node, Started), raft::Error>>;

fn begin(setup: Setup) -> Starting {
    tokio::spawn(Node::start(setup, |_| {}))
}

async fn end(starting: Starting) -> Result<(Node, Started), raft::Error> {
    tokio::time::timeout(LIMIT, starting)
        .await
        .unwrap()
        .unwrap()
}

/// The power of one of the founders goes after each change of its disk.
async fn founding_is_cut_everywhere(victim: usize, step: usize) {
    let mut cuts = 0;
    for count in (1..).step_by(step) {
        let site = Site::new(3);
        // The lowest address founds.
        let mut order = [0, 1, 2];
        order.sort_by_key(|at| site.addresses[*at].to_string());
        let disk = &site.disks[order[victim]];
        disk.inject(Fault::DieAfter(count));
        let victim = order[victim];
        let process = Process::new();
        let mut starting: Vec<_> = (0..3)
            .map(|at| {
                let start = Node::start(site.setup(at), |_| {});
                Some(if at == victim {
                    process.0.spawn(start)
                } else {
                    tokio::spawn(start)
                })
            })
            .collect();
        let is_dead = || disk.list_fails();
        let is_over = async {
            loop {
                let others = (0..3).filter(|at| *at != victim);
                let done = |at: usize| starting[at].as_ref().is_some_and(Starting::is_finished);
                if is_dead() || (others.clone().all(done) && done(victim)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, is_over).await.unwrap();
        let is_through = !is_dead();
        drop(starting[victim].take());
        disk.power_cut(count);
        process.kill();
        starting[victim] = Some(again(&site, victim).await);
        let mut nodes = Vec::new();
        let mut clusters = BTreeSet::new();
        for one in starting.into_iter().flatten() {
            let (node, started) = end(one).await.unwrap();
            clusters.insert(started.cluster);
            nodes.push(node);
        }
        assert_eq!(clusters.len(), 1, "cut {count}: {clusters:?}");
        propose(&nodes[victim], &define("a")).await;
        has_form_everywhere(&nodes, "a").await;
        assert!(nodes.iter().all(|node| node.roster().len() == 3));
        close_all(nodes).await;
        if is_through {
            break;
        }
        cuts += 1;
    }
    assert!(cuts * step > 8, "the cuts were within the founding");
}

/// What a node runs in, so that it can be killed as a process is.
struct Process(tokio::runtime::Runtime);

impl Process {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Self(builder.worker_threads(1).enable_all().build().unwrap())
    }

    fn kill(self) {
        self.0.shutdown_background();
    }
}

/// Starts it as soon as its door is free again.
async fn again(site: &Site, at: usize) -> Starting {
    until("its door is free", || {
        TcpListener::bind(site.addresses[at]).is_ok()
    })
    .await;
    begin(site.setup(at))
}

trait Dead {
    fn list_fails(&self) -> bool;
}

impl Dead for FaultDisk {
    fn list_fails(&self) -> bool {
        storage::Disk::exists(self, std::path::Path::new("/data")).is_err()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founders_power_may_go_at_any_step() {
    founding_is_cut_everywhere(0, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_power_of_one_that_is_founded_may_go_at_any_step() {
    founding_is_cut_everywhere(1, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_lists_other_peers_is_told_so_and_nothing_is_founded() {
    let site = Site::new(4);
    let mut order = [0, 1, 2, 3];
    order.sort_by_key(|at| site.addresses[*at].to_string());
    let [a, b, c, d] = order;
    let list = |ats: &[usize]| {
        ats.iter()
            .map(|at| site.addresses[*at].to_string())
            .collect()
    };
    let setup = |at: usize, peers: &[usize]| {
        let mut setup = site.setup(at);
        setup.cluster.peers = list(peers);
        setup
    };
    let words = Arc::new(Mutex::new(String::new()));
    let told = Arc::clone(&words);
    let founder = tokio::spawn(Node::start(setup(a, &[a, b, c]), move |progress| {
        if let Progress::Waiting(words) = progress {
            *told.lock().unwrap() = words;
        }
    }));
    let others = [begin(setup(b, &[a, b, c])), begin(setup(c, &[a, c, d]))];
    until("it says why", || {
        let words = words.lock().unwrap();
        words.contains("do all nodes list the same cluster.peers")
            && words.contains(&site.addresses[c].to_string())
    })
    .await;
    assert!(!founder.is_finished());
    for starting in others.into_iter().chain([founder]) {
        starting.abort();
        drop(starting.await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_removed_disturbs_nobody_and_says_so_when_it_comes_back() {
    let site = Site::new(3);
    let mut nodes = site.start_all().await;
    propose(&nodes[0], &define("a")).await;
    let at = (leader_of(&nodes).unwrap() + 1) % 3;
    let number = nodes[at].status().node;
    let gone = nodes.remove(at);
    nodes[0].remove(number).await.unwrap();
    let refused = nodes[0].remove(number).await.unwrap_err();
    assert!(
        refused.to_string().contains("there is no node"),
        "{refused}"
    );
    until("two are left", || {
        nodes.iter().all(|node| {
            let roster = node.roster();
            roster.len() == 2 && roster.iter().all(|seat| seat.is_voter)
        })
    })
    .await;
    gone.close().await.unwrap();
    let (leader, term) = (leader_of(&nodes).unwrap(), nodes[0].status().term);
    let (back, started) = site.start(at).await;
    assert_eq!(started.node, number);
    until("it says so", || {
        back.roster().iter().any(|seat| {
            seat.is_self
                && seat.state == Standing::Refused
                && seat.words.contains("is a member no more")
        })
    })
    .await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(leader_of(&nodes), Some(leader));
    assert_eq!(nodes[0].status().term, term, "it has disturbed nobody");
    assert_eq!(*back.leadership().borrow(), None);
    propose(&nodes[0], &define("b")).await;
    back.close().await.unwrap();
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_may_remove_itself() {
    let site = Site::new(3);
    let mut nodes = site.start_all().await;
    propose(&nodes[0], &define("a")).await;
    // On a busy machine another one may lead by the time it is asked.
    let tries = async {
        loop {
            let Some(at) = leader_of(&nodes) else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            match nodes[at].remove(nodes[at].status().node).await {
                Ok(()) => return at,
                Err(error) if error.to_string().contains("does not lead") => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    let at = tokio::time::timeout(LIMIT, tries).await.unwrap();
    let number = nodes[at].status().node;
    let gone = nodes.remove(at);
    until("another one leads", || leader_of(&nodes).is_some()).await;
    until("two are left", || {
        nodes.iter().all(|node| seat(node, number).is_none())
    })
    .await;
    propose(&nodes[0], &define("b")).await;
    has_form_everywhere(&nodes, "b").await;
    assert_eq!(*gone.leadership().borrow(), None);
    gone.close().await.unwrap();
    // Two of two are a majority: the last one cannot be taken out with the other away.
    let leader = leader_of(&nodes).unwrap();
    let other = nodes.remove(1 - leader);
    let second = other.status().node;
    if let Err(error) = nodes[0].remove(second).await {
        panic!("{error} {:?} {:?}", nodes[0].status(), other.status());
    }
    other.close().await.unwrap();
    let last = nodes[0].status().node;
    let refused = nodes[0].remove(last).await.unwrap_err();
    assert!(refused.to_string().contains("is the last one"), "{refused}");
    propose(&nodes[0], &define("c")).await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_join_at_once_both_come_in_one_after_the_other() {
    let site = Site::new(5);
    let first: Vec<String> = site.addresses[..3]
        .iter()
        .map(ToString::to_string)
        .collect();
    let setup = |at: usize| {
        let mut setup = site.setup(at);
        setup.cluster.peers.clone_from(&first);
        setup
    };
    let starts = (0..3).map(|at| start(setup(at)));
    let started = futures::future::join_all(starts).await;
    let mut nodes: Vec<_> = started.into_iter().map(|(node, _)| node).collect();
    propose(&nodes[0], &define("a")).await;
    let ((four, one), (five, two)) = tokio::join!(start(setup(3)), start(setup(4)));
    assert_ne!(one.node, two.node);
    nodes.extend([four, five]);
    until("five vote", || {
        nodes.iter().all(|node| {
            let roster = node.roster();
            roster.len() == 5 && roster.iter().all(|seat| seat.is_voter)
        })
    })
    .await;
    propose(&nodes[4], &define("b")).await;
    has_form_everywhere(&nodes, "b").await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_disk_never_votes_under_its_old_number() {
    let mut site = Site::new(3);
    let nodes = site.start_all().await;
    propose(&nodes[0], &define("a")).await;
    has_form_everywhere(&nodes, "a").await;
    let holder = leader_of(&nodes).unwrap();
    let (wiped, behind) = ((holder + 1) % 3, (holder + 2) % 3);
    let mut nodes: Vec<_> = nodes.into_iter().map(Some).collect();
    nodes[behind].take().unwrap().close().await.unwrap();
    let leader = nodes[holder].take().unwrap();
    propose(&leader, &define("acknowledged")).await;
    let old = nodes[wiped].as_ref().unwrap().status().node;
    nodes[wiped].take().unwrap().close().await.unwrap();
    leader.close().await.unwrap();
    site.disks[wiped] = FaultDisk::new();
    let starting = begin(site.setup(wiped));
    let (two, _) = site.start(behind).await;
    let until_then = tokio::time::Instant::now() + QUIET;
    while tokio::time::Instant::now() < until_then {
        assert_eq!(*two.leadership().borrow(), None);
        assert!(!starting.is_finished());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (three, _) = site.start(holder).await;
    let (one, started) = end(starting).await.unwrap();
    assert!(old.max(NodeId(3)) < started.node);
    let nodes = vec![one, two, three];
    has_form_everywhere(&nodes, "acknowledged").await;
    until("it votes in place of the old one", || {
        nodes.iter().all(|node| {
            let roster = node.roster();
            roster.len() == 3 && roster.iter().all(|seat| seat.node != old && seat.is_voter)
        })
    })
    .await;
    close_all(nodes).await;
}
