//! Records as JSON, NDJSON or CSV, piece by piece.
//!
//! Holds: a document is as it was stored, byte for byte but for line breaks between its tokens, so
//! that one record is one line. In CSV a cell that a spreadsheet would take for a formula begins
//! with an apostrophe; rows end with a line feed and cells are quoted as RFC 4180 says.

use std::collections::BTreeMap;

use axum::http::HeaderValue;
use serde_json::value::RawValue;
use storage::{Record, Seq};

use super::wire;

/// How a list is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One document.
    Json,
    /// One document a line.
    Ndjson,
    /// A table.
    Csv {
        /// Names of the columns after those that every record has.
        columns: Vec<String>,
        /// One more column, for the members that have none.
        has_others: bool,
    },
}

/// What can be asked for, the default first.
pub(super) const OFFERS: &[&str] = &["application/json", "application/x-ndjson", "text/csv"];
/// What every table begins with.
const FIXED: [&str; 3] = ["_seq", "_id", "_received_at"];
/// The column of members without a column.
const OTHERS: &str = "_more";

impl Format {
    pub(super) fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv { .. } => "text/csv; charset=utf-8; header=present",
        })
    }

    /// What stands before the first record.
    pub(super) fn begin(&self, form: &str) -> Vec<u8> {
        match self {
            Self::Json => {
                format!("{{\"form\":{},\"records\":[", wire::json_text(form)).into_bytes()
            }
            Self::Ndjson => Vec::new(),
            Self::Csv {
                columns,
                has_others,
            } => {
                let fixed = FIXED.into_iter().map(str::to_owned);
                let others = has_others.then(|| OTHERS.to_owned());
                csv_row(
                    fixed
                        .chain(columns.iter().map(|name| header(name)))
                        .chain(others),
                )
            }
        }
    }

    /// The records; `is_first`: none was written before.
    pub(super) fn records(&self, records: &[Record], is_first: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(records.iter().map(|one| one.body.len() + 256).sum());
        for (at, record) in records.iter().enumerate() {
            match self {
                Self::Json => {
                    if at > 0 || !is_first {
                        out.push(b',');
                    }
                    wire::write_record(&mut out, record, None);
                }
                Self::Ndjson => {
                    wire::write_record(&mut out, record, None);
                    out.push(b'\n');
                }
                Self::Csv {
                    columns,
                    has_others,
                } => {
                    out.extend(table_row(record, columns, *has_others));
                }
            }
        }
        out
    }

    /// What stands after the last record.
    pub(super) fn end(&self, next: Seq, head: Seq) -> Vec<u8> {
        match self {
            Self::Json => format!("],\"next\":{next},\"head\":{head}}}").into_bytes(),
            Self::Ndjson | Self::Csv { .. } => Vec::new(),
        }
    }
}

fn table_row(record: &Record, columns: &[String], has_others: bool) -> Vec<u8> {
    // What is stored is an object: the door takes nothing else. Its values stay as they were sent:
    // a number with more digits than a float has keeps them.
    let mut document: BTreeMap<String, &RawValue> =
        serde_json::from_slice(&record.body).unwrap_or_default();
    let fixed = [
        record.seq.map(|seq| seq.to_string()).unwrap_or_default(),
        wire::id_text(record.id),
        wire::instant_text(record.received_ms),
    ];
    let mut cells: Vec<String> = Vec::with_capacity(fixed.len() + columns.len() + 1);
    cells.extend(fixed);
    cells.extend(columns.iter().map(|column| cell(document.remove(column))));
    if has_others {
        let others = (!document.is_empty()).then(|| serde_json::to_string(&document));
        // Text and JSON have no way to fail.
        cells.push(others.transpose().unwrap_or_default().unwrap_or_default());
    }
    csv_row(cells)
}

/// A value as a cell's text. A JSON number is none that a spreadsheet would run, whatever its sign.
fn cell(value: Option<&RawValue>) -> String {
    match value.map(RawValue::get) {
        None | Some("null") => String::new(),
        Some(json) if json.starts_with('"') => {
            formula_safe(&serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned()))
        }
        Some(json) => json.to_owned(),
    }
}

