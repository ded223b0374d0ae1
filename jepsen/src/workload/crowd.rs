//! Hundreds of forms on one credential of Google's: the quota is kept, and each form gets its turn.
//!
//! Proves, with one node and the Google Sheets of the tests, which counts calls as Google does: a few
//! forms that always have more to send, and all others that are posted to at once in each round, get
//! their rows in, each once and in order; no minute sees more calls than the quota, and none is
//! refused; no row waits for more than twice its *fair time*.
//!
//! The fair time is what it takes to let each form make the calls that it needs, one after the other, as
//! fast as the quota lets them: `forms × calls / quota` minutes. A form's first row needs two writes and
//! two reads, since its tab is made and its place is looked for; a later one needs one of each.
//! Why no history: it knows two forms, and nothing goes wrong here that it would have to remember.

mod forms;
mod judge;

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::checker::findings::Kind;
use crate::checker::line::{self, Call, Quota};
use crate::client::tasks;
use crate::process::Node;
use crate::process::sheets::Google;
use crate::reader::sheets::read_all;
use crate::report::Report;
use crate::workload::desk::Desk;
use crate::workload::sheets::Fake;
use crate::workload::{Options, Run, keep};
use forms::{Asked, Post, name};
use judge::{Forms, calls};

/// As many as the product takes for Google's default.
const QUOTA: u64 = 60;
/// Each has one request under way at a time.
const BOOKS: u64 = 5;
/// Calls of one kind that a form's first row needs, and each that follows.
const FIRST_CALLS: u64 = 2;
const CALLS: u64 = 1;
const SENDERS: u64 = 16;
/// Between two posts to forms that always have more to send.
const BUSY_REST: Duration = Duration::from_millis(10);
const LOOK: Duration = Duration::from_millis(200);
/// The product's own, of a real minute.
const LINGER_PER_MINUTE: u64 = 30;
/// What is not delivered within so many fair times never will be, as far as this run can tell.
const FAIR_TIMES_MAX: u32 = 6;

#[derive(Args, Clone, Debug)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) fake: Fake,
    #[arg(long, default_value_t = 300)]
    pub(crate) forms: u64,
    /// Of these, so many always have more to send.
    #[arg(long, default_value_t = 20)]
    pub(crate) busy: u64,
    /// How often all are posted to at once, when each has its first row.
    #[arg(long, default_value_t = 4)]
    pub(crate) rounds: u64,
    /// How long a minute of the quota is.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) minute_ms: u64,
}

impl Plan {
    /// Fewer forms, for a product that is broken on purpose.
    pub(crate) fn short() -> Self {
        Self {
            fake: Fake::beside(None),
            forms: 120,
            busy: 20,
            rounds: 3,
            minute_ms: 1_500,
        }
    }

    fn fair(&self, calls: u64) -> Duration {
        Duration::from_millis(self.forms * calls * self.minute_ms / QUOTA)
    }
}

struct Crowd<'a> {
    node: Node,
    desk: Desk,
    google: Google,
    plan: &'a Plan,
    run: Run,
    asked: Vec<Asked>,
}

pub(crate) async fn run(options: &Options, plan: &Plan) -> anyhow::Result<Report> {
    let binary = (plan.fake.program.as_deref(), plan.fake.discovery.as_path());
    let mut google = Google::start(binary, &options.parent, options.seed).await?;
    let minute = json!({"minute_ms": plan.minute_ms});
    google.post("/settings", &minute).await?;
    for number in 0..BOOKS {
        let book = json!({"id": forms::book(number)});
        google.post("/spreadsheets", &book).await?;
    }
    let mut run = Run::new(options, "crowd")?;
    let key = google.key_file().display().to_string();
    for (name, value) in [
        ("SHEETS__CREDENTIALS_FILE", key),
        ("SHEETS__ENDPOINT", google.api.clone()),
        ("SHEETS__MINUTE_MS", plan.minute_ms.to_string()),
        (
            "SHEETS__LINGER_MS",
            (plan.minute_ms / LINGER_PER_MINUTE).to_string(),
        ),
    ] {
        run.site.set(name, Some(value));
    }
    let node = Node::start(&run.site).await?;
    let desk = Desk::new(node.address, run.site.token()?);
    let mut crowd = Crowd {
        node,
        desk,
        google,
        plan,
        run,
        asked: Vec::new(),
    };
    match crowd.drive().await {
        Ok(()) => crowd.finish().await,
        Err(error) => {
            let Crowd { node, run, .. } = crowd;
            drop(node);
            let said = run.site.log_tail();
            Err(keep(run, error.context(said)))
        }
    }
}

