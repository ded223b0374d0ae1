//! Log == Kafka == Google Sheets: a form that two tasks move, while nodes, brokers and Google are hurt at
//! once.
//!
//! Proves, with three real nodes, real brokers and the Google Sheets of the tests: after each round the log,
//! the topic and the sheet hold the same, record by record, and every acknowledged submission once and in
//! order. Each round must have bitten: a transaction was under way when the leader went, or was done and the
//! leader did not know; a broker was away, calls to Google were hurt, people edited.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::checker::findings::Kind;
use crate::nemesis;
use crate::nemesis::gate::{Api, Bait, Trap, Way};
use crate::report::Report;
use crate::workload::Options;
use crate::workload::desk::Desk;
use crate::workload::kafka::lab::Lab;
use crate::workload::kafka::mirror::Mirror;
use crate::workload::kafka::{LIBRARIES, three};
use crate::workload::sheets::Fake;
use crate::workload::sheets::book::{self, Book};
use crate::workload::trio::Trio;
use crate::workload::watch::FORMS;

const BROKERS: usize = 3;
const TASK: &str = "jepsen-kafka";
/// A transaction comes under load; a leader's successor begins once brokers answer.
const CATCH_TIME: Duration = Duration::from_secs(20);
const DELIVER_TIME: Duration = Duration::from_secs(90);
/// A product that is broken on purpose may never come up to the head.
const DELIVER_TIME_BROKEN: Duration = Duration::from_secs(15);

#[derive(Args, Clone, Debug)]
pub(crate) struct Plan {
    /// Which rounds, in this order; without it all: `leader-killed`, `leader-paused`, `follower-killed`.
    #[arg(long, value_delimiter = ',')]
    pub(crate) rounds: Vec<String>,
    /// Where Kafka's libraries are (`deploy/dev/setup.sh kafka` lays them down).
    #[arg(long, default_value = LIBRARIES)]
    pub(crate) libraries: PathBuf,
    #[command(flatten)]
    pub(crate) fake: Fake,
    /// How long each round's faults last.
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds_each: u64,
    #[arg(long, default_value_t = 6)]
    pub(crate) connections: u32,
}

impl Plan {
    /// For one round.
    pub(crate) fn short(round: &str) -> Self {
        Self {
            rounds: vec![round.to_owned()],
            libraries: LIBRARIES.into(),
            fake: Fake::beside(None),
            seconds_each: 5,
            connections: 6,
        }
    }
}

/// What happens at once.
struct Round {
    name: &'static str,
    node: nemesis::Fault,
    /// Where a commit is held: it never arrives as long as that node lives, or is done and nobody knows.
    held: Way,
    broker: Broker,
    /// Of the calls to Google.
    calls: fn() -> Vec<Value>,
}

impl Round {
    /// Another node leads behind it.
    fn has_successor(&self) -> bool {
        matches!(
            self.node,
            nemesis::Fault::KillLeader | nemesis::Fault::PauseLeader
        )
    }

    /// A successor aborts what it finds open; what was done before its node went is not.
    fn is_cut_off(&self) -> bool {
        self.has_successor() && self.held == Way::Request
    }
}

/// Which broker goes, and how.
#[derive(Clone, Copy, Debug)]
enum Broker {
    /// The one that coordinates the task stands still.
    Coordinator,
    /// Another one is killed.
    Other,
    /// The one that coordinates is killed: another one takes over.
    Moved,
}

const ROUNDS: [Round; 3] = [
    Round {
        name: "leader-killed",
        node: nemesis::Fault::KillLeader,
        held: Way::Reply,
        broker: Broker::Coordinator,
        calls: || vec![json!({"kind": "apply_then_drop", "percent": 30})],
    },
    Round {
        name: "leader-paused",
        node: nemesis::Fault::PauseLeader,
        held: Way::Request,
        broker: Broker::Other,
        calls: || {
            vec![
                json!({"kind": "answer", "on": "any", "percent": 20}),
                json!({"kind": "apply_then_answer", "percent": 20}),
            ]
        },
    },
    Round {
        name: "follower-killed",
        node: nemesis::Fault::KillFollower,
        held: Way::Request,
        broker: Broker::Moved,
        calls: || {
            vec![
                json!({"kind": "throttle", "on": "any", "percent": 30}),
                json!({"kind": "slow", "percent": 20, "delay_ms": 1_000}),
            ]
        },
    },
];

