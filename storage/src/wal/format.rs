//! The log's bytes: segment header and batch header. Pure; `record` has what a batch holds.
//!
//! ```text
//! segment   ├ header 4096 ┼ the same again 4096 ┼ batch ┼ batch ┼ … zeros … ┼ footer ┤
//! batch     ├ header 64 ┼ records ┼ zeros up to the next multiple of 4096 ┤
//! ```
//! Every offset stands in `FORMAT.md`. Holds: each byte that means something is under a crc, the
//! lengths too, and a length is bounded before memory is asked for. Why a salt: what people submit
//! lies between the headers; nobody who does not know the segment's number can forge a batch.

use crc32fast::Hasher;

use super::bytes::{count_at, put, round_up, take, u16_at, u32_at, u64_at};
use super::entry::{Marks, SegmentId, Vote};
use crate::ids::{Index, LogId, NodeId, Term};

/// Batches begin at multiples of this: no durable byte shares a device block with a later write.
pub(crate) const BLOCK_LEN: usize = 4096;
/// Where the first batch of a segment begins: after two copies of the header.
pub(crate) const FIRST_BATCH_AT: u64 = 2 * BLOCK_LEN as u64;
/// The length of a batch's header.
pub(crate) const BATCH_HEADER_LEN: usize = 64;
/// The largest body; what a damaged length can cost in memory.
pub(crate) const BATCH_BODY_LEN_MAX: usize = 8 << 20;
/// The version of the format that this build writes.
pub(crate) const VERSION: u16 = 2;
/// Its files grew as they were written, and had no footer.
const VERSION_GROWING: u16 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"formspWL";
const BATCH_MAGIC: [u8; 4] = *b"fspB";
const SEGMENT_CRC_AT: usize = BLOCK_LEN - 4;

const HAS_LAST: u32 = 1;
const HAS_PURGED: u32 = 1 << 1;
const HAS_COMMITTED: u32 = 1 << 2;
const HAS_VOTE: u32 = 1 << 3;
const HAS_ENTRIES: u32 = 1 << 8;

/// The file held another segment before: behind the zeros that follow each batch lie old bytes.
const IS_RECYCLED: u16 = 1;

const _: () = assert!(
    BATCH_HEADER_LEN.is_multiple_of(8),
    "the first record starts aligned"
);
const _: () = assert!(
    BATCH_BODY_LEN_MAX.is_multiple_of(8),
    "a full body ends aligned"
);
const _: () = assert!(
    FIRST_BATCH_AT.is_multiple_of(BLOCK_LEN as u64),
    "batches start on blocks"
);

/// The first bytes of a file: who it belongs to and where the log stood when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) version: u16,
    pub(crate) is_recycled: bool,
    pub(crate) uuid: [u8; 16],
    pub(crate) id: SegmentId,
    pub(crate) salt: u64,
    /// The length of the file. In version 1, whose files grew: where it was to end, about.
    pub(crate) segment_len: u64,
    pub(crate) first_batch: u64,
    /// The header crc of the batch before `first_batch`: where the segment before this one ends.
    pub(crate) chain: u32,
    pub(crate) marks: Marks,
}

/// What one copy of a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderCopy {
    Good(SegmentHeader),
    /// Ours, of a version that this build does not know.
    Version(u16),
    Bad,
}

impl SegmentHeader {
    /// Batches end before this.
    pub(crate) fn data_end(&self) -> u64 {
        if self.version == VERSION_GROWING {
            u64::MAX
        } else {
            super::footer::data_end(self.segment_len)
        }
    }

    /// Whether the file has its length from the beginning, and a place for a footer.
    pub(crate) fn is_fixed(&self) -> bool {
        self.version != VERSION_GROWING
    }

