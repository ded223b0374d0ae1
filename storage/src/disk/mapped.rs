//! A file as memory: the one unsafe line of this room.
//!
//! Holds: only sealed segments are mapped. Nobody writes, shortens or recycles one while it is
//! mapped: a purge recycles a file only when no reader holds it, and else takes the name away, which
//! leaves the mapping as it is. So the bytes behind a reference do not change under it, unless another
//! program writes into our directory. Every byte is copied out and its crc checked on the copy, so
//! even then the answer is "damaged" and never another record.
//!
//! The price: where the device cannot read a page, the process gets SIGBUS and dies, where `pread`
//! would have returned an error. So mapping is for long scans (rebuilding), a choice, and not the
//! default.
#![expect(
    unsafe_code,
    reason = "mapping a file is unsafe; the argument stands above"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// A mapped file.
#[derive(Debug)]
pub struct Mapped(memmap2::Mmap);

impl Mapped {
    pub(super) fn new(file: impl AsFd) -> io::Result<Self> {
        // SAFETY: the file is a sealed segment: see the head of this file.
        let map = unsafe { memmap2::Mmap::map(file.as_fd().as_raw_fd()) }?;
        map.advise(memmap2::Advice::Sequential)?;
        Ok(Self(map))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
