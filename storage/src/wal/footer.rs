//! The end of a sealed segment: where its entries lie, so that opening need not read them.
//!
//! ```text
//! 0       4     8      16           24      28        32    40           48           56      64
//! ├ magic ┼ crc ┼ salt ┼ next batch ┼ chain ┼ points ─┼ end ┼ log first ┼ last here ─┼ zero ┼ point … ┤
//! point   ├ first index u64 ┼ offset u64 ┤
//! ```
//! Holds: it is a hint and no evidence. The next segment's header says what this one must have held,
//! and each batch has its crc: a footer that is missing, damaged or at odds with that header costs a
//! scan, nothing else. So it is never synced on its own, and its place is never used for batches. One
//! that was forged to agree is believed, within its own file: that takes the segment's secret salt.

use super::bytes::{count_at, put, round_up, take, u32_at, u64_at};
use super::format::{BLOCK_LEN, FIRST_BATCH_AT};
use crate::ids::Index;

const MAGIC: [u8; 4] = *b"fspF";
const HEAD_LEN: usize = 64;
const POINT_LEN: usize = 16;
/// A point at least every so many bytes of a segment.
pub(super) const POINT_BYTES: u64 = 64 << 10;
/// Points beside those: truncations make some.
const POINTS_SPARE: u64 = 12;

/// Whether a segment of this length has room for its parts.
pub(super) fn is_segment_len(len: u64) -> bool {
    let block = BLOCK_LEN as u64;
    len.is_multiple_of(block) && len <= 1 << 32 && footer_len(len) + FIRST_BATCH_AT + block <= len
}

fn points_max(segment_len: u64) -> u64 {
    segment_len / POINT_BYTES + POINTS_SPARE
}

fn footer_len(segment_len: u64) -> u64 {
    let points = usize::try_from(points_max(segment_len)).unwrap_or(usize::MAX / (2 * POINT_LEN));
    round_up(HEAD_LEN + points * POINT_LEN, BLOCK_LEN) as u64
}

/// Where the batches of a segment of this length end and its footer begins.
pub(super) fn data_end(segment_len: u64) -> u64 {
    segment_len.saturating_sub(footer_len(segment_len))
}

/// The least length of a segment that takes so many bytes of batches.
pub(super) fn segment_len_for(data_len: u64) -> u64 {
    let mut len = (FIRST_BATCH_AT + data_len).next_multiple_of(BLOCK_LEN as u64);
    while !is_segment_len(len) || data_end(len) < FIRST_BATCH_AT + data_len {
        len += BLOCK_LEN as u64;
    }
    len
}

/// What a sealed segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    /// The batch after its last one.
    pub(super) next_batch: u64,
    /// The header crc of its last one.
    pub(super) chain: u32,
    /// Where its last batch ends.
    pub(super) end: u64,
    /// The oldest entry of the log when this segment ended.
    pub(super) log_first: Option<Index>,
    /// The largest index in it.
    pub(super) last: Option<Index>,
    /// Where its batches with entries begin, some of them: first index and offset.
    pub(super) points: Vec<(Index, u64)>,
}

impl Footer {
    /// The bytes of the footer's whole place; `None`: it has more points than fit.
    pub(super) fn encode(&self, salt: u64, segment_len: u64) -> Option<Vec<u8>> {
        if self.points.len() as u64 > points_max(segment_len) {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(footer_len(segment_len)).ok()?];
        let count = u32::try_from(self.points.len()).ok()?;
        let index = |index: Option<Index>| index.unwrap_or_default().0.to_le_bytes();
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &salt.to_le_bytes());
        put(&mut bytes, 16, &self.next_batch.to_le_bytes());
        put(&mut bytes, 24, &self.chain.to_le_bytes());
        put(&mut bytes, 28, &count.to_le_bytes());
        put(&mut bytes, 32, &self.end.to_le_bytes());
        put(&mut bytes, 40, &index(self.log_first));
        put(&mut bytes, 48, &index(self.last));
        for (at, (first, offset)) in self.points.iter().enumerate() {
            let at = HEAD_LEN + at * POINT_LEN;
            put(&mut bytes, at, &first.0.to_le_bytes());
            put(&mut bytes, at + 8, &offset.to_le_bytes());
        }
        let crc = crc32fast::hash(bytes.get(8..)?);
        put(&mut bytes, 4, &crc.to_le_bytes());
        Some(bytes)
    }

    /// `data_end`: where its place begins. What speaks of bytes behind that is no footer: what is
    /// asked of a file by the word of its footer lies in the file.
    pub(super) fn decode(bytes: &[u8], salt: u64, data_end: u64) -> Option<Self> {
        let crc = crc32fast::hash(bytes.get(8..)?);
        if take(bytes, 0)? != MAGIC || u32_at(bytes, 4)? != crc || u64_at(bytes, 8)? != salt {
            return None;
        }
        let index = |at| Some(Some(Index(count_at(bytes, at)?)).filter(|index| *index != Index(0)));
        let count = u32_at(bytes, 28)? as usize;
        // A damaged count cannot ask for memory: the points lie in what was read.
        let points = bytes.get(HEAD_LEN..HEAD_LEN.checked_add(count.checked_mul(POINT_LEN)?)?)?;
        let points = points.chunks(POINT_LEN).map(|point| {
            let first = Index(count_at(point, 0)?);
            Some((first, u64_at(point, 8)?))
        });
        let footer = Self {
            next_batch: count_at(bytes, 16)?,
            chain: u32_at(bytes, 24)?,
            end: u64_at(bytes, 32)?,
            log_first: index(40)?,
            last: index(48)?,
            points: points.collect::<Option<_>>()?,
        };
        let mut offsets = footer.points.iter().map(|(_, offset)| *offset);
        let is_inside = (FIRST_BATCH_AT..=data_end).contains(&footer.end)
            && offsets.all(|offset| (FIRST_BATCH_AT..footer.end).contains(&offset));
        is_inside.then_some(footer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_a_damaged_one_is_no_footer() {
        let footer = Footer {
            next_batch: 7,
            chain: 9,
            end: 20_480,
            log_first: Some(Index(3)),
            last: None,
            points: vec![(Index(3), 8192), (Index(9), 12_288)],
        };
        let end = data_end(32 << 10);
        let bytes = footer.encode(5, 32 << 10).unwrap();
        assert_eq!(Some(footer), Footer::decode(&bytes, 5, end));
        assert_eq!(None, Footer::decode(&bytes, 6, end), "another segment's");
        assert_eq!(None, Footer::decode(&bytes, 5, 16_384), "behind its file");
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            assert_eq!(None, Footer::decode(&bytes, 5, end), "byte {at}");
        }
    }

    #[test]
    fn its_place_never_overlaps_the_batches() {
        for len in [32 << 10, 1 << 20, 64 << 20, 1 << 30] {
            assert!(is_segment_len(len));
            assert!(data_end(len) > FIRST_BATCH_AT && data_end(len) < len);
            assert!(data_end(len).is_multiple_of(BLOCK_LEN as u64));
        }
        assert!(!is_segment_len(12 << 10));
        assert!(!is_segment_len((32 << 10) + 1));
        for data_len in [4096, 100_000, 5 << 20] {
            let len = segment_len_for(data_len);
            assert!(data_end(len) - FIRST_BATCH_AT >= data_len);
        }
    }
}