    /// Both copies.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK_LEN];
        let Marks {
            vote,
            last,
            purged,
            committed,
        } = self.marks;
        put(&mut bytes, 0, &SEGMENT_MAGIC);
        put(&mut bytes, 8, &self.version.to_le_bytes());
        let flags = if self.is_recycled { IS_RECYCLED } else { 0 };
        put(&mut bytes, 10, &flags.to_le_bytes());
        put(
            &mut bytes,
            12,
            &u32::try_from(BLOCK_LEN).unwrap_or(u32::MAX).to_le_bytes(),
        );
        put(&mut bytes, 16, &self.uuid);
        put(&mut bytes, 32, &self.id.0.to_le_bytes());
        put(&mut bytes, 40, &self.salt.to_le_bytes());
        put(&mut bytes, 48, &self.segment_len.to_le_bytes());
        put(&mut bytes, 56, &self.first_batch.to_le_bytes());
        put(&mut bytes, 64, &self.chain.to_le_bytes());
        put_log_id(&mut bytes, last, [72, 80, 144]);
        put_log_id(&mut bytes, purged, [88, 96, 148]);
        put_log_id(&mut bytes, committed, [160, 104, 152]);
        if let Some(vote) = vote {
            put(&mut bytes, 112, &vote.term.0.to_le_bytes());
            put(&mut bytes, 120, &u64::from(vote.node.0).to_le_bytes());
            put(&mut bytes, 128, &[u8::from(vote.is_committed)]);
        }
        let present = flag(last.is_some(), HAS_LAST)
            | flag(purged.is_some(), HAS_PURGED)
            | flag(committed.is_some(), HAS_COMMITTED)
            | flag(vote.is_some(), HAS_VOTE);
        put(&mut bytes, 156, &present.to_le_bytes());
        let crc = crc32fast::hash(bytes.get(..SEGMENT_CRC_AT).unwrap_or_default());
        put(&mut bytes, SEGMENT_CRC_AT, &crc.to_le_bytes());
        bytes.extend_from_within(..);
        bytes
    }

    /// One copy. The version is judged before the crc: a newer format is not damage.
    pub(crate) fn decode(bytes: &[u8]) -> HeaderCopy {
        if take(bytes, 0) != Some(SEGMENT_MAGIC) {
            return HeaderCopy::Bad;
        }
        match u16_at(bytes, 8) {
            Some(VERSION_GROWING..=VERSION) => {}
            Some(version) => return HeaderCopy::Version(version),
            None => return HeaderCopy::Bad,
        }
        Self::decode_fields(bytes).map_or(HeaderCopy::Bad, HeaderCopy::Good)
    }

    fn decode_fields(bytes: &[u8]) -> Option<Self> {
        let crc = crc32fast::hash(bytes.get(..SEGMENT_CRC_AT)?);
        if u32_at(bytes, SEGMENT_CRC_AT)? != crc || u32_at(bytes, 12)? as usize != BLOCK_LEN {
            return None;
        }
        let segment_len = u64_at(bytes, 48)?;
        let version = u16_at(bytes, 8)?;
        if version != VERSION_GROWING && !super::footer::is_segment_len(segment_len) {
            return None;
        }
        let present = u32_at(bytes, 156)?;
        let id_at = |bit: u32, at: [usize; 3]| {
            if present & bit == 0 {
                Some(None)
            } else {
                log_id_at(bytes, at).map(Some)
            }
        };
        let vote = || {
            Some(Vote {
                term: Term(count_at(bytes, 112)?),
                node: NodeId(u64_at(bytes, 120)?.try_into().ok()?),
                is_committed: take(bytes, 128)? == [1],
            })
        };
        Some(Self {
            version,
            is_recycled: u16_at(bytes, 10)? & IS_RECYCLED != 0,
            uuid: take(bytes, 16)?,
            id: SegmentId(count_at(bytes, 32)?),
            salt: u64_at(bytes, 40)?,
            segment_len,
            // They are counted from 1.
            first_batch: count_at(bytes, 56).filter(|batch| *batch > 0)?,
            chain: u32_at(bytes, 64)?,
            marks: Marks {
                vote: if present & HAS_VOTE == 0 {
                    None
                } else {
                    Some(vote()?)
                },
                last: id_at(HAS_LAST, [72, 80, 144])?,
                purged: id_at(HAS_PURGED, [88, 96, 148])?,
                committed: id_at(HAS_COMMITTED, [160, 104, 152])?,
            },
        })
    }
}

