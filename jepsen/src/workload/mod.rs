//! The workloads: each starts the product in a fresh site, drives it, checks it whole, and answers
//! with a report.

pub(crate) mod clash;
pub(crate) mod clock;
pub(crate) mod cluster;
pub(crate) mod crash;
pub(crate) mod crowd;
mod desk;
mod fleet;
pub(crate) mod full;
pub(crate) mod hostile;
pub(crate) mod kafka;
pub(crate) mod lines;
pub(crate) mod load;
pub(crate) mod mirrors;
pub(crate) mod mutants;
pub(crate) mod posts;
pub(crate) mod power;
pub(crate) mod restart;
pub(crate) mod retire;
pub(crate) mod rows;
pub(crate) mod sheets;
pub(crate) mod synced;
mod trio;
mod watch;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::checker::accounts::Accounts;
use crate::checker::check_all;
use crate::checker::findings::Kind;
use crate::checker::sight::Sight;
use crate::client::Client;
use crate::dice::Dice;
use crate::form::{Bodies, Form, Submission};
use crate::history::History;
use crate::process::site::Site;
use crate::process::{Died, Node};
use crate::reader::http::Reader;
use crate::reader::{cli, sheet};
use crate::report::Report;
use crate::say::Say;

const SHEET_TIME: Duration = Duration::from_secs(90);
/// A product that is broken on purpose may never come up to the head.
const SHEET_TIME_BROKEN: Duration = Duration::from_secs(10);

/// What every command is told.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) binary: PathBuf,
    pub(crate) deploy: PathBuf,
    /// Where sites are made.
    pub(crate) parent: PathBuf,
    pub(crate) seed: u64,
    pub(crate) say: Say,
    /// Broken on purpose.
    pub(crate) mutant: Option<String>,
    /// Further settings of the product, without `FORMSPOOL_`.
    pub(crate) settings: BTreeMap<String, String>,
}

/// A run under way.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) site: Site,
    pub(crate) history: History,
    pub(crate) bodies: Bodies,
    pub(crate) dice: Dice,
    pub(crate) say: Say,
    pub(crate) report: Report,
    /// What readers showed as the run went; checked at the end with the whole.
    pub(crate) sights: Vec<Sight>,
    /// The log may let go of what its tasks have: then 410 is an answer to a reader.
    may_forget: bool,
    /// How long a sheet may lag behind.
    pub(crate) sheet_time: Duration,
}

impl Run {
    pub(crate) fn new(options: &Options, command: &'static str) -> anyhow::Result<Self> {
        let mut site = Site::new(&options.binary, &options.deploy, &options.parent)?;
        site.set("MUTANT", options.mutant.clone());
        for (name, value) in &options.settings {
            site.set(name, Some(value.clone()));
        }
        let mut dice = Dice::new(options.seed);
        let nonce = u32::try_from(dice.below(1 << 32))?;
        let report = Report::new(command, options.seed);
        let bodies = Bodies { nonce };
        let history = History::new();
        let sheet_time = if options.mutant.is_some() {
            SHEET_TIME_BROKEN
        } else {
            SHEET_TIME
        };
        let (say, sights) = (options.say, Vec::new());
        Ok(Self {
            site,
            history,
            bodies,
            dice,
            say,
            report,
            sights,
            may_forget: false,
            sheet_time,
        })
    }

    pub(crate) fn submission(&self, form: Form, key: Option<&str>) -> Submission {
        let marker = self.history.next_marker();
        self.bodies.submission(form, marker, key.map(str::to_owned))
    }

    pub(crate) fn progress(&self, words: impl AsRef<str>) {
        let command = self.report.command;
        self.say.progress(&format!("{command}: {}", words.as_ref()));
    }

    /// A round is over: it is told, and noted. False if something was found, so that no other begins.
    pub(crate) fn round(
        &mut self,
        name: &'static str,
        started: tokio::time::Instant,
        words: &str,
    ) -> bool {
        let seconds = started.elapsed().as_secs_f32();
        let words = format!("{seconds:.1} s; {words}");
        self.progress(format!("{name}: {words}"));
        self.report.also(name, &words);
        let is_clean = self.report.findings.is_clean();
        if !is_clean {
            self.progress("something was found: no further faults");
        }
        is_clean
    }

