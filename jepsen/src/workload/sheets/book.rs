//! The spreadsheet that a task fills, at the Google Sheets of the tests: what is done to calls and by
//! people, and whether it holds what was written.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::checker::findings::Findings;
use crate::checker::sheets;
use crate::checker::sight::Sight;
use crate::dice::Dice;
use crate::form::{Bodies, Form};
use crate::process::sheets::Google;
use crate::reader::sheets::{read, sight};
use crate::workload::Options;
use crate::workload::desk::Desk;
use crate::workload::sheets::Fake;
use crate::workload::watch::FORMS;

pub(crate) const TASK: &str = "jepsen-sheets";
const BOOK: &str = "jepsen";
const LOOK: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(30);
/// Rows in each tab before people edit it.
const FIRST_ROWS: u64 = 20;
/// Google's minute, and how long a late request may still arrive: seconds here.
const MINUTE_MS: u64 = 2_000;
const REQUEST_MS: u64 = 1_500;
const NO_OVERLAP_MS: u64 = 3_000;

/// Dropped, its Google ends.
#[derive(Debug)]
pub(crate) struct Book {
    google: Google,
    dice: Dice,
}

impl Book {
    pub(crate) async fn start(options: &Options, fake: &Fake) -> anyhow::Result<Self> {
        let binary = (fake.program.as_deref(), fake.discovery.as_path());
        let mut google = Google::start(binary, &options.parent, options.seed).await?;
        google.post("/spreadsheets", &json!({"id": BOOK})).await?;
        google
            .post("/settings", &json!({"minute_ms": MINUTE_MS}))
            .await?;
        if let Some(switches) = &fake.switches {
            let switches = serde_json::from_str(switches).context("--switches is not JSON")?;
            google.post("/settings", &switches).await?;
        }
        let dice = Dice::new(options.seed).fork(77);
        Ok(Self { google, dice })
    }

    /// Of nodes that write there, with short times.
    pub(crate) fn settings(&self) -> [(&'static str, String); 6] {
        let key = self.google.key_file().display().to_string();
        [
            ("SHEETS__CREDENTIALS_FILE", key),
            ("SHEETS__ENDPOINT", self.google.api.clone()),
            ("SHEETS__MINUTE_MS", MINUTE_MS.to_string()),
            ("SHEETS__REQUEST_TIMEOUT_MS", REQUEST_MS.to_string()),
            ("SHEETS__NO_OVERLAP_MS", NO_OVERLAP_MS.to_string()),
            ("SHEETS__LINGER_MS", "100".to_owned()),
        ]
    }

    /// A tab a form, each with rows in it: people need something to edit.
    pub(crate) async fn define(&mut self, desk: &mut Desk) -> anyhow::Result<()> {
        let definition = json!({
            "name": TASK,
            "forms": FORMS.map(Form::name),
            "sink": "sheets",
            "start": "beginning",
            "on_poison": "park",
            "sheets": {"spreadsheet": BOOK, "received_at": "text"},
        });
        desk.define(TASK, &definition).await?;
        let end = Instant::now() + PATIENCE;
        while !self.is_written().await? {
            if Instant::now() > end {
                let said = desk.task(TASK).await?.words();
                anyhow::bail!("no rows arrive: {said}");
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    async fn is_written(&mut self) -> anyhow::Result<bool> {
        let state = self.google.get("/state").await?;
        let tabs = state.pointer("/spreadsheets/0/tabs");
        let tabs = tabs.and_then(Value::as_array).into_iter().flatten();
        let filled = tabs.filter(|tab| tab["filled"].as_u64() > Some(FIRST_ROWS));
        Ok(filled.count() == FORMS.len())
    }

    /// From now on calls are hurt so.
    pub(crate) async fn lay(&mut self, calls: &[Value]) -> anyhow::Result<()> {
        for call in calls {
            self.google.post("/faults", call).await?;
        }
        Ok(())
    }

    /// Waits until some call was hurt: within a short time few are made, and dice decide.
    pub(crate) async fn bitten(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.hurt().await? == 0 && Instant::now() < end {
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// No call is hurt any more; answers how many were.
    pub(crate) async fn heal(&mut self) -> anyhow::Result<u64> {
        let hurt = self.hurt().await?;
        let all = hyper::Method::DELETE;
        self.google.ask(all, "/faults", &Value::Null).await?;
        Ok(hurt)
    }

    async fn hurt(&mut self) -> anyhow::Result<u64> {
        let laid = self.google.get("/faults").await?;
        let fired = laid.as_array().into_iter().flatten();
        Ok(fired.filter_map(|one| one["fired"].as_u64()).sum())
    }

    /// People edit all the time; answers how often.
    pub(crate) async fn edit_for(&mut self, time: Duration) -> anyhow::Result<u64> {
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

    /// People edit every tab in the midst of requests; answers of how many. Which ones that falls on
    /// the moment decides.
    pub(crate) async fn edit_within_for(&mut self, time: Duration) -> anyhow::Result<u64> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let before = FORMS.map(|form| deed(form, &mut self.dice));
            let after = FORMS.map(|form| deed(form, &mut self.dice));
            let edit = json!({"kind": "edit", "next": 1, "before": before, "after": after});
            self.google.post("/faults", &edit).await?;
            sleep(LOOK + Duration::from_millis(self.dice.below(200))).await;
        }
        self.hurt().await
    }

    /// What was written stands there; answers how many rows.
    pub(crate) async fn compare(&mut self, findings: &mut Findings) -> anyhow::Result<u64> {
        let mut good = 0;
        for form in FORMS {
            let sheet = read(&mut self.google, BOOK, form.name()).await?;
            good += sheets::check((form.name(), &sheet), false, findings);
        }
        Ok(good)
    }

    /// What was written, as any other reader's.
    pub(crate) async fn sights(&mut self, bodies: Bodies) -> anyhow::Result<Vec<Sight>> {
        let mut sights = Vec::new();
        for form in FORMS {
            let sheet = read(&mut self.google, BOOK, form.name()).await?;
            sights.push(sight(&sheet, (bodies, form)));
        }
        Ok(sights)
    }

    /// The most calls that were granted in one of Google's minutes.
    pub(crate) async fn most_granted(&mut self) -> anyhow::Result<Option<u64>> {
        let quota = self.google.get("/quota").await?;
        let minutes = quota.as_array().into_iter().flatten();
        Ok(minutes.filter_map(|one| one["granted"].as_u64()).max())
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
