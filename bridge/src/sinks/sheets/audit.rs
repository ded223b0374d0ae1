//! What a form's spreadsheets hold, read row by row, for those who compare it with the log; and what they
//! lack, written behind the rest.
//!
//! Holds: reading changes nothing. Rows are found by their `_seq`, wherever people have sorted or moved
//! them to. A repair writes rows under the same guards as a delivery and leaves the cursor as it is; it
//! says `replay` in each, since it cannot know whether a person has deleted the row on purpose.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::api::{Api, Fault};
use super::layout::{Column, Layout, Tag};
use super::names::{ATTEMPTS_MAX, Names};
use super::rows::{Caps, Draft};
use super::settings::Settings;
use super::verdict::{self, State, Verdict};
use super::{Connection, google};
use crate::config::SheetsConfig;
use crate::record::{Lane, Position, Record};
use crate::sink::Batch;

/// Rows of one read.
const PAGE_ROWS: u64 = 50_000;
/// Tries of one call.
const TRIES_MAX: u32 = 6;
/// Google counts anew after this.
const MINUTE: Duration = Duration::from_mins(1);

/// Whose spreadsheets.
#[derive(Clone, Debug)]
pub struct SheetTask {
    /// The cluster's id.
    pub cluster: String,
    /// The task's name.
    pub name: String,
    /// The form.
    pub form: String,
    /// The task's table `[sheets]`.
    pub settings: Value,
}

/// One row of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SheetRow {
    /// Its `_seq`.
    pub seq: u64,
    /// Its `_id`, unless a person has deleted it.
    pub id: Option<String>,
    /// It was sent again because a person asked for it.
    pub is_replay: bool,
}

/// All rows of a form, in the order in which they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SheetReport {
    /// In the order in which they were filled; the last one goes on.
    pub spreadsheets: Vec<String>,
    /// The life that wrote the cursor.
    pub incarnation: u64,
    /// Everything up to here was delivered or parked.
    pub position: Position,
    /// Rows with a seq.
    pub rows: Vec<SheetRow>,
    /// Rows without: people's own.
    pub other_rows: u64,
}

/// A connection under the credential that a task names.
pub async fn connect(config: &SheetsConfig, settings: &Value) -> Result<Connection, String> {
    let settings = Settings::read(settings)?;
    let api = google::connect(config, &settings.account).await;
    api.map(Connection).map_err(|fault| verdict::words(&fault))
}

/// Where a form's spreadsheets are, and under which names.
struct Asked {
    names: Names,
    settings: Settings,
}

impl Asked {
    fn new(task: &SheetTask) -> Result<Self, String> {
        Ok(Self {
            names: Names::new(&task.cluster, &Lane::new(&task.name, &task.form)),
            settings: Settings::read(&task.settings)?,
        })
    }

    /// The spreadsheets of the chain, each with its layout; empty if there is none yet.
    async fn chain(&self, api: &Arc<dyn Api>) -> Result<Vec<(String, Layout)>, String> {
        let mut chain: Vec<(String, Layout)> = Vec::new();
        let mut next = Some(self.settings.spreadsheet.clone());
        while let Some(spreadsheet) = next {
            let key = self.names.key();
            let items = patiently(|| api.search(&spreadsheet, key)).await?;
            let Some(layout) = Layout::read(&self.names, &items) else {
                break;
            };
            let is_new = chain.iter().all(|(seen, _)| *seen != spreadsheet);
            next = layout.mark.next.clone().filter(|_| is_new);
            chain.push((spreadsheet, layout));
        }
        Ok(chain)
    }
}

/// Reads all that a form's spreadsheets hold; `None` if nothing was set up yet. `progress` is told how
/// many rows were read.
pub async fn read(
    connection: &Connection,
    task: &SheetTask,
    mut progress: impl FnMut(usize),
) -> Result<Option<SheetReport>, String> {
    let (api, asked) = (&connection.0, Asked::new(task)?);
    let chain = asked.chain(api).await?;
    let Some((_, last)) = chain.last() else {
        return Ok(None);
    };
    let mut report = SheetReport {
        spreadsheets: chain.iter().map(|(id, _)| id.clone()).collect(),
        incarnation: last.mark.life,
        position: last.mark.at,
        rows: Vec::new(),
        other_rows: 0,
    };
    for (spreadsheet, layout) in &chain {
        let tabs = patiently(|| api.tabs(spreadsheet)).await?;
        let Some(tab) = tabs.into_iter().find(|tab| tab.id == layout.tab) else {
            continue;
        };
        let Some(seqs) = layout.place(&Column::Seq) else {
            return Err(format!(
                "a person has deleted the column _seq of {spreadsheet}"
            ));
        };
        let mut from = 2;
        while from <= tab.rows {
            let upto = (from + PAGE_ROWS - 1).min(tab.rows);
            let page = Page {
                api,
                spreadsheet,
                title: &tab.title,
                rows: (from, upto),
            };
            page.read(layout, seqs, &mut report).await?;
            progress(report.rows.len());
            from = upto + 1;
        }
    }
    Ok(Some(report))
}

/// Some rows of one tab.
struct Page<'a> {
    api: &'a Arc<dyn Api>,
    spreadsheet: &'a str,
    title: &'a str,
    rows: (u64, u64),
}

