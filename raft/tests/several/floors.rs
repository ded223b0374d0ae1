//! Nodes that lost the end of their log: what they must not do, how they get back, and who else notices.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::site::{
    LIMIT, Site, close_all, define, has_form, has_form_everywhere, last, leader_of, propose, seat,
    until,
};
use raft::{Node, Setup, Standing};
use storage::{Disk, FaultDisk, Floor, Index, LogId, NodeId, Term};

/// Many elections could have been held in this time.
const QUIET: Duration = Duration::from_secs(4);
const BLOCK: usize = 4096;

/// Damages the last write in the log of a node that has died, so that nothing tells whether it had
/// been synced. It must have carried entries.
fn tear(disk: &FaultDisk) {
    let batches: Vec<(PathBuf, usize)> = segments(disk)
        .into_iter()
        .flat_map(|path| {
            let bytes = disk.read(&path).unwrap();
            let starts = (0..bytes.len()).step_by(BLOCK);
            let starts = starts.filter(|at| bytes[*at..].starts_with(b"fspB"));
            starts.map(|at| (path.clone(), at)).collect::<Vec<_>>()
        })
        .collect();
    let (path, at) = batches.last().unwrap();
    // Behind the batch's header: the first record.
    assert!(disk.flip(path, at + 64 + 4, 0xff));
}

/// The files of the log.
fn segments(disk: &FaultDisk) -> Vec<PathBuf> {
    let files = disk.list(Path::new("/data/wal")).unwrap();
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|name| name == "seg");
    files.into_iter().filter(is_segment).collect()
}

/// Applied and durable on these: a state is told of what a majority has before its own disk has it.
/// Logs are written past the cache here, so what is in the file is durable.
async fn durable_on(site: &Site, nodes: &[(usize, Node)], name: &str) {
    for (at, node) in nodes {
        let disk = &site.disks[*at];
        let is_written = |path: &PathBuf| {
            let bytes = disk.read(path).unwrap();
            bytes
                .windows(name.len())
                .any(|bytes| bytes == name.as_bytes())
        };
        until(name, || {
            has_form(node, name) && segments(disk).iter().any(is_written)
        })
        .await;
    }
}

/// The power of one node goes and comes back.
async fn lose_power(site: &Site, at: usize, node: Node) {
    site.disks[at].power_cut(at as u64);
    drop(node.close().await); // its disk is gone
}

/// Everybody sees everybody well.
async fn all_well(nodes: &[Node]) {
    until("all see all well", || {
        nodes.iter().all(|node| {
            let roster = node.roster();
            roster.iter().all(|seat| seat.state == Standing::Ok)
        })
    })
    .await;
}

/// All three, by place: the leader first.
async fn begin(site: &Site) -> Vec<(usize, Node)> {
    let nodes = site.start_all().await;
    propose(&nodes[0], &define("first")).await;
    has_form_everywhere(&nodes, "first").await;
    all_well(&nodes).await;
    let at = leader_of(&nodes).unwrap();
    let mut placed: Vec<_> = nodes.into_iter().enumerate().collect();
    placed.rotate_left(at);
    placed
}

fn bare(nodes: Vec<(usize, Node)>) -> Vec<Node> {
    nodes.into_iter().map(|(_, node)| node).collect()
}

