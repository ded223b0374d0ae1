//! `kill -9` at random moments under load, again and again.
//!
//! Proves: what was acknowledged survives, once, in order, unaltered, in `GET` and in the sheet;
//! what was refused or never sent does not appear; what had no answer is there once or not at
//! all, and answers to its key afterwards. While the product is down its sheets get a torn
//! end now and then, as a power cut would leave one.
//!
//! Each kill must fall while requests are under way, else the run proves nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::checker::accounts::Accounts;
use crate::checker::findings::Findings;
use crate::checker::sight::{Shape, Sight};
use crate::checker::{Span, check};
use crate::form::Form;
use crate::history::History;
use crate::process::Node;
use crate::reader::http::Reader;
use crate::reader::sheet;
use crate::report::Report;
use crate::workload::crash::worker::{Gauge, Phase, Worker};
use crate::workload::{Options, Run};

mod worker;

const FORMS: [Form; 2] = [Form::StudentData, Form::Free];
const WARM_TIME: Duration = Duration::from_mins(1);
const SETTLE_TIME: Duration = Duration::from_mins(2);
const READ_PAUSE: Duration = Duration::from_millis(25);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) kills: u32,
    pub(crate) connections: u32,
    /// The latest moment for a kill after the load is on.
    pub(crate) up_ms_max: u64,
    /// New documents a connection posts between two kills, at most.
    pub(crate) posts_max: u64,
}

/// What is checked as it goes: everything new since the last look.
struct Watch {
    accounts: Accounts,
    sights: Vec<Sight>,
    /// Events already absorbed.
    events: usize,
    /// Rows already checked, by sight.
    rows: Vec<usize>,
    findings: Findings,
}

pub(crate) async fn run(options: &Options, plan: Plan) -> anyhow::Result<Report> {
    let run = Run::new(options, "crash")?;
    let mut node = Node::start(&run.site).await?;
    let (phase, phases) = watch::channel(Phase::Up(0));
    let gauge = Arc::new(Gauge::default());
    let mut workers = JoinSet::new();
    for process in 0..plan.connections {
        let dice = run.dice.fork(u64::from(process) + 1);
        let (history, bodies) = (run.history.clone(), run.bodies);
        let gauge = Arc::clone(&gauge);
        let worker = Worker {
            process,
            dice,
            history,
            bodies,
            gauge,
            phases: phases.clone(),
        };
        workers.spawn(worker.work(node.address, plan.posts_max));
    }
    run.progress(format!(
        "{} connections, {} kills",
        plan.connections, plan.kills
    ));

    let mut killer = Killer {
        run,
        watch: Watch::new(),
        gauge,
        phase,
        plan,
        kills: Kills::default(),
    };
    for round in 1..=plan.kills {
        node = killer.round(node, round).await?;
        if !killer.watch.findings.is_clean() {
            killer.run.progress("a fault was found: no further kills");
            break;
        }
        killer.phase.send_replace(Phase::Up(round));
    }
    let Killer {
        mut run,
        watch,
        phase,
        kills,
        ..
    } = killer;
    phase.send_replace(Phase::Settle);
    let settled = timeout(SETTLE_TIME, join(&mut run, &mut workers)).await;
    let unsettled = settled.context("connections do not come to an end")??;
    run.report.fact("keyed documents left in doubt", unsettled);
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
    gauge: Arc<Gauge>,
    phase: watch::Sender<Phase>,
    plan: Plan,
    kills: Kills,
}

impl Killer {
    async fn round(&mut self, mut node: Node, round: u32) -> anyhow::Result<Node> {
        let before = self.acks();
        self.wait_for_load(before).await;
        let up = self.run.dice.below(self.plan.up_ms_max);
        let moment = Instant::now() + Duration::from_millis(up);
        let mut reader = self.run.reader(&node)?;
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            sleep(left.min(READ_PAUSE)).await;
            self.watch.read(&mut reader).await;
        }
        node.must_live().context(self.run.site.log_tail())?;
        let under_way = self.gauge.under_way.load(Ordering::Relaxed);
        node.kill().await?;
        self.phase.send_replace(Phase::Down);
        let acks = self.acks() - before;
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

    fn acks(&self) -> u64 {
        self.gauge.acks.load(Ordering::Relaxed)
    }

    /// Load is on when every connection has had a receipt, on average.
    async fn wait_for_load(&self, before: u64) {
        let end = Instant::now() + WARM_TIME;
        let enough = before + u64::from(self.plan.connections);
        while self.acks() < enough && Instant::now() < end {
            sleep(Duration::from_millis(2)).await;
        }
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

async fn join(run: &mut Run, workers: &mut JoinSet<worker::Ended>) -> anyhow::Result<u64> {
    let mut unsettled = 0;
    while let Some(ended) = workers.join_next().await {
        let ended = ended.context("a connection's worker died")?;
        unsettled += u64::from(ended.is_in_doubt);
        for fault in ended.faults {
            run.note(Err(fault));
        }
    }
    Ok(unsettled)
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

impl Watch {
    fn new() -> Self {
        let sight = |form| Sight::new("GET as it went", form, Shape::Document);
        Self {
            accounts: Accounts::default(),
            sights: FORMS.map(sight).into(),
            events: 0,
            rows: vec![0; FORMS.len()],
            findings: Findings::default(),
        }
    }

    /// Reads what is new, without judging: answers may still be on their way.
    async fn read(&mut self, reader: &mut Reader) {
        for sight in &mut self.sights {
            reader.follow(sight).await;
        }
    }

    /// Reads what is new and judges it, in time linear in what is new.
    async fn look(&mut self, reader: &mut Reader, history: &History) {
        self.read(reader).await;
        let events = history.since(self.events);
        self.events += events.len();
        let touched = self.accounts.absorb(&events);
        for (sight, from) in self.sights.iter().zip(&mut self.rows) {
            let accounts = &self.accounts;
            let span = Span {
                accounts,
                touched: Some(&touched),
                sight,
                from: *from,
            };
            check(&span, &mut self.findings);
            *from = sight.rows.len();
        }
    }
}