/// The first bytes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) salt: u64,
    pub(crate) seq: u64,
    /// First and last index of the entries in it.
    pub(crate) entries: Option<(Index, Index)>,
    pub(crate) record_count: u32,
    pub(crate) body_len: u32,
    pub(crate) body_crc: u32,
    /// The header crc of the batch before this one.
    pub(crate) chain: u32,
    /// The last batch that was synced when this one was written.
    pub(crate) synced_upto: u64,
}

impl BatchHeader {
    /// The header's bytes; its crc is what the next batch chains to.
    pub(crate) fn encode(&self) -> ([u8; BATCH_HEADER_LEN], u32) {
        let mut bytes = [0; BATCH_HEADER_LEN];
        let (first, last) = self.entries.unwrap_or_default();
        let delta = self.seq.checked_sub(self.synced_upto);
        assert!(
            delta.is_some_and(|delta| delta > 0),
            "a batch is not synced before it is written"
        );
        let delta = delta
            .and_then(|delta| u32::try_from(delta).ok())
            .unwrap_or(u32::MAX);
        put(&mut bytes, 0, &BATCH_MAGIC);
        put(&mut bytes, 8, &self.salt.to_le_bytes());
        put(&mut bytes, 16, &self.seq.to_le_bytes());
        put(&mut bytes, 24, &first.0.to_le_bytes());
        put(&mut bytes, 32, &last.0.to_le_bytes());
        put(&mut bytes, 40, &self.record_count.to_le_bytes());
        put(&mut bytes, 44, &self.body_len.to_le_bytes());
        put(&mut bytes, 48, &self.body_crc.to_le_bytes());
        put(&mut bytes, 52, &self.chain.to_le_bytes());
        put(&mut bytes, 56, &delta.to_le_bytes());
        put(
            &mut bytes,
            60,
            &flag(self.entries.is_some(), HAS_ENTRIES).to_le_bytes(),
        );
        let crc = crc32fast::hash(bytes.get(8..).unwrap_or_default());
        put(&mut bytes, 4, &crc.to_le_bytes());
        (bytes, crc)
    }

    /// The header and its crc; `None` where these bytes are not the header of a batch.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        let crc = crc32fast::hash(bytes.get(8..BATCH_HEADER_LEN)?);
        if take(bytes, 0)? != BATCH_MAGIC || u32_at(bytes, 4)? != crc {
            return None;
        }
        let seq = count_at(bytes, 16)?;
        let body_len = u32_at(bytes, 44)?;
        if body_len as usize > BATCH_BODY_LEN_MAX {
            return None;
        }
        let entries = (Index(count_at(bytes, 24)?), Index(count_at(bytes, 32)?));
        if entries.1 < entries.0 {
            return None;
        }
        let header = Self {
            salt: u64_at(bytes, 8)?,
            seq,
            entries: (u32_at(bytes, 60)? & HAS_ENTRIES != 0).then_some(entries),
            record_count: u32_at(bytes, 40)?,
            body_len,
            body_crc: u32_at(bytes, 48)?,
            chain: u32_at(bytes, 52)?,
            synced_upto: seq.saturating_sub(u32_at(bytes, 56)?.into()),
        };
        Some((header, crc))
    }

    /// How far it is to where the next batch begins.
    pub(crate) fn padded_len(&self) -> usize {
        round_up(BATCH_HEADER_LEN + self.body_len as usize, BLOCK_LEN)
    }
}

/// The crc of a record: its first 28 bytes and its payload, seeded with its segment's salt.
pub(crate) fn record_crc(salt: u64, head: &[u8], payload: &[u8]) -> u32 {
    // In as few pieces as can be: each costs some 20 ns of its own.
    let mut start = [0; 8 + 28];
    put(&mut start, 0, &salt.to_le_bytes());
    put(&mut start, 8, head);
    let mut hasher = Hasher::new();
    hasher.update(&start);
    hasher.update(payload);
    hasher.finalize()
}

const fn flag(is_set: bool, bit: u32) -> u32 {
    if is_set { bit } else { 0 }
}

