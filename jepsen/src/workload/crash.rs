//! `kill -9` at random moments under load, again and again.
//!
//! Proves: what was acknowledged survives, once, in order, unaltered, in `GET` and in the sheet;
//! what was refused or never sent does not appear; what had no answer is there once or not at
//! all, and answers to its key afterwards. While the product is down its sheets get a torn
//! end now and then, as a power cut would leave one.
//!
//! Each kill must fall while requests are under way, else the run proves nothing.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;

use crate::process::Node;
use crate::reader::sheet;
use crate::report::Report;
use crate::workload::fleet::{Crew, Fleet};
use crate::workload::watch::{FORMS, Watch};
use crate::workload::worker::Phase;
use crate::workload::{Options, Run};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) kills: u32,
    pub(crate) connections: u32,
    /// The latest moment for a kill after the load is on.
    pub(crate) up_ms_max: u64,
    /// New documents a connection posts between two kills, at most.
    pub(crate) posts_max: u64,
}

pub(crate) async fn run(options: &Options, plan: Plan) -> anyhow::Result<Report> {
    let run = Run::new(options, "crash")?;
    let mut node = Node::start(&run.site).await?;
    let crew = Crew::busy(plan.connections, plan.posts_max);
    let fleet = Fleet::start(&run, &[node.address], crew);
    run.progress(format!(
        "{} connections, {} kills",
        plan.connections, plan.kills
    ));

    let mut killer = Killer {
        run,
        watch: Watch::new(),
        fleet,
        plan,
        kills: Kills::default(),
    };
    for round in 1..=plan.kills {
        node = killer.round(node, round).await?;
        if !killer.watch.findings.is_clean() {
            killer.run.progress("a fault was found: no further kills");
            break;
        }
        killer.fleet.phase.send_replace(Phase::Up(round));
    }
    let Killer {
        mut run,
        watch,
        fleet,
        kills,
        ..
    } = killer;
    fleet.settle(&mut run).await?;
    finish(run, watch, node, plan, &kills).await
}

#[derive(Default)]
struct Kills {
    under_load: u64,
    torn: u64,
    slowest_start: Duration,
}

/// Waits for load, kills, starts again, looks.
struct Killer {
    run: Run,
    watch: Watch,
    fleet: Fleet,
    plan: Plan,
    kills: Kills,
}

impl Killer {
    async fn round(&mut self, mut node: Node, round: u32) -> anyhow::Result<Node> {
        let before = self.fleet.gauge.acks();
        self.fleet.wait_for_load(before).await;
        let up = Duration::from_millis(self.run.dice.below(self.plan.up_ms_max));
        let mut reader = self.run.reader(&node)?;
        self.watch.read_for(&mut reader, up).await;
        node.must_live().context(self.run.site.log_tail())?;
        let under_way = self.fleet.gauge.under_way.load(Ordering::Relaxed);
        node.kill().await?;
        self.fleet.phase.send_replace(Phase::Down);
        let acks = self.fleet.gauge.acks() - before;
        self.kills.under_load += u64::from(under_way > 0 && acks > 0);
        self.tear()?;
        let node = Node::start(&self.run.site).await?;
        self.kills.slowest_start = self.kills.slowest_start.max(node.ready_after);
        let mut reader = self.run.reader(&node)?;
        self.watch.look(&mut reader, &self.run.history).await;
        let (total, back) = (self.plan.kills, node.ready_after.as_millis());
        self.run.progress(format!(
            "kill {round}/{total}: {acks} receipts, {under_way} under way, back in {back} ms"
        ));
        Ok(node)
    }

    /// Every other time, all sheets.
    fn tear(&mut self) -> anyhow::Result<()> {
        if self.run.dice.chance(50) {
            let rows = self.run.dice.below(3);
            for form in FORMS {
                let sheet = self.run.site.sheet(form.name());
                self.kills.torn += u64::from(sheet::tear(&sheet, rows)?);
            }
        }
        Ok(())
    }
}

async fn finish(
    mut run: Run,
    mut watch: Watch,
    node: Node,
    plan: Plan,
    kills: &Kills,
) -> anyhow::Result<Report> {
    run.progress("reading everything");
    watch.look(&mut run.reader(&node)?, &run.history).await;
    run.sights = watch.sights;
    run.check(&node, &FORMS).await?;
    if run.report.findings.is_clean() {
        run.report.findings.merge(watch.findings);
    }
    let unknown = watch.accounts.iter().filter(|account| account.unknown > 0);
    let (keyed, keyless) = unknown.partition::<Vec<_>, _>(|account| account.is_keyed);
    let facts = BTreeMap::from([
        ("kills under load", kills.under_load),
        (
            "keyed documents that were in doubt",
            u64::try_from(keyed.len())?,
        ),
        ("keyless documents in doubt", u64::try_from(keyless.len())?),
        ("sheets torn while it was down", kills.torn),
        (
            "slowest start ms",
            u64::try_from(kills.slowest_start.as_millis())?,
        ),
    ]);
    for (name, value) in facts {
        run.report.fact(name, value);
    }
    let acked = run.report.acked;
    run.report
        .demand("kills under load", kills.under_load, plan.kills.into());
    let least = u64::from(plan.kills) * u64::from(plan.connections);
    run.report.demand("acknowledged submissions", acked, least);
    let in_doubt = u64::try_from(keyed.len() + keyless.len())?;
    run.report
        .demand("documents in doubt", in_doubt, u64::from(plan.kills > 0));
    run.end(node).await
}
