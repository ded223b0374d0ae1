//! The most recent entries, in memory.
//!
//! Holds: it ends where the log ends; entries that are not written yet are always in it, so that
//! an entry is readable as soon as `append` has returned. Older ones go when it is full.

use std::collections::VecDeque;
use std::ops::Range;

use super::entry::Entry;
use super::record::RECORD_HEADER_LEN;
use crate::ids::Index;

/// The log's tail. Each entry carries a stamp that counts appended entries over the life of the
/// handle: an index may come twice (after a truncation), a stamp never does.
#[derive(Debug, Default)]
pub(super) struct TailCache {
    entries: VecDeque<(u64, Entry)>,
    bytes: usize,
    next_stamp: u64,
}

/// What an entry costs to keep or to write.
pub(super) fn cost(entry: &Entry) -> usize {
    RECORD_HEADER_LEN + entry.payload.len()
}

impl TailCache {
    /// Adds the newest entry.
    pub(super) fn push(&mut self, entry: Entry) {
        if let Some((_, last)) = self.entries.back() {
            assert_eq!(
                last.id.index.next(),
                entry.id.index,
                "the cache has no holes"
            );
        }
        self.bytes += cost(&entry);
        self.entries.push_back((self.next_stamp, entry));
        self.next_stamp += 1;
    }

    /// Entries after `keep` are gone.
    pub(super) fn truncate_after(&mut self, keep: Option<Index>) {
        while let Some((_, last)) = self.entries.back() {
            if keep.is_some_and(|keep| last.id.index <= keep) {
                break;
            }
            self.bytes -= cost(last);
            self.entries.pop_back();
        }
    }

    /// Entries up to `upto` are gone.
    pub(super) fn purge(&mut self, upto: Index) {
        while let Some((_, first)) = self.entries.front() {
            if first.id.index > upto {
                break;
            }
            self.bytes -= cost(first);
            self.entries.pop_front();
        }
    }

    /// Makes room down to `bytes_max`, but only of what is written: stamps below `written`.
    pub(super) fn shrink(&mut self, bytes_max: usize, written: u64) {
        while let Some((stamp, first)) = self.entries.front() {
            if self.bytes <= bytes_max || *stamp >= written {
                break;
            }
            self.bytes -= cost(first);
            self.entries.pop_front();
        }
        // A burst must not leave its room behind for ever.
        if self.entries.capacity() > 4096 && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    /// The stamp of the next entry.
    pub(super) fn next_stamp(&self) -> u64 {
        self.next_stamp
    }

    /// The oldest index in it.
    pub(super) fn first(&self) -> Option<Index> {
        self.entries.front().map(|(_, entry)| entry.id.index)
    }

    /// Entries of `range`, which must begin inside.
    pub(super) fn range(&self, range: Range<Index>) -> impl Iterator<Item = &Entry> {
        let first = self.first().unwrap_or(range.end);
        let skip = usize::try_from(range.start.0.saturating_sub(first.0)).unwrap_or(usize::MAX);
        self.entries
            .range(skip.min(self.entries.len())..)
            .map(|(_, entry)| entry)
            .take_while(move |entry| entry.id.index < range.end)
    }

    /// What the entries in it cost.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
