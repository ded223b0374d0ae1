//! One cluster, its load and its readers: each fault in its turn.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::checker::accounts::Accounts;
use crate::checker::findings::Kind;
use crate::checker::outage::{Outage, Window, check, measure};
use crate::checker::{check_all, replicas};
use crate::history::What;
use crate::nemesis::{Fault, Healed, Laid};
use crate::process::cluster::{Cluster, Layout};
use crate::report::Report;
use crate::workload::cluster::copies::Copies;
use crate::workload::cluster::{LEVEL_TIME, Plan, lay_out, level};
use crate::workload::fleet::{Crew, Fleet, LEFT_IN_DOUBT};
use crate::workload::watch::FORMS;
use crate::workload::worker::{Phase, wait};
use crate::workload::{Options, Run};

/// What a client waits for an answer before it asks another node.
const PATIENCE: Duration = Duration::from_secs(2);
/// So that a run of minutes can be read again and again.
const REST: Duration = Duration::from_millis(12);
const WARM_MS_MAX: u64 = 700;
/// Connections rest between posts: one that is under way comes soon.
const LOAD_TIME: Duration = Duration::from_secs(1);
/// How long all are down.
const DOWN_TIME: Duration = Duration::from_secs(1);
const FULL_TIME: Duration = Duration::from_mins(1);
const FULL_STAY: Duration = Duration::from_secs(2);
/// It must serve on for so long before it counts as well.
const WELL_STAY: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(100);

/// Fields in the order in which they must go.
pub(super) struct Trial {
    fleet: Fleet,
    pub(super) cluster: Cluster,
    pub(super) run: Run,
    copies: Copies,
    plan: Plan,
    /// Faults laid so far.
    laid: u32,
    under_load: u64,
    destroyed: u64,
    torn: usize,
}

impl Trial {
    pub(super) async fn start(
        run: Run,
        options: &Options,
        plan: &Plan,
        layout: Layout,
    ) -> Result<Self, (Box<Run>, anyhow::Error)> {
        match Self::parts(&run, options, plan, layout).await {
            Ok((cluster, fleet, copies)) => Ok(Self {
                fleet,
                cluster,
                run,
                copies,
                plan: plan.clone(),
                laid: 0,
                under_load: 0,
                destroyed: 0,
                torn: 0,
            }),
            Err(error) => Err((Box::new(run), error)),
        }
    }

    async fn parts(
        run: &Run,
        options: &Options,
        plan: &Plan,
        layout: Layout,
    ) -> anyhow::Result<(Cluster, Fleet, Copies)> {
        let mut cluster = lay_out(run, options, layout)?;
        let started = Instant::now();
        if let Err(error) = cluster.start().await {
            return Err(error.context(cluster.log_tails()));
        }
        let (nodes, ready) = (plan.nodes, started.elapsed().as_millis());
        run.progress(format!("{nodes} nodes are a cluster after {ready} ms"));
        let crew = Crew {
            may_be_full: layout.disk_mib.is_some(),
            patience: Some(PATIENCE),
            rest: REST,
            ..Crew::busy(plan.connections, u64::MAX)
        };
        let fleet = Fleet::start(run, &cluster.addresses(), crew);
        let copies = Copies::new(&cluster, run)?;
        Ok((cluster, fleet, copies))
    }

    pub(super) async fn drive(&mut self, faults: &[Fault]) -> anyhow::Result<()> {
        for fault in faults {
            self.round(*fault).await?;
            if !self.copies.findings.is_clean() || !self.run.report.findings.is_clean() {
                self.run.progress("something was found: no further faults");
                break;
            }
        }
        Ok(())
    }

