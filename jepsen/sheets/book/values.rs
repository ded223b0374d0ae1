//! Values of a range, as `values.get` answers them: without blank rows and cells at the end.

use crate::json::put;
use serde_json::{Value, json};

use super::a1::Rect;
use super::row::{Cell, Content};
use super::{Book, text};

/// How a cell is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Render {
    Formatted,
    Unformatted { dates_as_text: bool },
    Formula { dates_as_text: bool },
}

impl Book {
    pub(crate) fn values(&self, rect: &Rect, render: Render, by_column: bool) -> Value {
        let Some(tab) = self.tab(rect.tab) else {
            return Value::Null;
        };
        let slots = tab.slots.get(rect.columns.clone()).unwrap_or_default();
        let rows = tab.rows.range(rect.rows.clone()).map(|(_, row)| {
            let cells = row.ordered(slots).into_iter();
            cells
                .map(|cell| self.value(cell, render))
                .collect::<Vec<_>>()
        });
        let mut lines = rows.collect::<Vec<_>>();
        if by_column {
            lines = (0..slots.len())
                .map(|column| {
                    let column = lines.iter().map(|line| line.get(column).cloned());
                    column.map(Option::unwrap_or_default).collect()
                })
                .collect();
        }
        cut(&mut lines, Vec::is_empty, |line| {
            cut(line, |value| *value == "", |_| ());
        });
        let dimension = if by_column { "COLUMNS" } else { "ROWS" };
        let mut range = json!({"range": rect.to_text(&tab.title), "majorDimension": dimension});
        if !lines.is_empty() {
            let values = lines.into_iter().map(Value::from);
            put(&mut range, "values", values.collect::<Value>());
        }
        range
    }

    fn value(&self, cell: Cell<'_>, render: Render) -> Value {
        let dates_as_text = match render {
            Render::Formatted => return self.formatted(cell).into(),
            Render::Unformatted { dates_as_text } | Render::Formula { dates_as_text } => {
                dates_as_text
            }
        };
        match cell.content {
            Content::Number(_) if dates_as_text && self.date_pattern(cell.style).is_some() => {
                self.formatted(cell).into()
            }
            Content::Number(number) => text::json_number(number),
            Content::Bool(flag) => flag.into(),
            Content::Formula(formula) if matches!(render, Render::Formula { .. }) => formula.into(),
            Content::Text(_) | Content::Blank | Content::Formula(_) => self.formatted(cell).into(),
        }
    }
}

/// Does `first` to each, then cuts off those at the end that are blank.
fn cut<T>(list: &mut Vec<T>, is_blank: impl Fn(&T) -> bool, first: impl Fn(&mut T)) {
    list.iter_mut().for_each(first);
    let end = list.iter().rposition(|one| !is_blank(one));
    list.truncate(end.map_or(0, |end| end + 1));
}
