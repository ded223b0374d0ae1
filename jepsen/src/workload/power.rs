//! Power cuts: the node lives on a disk of its own; at random moments under load what has reached
//! that disk's platter is copied, and a second node is started on the copy.
//!
//! Proves: what was acknowledged before the cut is there, once, in order, unaltered, in `GET` and
//! in the sheet of a node that finds nothing but what was flushed; its keys answer as they
//! did, and it goes on taking submissions. Whatever a reader had seen before the cut is there too.
//!
//! The node is stopped for the moment of the copy, so a cut falls between two of its calls to the
//! kernel, not inside one. Each cut must fall while requests are under way, and must lose what
//! was written and not flushed (see `canary`), else the run proves nothing.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use tokio::time::Instant;

use crate::checker::accounts::Accounts;
use crate::checker::findings::Findings;
use crate::checker::lineage;
use crate::checker::sight::Sight;
use crate::process::Node;
use crate::process::disk::{Disk, must_be_possible};
use crate::report::Report;
use crate::workload::fleet::{Crew, Fleet};
use crate::workload::watch::{FORMS, Watch};
use crate::workload::worker::Phase;
use crate::workload::{Options, Run};

mod canary;
mod copy;

/// New documents a connection posts between two cuts, at most: the disk is small.
const POSTS_MAX: u64 = 1000;
const CATCH_UP_TIME: Duration = Duration::from_secs(10);

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Plan {
    #[arg(long, default_value_t = 3)]
    pub(crate) cuts: u32,
    #[arg(long, default_value_t = 32)]
    pub(crate) connections: u32,
    /// Latest moment of a cut after the load is on, in ms.
    #[arg(long, default_value_t = 800)]
    pub(crate) up_ms_max: u64,
    /// The size of the disk.
    #[arg(long, default_value_t = 512)]
    pub(crate) mib: u64,
}

pub(crate) async fn run(options: &Options, plan: Plan) -> anyhow::Result<Report> {
    must_be_possible(&options.parent)?;
    let mut run = Run::new(options, "power")?;
    let disk = Disk::cached(run.site.path(), plan.mib)?;
    canary::lay(disk.root(), plan.cuts)?;
    run.site.live_on(disk);
    let node = Node::start(&run.site).await?;
    let crew = Crew::busy(plan.connections, POSTS_MAX);
    let fleet = Fleet::start(&run, &[node.address], crew);
    run.progress(format!(
        "{} connections, {} cuts, a disk of {} MiB",
        plan.connections, plan.cuts, plan.mib
    ));
    let (watch, tally) = (Watch::new(), Tally::default());
    let mut cutter = Cutter {
        node,
        fleet,
        run,
        watch,
        plan,
        tally,
    };
    for number in 1..=plan.cuts {
        cutter.round(options, number).await?;
        if !cutter.is_clean() {
            cutter.run.progress("a fault was found: no further cuts");
            break;
        }
        cutter.fleet.phase.send_replace(Phase::Up(number));
    }
    cutter.finish().await
}

/// Over all cuts.
#[derive(Default)]
struct Tally {
    under_load: u64,
    /// Acknowledged before each cut, all added up.
    acked: u64,
    /// The same, with what was posted again to the copies; and how many of these are there.
    promised: u64,
    found: u64,
    in_doubt: u64,
    lossy: u64,
    copies: u64,
    slowest_start: Duration,
}

/// Fields in the order in which they must go: the node before the disk that it lives on.
struct Cutter {
    node: Node,
    fleet: Fleet,
    run: Run,
    watch: Watch,
    plan: Plan,
    tally: Tally,
}

impl Cutter {
    async fn round(&mut self, options: &Options, number: u32) -> anyhow::Result<()> {
        let before = self.fleet.gauge.acks();
        self.fleet.wait_for_load(before).await;
        let up = Duration::from_millis(self.run.dice.below(self.plan.up_ms_max));
        let mut reader = self.run.reader(&self.node)?;
        self.watch.read_for(&mut reader, up).await;
        // Made before, so that the node stands still for the copy alone.
        let options = Options {
            parent: self.run.site.path().to_owned(),
            ..options.clone()
        };
        let mut copy = Run::new(&options, "power")?;
        copy.bodies = self.run.bodies;
        self.cut(&mut copy, number, before).await?;
        let seen = self.watch.sights.iter().map(|sight| sight.rows.len());
        let seen = seen.collect::<Vec<_>>();
        let accounts = Accounts::of(&copy.history.since(0));
        self.tally.in_doubt += u64::try_from(accounts.in_doubt())?;
        let acked = accounts.acked();

        let token = self.run.site.token()?;
        let found = copy::examine(&mut copy, &token, number).await?;
        self.tally.lossy += u64::from(found.is_lossy);
        self.tally.slowest_start = self.tally.slowest_start.max(found.ready_after);
        let traced = self.trace(&seen, &found.sights).await?;
        copy.report.findings.merge(traced);
        let copy = copy.finish()?;
        self.tally.acked += acked;
        self.tally.promised += copy.acked;
        self.tally.found += copy.found;
        let findings = copy.findings.labelled(&format!("cut {number}: "));
        self.run.report.findings.merge(findings);
        let (cuts, back) = (self.plan.cuts, found.ready_after.as_millis());
        self.run.progress(format!(
            "cut {number}/{cuts}: {acked} receipts before it, {} found, back in {back} ms",
            copy.found
        ));
        Ok(())
    }

