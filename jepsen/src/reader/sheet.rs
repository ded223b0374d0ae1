//! Reading a sheet: `_seq,_id,_received_at`, then the fields, as RFC 4180 says.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::{Instant, sleep};

use crate::checker::digest;
use crate::checker::sight::{Row, Shape, Sight};
use crate::client::api;
use crate::form::{Bodies, Form};

/// Reads rows behind what `sight` has; the first row names the columns. A row that is no record
/// is noted as such: only a missing head row is an error.
pub(crate) fn parse(bytes: &[u8], bodies: Bodies, sight: &mut Sight) -> anyhow::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let columns = reader.headers()?.clone();
    let own = columns.iter().take(3).collect::<Vec<_>>();
    ensure!(
        own == ["_seq", "_id", "_received_at"],
        "the columns begin with {own:?}"
    );
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record)? {
        let line = reader.position().line();
        match row(&columns, &record, bodies, sight.form) {
            Ok(row) => sight.push(row),
            Err(why) => sight
                .unreadable
                .push(format!("before line {line}: {why:#}: {record:?}")),
        }
    }
    Ok(())
}

fn row(
    columns: &csv::StringRecord,
    record: &csv::StringRecord,
    bodies: Bodies,
    form: Form,
) -> anyhow::Result<Row> {
    let (len, columns_len) = (record.len(), columns.len());
    ensure!(
        len == columns_len,
        "{len} cells under {columns_len} columns"
    );
    let cells = columns.iter().zip(record).collect::<BTreeMap<_, _>>();
    let cell = |name: &str| cells.get(name).copied().unwrap_or_default();
    let fields = cells.iter().filter(|(name, _)| !name.starts_with('_'));
    let fields = fields
        .map(|(name, text)| (*name, (*text).to_owned()))
        .collect();
    Ok(Row {
        seq: cell("_seq").parse().context("_seq")?,
        id: api::id(cell("_id"))?,
        received_at: api::stamp(cell("_received_at"))?,
        index: None,
        marker: bodies.marker_of(form, cell(form.marker_field())),
        digest: digest::cells(&fields),
    })
}

/// The sheet at `path`, once it has come up to `head`, or as it is when `time` is over.
/// A sheet that is not there shows nothing. Answers also how long it took.
pub(crate) async fn caught_up(
    path: &Path,
    (bodies, form): (Bodies, Form),
    head: u64,
    time: Duration,
) -> (Sight, Duration) {
    let started = Instant::now();
    let mut pause = Duration::from_millis(50);
    loop {
        let (sight, is_whole) = read(path, bodies, form);
        let is_there = sight.last_seq() >= head && is_whole;
        // A last row that is half written is no fault before time is over.
        if is_there || started.elapsed() >= time {
            return (sight, started.elapsed());
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// Answers also whether the last row is whole.
fn read(path: &Path, bodies: Bodies, form: Form) -> (Sight, bool) {
    let mut sight = Sight::new("sheet", form, Shape::Cells);
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            sight.end(Err(error.into()));
            Vec::new()
        }
    };
    let parsed = parse(&bytes, bodies, &mut sight);
    sight.end(parsed);
    (sight, bytes.last().is_none_or(|byte| *byte == b'\n'))
}

/// What a power cut may leave behind the last whole row: the beginning of the next, and whole
/// rows whose append was not finished. Only while the product is down.
pub(crate) fn tear(path: &Path, rows: u64) -> std::io::Result<bool> {
    use std::io::Write as _;
    let mut open = std::fs::OpenOptions::new();
    let mut file = match open.append(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let id = "00000000-0000-7000-8000-000000000000";
    for row in 0..rows {
        let columns = ",torn".repeat(8);
        writeln!(
            file,
            "{},{id},2026-01-01T00:00:00.000Z{columns}",
            900_000_000 + row
        )?;
    }
    file.write_all(b"900000999,0000")?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::checker::sight::{Shape, Sight};
    use crate::form::{Bodies, Form};

    const ID: &str = "0192f0c1-2b3c-7def-8123-456789abcdef";

    fn sheet(rows: &str) -> anyhow::Result<Sight> {
        let mut sight = Sight::new("sheet", Form::Free, Shape::Cells);
        let head = "_seq,_id,_received_at,marker,text,count,flag,choices\n";
        parse(
            format!("{head}{rows}").as_bytes(),
            Bodies { nonce: 1 },
            &mut sight,
        )?;
        Ok(sight)
    }

    #[test]
    fn a_faithful_row_has_the_digest_of_what_was_sent() {
        let bodies = Bodies { nonce: 1 };
        let sent = bodies.submission(Form::Free, 3, None);
        let text = |name: &str| match sent.data.get(name) {
            None => String::new(),
            Some(serde_json::Value::String(text)) if text.starts_with(['=', '+', '-', '@']) => {
                format!("'{text}").replace('"', "\"\"")
            }
            Some(serde_json::Value::String(text)) => text.replace('"', "\"\""),
            Some(other) => other.to_string().replace('"', "\"\""),
        };
        let cells = ["marker", "text", "count", "flag", "choices"];
        let cells = cells.map(|name| format!("\"{}\"", text(name))).join(",");
        let sight = sheet(&format!("1,{ID},2026-11-24T21:57:34.123Z,{cells}\n")).unwrap();
        assert_eq!(sight.rows[0].marker, Some(3));
        assert_eq!(sight.rows[0].digest, sent.digests.cells);
    }

    #[test]
    fn a_torn_row_is_no_row_and_is_not_passed_over() {
        let torn = sheet(&format!("1,{ID},2026-11-24T21:5")).unwrap();
        assert_eq!((torn.rows.len(), torn.unreadable.len()), (0, 1));
        let glued = sheet(&format!("1,00002,{ID},2026-11-24T21:57:34.123Z,m,,,,\n")).unwrap();
        assert_eq!((glued.rows.len(), glued.unreadable.len()), (0, 1));
    }

    #[test]
    fn other_columns_are_an_error() {
        let mut sight = Sight::new("sheet", Form::Free, Shape::Cells);
        assert!(parse(b"id,seq\n1,2\n", Bodies { nonce: 1 }, &mut sight).is_err());
    }
}
