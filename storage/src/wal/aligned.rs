//! Memory that begins on a block: what a write past the system's cache asks for.
//!
//! Holds: the first byte always lies at a multiple of the block length. Why not a plain vector:
//! its memory begins where the allocator likes, and a type with an alignment of its own could be
//! read as bytes only by `unsafe`. So a block more is asked for and the odd bytes in front are skipped.

use super::format::BLOCK_LEN;

/// Bytes that begin on a block.
#[derive(Debug, Default)]
pub(super) struct AlignedBuf {
    raw: Vec<u8>,
    /// How many bytes in front are skipped.
    skip: usize,
}

impl AlignedBuf {
    /// Zeros.
    pub(super) fn zeroed(len: usize) -> Self {
        let mut raw = vec![0_u8; len + BLOCK_LEN];
        let skip = raw.as_ptr().align_offset(BLOCK_LEN);
        assert!(skip < BLOCK_LEN, "bytes can be aligned to anything");
        raw.truncate(skip + len);
        Self { raw, skip }
    }

    pub(super) fn len(&self) -> usize {
        self.raw.len() - self.skip
    }

    pub(super) fn clear(&mut self) {
        self.truncate(0);
    }

    fn truncate(&mut self, len: usize) {
        self.raw.truncate(self.skip + len);
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.raw.extend_from_slice(bytes);
    }

    /// Grows with zeros, or shrinks.
    pub(super) fn resize(&mut self, len: usize) {
        self.reserve(len.saturating_sub(self.len()));
        self.raw.resize(self.skip + len, 0);
    }

    /// Gives memory back above `bytes`, if nothing is in it.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        if self.len() == 0 && self.raw.capacity() > bytes + 2 * BLOCK_LEN {
            *self = Self::default();
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.raw.get(self.skip..).unwrap_or_default()
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.raw.get_mut(self.skip..).unwrap_or_default()
    }

    /// Never lets the vector grow by itself: it would move to where the skipped bytes do not fit.
    fn reserve(&mut self, more: usize) {
        let needed = self.raw.len() + more;
        if needed <= self.raw.capacity() {
            return;
        }
        let room = (needed - self.skip).max(2 * self.len()) + BLOCK_LEN;
        let mut raw: Vec<u8> = Vec::with_capacity(room);
        let skip = raw.as_ptr().align_offset(BLOCK_LEN);
        assert!(skip < BLOCK_LEN, "bytes can be aligned to anything");
        raw.resize(skip, 0);
        raw.extend_from_slice(self.as_slice());
        *self = Self { raw, skip };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_on_a_block_however_it_grows_and_keeps_what_is_in_it() {
        let mut buf = AlignedBuf::default();
        let mut plain = Vec::new();
        for step in 0..200_usize {
            let bytes = vec![u8::try_from(step).unwrap(); step * 37 % 5000];
            buf.extend(&bytes);
            plain.extend_from_slice(&bytes);
            if step % 50 == 49 {
                buf.truncate(100);
                plain.truncate(100);
            }
            assert_eq!(plain, buf.as_slice());
            let at = buf.as_slice().as_ptr().addr();
            assert!(plain.is_empty() || at.is_multiple_of(BLOCK_LEN));
        }
        buf.clear();
        buf.shrink_to(0);
        buf.resize(10);
        assert_eq!([0; 10], buf.as_slice());
    }
}