/// A field's column; one that is named like ours is told apart.
fn header(name: &str) -> String {
    if FIXED.contains(&name) || name == OTHERS {
        return format!("data.{name}");
    }
    formula_safe(name)
}

/// Text that a spreadsheet shows and never runs. Sheets have the same rule in `bridge`, which the
/// doors may not see.
fn formula_safe(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        return format!("'{text}");
    }
    text.to_owned()
}

fn csv_row(cells: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory cannot fail, and one row has one length.
    drop(writer.write_record(cells));
    writer.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::Value;
    use storage::{FormId, Index, LogId, Position, Slot};

    fn record(seq: u64, body: &str) -> Record {
        let position = Position {
            index: Index(9),
            slot: Slot(0),
        };
        Record {
            form: FormId(1),
            seq: Some(Seq(seq)),
            position,
            source: position,
            log_id: LogId {
                index: Index(9),
                ..LogId::default()
            },
            id: [1; 16],
            form_version: 2,
            received_ms: 1_700_000_000_005,
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    fn whole(format: &Format, records: &[Record]) -> String {
        let mut out = format.begin("demo");
        let mut is_first = true;
        for piece in records.chunks(2) {
            out.extend(format.records(piece, is_first));
            is_first = false;
        }
        out.extend(format.end(Seq(3), Seq(7)));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_list_in_pieces_is_one_document() {
        let records = [record(1, "{}"), record(2, r#"{"a":"b"}"#), record(3, "{}")];
        let document: Value = serde_json::from_str(&whole(&Format::Json, &records)).unwrap();
        assert_eq!(document["records"].as_array().unwrap().len(), 3);
        assert_eq!(document["records"][1]["data"]["a"], "b");
        assert_eq!(document["records"][1]["seq"], 2);
        assert_eq!(
            document["records"][1]["received_at"],
            "2023-11-14T22:13:20.005Z"
        );
        assert_eq!(
            (&document["next"], &document["head"]),
            (&Value::from(3), &Value::from(7))
        );
        let empty: Value = serde_json::from_str(&whole(&Format::Json, &[])).unwrap();
        assert_eq!(empty["records"], Value::Array(Vec::new()));
    }

    #[test]
    fn a_record_is_one_line_however_it_was_stored() {
        let text = whole(
            &Format::Ndjson,
            &[record(1, "{\r\n \"a\": \"x\"\n}"), record(2, "{}")],
        );
        assert_eq!(text.lines().count(), 2);
        for line in text.lines() {
            serde_json::from_str::<Value>(line).unwrap();
        }
    }

    #[test]
    fn a_table_runs_no_formula_and_loses_no_member() {
        let format = Format::Csv {
            columns: vec!["a".to_owned(), "=b".to_owned()],
            has_others: true,
        };
        let body = r#"{"a":"=cmd()","=b":-12345678901234567890.10,"c":[1,"x"],"d":null}"#;
        let text = whole(
            &format,
            &[record(1, body), record(2, r#"{"a":"x,\"y\"\nz"}"#)],
        );
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header: Vec<_> = reader
            .headers()
            .unwrap()
            .iter()
            .map(str::to_owned)
            .collect();
        assert_eq!(header, ["_seq", "_id", "_received_at", "a", "'=b", "_more"]);
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(&rows[0][3], "'=cmd()");
        assert_eq!(&rows[0][4], "-12345678901234567890.10");
        assert_eq!(&rows[0][5], r#"{"c":[1,"x"],"d":null}"#);
        assert_eq!(&rows[1][3], "x,\"y\"\nz");
        assert_eq!(&rows[1][5], "");
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_from_a_table(text in any::<String>()) {
            let format = Format::Csv { columns: vec!["a".to_owned()], has_others: false };
            let body = serde_json::json!({ "a": text }).to_string();
            let table = whole(&format, &[record(1, &body)]);
            let mut reader = csv::Reader::from_reader(table.as_bytes());
            let row = reader.records().next().unwrap().unwrap();
            prop_assert!(!row[3].starts_with(['=', '+', '-', '@', '\t', '\r']));
            prop_assert_eq!(row[3].strip_prefix('\'').unwrap_or(&row[3]), text.strip_prefix('\'').unwrap_or(&text));
        }
    }
}
