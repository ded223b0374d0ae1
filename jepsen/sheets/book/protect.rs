//! Protected ranges: who may edit what.

use crate::json::put;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Dimension;
use super::shift::Shift;

/// A part of a tab; without end where that is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) tab: i32,
    pub(crate) rows: (usize, Option<usize>),
    pub(crate) columns: (usize, Option<usize>),
}

#[derive(Clone, Debug)]
pub(crate) struct Protected {
    pub(crate) id: i32,
    pub(crate) range: Area,
    pub(crate) editors: Vec<String>,
    pub(crate) is_warning: bool,
    pub(crate) description: String,
}

/// An area as a request names it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GridRange {
    sheet_id: i32,
    start_row_index: Option<i32>,
    end_row_index: Option<i32>,
    start_column_index: Option<i32>,
    end_column_index: Option<i32>,
}

impl GridRange {
    /// `None`: it is upside down, or negative.
    pub(crate) fn area(&self) -> Option<Area> {
        let side = |start: Option<i32>, end: Option<i32>| {
            let start = usize::try_from(start.unwrap_or(0)).ok()?;
            let end = end.map(usize::try_from).transpose().ok()?;
            end.is_none_or(|end| start < end).then_some((start, end))
        };
        Some(Area {
            tab: self.sheet_id,
            rows: side(self.start_row_index, self.end_row_index)?,
            columns: side(self.start_column_index, self.end_column_index)?,
        })
    }
}

fn touch(a: (usize, Option<usize>), b: (usize, Option<usize>)) -> bool {
    a.1.is_none_or(|end| b.0 < end) && b.1.is_none_or(|end| a.0 < end)
}

impl Area {
    pub(crate) fn whole(tab: i32) -> Self {
        let (rows, columns) = ((0, None), (0, None));
        Self { tab, rows, columns }
    }

    pub(crate) fn touches(&self, other: &Self) -> bool {
        self.tab == other.tab && touch(self.rows, other.rows) && touch(self.columns, other.columns)
    }

    /// `false`: nothing of it is left.
    pub(crate) fn shift(&mut self, dimension: Dimension, shift: &Shift) -> bool {
        let side = match dimension {
            Dimension::Rows => &mut self.rows,
            Dimension::Columns => &mut self.columns,
        };
        let moved = shift.range(*side);
        *side = moved.unwrap_or_default();
        moved.is_some()
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut range = json!({ "sheetId": self.tab });
        for (name, (start, end)) in [("Row", self.rows), ("Column", self.columns)] {
            if start > 0 || end.is_some() {
                put(&mut range, &format!("start{name}Index"), start);
            }
            if let Some(end) = end {
                put(&mut range, &format!("end{name}Index"), end);
            }
        }
        range
    }
}

impl Protected {
    pub(crate) fn forbids(&self, user: &str, area: &Area) -> bool {
        let is_editor = self.editors.iter().any(|editor| editor == user);
        !self.is_warning && !is_editor && self.range.touches(area)
    }

    pub(crate) fn to_json(&self, user: &str) -> Value {
        let can_edit = self.is_warning || self.editors.iter().any(|editor| editor == user);
        let mut protected = json!({
            "protectedRangeId": self.id,
            "range": self.range.to_json(),
            "requestingUserCanEdit": can_edit,
        });
        if !self.description.is_empty() {
            put(&mut protected, "description", self.description.as_str());
        }
        if self.is_warning {
            put(&mut protected, "warningOnly", true);
        } else if can_edit {
            put(&mut protected, "editors", json!({ "users": self.editors }));
        }
        protected
    }
}

#[cfg(test)]
mod tests {
    use super::{Area, Protected};

    #[test]
    fn only_those_who_are_no_editors_are_kept_out_and_only_of_the_range() {
        let mut protected = Protected {
            id: 1,
            range: Area {
                tab: 5,
                rows: (0, None),
                columns: (2, Some(3)),
            },
            editors: vec!["owner".to_owned()],
            is_warning: false,
            description: String::new(),
        };
        let cell = |row, column| Area {
            tab: 5,
            rows: (row, Some(row + 1)),
            columns: (column, Some(column + 1)),
        };
        assert!(protected.forbids("robot", &cell(900, 2)));
        assert!(!protected.forbids("robot", &cell(900, 3)));
        assert!(!protected.forbids("robot", &Area::whole(6)));
        assert!(!protected.forbids("owner", &Area::whole(5)));
        protected.is_warning = true;
        assert!(!protected.forbids("robot", &Area::whole(5)));
    }
}
