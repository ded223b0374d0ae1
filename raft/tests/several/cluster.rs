//! Three nodes over TCP on loopback, from the outside.

use crate::site::{Site, close_all, define, has_form_everywhere, leader_of, propose, until};
use raft::Standing;
use storage::{FaultDisk, Index, NodeId, Outcome, Voters};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_empty_disks_found_a_cluster_and_any_node_takes_commands() {
    let site = Site::new(3);
    let nodes = site.start_all().await;
    for (at, node) in nodes.iter().enumerate() {
        let name = format!("f{at}");
        assert!(matches!(
            propose(node, &define(&name)).await,
            Outcome::Form { .. }
        ));
        has_form_everywhere(&nodes, &name).await;
        let status = node.status();
        assert_eq!(
            status.voters,
            Voters {
                quorum: 2,
                count: 3
            }
        );
        assert!(!node.is_alone());
    }
    until("all see all well", || {
        nodes.iter().all(|node| {
            let roster = node.roster();
            roster.len() == 3 && roster.iter().all(|seat| seat.state == Standing::Ok)
        })
    })
    .await;
    for node in &nodes {
        let index = node.read_index().await.unwrap();
        assert!(index <= *node.applied().borrow());
        assert_eq!(node.level_of_all(), Some(storage::LEVEL_MAX));
        assert_eq!(node.crowded(), None);
    }
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_closes_is_followed_by_another_and_comes_back() {
    let site = Site::new(3);
    let mut nodes = site.start_all().await;
    propose(&nodes[0], &define("before")).await;
    let at = leader_of(&nodes).unwrap();
    nodes.remove(at).close().await.unwrap();
    propose(&nodes[0], &define("between")).await;
    propose(&nodes[1], &define("between2")).await;
    let (back, started) = site.start(at).await;
    assert!(!started.fresh);
    nodes.push(back);
    has_form_everywhere(&nodes, "between2").await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_to_whom_it_is_given() {
    let site = Site::new(3);
    let nodes = site.start_all().await;
    propose(&nodes[0], &define("a")).await;
    until("all are seen", || {
        nodes
            .iter()
            .all(|node| node.roster().iter().all(|seat| seat.state == Standing::Ok))
    })
    .await;
    for to in [2, 3, 1] {
        let given = nodes[0].transfer(Some(NodeId(to))).await.unwrap();
        assert_eq!(given, NodeId(to));
        until("it leads", || {
            nodes
                .iter()
                .all(|node| *node.leader().borrow() == Some(NodeId(to)))
        })
        .await;
    }
    let refused = nodes[0].transfer(Some(NodeId(9))).await.unwrap_err();
    assert!(
        refused.to_string().contains("node 9 does not vote"),
        "{refused}"
    );
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_disk_joins_under_a_fresh_number_in_place_of_the_old_one() {
    let mut site = Site::new(3);
    let mut nodes = site.start_all().await;
    propose(&nodes[0], &define("before")).await;
    let at = (leader_of(&nodes).unwrap() + 1) % 3;
    let old = nodes[at].status().node;
    nodes.remove(at).close().await.unwrap();
    site.disks[at] = FaultDisk::new();
    let (fresh, started) = site.start(at).await;
    assert!(started.node > NodeId(3), "{}", started.node);
    nodes.push(fresh);
    has_form_everywhere(&nodes, "before").await;
    until("it votes in place of the old one", || {
        nodes.iter().all(|node| {
            let roster = node.roster();
            roster.len() == 3
                && roster.iter().all(|seat| seat.is_voter && seat.node != old)
                && roster.iter().any(|seat| seat.node == started.node)
        })
    })
    .await;
    propose(&nodes[2], &define("after")).await;
    has_form_everywhere(&nodes, "after").await;
    // And it stays what it is.
    let position = nodes.len() - 1;
    nodes.remove(position).close().await.unwrap();
    let (again, restarted) = site.start(at).await;
    assert_eq!(restarted.node, started.node);
    nodes.push(again);
    propose(&nodes[2], &define("at last")).await;
    has_form_everywhere(&nodes, "at last").await;
    close_all(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_was_answered_survives_a_power_cut_of_all() {
    let site = Site::new(3);
    for seed in 0..4 {
        let nodes = site.start_all().await;
        let name = format!("f{seed}");
        propose(&nodes[0], &define(&name)).await;
        let leader = leader_of(&nodes).unwrap();
        let before = nodes[leader].wal().last();
        for (at, disk) in site.disks.iter().enumerate() {
            disk.power_cut(seed * 3 + at as u64);
        }
        for node in nodes {
            drop(node.close().await); // its disk is gone
        }
        let nodes = site.start_all().await;
        propose(&nodes[1], &define(&format!("g{seed}"))).await;
        has_form_everywhere(&nodes, &name).await;
        assert!(before.map(|id| id.index) > Some(Index(0)));
        close_all(nodes).await;
    }
}
