//! Very many rows into Google Sheets of the tests: how fast, what it costs, and whether each is as it was typed.
//!
//! Proves, with one node and a quota that is never met: the tab holds every acknowledged record once, from
//! top to bottom in the order of the log; what a spreadsheet would take for a formula, a number or a date
//! stands there as text; what is longer than a cell may be is cut, and says so.
//! Why no history: a million receipts are judged as a number each, and pages of the tab as they come.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::checker::findings::Kind;
use crate::checker::sheets::Line;
use crate::client::api::{JSON, NDJSON};
use crate::client::tasks::Task;
use crate::client::{Call, Client};
use crate::process::Node;
use crate::process::memory::Memory;
use crate::process::sheets::Google;
use crate::reader::sheets::{Names, standing};
use crate::report::Report;
use crate::workload::desk::Desk;
use crate::workload::sheets::Fake;
use crate::workload::{Options, Run};

const FORM: &str = "jepsen-rows";
const TASK: &str = "jepsen-rows";
const BOOK: &str = "rows";
const LINES: u64 = 500;
const PAGE: usize = 10_000;
const SENDERS: u64 = 4;
const QUOTA: u64 = 1_000_000;
/// What Google allows in a cell, in units of UTF-16.
const CELL_UNITS: usize = 50_000;
const LONG_CHARS: usize = 60_000;
const REQUEST_TIME: Duration = Duration::from_mins(2);
const TIME: Duration = Duration::from_mins(40);
const SAY: Duration = Duration::from_secs(10);
/// Typed as they are; each means something else to a spreadsheet, or to a careless program.
const TEXTS: [&str; 14] = [
    "=1+1",
    "+49 30 1234",
    "007",
    "1e5",
    "-dash",
    "@at",
    "'single",
    "1/2",
    "TRUE",
    "😀 👩‍👩‍👧",
    "日本語",
    "0.10",
    "a\ttab",
    "plain",
];

#[derive(Args, Clone, Debug)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) fake: Fake,
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) count: u64,
}

/// What the `number`th document says.
fn text(number: u64) -> String {
    match number {
        0 => "x".repeat(LONG_CHARS),
        1 => "😀".repeat(LONG_CHARS),
        _ => {
            let one = usize::try_from(number).ok();
            let one = one.and_then(|number| TEXTS.get(number % TEXTS.len()));
            (*one.unwrap_or(&"")).to_owned()
        }
    }
}

fn marker(number: u64) -> String {
    format!("r{number}")
}

pub(crate) async fn run(options: &Options, plan: &Plan) -> anyhow::Result<Report> {
    let binary = (plan.fake.program.as_deref(), plan.fake.discovery.as_path());
    let mut google = Google::start(binary, &options.parent, options.seed).await?;
    google.post("/spreadsheets", &json!({"id": BOOK})).await?;
    let quotas = [
        "writes_per_user",
        "writes_per_project",
        "reads_per_user",
        "reads_per_project",
    ];
    let quotas = quotas.map(|name| (name.to_owned(), Value::from(QUOTA)));
    google
        .post("/settings", &Value::Object(quotas.into_iter().collect()))
        .await?;
    let mut run = Run::new(options, "rows")?;
    for (name, value) in [
        (
            "SHEETS__CREDENTIALS_FILE",
            google.key_file().display().to_string(),
        ),
        ("SHEETS__ENDPOINT", google.api.clone()),
        ("SHEETS__WRITES_PER_MINUTE", QUOTA.to_string()),
        ("SHEETS__READS_PER_MINUTE", QUOTA.to_string()),
    ] {
        run.site.set(name, Some(value));
    }
    let node = Node::start(&run.site).await?;
    let mut desk = Desk::new(node.address, run.site.token()?);
    define(&mut desk).await?;
    let started = Instant::now();
    let seqs = post(&run, &node, plan.count).await?;
    let posted = started.elapsed();
    delivered(&run, &mut desk).await?;
    let took = started.elapsed();
    facts(&mut run.report, plan.count, (posted, took));
    memory(&mut run.report, node.memory()?, google.memory()?);
    let calls = google.get("/calls?limit=10000000").await?;
    let calls = calls.as_array().map(Vec::len);
    run.report.fact("calls to Google", calls);
    run.progress("reading everything");
    judge(&mut run.report, &mut google, &seqs).await?;
    run.end(node).await
}