    async fn round(&mut self, fault: Fault) -> anyhow::Result<()> {
        let (before, begun) = (self.fleet.gauge.acks(), self.run.history.len());
        if !self.fleet.wait_for_load(before).await {
            let name = fault.name();
            self.run.report.findings.add(Kind::Outage, || {
                format!("before {name}: nothing is acknowledged any more")
            });
            return Ok(());
        }
        let token = self.cluster.token()?;
        let out = self.copies.send_out(&token, &self.fleet.gauge);
        sleep(Duration::from_millis(self.run.dice.below(WARM_MS_MAX))).await;
        self.cluster.must_live()?;

        let is_loaded = wait(&self.fleet.gauge.under_way, 1, LOAD_TIME).await;
        self.under_load += u64::from(is_loaded);
        let (acks, at) = (self.fleet.gauge.acks(), self.run.history.now());
        let laid = fault.lay(&mut self.cluster, &mut self.run.dice).await?;
        let name = fault.name();
        self.run.progress(format!("{name}: {}", laid.words));
        self.destroy(&laid).await?;
        self.hold(fault, acks).await?;
        let during = self.fleet.gauge.acks() - acks;
        let healed = fault
            .heal(&laid, &mut self.cluster, &self.run.history)
            .await?;
        self.run.progress(format!("{name}: {}", healed.words));
        if let Some(wrong) = &healed.wrong {
            let words = || format!("{name}: {wrong}");
            self.run.report.findings.add(Kind::Fault, words);
        }
        let acks = self.fleet.gauge.acks();
        self.fleet.wait_for_load(acks).await;
        sleep(WELL_STAY).await;

        let until = self.run.history.now();
        let from = if fault.leaves_a_majority() {
            at
        } else {
            healed.from
        };
        let events = self.run.history.since(begun);
        let outage = measure(&events, Window { from, until });
        let limit = Duration::from_secs(self.plan.served_within_s);
        check(&outage, limit, name, &mut self.run.report.findings);
        self.fleet.quiet(name, &mut self.run.report.findings).await;
        let what = (name, self.run.sheet_time.min(LEVEL_TIME));
        let (states, level) = level::wait(&self.cluster, what, &mut self.copies.findings).await;
        self.copies.call_back(out).await?;
        if fault.is_of_the_disk() {
            self.copies.read_anew();
        }
        self.copies.judge(&self.cluster, &self.run, &states).await?;
        self.renewed(&laid, name).await?;
        self.tell(fault, (&outage, during, level), &healed);
        self.laid += 1;
        self.fleet.phase.send_replace(Phase::Up(self.laid));
        Ok(())
    }

