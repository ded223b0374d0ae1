//! One row of a tab, packed: a million rows of ten short texts are some 200 MB.
//!
//! ```text
//! cell by cell, by slot:  tag [len varint] [bytes] [style varint]
//! tag: 0 blank, 1 number (8 bytes, f64), 2 text, 3 false, 4 true, 5 formula; + 128: a style follows
//! ```
//! Holds: a row never changes, so that it can stand in every version and in the journal at once. The
//! blank cells at its end are not stored, and a row of such cells alone is `None`.

use std::sync::Arc;

/// What a cell holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Content<'a> {
    #[default]
    Blank,
    Number(f64),
    Text(&'a str),
    Bool(bool),
    Formula(&'a str),
}

/// A cell: what it holds, and a place in the spreadsheet's list of styles (0: none).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cell<'a> {
    pub(crate) content: Content<'a>,
    pub(crate) style: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Row(Option<Arc<[u8]>>);

const STYLED: u8 = 128;

impl Cell<'_> {
    fn is_plain_blank(self) -> bool {
        self == Cell::default()
    }
}

impl Row {
    pub(crate) fn new(cells: &[Cell<'_>]) -> Self {
        let end = cells.iter().rposition(|cell| !cell.is_plain_blank());
        let Some(end) = end else {
            return Self(None);
        };
        let mut bytes = Vec::with_capacity(16 * (end + 1));
        for cell in cells.iter().take(end + 1) {
            push(&mut bytes, *cell);
        }
        Self(Some(bytes.into()))
    }

    /// Its cells by slot, up to the last that is stored.
    pub(crate) fn cells(&self) -> Cells<'_> {
        Cells(self.0.as_deref().unwrap_or_default())
    }

    pub(crate) fn cell(&self, slot: usize) -> Cell<'_> {
        self.cells().nth(slot).unwrap_or_default()
    }

    /// Its cells in the order of `slots`.
    pub(crate) fn ordered(&self, slots: &[usize]) -> Vec<Cell<'_>> {
        let cells = self.cells().collect::<Vec<_>>();
        let cell = |slot: &usize| cells.get(*slot).copied().unwrap_or_default();
        slots.iter().map(cell).collect()
    }

    /// The same row with other cells at some slots.
    pub(crate) fn with<'a>(&'a self, changes: impl IntoIterator<Item = (usize, Cell<'a>)>) -> Self {
        let mut cells = self.cells().collect::<Vec<_>>();
        for (slot, cell) in changes {
            if cells.len() <= slot {
                cells.resize(slot + 1, Cell::default());
            }
            if let Some(place) = cells.get_mut(slot) {
                *place = cell;
            }
        }
        Self::new(&cells)
    }

    /// Something stands in one of its slots that `is_live`.
    pub(crate) fn has_data(&self, is_live: impl Fn(usize) -> bool) -> bool {
        let mut cells = self.cells().enumerate();
        cells.any(|(slot, cell)| cell.content != Content::Blank && is_live(slot))
    }
}

fn push(bytes: &mut Vec<u8>, cell: Cell<'_>) {
    let styled = if cell.style == 0 { 0 } else { STYLED };
    let (tag, text) = match cell.content {
        Content::Blank => (0, None),
        Content::Number(_) => (1, None),
        Content::Text(text) => (2, Some(text)),
        Content::Bool(false) => (3, None),
        Content::Bool(true) => (4, None),
        Content::Formula(text) => (5, Some(text)),
    };
    bytes.push(tag | styled);
    if let Content::Number(number) = cell.content {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    if let Some(text) = text {
        push_number(bytes, text.len());
        bytes.extend_from_slice(text.as_bytes());
    }
    if styled != 0 {
        push_number(bytes, usize::try_from(cell.style).unwrap_or(0));
    }
}

fn push_number(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 128 {
        bytes.push(u8::try_from(number % 128).unwrap_or(0) | 128);
        number /= 128;
    }
    bytes.push(u8::try_from(number).unwrap_or(0));
}

/// The cells of a row, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Cells<'a>(&'a [u8]);

impl<'a> Cells<'a> {
    fn number(&mut self) -> Option<usize> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= usize::from(byte & 127) << shift;
            if byte & 128 == 0 {
                return Some(number);
            }
            shift += 7;
        }
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = self.number()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Cell<'a>;

    fn next(&mut self) -> Option<Cell<'a>> {
        let (tag, rest) = self.0.split_first()?;
        self.0 = rest;
        let content = match tag & !STYLED {
            1 => {
                let (number, rest) = self.0.split_first_chunk::<8>()?;
                self.0 = rest;
                Content::Number(f64::from_le_bytes(*number))
            }
            2 => Content::Text(self.text()?),
            3 => Content::Bool(false),
            4 => Content::Bool(true),
            5 => Content::Formula(self.text()?),
            _ => Content::Blank,
        };
        let style = if tag & STYLED == 0 { 0 } else { self.number()? };
        let style = u32::try_from(style).ok()?;
        Some(Cell { content, style })
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Content, Row};

    fn text(text: &str) -> Cell<'_> {
        let content = Content::Text(text);
        Cell { content, style: 0 }
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let long = "ä😀".repeat(9000);
        let contents = [
            Content::Text("=1+1"),
            Content::Blank,
            Content::Number(-0.1),
            Content::Bool(true),
            Content::Bool(false),
            Content::Formula("=1+1"),
            Content::Text(""),
            Content::Text(&long),
        ];
        for style in [0, 1, 300] {
            let cells = contents.map(|content| Cell { content, style });
            let row = Row::new(&cells);
            assert_eq!(row.cells().collect::<Vec<_>>(), cells);
            assert_eq!(row.cell(7).content, Content::Text(&long));
            assert_eq!(row.cell(8), Cell::default());
        }
    }

    #[test]
    fn blank_cells_at_the_end_are_not_stored() {
        let row = Row::new(&[text("a"), Cell::default(), Cell::default()]);
        assert_eq!(row.cells().count(), 1);
        assert!(Row::new(&[Cell::default(); 3]).0.is_none());
        let row = row.with([(0, Cell::default())]);
        assert!(row.0.is_none());
    }

    #[test]
    fn data_is_looked_for_in_the_slots_that_are_still_there() {
        let row = Row::new(&[]).with([
            (3, text("")),
            (
                1,
                Cell {
                    content: Content::Blank,
                    style: 2,
                },
            ),
        ]);
        assert!(row.has_data(|_| true));
        assert!(!row.has_data(|slot| slot != 3));
        assert_eq!(row.ordered(&[3, 0]), [text(""), Cell::default()]);
    }
}
