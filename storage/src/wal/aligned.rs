//! Memory that begins on a block: what a write past the system's cache asks for.
//!
//! Holds: the first byte always lies at a multiple of the block length. A type with an alignment of its
//! own could be read as bytes only by `unsafe`, so more is asked for and the odd bytes in front are
//! skipped.
//!
//! Why large ones lie in huge pages: the device takes a write by the stretches of physical memory that it
//! lies in, and small pages are as many stretches. A write of 600 KB from one huge page takes a tenth less
//! time on a virtual disk; one of 4 KiB the same. Where the system has no huge pages these are small ones.

use memmap2::{Advice, MmapMut};

use super::format::BLOCK_LEN;

/// From here on it lies in huge pages; below, the page would be mostly empty.
const HUGE_FROM: usize = 64 << 10;
const HUGE_PAGE: usize = 2 << 20;

/// Bytes that begin on a block.
#[derive(Debug, Default)]
pub(super) struct AlignedBuf {
    memory: Memory,
    /// How many bytes in front are skipped.
    skip: usize,
    len: usize,
    /// What `len` can come to.
    room: usize,
}

#[derive(Debug)]
enum Memory {
    Heap(Vec<u8>),
    Pages(MmapMut),
}

impl AlignedBuf {
    /// Zeros.
    pub(super) fn zeroed(len: usize) -> Self {
        let mut buf = Self::with_room(len);
        buf.len = len;
        buf
    }

    fn with_room(bytes: usize) -> Self {
        let (memory, align) = Memory::of(bytes);
        let all = memory.as_slice();
        let skip = all.as_ptr().align_offset(align);
        assert!(skip < align, "bytes can be aligned to anything");
        Self {
            room: all.len() - align,
            memory,
            skip,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let from = self.len;
        self.reserve(bytes.len());
        self.len += bytes.len();
        let new = self.as_mut_slice().get_mut(from..);
        new.unwrap_or_default().copy_from_slice(bytes);
    }

    /// Grows with zeros, or shrinks.
    pub(super) fn resize(&mut self, len: usize) {
        let from = self.len;
        self.reserve(len.saturating_sub(from));
        self.len = len;
        let new = self.as_mut_slice().get_mut(from..);
        new.unwrap_or_default().fill(0);
    }

    /// Gives memory back above `bytes`, if nothing is in it.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        if self.len == 0 && bytes < self.room {
            *self = Self::default();
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        let end = self.skip + self.len;
        self.memory
            .as_slice()
            .get(self.skip..end)
            .unwrap_or_default()
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        let end = self.skip + self.len;
        let bytes = self.memory.as_mut_slice().get_mut(self.skip..end);
        bytes.unwrap_or_default()
    }

    fn reserve(&mut self, more: usize) {
        let needed = self.len + more;
        if needed <= self.room {
            return;
        }
        let mut grown = Self::with_room(needed.max(2 * self.len));
        grown.len = self.len;
        grown.as_mut_slice().copy_from_slice(self.as_slice());
        *self = grown;
    }
}

impl Memory {
    /// Zeros: `bytes` or more, and as many as they are to be aligned to.
    fn of(bytes: usize) -> (Self, usize) {
        if HUGE_FROM <= bytes
            && let Ok(map) = MmapMut::map_anon(bytes.next_multiple_of(HUGE_PAGE) + HUGE_PAGE)
        {
            // Only a wish: it is memory either way.
            drop(map.advise(Advice::HugePage));
            return (Self::Pages(map), HUGE_PAGE);
        }
        (Self::Heap(vec![0; bytes + BLOCK_LEN]), BLOCK_LEN)
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Pages(map) => map,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Pages(map) => map,
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::Heap(Vec::new())
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
                buf.resize(100);
                plain.truncate(100);
            }
            assert_eq!(plain, buf.as_slice());
            let at = buf.as_slice().as_ptr().addr();
            assert!(plain.is_empty() || at.is_multiple_of(BLOCK_LEN));
        }
        assert!(HUGE_FROM < buf.room, "it has come to huge pages");
        buf.clear();
        buf.shrink_to(buf.room);
        assert!(0 < buf.room, "what is not above it is kept");
        buf.shrink_to(buf.room - 1);
        assert_eq!(0, buf.room);
        buf.resize(10);
        assert_eq!([0; 10], buf.as_slice());
    }
}
