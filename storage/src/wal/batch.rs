//! A batch being put together: pieces of the stream, header and padding around them, and who waits.
//!
//! Holds: pieces are copied by the threads that bring them into the bytes that will be written; so
//! while one batch is on its way to the disk the next one is already made. Only a rotation changes
//! them: records are bound to their segment's salt.

use crc32fast::Hasher;

use super::aligned::AlignedBuf;
use super::bytes::{put, round_up};
use super::damage::Floor;
use super::entry::Vote;
use super::format::{BATCH_BODY_LEN_MAX, BATCH_HEADER_LEN, BLOCK_LEN, BatchHeader};
use super::piece::Piece;
use super::queue::Call;
use super::record::{PAYLOAD_LEN_MAX, RECORD_HEADER_LEN, Record, reseed};
use crate::ids::LogId;

const _: () = assert!(
    PAYLOAD_LEN_MAX + RECORD_HEADER_LEN <= BATCH_BODY_LEN_MAX,
    "every entry fits a batch"
);

/// Room that a large batch took is given back after it; touching it anew costs more than keeping it.
const KEPT_BYTES_MAX: usize = 2 << 20;
/// The body's crc takes in so much at once: short pieces cost it several times as much a byte. More would
/// leave too much of it to the writer's thread, while the disk has nothing to do.
const CRC_BYTES_MIN: usize = 2048;

/// Records on their way into one write.
#[derive(Default)]
pub(super) struct Batch {
    bytes: AlignedBuf,
    body_crc: Hasher,
    /// How far into `bytes` it has come.
    crc_upto: usize,
    salt: u64,
    records: usize,
    /// The first and the last.
    entries: Option<(LogId, LogId)>,
    /// The records that are no entries.
    marks: Vec<Record>,
    /// The calls that end with it.
    pub(super) calls: Vec<Call>,
    /// Its first call began in the batch before.
    pub(super) has_earlier_part: bool,
    /// Synced before its calls are answered, whatever the policy.
    pub(super) must_sync: bool,
    /// What the amnesia floor becomes with it.
    pub(super) floor: Option<NewFloor>,
    /// The cache's stamp after its entries.
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
    /// An empty one for the segment of this salt.
    pub(super) fn new(salt: u64) -> Self {
        let mut batch = Self::default();
        batch.clear(salt);
        batch
    }

    /// Begins anew, for the segment of this salt.
    pub(super) fn clear(&mut self, salt: u64) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.bytes.resize(BATCH_HEADER_LEN);
        self.begin_crc();
        self.salt = salt;
        self.records = 0;
        self.entries = None;
        self.marks = Vec::new();
        self.calls = Vec::new();
        self.has_earlier_part = false;
        self.must_sync = false;
        self.floor = None;
        self.stamp_end = 0;
        self.cost = 0;
    }

    /// Takes a piece in; gives it back where there is no room, or where it drops entries and would
    /// stand behind some: a batch carries one unbroken range of indexes.
    pub(super) fn push(&mut self, mut piece: Piece, bytes_max: usize) -> Option<Piece> {
        let len = self.bytes.len() - BATCH_HEADER_LEN + piece.bytes.len();
        let has_room = len <= bytes_max.min(BATCH_BODY_LEN_MAX);
        let fits = has_room && !(piece.drops_entries() && self.entries.is_some());
        if !fits && !self.is_empty() {
            return Some(piece);
        }
        piece.reseed(self.salt);
        self.bytes.extend(&piece.bytes);
        if CRC_BYTES_MIN <= self.bytes.len() - self.crc_upto {
            self.extend_crc();
        }
        self.records += piece.count;
        if let Some((first, last)) = piece.entries {
            let first = self.entries.map_or(first, |(first, _)| first);
            self.entries = Some((first, last));
        }
        self.marks.extend(piece.mark);
        None
    }

    /// Takes in the first piece of an empty batch: that fits, whatever it is.
    pub(super) fn begin_with(&mut self, piece: Piece) {
        let left = self.push(piece, usize::MAX);
        assert!(left.is_none(), "a piece fits an empty batch");
    }

    fn begin_crc(&mut self) {
        (self.body_crc, self.crc_upto) = (Hasher::new(), BATCH_HEADER_LEN);
    }

    /// Takes what is new into the body's crc.
    fn extend_crc(&mut self) {
        let rest = self.bytes.as_slice().get(self.crc_upto..);
        self.body_crc.update(rest.unwrap_or_default());
        self.crc_upto = self.bytes.len();
    }

    /// Binds the records to another segment.
    pub(super) fn reseed(&mut self, salt: u64) {
        if self.salt == salt {
            return;
        }
        self.salt = salt;
        let records = self.bytes.as_mut_slice().get_mut(BATCH_HEADER_LEN..);
        reseed(salt, records.unwrap_or_default());
        self.begin_crc();
    }

    /// The bytes to write, a whole number of blocks; how many of them are the batch's own; and the
    /// crc of their header.
    pub(super) fn seal(&mut self, place: Place) -> (&[u8], usize, u32) {
        self.extend_crc();
        let body_len = self.bytes.len() - BATCH_HEADER_LEN;
        assert!(body_len <= BATCH_BODY_LEN_MAX, "a body of {body_len} bytes");
        let header = BatchHeader {
            salt: self.salt,
            seq: place.seq,
            entries: self.entries.map(|(first, last)| (first.index, last.index)),
            record_count: u32::try_from(self.records).unwrap_or(u32::MAX),
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

    pub(super) fn marks(&self) -> &[Record] {
        &self.marks
    }

    pub(super) fn entries(&self) -> Option<(LogId, LogId)> {
        self.entries
    }

    /// What the whole batch will take on disk, should it end here.
    pub(super) fn padded_len(&self) -> usize {
        round_up(self.bytes.len(), BLOCK_LEN)
    }

    /// The last vote in it.
    pub(super) fn vote(&self) -> Option<Vote> {
        self.marks.iter().rev().find_map(Record::vote)
    }

    /// Whether segments may be free after it.
    pub(super) fn has_purge(&self) -> bool {
        let mut marks = self.marks.iter();
        marks.any(|mark| matches!(mark, Record::PurgeUpto(_)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }
}
