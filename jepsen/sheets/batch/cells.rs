//! Requests that write cells.
//!
//! Holds: a `stringValue` is stored as it is, whatever it looks like. Rows are appended behind the last
//! one with anything in any column.
//! Inferred, not documented: rows that are added at the end take the styles of the last row; an empty
//! `stringValue` is a cell with an empty text, and counts as data.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Fault, Moved, Turn, merge, read};
use crate::book::protect::{Area, GridRange};
use crate::book::row::{Cell, Content, Row};
use crate::book::{Book, CELL_UNITS_MAX, Tab};
use crate::schema::mask::Mask;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Coordinate {
    sheet_id: i32,
    row_index: i32,
    column_index: i32,
}

/// The parts of a cell that a mask names.
struct Parts {
    has_value: bool,
    format: Option<Mask>,
    has_note: bool,
}

const VALUE: &str = "userEnteredValue";
const FORMAT: &str = "userEnteredFormat";

impl Parts {
    fn of(mask: &Mask) -> Result<Self, Fault> {
        let known = [VALUE, FORMAT, "note", "*"];
        if let Some(other) = mask.names().find(|name| !known.contains(name)) {
            return Err(Fault::Gap(format!("this fake does not write {other}")));
        }
        Ok(Self {
            has_value: mask.of(VALUE).is_some(),
            format: mask.of(FORMAT).cloned(),
            has_note: mask.of("note").is_some(),
        })
    }
}

fn content(cell: &Value) -> Result<Content<'_>, Fault> {
    let entered = cell.get(VALUE).and_then(Value::as_object);
    let mut set = entered.into_iter().flatten();
    let Some((name, value)) = set.find(|(_, value)| !value.is_null()) else {
        return Ok(Content::Blank);
    };
    let text = value.as_str().unwrap_or_default();
    if text.encode_utf16().count() > CELL_UNITS_MAX {
        return Err(format!(
            "Your input contains more than the maximum of {CELL_UNITS_MAX} characters in a single \
             cell."
        )
        .into());
    }
    match name.as_str() {
        "stringValue" => Ok(Content::Text(text)),
        "numberValue" => Ok(Content::Number(value.as_f64().unwrap_or_default())),
        "boolValue" => Ok(Content::Bool(value == true)),
        "formulaValue" if text.starts_with('=') => Ok(Content::Formula(text)),
        "formulaValue" => Err("A formulaValue must begin with an equals sign.".into()),
        _ => Err("An errorValue cannot be written.".into()),
    }
}

/// `old` with the parts of `new` that are named.
fn written<'a>(
    book: &mut Book,
    (old, new): (Cell<'a>, &'a Value),
    parts: &Parts,
) -> Result<Cell<'a>, Fault> {
    let mut cell = old;
    if parts.has_value {
        cell.content = content(new)?;
    }
    if parts.format.is_none() && !parts.has_note {
        return Ok(cell);
    }
    let style = book.style_at(old.style).and_then(Value::as_object);
    let mut style = style.cloned().unwrap_or_default();
    let mut part = |name: &str, value: Value| {
        if value.is_null() {
            style.remove(name);
        } else {
            style.insert(name.to_owned(), value);
        }
    };
    if parts.has_note {
        part("note", new.get("note").cloned().unwrap_or_default());
    }
    if let Some(mask) = &parts.format {
        let format = book.style_at(old.style).and_then(|style| style.get(FORMAT));
        let mut format = format
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        merge(&mut format, new.get(FORMAT), mask);
        part(
            FORMAT,
            if format.is_empty() {
                Value::Null
            } else {
                format.into()
            },
        );
    }
    cell.style = book.style(&Map::into(style));
    Ok(cell)
}

/// The values of each row.
fn lines(body: &Value) -> Vec<&[Value]> {
    let rows = body.get("rows").and_then(Value::as_array);
    let values = |row| {
        let values = Value::get(row, "values").and_then(Value::as_array);
        values.map_or(&[][..], Vec::as_slice)
    };
    rows.into_iter().flatten().map(values).collect()
}

/// The row with the cells of `line` written from column `left` on.
fn line_on(
    book: &mut Book,
    (row, slots): (&Row, &[usize]),
    line: &[Value],
    parts: &Parts,
) -> Result<Row, Fault> {
    let mut changes = Vec::with_capacity(line.len());
    for (slot, new) in slots.iter().zip(line) {
        changes.push((*slot, written(book, (row.cell(*slot), new), parts)?));
    }
    Ok(row.with(changes))
}

fn beyond(what: &str, place: usize, len: usize) -> Fault {
    let last = len.saturating_sub(1);
    let place = place.max(len);
    Fault::Words(format!(
        "Attempting to write {what}: {place}, beyond the last requested {what} of: {last}"
    ))
}

