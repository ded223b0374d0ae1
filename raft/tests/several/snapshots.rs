//! A node that is so late that the log it needs is gone: the checkpoint, and the whole log behind it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::site::{LIMIT, Site, close_all, define, last, leader_of, propose, start, until};
use crate::tap::{Tap, Trouble};
use bytes::Bytes;
use raft::{Node, Setup};
use storage::{
    Command, DefineForm, Disk, Expect, Fault, FaultDisk, FormId, Horizon, Index, NodeId, Outcome,
    Pack, Sender, Seq, Submission, encode_command,
};

/// Of one submission: a few of them make a checkpoint.
const BODY: usize = 2000;

/// Segments so small that a few dozen commands fill some.
fn site() -> Site {
    let mut site = Site::new(3);
    site.storage.wal.segment_bytes = 64 << 10;
    site.storage.wal.batch_bytes_max = 16 << 10;
    site.storage.state.checkpoint_bytes = 1;
    site
}

/// Submits to one form, and knows what it was told.
struct Source {
    form: FormId,
    packs: u64,
    accepted: u64,
}

impl Source {
    async fn new(node: &Node) -> Self {
        let Outcome::Form { id: form, .. } = propose(node, &define("form")).await else {
            panic!("no form")
        };
        Self {
            form,
            packs: 0,
            accepted: 0,
        }
    }

    async fn submit(&mut self, node: &Node, count: u64) {
        for _ in 0..count {
            self.packs += 1;
            let number = self.packs;
            let mut body = format!("{{\"number\":{number},\"rest\":\"").into_bytes();
            body.resize(BODY, b'r');
            body.extend_from_slice(b"\"}");
            let pack = Pack {
                sender: Sender {
                    node: NodeId(99),
                    boot: 1,
                },
                number,
                submissions: vec![Submission {
                    id: u128::from(number).to_be_bytes(),
                    form: self.form,
                    form_version: 1,
                    received_ms: number,
                    key: None,
                    digest: [7; 16],
                    is_withheld: false,
                    body: Bytes::from(body),
                }],
            };
            let outcome = propose(node, &encode_command(&Command::Submit(pack))).await;
            assert!(matches!(outcome, Outcome::Pack(_)), "{outcome:?}");
            self.accepted += 1;
        }
    }

    /// Everything that is not delivered can be read here, payload and all.
    fn check(&self, node: &Node) {
        let oldest = node.view().oldest_seq(self.form).unwrap();
        let (records, mut after) = (node.records(), Seq(oldest.0 - 1));
        let mut seen = BTreeSet::new();
        loop {
            let some = records.read(self.form, after, 100, 1 << 20).unwrap();
            let Some(newest) = some.last() else { break };
            after = newest.seq.unwrap();
            for record in some {
                assert!(record.body.len() > BODY, "{record:?}");
                seen.insert(record.seq.unwrap().0);
            }
        }
        assert!(
            seen.iter().copied().eq(oldest.0..=self.accepted),
            "{seen:?}"
        );
    }
}

