//! Numbers in and out of bytes, little-endian, without a panic in sight.
//!
//! Holds: a read beyond the end is `None`, a write beyond the end is a bug and stops the process:
//! lengths are constants of `format`.

use crate::ids::COUNT_MAX;

/// Copies `value` to `at`.
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    let room = at
        .checked_add(value.len())
        .and_then(|end| bytes.get_mut(at..end));
    assert!(room.is_some(), "a field lies inside its header");
    if let Some(room) = room {
        room.copy_from_slice(value);
    }
}

/// The `N` bytes at `at`.
pub(super) fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    take(bytes, at).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    take(bytes, at).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    take(bytes, at).map(u64::from_le_bytes)
}

/// What a log counts: terms, entries, batches, files. `None` also for more than anybody ever counted.
pub(super) fn count_at(bytes: &[u8], at: usize) -> Option<u64> {
    u64_at(bytes, at).filter(|count| *count <= COUNT_MAX)
}

/// `len` rounded up to the next multiple of `to`.
pub(super) const fn round_up(len: usize, to: usize) -> usize {
    len.div_ceil(to) * to
}
