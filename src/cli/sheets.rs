//! `formspool verify sheets` and `formspool doctor sheets`.
//!
//! Holds: what a spreadsheet holds is compared with the log by seq and id, wherever people have sorted
//! the rows to. Nothing is changed unless it is asked for, and then only missing rows are added: never
//! is a row removed, since a person may have copied it on purpose. Exit code 1 if anything is found.

mod compare;

use std::sync::Arc;

use bridge::sheets::{self, Connection, Outcome, Probe, SheetTask};
use bridge::{Position, Record, SheetsConfig};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::compare::{Found, Logged};
use super::client::Client;
use super::error::Error;
use super::out::{self, Out};
use super::tail::{oldest, page};

/// Records a page.
const PAGE_RECORDS: u64 = 1000;

/// What is to be compared.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) task: Option<String>,
    pub(super) form: Option<String>,
    pub(super) repairs: bool,
    pub(super) findings_max: usize,
}

/// One form of one task.
struct Tab {
    task: SheetTask,
    is_paused: bool,
    /// Nothing waits for delivery.
    is_caught_up: bool,
    /// It begins with what came after its definition, not with the first record.
    begins_late: bool,
}

/// Compares every form of every task that leads to Google Sheets, or of one.
pub(super) async fn verify(
    out: Out,
    client: &Client,
    config: &SheetsConfig,
    asked: &Asked,
) -> Result<(), Error> {
    let mut count = 0;
    for tab in find(client, asked).await? {
        if asked.repairs && !tab.is_paused {
            return Err(problem(format!(
                "task {} is at work: `formspool tasks pause {}` first",
                tab.task.name, tab.task.name
            )));
        }
        let connection = connect(config, &tab.task.settings).await?;
        let mut found = compare(out, client, &connection, &tab).await?;
        if asked.repairs && !found.missing.is_empty() {
            let records = missing(client, &tab.task.form, &found.missing).await?;
            let which = (&tab.task, Arc::from([]));
            let written = sheets::repair(&connection, config, which, records).await;
            let written = written.map_err(problem)?;
            say(out, &format!("{}: {written} rows written", tab.task.form));
            found = compare(out, client, &connection, &tab).await?;
        }
        count += found.count();
        let names = (tab.task.name.as_str(), tab.task.form.as_str());
        let words = found.in_words(names, asked.findings_max);
        out.either(&found.told(names, asked.findings_max), &words)?;
    }
    if count > 0 {
        return Err(Error::ToldProblems(count));
    }
    Ok(())
}

fn problem(why: impl Into<String>) -> Error {
    Error::Problems(vec![why.into()])
}

async fn connect(config: &SheetsConfig, settings: &Value) -> Result<Connection, Error> {
    sheets::connect(config, settings).await.map_err(problem)
}

/// A word of progress, for people.
fn say(out: Out, words: &str) {
    if !out.is_json {
        out::complain(words);
    }
}

fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

/// All tabs that are asked for.
async fn find(client: &Client, asked: &Asked) -> Result<Vec<Tab>, Error> {
    let cluster = text(&client.get("/v1/cluster").await?, "/cluster");
    let all = client.get("/v1/tasks").await?;
    let all = all.get("tasks").and_then(Value::as_array);
    let mut tabs = Vec::new();
    for status in all.into_iter().flatten() {
        let name = text(status, "/name");
        let is_other = asked.task.as_ref().is_some_and(|asked| *asked != name);
        if text(status, "/sink") != "sheets" || is_other {
            continue;
        }
        let task = client.get(&format!("/v1/tasks/{name}")).await?;
        let definition = task.get("definition").cloned().unwrap_or_default();
        let lanes = status.get("lanes").and_then(Value::as_array);
        for lane in lanes.into_iter().flatten() {
            let form = text(lane, "/form");
            if asked.form.as_ref().is_some_and(|asked| *asked != form) {
                continue;
            }
            let state = text(lane, "/state");
            tabs.push(Tab {
                is_paused: state == "paused" || text(&task, "/state") == "paused",
                is_caught_up: lane.get("lag_records").and_then(Value::as_u64) == Some(0),
                begins_late: text(&definition, "/start") != "beginning",
                task: SheetTask {
                    cluster: cluster.clone(),
                    name: name.clone(),
                    form,
                    settings: definition.get("sheets").cloned().unwrap_or_default(),
                },
            });
        }
    }
    if tabs.is_empty() {
        let why = "no such task and form leads to Google Sheets: see `formspool tasks list`";
        return Err(problem(why));
    }
    Ok(tabs)
}

/// One record of the log, as the API shows it.
#[derive(Deserialize)]
struct Line<'a> {
    seq: u64,
    id: &'a str,
    received_at: &'a str,
    form_version: u32,
    index: u64,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn line<'a>(client: &Client, record: &'a RawValue) -> Result<Line<'a>, Error> {
    serde_json::from_str(record.get()).map_err(|error| Error::Strange {
        url: client.url().to_owned(),
        what: error.to_string(),
    })
}

