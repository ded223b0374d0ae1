//! A spreadsheet: its tabs, its developer metadata, its protected ranges.
//!
//! Holds: a clone is cheap, whatever the size; so a batch works on a copy and is kept or thrown away
//! whole. A column is a *slot* that never changes, and a list of slots says in which order they
//! stand: to insert, move or delete a column touches no row, and what is bound to a column moves
//! with it and dies with it.

pub(crate) mod a1;
mod edit;
pub(crate) mod metadata;
pub(crate) mod protect;
pub(crate) mod row;
pub(crate) mod rows;
pub(crate) mod shift;
pub(crate) mod show;
mod sort;
pub(crate) mod text;
pub(crate) mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use metadata::Item;
use protect::Protected;
use row::{Content, Row};
use rows::Rows;

pub(crate) use edit::Dimension;
pub(crate) use sort::Order;

/// Google's limits.
pub(crate) const CELLS_MAX: usize = 10_000_000;
pub(crate) const COLUMNS_MAX: usize = 18_278;
pub(crate) const CELL_UNITS_MAX: usize = 50_000;

#[derive(Clone, Debug)]
pub(crate) struct Book {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) time_zone: String,
    pub(crate) tabs: Vec<Arc<Tab>>,
    pub(crate) items: Arc<BTreeMap<i32, Item>>,
    pub(crate) protected: Vec<Protected>,
    /// Styles of cells, from place 1: what else than its value a cell was given.
    pub(crate) styles: Arc<Vec<Value>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Tab {
    pub(crate) id: i32,
    pub(crate) title: String,
    /// The columns, in order.
    pub(crate) slots: Vec<usize>,
    pub(crate) next_slot: usize,
    pub(crate) rows: Rows,
    pub(crate) frozen_rows: usize,
    pub(crate) frozen_columns: usize,
    /// Properties that mean nothing here and are kept.
    pub(crate) others: Map<String, Value>,
    /// Of columns, by slot.
    pub(crate) column_properties: BTreeMap<usize, Map<String, Value>>,
    /// Of rows, by place.
    pub(crate) row_properties: BTreeMap<usize, Map<String, Value>>,
}

impl Tab {
    pub(crate) fn new(id: i32, title: &str, rows: usize, columns: usize) -> Self {
        let mut tab = Self {
            id,
            title: title.to_owned(),
            slots: (0..columns).collect(),
            next_slot: columns,
            rows: Rows::default(),
            frozen_rows: 0,
            frozen_columns: 0,
            others: Map::new(),
            column_properties: BTreeMap::new(),
            row_properties: BTreeMap::new(),
        };
        tab.rows.extend_blank(rows);
        tab
    }

    pub(crate) fn columns(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn column_of(&self, slot: usize) -> Option<usize> {
        self.slots.iter().position(|other| *other == slot)
    }

    /// How many rows there are up to the last with anything in a column that is there.
    pub(crate) fn filled(&self) -> usize {
        let mut is_live = vec![false; self.next_slot];
        for slot in &self.slots {
            if let Some(is_live) = is_live.get_mut(*slot) {
                *is_live = true;
            }
        }
        let has_data = |row: &Row| row.has_data(|slot| is_live.get(slot) == Some(&true));
        let blank = self
            .rows
            .iter()
            .rev()
            .take_while(|row| !has_data(row))
            .count();
        self.rows.len() - blank
    }

    /// What the first row says over a column.
    pub(crate) fn header(&self, slot: usize) -> String {
        match self.rows.get(0).map(|row| row.cell(slot).content) {
            Some(Content::Text(text) | Content::Formula(text)) => text.to_owned(),
            Some(Content::Number(number)) => text::number(number),
            Some(Content::Bool(flag)) => flag.to_string().to_uppercase(),
            Some(Content::Blank) | None => String::new(),
        }
    }
}

impl Book {
    pub(crate) fn new(id: &str, title: &str) -> Self {
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            time_zone: "Etc/GMT".to_owned(),
            tabs: Vec::new(),
            items: Arc::default(),
            protected: Vec::new(),
            styles: Arc::default(),
        }
    }

    pub(crate) fn tab(&self, id: i32) -> Option<&Tab> {
        self.tabs.iter().find(|tab| tab.id == id).map(Arc::as_ref)
    }

    pub(crate) fn tab_mut(&mut self, id: i32) -> Option<&mut Tab> {
        let tab = self.tabs.iter_mut().find(|tab| tab.id == id);
        tab.map(Arc::make_mut)
    }

    /// By its title; Google compares these without regard to case.
    pub(crate) fn titled(&self, title: &str) -> Option<&Tab> {
        let title = title.to_lowercase();
        let mut tabs = self.tabs.iter().map(Arc::as_ref);
        tabs.find(|tab| tab.title.to_lowercase() == title)
    }

    /// Cells of all tabs, empty ones included.
    pub(crate) fn cells(&self) -> usize {
        let cells = |tab: &Arc<Tab>| tab.rows.len() * tab.columns();
        self.tabs.iter().map(cells).sum()
    }

    /// The place of a style, made if need be.
    pub(crate) fn style(&mut self, style: &Value) -> u32 {
        let is_none = style.as_object().is_none_or(Map::is_empty);
        if is_none {
            return 0;
        }
        let place = self.styles.iter().position(|known| known == style);
        let place = place.unwrap_or_else(|| {
            Arc::make_mut(&mut self.styles).push(style.clone());
            self.styles.len() - 1
        });
        u32::try_from(place + 1).unwrap_or(0)
    }

    pub(crate) fn style_at(&self, place: u32) -> Option<&Value> {
        let place = usize::try_from(place).ok()?.checked_sub(1)?;
        self.styles.get(place)
    }
}
