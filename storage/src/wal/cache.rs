//! The most recent entries, in memory.
//!
//! Holds: it ends where the log ends; entries that are not written yet are always in it, so that
//! an entry is readable as soon as `append` has returned. Older ones go when it is full and more comes.

use std::collections::VecDeque;
use std::ops::Range;

use super::entry::Entry;
use super::record::RECORD_HEADER_LEN;
use crate::ids::Index;

/// The log's tail, as it was appended: what came in one call comes and goes as one. Each call carries a
/// stamp that counts them over the life of the handle: an index may come twice (after a truncation), a
/// stamp never does.
#[derive(Debug, Default)]
pub(super) struct TailCache {
    calls: VecDeque<Appended>,
    bytes: usize,
    next_stamp: u64,
    /// Stamps below are of calls that are written.
    written: u64,
}

/// What one call appended, or what is left of it; never nothing.
#[derive(Debug)]
pub(super) struct Appended {
    stamp: u64,
    bytes: usize,
    entries: VecDeque<Entry>,
}

/// What an entry costs to keep or to write.
pub(super) fn cost(entry: &Entry) -> usize {
    RECORD_HEADER_LEN + entry.payload.len()
}

impl TailCache {
    /// Adds the newest entries, which cost so many bytes.
    pub(super) fn push(&mut self, entries: Vec<Entry>, bytes: usize) {
        let Some(first) = entries.first() else {
            return;
        };
        if let Some(last) = self.last() {
            assert_eq!(last.next(), first.id.index, "the cache has no holes");
        }
        self.bytes += bytes;
        self.calls.push_back(Appended {
            stamp: self.next_stamp,
            bytes,
            entries: entries.into(),
        });
        self.next_stamp += 1;
    }

    /// Entries after `keep` are gone.
    pub(super) fn truncate_after(&mut self, keep: Option<Index>) {
        while let Some(call) = self.calls.back_mut() {
            while let Some(last) = call.entries.back() {
                if keep.is_some_and(|keep| last.id.index <= keep) {
                    return;
                }
                let bytes = cost(last);
                call.bytes -= bytes;
                self.bytes -= bytes;
                call.entries.pop_back();
            }
            self.calls.pop_back();
        }
    }

    /// Entries up to `upto` are gone.
    pub(super) fn purge(&mut self, upto: Index) {
        while let Some(call) = self.calls.front_mut() {
            while let Some(first) = call.entries.front() {
                if first.id.index > upto {
                    return;
                }
                let bytes = cost(first);
                call.bytes -= bytes;
                self.bytes -= bytes;
                call.entries.pop_front();
            }
            self.calls.pop_front();
        }
    }

    /// Calls of stamps below this one are written: they may go.
    pub(super) fn written_upto(&mut self, stamp: u64) {
        self.written = self.written.max(stamp);
    }

    /// Makes room down to `bytes_max`, but only of what is written. What goes is handed out: letting
    /// go of many entries takes its time, and the caller holds a lock.
    pub(super) fn shrink(&mut self, bytes_max: usize) -> Vec<Appended> {
        let mut gone = Vec::new();
        while let Some(call) = self.calls.front() {
            if self.bytes <= bytes_max || call.stamp >= self.written {
                break;
            }
            self.bytes -= call.bytes;
            gone.extend(self.calls.pop_front());
        }
        // A burst must not leave its room behind for ever.
        if self.calls.capacity() > 4096 && self.calls.len() < self.calls.capacity() / 4 {
            self.calls.shrink_to(self.calls.len() * 2);
        }
        gone
    }

    /// The stamp of the next call.
    pub(super) fn next_stamp(&self) -> u64 {
        self.next_stamp
    }

    /// The oldest index in it.
    pub(super) fn first(&self) -> Option<Index> {
        let first = self.calls.front()?.entries.front()?;
        Some(first.id.index)
    }

    fn last(&self) -> Option<Index> {
        let last = self.calls.back()?.entries.back()?;
        Some(last.id.index)
    }

    /// Entries of `range`, which must begin inside.
    pub(super) fn range(&self, range: Range<Index>) -> impl Iterator<Item = &Entry> {
        let is_before = |call: &Appended| {
            let last = call.entries.back();
            last.is_some_and(|last| last.id.index < range.start)
        };
        let mut calls = self.calls.range(self.calls.partition_point(is_before)..);
        let begun = calls.next().into_iter().flat_map(move |call| {
            let first = call
                .entries
                .front()
                .map_or(range.start, |first| first.id.index);
            let skip = usize::try_from(range.start.0.saturating_sub(first.0));
            let skip = skip.unwrap_or(usize::MAX).min(call.entries.len());
            call.entries.range(skip..)
        });
        begun
            .chain(calls.flat_map(|call| &call.entries))
            .take_while(move |entry| entry.id.index < range.end)
    }

    /// What the entries in it cost.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
