//! The rows of a tab, in shared pieces.
//!
//! Holds: a clone costs one counter a piece, not one a row, and a change copies only the pieces that
//! it touches: so every batch may work on a copy, and every version may be kept.

use std::ops::Range;
use std::sync::Arc;

use super::row::Row;

const PIECE_ROWS_MAX: usize = 512;

#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pieces: Vec<Arc<Vec<Row>>>,
    len: usize,
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The piece that holds row `at`, and the place in it; at the end, the last piece.
    fn find(&self, at: usize) -> Option<(usize, usize)> {
        if at >= self.len {
            let last = self.pieces.len().checked_sub(1)?;
            return Some((last, self.pieces.get(last)?.len()));
        }
        let mut before = 0;
        for (place, piece) in self.pieces.iter().enumerate() {
            if at < before + piece.len() {
                return Some((place, at - before));
            }
            before += piece.len();
        }
        None
    }

    pub(crate) fn get(&self, at: usize) -> Option<&Row> {
        let (piece, place) = self.find(at)?;
        self.pieces.get(piece)?.get(place)
    }

    /// Does nothing where there is no such row.
    pub(crate) fn set(&mut self, at: usize, row: Row) {
        if let Some((piece, place)) = self.find(at)
            && let Some(piece) = self.pieces.get_mut(piece)
            && let Some(place) = Arc::make_mut(piece).get_mut(place)
        {
            *place = row;
        }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Row> {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }

    /// Those of `range` that there are, with their places.
    pub(crate) fn range(&self, range: Range<usize>) -> impl Iterator<Item = (usize, &Row)> {
        let (first, skip) = self.find(range.start).unwrap_or_default();
        let count = range.end.min(self.len).saturating_sub(range.start);
        let rows = self
            .pieces
            .iter()
            .skip(first)
            .flat_map(|piece| piece.iter());
        (range.start..).zip(rows.skip(skip).take(count))
    }

    pub(crate) fn insert(&mut self, at: usize, rows: Vec<Row>) {
        let found = self.find(at.min(self.len));
        self.len += rows.len();
        let whole = match found {
            // The last piece is filled up first, as appending one by one would do.
            Some((piece, place)) => {
                let Some(found) = self.pieces.get_mut(piece) else {
                    return;
                };
                let found = Arc::make_mut(found);
                let behind = found.split_off(place.min(found.len()));
                found.extend(rows);
                found.extend(behind);
                if found.len() <= PIECE_ROWS_MAX {
                    return;
                }
                (piece, std::mem::take(found))
            }
            None => (0, rows),
        };
        let (place, rows) = whole;
        let pieces = rows
            .chunks(PIECE_ROWS_MAX)
            .map(|rows| Arc::new(rows.to_vec()));
        let end = (place + 1).min(self.pieces.len());
        self.pieces.splice(place..end, pieces.collect::<Vec<_>>());
    }

    pub(crate) fn extend_blank(&mut self, count: usize) {
        self.insert(self.len, vec![Row::default(); count]);
    }

    pub(crate) fn remove(&mut self, range: Range<usize>) -> Vec<Row> {
        let range = range.start.min(self.len)..range.end.min(self.len);
        let (mut removed, mut before) = (Vec::new(), 0);
        for piece in &mut self.pieces {
            let len = piece.len();
            let start = range.start.max(before).saturating_sub(before).min(len);
            let end = range.end.max(before).saturating_sub(before).min(len);
            if start < end {
                removed.extend(Arc::make_mut(piece).drain(start..end));
            }
            before += len;
        }
        self.pieces.retain(|piece| !piece.is_empty());
        self.len -= removed.len();
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::Rows;
    use crate::book::row::{Cell, Content, Row};

    fn numbered(number: u32) -> Row {
        let content = Content::Number(number.into());
        Row::new(&[Cell { content, style: 0 }])
    }

    fn numbers(rows: &Rows) -> Vec<u32> {
        let number = |row: &Row| match row.cell(0).content {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a test"
            )]
            Content::Number(number) => number as u32,
            Content::Blank | Content::Text(_) | Content::Bool(_) | Content::Formula(_) => u32::MAX,
        };
        rows.iter().map(number).collect()
    }

    #[test]
    fn rows_are_inserted_removed_and_set_as_in_a_plain_list() {
        let (mut rows, mut plain) = (Rows::default(), Vec::new());
        let mut dice = 7_u64;
        for step in 0..600_u32 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let roll = usize::try_from(dice >> 33).unwrap();
            let (at, count) = (roll % (plain.len() + 1), roll % 97);
            if roll.is_multiple_of(3) {
                let end = (at + count).min(plain.len());
                let removed = rows.remove(at..end);
                assert_eq!(removed.len(), plain.drain(at..end).count());
            } else {
                let new = (0..count).map(|n| step * 100 + u32::try_from(n).unwrap());
                let new = new.collect::<Vec<_>>();
                rows.insert(at, new.iter().map(|n| numbered(*n)).collect());
                plain.splice(at..at, new);
            }
            if at < plain.len() {
                rows.set(at, numbered(step));
                plain[at] = step;
            }
            assert_eq!(rows.len(), plain.len());
        }
        assert!(plain.len() > 1000);
        assert_eq!(numbers(&rows), plain);
        let some = rows.range(700..900).map(|(at, row)| (at, row.cell(0)));
        assert!(some.eq((700..900).map(|at| (at, rows.get(at).unwrap().cell(0)))));
        assert_eq!(rows.range(990..99_999).count(), rows.len() - 990);
    }

    #[test]
    fn a_copy_does_not_see_what_is_changed_after_it() {
        let mut rows = Rows::default();
        rows.extend_blank(3000);
        let copy = rows.clone();
        rows.set(1500, numbered(1));
        rows.insert(3000, vec![numbered(2)]);
        rows.remove(0..10);
        assert_eq!((copy.len(), rows.len()), (3000, 2991));
        assert!(!copy.get(1500).unwrap().has_data(|_| true));
        let shared = copy.pieces.iter().filter(|piece| {
            rows.pieces
                .iter()
                .any(|other| std::sync::Arc::ptr_eq(piece, other))
        });
        assert!(shared.count() >= 3, "a change copies only what it touches");
    }
}
