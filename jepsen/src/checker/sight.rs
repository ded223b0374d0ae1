//! A sight: what one reader has shown of one form, in the order in which it showed it.
//!
//! Holds: a reader speaks of every seq but those that it was told are forgotten. Of these it says
//! nothing: neither that they were there nor that they were not.

use std::collections::HashMap;
use std::ops::Range;

use crate::form::Form;

/// How a reader shows a document, and so which digest its rows carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Document,
    Cells,
}

/// One record as a reader shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) seq: u64,
    pub(crate) id: u128,
    pub(crate) received_at: u64,
    /// A sheet does not show it.
    pub(crate) index: Option<u64>,
    /// `None`: this run never made such a document.
    pub(crate) marker: Option<u64>,
    pub(crate) digest: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Sight {
    /// For people: `GET`, `sheet`, `export`...
    pub(crate) reader: &'static str,
    pub(crate) form: Form,
    pub(crate) shape: Shape,
    pub(crate) rows: Vec<Row>,
    /// What stands there and is no record, in words.
    pub(crate) unreadable: Vec<String>,
    /// Seqs that had left the log when it came to them; rising.
    forgotten: Vec<Range<u64>>,
    /// Where a marker was shown first.
    by_marker: HashMap<u64, usize>,
}

impl Sight {
    pub(crate) fn new(reader: &'static str, form: Form, shape: Shape) -> Self {
        Self {
            reader,
            form,
            shape,
            rows: Vec::new(),
            unreadable: Vec::new(),
            forgotten: Vec::new(),
            by_marker: HashMap::new(),
        }
    }

    pub(crate) fn push(&mut self, row: Row) {
        if let Some(marker) = row.marker {
            self.by_marker.entry(marker).or_insert(self.rows.len());
        }
        self.rows.push(row);
    }

    /// What it has not come to yet and stands below `oldest` is forgotten.
    pub(crate) fn forget_below(&mut self, oldest: u64) {
        let next = self.last_seq() + 1;
        if next < oldest {
            self.forgotten.push(next..oldest);
        }
    }

    /// Below it something is forgotten; `None`: nothing is.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.forgotten.last().map(|gone| gone.end)
    }

    pub(crate) fn speaks_of(&self, seq: u64) -> bool {
        !self.forgotten.iter().any(|gone| gone.contains(&seq))
    }

    /// The first behind `seq` that it speaks of.
    pub(crate) fn next_after(&self, seq: u64) -> u64 {
        let gone = self.forgotten.iter();
        gone.fold(
            seq + 1,
            |next, gone| {
                if gone.contains(&next) { gone.end } else { next }
            },
        )
    }

    /// A reader that fails has shown what came before: the rest is judged as not shown.
    pub(crate) fn end(&mut self, read: anyhow::Result<()>) {
        if let Err(error) = read {
            self.unreadable.push(format!("reading stopped: {error:#}"));
        }
    }

    pub(crate) fn find(&self, marker: u64) -> Option<&Row> {
        self.rows.get(*self.by_marker.get(&marker)?)
    }

    /// The place of a marker's first row.
    pub(crate) fn first_row(&self, marker: u64) -> Option<usize> {
        self.by_marker.get(&marker).copied()
    }

    /// The last seq shown or forgotten; 0 where nothing was.
    pub(crate) fn last_seq(&self) -> u64 {
        let shown = self.rows.last().map_or(0, |row| row.seq);
        let forgotten = self.oldest().map_or(0, |oldest| oldest - 1);
        shown.max(forgotten)
    }
}
