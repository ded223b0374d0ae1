//! A record as cells.
//!
//! Columns: `_seq,_id,_received_at`, then the form's fields in the order of its definition, then
//! members that no definition names, as they come. Past [`COLUMNS_MAX`], those go together, as one
//! JSON object, into `_more`: a form that takes anything cannot make a sheet of endless width, and
//! nothing is lost.
//!
//! Holds: columns are only ever added, at the end. Text never runs as a formula: a cell of text
//! that starts with one of `= + - @ TAB CR` gets a leading `'`. Numbers are written digit by digit
//! as they were sent; arrays and objects as their JSON; null and absent are empty. `src/http/render.rs`
//! keeps the same rule in words of its own: no arrow leads from the doors to here.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::row::{Row, add_member, guarded, text_of, time};
use crate::record::Record;

type Writer = ::csv::Writer<Vec<u8>>;

/// What every sheet begins with.
const FIRST: [&str; 3] = ["_seq", "_id", "_received_at"];
const MORE: &str = "_more";
/// Members that no definition names get columns of their own until there are this many.
const COLUMNS_MAX: usize = 256;

/// A column after the first three.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Column {
    /// A member of the body.
    Field(String),
    /// All members without a column, as one object.
    More,
}

/// A sheet's columns, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    list: Vec<Column>,
    by_name: HashMap<String, usize>,
    more: Option<usize>,
}

impl Columns {
    pub(super) fn new(list: Vec<Column>) -> Self {
        let mut columns = Self::default();
        for column in list {
            columns.push(column);
        }
        columns
    }

    pub(super) fn list(&self) -> &[Column] {
        &self.list
    }

    fn push(&mut self, column: Column) {
        let at = self.list.len();
        match &column {
            Column::Field(name) => {
                self.by_name.insert(name.clone(), at);
            }
            Column::More => self.more = Some(at),
        }
        self.list.push(column);
    }

