//! The bytes of one file: as they read, and as they would be after a power cut.

use std::collections::BTreeSet;

/// What a disk keeps or loses as one.
const SECTOR_LEN: usize = 512;

#[derive(Clone, Default)]
pub(super) struct Platter {
    pub(super) content: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl Platter {
    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        // Growing over a gap writes zeros there, which are as volatile as the rest.
        let from = offset.min(self.content.len());
        grow(&mut self.content, end);
        if let Some(room) = self.content.get_mut(offset..end) {
            room.copy_from_slice(bytes);
        }
        self.dirty
            .extend(from / SECTOR_LEN..end.div_ceil(SECTOR_LEN));
    }

    pub(super) fn sync(&mut self) {
        grow(&mut self.durable, self.content.len());
        for sector in std::mem::take(&mut self.dirty) {
            copy_sector(&self.content, &mut self.durable, sector);
        }
    }

    /// What was written past the cache is durable, and the length with it.
    pub(super) fn sync_range(&mut self, offset: usize, len: usize) {
        grow(&mut self.durable, self.content.len());
        for sector in offset / SECTOR_LEN..(offset + len).div_ceil(SECTOR_LEN) {
            self.dirty.remove(&sector);
            copy_sector(&self.content, &mut self.durable, sector);
        }
    }

    /// A failed sync: what was not durable never will be, and reads on.
    pub(super) fn give_up(&mut self) {
        self.dirty.clear();
    }

    /// Overwrites bytes that are there, durably.
    pub(super) fn scribble(&mut self, bytes: &[u8], offset: usize) {
        for copy in [&mut self.content, &mut self.durable] {
            if let Some(room) = copy.get_mut(offset..offset + bytes.len()) {
                room.copy_from_slice(bytes);
            }
        }
    }

    /// Makes durable whatever reads.
    pub(super) fn settle(&mut self) {
        self.durable.clone_from(&self.content);
        self.dirty.clear();
    }

    /// Flips bits of one byte, durably. False: there is no such byte.
    pub(super) fn flip(&mut self, offset: usize, mask: u8) -> bool {
        if let Some(byte) = self.durable.get_mut(offset) {
            *byte ^= mask;
        }
        self.content
            .get_mut(offset)
            .map(|byte| *byte ^= mask)
            .is_some()
    }

    /// Cuts the end off, durably.
    pub(super) fn shorten(&mut self, len: usize) {
        self.content.truncate(len);
        self.durable.truncate(len);
        self.dirty.retain(|sector| sector * SECTOR_LEN < len);
    }

    pub(super) fn cut(&mut self, dice: &mut Dice) {
        let dirty = std::mem::take(&mut self.dirty);
        if dirty.is_empty() {
            self.content.clone_from(&self.durable);
            return;
        }
        if self.content.len() > self.durable.len() && dice.is_lucky() {
            grow(&mut self.durable, self.content.len());
        }
        for sector in dirty {
            if dice.is_lucky() {
                copy_sector(&self.content, &mut self.durable, sector);
            } else if dice.is_garbling()
                && let Some(bytes) = self.durable.chunks_mut(SECTOR_LEN).nth(sector)
            {
                bytes.fill_with(|| dice.byte());
            }
        }
        self.content.clone_from(&self.durable);
    }
}

/// As zeros that the system has: writing them byte by byte is what an unoptimised test would wait for.
fn grow(bytes: &mut Vec<u8>, len: usize) {
    if bytes.len() < len {
        let mut grown = vec![0; len];
        if let Some(room) = grown.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
        }
        *bytes = grown;
    }
}

fn copy_sector(from: &[u8], to: &mut [u8], sector: usize) {
    let pair = (
        from.chunks(SECTOR_LEN).nth(sector),
        to.chunks_mut(SECTOR_LEN).nth(sector),
    );
    if let (Some(from), Some(to)) = pair {
        let len = from.len().min(to.len());
        if let (Some(from), Some(to)) = (from.get(..len), to.get_mut(..len)) {
            to.copy_from_slice(from);
        }
    }
}

/// The will of a seed. Some seeds keep everything, some nothing, most are undecided.
pub(super) struct Dice {
    state: u64,
    mood: u64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Self {
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            mood: 0,
        };
        dice.mood = dice.next() % 6;
        dice
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub(super) fn is_lucky(&mut self) -> bool {
        match self.mood {
            0 => false,
            1 => true,
            2 => !self.next().is_multiple_of(8),
            _ => self.next().is_multiple_of(2),
        }
    }

    fn is_garbling(&mut self) -> bool {
        self.mood > 3 && self.next().is_multiple_of(2)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}