/// `at`: where term, index and node go.
fn put_log_id(bytes: &mut [u8], id: Option<LogId>, at: [usize; 3]) {
    let Some(LogId { term, node, index }) = id else {
        return;
    };
    let [term_at, index_at, node_at] = at;
    put(bytes, term_at, &term.0.to_le_bytes());
    put(bytes, index_at, &index.0.to_le_bytes());
    put(bytes, node_at, &node.0.to_le_bytes());
}

fn log_id_at(bytes: &[u8], at: [usize; 3]) -> Option<LogId> {
    let [term_at, index_at, node_at] = at;
    Some(LogId {
        term: Term(count_at(bytes, term_at)?),
        node: NodeId(u32_at(bytes, node_at)?),
        index: Index(count_at(bytes, index_at)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn header() -> SegmentHeader {
        let id = |n| {
            Some(LogId {
                term: Term(n),
                node: NodeId(7),
                index: Index(10 * n),
            })
        };
        SegmentHeader {
            version: VERSION,
            is_recycled: true,
            uuid: *b"0123456789abcdef",
            id: SegmentId(3),
            salt: 0xFEED_F00D_CAFE_BEEF,
            segment_len: 64 << 20,
            first_batch: 17,
            chain: 0x1234_5678,
            marks: Marks {
                vote: Some(Vote {
                    term: Term(9),
                    node: NodeId(2),
                    is_committed: true,
                }),
                last: id(5),
                purged: id(1),
                committed: id(4),
            },
        }
    }

    #[test]
    fn a_segment_header_comes_back_from_either_copy() {
        let bytes = header().encode();
        assert_eq!(2 * BLOCK_LEN, bytes.len());
        let (one, two) = bytes.split_at(BLOCK_LEN);
        assert_eq!(HeaderCopy::Good(header()), SegmentHeader::decode(one));
        assert_eq!(HeaderCopy::Good(header()), SegmentHeader::decode(two));
        let empty = SegmentHeader {
            marks: Marks::default(),
            ..header()
        };
        let bytes = empty.encode();
        assert_eq!(
            HeaderCopy::Good(empty),
            SegmentHeader::decode(&bytes[..BLOCK_LEN])
        );
    }

    #[test]
    fn a_header_that_counts_what_nobody_counted_is_none() {
        let endless = LogId {
            index: Index(u64::MAX),
            ..LogId::default()
        };
        let marked = |set: fn(&mut Marks, LogId)| {
            let mut header = header();
            set(&mut header.marks, endless);
            header
        };
        let mut unnumbered = header();
        unnumbered.first_batch = 0;
        for forged in [
            unnumbered,
            marked(|marks, id| marks.last = Some(id)),
            marked(|marks, id| marks.purged = Some(id)),
            marked(|marks, id| marks.committed = Some(id)),
        ] {
            let copy = SegmentHeader::decode(&forged.encode()[..BLOCK_LEN]);
            assert_eq!(HeaderCopy::Bad, copy, "{forged:?}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_segment_header_is_noticed() {
        let good = header().encode();
        for at in 0..BLOCK_LEN {
            for bit in 0..8 {
                let mut bytes = good[..BLOCK_LEN].to_vec();
                bytes[at] ^= 1 << bit;
                let copy = SegmentHeader::decode(&bytes);
                assert!(!matches!(copy, HeaderCopy::Good(_)), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn every_flipped_bit_of_a_batch_header_is_noticed() {
        let header = BatchHeader {
            salt: 42,
            seq: 9,
            entries: Some((Index(3), Index(4))),
            record_count: 2,
            body_len: 100,
            body_crc: 7,
            chain: 8,
            synced_upto: 8,
        };
        let (good, crc) = header.encode();
        assert_eq!(Some((header, crc)), BatchHeader::decode(&good));
        assert_eq!(BLOCK_LEN, header.padded_len());
        for at in 0..BATCH_HEADER_LEN {
            for bit in 0..8 {
                let mut bytes = good;
                bytes[at] ^= 1 << bit;
                assert_eq!(None, BatchHeader::decode(&bytes), "byte {at} bit {bit}");
            }
        }
    }
}
