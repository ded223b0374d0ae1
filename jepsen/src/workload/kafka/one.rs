//! The stage of one node: each fault falls at a moment of its transactions.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

use crate::checker::accounts::Accounts;
use crate::checker::check_all;
use crate::checker::findings::Kind;
use crate::client::Client;
use crate::client::api;
use crate::client::tasks;
use crate::form::{Form, Submission};
use crate::history::What;
use crate::nemesis::gate::{Api, Bait, Trap, Way};
use crate::process::Node;
use crate::process::site::Site;
use crate::report::Report;
use crate::workload::desk::Desk;
use crate::workload::fleet::{Crew, Fleet};
use crate::workload::kafka::Plan;
use crate::workload::kafka::fault::Fault;
use crate::workload::kafka::lab::Lab;
use crate::workload::kafka::mirror::{Mirror, Verdict};
use crate::workload::watch::FORMS;
use crate::workload::worker::Phase;
use crate::workload::{Options, Run, keep};

mod ends;
mod gone;
mod kills;
mod lives;
mod old;
mod poison;
mod twin;
mod two_tasks;

const TASK: &str = "jepsen-kafka";
/// So that a run of minutes can be read again and again.
const REST: Duration = Duration::from_millis(40);
/// Of the node's transactions: short, so that a test can wait for it.
const TRANSACTION_TIME: Duration = Duration::from_secs(4);
/// Nothing is kept alive while idle: the names of producers expire.
const KEEPALIVE: Duration = Duration::from_hours(1);
/// What looks lost for so long is lost.
const LOSS_TIME: Duration = Duration::from_secs(3);
/// What has begun under load is caught within this.
const CATCH_TIME: Duration = Duration::from_secs(20);
const DELIVER_TIME: Duration = Duration::from_mins(1);
/// A product that is broken on purpose may never deliver.
const DELIVER_TIME_BROKEN: Duration = Duration::from_secs(20);

/// Fields in the order in which they must go.
struct One<'a> {
    fleet: Fleet,
    node: Node,
    run: Run,
    lab: &'a mut Lab,
    mirror: Mirror,
    plan: &'a Plan,
    options: &'a Options,
    prefix: String,
    laid: u32,
}

pub(super) async fn run(
    options: &Options,
    plan: &Plan,
    lab: &mut Lab,
    faults: &[Fault],
) -> anyhow::Result<Report> {
    let mut run = Run::new(options, "kafka")?;
    set_up(lab, &mut run.site);
    let node = Node::start(&run.site).await?;
    let crew = Crew {
        rest: REST,
        ..Crew::busy(plan.connections, u64::MAX)
    };
    let fleet = Fleet::start(&run, &[node.address], crew);
    let mut desk = Desk::new(node.address, run.site.token()?);
    let prefix = lab.prefix();
    let mirror = Mirror::new(&mut desk, lab, (TASK, prefix.clone()), &FORMS).await?;
    mirror.define(&mut desk).await?;
    let mut one = One {
        fleet,
        node,
        run,
        lab,
        mirror,
        plan,
        options,
        prefix,
        laid: 0,
    };
    match one.drive(faults).await {
        Ok(()) => one.finish().await,
        Err(error) => {
            let One {
                fleet, node, run, ..
            } = one;
            drop((fleet, node));
            Err(keep(run, error))
        }
    }
}

/// What every node of this stage is told.
fn set_up(lab: &Lab, site: &mut Site) {
    let millis = |time: Duration| time.as_millis().to_string();
    let settings = [
        ("KAFKA__TRANSACTION_TIMEOUT_MS", millis(TRANSACTION_TIME)),
        ("KAFKA__KEEPALIVE_MS", millis(KEEPALIVE)),
        ("KAFKA__LOSS_CONFIRM_MS", millis(LOSS_TIME)),
    ];
    lab.set_up(site, &settings);
}