async fn define(desk: &mut Desk) -> anyhow::Result<()> {
    let form = json!({
        "name": FORM,
        "schema": {
            "type": "object",
            "required": ["marker"],
            "properties": {
                "marker": {"type": "string", "maxLength": 100},
                "text": {"type": "string", "maxLength": 100_000},
            },
        },
    });
    let path = format!("/v1/forms/{FORM}");
    let call = Call::new(Method::PUT, path).header("content-type", JSON);
    let call = call.body(form.to_string()).bearer(&desk.token);
    let answer = desk.client.call(&call).await?;
    let (status, said) = (answer.status, answer.text());
    ensure!(answer.is_success(), "form {FORM}: {status} {said}");
    let task = json!({
        "name": TASK,
        "forms": [FORM],
        "sink": "sheets",
        "start": "beginning",
        "on_poison": "stop",
        "sheets": {"spreadsheet": BOOK, "received_at": "text"},
    });
    desk.define(TASK, &task).await
}

/// Posts them all; answers the seq of each.
async fn post(run: &Run, node: &Node, count: u64) -> anyhow::Result<Vec<u64>> {
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let mut client = Client::new(node.address);
        senders.spawn(async move {
            let mut own = Vec::new();
            let starts = (0..count).step_by(usize::try_from(LINES)?);
            for (start, turn) in starts.zip((0..SENDERS).cycle()) {
                if turn == sender {
                    let numbers = start..count.min(start + LINES);
                    let seqs = lines(&mut client, numbers.clone()).await?;
                    own.extend(numbers.zip(seqs));
                }
            }
            anyhow::Ok(own)
        });
    }
    let mut all = vec![0; usize::try_from(count)?];
    while let Some(sender) = senders.join_next().await {
        for (number, seq) in sender.context("a sender died")?? {
            if let Some(slot) = all.get_mut(usize::try_from(number)?) {
                *slot = seq;
            }
        }
    }
    run.progress(format!("{count} are acknowledged"));
    Ok(all)
}

/// One request; every line must get a receipt, whose seq is answered.
async fn lines(client: &mut Client, numbers: std::ops::Range<u64>) -> anyhow::Result<Vec<u64>> {
    let wanted = usize::try_from(numbers.end - numbers.start)?;
    let body = numbers.map(|number| {
        let data = json!({"marker": marker(number), "text": text(number)});
        format!("{data}\n")
    });
    let body = Bytes::from(body.collect::<String>());
    let path = format!("/v1/forms/{FORM}/submissions");
    let call = Call::post(path, NDJSON, body).header("accept", NDJSON);
    let answer = client.call_within(&call, REQUEST_TIME).await?;
    let status = answer.status;
    ensure!(status == 200, "{status} to lines: {}", answer.text());
    let receipts = answer.body.split(|byte| *byte == b'\n');
    let receipts = receipts.filter(|line| !line.is_empty()).map(|line| {
        let said = || String::from_utf8_lossy(line).into_owned();
        let receipt: Value = serde_json::from_slice(line).with_context(said)?;
        let seq = receipt.get("seq").and_then(Value::as_u64);
        seq.with_context(said)
    });
    let seqs = receipts.collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(
        seqs.len() == wanted,
        "{} receipts to {wanted} lines",
        seqs.len()
    );
    Ok(seqs)
}

