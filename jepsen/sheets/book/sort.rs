//! Sorting rows by the values of columns, as the web page of a spreadsheet does.
//!
//! Holds: numbers stand before texts, texts before booleans, blank cells last in either direction;
//! equal rows keep their order.

use std::cmp::Ordering;
use std::ops::Range;

use super::Tab;
use super::row::{Cell, Content, Row};

/// A column by its place, and in which direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) column: usize,
    pub(crate) is_descending: bool,
}

impl Tab {
    /// Sorts the part of the tab that lies in these rows and columns.
    pub(crate) fn sort(&mut self, rows: Range<usize>, columns: Range<usize>, orders: &[Order]) {
        let rows = rows.start..rows.end.min(self.rows.len());
        let is_whole = columns.start == 0 && columns.end >= self.columns();
        let slots = self.slots.iter().skip(columns.start).take(columns.len());
        let slots = slots.copied().collect::<Vec<_>>();
        let keys = orders.iter().filter_map(|order| {
            let slot = self.slots.get(order.column)?;
            Some((*slot, order.is_descending))
        });
        let keys = keys.collect::<Vec<_>>();
        let before = self.rows.remove(rows.clone());
        let mut sorted = before.clone();
        sorted.sort_by(|a, b| compare(a, b, &keys));
        if !is_whole {
            let pairs = before.iter().zip(&sorted);
            let mixed = pairs.map(|(before, sorted)| {
                before.with(slots.iter().map(|slot| (*slot, sorted.cell(*slot))))
            });
            sorted = mixed.collect();
        }
        self.rows.insert(rows.start, sorted);
    }
}

fn compare(a: &Row, b: &Row, keys: &[(usize, bool)]) -> Ordering {
    for (slot, is_descending) in keys {
        let (a, b) = (a.cell(*slot), b.cell(*slot));
        let is_blank = |cell: Cell<'_>| cell.content == Content::Blank;
        let ordering = match (is_blank(a), is_blank(b)) {
            (true, true) => Ordering::Equal,
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) if *is_descending => contents(b.content, a.content),
            (false, false) => contents(a.content, b.content),
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    Ordering::Equal
}

fn contents(a: Content<'_>, b: Content<'_>) -> Ordering {
    let rank = |content: Content<'_>| match content {
        Content::Number(_) => 0,
        Content::Text(_) | Content::Formula(_) => 1,
        Content::Bool(_) => 2,
        Content::Blank => 3,
    };
    match (a, b) {
        (Content::Number(a), Content::Number(b)) => a.total_cmp(&b),
        (Content::Text(a) | Content::Formula(a), Content::Text(b) | Content::Formula(b)) => {
            a.to_lowercase().cmp(&b.to_lowercase())
        }
        (Content::Bool(a), Content::Bool(b)) => a.cmp(&b),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, Tab};
    use crate::book::row::{Cell, Content, Row};

    fn tab(contents: &[(Content<'static>, f64)]) -> Tab {
        let mut tab = Tab::new(0, "t", 0, 2);
        for (content, number) in contents {
            let cells = [*content, Content::Number(*number)];
            let row = Row::new(&cells.map(|content| Cell { content, style: 0 }));
            tab.rows.insert(tab.rows.len(), vec![row]);
        }
        tab
    }

    fn second(tab: &Tab) -> Vec<Content<'_>> {
        tab.rows.iter().map(|row| row.cell(1).content).collect()
    }

    const CONTENTS: [(Content<'static>, f64); 6] = [
        (Content::Text("head"), 0.0),
        (Content::Blank, 1.0),
        (Content::Bool(true), 2.0),
        (Content::Text("b"), 3.0),
        (Content::Text("A"), 4.0),
        (Content::Number(10.0), 5.0),
    ];

    #[test]
    fn whole_rows_move_blank_cells_go_last_and_the_header_stays() {
        let numbers = |order: [f64; 6]| order.map(Content::Number).to_vec();
        for (is_descending, expected) in [
            (false, [0.0, 5.0, 4.0, 3.0, 2.0, 1.0]),
            (true, [0.0, 2.0, 3.0, 4.0, 5.0, 1.0]),
        ] {
            let mut tab = tab(&CONTENTS);
            let order = Order {
                column: 0,
                is_descending,
            };
            tab.sort(1..99, 0..2, &[order]);
            assert_eq!(second(&tab), numbers(expected));
        }
    }

    #[test]
    fn a_part_of_the_columns_is_sorted_alone() {
        let mut tab = tab(&CONTENTS);
        let order = Order {
            column: 0,
            is_descending: false,
        };
        tab.sort(1..6, 0..1, &[order]);
        assert_eq!(
            tab.rows.get(1).unwrap().cell(0).content,
            Content::Number(10.0)
        );
        assert_eq!(
            second(&tab),
            (0..6)
                .map(f64::from)
                .map(Content::Number)
                .collect::<Vec<_>>()
        );
    }
}
