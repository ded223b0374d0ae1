//! Google Sheets: what the nodes have acknowledged is in the sheet, once and in order, whatever happens
//! between them and Google, to their leader, and while people edit the sheet.
//!
//! Proves, with three real nodes against the Google Sheets of the tests: after each fault every
//! acknowledged submission went into its tab once, in the order of seqs, each value in its column,
//! and stands there still. Each fault must have bitten, or the run proves nothing.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::checker::accounts::Accounts;
use crate::checker::check_all;
use crate::checker::findings::Kind;
use crate::checker::sheets;
use crate::client::Client;
use crate::client::tasks::{self, Task};
use crate::dice::Dice;
use crate::form::Form;
use crate::nemesis;
use crate::process::cluster::{Cluster, Layout};
use crate::process::sheets::Google;
use crate::reader::http::Reader;
use crate::reader::sheets::{read, sight};
use crate::report::Report;
use crate::workload::fleet::{Crew, Fleet};
use crate::workload::watch::FORMS;
use crate::workload::worker::Phase;
use crate::workload::{Options, Run, keep};

const NODES: usize = 3;
const TASK: &str = "jepsen-sheets";
const BOOK: &str = "jepsen";
const DISCOVERY: &str =
    "target/peers/google/googleapiclient/discovery_cache/documents/sheets.v4.json";
const PATIENCE: Duration = Duration::from_secs(2);
const REST: Duration = Duration::from_millis(40);
const LOOK: Duration = Duration::from_millis(100);
const CALL_TIME: Duration = Duration::from_secs(5);
const FIRST_TIME: Duration = Duration::from_secs(30);
const DELIVER_TIME: Duration = Duration::from_secs(90);
/// Google's minute, and how long a late request may still arrive: seconds here.
const MINUTE_MS: u64 = 2_000;
const REQUEST_MS: u64 = 1_500;
const NO_OVERLAP_MS: u64 = 3_000;

#[derive(Args, Clone, Debug)]
pub(crate) struct Plan {
    /// Which faults, in this order; without it all.
    #[arg(long, value_delimiter = ',')]
    pub(crate) faults: Vec<String>,
    /// The binary of the Google Sheets of the tests; else the one beside this.
    #[arg(long)]
    pub(crate) fake: Option<PathBuf>,
    /// Google's description of its API (`deploy/dev/setup.sh sheets` lays it down).
    #[arg(long, default_value = DISCOVERY)]
    pub(crate) discovery: PathBuf,
    /// How long each fault lasts.
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds_each: u64,
    #[arg(long, default_value_t = 6)]
    pub(crate) connections: u32,
    /// Switches of the Google Sheets of the tests, as JSON.
    #[arg(long)]
    pub(crate) switches: Option<String>,
}

/// What happens at Google, or to the leader.
struct Fault {
    name: &'static str,
    /// Of the calls to Google.
    calls: fn() -> Vec<Value>,
    node: Option<nemesis::Fault>,
}

const FAULTS: [Fault; 10] = [
    Fault {
        name: "people",
        calls: Vec::new,
        node: None,
    },
    Fault {
        name: "reply-lost",
        calls: || vec![json!({"kind": "apply_then_drop", "percent": 30})],
        node: None,
    },
    Fault {
        name: "unavailable",
        calls: || {
            vec![
                json!({"kind": "answer", "on": "any", "percent": 20}),
                json!({"kind": "apply_then_answer", "percent": 20}),
            ]
        },
        node: None,
    },
    Fault {
        name: "truncated",
        calls: || vec![json!({"kind": "truncate", "on": "any", "percent": 30})],
        node: None,
    },
    Fault {
        name: "throttled",
        calls: || vec![json!({"kind": "throttle", "on": "any", "percent": 50})],
        node: None,
    },
    Fault {
        name: "expired",
        calls: || vec![json!({"kind": "expire", "on": "any", "percent": 30})],
        node: None,
    },
    Fault {
        name: "late",
        calls: || {
            vec![
                json!({"kind": "slow", "percent": 20, "delay_ms": 2_000}),
                json!({"kind": "zombie", "percent": 20, "delay_ms": 1_000}),
            ]
        },
        node: None,
    },
    Fault {
        name: "page",
        calls: || vec![json!({"kind": "answer", "status": 408, "percent": 40})],
        node: None,
    },
    Fault {
        name: "leader-killed",
        calls: || vec![json!({"kind": "slow", "percent": 50, "delay_ms": 1_000})],
        node: Some(nemesis::Fault::KillLeader),
    },
    Fault {
        name: "leader-paused",
        calls: || vec![json!({"kind": "apply_then_drop", "percent": 30})],
        node: Some(nemesis::Fault::PauseLeader),
    },
];

