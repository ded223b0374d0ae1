//! Requests on rows and columns.
//!
//! Inferred: the words of most refusals, and that rows or columns can be inserted at the very end only
//! when they take after those before.

use serde::Deserialize;
use serde_json::{Value, json};

use super::cells::read_area;
use super::{Fault, Moved, Turn, merge, read};
use crate::book::metadata::Span;
use crate::book::protect::Area;
use crate::book::shift::Shift;
use crate::book::{COLUMNS_MAX, Dimension, Order};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Insert {
    range: Span,
    inherit_from_before: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delete {
    range: Span,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Move {
    source: Span,
    destination_index: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Append {
    sheet_id: i32,
    dimension: Option<String>,
    length: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    dimension_index: i32,
    sort_order: Option<String>,
}

fn place(index: Option<i32>) -> Result<usize, Fault> {
    let index = index.ok_or("A range must be bounded.")?;
    usize::try_from(index).map_err(|_| "An index is negative.".into())
}

fn area(tab: i32, dimension: Dimension, side: (usize, Option<usize>)) -> Area {
    let mut area = Area::whole(tab);
    match dimension {
        Dimension::Rows => area.rows = side,
        Dimension::Columns => area.columns = side,
    }
    area
}

impl Turn<'_> {
    /// What the grid would have on top is allowed.
    pub(super) fn may_grow(
        &self,
        tab: i32,
        dimension: Dimension,
        count: usize,
    ) -> Result<(), Fault> {
        let tab = self.grid(tab)?;
        let across = match dimension {
            Dimension::Rows => tab.columns(),
            Dimension::Columns => tab.rows.len(),
        };
        if dimension == Dimension::Columns && tab.columns() + count > COLUMNS_MAX {
            return Err(format!(
                "This action would increase the number of columns in the sheet above the limit of \
                 {COLUMNS_MAX} columns."
            )
            .into());
        }
        self.has_room(count.saturating_mul(across))
    }

    fn shift(&mut self, tab: i32, dimension: Dimension, shift: &Shift) -> Result<(), Fault> {
        let found = self.grid(tab)?;
        let (title, heads) = (found.title.clone(), self.heads(found));
        let rows = self.book.shift(tab, dimension, shift);
        if let Shift::Remove(range) = shift
            && !rows.is_empty()
        {
            self.outcome.removed.push(Moved {
                tab,
                title,
                row: range.start,
                heads,
                rows,
            });
        }
        Ok(())
    }

    pub(super) fn insert_dimension(&mut self, body: &Value) -> Result<Value, Fault> {
        let insert = read::<Insert>(body)?;
        let span = insert.range;
        let tab = self.grid(span.sheet_id)?;
        let dimension = span.dimension().ok_or("A dimension must be specified.")?;
        let (at, end) = (place(span.start_index)?, place(span.end_index)?);
        let count = end.checked_sub(at).filter(|count| *count > 0);
        let count = count.ok_or("The range is empty.")?;
        let len = tab.len(dimension);
        if at > len || (at == len && !insert.inherit_from_before) {
            return Err(format!(
                "range.startIndex[{at}] is after the last index of the grid[{len}]"
            )
            .into());
        }
        if at == 0 && insert.inherit_from_before {
            return Err("inheritFromBefore cannot be true if the start index is 0.".into());
        }
        self.may_grow(span.sheet_id, dimension, count)?;
        self.may_edit(&area(span.sheet_id, dimension, (at, Some(at + 1))))?;
        self.shift(span.sheet_id, dimension, &Shift::Insert { at, count })?;
        Ok(json!({}))
    }

    pub(super) fn delete_dimension(&mut self, body: &Value) -> Result<Value, Fault> {
        let span = read::<Delete>(body)?.range;
        let tab = self.grid(span.sheet_id)?;
        let (dimension, range) = span.within(tab).ok_or("The range is not on the grid.")?;
        let (what, frozen) = match dimension {
            Dimension::Rows => ("rows", tab.frozen_rows),
            Dimension::Columns => ("columns", tab.frozen_columns),
        };
        if range.len() == tab.len(dimension) {
            return Err(format!("You can't delete all the {what} on the sheet.").into());
        }
        if range.start <= frozen && range.end == tab.len(dimension) {
            return Err(
                format!("Sorry, it is not possible to delete all non-frozen {what}.").into(),
            );
        }
        self.may_edit(&area(
            span.sheet_id,
            dimension,
            (range.start, Some(range.end)),
        ))?;
        self.shift(span.sheet_id, dimension, &Shift::Remove(range))?;
        Ok(json!({}))
    }

    pub(super) fn move_dimension(&mut self, body: &Value) -> Result<Value, Fault> {
        let wanted = read::<Move>(body)?;
        let span = wanted.source;
        let tab = self.grid(span.sheet_id)?;
        let (dimension, from) = span.within(tab).ok_or("The range is not on the grid.")?;
        let to = place(Some(wanted.destination_index))?;
        if to > tab.len(dimension) {
            return Err("The destination is not on the grid.".into());
        }
        let side = (from.start.min(to), Some(from.end.max(to)));
        self.may_edit(&area(span.sheet_id, dimension, side))?;
        // Moved into itself it stays where it is.
        if !(from.start..=from.end).contains(&to) {
            self.shift(span.sheet_id, dimension, &Shift::Move { from, to })?;
        }
        Ok(json!({}))
    }

    pub(super) fn append_dimension(&mut self, body: &Value) -> Result<Value, Fault> {
        let append = read::<Append>(body)?;
        let tab = self.grid(append.sheet_id)?;
        let span = Span {
            dimension: append.dimension,
            ..Span::default()
        };
        let dimension = span.dimension().ok_or("A dimension must be specified.")?;
        let count = place(Some(append.length))?;
        let at = tab.len(dimension);
        self.may_grow(append.sheet_id, dimension, count)?;
        self.shift(append.sheet_id, dimension, &Shift::Insert { at, count })?;
        Ok(json!({}))
    }

    pub(super) fn update_dimension_properties(&mut self, body: &Value) -> Result<Value, Fault> {
        let mask = self.mask(body, "DimensionProperties")?;
        if let Some(other) = mask
            .names()
            .find(|name| !["pixelSize", "hiddenByUser", "*"].contains(name))
        {
            return Err(Fault::Gap(format!("this fake does not write {other}")));
        }
        let span = read::<Delete>(body)?.range;
        let tab = self.grid(span.sheet_id)?;
        let (dimension, range) = span.within(tab).ok_or("The range is not on the grid.")?;
        self.may_edit(&area(
            span.sheet_id,
            dimension,
            (range.start, Some(range.end)),
        ))?;
        let new = body.get("properties");
        let Some(tab) = self.book.tab_mut(span.sheet_id) else {
            return Ok(json!({}));
        };
        for at in range {
            let (properties, at) = match dimension {
                Dimension::Rows => (&mut tab.row_properties, Some(at)),
                Dimension::Columns => (&mut tab.column_properties, tab.slots.get(at).copied()),
            };
            if let Some(at) = at {
                merge(properties.entry(at).or_default(), new, &mask);
            }
        }
        Ok(json!({}))
    }

    pub(super) fn sort_range(&mut self, body: &Value) -> Result<Value, Fault> {
        let area = read_area(body.get("range").unwrap_or(&Value::Null))?;
        let tab = self.grid(area.tab)?;
        let rows = area.rows.0..area.rows.1.unwrap_or(usize::MAX).min(tab.rows.len());
        let columns = area.columns.0..area.columns.1.unwrap_or(usize::MAX).min(tab.columns());
        let specs = body.get("sortSpecs").cloned().unwrap_or_default();
        let specs = read::<Option<Vec<Spec>>>(&specs)?.unwrap_or_default();
        let mut orders = Vec::new();
        for spec in specs {
            orders.push(Order {
                column: place(Some(spec.dimension_index))?,
                is_descending: spec.sort_order.as_deref() == Some("DESCENDING"),
            });
        }
        self.may_edit(&area)?;
        if let Some(tab) = self.book.tab_mut(area.tab) {
            tab.sort(rows, columns, &orders);
        }
        Ok(json!({}))
    }
}
