//! A batch being put together: records into bytes, header and padding around them, and who waits.
//!
//! Holds: a record is encoded once, by the thread that brings it, straight into the bytes that will
//! be written; so while one batch is on its way to the disk the next one is already made. Only a
//! rotation encodes again: records are bound to their segment's salt.

use crc32fast::Hasher;

use super::aligned::AlignedBuf;
use super::bytes::{put, round_up};
use super::damage::Floor;
use super::entry::Vote;
use super::format::{BATCH_BODY_LEN_MAX, BATCH_HEADER_LEN, BLOCK_LEN, BatchHeader};
use super::queue::Call;
use super::record::{PAYLOAD_LEN_MAX, RECORD_HEADER_LEN, Record};
use crate::ids::Index;

const _: () = assert!(
    PAYLOAD_LEN_MAX + RECORD_HEADER_LEN <= BATCH_BODY_LEN_MAX,
    "every entry fits a batch"
);

/// Room that a large batch took is given back after it; touching it anew costs more than keeping it.
const KEPT_BYTES_MAX: usize = 2 << 20;
/// The same for its records.
const KEPT_RECORDS_MAX: usize = 8192;

/// Records on their way into one write.
#[derive(Default)]
pub(super) struct Batch {
    bytes: AlignedBuf,
    body_crc: Hasher,
    salt: u64,
    records: Vec<Record>,
    entries: Option<(Index, Index)>,
    /// The calls that end with it.
    pub(super) calls: Vec<Call>,
    /// Its first call began in the batch before.
    pub(super) has_earlier_part: bool,
    /// Synced before its calls are answered, whatever the policy.
    pub(super) must_sync: bool,
    /// The last vote in it.
    pub(super) vote: Option<Vote>,
    /// What the amnesia floor becomes with it.
    pub(super) floor: Option<NewFloor>,
    /// The stamp after its last entry.
    pub(super) stamp_end: u64,
    /// What its calls count in the queue.
    pub(super) cost: usize,
}

/// What the amnesia floor becomes.
#[derive(Clone, Copy)]
pub(super) enum NewFloor {
    None,
    Some(Floor),
}

impl NewFloor {
    pub(super) fn get(self) -> Option<Floor> {
        match self {
            Self::None => None,
            Self::Some(floor) => Some(floor),
        }
    }
}

/// What the header needs that the records do not know.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) seq: u64,
    pub(super) chain: u32,
    pub(super) synced_upto: u64,
    /// A block of zeros follows: the end shows even where old bytes lie behind.
    pub(super) has_zeros_behind: bool,
}

impl Batch {
    /// Begins anew, for the segment of this salt.
    pub(super) fn clear(&mut self, salt: u64) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.bytes.resize(BATCH_HEADER_LEN);
        self.body_crc = Hasher::new();
        self.salt = salt;
        self.records.clear();
        self.records.shrink_to(KEPT_RECORDS_MAX);
        self.entries = None;
        self.calls.clear();
        self.calls.shrink_to(KEPT_RECORDS_MAX);
        self.has_earlier_part = false;
        self.must_sync = false;
        self.vote = None;
        self.floor = None;
        self.stamp_end = 0;
        self.cost = 0;
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
    pub(super) fn push(&mut self, record: Record) {
        self.encode(&record);
        match &record {
            Record::Entry(entry) => {
                let index = entry.id.index;
                let first = self.entries.map_or(index, |(first, _)| first);
                self.entries = Some((first, index));
            }
            Record::Vote(vote) => self.vote = Some(*vote),
            Record::TruncateAfter(_)
            | Record::PurgeUpto(_)
            | Record::Committed(_)
            | Record::Repaired(_) => {}
        }
        self.records.push(record);
    }

    fn encode(&mut self, record: &Record) {
        let from = self.bytes.len();
        record.encode(self.salt, &mut self.bytes);
        let encoded = self.bytes.as_slice().get(from..).unwrap_or_default();
        self.body_crc.update(encoded);
    }

    /// Binds the records to another segment.
    pub(super) fn reseed(&mut self, salt: u64) {
        if self.salt == salt {
            return;
        }
        self.salt = salt;
        self.bytes.truncate(BATCH_HEADER_LEN);
        self.body_crc = Hasher::new();
        let records = std::mem::take(&mut self.records);
        for record in &records {
            self.encode(record);
        }
        self.records = records;
    }

    /// The bytes to write, a whole number of blocks; how many of them are the batch's own; and the
    /// crc of their header.
    pub(super) fn seal(&mut self, place: Place) -> (&[u8], usize, u32) {
        let body_len = self.bytes.len() - BATCH_HEADER_LEN;
        assert!(body_len <= BATCH_BODY_LEN_MAX, "a body of {body_len} bytes");
        let header = BatchHeader {
            salt: self.salt,
            seq: place.seq,
            entries: self.entries,
            record_count: u32::try_from(self.records.len()).unwrap_or(u32::MAX),
            body_len: u32::try_from(body_len).unwrap_or(u32::MAX),
            body_crc: self.body_crc.clone().finalize(),
            chain: place.chain,
            synced_upto: place.synced_upto,
        };
        let (head, crc) = header.encode();
        put(self.bytes.as_mut_slice(), 0, &head);
        let len = header.padded_len();
        let behind = if place.has_zeros_behind { BLOCK_LEN } else { 0 };
        self.bytes.resize(len + behind);
        (self.bytes.as_slice(), len, crc)
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(super) fn entries(&self) -> Option<(Index, Index)> {
        self.entries
    }

    /// What the whole batch will take on disk, should it end here.
    pub(super) fn padded_len(&self) -> usize {
        round_up(self.bytes.len(), BLOCK_LEN)
    }

    /// Whether segments may be free after it.
    pub(super) fn has_purge(&self) -> bool {
        let mut records = self.records.iter();
        records.any(|record| matches!(record, Record::PurgeUpto(_)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}