    /// An answer that the contract does not allow; the run goes on.
    pub(crate) fn note(&mut self, answer: anyhow::Result<()>) {
        if let Err(error) = answer {
            self.report
                .findings
                .add(Kind::Answer, || format!("{error:#}"));
        }
    }

    pub(crate) fn reader(&self, node: &Node) -> anyhow::Result<Reader> {
        let client = Client::new(node.address);
        let reader = Reader::new(client, self.site.token()?, self.bodies);
        Ok(reader.forgiving(self.may_forget))
    }

    /// Reads `forms` by pages and from their sheets, and checks the whole history against all
    /// that was read.
    pub(crate) async fn check(&mut self, node: &Node, forms: &[Form]) -> anyhow::Result<()> {
        let mut reader = self.reader(node)?;
        let mut slowest = Duration::ZERO;
        for form in forms {
            let whole = reader.whole(*form).await;
            let head = whole.last_seq();
            self.sights.push(whole);
            if form.has_sheet() {
                let path = self.site.sheet(form.name());
                let what = (self.bodies, *form);
                let (sheet, lag) = sheet::caught_up(&path, what, head, self.sheet_time).await;
                slowest = slowest.max(lag);
                self.sights.push(sheet);
            }
        }
        let behind = u64::try_from(slowest.as_millis())?;
        self.report.fact("sheet caught up after ms", behind);
        self.judge();
        Ok(())
    }

    /// Reads one form with the readers that `check` leaves out.
    pub(crate) async fn read_otherwise(&mut self, node: &Node, form: Form) -> anyhow::Result<()> {
        let mut reader = self.reader(node)?;
        self.sights.push(reader.ndjson(form).await);
        self.sights.push(reader.csv(form).await);
        let export = cli::export(&self.site, self.bodies, form).await;
        let head = export.last_seq();
        self.sights.push(export);
        let tail = cli::tail(&self.site, self.bodies, form, head).await;
        self.sights.push(tail);
        Ok(())
    }

    fn judge(&mut self) {
        let accounts = Accounts::of(&self.history.since(0));
        self.report.acked = accounts.acked();
        self.report.found = check_all(&accounts, &self.sights, &mut self.report.findings);
    }

    /// Stops the product and answers with the report.
    pub(crate) async fn end(mut self, node: Node) -> anyhow::Result<Report> {
        if let Err(error) = node.stop().await {
            let log = self.site.log_tail();
            self.report
                .findings
                .add(Kind::Died, || format!("{error:#}\n{log}"));
        }
        self.finish()
    }

    /// The report; a site whose run failed is kept, with the history beside it.
    pub(crate) fn finish(mut self) -> anyhow::Result<Report> {
        if !self.report.is_pass() {
            self.history.write(&self.site.path().join("history.txt"))?;
            self.report.kept = Some(self.site.keep());
        }
        Ok(self.report)
    }
}

/// A product that died under a run has failed it; every other error is the test's own.
pub(crate) fn told(
    command: &'static str,
    seed: u64,
    result: anyhow::Result<Report>,
) -> anyhow::Result<Report> {
    result.or_else(|error| {
        if error.downcast_ref::<Died>().is_none() {
            return Err(error);
        }
        let mut report = Report::new(command, seed);
        report.findings.add(Kind::Died, || format!("{error:#}"));
        Ok(report)
    })
}

/// Whether a mutant is meant to fail: its site is of no use then. Removes what was kept.
pub(crate) fn forget(report: &Report) -> std::io::Result<()> {
    report.kept.as_ref().map_or(Ok(()), std::fs::remove_dir_all)
}

/// What is left of a run that could not go on; the words say where.
fn keep(run: Run, error: anyhow::Error) -> anyhow::Error {
    let written = run.history.write(&run.site.path().join("history.txt"));
    let kept = run.site.keep();
    let words = format!("kept: {}", kept.display());
    written.map_or_else(anyhow::Error::from, |()| error.context(words))
}
