//! The stage of three nodes: leaders and brokers go, under load.
//!
//! Holds: after each fault the cluster and the brokers are whole again, the load stops, whoever
//! leads says that all is delivered, and the topics are judged by what that node shows.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use crate::checker::findings::Kind;
use crate::nemesis;
use crate::nemesis::gate::{Api, Bait, Way};
use crate::process::cluster::{Cluster, Layout};
use crate::report::Report;
use crate::workload::desk::Desk;
use crate::workload::fleet::{Crew, Fleet};
use crate::workload::kafka::fault::Fault;
use crate::workload::kafka::lab::Lab;
use crate::workload::kafka::mirror::Mirror;
use crate::workload::kafka::{NODES, Plan};
use crate::workload::watch::FORMS;
use crate::workload::worker::Phase;
use crate::workload::{Options, Run, keep};

mod brokers;

const TASK: &str = "jepsen-kafka";
/// What a client waits for an answer before it asks another node.
const PATIENCE: Duration = Duration::from_secs(2);
const REST: Duration = Duration::from_millis(40);
/// Of the nodes' transactions, and how often an idle producer is heard: before its name expires.
const TRANSACTION_TIME: Duration = Duration::from_secs(8);
const KEEPALIVE: Duration = Duration::from_secs(2);
/// A fault that does not say how long it lasts.
const HOLD: Duration = Duration::from_secs(4);
/// A transaction comes under load.
const CATCH_TIME: Duration = Duration::from_secs(20);
const ANSWER_TIME: Duration = Duration::from_secs(5);
const DELIVER_TIME: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(100);

/// The nodes, not started yet.
pub(super) fn lay_out(options: &Options, plan: &Plan) -> anyhow::Result<(Run, Cluster)> {
    let run = Run::new(options, "kafka")?;
    let layout = Layout {
        nodes: NODES,
        has_net: plan.net,
        disk_mib: None,
        seed: options.seed,
    };
    let mut cluster = Cluster::new(&run.site, &options.deploy, layout)?;
    cluster.set("MUTANT", options.mutant.as_deref());
    for (name, value) in &options.settings {
        cluster.set(name, Some(value));
    }
    Ok((run, cluster))
}

/// Of nodes that mirror to the brokers of `lab`, with short times.
pub(crate) fn settings(lab: &Lab) -> [(&'static str, String); 3] {
    let millis = |time: Duration| time.as_millis().to_string();
    [
        ("KAFKA__BOOTSTRAP", lab.gates.bootstrap()),
        ("KAFKA__TRANSACTION_TIMEOUT_MS", millis(TRANSACTION_TIME)),
        ("KAFKA__KEEPALIVE_MS", millis(KEEPALIVE)),
    ]
}

/// Fields in the order in which they must go.
struct Three<'a> {
    fleet: Fleet,
    cluster: Cluster,
    run: Run,
    lab: &'a mut Lab,
    mirror: Mirror,
    plan: &'a Plan,
    laid: u32,
}

pub(super) async fn run(
    plan: &Plan,
    lab: &mut Lab,
    (run, mut cluster, faults): (Run, Cluster, &[Fault]),
) -> anyhow::Result<Report> {
    for (name, value) in settings(lab) {
        cluster.set(name, Some(&value));
    }
    let started = Instant::now();
    if let Err(error) = cluster.start().await {
        let error = error.context(cluster.log_tails());
        drop(cluster);
        return Err(keep(run, error));
    }
    let ready = started.elapsed().as_millis();
    run.progress(format!("{NODES} nodes are a cluster after {ready} ms"));
    let crew = Crew {
        patience: Some(PATIENCE),
        rest: REST,
        ..Crew::busy(plan.connections, u64::MAX)
    };
    let fleet = Fleet::start(&run, &cluster.addresses(), crew);
    let mut desk = Desk::of_leader(&cluster).await?;
    let prefix = lab.prefix();
    let mirror = Mirror::new(&mut desk, lab, (TASK, prefix), &FORMS).await?;
    mirror.define(&mut desk).await?;
    let mut three = Three {
        fleet,
        cluster,
        run,
        lab,
        mirror,
        plan,
        laid: 0,
    };
    let driven = three.drive(faults).await;
    match driven {
        Ok(()) => three.finish().await,
        Err(error) => {
            let Three { cluster, run, .. } = three;
            let said = cluster.log_tails();
            drop(cluster);
            Err(keep(run, error.context(said)))
        }
    }
}