impl Crowd<'_> {
    async fn drive(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        let own = (self.node.address, self.desk.token.as_str());
        forms::define_all(own, self.plan.forms, SENDERS).await?;
        let clock = forms::Clock::read(&mut self.google).await?;
        let words = format!("{} forms, a task each", self.plan.forms);
        self.run.round("defined", started, &words);
        let started = Instant::now();
        let post = Post {
            node: self.node.address,
            clock,
        };
        let first = post.all(self.plan.forms, SENDERS);
        self.asked.extend(first.await?);
        let is_done = self.delivered(FIRST_CALLS).await?;
        self.run.round("first rows", started, "each has its tab");
        if is_done {
            let started = Instant::now();
            self.rounds(&post).await?;
            self.delivered(CALLS).await?;
            let words = format!("{} are acknowledged", self.asked.len());
            self.run.round("rounds", started, &words);
        }
        Ok(())
    }

    /// A round begins when the one before ought to be done, and is not quite, since the product leaves a
    /// twelfth of the quota to others: from the first to the last of them the line never empties.
    async fn rounds(&mut self, post: &Post) -> anyhow::Result<()> {
        let (stop, stopped) = watch::channel(false);
        let mut busy = JoinSet::new();
        busy.spawn(post.busily(self.plan.busy, BUSY_REST, stopped));
        for _ in 0..self.plan.rounds {
            let round = post.all(self.plan.forms, SENDERS).await?;
            self.asked.extend(round);
            sleep(self.plan.fair(CALLS)).await;
        }
        stop.send_replace(true);
        while let Some(asked) = busy.join_next().await {
            self.asked.extend(asked.context("a sender died")??);
        }
        Ok(())
    }

    /// Waits until everything is delivered; what takes far too long is found.
    async fn delivered(&mut self, calls: u64) -> anyhow::Result<bool> {
        let end = Instant::now() + self.plan.fair(calls) * FAIR_TIMES_MAX;
        loop {
            let all = tasks::all(&mut self.desk.client, &self.desk.token).await?;
            let ours = all.iter().filter(|task| forms::is_ours(&task.name));
            let left = ours.filter(|task| !task.is_done()).collect::<Vec<_>>();
            let Some(one) = left.first() else {
                return Ok(true);
            };
            if Instant::now() > end {
                let (count, said) = (left.len(), one.words());
                let words = || format!("{count} tasks are not done in time; {}: {said}", one.name);
                self.run.report.findings.add(Kind::Outage, words);
                return Ok(false);
            }
            sleep(LOOK).await;
        }
    }

    async fn finish(mut self) -> anyhow::Result<Report> {
        self.run.progress("reading everything");
        let quota = Quota {
            calls: QUOTA,
            minute_ms: self.plan.minute_ms,
        };
        let calls = calls(&mut self.google).await?;
        let report = &mut self.run.report;
        let mut within = |name, calls: &[Call]| {
            let most = line::within((name, calls), quota, &mut report.findings);
            // A line that is never full shows nothing.
            report.demand(
                &format!("{name} in the fullest minute"),
                most,
                QUOTA / 4 * 3,
            );
            most
        };
        let writes = within("writes", &calls.writes);
        let reads = within("reads", &calls.reads);
        report.fact("writes in the fullest minute", writes);
        report.fact("reads in the fullest minute", reads);
        let counts = (calls.writes.len(), calls.reads.len());
        report.fact(
            "calls that wrote, and that read",
            json!([counts.0, counts.1]),
        );
        let mut all = Forms::of(&self.asked, self.plan);
        for number in 0..BOOKS {
            let titles = (0..self.plan.forms).filter(|form| form % BOOKS == number);
            let titles = titles.map(name).collect::<Vec<_>>();
            let titles = titles.iter().map(String::as_str).collect::<Vec<_>>();
            let sheets = read_all(&mut self.google, &forms::book(number), &titles).await?;
            for (title, sheet) in &sheets {
                report.found += all.judge((title.as_str(), sheet), &mut report.findings);
            }
        }
        report.acked = u64::try_from(self.asked.len())?;
        let longest = line::fair(&all.waits, &mut report.findings);
        report.fact("longest wait, in percent of its fair time", longest);
        let millis = |calls| u64::try_from(self.plan.fair(calls).as_millis());
        report.fact("fair ms of a first row", millis(FIRST_CALLS)?);
        report.fact("fair ms of a later row", millis(CALLS)?);
        self.run.end(self.node).await
    }
}