async fn delivered(run: &Run, desk: &mut Desk) -> anyhow::Result<()> {
    let end = Instant::now() + TIME;
    while let Err(said) = desk.task_until(TASK, SAY, Task::is_done).await {
        ensure!(Instant::now() < end, "it is not done in time: {said}");
        run.progress(said);
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn facts(report: &mut Report, count: u64, (posted, took): (Duration, Duration)) {
    let rate = |time: Duration| {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        count * 1000 / millis
    };
    report.fact("seconds until all were acknowledged", posted.as_secs());
    report.fact("seconds until all were in the sheet", took.as_secs());
    report.fact("receipts a second", rate(posted));
    report.fact("rows a second, from the first post on", rate(took));
}

fn memory(report: &mut Report, node: Memory, google: Memory) {
    report.fact("rss peak MiB of the node", node.peak_kib / 1024);
    report.fact("rss peak MiB of the Google Sheets", google.peak_kib / 1024);
}

/// Row by row: seqs from 1 on, and under each the document that got it.
async fn judge(report: &mut Report, google: &mut Google, seqs: &[u64]) -> anyhow::Result<()> {
    let mut wanted = vec![None; seqs.len()];
    for (number, seq) in (0..).zip(seqs) {
        let slot = wanted.get_mut(usize::try_from(seq.saturating_sub(1))?);
        *slot.with_context(|| format!("seq {seq} was acknowledged"))? = Some(number);
    }
    report.acked = u64::try_from(seqs.len())?;
    let (mut names, mut from) = (Names::new(), 1);
    loop {
        let what = (BOOK, FORM);
        let (rows, filled) = standing(google, what, (from, PAGE), &mut names).await?;
        for (place, row) in (from..).zip(&rows) {
            if row.cells.is_empty() {
                continue;
            }
            let number = wanted.get(place - 1).copied().flatten();
            match wrong(row, place, number) {
                None => report.found += 1,
                Some(words) => report.findings.add(Kind::Altered, || words),
            }
        }
        from += PAGE;
        if from >= filled {
            return Ok(());
        }
    }
}

/// What is not as it must be in the row at `place`, which the `number`th document should have.
fn wrong(row: &Line, place: usize, number: Option<u64>) -> Option<String> {
    let cell = |name: &str| row.cells.get(name);
    let number = match number {
        Some(number) if row.seq() == u64::try_from(place).ok() => number,
        _ => return Some(format!("row {place}: seq {:?}", row.seq())),
    };
    let own = marker(number);
    if cell("marker").and_then(Value::as_str) != Some(own.as_str()) {
        return Some(format!("row {place}: {:?} is not {own}", cell("marker")));
    }
    let typed = text(number);
    let shown = cell("text").and_then(Value::as_str).unwrap_or_default();
    let is_right = if typed.encode_utf16().count() <= CELL_UNITS {
        shown == typed
    } else {
        is_cut(&typed, shown, cell("_id").and_then(Value::as_str)?)
    };
    (!is_right).then(|| {
        let start = shown.chars().take(80).collect::<String>();
        format!("row {place}: {start:?} was not typed there")
    })
}

/// Most of it, as far as a cell holds it, and where the rest is.
fn is_cut(typed: &str, shown: &str, id: &str) -> bool {
    let Some((kept, said)) = shown.split_once("…[") else {
        return false;
    };
    let units = |text: &str| text.encode_utf16().count();
    let chars = typed.chars().count();
    said == format!("truncated, {chars} chars, see {id}]")
        && typed.starts_with(kept)
        && units(shown) <= CELL_UNITS
        && units(kept) > CELL_UNITS / 100 * 99
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Line, is_cut, marker, text, wrong};

    fn row(seq: u64, number: u64, shown: &str) -> Line {
        let cells = [
            ("_seq", json!(seq)),
            ("_id", json!("i")),
            ("marker", json!(marker(number))),
            ("text", json!(shown)),
        ];
        let cells = cells.map(|(name, value)| (name.to_owned(), value));
        Line {
            cells: cells.into(),
        }
    }

    #[test]
    fn a_row_that_is_not_the_one_that_got_the_seq_is_told() {
        assert_eq!(wrong(&row(3, 14, "=1+1"), 3, Some(14)), None);
        assert!(wrong(&row(3, 14, "2"), 3, Some(14)).is_some());
        assert!(wrong(&row(4, 14, "=1+1"), 3, Some(14)).is_some());
        assert!(wrong(&row(3, 28, "=1+1"), 3, Some(14)).is_some());
        assert!(wrong(&row(3, 14, "=1+1"), 3, None).is_some());
        let mut formula = row(3, 14, "");
        let cell = json!({"formula": "=1+1"});
        formula.cells.insert("text".to_owned(), cell);
        assert!(wrong(&formula, 3, Some(14)).is_some());
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let typed = text(1);
        let cut = |chars: usize| typed.chars().take(chars).collect::<String>();
        let shown = |chars| cut(chars) + "…[truncated, 60000 chars, see i]";
        assert!(is_cut(&typed, &shown(24_950), "i"));
        assert!(!is_cut(&typed, &shown(24_950), "other"));
        assert!(!is_cut(&typed, &shown(24_999), "i"), "too long");
        assert!(!is_cut(&typed, &shown(1_000), "i"), "too short");
        assert!(!is_cut(&typed, &cut(24_950), "i"), "says nothing");
    }
}