/// Fields in the order in which they must go.
struct Sheets<'a> {
    fleet: Fleet,
    cluster: Cluster,
    run: Run,
    google: Google,
    plan: &'a Plan,
    dice: Dice,
    laid: u32,
}

pub(crate) async fn run(options: &Options, plan: &Plan) -> anyhow::Result<Report> {
    let known = |name: &String| FAULTS.iter().any(|fault| fault.name == name);
    if let Some(name) = plan.faults.iter().find(|name| !known(name)) {
        anyhow::bail!("no fault {name}");
    }
    let binary = (plan.fake.as_deref(), plan.discovery.as_path());
    let mut google = Google::start(binary, &options.parent, options.seed).await?;
    google.post("/spreadsheets", &json!({"id": BOOK})).await?;
    google
        .post("/settings", &json!({"minute_ms": MINUTE_MS}))
        .await?;
    if let Some(switches) = &plan.switches {
        google
            .post("/settings", &serde_json::from_str(switches)?)
            .await?;
    }
    let run = Run::new(options, "sheets")?;
    let layout = Layout {
        nodes: NODES,
        has_net: false,
        disk_mib: None,
        seed: options.seed,
    };
    let mut cluster = Cluster::new(&run.site, &options.deploy, layout)?;
    cluster.set("MUTANT", options.mutant.as_deref());
    let key = google.key_file().display().to_string();
    for (name, value) in [
        ("SHEETS__CREDENTIALS_FILE", key),
        ("SHEETS__ENDPOINT", google.api.clone()),
        ("SHEETS__MINUTE_MS", MINUTE_MS.to_string()),
        ("SHEETS__REQUEST_TIMEOUT_MS", REQUEST_MS.to_string()),
        ("SHEETS__NO_OVERLAP_MS", NO_OVERLAP_MS.to_string()),
        ("SHEETS__LINGER_MS", "100".to_owned()),
    ] {
        cluster.set(name, Some(&value));
    }
    for (name, value) in &options.settings {
        cluster.set(name, Some(value));
    }
    if let Err(error) = cluster.start().await {
        let error = error.context(cluster.log_tails());
        drop(cluster);
        return Err(keep(run, error));
    }
    let crew = Crew {
        patience: Some(PATIENCE),
        rest: REST,
        ..Crew::busy(plan.connections, u64::MAX)
    };
    let fleet = Fleet::start(&run, &cluster.addresses(), crew);
    let dice = Dice::new(options.seed).fork(77);
    let mut sheets = Sheets {
        fleet,
        cluster,
        run,
        google,
        plan,
        dice,
        laid: 0,
    };
    match sheets.drive().await {
        Ok(()) => sheets.finish().await,
        Err(error) => {
            let Sheets { cluster, run, .. } = sheets;
            let said = cluster.log_tails();
            drop(cluster);
            Err(keep(run, error.context(said)))
        }
    }
}