impl Three<'_> {
    async fn drive(&mut self, faults: &[Fault]) -> anyhow::Result<()> {
        for fault in faults {
            let started = Instant::now();
            let words = Box::pin(self.round(*fault)).await;
            let words = words.with_context(|| fault.name())?;
            if !self.run.round(fault.name(), started, &words) {
                break;
            }
        }
        Ok(())
    }

    async fn round(&mut self, fault: Fault) -> anyhow::Result<String> {
        let name = fault.name();
        let before = self.fleet.gauge.acks();
        self.fleet.phase.send_replace(Phase::Up(self.laid));
        let is_loaded = self.fleet.wait_for_load(before).await;
        anyhow::ensure!(is_loaded, "{name}: nothing is acknowledged");
        self.cluster.must_live()?;
        let acks = self.fleet.gauge.acks();
        let words = match of_nodes(fault) {
            Some(nodes) => self.nodes(nodes, fault).await?,
            None => self.brokers(fault).await?,
        };
        let during = self.fleet.gauge.acks() - acks;
        self.lab.brokers.whole().await?;
        self.fleet.quiet(name, &mut self.run.report.findings).await;
        let judged = self.judge(fault).await?;
        self.laid += 1;
        let report = &mut self.run.report;
        report.demand(&format!("receipts during {name}"), during, 1);
        Ok(format!("{words}; {during} receipts during it; {judged}"))
    }

    /// A fault that the cluster's own nemesis lays and heals, when the leader has just asked for a
    /// commit. That arrives when it is healed, and another one has gone on.
    async fn nodes(&mut self, nodes: nemesis::Fault, fault: Fault) -> anyhow::Result<String> {
        let commit = Bait::first(Way::Request, Api::EndTxn, &self.mirror.id());
        let commit = self.lab.gates.set(commit);
        let is_caught = commit.caught(CATCH_TIME).await;
        let report = &mut self.run.report;
        let name = format!("commits under way at {}", fault.name());
        report.demand(&name, is_caught.into(), 1);
        let anew = self.lab.gates.set(Bait::successor(&self.mirror.id()));
        let laid = nodes.lay(&mut self.cluster, &mut self.run.dice).await?;
        self.run
            .progress(format!("{}: {}", fault.name(), laid.words));
        let hold = if fault == Fault::LeaderPaused {
            self.plan.pause()
        } else {
            HOLD
        };
        self.hold(hold).await?;
        let healed = nodes
            .heal(&laid, &mut self.cluster, &self.run.history)
            .await?;
        let has_successor = anew.caught(CATCH_TIME).await;
        let name = format!("leaders that took over at {}", fault.name());
        let report = &mut self.run.report;
        report.demand(&name, has_successor.into(), 1);
        commit.let_go();
        let answer = commit.answer(ANSWER_TIME).await;
        if fault.is_of_the_net() {
            let name = format!("frames dropped by {}", fault.name());
            self.run.report.demand(&name, healed.dropped, 1);
        }
        let (laid, healed) = (laid.words, healed.words);
        Ok(format!(
            "{laid}, {healed}, its commit was answered {answer:?}"
        ))
    }

    async fn hold(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.cluster.must_live()?;
            sleep(LOOK).await;
        }
        Ok(())
    }

    async fn judge(&mut self, fault: Fault) -> anyhow::Result<String> {
        let started = Instant::now();
        let what = (self.mirror.task.as_str(), DELIVER_TIME);
        match Desk::of_done(&self.cluster, what).await? {
            Ok(mut desk) => self.compare(&mut desk, (fault, started)).await,
            Err(said) => {
                let words = || format!("{}: the task is not done in time: {said}", fault.name());
                self.run.report.findings.add(Kind::Outage, words);
                Ok(said)
            }
        }
    }

    async fn compare(
        &mut self,
        desk: &mut Desk,
        (fault, started): (Fault, Instant),
    ) -> anyhow::Result<String> {
        let waited = started.elapsed().as_secs_f32();
        let findings = &mut self.run.report.findings;
        let none = BTreeSet::new();
        let verdict = self.mirror.judge(desk, self.lab, &none, findings).await?;
        fault.demand_bite(&verdict, &mut self.run.report);
        let (good, aborted) = (verdict.good, verdict.aborted);
        Ok(format!(
            "done after {waited:.1} s, {good} as they must be, {aborted} aborted"
        ))
    }

    async fn finish(self) -> anyhow::Result<Report> {
        let Self {
            fleet,
            cluster,
            mut run,
            lab,
            mirror,
            ..
        } = self;
        let was_clean = run.report.findings.is_clean();
        fleet.settle(&mut run).await?;
        run.progress("reading everything");
        if was_clean {
            let mut desk = Desk::of_leader(&cluster).await?;
            let fact = "three nodes say of their task";
            mirror
                .conclude(&mut desk, lab, (fact, &mut run.report))
                .await?;
        }
        run.sights.extend(mirror.sights(lab, run.bodies).await?);
        run.end_all(cluster).await
    }
}

fn of_nodes(fault: Fault) -> Option<nemesis::Fault> {
    match fault {
        Fault::LeaderKilled => Some(nemesis::Fault::KillLeader),
        Fault::LeaderPaused => Some(nemesis::Fault::PauseLeader),
        Fault::LeaderIsolated => Some(nemesis::Fault::IsolateLeader),
        Fault::LeaderVanished => Some(nemesis::Fault::VanishLeader),
        Fault::Canary
        | Fault::Kill
        | Fault::KillUnseen
        | Fault::ReplyLost
        | Fault::NameGone
        | Fault::LateEnd
        | Fault::Timeout
        | Fault::Expiry
        | Fault::TopicGone
        | Fault::TopicRemade
        | Fault::Old
        | Fault::Twin
        | Fault::TwoTasks
        | Fault::Poison
        | Fault::Seek
        | Fault::Reborn
        | Fault::BrokerStopped
        | Fault::BrokersStopped
        | Fault::BrokerKilled
        | Fault::CoordinatorMoved
        | Fault::BrokersRestarted => None,
    }
}
