//! A batch being put together: records into bytes, header and padding around them.
//!
//! Holds: a record is encoded once, straight into the bytes that will be written.

use super::bytes::put;
use super::format::{BATCH_BODY_LEN_MAX, BATCH_HEADER_LEN, BatchHeader};
use super::record::{PAYLOAD_LEN_MAX, RECORD_HEADER_LEN, Record};
use crate::ids::Index;

const _: () = assert!(
    PAYLOAD_LEN_MAX + RECORD_HEADER_LEN <= BATCH_BODY_LEN_MAX,
    "every entry fits a batch"
);

/// Room that a large batch took is given back after it.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Records on their way into one write.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    records: Vec<Record>,
    entries: Option<(Index, Index)>,
}

/// What the header needs that the records do not know.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) salt: u64,
    pub(super) seq: u64,
    pub(super) chain: u32,
    pub(super) synced_upto: u64,
}

impl Batch {
    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.bytes.resize(BATCH_HEADER_LEN, 0);
        self.records.clear();
        self.records.shrink_to(KEPT_BYTES_MAX / RECORD_HEADER_LEN);
        self.entries = None;
    }

    /// Whether the record may come into this batch: there is room, and nothing that drops entries
    /// stands behind entries, so that a batch carries one unbroken range of indexes.
    pub(super) fn takes(&self, record: &Record, bytes_max: usize) -> bool {
        if self.records.is_empty() {
            return true;
        }
        let len = self.bytes.len() - BATCH_HEADER_LEN + record.encoded_len();
        len <= bytes_max.min(BATCH_BODY_LEN_MAX)
            && !(record.drops_entries() && self.entries.is_some())
    }

    /// Adds a record.
    pub(super) fn push(&mut self, salt: u64, record: Record) {
        record.encode(salt, &mut self.bytes);
        if let Record::Entry(entry) = &record {
            let index = entry.id.index;
            let first = self.entries.map_or(index, |(first, _)| first);
            self.entries = Some((first, index));
        }
        self.records.push(record);
    }

    /// Binds the records to another segment.
    pub(super) fn reseed(&mut self, salt: u64) {
        self.bytes.truncate(BATCH_HEADER_LEN);
        for record in &self.records {
            record.encode(salt, &mut self.bytes);
        }
    }

    /// The bytes to write, a whole number of blocks, and the crc of their header.
    pub(super) fn seal(&mut self, place: Place) -> (&[u8], u32) {
        let body = self.bytes.get(BATCH_HEADER_LEN..).unwrap_or_default();
        assert!(
            body.len() <= BATCH_BODY_LEN_MAX,
            "a body of {} bytes",
            body.len()
        );
        let header = BatchHeader {
            salt: place.salt,
            seq: place.seq,
            entries: self.entries,
            record_count: u32::try_from(self.records.len()).unwrap_or(u32::MAX),
            body_len: u32::try_from(body.len()).unwrap_or(u32::MAX),
            body_crc: crc32fast::hash(body),
            chain: place.chain,
            synced_upto: place.synced_upto,
        };
        let (head, crc) = header.encode();
        put(&mut self.bytes, 0, &head);
        self.bytes.resize(header.padded_len(), 0);
        (&self.bytes, crc)
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(super) fn entries(&self) -> Option<(Index, Index)> {
        self.entries
    }

    /// What the whole batch will take on disk, should it end here.
    pub(super) fn padded_len(&self) -> usize {
        super::bytes::round_up(self.bytes.len(), super::format::BLOCK_LEN)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}