/// Fields in the order in which they must go.
struct Mirrors<'a> {
    trio: Trio,
    lab: Lab,
    book: Book,
    mirror: Mirror,
    plan: &'a Plan,
    deliver_time: Duration,
    /// Calls to Google that were hurt, and records that brokers aborted.
    hurt: u64,
    aborted: u64,
}

pub(crate) async fn run(options: &Options, plan: &Plan) -> anyhow::Result<Report> {
    let known = |name: &String| ROUNDS.iter().any(|round| round.name == name);
    if let Some(name) = plan.rounds.iter().find(|name| !known(name)) {
        anyhow::bail!("no round {name}");
    }
    let libraries: &Path = &plan.libraries;
    let (lab, book) = tokio::try_join!(
        Lab::start(options, (BROKERS, libraries), None),
        Book::start(options, &plan.fake),
    )?;
    let mut lab = lab;
    let settings = three::settings(&lab).into_iter().chain(book.settings());
    let settings = settings.collect::<Vec<_>>();
    let trio = Trio::start(options, "mirrors", (&settings, plan.connections)).await?;
    let mut desk = Desk::of_leader(&trio.cluster).await?;
    let prefix = lab.prefix();
    let mirror = Mirror::new(&mut desk, &lab, (TASK, prefix), &FORMS).await?;
    let mut mirrors = Mirrors {
        trio,
        lab,
        book,
        mirror,
        plan,
        deliver_time: if options.mutant.is_some() {
            DELIVER_TIME_BROKEN
        } else {
            DELIVER_TIME
        },
        hurt: 0,
        aborted: 0,
    };
    match mirrors.drive(&mut desk).await {
        Ok(()) => mirrors.finish().await,
        Err(error) => Err(mirrors.trio.broken(error)),
    }
}