async fn compare(
    out: Out,
    client: &Client,
    connection: &Connection,
    tab: &Tab,
) -> Result<Found, Error> {
    let form = &tab.task.form;
    let read = sheets::read(connection, &tab.task, |rows| {
        say(out, &format!("{form}: {rows} rows read"));
    });
    let Some(report) = read.await.map_err(problem)? else {
        let why = format!("the tab of form {form} is not set up yet: see `formspool status`");
        return Err(problem(why));
    };
    let mut found = Found::new(&report, tab.begins_late);
    for (seq, id) in parked(client, &tab.task.name, form).await? {
        found.is_parked(seq, id);
    }
    let mut after = oldest(client, form).await?;
    found.log_begins(after + 1);
    loop {
        let path = format!("/v1/forms/{form}/submissions?after={after}&limit={PAGE_RECORDS}");
        let page = page(client, &path).await?;
        for record in &page.records {
            let line = line(client, record)?;
            // Of the entry that the cursor stands in it is known only if nothing waits.
            let at = report.position.index;
            found.compare(&Logged {
                seq: line.seq,
                id: line.id,
                is_due: line.index < at || (line.index == at && tab.is_caught_up),
            });
        }
        if page.records.is_empty() || page.next <= after {
            return Ok(found);
        }
        after = page.next;
    }
}

/// What was set aside, by seq and id.
async fn parked(client: &Client, task: &str, form: &str) -> Result<Vec<(u64, String)>, Error> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/tasks/{task}/parked{after}");
        let page = client.get(&path).await?;
        let parked = page.get("parked").and_then(Value::as_array);
        let parked: Vec<&Value> = parked.into_iter().flatten().collect();
        let ours = parked.iter().filter(|one| text(one, "/form") == form);
        all.extend(ours.filter_map(|one| Some((one.get("seq")?.as_u64()?, text(one, "/id")))));
        let next = format!("?after={}", text(&page, "/next"));
        if parked.is_empty() || next == after {
            return Ok(all);
        }
        after = next;
    }
}

/// The records with these seqs, as they are in the log.
async fn missing(client: &Client, form: &str, seqs: &[u64]) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    for seq in seqs {
        let path = format!(
            "/v1/forms/{form}/submissions?after={}&limit=1",
            seq.saturating_sub(1)
        );
        let page = page(client, &path).await?;
        let Some(record) = page.records.first() else {
            continue;
        };
        let line = line(client, record)?;
        let received: Option<jiff::Timestamp> = line.received_at.parse().ok();
        let ms = received.map(jiff::Timestamp::as_millisecond);
        records.push(Record {
            form: Arc::from(form),
            seq: line.seq,
            position: Position {
                index: line.index,
                slot: 0,
            },
            term: 0,
            id: line.id.to_owned(),
            received_at_ms: ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default(),
            form_version: line.form_version,
            body: bytes::Bytes::copy_from_slice(line.data.get().as_bytes()),
            is_replay: true,
        });
    }
    Ok(records)
}

/// Tries on a scratch tab what exactly once rests on.
pub(super) async fn doctor(
    out: Out,
    config: &SheetsConfig,
    spreadsheet: &str,
    account: &str,
) -> Result<(), Error> {
    let settings = json!({ "spreadsheet": spreadsheet, "account": account });
    let connection = connect(config, &settings).await?;
    say(out, &format!("asking Google as {}", connection.mail()));
    let seed = getrandom::u32().map_err(|error| problem(error.to_string()))?;
    let tell = |words: &str| say(out, words);
    let probes = sheets::doctor(&connection, spreadsheet, seed, &tell).await;
    let probes = probes.map_err(problem)?;
    let failed = probes.iter().filter(|probe| word(probe) == "FAILS").count();
    let told = probes.iter().map(|probe| {
        json!({
            "probe": probe.name,
            "promise": probe.promise,
            "is_vital": probe.is_vital,
            "outcome": word(probe),
            "why": why(probe),
        })
    });
    out.either(&told.collect::<Vec<Value>>(), &in_words(&probes))?;
    if failed > 0 {
        return Err(Error::ToldProblems(failed));
    }
    Ok(())
}

const fn word(probe: &Probe) -> &'static str {
    match (&probe.outcome, probe.is_vital) {
        (Outcome::Holds, _) => "holds",
        (Outcome::Fails(_), true) => "FAILS",
        (Outcome::Fails(_), false) => "does not hold",
        (Outcome::Unknown(_), _) => "?",
    }
}

fn why(probe: &Probe) -> &str {
    match &probe.outcome {
        Outcome::Holds => "",
        Outcome::Fails(why) | Outcome::Unknown(why) => why,
    }
}

fn in_words(probes: &[Probe]) -> String {
    let mut rows = vec![["", "", "promise", ""].map(str::to_owned).to_vec()];
    for probe in probes {
        let cells = [probe.name, word(probe), probe.promise, why(probe)];
        rows.push(cells.map(out::plain).to_vec());
    }
    out::table(&rows)
}
