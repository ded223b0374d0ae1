//! Google Sheets: what the nodes have acknowledged is in the sheet, once and in order, whatever happens
//! between them and Google, to their leader, and while people edit the sheet.
//!
//! Proves, with three real nodes against the Google Sheets of the tests: after each fault every
//! acknowledged submission went into its tab once, in the order of seqs, each value in its column,
//! and stands there still. Each fault must have bitten, or the run proves nothing.

pub(crate) mod book;
mod fault;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::time::{Instant, sleep};

use crate::checker::findings::Kind;
use crate::report::Report;
use crate::workload::Options;
use crate::workload::desk::Desk;
use crate::workload::trio::Trio;
use book::{Book, TASK};
use fault::{FAULTS, Fault, People};

const DISCOVERY: &str =
    "target/peers/google/googleapiclient/discovery_cache/documents/sheets.v4.json";
const DELIVER_TIME: Duration = Duration::from_secs(90);
/// A product that is broken on purpose may never come up to the head.
const DELIVER_TIME_BROKEN: Duration = Duration::from_secs(15);

#[derive(Args, Clone, Debug)]
pub(crate) struct Plan {
    /// Which faults, in this order; without it all.
    #[arg(long, value_delimiter = ',')]
    pub(crate) faults: Vec<String>,
    #[command(flatten)]
    pub(crate) fake: Fake,
    /// How long each fault lasts.
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds_each: u64,
    #[arg(long, default_value_t = 6)]
    pub(crate) connections: u32,
}

impl Plan {
    /// For one fault.
    pub(crate) fn short(fault: &str, switches: Option<&str>) -> Self {
        Self {
            faults: vec![fault.to_owned()],
            fake: Fake::beside(switches),
            seconds_each: 8,
            connections: 6,
        }
    }
}

/// The Google Sheets of the tests.
#[derive(Args, Clone, Debug)]
pub(crate) struct Fake {
    /// The binary of the Google Sheets of the tests; else the one beside this.
    #[arg(long = "fake")]
    pub(crate) program: Option<PathBuf>,
    /// Google's description of its API (`deploy/dev/setup.sh sheets` lays it down).
    #[arg(long, default_value = DISCOVERY)]
    pub(crate) discovery: PathBuf,
    /// Switches of the Google Sheets of the tests, as JSON.
    #[arg(long)]
    pub(crate) switches: Option<String>,
}

impl Fake {
    /// The one beside this.
    pub(crate) fn beside(switches: Option<&str>) -> Self {
        Self {
            program: None,
            discovery: DISCOVERY.into(),
            switches: switches.map(str::to_owned),
        }
    }
}

struct Sheets<'a> {
    trio: Trio,
    book: Book,
    plan: &'a Plan,
    deliver_time: Duration,
}

pub(crate) async fn run(options: &Options, plan: &Plan) -> anyhow::Result<Report> {
    let known = |name: &String| FAULTS.iter().any(|fault| fault.name == name);
    if let Some(name) = plan.faults.iter().find(|name| !known(name)) {
        anyhow::bail!("no fault {name}");
    }
    let book = Book::start(options, &plan.fake).await?;
    let settings = (&book.settings()[..], plan.connections);
    let trio = Trio::start(options, "sheets", settings).await?;
    let mut sheets = Sheets {
        trio,
        book,
        plan,
        deliver_time: if options.mutant.is_some() {
            DELIVER_TIME_BROKEN
        } else {
            DELIVER_TIME
        },
    };
    match sheets.drive().await {
        Ok(()) => sheets.finish().await,
        Err(error) => Err(sheets.trio.broken(error)),
    }
}

impl Sheets<'_> {
    async fn drive(&mut self) -> anyhow::Result<()> {
        let mut desk = Desk::of_leader(&self.trio.cluster).await?;
        self.book.define(&mut desk).await?;
        let wanted = &self.plan.faults;
        let is_wanted =
            |fault: &&Fault| wanted.is_empty() || wanted.iter().any(|name| name == fault.name);
        for fault in FAULTS.iter().filter(is_wanted) {
            let started = Instant::now();
            let words = Box::pin(self.round(fault)).await.context(fault.name)?;
            if !self.trio.run.round(fault.name, started, &words) {
                break;
            }
        }
        Ok(())
    }

    async fn round(&mut self, fault: &Fault) -> anyhow::Result<String> {
        self.trio.up().await?;
        let calls = (fault.calls)();
        self.book.lay(&calls).await?;
        let Trio { cluster, run, .. } = &mut self.trio;
        let laid = match fault.node {
            Some(node) => Some(node.lay(cluster, &mut run.dice).await?),
            None => None,
        };
        let acks = self.trio.fleet.gauge.acks();
        let time = Duration::from_secs(self.plan.seconds_each);
        let edits = match fault.people {
            People::Between => self.book.edit_for(time).await?,
            People::Within => self.book.edit_within_for(time).await?,
            People::Away => {
                sleep(time).await;
                0
            }
        };
        let during = self.trio.served_since(acks).await;
        // Where the leader goes, there may be few calls to hurt.
        let must_bite = fault.node.is_none() && !calls.is_empty();
        if must_bite {
            // If nothing is hurt even so, the demand below says so.
            self.book.bitten().await?;
        }
        let Trio { cluster, run, .. } = &mut self.trio;
        if let (Some(node), Some(laid)) = (fault.node, &laid) {
            node.heal(laid, cluster, &run.history).await?;
        }
        let fired = self.book.heal().await?;
        let report = &mut self.trio.run.report;
        report.demand(&format!("receipts during {}", fault.name), during, 1);
        if fault.people != People::Away {
            report.demand(&format!("edits of people during {}", fault.name), edits, 1);
        }
        if must_bite {
            report.demand(&format!("calls hurt by {}", fault.name), fired, 1);
        }
        self.trio.down(fault.name).await;
        let judged = self.judge(fault.name).await?;
        Ok(format!(
            "{during} receipts and {edits} edits during it, {fired} calls hurt; {judged}"
        ))
    }

    async fn judge(&mut self, name: &str) -> anyhow::Result<String> {
        let started = Instant::now();
        let what = (TASK, self.deliver_time);
        let done = Desk::of_done(&self.trio.cluster, what).await?;
        let findings = &mut self.trio.run.report.findings;
        if let Err(said) = done {
            let words = || format!("{name}: the task is not done in time: {said}");
            findings.add(Kind::Outage, words);
            return Ok(said);
        }
        let waited = started.elapsed().as_secs_f32();
        let good = self.book.compare(findings).await?;
        Ok(format!(
            "done after {waited:.1} s, {good} rows as they must be"
        ))
    }

    async fn finish(self) -> anyhow::Result<Report> {
        let Self {
            trio,
            mut book,
            deliver_time,
            ..
        } = self;
        let (cluster, mut run) = trio.settle().await?;
        // What is not there by then is lost, and found so.
        drop(Desk::of_done(&cluster, (TASK, deliver_time)).await?);
        book.compare(&mut run.report.findings).await?;
        let most = book.most_granted().await?;
        run.report
            .fact("most calls granted in a minute of Google's", most);
        let sights = book.sights(run.bodies).await?;
        run.sights.extend(sights);
        run.end_all(cluster).await
    }
}