    /// What is on the platter at this moment goes into the copy's place, and what the history
    /// says at this moment into its history.
    async fn cut(&mut self, copy: &mut Run, number: u32, before: u64) -> anyhow::Result<()> {
        self.node.must_live().context(self.run.site.log_tail())?;
        self.node.pause().await?;
        let under_way = self.fleet.gauge.under_way.load(Ordering::Relaxed);
        let disk = self.run.site.disk()?;
        canary::write(disk.root(), number)?;
        self.tally.copies += u64::from(disk.copy(copy.site.path()).await?);
        // Receipts that arrive while it stands still were sent before.
        copy.history = self.run.history.cut();
        self.fleet.phase.send_replace(Phase::Down);
        self.node.resume()?;
        let acks = self.fleet.gauge.acks() - before;
        self.tally.under_load += u64::from(under_way > 0 && acks > 0);
        Ok(())
    }

    /// The copy's sights against those of the node that it was cut from.
    async fn trace(&mut self, seen: &[usize], copies: &[Sight]) -> anyhow::Result<Findings> {
        let mut reader = self.run.reader(&self.node)?;
        let end = Instant::now() + CATCH_UP_TIME;
        loop {
            self.watch.read(&mut reader).await;
            let mut pairs = self.watch.sights.iter().zip(copies);
            let is_there = pairs.all(|(own, copy)| own.last_seq() >= copy.last_seq());
            if is_there || Instant::now() > end {
                break;
            }
        }
        self.watch.look(&mut reader, &self.run.history).await;
        let mut findings = Findings::default();
        for ((own, seen), copy) in self.watch.sights.iter().zip(seen).zip(copies) {
            lineage::check(own, *seen, copy, &mut findings);
        }
        Ok(findings)
    }

    fn is_clean(&self) -> bool {
        self.watch.findings.is_clean() && self.run.report.findings.is_clean()
    }

    async fn finish(self) -> anyhow::Result<Report> {
        let Self {
            mut run,
            mut watch,
            fleet,
            plan,
            tally,
            node,
        } = self;
        fleet.phase.send_replace(Phase::Up(plan.cuts));
        fleet.settle(&mut run).await?;
        run.progress("reading everything");
        watch.look(&mut run.reader(&node)?, &run.history).await;
        let is_clean = run.report.findings.is_clean();
        run.sights = watch.sights;
        run.check(&node, &FORMS).await?;
        if is_clean && run.report.findings.is_clean() {
            run.report.findings.merge(watch.findings);
        }
        tell(&mut run.report, plan, &tally)?;
        run.end(node).await
    }
}

fn tell(report: &mut Report, plan: Plan, tally: &Tally) -> anyhow::Result<()> {
    let facts = BTreeMap::from([
        ("cuts under load", tally.under_load),
        ("receipts before the cuts", tally.acked),
        ("promised by the copies", tally.promised),
        ("found in the copies", tally.found),
        ("documents in doubt at the cuts", tally.in_doubt),
        ("cuts that lost what was not flushed", tally.lossy),
        ("copies made", tally.copies),
        (
            "slowest start on a copy ms",
            u64::try_from(tally.slowest_start.as_millis())?,
        ),
    ]);
    for (name, value) in facts {
        report.fact(name, value);
    }
    let cuts = u64::from(plan.cuts);
    let acked = report.acked;
    report.demand("cuts under load", tally.under_load, cuts);
    report.demand(
        "acknowledged submissions",
        acked,
        cuts * u64::from(plan.connections),
    );
    report.demand(
        "documents in doubt at the cuts",
        tally.in_doubt,
        cuts.min(1),
    );
    // The kernel may have flushed by itself in the moment of a cut, but not each time.
    report.demand(
        "cuts that lost what was not flushed",
        tally.lossy,
        cuts.div_ceil(2),
    );
    ensure!(tally.copies >= tally.under_load, "a cut without a copy");
    Ok(())
}