/// Moves the horizon to a checkpoint that both of these have, and lets go of the log up to there.
async fn let_go(source: &mut Source, nodes: &[&Node]) -> Index {
    let common = async {
        loop {
            source.submit(nodes[0], 8).await;
            let purged = nodes[0]
                .wal()
                .purged()
                .map(|id| id.index)
                .unwrap_or_default();
            let all = |node: &&Node| -> BTreeSet<Index> {
                let all = node.checkpoints().all();
                all.iter()
                    .map(|one| one.id.index)
                    .filter(|at| purged < *at)
                    .collect()
            };
            let mut sets = nodes.iter().map(all);
            let first = sets.next().unwrap();
            let common = sets.fold(first, |one, two| one.intersection(&two).copied().collect());
            if let Some(newest) = common.last() {
                return *newest;
            }
        }
    };
    let index = tokio::time::timeout(LIMIT, common).await.unwrap();
    let horizon = Command::Horizon(Horizon { index });
    propose(nodes[0], &encode_command(&horizon)).await;
    for node in nodes {
        let gone = async {
            while node.forget(Index(u64::MAX)).await.unwrap().purged < index {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, gone).await.unwrap();
    }
    source.submit(nodes[0], 20).await;
    index
}

async fn has_all(node: &Node, as_much_as: &Node) {
    let has_all = async {
        while *node.applied().borrow() < last(as_much_as) || last(node) < last(as_much_as) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), has_all)
        .await
        .is_err()
    {
        panic!(
            "it has not all: {:?} {:?}; of {:?}",
            node.status(),
            node.wal().purged(),
            as_much_as.roster()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_disk_gets_the_checkpoint_and_all_behind_it_and_can_lead() {
    let mut site = site();
    let mut nodes = site.start_all().await;
    let mut source = Source::new(&nodes[0]).await;
    source.submit(&nodes[0], 60).await;
    let at = (leader_of(&nodes).unwrap() + 1) % 3;
    nodes.remove(at).close().await.unwrap();
    let_go(&mut source, &[&nodes[0], &nodes[1]]).await;
    let horizon = let_go(&mut source, &[&nodes[0], &nodes[1]]).await;
    site.disks[at] = FaultDisk::new();
    let (late, started) = site.start(at).await;
    has_all(&late, &nodes[0]).await;
    assert_eq!(late.wal().purged().map(|id| id.index), Some(horizon));
    assert!(
        late.wal().first() <= Some(horizon.next()),
        "nothing behind it is missing"
    );
    source.check(&nodes[0]);
    source.check(&late);
    until("it votes", || {
        let roster = nodes[0].roster();
        roster
            .iter()
            .any(|seat| seat.node == started.node && seat.is_voter)
    })
    .await;
    nodes[0].transfer(Some(started.node)).await.unwrap();
    until("it leads", || late.leadership().borrow().is_some()).await;
    source.submit(&late, 5).await;
    source.check(&late);
    assert_eq!(
        late.view().digests().rows,
        {
            has_all(&nodes[0], &late).await;
            nodes[0].view().digests().rows
        },
        "the same state"
    );
    // And after a restart it is what it was.
    late.close().await.unwrap();
    let (late, _) = site.start(at).await;
    has_all(&late, &nodes[0]).await;
    source.check(&late);
    close_all([nodes, vec![late]].concat()).await;
}

/// A form whose definition takes room in the state.
fn big(number: usize) -> Bytes {
    encode_command(&Command::DefineForm(DefineForm {
        name: format!("big{number}"),
        expect: Expect::Absent,
        definition: Bytes::from(vec![b' '; BODY]),
    }))
}

/// Three disks: two nodes have let go what the third, which was away, needs.
struct Prepared {
    site: Site,
    source: Source,
    late: usize,
    horizon: Index,
}

async fn prepared() -> Prepared {
    let site = site();
    let mut nodes = site.start_all().await;
    let mut source = Source::new(&nodes[0]).await;
    source.submit(&nodes[0], 10).await;
    let late = (leader_of(&nodes).unwrap() + 1) % 3;
    nodes.remove(late).close().await.unwrap();
    // The checkpoint is larger than all of the log behind it.
    for number in 0..150 {
        propose(&nodes[0], &big(number)).await;
    }
    let horizon = let_go(&mut source, &[&nodes[0], &nodes[1]]).await;
    close_all(nodes).await;
    Prepared {
        site,
        source,
        late,
        horizon,
    }
}

impl Prepared {
    /// The two that are there, on copies of their disks.
    async fn start_two(&self, tap: &Tap) -> (Vec<FaultDisk>, Vec<Node>) {
        let disks: Vec<_> = self.site.disks.iter().map(FaultDisk::copy).collect();
        let starts = (0..3).filter(|at| *at != self.late).map(|at| {
            let setup = self
                .site
                .setup_on(at, std::sync::Arc::new(disks[at].clone()));
            start(Setup {
                transport: std::sync::Arc::new(tap.clone()),
                ..setup
            })
        });
        let nodes = futures::future::join_all(starts).await;
        let nodes: Vec<_> = nodes.into_iter().map(|(node, _)| node).collect();
        until("one leads", || leader_of(&nodes).is_some()).await;
        (disks, nodes)
    }

    fn address(&self) -> String {
        self.site.addresses[self.late].to_string()
    }

    fn late_on(&self, disk: &FaultDisk) -> Setup {
        self.site
            .setup_on(self.late, std::sync::Arc::new(disk.clone()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_whose_sending_breaks_off_is_sent_again() {
    let prepared = prepared().await;
    for limit in [100_000, 150_000, 200_000] {
        let tap = Tap::default();
        let (disks, nodes) = prepared.start_two(&tap).await;
        tap.plan(&prepared.address(), Trouble::Cut(limit));
        let (late, _) = start(prepared.late_on(&disks[prepared.late])).await;
        has_all(&late, &nodes[0]).await;
        prepared.source.check(&late);
        assert_eq!(
            late.wal().purged().map(|id| id.index),
            Some(prepared.horizon)
        );
        close_all([nodes, vec![late]].concat()).await;
        assert_eq!(tap.came(), 1, "cut after {limit} bytes");
    }
}

/// The power of the receiver goes after each change of its disk, or every few.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_may_be_cut_anywhere() {
    let prepared = prepared().await;
    let mut cuts = 0;
    for count in (1..).step_by(4) {
        let (disks, nodes) = prepared.start_two(&Tap::default()).await;
        let disk = &disks[prepared.late];
        disk.inject(Fault::DieAfter(disk.changes() + count));
        let died = async {
            let started = Node::start(prepared.late_on(disk), |_| {}).await;
            if let Ok((late, _)) = &started {
                let is_over = || {
                    late.status().stopped.is_some()
                        || disk.exists(Path::new("/data")).is_err()
                        || last(&nodes[0]) <= *late.applied().borrow()
                            && last(&nodes[0]) <= last(late)
                };
                until("it dies or has all", is_over).await;
            }
            let is_through = disk.exists(Path::new("/data")).is_ok();
            (started, is_through)
        };
        let (started, is_through) = tokio::time::timeout(LIMIT, died).await.unwrap();
        disk.power_cut(count);
        if let Ok((late, _)) = started {
            drop(late.close().await);
        }
        let (late, started) = start(prepared.late_on(disk)).await;
        has_all(&late, &nodes[0]).await;
        prepared.source.check(&late);
        assert!(
            nodes.iter().all(|node| node.status().stopped.is_none()),
            "{started:?}"
        );
        close_all([nodes, vec![late]].concat()).await;
        if is_through {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 5, "the cuts were within the receiving");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_behind_a_checkpoint_that_is_being_sent_stays_until_its_receiver_is_out() {
    let mut prepared = prepared().await;
    let tap = Tap::default();
    let (disks, nodes) = prepared.start_two(&tap).await;
    tap.plan(&prepared.address(), Trouble::Stop(150_000));
    let disk = disks[prepared.late].clone();
    let starting = tokio::spawn(Node::start(prepared.late_on(&disk), |_| {}));
    until("it is being sent", || 0 < tap.came()).await;
    let at = leader_of(&nodes).unwrap();
    let (leader, other) = (&nodes[at], &nodes[1 - at]);
    // A newer horizon: what is sent must stay whole all the same.
    let source = &mut prepared.source;
    let newer = async {
        loop {
            source.submit(leader, 8).await;
            let all = leader.checkpoints().all();
            if let Some(newest) = all.last().filter(|one| prepared.horizon < one.id.index) {
                return newest.id.index;
            }
        }
    };
    let newer = tokio::time::timeout(LIMIT, newer).await.unwrap();
    propose(
        leader,
        &encode_command(&Command::Horizon(Horizon { index: newer })),
    )
    .await;
    for _ in 0..20 {
        let gone = leader.forget(Index(u64::MAX)).await.unwrap();
        assert_eq!(gone.purged, prepared.horizon, "it is being sent");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It dies in the middle, and is taken out.
    disk.power_cut(1);
    if let Ok(Ok((late, _))) = tokio::time::timeout(LIMIT, starting).await.unwrap() {
        drop(late.close().await);
    }
    let members: Vec<_> = nodes.iter().map(|node| node.status().node).collect();
    let roster = leader.roster();
    let gone = roster
        .iter()
        .find(|seat| !members.contains(&seat.node))
        .unwrap();
    tap.release();
    leader.remove(gone.node).await.unwrap();
    let gone = async {
        while leader.forget(Index(u64::MAX)).await.unwrap().purged < newer {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let is_gone = tokio::time::timeout(LIMIT, gone).await.is_ok();
    assert!(is_gone, "the log is held no longer");
    prepared.source.check(other);
    close_all(nodes).await;
}