impl Turn<'_> {
    pub(super) fn append_cells(&mut self, body: &Value) -> Result<Value, Fault> {
        if body.get("tableId").is_some_and(|table| !table.is_null()) {
            return Err(Fault::Gap("this fake knows no tables".to_owned()));
        }
        let sheet = body.get("sheetId").and_then(Value::as_i64).unwrap_or(0);
        let id = i32::try_from(sheet).unwrap_or(-1);
        let tab = self.grid(id)?;
        let parts = Parts::of(&self.mask(body, "CellData")?)?;
        let lines = lines(body);
        let widest = lines.iter().map(|line| line.len()).max().unwrap_or(0);
        if widest > tab.columns() {
            return Err(beyond("column", tab.columns(), tab.columns()));
        }
        let (start, len, slots) = (tab.filled(), tab.rows.len(), tab.slots.clone());
        let end = start + lines.len();
        self.has_room(end.saturating_sub(len) * slots.len())?;
        self.may_edit(&Area {
            tab: id,
            rows: (start, Some(end.max(start + 1))),
            columns: (0, Some(widest.max(1))),
        })?;
        let tab = self.grid(id)?;
        let fresh = like_last(tab);
        let heads = self.heads(tab);
        let title = tab.title.clone();
        let old = tab.rows.range(start..end).map(|(_, row)| row.clone());
        let old = old.chain(std::iter::repeat(fresh)).take(lines.len());
        let mut rows = Vec::with_capacity(lines.len());
        for (old, line) in old.collect::<Vec<_>>().iter().zip(lines) {
            rows.push(line_on(self.book, (old, &slots), line, &parts)?);
        }
        if let Some(tab) = self.book.tab_mut(id) {
            tab.rows.remove(start..end.min(len));
            tab.rows.insert(start, rows.clone());
        }
        self.outcome.appended.push(Moved {
            tab: id,
            title,
            row: start,
            heads,
            rows,
        });
        Ok(json!({}))
    }

    pub(super) fn update_cells(&mut self, body: &Value) -> Result<Value, Fault> {
        let parts = Parts::of(&self.mask(body, "CellData")?)?;
        let lines = lines(body);
        let widest = lines.iter().map(|line| line.len()).max().unwrap_or(0);
        let area = match (body.get("start"), body.get("range")) {
            (Some(start), None) => {
                let start = read::<Coordinate>(start)?;
                let place = |index: i32| {
                    usize::try_from(index).map_err(|_| Fault::from("An index is negative."))
                };
                let (row, column) = (place(start.row_index)?, place(start.column_index)?);
                Area {
                    tab: start.sheet_id,
                    rows: (row, Some(row + lines.len())),
                    columns: (column, Some(column + widest)),
                }
            }
            (None, Some(range)) => read_area(range)?,
            _ => return Err("One of start or range must be specified.".into()),
        };
        let tab = self.grid(area.tab)?;
        let (height, width) = (tab.rows.len(), tab.columns());
        let (top, left) = (area.rows.0, area.columns.0);
        let bottom = area.rows.1.unwrap_or(height).max(top + lines.len());
        let right = area.columns.1.unwrap_or(width).max(left + widest);
        if bottom > height {
            return Err(beyond("row", top, height));
        }
        if right > width {
            return Err(beyond("column", left, width));
        }
        self.may_edit(&area)?;
        let slots = self.grid(area.tab)?.slots.get(left..right);
        let slots = slots.unwrap_or_default().to_vec();
        // What the lines do not cover is cleared.
        let blank = json!({});
        for row in top..bottom {
            let line = lines.get(row - top).copied().unwrap_or_default();
            let is_range = body.get("range").is_some();
            let filled = line.iter().chain(std::iter::repeat(&blank));
            let count = if is_range { slots.len() } else { line.len() };
            let filled = filled.take(count).cloned().collect::<Vec<_>>();
            self.write_row(area.tab, row, (&slots, &filled), &parts)?;
        }
        Ok(json!({}))
    }

    fn write_row(
        &mut self,
        tab: i32,
        at: usize,
        (slots, line): (&[usize], &[Value]),
        parts: &Parts,
    ) -> Result<(), Fault> {
        let row = self.grid(tab)?.rows.get(at).cloned().unwrap_or_default();
        let row = line_on(self.book, (&row, slots), line, parts)?;
        if let Some(tab) = self.book.tab_mut(tab) {
            tab.rows.set(at, row);
        }
        Ok(())
    }

    pub(super) fn repeat_cell(&mut self, body: &Value) -> Result<Value, Fault> {
        let parts = Parts::of(&self.mask(body, "CellData")?)?;
        let area = read_area(body.get("range").unwrap_or(&Value::Null))?;
        let tab = self.grid(area.tab)?;
        let rows = area.rows.0..area.rows.1.unwrap_or(usize::MAX).min(tab.rows.len());
        let columns = area.columns.0..area.columns.1.unwrap_or(usize::MAX).min(tab.columns());
        let slots = tab.slots.get(columns).unwrap_or_default().to_vec();
        self.may_edit(&area)?;
        let line = vec![body.get("cell").cloned().unwrap_or_default(); slots.len()];
        let old = self.grid(area.tab)?.rows.range(rows.clone());
        let old = old.map(|(_, row)| row.clone()).collect::<Vec<_>>();
        let mut new = Vec::with_capacity(old.len());
        for row in &old {
            new.push(line_on(self.book, (row, &slots), &line, &parts)?);
        }
        if let Some(tab) = self.book.tab_mut(area.tab) {
            tab.rows.remove(rows.clone());
            tab.rows.insert(rows.start, new);
        }
        Ok(json!({}))
    }
}

pub(super) fn read_area(range: &Value) -> Result<Area, Fault> {
    let area = read::<GridRange>(range)?.area();
    area.ok_or_else(|| Fault::from("The range is empty or negative."))
}

/// A blank row with the styles of the last.
fn like_last(tab: &Tab) -> Row {
    let last = tab
        .rows
        .len()
        .checked_sub(1)
        .and_then(|last| tab.rows.get(last));
    let cells = last.map(|row| {
        let blank = row.cells().map(|cell| Cell {
            content: Content::Blank,
            style: cell.style,
        });
        blank.collect::<Vec<_>>()
    });
    Row::new(&cells.unwrap_or_default())
}