    /// Lets it last; where it leaves a majority, until that has been seen to serve. `acks`: the receipts
    /// before it.
    async fn hold(&mut self, fault: Fault, acks: u64) -> anyhow::Result<()> {
        if fault == Fault::Fill {
            let full = self.fleet.gauge.full.load(Ordering::Relaxed);
            let is_told = wait(&self.fleet.gauge.full, full + 1, FULL_TIME).await;
            self.run
                .report
                .demand("answers 507 without room", u64::from(is_told), 1);
        }
        let time = if fault == Fault::Fill {
            FULL_STAY
        } else if fault.is_momentary() {
            Duration::ZERO
        } else if fault.leaves_a_majority() {
            Duration::from_secs(self.plan.seconds_each)
        } else {
            DOWN_TIME
        };
        let end = Instant::now() + time;
        // An election on a busy machine may take longer than the fault was to last.
        let patience = end + Duration::from_secs(self.plan.served_within_s);
        let is_served = || !fault.leaves_a_majority() || self.fleet.gauge.acks() > acks;
        while Instant::now() < end || (!is_served() && Instant::now() < patience) {
            self.cluster.must_live()?;
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// What no disk holds any more was not promised for that case: it is taken out of what is
    /// demanded, and what was seen of it is forgotten.
    async fn destroy(&mut self, laid: &Laid) -> anyhow::Result<()> {
        let Some(end) = laid.destroyed_behind else {
            return Ok(());
        };
        // All are down. Receipts that are still being read were given before.
        self.fleet.phase.send_replace(Phase::Down);
        self.fleet.is_still().await;
        let accounts = Accounts::of(&self.run.history.since(0));
        let mut heads = FORMS.map(|_| 0);
        let mut gone = 0;
        for account in accounts.iter() {
            let Some(receipt) = account.receipt else {
                continue;
            };
            if receipt.index > end {
                gone += 1;
                let what = What::Destroyed;
                self.run.history.push(account.marker, what);
                continue;
            }
            let mut pairs = FORMS.iter().zip(&mut heads);
            if let Some((_, head)) = pairs.find(|(form, _)| **form == account.form) {
                *head = receipt.seq.unwrap_or(0).max(*head);
            }
        }
        for (form, head) in FORMS.into_iter().zip(heads) {
            self.fleet.gauge.lower_head(form, head);
        }
        self.destroyed += gone;
        self.torn += laid.torn;
        self.run.progress(format!(
            "no disk has an entry behind {end}: {gone} receipts are void"
        ));
        self.fleet.phase.send_replace(Phase::Up(self.laid));
        Ok(())
    }

    /// A node that has lost its disk is another one now.
    async fn renewed(&mut self, laid: &Laid, name: &str) -> anyhow::Result<()> {
        let (Some(node), Some(old)) = (laid.victim, laid.old_name) else {
            return Ok(());
        };
        let view = self.cluster.view(node).await?;
        let is_member = view.members.iter().any(|member| member.node == old);
        if view.node == old || is_member {
            self.run.report.findings.add(Kind::Fault, || {
                let number = node + 1;
                format!("{name}: node {number} lost its disk and is still member {old}")
            });
        }
        Ok(())
    }

    fn tell(
        &mut self,
        fault: Fault,
        (outage, during, level): (&Outage, u64, Duration),
        healed: &Healed,
    ) {
        let name = fault.name();
        let first = outage.first_ack.map_or_else(
            || "never".to_owned(),
            |first| format!("after {} ms", first.as_millis()),
        );
        let words = format!(
            "first receipt {first}, longest silence {} ms, {} refusals within {} ms, {during} \
             receipts during it, level after {} ms",
            outage.silence.as_millis(),
            outage.refusals,
            outage.refusing.as_millis(),
            level.as_millis()
        );
        self.run.progress(format!("{name}: {words}"));
        let report = &mut self.run.report;
        report.also(name, &words);
        if fault.leaves_a_majority() {
            report.demand(&format!("receipts during {name}"), during, 1);
        }
        if fault.is_of_the_net() {
            report.demand(&format!("frames dropped by {name}"), healed.dropped, 1);
        }
    }

    pub(super) async fn finish(self) -> anyhow::Result<Report> {
        let Self {
            fleet,
            mut cluster,
            mut run,
            copies,
            plan,
            laid,
            under_load,
            destroyed,
            torn,
        } = self;
        fleet.settle(&mut run).await?;
        let left = run.report.facts.get(LEFT_IN_DOUBT);
        if left.is_some_and(|left| *left != 0) {
            run.report.findings.add(Kind::Answer, || {
                "a document was posted under its key again and again, and never got a receipt"
                    .to_owned()
            });
        }
        if copies.findings.is_clean() && run.report.findings.is_clean() {
            let what = ("the end", run.sheet_time.min(LEVEL_TIME));
            let (states, _) = level::wait(&cluster, what, &mut run.report.findings).await;
            replicas::check_digests(&states, &mut run.report.findings);
        }
        run.progress("reading everything");
        run.report.fact("answers to followers", copies.glimpses);
        run.report
            .fact("came up behind what it had shown", copies.behind);
        let mended = u64::try_from(copies.mended.as_millis())?;
        run.report.fact("slowest reading of what is new ms", mended);
        let found = copies.findings.clone();
        run.sights = copies.whole(&cluster, &run).await?;
        let accounts = Accounts::of(&run.history.since(0));
        run.report.acked = accounts.acked();
        run.report.found = check_all(&accounts, &run.sights, &mut run.report.findings);
        run.report.findings.merge(found);
        facts(&mut run.report, &accounts, destroyed)?;
        let report = &mut run.report;
        report.fact("entries torn", torn);
        report.demand("faults laid under load", under_load, laid.into());
        let least = u64::from(laid) * u64::from(plan.connections);
        report.demand("acknowledged submissions", accounts.acked(), least);
        for node in cluster.numbers() {
            if let Err(error) = cluster.stop(node).await {
                run.report.findings.add(Kind::Died, || format!("{error:#}"));
            }
        }
        drop(cluster);
        run.finish()
    }
}

fn facts(report: &mut Report, accounts: &Accounts, destroyed: u64) -> anyhow::Result<()> {
    let unknown = accounts.iter().filter(|account| account.unknown > 0);
    let (keyed, keyless) = unknown.partition::<Vec<_>, _>(|account| account.is_keyed);
    let waits = accounts.iter().filter(|account| account.receipt.is_some());
    let waits = waits.filter(|account| account.is_keyed);
    let longest = waits.map(|account| account.acked - account.invoked).max();
    let retried = u64::try_from(keyed.len())?;
    report.fact("keyed documents that were in doubt", retried);
    report.fact("keyless documents in doubt", u64::try_from(keyless.len())?);
    report.fact("receipts void by damage on every disk", destroyed);
    let longest = Duration::from_nanos(longest.unwrap_or(0)).as_millis();
    report.fact(
        "longest wait of a keyed document ms",
        u64::try_from(longest)?,
    );
    Ok(())
}
