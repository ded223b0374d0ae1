//! Rows and columns inserted, removed and moved, with all that is bound to their places.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use super::metadata::Spot;
use super::row::Row;
use super::shift::Shift;
use super::{Book, Tab};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    Rows,
    Columns,
}

impl Dimension {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rows => "ROWS",
            Self::Columns => "COLUMNS",
        }
    }
}

impl Tab {
    pub(crate) fn len(&self, dimension: Dimension) -> usize {
        match dimension {
            Dimension::Rows => self.rows.len(),
            Dimension::Columns => self.columns(),
        }
    }

    fn fresh_slots(&mut self, count: usize) -> Range<usize> {
        let first = self.next_slot;
        self.next_slot += count;
        first..self.next_slot
    }

    fn shift_columns(&mut self, shift: &Shift) {
        match shift {
            Shift::Insert { at, count } => {
                let fresh = self.fresh_slots(*count);
                let at = (*at).min(self.slots.len());
                self.slots.splice(at..at, fresh);
            }
            Shift::Remove(range) => {
                let end = range.end.min(self.slots.len());
                for slot in self.slots.drain(range.start.min(end)..end) {
                    self.column_properties.remove(&slot);
                }
            }
            Shift::Move { from, to } => {
                let end = from.end.min(self.slots.len());
                let moved = self.slots.drain(from.start.min(end)..end);
                let moved = moved.collect::<Vec<_>>();
                let to = if *to > from.start {
                    to.saturating_sub(moved.len())
                } else {
                    *to
                };
                let to = to.min(self.slots.len());
                self.slots.splice(to..to, moved);
            }
        }
    }

    /// Answers the rows that are gone.
    fn shift_rows(&mut self, shift: &Shift) -> Vec<Row> {
        let properties = std::mem::take(&mut self.row_properties).into_iter();
        let properties = properties.filter_map(|(place, all)| Some((shift.place(place)?, all)));
        self.row_properties = properties.collect();
        match shift {
            Shift::Insert { at, count } => {
                self.rows.insert(*at, vec![Row::default(); *count]);
                Vec::new()
            }
            Shift::Remove(range) => self.rows.remove(range.clone()),
            Shift::Move { from, to } => {
                let moved = self.rows.remove(from.clone());
                let to = if *to > from.start {
                    to.saturating_sub(moved.len())
                } else {
                    *to
                };
                self.rows.insert(to, moved);
                Vec::new()
            }
        }
    }
}

impl Book {
    /// The caller has checked the places. Answers the rows that are gone.
    pub(crate) fn shift(&mut self, tab_id: i32, dimension: Dimension, shift: &Shift) -> Vec<Row> {
        let Some(tab) = self.tab_mut(tab_id) else {
            return Vec::new();
        };
        let removed = match dimension {
            Dimension::Rows => tab.shift_rows(shift),
            Dimension::Columns => {
                tab.shift_columns(shift);
                Vec::new()
            }
        };
        if let (Dimension::Rows, Shift::Remove(range)) = (dimension, shift) {
            let frozen = tab.frozen_rows;
            tab.frozen_rows -= frozen.min(range.end).saturating_sub(range.start);
        }
        self.shift_bound(tab_id, dimension, shift);
        removed
    }

    fn shift_bound(&mut self, tab_id: i32, dimension: Dimension, shift: &Shift) {
        let slots = self.tab(tab_id).map(|tab| tab.slots.clone());
        let slots = slots.unwrap_or_default();
        let items = Arc::make_mut(&mut self.items);
        items.retain(|_, item| match &mut item.spot {
            Spot::Row(tab, place) if *tab == tab_id && dimension == Dimension::Rows => {
                let moved = shift.place(*place);
                *place = moved.unwrap_or_default();
                moved.is_some()
            }
            Spot::Column(tab, slot) if *tab == tab_id => slots.contains(slot),
            Spot::Spreadsheet | Spot::Tab(_) | Spot::Row(..) | Spot::Column(..) => true,
        });
        self.protected.retain_mut(|protected| {
            protected.range.tab != tab_id || protected.range.shift(dimension, shift)
        });
    }

    /// Removes a tab with all that is bound to it.
    pub(crate) fn remove_tab(&mut self, id: i32) {
        self.tabs.retain(|tab| tab.id != id);
        Arc::make_mut(&mut self.items).retain(|_, item| item.spot.tab() != Some(id));
        self.protected.retain(|protected| protected.range.tab != id);
    }

    /// The grid has that size afterwards.
    pub(crate) fn resize(&mut self, tab_id: i32, dimension: Dimension, len: usize) -> Vec<Row> {
        let now = self.tab(tab_id).map_or(len, |tab| tab.len(dimension));
        match now.cmp(&len) {
            Ordering::Less => {
                let count = len - now;
                self.shift(tab_id, dimension, &Shift::Insert { at: now, count })
            }
            Ordering::Greater => self.shift(tab_id, dimension, &Shift::Remove(len..now)),
            Ordering::Equal => Vec::new(),
        }
    }
}