impl One<'_> {
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

    /// One fault, and the verdict after it; answers what happened, in words.
    async fn round(&mut self, fault: Fault) -> anyhow::Result<String> {
        self.load(fault).await?;
        let words = match fault {
            Fault::Kill => kills::all(self).await?,
            Fault::KillUnseen => kills::unseen(self).await?,
            Fault::ReplyLost => ends::reply_lost(self, false).await?,
            Fault::NameGone => ends::reply_lost(self, true).await?,
            Fault::LateEnd => ends::late(self).await?,
            Fault::Timeout => ends::timeout(self).await?,
            Fault::Expiry => ends::expiry(self).await?,
            Fault::TopicGone => gone::deleted(self).await?,
            Fault::TopicRemade => gone::remade(self).await?,
            Fault::Old => old::run(self).await?,
            Fault::Twin => twin::run(self).await?,
            Fault::TwoTasks => two_tasks::run(self).await?,
            Fault::Poison => poison::run(self).await?,
            Fault::Seek => lives::seek(self).await?,
            Fault::Reborn => lives::reborn(self).await?,
            Fault::Canary
            | Fault::LeaderKilled
            | Fault::LeaderPaused
            | Fault::LeaderIsolated
            | Fault::LeaderVanished
            | Fault::BrokerStopped
            | Fault::BrokersStopped
            | Fault::BrokerKilled
            | Fault::CoordinatorMoved
            | Fault::BrokersRestarted => anyhow::bail!("not a fault of one node"),
        };
        self.fleet
            .quiet(fault.name(), &mut self.run.report.findings)
            .await;
        let (verdict, judged) = self.look(fault.name()).await?;
        fault.demand_bite(&verdict, &mut self.run.report);
        self.laid += 1;
        Ok(format!("{words}; {judged}"))
    }

    /// Something is delivered all the time, from now on.
    async fn load(&mut self, fault: Fault) -> anyhow::Result<()> {
        let before = self.fleet.gauge.acks();
        self.fleet.phase.send_replace(Phase::Up(self.laid));
        if !self.fleet.wait_for_load(before).await {
            let name = fault.name();
            anyhow::bail!(
                "{name}: nothing is acknowledged: {}",
                self.run.site.log_tail()
            );
        }
        self.node
            .must_live()
            .with_context(|| self.run.site.log_tail())
    }

    fn deliver_time(&self) -> Duration {
        if self.options.mutant.is_some() {
            DELIVER_TIME_BROKEN
        } else {
            DELIVER_TIME
        }
    }

    fn desk(&self) -> anyhow::Result<Desk> {
        Ok(Desk::new(self.node.address, self.run.site.token()?))
    }

    async fn judge(&mut self, name: &str) -> anyhow::Result<()> {
        self.look(name).await?;
        Ok(())
    }

    async fn look(&mut self, name: &str) -> anyhow::Result<(Verdict, String)> {
        let mut desk = self.desk()?;
        let (started, time) = (Instant::now(), self.deliver_time());
        let findings = &mut self.run.report.findings;
        self.mirror
            .delivered(&mut desk, (name, time), findings)
            .await;
        let waited = started.elapsed().as_secs_f32();
        let verdict = self
            .mirror
            .judge(&mut desk, self.lab, &BTreeSet::new(), findings)
            .await?;
        let (good, aborted) = (verdict.good, verdict.aborted);
        let words = format!("done after {waited:.1} s, {good} as they must be, {aborted} aborted");
        Ok((verdict, words))
    }

    /// Judges another task than the main one, when it says that it is done.
    async fn judge_other(
        &mut self,
        mirror: &mut Mirror,
        name: &str,
        parked: &BTreeSet<u64>,
    ) -> anyhow::Result<u64> {
        let mut desk = self.desk()?;
        let time = self.deliver_time();
        let findings = &mut self.run.report.findings;
        mirror.delivered(&mut desk, (name, time), findings).await;
        let verdict = mirror.judge(&mut desk, self.lab, parked, findings).await?;
        Ok(verdict.good)
    }

    /// A task that is of no use any more.
    async fn forget(&mut self, mirror: &Mirror) -> anyhow::Result<()> {
        let mut desk = self.desk()?;
        tasks::delete(&mut desk.client, &desk.token, &mirror.task).await
    }

    /// A task of its own on the form that nobody else posts to.
    async fn other(&mut self, name: &str) -> anyhow::Result<Mirror> {
        let mut desk = self.desk()?;
        let prefix = format!("{}-{name}", self.prefix);
        let task = format!("jepsen-{name}");
        Mirror::new(&mut desk, self.lab, (&task, prefix), &[Form::Quiet]).await
    }

    /// Posts to that form, one after the other; each must have a receipt.
    async fn post(&mut self, count: u32) -> anyhow::Result<()> {
        for _ in 0..count {
            let submission = self.run.submission(Form::Quiet, None);
            self.post_one(&submission).await?;
        }
        Ok(())
    }

    async fn post_one(&mut self, submission: &Submission) -> anyhow::Result<()> {
        let mut client = Client::new(self.node.address);
        let answer = api::submit(&mut client, &self.run.history, 0, submission).await?;
        match answer {
            What::Ok(_) => Ok(()),
            What::Invoke { .. }
            | What::Refused(_)
            | What::NotSent
            | What::Unknown
            | What::Destroyed => anyhow::bail!("no receipt: {answer:?}"),
        }
    }

    fn trap(&self, way: Way, api: Api) -> Trap {
        self.lab.gates.set(Bait::first(way, api, &self.mirror.id()))
    }

    /// What did not come into the trap in time is a finding: nothing is delivered under load.
    async fn must_catch(&mut self, trap: &Trap, what: &str) -> bool {
        let is_caught = trap.caught(CATCH_TIME).await;
        if !is_caught {
            let seconds = CATCH_TIME.as_secs();
            let tail = self.run.site.log_tail();
            self.run.report.findings.add(Kind::Outage, || {
                format!("{what}: no such moment came within {seconds} s of load\n{tail}")
            });
        }
        is_caught
    }

    /// `kill -9`, and a start with whatever was set meanwhile.
    async fn restart(&mut self) -> anyhow::Result<()> {
        self.node.kill().await?;
        self.start().await
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        self.node = Node::start(&self.run.site).await?;
        Ok(())
    }

    async fn finish(self) -> anyhow::Result<Report> {
        let Self {
            fleet,
            node,
            mut run,
            lab,
            mirror,
            laid,
            ..
        } = self;
        let was_clean = run.report.findings.is_clean();
        fleet.settle(&mut run).await?;
        run.progress("reading everything");
        if was_clean {
            let mut desk = Desk::new(node.address, run.site.token()?);
            let fact = "one node says of its task";
            mirror
                .conclude(&mut desk, lab, (fact, &mut run.report))
                .await?;
        }
        let mut reader = run.reader(&node)?;
        for form in FORMS.into_iter().chain([Form::Quiet]) {
            run.sights.push(reader.whole(form).await);
        }
        run.sights.extend(mirror.sights(lab, run.bodies).await?);
        let accounts = Accounts::of(&run.history.since(0));
        run.report.acked = accounts.acked();
        run.report.found = check_all(&accounts, &run.sights, &mut run.report.findings);
        let acked = run.report.acked;
        let least = u64::from(laid) * 20;
        run.report.demand("acknowledged submissions", acked, least);
        run.end(node).await
    }
}
