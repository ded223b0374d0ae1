//! The journal: what was done to each spreadsheet, by whom, and which rows came and went.
//!
//! Holds: it is written in the same moment as the spreadsheet, under one lock, so it is what happened,
//! also where the client never heard of it.

use serde_json::{Value, json};

use crate::batch::{Moved, Outcome};
use crate::book::row::Content;
use crate::book::text;

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) at_ms: u64,
    pub(crate) spreadsheet: String,
    /// The call that did it; 0: a person.
    pub(crate) call: u64,
    /// Who did it, and in words what a person did.
    pub(crate) by: String,
    pub(crate) human: Option<Value>,
    pub(crate) revision: u64,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: Vec<Entry>,
}

/// Rows of one answer, about.
const ROWS_MAX: usize = 20_000;

impl Journal {
    pub(crate) fn add(&mut self, mut entry: Entry) {
        // What was answered is no part of what happened.
        entry.outcome.replies = Vec::new();
        self.entries.push(entry);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What came behind the first `after` entries, of one spreadsheet or of all.
    pub(crate) fn page(&self, after: usize, limit: usize, spreadsheet: Option<&str>) -> Value {
        let (mut shown, mut rows, mut next) = (Vec::new(), 0, after);
        for (place, entry) in self.entries.iter().enumerate().skip(after) {
            if shown.len() >= limit || rows >= ROWS_MAX {
                break;
            }
            next = place + 1;
            if spreadsheet.is_none_or(|spreadsheet| spreadsheet == entry.spreadsheet) {
                rows += entry
                    .outcome
                    .appended
                    .iter()
                    .map(|moved| moved.rows.len())
                    .sum::<usize>();
                shown.push(entry.to_json(next));
            }
        }
        json!({"entries": shown, "next": next, "len": self.entries.len()})
    }
}

impl Entry {
    fn to_json(&self, n: usize) -> Value {
        let outcome = &self.outcome;
        json!({
            "n": n,
            "at_ms": self.at_ms,
            "spreadsheet": self.spreadsheet,
            "call": self.call,
            "by": self.by,
            "human": self.human,
            "revision": self.revision,
            "requests": outcome.names,
            "metadata": outcome.metadata,
            "appended": outcome.appended.iter().map(moved).collect::<Value>(),
            "removed": outcome.removed.iter().map(moved).collect::<Value>(),
        })
    }
}

fn moved(moved: &Moved) -> Value {
    let slots = moved.heads.iter().map(|head| head.slot).collect::<Vec<_>>();
    let columns = moved.heads.iter().enumerate().map(|(index, head)| {
        let metadata = head.metadata.iter();
        let metadata =
            metadata.map(|(id, key, value)| json!({"id": id, "key": key, "value": value}));
        json!({
            "index": index,
            "header": head.header,
            "metadata": metadata.collect::<Value>(),
        })
    });
    let rows = moved.rows.iter().map(|row| {
        let cells = row.ordered(&slots).into_iter();
        cells.map(|cell| value(cell.content)).collect::<Value>()
    });
    json!({
        "tab": moved.tab,
        "title": moved.title,
        "row": moved.row,
        "columns": columns.collect::<Value>(),
        "rows": rows.collect::<Value>(),
    })
}

/// A blank cell is `null`; a formula can be told from a text that looks like one.
pub(crate) fn value(content: Content<'_>) -> Value {
    match content {
        Content::Blank => Value::Null,
        Content::Number(number) => text::json_number(number),
        Content::Text(text) => text.into(),
        Content::Bool(flag) => flag.into(),
        Content::Formula(formula) => json!({ "formula": formula }),
    }
}