impl Mirrors<'_> {
    async fn drive(&mut self, desk: &mut Desk) -> anyhow::Result<()> {
        self.mirror.define(desk).await?;
        self.book.define(desk).await?;
        let wanted = &self.plan.rounds;
        let is_wanted =
            |round: &&Round| wanted.is_empty() || wanted.iter().any(|name| name == round.name);
        let mut is_cut_off = false;
        for round in ROUNDS.iter().filter(is_wanted) {
            is_cut_off |= round.is_cut_off();
            let started = Instant::now();
            let words = Box::pin(self.round(round)).await.context(round.name)?;
            if !self.trio.run.round(round.name, started, &words) {
                return Ok(());
            }
        }
        let report = &mut self.trio.run.report;
        report.demand("calls to Google hurt", self.hurt, 1);
        report.demand("records aborted", self.aborted, is_cut_off.into());
        Ok(())
    }

    async fn round(&mut self, round: &Round) -> anyhow::Result<String> {
        self.trio.up().await?;
        self.book.lay(&(round.calls)()).await?;
        // The leader goes when it has just asked for a commit, or when that has just been done.
        let commit = self.commit(round).await;
        let words = self.lay_broker(round.broker).await?;
        let anew = self.lab.gates.set(Bait::successor(&self.mirror.id()));
        let Trio { cluster, run, .. } = &mut self.trio;
        let laid = round.node.lay(cluster, &mut run.dice).await?;
        run.progress(format!("{}: {}, {words}", round.name, laid.words));
        let acks = self.trio.fleet.gauge.acks();
        let time = Duration::from_secs(self.plan.seconds_each);
        let edits = self.book.edit_for(time).await?;
        let during = self.trio.served_since(acks).await;
        let Trio { cluster, run, .. } = &mut self.trio;
        let healed = round.node.heal(&laid, cluster, &run.history).await?;
        self.lab.brokers.resume()?;
        self.lab.brokers.start().await?;
        // A commit that comes before there is a successor is like any other.
        if round.has_successor() {
            let has_begun = anew.caught(CATCH_TIME).await;
            let what = format!("leaders that took over at {}", round.name);
            self.trio.run.report.demand(&what, has_begun.into(), 1);
        }
        commit.let_go();
        let hurt = self.book.heal().await?;
        self.hurt += hurt;
        let report = &mut self.trio.run.report;
        report.demand(&format!("receipts during {}", round.name), during, 1);
        report.demand(&format!("edits of people during {}", round.name), edits, 1);
        self.trio.down(round.name).await;
        let judged = self.judge(round.name).await?;
        let (laid, healed) = (laid.words, healed.words);
        Ok(format!(
            "{laid}, {healed}, {words}; {during} receipts, {edits} edits, {hurt} calls hurt; {judged}"
        ))
    }

    /// A commit, or its reply, that is held on its way.
    async fn commit(&mut self, round: &Round) -> Trap {
        let (name, id) = (round.name, self.mirror.id());
        let commit = Bait::first(round.held, Api::EndTxn, &id);
        let commit = self.lab.gates.set(commit);
        let is_caught = commit.caught(CATCH_TIME).await;
        let what = format!("commits under way at {name}");
        self.trio.run.report.demand(&what, is_caught.into(), 1);
        commit
    }

    async fn lay_broker(&mut self, broker: Broker) -> anyhow::Result<String> {
        let brokers = &mut self.lab.brokers;
        let coordinator = brokers.layout().await?.coordinator(&self.mirror.id())?;
        let other = (coordinator + 1) % BROKERS;
        Ok(match broker {
            Broker::Coordinator => {
                brokers.pause(coordinator).await?;
                format!(
                    "broker {}, which coordinates, stands still",
                    coordinator + 1
                )
            }
            Broker::Other => {
                brokers.kill(other).await?;
                format!("broker {} is killed", other + 1)
            }
            Broker::Moved => {
                brokers.kill(coordinator).await?;
                format!("broker {}, which coordinates, is killed", coordinator + 1)
            }
        })
    }

    async fn judge(&mut self, name: &str) -> anyhow::Result<String> {
        let started = Instant::now();
        let mut last = None;
        for task in [TASK, book::TASK] {
            match Desk::of_done(&self.trio.cluster, (task, self.deliver_time)).await? {
                Ok(desk) => last = Some(desk),
                Err(said) => {
                    let findings = &mut self.trio.run.report.findings;
                    let words = || format!("{name}: {task} is not done in time: {said}");
                    findings.add(Kind::Outage, words);
                    return Ok(said);
                }
            }
        }
        let mut desk = last.context("no task")?;
        let waited = started.elapsed().as_secs_f32();
        let findings = &mut self.trio.run.report.findings;
        let none = BTreeSet::new();
        let judged = self.mirror.judge(&mut desk, &self.lab, &none, findings);
        let topics = judged.await?;
        self.aborted += topics.aborted;
        let rows = self.book.compare(findings).await?;
        Ok(format!(
            "both done after {waited:.1} s; {} in the topics and {rows} in the tabs as they must be",
            topics.good
        ))
    }

    async fn finish(self) -> anyhow::Result<Report> {
        let Self {
            trio,
            lab,
            mut book,
            mirror,
            deliver_time,
            ..
        } = self;
        let was_clean = trio.run.report.findings.is_clean();
        let (cluster, mut run) = trio.settle().await?;
        // What is not there by then is lost, and found so.
        drop(Desk::of_done(&cluster, (book::TASK, deliver_time)).await?);
        book.compare(&mut run.report.findings).await?;
        if was_clean {
            let mut desk = Desk::of_leader(&cluster).await?;
            let fact = "the nodes say of their topics";
            let told = (fact, &mut run.report);
            mirror.conclude(&mut desk, &lab, told).await?;
        }
        let topics = mirror.sights(&lab, run.bodies).await?;
        let tabs = book.sights(run.bodies).await?;
        run.sights.extend(topics.into_iter().chain(tabs));
        run.end_all(cluster).await
    }
}