async fn nobody_leads(nodes: &[&Node]) {
    let until = tokio::time::Instant::now() + QUIET;
    while tokio::time::Instant::now() < until {
        for node in nodes {
            assert_eq!(*node.leadership().borrow(), None, "{:?}", node.status());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_tail_elects_nobody_who_lacks_it_nor_itself() {
    let site = Site::new(3);
    let mut nodes = begin(&site).await;
    let (behind, node) = nodes.remove(2);
    node.close().await.unwrap();
    propose(&nodes[0].1, &define("acknowledged")).await;
    durable_on(&site, &nodes[1..2], "acknowledged").await;
    let (torn, node) = nodes.remove(1);
    let (holder, leader) = nodes.remove(0);
    lose_power(&site, torn, node).await;
    leader.close().await.unwrap();
    tear(&site.disks[torn]);

    // It has no more than the one that was away, and together they are a majority.
    let ((one, started), (two, _)) = tokio::join!(site.start(torn), site.start(behind));
    assert!(started.recovered.floor.is_some(), "{started:?}");
    assert!(last(&one) <= last(&two), "it lost what it had acknowledged");
    nobody_leads(&[&one, &two]).await;
    let words = seat(&two, started.node).unwrap();
    assert_eq!(words.state, Standing::Floored, "{words:?}");

    // Whoever has it comes back, and leads.
    let (three, _) = site.start(holder).await;
    let nodes = [one, two, three];
    has_form_everywhere(&nodes, "acknowledged").await;
    until("the floor is lifted", || nodes[0].wal().floor().is_none()).await;
    propose(&nodes[0], &define("after")).await;
    has_form_everywhere(&nodes, "after").await;
    let [one, two, three] = nodes;
    lose_power(&site, torn, one).await;
    let (one, started) = site.start(torn).await;
    assert_eq!(started.recovered.floor, None, "lifted durably");
    close_all(vec![one, two, three]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_floored_node_takes_no_leadership() {
    let site = Site::new(3);
    let nodes = bare(begin(&site).await);
    let follower = nodes[1].status().node;
    let term = nodes[0].status().term;
    let floor = Floor::Upto(LogId {
        term: Term(term.0 + 1000),
        node: NodeId(u32::MAX),
        index: Index(1_000_000),
    });
    let (told, heard) = tokio::sync::oneshot::channel();
    let done = Box::new(move |done| drop(told.send(done)));
    nodes[1].wal().set_floor(Some(floor), done);
    heard.await.unwrap().unwrap();
    // Before anybody has heard of the floor, and after.
    for _ in 0..2 {
        let refused = nodes[0].transfer(Some(follower)).await;
        assert!(refused.is_err(), "{refused:?}");
        until("the others know", || {
            nodes.iter().all(|node| {
                seat(node, follower).is_some_and(|seat| seat.state == Standing::Floored)
            }) && leader_of(&nodes).is_some()
        })
        .await;
    }
    assert_eq!(*nodes[1].leadership().borrow(), None);
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_sends_again_what_a_follower_knows_that_it_lost() {
    let site = Site::new(3);
    let mut nodes = begin(&site).await;
    for round in 0..3 {
        let name = format!("f{round}");
        propose(&nodes[0].1, &define(&name)).await;
        durable_on(&site, &nodes[1..], &name).await;
        let (torn, node) = nodes.remove(1);
        let (leader, term) = (nodes[0].1.clone(), nodes[0].1.status().term);
        lose_power(&site, torn, node).await;
        tear(&site.disks[torn]);
        let before = last(&leader);
        let (back, started) = site.start(torn).await;
        assert!(started.recovered.floor.is_some(), "{started:?}");
        assert!(started.recovered.last.unwrap().index < before);
        until("it has it again", || has_form(&back, &name)).await;
        until("the floor is lifted", || back.wal().floor().is_none()).await;
        assert_eq!(leader.status().stopped, None);
        assert_eq!(leader.status().term, term, "the leader went on leading");
        nodes.insert(1, (torn, back));
    }
    close_all(bare(nodes)).await;
}

/// Power goes everywhere at once, in the middle of the last write of each node that is torn.
async fn all_lose_power(torn: [bool; 3]) {
    let site = Site::new(3);
    let mut nodes = begin(&site).await;
    propose(&nodes[0].1, &define("acknowledged")).await;
    durable_on(&site, &nodes, "acknowledged").await;
    propose(&nodes[0].1, &define("last")).await;
    durable_on(&site, &nodes, "last").await;
    let places: Vec<_> = nodes.iter().map(|(at, _)| *at).collect();
    for at in &places {
        site.disks[*at].power_cut(*at as u64);
    }
    for (_, node) in nodes.drain(..) {
        drop(node.close().await);
    }
    for (at, _) in places.iter().zip(torn).filter(|(_, torn)| *torn) {
        tear(&site.disks[*at]);
    }
    let starts = futures::future::join_all(places.iter().map(|at| site.start(*at))).await;
    let mut nodes = Vec::new();
    for ((node, started), torn) in starts.into_iter().zip(torn) {
        assert_eq!(started.recovered.floor.is_some(), torn, "{started:?}");
        nodes.push(node);
    }
    until("somebody leads by itself", || leader_of(&nodes).is_some()).await;
    propose(&nodes[0], &define("after")).await;
    for name in ["first", "acknowledged", "after"] {
        has_form_everywhere(&nodes, name).await;
    }
    if torn != [true; 3] {
        has_form_everywhere(&nodes, "last").await;
    }
    until("all floors are lifted", || {
        nodes.iter().all(|node| node.wal().floor().is_none())
    })
    .await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_power_cut_of_all_they_lead_again_with_all_that_is_left_anywhere() {
    all_lose_power([true, true, true]).await;
    // What one still has is not lost, whoever that is.
    all_lose_power([true, true, false]).await;
    all_lose_power([false, true, true]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_voter_gone_for_good_only_a_person_lowers_the_floors() {
    let site = Site::new(3);
    let mut nodes = begin(&site).await;
    propose(&nodes[0].1, &define("last")).await;
    durable_on(&site, &nodes, "last").await;
    let (_, gone) = nodes.pop().unwrap();
    let lost = gone.status().node;
    let places: Vec<_> = nodes.iter().map(|(at, _)| *at).collect();
    drop(gone.close().await);
    for (at, node) in nodes.drain(..) {
        lose_power(&site, at, node).await;
        tear(&site.disks[at]);
    }
    let ((one, _), (two, _)) = tokio::join!(site.start(places[0]), site.start(places[1]));
    nobody_leads(&[&one, &two]).await;
    let words = one.accept_tail_loss().await.unwrap();
    assert!(words.contains("votes for whoever has entry"), "{words}");
    let nodes = [one, two];
    until("somebody leads", || leader_of(&nodes).is_some()).await;
    propose(&nodes[0], &define("after")).await;
    has_form_everywhere(&nodes, "after").await;
    until("the floors are lifted", || {
        nodes.iter().all(|node| node.wal().floor().is_none())
    })
    .await;
    let words = nodes[0].accept_tail_loss().await.unwrap();
    assert!(words.contains("has all of its log"), "{words}");
    nodes[0].remove(lost).await.unwrap();
    until("it is out", || {
        nodes.iter().all(|node| node.roster().len() == 2)
    })
    .await;
    close_all(Vec::from(nodes)).await;
}

/// The leader keeps `older` out, says so in words, and goes on.
async fn is_refused(nodes: &[Node], older: &Node) {
    let number = older.status().node;
    until("it is refused", || {
        let seats: Vec<_> = nodes.iter().filter_map(|node| seat(node, number)).collect();
        seats.iter().all(|seat| {
            seat.state == Standing::Refused && seat.words.contains("its disk is an older one")
        })
    })
    .await;
    propose(&nodes[0], &define("without it")).await;
    has_form_everywhere(nodes, "without it").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!has_form(older, "without it"), "it was sent entries");
    assert!(nodes.iter().all(|node| node.status().stopped.is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_disk_is_kept_out_and_an_empty_one_comes_in() {
    let mut site = Site::new(3);
    let mut nodes = begin(&site).await;
    let older = site.disks[nodes[1].0].copy();
    for name in ["a", "b", "c"] {
        propose(&nodes[0].1, &define(name)).await;
        durable_on(&site, &nodes[1..], name).await;
    }
    let term = nodes[0].1.status().term;
    let (at, node) = nodes.remove(1);
    let number = node.status().node;
    node.close().await.unwrap();
    site.disks[at] = older;
    let (restored, started) = site.start(at).await;
    assert_eq!(started.node, number);
    assert_eq!(started.recovered.floor, None, "it knows of nothing");
    let nodes = bare(nodes);
    is_refused(&nodes, &restored).await;
    assert_eq!(nodes[0].status().term, term, "the leader went on leading");
    restored.close().await.unwrap();

    site.disks[at] = FaultDisk::new();
    let (fresh, started) = site.start(at).await;
    assert!(number < started.node);
    let nodes = [nodes, vec![fresh]].concat();
    has_form_everywhere(&nodes, "without it").await;
    until("it votes in its place", || {
        let roster = nodes[0].roster();
        roster.len() == 3
            && roster
                .iter()
                .all(|seat| seat.is_voter && seat.node != number)
    })
    .await;
    close_all(nodes).await;
}

/// Whoever leads now has sent it nothing yet: what it had acknowledged to the one before is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_disk_is_kept_out_by_a_new_leader_too_and_its_vote_does_not_count() {
    let mut site = Site::new(3);
    let mut nodes = begin(&site).await;
    let older = site.disks[nodes[1].0].copy();
    for name in ["a", "b", "c"] {
        propose(&nodes[0].1, &define(name)).await;
        durable_on(&site, &nodes[1..], name).await;
    }
    // Two rounds: the others hear what it has acknowledged.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let (at, node) = nodes.remove(1);
    node.close().await.unwrap();
    let nodes = bare(nodes);
    let heir = nodes[1].status().node;
    nodes[0].transfer(Some(heir)).await.unwrap();
    until("it leads", || nodes[1].leadership().borrow().is_some()).await;
    site.disks[at] = older;
    let (restored, _) = site.start(at).await;
    is_refused(&nodes, &restored).await;
    let mut nodes = nodes;
    nodes.remove(1).close().await.unwrap();
    nobody_leads(&[&nodes[0], &restored]).await;
    restored.close().await.unwrap();
    close_all(nodes).await;
}

#[tokio::test]
async fn a_node_alone_with_a_torn_tail_leads_what_is_left() {
    let disk = FaultDisk::new();
    let mut storage = storage::Config::default();
    storage.state.engine = storage::Engine::Memory;
    storage.wal = storage::WalConfig::simulated();
    let setup = || Setup::alone(Arc::new(disk.clone()), Path::new("/data"), storage.clone());
    let (node, _) = crate::site::start(setup()).await;
    propose(&node, &define("a")).await;
    propose(&node, &define("b")).await;
    disk.power_cut(1);
    drop(node.close().await);
    tear(&disk);
    let start = Node::start(setup(), |_| {});
    let (node, started) = tokio::time::timeout(LIMIT, start).await.unwrap().unwrap();
    assert!(started.recovered.floor.is_some(), "{started:?}");
    assert!(has_form(&node, "a"));
    propose(&node, &define("c")).await;
    node.close().await.unwrap();
}
