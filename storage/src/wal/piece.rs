//! A piece of the stream, in bytes: what one call adds, made by its own thread before that takes the
//! log's lock, so that nobody waits for it.
//!
//! Holds: it is entries of unbroken indexes, or one record of another kind, and fits into a batch.

use super::entry::Entry;
use super::format::BATCH_BODY_LEN_MAX;
use super::record::{Record, encode_entry, entry_len, reseed};
use crate::ids::LogId;

pub(super) struct Piece {
    salt: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) count: usize,
    /// The first and the last entry.
    pub(super) entries: Option<(LogId, LogId)>,
    /// What is no entry.
    pub(super) mark: Option<Record>,
}

impl Piece {
    /// Entries, in as many pieces of at most `bytes_max` as that takes; a larger one has its own.
    ///
    /// # Panics
    /// Where an entry does not follow the one before it: a hole can only be a bug.
    pub(super) fn all_of(salt: u64, entries: &[Entry], bytes_max: usize) -> Vec<Self> {
        let bytes_max = bytes_max.min(BATCH_BODY_LEN_MAX);
        let mut pieces = Vec::with_capacity(1);
        let mut rest = entries;
        while !rest.is_empty() {
            let mut len = 0;
            let count = rest.iter().take_while(|entry| {
                len += entry_len(entry);
                len <= bytes_max
            });
            let (piece, behind) = rest.split_at(count.count().max(1));
            pieces.extend(Self::of_entries(salt, piece));
            rest = behind;
        }
        let pairs = entries.iter().zip(entries.iter().skip(1));
        for (before, entry) in pairs.map(|(before, entry)| (before.id, entry.id)) {
            let follows = entry.index == before.index.next() && before.term <= entry.term;
            assert!(follows, "entry {entry} after {before}");
        }
        pieces
    }

    fn of_entries(salt: u64, entries: &[Entry]) -> Option<Self> {
        let mut bytes = Vec::with_capacity(entries.iter().map(entry_len).sum());
        for entry in entries {
            encode_entry(entry, salt, &mut bytes);
        }
        let (first, last) = (entries.first()?, entries.last()?);
        Some(Self {
            salt,
            bytes,
            count: entries.len(),
            entries: Some((first.id, last.id)),
            mark: None,
        })
    }

    pub(super) fn of(salt: u64, record: Record) -> Self {
        let mut bytes = Vec::new();
        record.encode(salt, &mut bytes);
        let entry = record.entry_id();
        Self {
            salt,
            bytes,
            count: 1,
            entries: entry.map(|id| (id, id)),
            mark: entry.is_none().then_some(record),
        }
    }

    /// Binds it to that segment; it may have been made for the one before.
    pub(super) fn reseed(&mut self, salt: u64) {
        if self.salt != salt {
            self.salt = salt;
            reseed(salt, &mut self.bytes);
        }
    }

    pub(super) fn drops_entries(&self) -> bool {
        self.mark.as_ref().is_some_and(Record::drops_entries)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::{Index, NodeId, Term};
    use crate::wal::entry::EntryKind;

    fn entry(index: u64, len: usize) -> Entry {
        Entry {
            id: LogId {
                term: Term(1),
                node: NodeId(1),
                index: Index(index),
            },
            kind: EntryKind::Command,
            payload: Bytes::from(vec![b'x'; len]),
        }
    }

    #[test]
    fn what_is_too_much_for_a_piece_goes_on_in_the_next_and_a_large_entry_has_its_own() {
        let lens = [100, 100, 100, 5000, 0, 1, 900];
        let entries: Vec<_> = (1..).zip(lens).map(|(at, len)| entry(at, len)).collect();
        let mut pieces = Piece::all_of(7, &entries, 300);
        let counts: Vec<_> = pieces.iter().map(|piece| piece.count).collect();
        assert_eq!(vec![2, 1, 1, 2, 1], counts);
        for piece in &mut pieces {
            piece.reseed(8);
        }
        let bytes: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| piece.bytes.clone())
            .collect();
        let found = Record::decode_all(8, &bytes, 7).unwrap();
        let found: Vec<_> = found.into_iter().filter_map(Record::into_entry).collect();
        assert_eq!(entries, found);
        let spans = pieces.iter().filter_map(|piece| piece.entries);
        let spans: Vec<_> = spans
            .map(|(first, last)| (first.index.0, last.index.0))
            .collect();
        assert_eq!(vec![(1, 2), (3, 3), (4, 4), (5, 6), (7, 7)], spans);
    }

    #[test]
    #[should_panic(expected = "entry 1.1.4 after 1.1.2")]
    fn a_hole_is_a_bug() {
        Piece::all_of(7, &[entry(2, 1), entry(4, 1)], 300);
    }
}