impl Sheets<'_> {
    async fn drive(&mut self) -> anyhow::Result<()> {
        self.define().await?;
        self.until_written().await?;
        let wanted = &self.plan.faults;
        let is_wanted =
            |fault: &&Fault| wanted.is_empty() || wanted.iter().any(|name| name == fault.name);
        for fault in FAULTS.iter().filter(is_wanted) {
            let started = Instant::now();
            let words = Box::pin(self.round(fault)).await.context(fault.name)?;
            let words = format!("{:.1} s; {words}", started.elapsed().as_secs_f32());
            self.run.progress(format!("{}: {words}", fault.name));
            self.run.report.also(fault.name, &words);
            if !self.run.report.findings.is_clean() {
                self.run.progress("something was found: no further faults");
                break;
            }
        }
        Ok(())
    }

    /// Of whoever leads.
    async fn desk(&self) -> anyhow::Result<(Client, String)> {
        let leader = self.cluster.leader().await?;
        let address = self.cluster.member(leader)?.site.http;
        let client = Client::new(address).with_patience(CALL_TIME);
        Ok((client, self.cluster.token()?))
    }

    async fn define(&self) -> anyhow::Result<()> {
        let (mut client, token) = self.desk().await?;
        let definition = json!({
            "name": TASK,
            "forms": FORMS.map(Form::name),
            "sink": "sheets",
            "start": "beginning",
            "on_poison": "park",
            "sheets": {"spreadsheet": BOOK, "received_at": "text"},
        });
        let answer = tasks::put(&mut client, &token, TASK, &definition).await?;
        let (status, text) = (answer.status, answer.text());
        ensure!(answer.is_success(), "task {TASK}: {status} {text}");
        Ok(())
    }

    /// Each form has a tab with rows in it: people need something to edit.
    async fn until_written(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + FIRST_TIME;
        loop {
            let state = self.google.get("/state").await?;
            let tabs = state
                .pointer("/spreadsheets/0/tabs")
                .and_then(Value::as_array);
            let tabs = tabs.into_iter().flatten();
            let filled = tabs.filter(|tab| tab["filled"].as_u64() > Some(20));
            if filled.count() == FORMS.len() {
                return Ok(());
            }
            if Instant::now() > end {
                let said = self.said().await.unwrap_or_default();
                anyhow::bail!("no rows arrive: {said}");
            }
            sleep(LOOK).await;
        }
    }

    async fn said(&self) -> anyhow::Result<String> {
        let (mut client, token) = self.desk().await?;
        let task = tasks::task(&mut client, &token, TASK).await?;
        Ok(task.map_or_else(|| "nothing".to_owned(), |task| task.words()))
    }

    async fn round(&mut self, fault: &Fault) -> anyhow::Result<String> {
        let before = self.fleet.gauge.acks();
        self.fleet.phase.send_replace(Phase::Up(self.laid));
        let is_loaded = self.fleet.wait_for_load(before).await;
        ensure!(is_loaded, "nothing is acknowledged");
        self.cluster.must_live()?;
        for calls in (fault.calls)() {
            self.google.post("/faults", &calls).await?;
        }
        let acks = self.fleet.gauge.acks();
        let laid = match fault.node {
            Some(node) => Some(node.lay(&mut self.cluster, &mut self.run.dice).await?),
            None => None,
        };
        let edits = self
            .edit_for(Duration::from_secs(self.plan.seconds_each))
            .await?;
        if let (Some(node), Some(laid)) = (fault.node, &laid) {
            let history = self.run.history.clone();
            node.heal(laid, &mut self.cluster, &history).await?;
        }
        let during = self.fleet.gauge.acks() - acks;
        let fired = self.heal_calls().await?;
        let report = &mut self.run.report;
        report.demand(&format!("receipts during {}", fault.name), during, 1);
        report.demand(&format!("edits of people during {}", fault.name), edits, 1);
        // Where the leader goes, there may be few calls to hurt.
        if fault.node.is_none() && !(fault.calls)().is_empty() {
            report.demand(&format!("calls hurt by {}", fault.name), fired, 1);
        }
        self.fleet
            .quiet(fault.name, &mut self.run.report.findings)
            .await;
        let judged = self.judge(fault.name).await?;
        self.laid += 1;
        Ok(format!(
            "{during} receipts and {edits} edits during it, {fired} calls hurt; {judged}"
        ))
    }

    async fn heal_calls(&mut self) -> anyhow::Result<u64> {
        let laid = self.google.get("/faults").await?;
        let fired = laid.as_array().into_iter().flatten();
        let fired = fired.filter_map(|one| one["fired"].as_u64()).sum();
        let all = hyper::Method::DELETE;
        self.google.ask(all, "/faults", &Value::Null).await?;
        Ok(fired)
    }

    /// People edit all the time; answers how often.
    async fn edit_for(&mut self, time: Duration) -> anyhow::Result<u64> {
        let (end, mut edits) = (Instant::now() + time, 0);
        while Instant::now() < end {
            let form = *FORMS
                .get(usize::from(self.dice.chance(50)))
                .context("no form")?;
            let deed = deed(form, &mut self.dice);
            let path = format!("/spreadsheets/{BOOK}/human");
            // What is not possible at that moment was no edit.
            edits += u64::from(self.google.post(&path, &deed).await.is_ok());
            sleep(LOOK + Duration::from_millis(self.dice.below(300))).await;
        }
        Ok(edits)
    }

    async fn judge(&mut self, name: &str) -> anyhow::Result<String> {
        let (started, mut said) = (Instant::now(), String::new());
        while started.elapsed() < DELIVER_TIME {
            let (mut client, token) = self.desk().await?;
            match tasks::task(&mut client, &token, TASK).await {
                Ok(Some(task)) if Task::is_done(&task) => {
                    let waited = started.elapsed().as_secs_f32();
                    let good = self.compare().await?;
                    return Ok(format!(
                        "done after {waited:.1} s, {good} rows as they must be"
                    ));
                }
                Ok(Some(task)) => said = task.words(),
                Ok(None) => {}
                Err(error) => said = format!("{error:#}"),
            }
            sleep(LOOK).await;
        }
        let words = || format!("{name}: the task is not done in time: {said}");
        self.run.report.findings.add(Kind::Outage, words);
        Ok(said)
    }

    async fn compare(&mut self) -> anyhow::Result<u64> {
        let mut good = 0;
        for form in FORMS {
            let sheet = read(&mut self.google, BOOK, form.name()).await?;
            let findings = &mut self.run.report.findings;
            good += sheets::check((form.name(), &sheet), false, findings);
        }
        Ok(good)
    }

    async fn finish(self) -> anyhow::Result<Report> {
        let Self {
            fleet,
            mut cluster,
            mut run,
            mut google,
            ..
        } = self;
        fleet.settle(&mut run).await?;
        run.progress("reading everything");
        let leader = cluster.leader().await?;
        let (address, token) = (cluster.member(leader)?.site.http, cluster.token()?);
        let end = Instant::now() + DELIVER_TIME;
        let mut client = Client::new(address).with_patience(CALL_TIME);
        while !tasks::task(&mut client, &token, TASK)
            .await
            .is_ok_and(|task| task.is_some_and(|task| task.is_done()))
            && Instant::now() < end
        {
            sleep(LOOK).await;
        }
        let mut reader = Reader::new(Client::new(address), token, run.bodies);
        for form in FORMS {
            run.sights.push(reader.whole(form).await);
            let sheet = read(&mut google, BOOK, form.name()).await?;
            sheets::check((form.name(), &sheet), false, &mut run.report.findings);
            run.sights.push(sight(&sheet, (run.bodies, form)));
        }
        let quota = google.get("/quota").await?;
        let most = quota.as_array().into_iter().flatten();
        let most = most.filter_map(|one| one["granted"].as_u64()).max();
        run.report
            .fact("most calls granted in a minute of Google's", most);
        let accounts = Accounts::of(&run.history.since(0));
        run.report.acked = accounts.acked();
        run.report.found = check_all(&accounts, &run.sights, &mut run.report.findings);
        for node in cluster.numbers() {
            if let Err(error) = cluster.stop(node).await {
                run.report.findings.add(Kind::Died, || format!("{error:#}"));
            }
        }
        drop(cluster);
        run.finish()
    }
}

/// Something that a person does to a form's tab.
fn deed(form: Form, dice: &mut Dice) -> Value {
    let tab = form.name();
    // Rows and columns near the begin, where ours are.
    let (at, to) = (dice.below(4), dice.below(6));
    match dice.below(9) {
        0 | 1 => {
            let by = if dice.chance(50) {
                json!("_seq")
            } else {
                json!(at)
            };
            json!({"do": "sort", "tab": tab, "by": by, "descending": dice.chance(50)})
        }
        2 | 3 => json!({"do": "move_columns", "tab": tab, "from": at, "to": to}),
        4 => json!({"do": "insert_columns", "tab": tab, "at": to}),
        5 => json!({"do": "insert_rows", "tab": tab, "at": 1 + at, "count": 1 + to}),
        6 => json!({"do": "delete_rows", "tab": tab, "at": 1 + dice.below(20)}),
        7 => json!({"do": "move_rows", "tab": tab, "from": 1 + at, "to": 10 + to}),
        _ => {
            let to = format!("renamed {}", dice.below(1000));
            json!({"do": "rename_header", "tab": tab, "column": at, "to": to})
        }
    }
}