impl Page<'_> {
    async fn column(&self, place: Option<Tag>) -> Result<Vec<Value>, String> {
        let Some(place) = place else {
            return Ok(Vec::new());
        };
        let letters = letters(place.at);
        let title = self.title.replace('\'', "''");
        let (from, upto) = self.rows;
        let range = format!("'{title}'!{letters}{from}:{letters}{upto}");
        let values = patiently(|| self.api.values(self.spreadsheet, &range)).await?;
        let first = |row: Vec<Value>| row.into_iter().next().unwrap_or_default();
        Ok(values.into_iter().map(first).collect())
    }

    async fn read(
        &self,
        layout: &Layout,
        seqs: Tag,
        report: &mut SheetReport,
    ) -> Result<(), String> {
        let seqs = self.column(Some(seqs)).await?;
        let ids = self.column(layout.place(&Column::Id)).await?;
        let replays = self.column(layout.place(&Column::Replay)).await?;
        for (at, value) in seqs.iter().enumerate() {
            let Some(seq) = seq(value) else {
                report.other_rows += 1;
                continue;
            };
            let id = ids.get(at).and_then(Value::as_str);
            report.rows.push(SheetRow {
                seq,
                id: id.filter(|id| !id.is_empty()).map(str::to_owned),
                is_replay: replays.get(at).is_some_and(|told| *told == "replay"),
            });
        }
        Ok(())
    }
}

/// A seq, also one that a person has typed again.
fn seq(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => {
            let is_whole = number.as_f64().is_some_and(|number| number.fract() == 0.0);
            let text = number.to_string();
            let digits = text.split('.').next().filter(|_| is_whole)?;
            digits.parse().ok()
        }
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A column as people name it: A, Z, AA.
fn letters(column: u32) -> String {
    let mut letters = Vec::new();
    let mut left = u64::from(column) + 1;
    while left > 0 {
        left -= 1;
        letters.push(char::from(
            b'A' + u8::try_from(left % 26).unwrap_or_default(),
        ));
        left /= 26;
    }
    letters.iter().rev().collect()
}

/// Writes records that a form's spreadsheets lack, behind the rest. Returns how many. The task must be
/// paused: two writers at once refuse each other.
pub async fn repair(
    connection: &Connection,
    config: &SheetsConfig,
    (task, fields): (&SheetTask, Arc<[String]>),
    mut records: Vec<Record>,
) -> Result<usize, String> {
    let (api, asked) = (&connection.0, Asked::new(task)?);
    for record in &mut records {
        record.is_replay = true;
    }
    let caps = Caps {
        records: config.batch_records_max,
        cells: config.batch_cells_max,
        bytes: config.batch_bytes_max,
    };
    let mut written = 0;
    let mut attempt = 0;
    while written < records.len() {
        let Some((spreadsheet, layout)) = asked.chain(api).await?.pop() else {
            return Err("the spreadsheet holds no cursor of this task".to_owned());
        };
        let left = records.get(written..).unwrap_or_default().to_vec();
        let batch = Batch {
            upto: layout.mark.at,
            ..Batch::new(left, Arc::clone(&fields))
        };
        let draft = Draft::new(&asked.names, &asked.settings, &layout);
        let plan = draft.plan_at(&batch, caps, (layout.mark.at, attempt));
        let mut plan = plan.map_err(|deleted| format!("deleted: {}", deleted.join(", ")))?;
        api.ready().await.map_err(|fault| verdict::words(&fault))?;
        match api.batch_update(&spreadsheet, plan.take_edits()).await {
            Ok(_) => {
                written += plan.records;
                attempt = 0;
            }
            Err(fault) => {
                attempt += 1;
                let verdict = verdict::of(&fault);
                let may_try = match verdict {
                    Verdict::Refused => true,
                    Verdict::Later(state, _) => state == State::Throttled,
                    Verdict::Full | Verdict::Unclear => false,
                };
                if !may_try || attempt == ATTEMPTS_MAX {
                    let words = verdict::words(&fault);
                    return Err(format!("after {written} rows: {words}; verify again"));
                }
                if verdict != Verdict::Refused {
                    tokio::time::sleep(verdict::after(&fault).unwrap_or(MINUTE)).await;
                }
            }
        }
    }
    Ok(written)
}

/// A read that waits out the quota, and a Google that is away for a moment.
async fn patiently<'a, T>(
    call: impl Fn() -> futures::future::BoxFuture<'a, Result<T, Fault>>,
) -> Result<T, String> {
    let mut tries = 0;
    loop {
        let fault = match call().await {
            Ok(answer) => return Ok(answer),
            Err(fault) => fault,
        };
        tries += 1;
        let wait = match verdict::of(&fault) {
            Verdict::Later(State::Throttled, _) => verdict::after(&fault).unwrap_or(MINUTE),
            Verdict::Unclear => Duration::from_secs(1),
            Verdict::Later(..) | Verdict::Refused | Verdict::Full => Duration::ZERO,
        };
        if wait.is_zero() || tries == TRIES_MAX {
            return Err(verdict::words(&fault));
        }
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_named_as_people_name_them() {
        for (column, name) in [(0, "A"), (25, "Z"), (26, "AA"), (701, "ZZ"), (702, "AAA")] {
            assert_eq!(letters(column), name);
        }
    }

    #[test]
    fn a_seq_is_read_however_it_was_typed() {
        for (value, read) in [
            (json!(17), Some(17)),
            (json!(17.0), Some(17)),
            (json!("17 "), Some(17)),
            (json!(17.5), None),
            (json!("x"), None),
            (json!(""), None),
            (Value::Null, None),
        ] {
            assert_eq!(seq(&value), read, "{value}");
        }
    }
}