    /// These columns, and behind them what `fields` and `rows` need besides.
    pub(super) fn widened(&self, fields: &[String], rows: &[Row<'_>]) -> Self {
        let mut wider = self.clone();
        for name in fields {
            if !wider.by_name.contains_key(name) {
                wider.push(Column::Field(name.clone()));
            }
        }
        for row in rows {
            match row {
                Row::Members(members) => {
                    for (name, _) in members {
                        wider.make_room_for(name);
                    }
                }
                Row::Whole(_) => wider.make_room_for_more(),
            }
        }
        wider
    }

    fn make_room_for(&mut self, name: &str) {
        if self.by_name.contains_key(name) {
        } else if self.list.len() < COLUMNS_MAX {
            self.push(Column::Field(name.to_owned()));
        } else {
            self.make_room_for_more();
        }
    }

    fn make_room_for_more(&mut self) {
        if self.more.is_none() {
            self.push(Column::More);
        }
    }

    /// The header row.
    pub(super) fn write_header(&self, out: &mut Writer) -> ::csv::Result<()> {
        for name in FIRST {
            out.write_field(name)?;
        }
        for column in &self.list {
            match column {
                Column::More => out.write_field(MORE)?,
                // A field may be called like one of ours.
                Column::Field(name) if FIRST.contains(&&**name) || name == MORE => {
                    out.write_field(format!("data.{name}"))?;
                }
                Column::Field(name) => out.write_field(guarded(name).as_ref())?,
            }
        }
        out.write_record(None::<&[u8]>)
    }

    /// One record's row.
    pub(super) fn write_row(
        &self,
        record: &Record,
        row: &Row<'_>,
        out: &mut Writer,
    ) -> ::csv::Result<()> {
        out.write_field(record.seq.to_string())?;
        out.write_field(&record.id)?;
        out.write_field(time(record.received_at_ms))?;
        let mut cells: Vec<Option<&RawValue>> = vec![None; self.list.len()];
        let mut more = String::new();
        match row {
            Row::Members(members) => {
                for (name, value) in members {
                    match self.by_name.get(&**name).and_then(|at| cells.get_mut(*at)) {
                        Some(cell) => *cell = Some(value),
                        None => add_member(&mut more, name, value),
                    }
                }
                if !more.is_empty() {
                    more.push('}');
                }
            }
            Row::Whole(body) => more.push_str(body),
        }
        for (at, cell) in cells.into_iter().enumerate() {
            match cell {
                Some(value) => out.write_field(text(value).as_ref())?,
                None if self.more == Some(at) => out.write_field(guarded(&more).as_ref())?,
                None => out.write_field("")?,
            }
        }
        out.write_record(None::<&[u8]>)
    }
}

/// A value as a cell's text.
fn text(value: &RawValue) -> Cow<'_, str> {
    match text_of(value) {
        Some(text) => match guarded(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(safe) => Cow::Owned(safe),
        },
        None if value.get() == "null" => Cow::Borrowed(""),
        None => Cow::Borrowed(value.get()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::Position;

    fn record(body: &str) -> Record {
        Record {
            form: Arc::from("f"),
            seq: 17,
            term: 1,
            position: Position { index: 1, slot: 0 },
            id: "0198".to_owned(),
            received_at_ms: 1_764_000_000_007,
            form_version: 1,
            body: bytes::Bytes::copy_from_slice(body.as_bytes()),
            is_replay: false,
        }
    }

    /// The header and the row of `body` in a sheet for `fields`.
    fn sheet(fields: &[&str], body: &str) -> String {
        let fields: Vec<String> = fields.iter().map(|&name| name.to_owned()).collect();
        let record = record(body);
        let rows = [Row::of(&record)];
        let columns = Columns::default().widened(&fields, &rows);
        let mut out = ::csv::Writer::from_writer(Vec::new());
        columns.write_header(&mut out).unwrap();
        columns.write_row(&record, &rows[0], &mut out).unwrap();
        String::from_utf8(out.into_inner().unwrap()).unwrap()
    }

    #[test]
    fn fields_stand_in_the_order_of_the_definition_and_others_behind_them() {
        assert_eq!(
            sheet(&["b", "a"], r#"{"a":"1","z":true,"b":"2"}"#),
            "_seq,_id,_received_at,b,a,z\n17,0198,2025-11-24T16:00:00.007Z,2,1,true\n"
        );
    }

    #[test]
    fn text_never_runs_as_a_formula_and_numbers_stay_numbers() {
        let body =
            r#"{"a":"=1+1","b":"+49","c":-5,"d":"-5","e":"@x","f":"\tx","g":"\rx","h":"x=1"}"#;
        let sheet = sheet(&[], body);
        let row = sheet.lines().nth(1).unwrap();
        assert!(row.contains(",'=1+1,'+49,-5,'-5,'@x,'\tx,\"'"), "{row}");
        assert!(sheet.ends_with(",x=1\n"), "{sheet:?}");
    }

    #[test]
    fn a_field_name_is_as_harmless_as_a_value() {
        assert!(
            sheet(&[], r#"{"=cmd":"1","_seq":"2"}"#)
                .starts_with("_seq,_id,_received_at,'=cmd,data._seq\n")
        );
    }

    #[test]
    fn numbers_keep_their_digits_and_structures_their_json() {
        let body =
            r#"{"n":1.10,"big":12345678901234567890123,"list":["a",1],"o":{"k":"v"},"no":null}"#;
        assert!(sheet(&["absent"], body).ends_with(
            ",,1.10,12345678901234567890123,\"[\"\"a\"\",1]\",\"{\"\"k\"\":\"\"v\"\"}\",\n"
        ));
    }

    #[test]
    fn quotes_commas_and_line_ends_are_quoted() {
        assert!(
            sheet(&["a"], r#"{"a":"say \"hi\", then\nleave"}"#)
                .ends_with(",\"say \"\"hi\"\", then\nleave\"\n")
        );
    }

    #[test]
    fn past_the_widest_sheet_members_go_together() {
        let body: Vec<String> = (0..300).map(|n| format!("\"m{n}\":{n}")).collect();
        let record = record(&format!("{{{}}}", body.join(",")));
        let rows = [Row::of(&record)];
        let columns = Columns::default().widened(&[], &rows);
        assert_eq!(columns.list().len(), COLUMNS_MAX + 1);
        let mut out = ::csv::Writer::from_writer(Vec::new());
        columns.write_row(&record, &rows[0], &mut out).unwrap();
        let row = String::from_utf8(out.into_inner().unwrap()).unwrap();
        assert!(
            row.contains(r#""{""m256"":256,""#) && row.ends_with("\"\"m299\"\":299}\"\n"),
            "{row}"
        );
    }

    #[test]
    fn a_body_that_is_no_object_is_kept_whole() {
        assert!(sheet(&["a"], "[1,2]").ends_with(",,\"[1,2]\"\n"));
        assert!(sheet(&["a"], "=not json").ends_with(",,'=not json\n"));
    }
}
