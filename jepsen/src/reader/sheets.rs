//! Reading Google Sheets of the tests by its control port: what was written, in the order in which it
//! was, and what stands there now.
//!
//! Holds: a column is known by the metadata that is bound to it, and called what its header said when
//! rows went in first; so people may rename and move it. A column without metadata is a person's.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::checker::digest;
use crate::checker::sheets::{Line, Sheet};
use crate::checker::sight::{Row, Shape, Sight};
use crate::client::api;
use crate::form::{Bodies, Form};
use crate::process::sheets::Google;

const PAGE: usize = 10_000;

#[derive(Debug, Deserialize)]
struct Page {
    entries: Vec<Entry>,
    next: usize,
}

#[derive(Debug, Deserialize)]
struct Entry {
    at_ms: u64,
    appended: Vec<Part>,
    removed: Vec<Part>,
}

#[derive(Debug, Deserialize)]
struct Part {
    title: String,
    columns: Vec<Head>,
    rows: Vec<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
struct Head {
    header: String,
    metadata: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    id: i32,
}

#[derive(Debug, Deserialize)]
struct Tab {
    columns: Vec<Head>,
    rows: Vec<Vec<Value>>,
    filled: usize,
}

/// Names of columns by the id of their metadata, as first seen.
pub(crate) type Names = BTreeMap<i32, String>;

/// All that was ever written into the tab, and how it stands.
pub(crate) async fn read(
    google: &mut Google,
    spreadsheet: &str,
    title: &str,
) -> anyhow::Result<Sheet> {
    let mut sheets = read_all(google, spreadsheet, &[title]).await?;
    sheets.remove(title).context("no such tab")
}

/// The same of many tabs, in one reading of the journal. One into which nothing went is not looked at:
/// it may not be there.
pub(crate) async fn read_all(
    google: &mut Google,
    spreadsheet: &str,
    titles: &[&str],
) -> anyhow::Result<BTreeMap<String, Sheet>> {
    let sheets = titles
        .iter()
        .map(|title| ((*title).to_owned(), Sheet::default()));
    let mut sheets = sheets.collect::<BTreeMap<_, _>>();
    let (mut names, mut after) = (Names::new(), 0);
    loop {
        let path = format!("/journal?after={after}&spreadsheet={spreadsheet}");
        let page: Page = serde_json::from_value(google.get(&path).await?)?;
        for entry in &page.entries {
            take(entry, &mut sheets, &mut names)?;
        }
        if page.next == after {
            break;
        }
        after = page.next;
    }
    let filled = sheets
        .iter_mut()
        .filter(|(_, sheet)| !sheet.written.is_empty());
    for (title, sheet) in filled {
        let mut from = 1; // below the header
        loop {
            let page = standing(google, (spreadsheet, title), (from, PAGE), &mut names).await?;
            let (shown, filled) = page;
            let shown = shown.into_iter().filter(|line| !line.cells.is_empty());
            sheet.standing.extend(shown);
            from += PAGE;
            if from >= filled {
                break;
            }
        }
    }
    Ok(sheets)
}

/// What came and went with one entry of the journal.
fn take(
    entry: &Entry,
    sheets: &mut BTreeMap<String, Sheet>,
    names: &mut Names,
) -> anyhow::Result<()> {
    for part in &entry.appended {
        let Some(sheet) = sheets.get_mut(&part.title) else {
            continue;
        };
        let came = lines(&part.columns, &part.rows, names)?;
        for seq in came.iter().filter_map(Line::seq) {
            sheet.arrived_ms.entry(seq).or_insert(entry.at_ms);
        }
        sheet.written.extend(came);
    }
    for part in &entry.removed {
        let Some(sheet) = sheets.get_mut(&part.title) else {
            continue;
        };
        let gone = lines(&part.columns, &part.rows, names)?;
        sheet.removed.extend(gone.iter().filter_map(Line::seq));
    }
    Ok(())
}

/// So many rows from the `from`th on as they stand now, and how many there are, with the header.
pub(crate) async fn standing(
    google: &mut Google,
    (spreadsheet, title): (&str, &str),
    (from, limit): (usize, usize),
    names: &mut Names,
) -> anyhow::Result<(Vec<Line>, usize)> {
    let path = format!("/spreadsheets/{spreadsheet}/tabs/{title}?from={from}&limit={limit}");
    let tab: Tab = serde_json::from_value(google.get(&path).await?)?;
    Ok((lines(&tab.columns, &tab.rows, names)?, tab.filled))
}

fn lines(columns: &[Head], rows: &[Vec<Value>], names: &mut Names) -> anyhow::Result<Vec<Line>> {
    let mut own = Vec::new();
    for (place, head) in columns.iter().enumerate() {
        // The sentinel has metadata and no header.
        let Some(item) = head.metadata.first() else {
            continue;
        };
        if !head.header.is_empty() {
            names.entry(item.id).or_insert_with(|| head.header.clone());
        }
        if let Some(name) = names.get(&item.id) {
            own.push((place, name.clone()));
        }
    }
    let unique = own.iter().map(|(_, name)| name).collect::<BTreeSet<_>>();
    ensure!(
        unique.len() == own.len(),
        "two columns of one name: {own:?}"
    );
    let line = |row: &Vec<Value>| {
        let cells = own.iter().filter_map(|(place, name)| {
            let value = row.get(*place).filter(|value| !value.is_null())?;
            Some((name.clone(), value.clone()))
        });
        Line {
            cells: cells.collect(),
        }
    };
    Ok(rows.iter().map(line).collect())
}

/// Everything that was written, as any other reader's.
pub(crate) fn sight(sheet: &Sheet, (bodies, form): (Bodies, Form)) -> Sight {
    let mut sight = Sight::new("Google Sheets", form, Shape::Cells);
    for line in &sheet.written {
        match row(line, (bodies, form)) {
            Ok(row) => sight.push(row),
            Err(why) => sight.unreadable.push(format!("{why:#}: {:?}", line.cells)),
        }
    }
    sight
}

fn row(line: &Line, (bodies, form): (Bodies, Form)) -> anyhow::Result<Row> {
    let text = |name: &str| line.cells.get(name).and_then(Value::as_str);
    let fields = line.cells.iter().filter(|(name, _)| !name.starts_with('_'));
    let fields = fields.map(|(name, value)| (name.as_str(), digest::cell(value)));
    let marker = text(form.marker_field());
    Ok(Row {
        seq: line.seq().context("no _seq")?,
        id: api::id(text("_id").context("no _id")?)?,
        received_at: api::stamp(text("_received_at").context("no _received_at")?)?,
        index: None,
        marker: marker.and_then(|marker| bodies.marker_of(form, marker)),
        digest: digest::cells(&fields.collect()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Head, Names, lines, sight};
    use crate::checker::sheets::Sheet;
    use crate::form::{Bodies, Form};

    const ID: &str = "0192f0c1-2b3c-7def-8123-456789abcdef";

    fn heads(columns: &serde_json::Value) -> Vec<Head> {
        serde_json::from_value(columns.clone()).unwrap()
    }

    #[test]
    fn a_column_is_known_by_its_metadata_wherever_it_went_and_whatever_it_is_called() {
        let mut names = Names::new();
        let before = json!([
            {"header": "_seq", "metadata": [{"id": 1}]}, {"header": "a", "metadata": [{"id": 2}]},
            {"header": "", "metadata": [{"id": 9}]}]);
        let rows = [vec![json!(1), json!("x"), json!(null)]];
        let first = lines(&heads(&before), &rows, &mut names).unwrap();
        let after = json!([
            {"header": "person's", "metadata": []}, {"header": "renamed", "metadata": [{"id": 2}]},
            {"header": "_seq", "metadata": [{"id": 1}]}]);
        let rows = [vec![json!("note"), json!("x"), json!(1)]];
        assert_eq!(lines(&heads(&after), &rows, &mut names).unwrap(), first);
        let twice = json!([
            {"header": "a", "metadata": [{"id": 5}]}, {"header": "a", "metadata": [{"id": 6}]}]);
        assert!(lines(&heads(&twice), &[], &mut names).is_err());
    }

    #[test]
    fn a_row_has_the_digest_of_what_was_sent_and_a_formula_has_not() {
        let bodies = Bodies { nonce: 1 };
        let sent = bodies.submission(Form::Free, 3, None);
        let mut columns = vec!["_seq", "_id", "_received_at"];
        let mut cells = vec![json!(1), json!(ID), json!("2026-11-24T21:57:34.123Z")];
        for (name, value) in sent.data.as_object().unwrap() {
            columns.push(name);
            cells.push(
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
                    .into(),
            );
        }
        let head = |(id, name)| json!({"header": name, "metadata": [{"id": id}]});
        let columns = (1..).zip(columns).map(head).collect::<serde_json::Value>();
        let read = |cells: &[serde_json::Value]| {
            let written = lines(&heads(&columns), &[cells.to_vec()], &mut Names::new()).unwrap();
            let sheet = Sheet {
                written,
                ..Sheet::default()
            };
            sight(&sheet, (bodies, Form::Free))
        };
        let row = read(&cells).rows[0];
        assert_eq!((row.seq, row.marker), (1, Some(3)));
        assert_eq!(row.digest, sent.digests.cells);
        cells[4] = json!({"formula": "=1+1"});
        assert_ne!(read(&cells).rows[0].digest, sent.digests.cells);
        cells.truncate(1);
        assert_eq!(read(&cells).unreadable.len(), 1);
    }
}
