//! Reading one segment: its header, then batch after batch.
//!
//! Holds: it only says what is there. Whether bytes that are no batch mean "the end", "torn" or
//! "corrupt" is for `recovery` to judge: that depends on what comes later.

use std::sync::Arc;

use super::directory::Directory;
use super::entry::SegmentId;
use super::footer::Footer;
use super::format::{
    BATCH_HEADER_LEN, BLOCK_LEN, BatchHeader, FIRST_BATCH_AT, HeaderCopy, SegmentHeader, VERSION,
};
use super::record::Record;
use crate::disk::{File, Open, read_full};
use crate::error::Error;

/// How much of a file is read at once by a walk through all of it.
const WINDOW_LEN: usize = 1 << 20;

/// A segment opened to be read.
pub(super) struct Segment {
    pub(super) header: SegmentHeader,
    pub(super) file: Arc<dyn File>,
}

impl Segment {
    /// Opens it and reads its header: of two copies one is enough.
    pub(super) fn open(directory: &Directory, id: SegmentId) -> Result<Self, Error> {
        let file = directory.open(id, Open::Read)?;
        let header = read_header(directory, id, &*file)?;
        Ok(Self { header, file })
    }

    /// What it says of itself, if it was sealed and says it still.
    pub(super) fn footer(&self) -> Option<Footer> {
        if !self.header.is_fixed() {
            return None;
        }
        let at = self.header.data_end();
        let len = usize::try_from(self.header.segment_len.checked_sub(at)?).ok()?;
        let mut bytes = vec![0; len];
        let count = read_full(&*self.file, &mut bytes, at).ok()?;
        Footer::decode(bytes.get(..count)?, self.header.salt, at)
    }
}

fn read_header(
    directory: &Directory,
    id: SegmentId,
    file: &dyn File,
) -> Result<SegmentHeader, Error> {
    let mut bytes = vec![0; 2 * BLOCK_LEN];
    let count = read_full(file, &mut bytes, 0).map_err(Error::io("read", directory.path_of(id)))?;
    bytes.truncate(count);
    let corrupt = |what| Error::Corrupt {
        segment: id,
        offset: 0,
        what,
    };
    let mut copies = bytes.chunks(BLOCK_LEN).map(SegmentHeader::decode);
    match (copies.next(), copies.next()) {
        (Some(HeaderCopy::Good(header)), _) | (_, Some(HeaderCopy::Good(header))) => {
            if header.id == id {
                Ok(header)
            } else {
                Err(corrupt("the file carries another file's name"))
            }
        }
        (Some(HeaderCopy::Version(one)), Some(HeaderCopy::Version(two))) if one == two => {
            Err(Error::Version {
                segment: id,
                found: one,
                known: VERSION,
            })
        }
        _ => Err(corrupt("neither copy of the header is whole")),
    }
}

/// What lies where a batch should begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The header of a batch of this segment, and its crc.
    Batch(BatchHeader, u32),
    /// Nothing was written here: the file ends, or it has zeros up to its end; in a recycled file
    /// one block of zeros says so.
    Nothing,
    /// Something else.
    Other,
}

/// A walk over the batches of one segment, reading ahead.
pub(super) struct Walk<'a> {
    file: &'a dyn File,
    salt: u64,
    /// Behind it lies no batch.
    data_end: u64,
    is_recycled: bool,
    /// The file was made with its whole length and is shorter now: no crash does that.
    pub(super) is_short: bool,
    /// Where the walk stands.
    pub(super) offset: u64,
    window: Vec<u8>,
    window_at: u64,
    window_len: usize,
}

impl<'a> Walk<'a> {
    /// Begins at the first batch, to walk through all of the file.
    pub(super) fn new(segment: &'a Segment) -> std::io::Result<Self> {
        let len = usize::try_from(segment.file.len()?).unwrap_or(usize::MAX);
        let mut walk = Self::at(
            &*segment.file,
            segment.header.salt,
            FIRST_BATCH_AT,
            len.clamp(BLOCK_LEN, WINDOW_LEN),
        );
        walk.data_end = segment.header.data_end();
        walk.is_recycled = segment.header.is_recycled;
        walk.is_short = segment.header.is_fixed() && (len as u64) < segment.header.segment_len;
        Ok(walk)
    }

    /// Begins at `offset`, where a batch begins. `window_len`: how much to read at once.
    pub(super) fn at(file: &'a dyn File, salt: u64, offset: u64, window_len: usize) -> Self {
        Self {
            file,
            salt,
            data_end: u64::MAX,
            is_recycled: false,
            is_short: false,
            offset,
            window: Vec::new(),
            window_at: 0,
            window_len,
        }
    }

    /// What lies at the walk's place. `std::io::Error`: it could not be read.
    pub(super) fn peek(&mut self) -> std::io::Result<Found> {
        let (salt, offset) = (self.salt, self.offset);
        let block = self.bytes(offset, BLOCK_LEN)?;
        if block.is_empty() {
            return Ok(self.at_the_end(offset));
        }
        if let Some((header, crc)) = BatchHeader::decode(block)
            && header.salt == salt
        {
            return Ok(Found::Batch(header, crc));
        }
        let is_zero = block.iter().all(|byte| *byte == 0);
        let is_zero = is_zero && (self.is_recycled || self.is_zero_to_the_end()?);
        Ok(if is_zero {
            Found::Nothing
        } else {
            Found::Other
        })
    }

    /// The first batch behind the walk's place, in this file, that `is_wanted`, and where it begins.
    pub(super) fn find_later(
        &mut self,
        is_wanted: &dyn Fn(&BatchHeader) -> bool,
    ) -> std::io::Result<Option<(u64, BatchHeader)>> {
        let mut offset = self.offset + BLOCK_LEN as u64;
        loop {
            let salt = self.salt;
            let block = self.bytes(offset, BLOCK_LEN)?;
            if block.is_empty() {
                return Ok(None);
            }
            if let Some((header, _)) = BatchHeader::decode(block)
                && header.salt == salt
                && is_wanted(&header)
            {
                return Ok(Some((offset, header)));
            }
            offset += BLOCK_LEN as u64;
        }
    }

    /// The bytes of the body of the batch at the walk's place, as far as they are there.
    pub(super) fn body(&mut self, header: &BatchHeader) -> std::io::Result<&[u8]> {
        let at = self.offset + BATCH_HEADER_LEN as u64;
        self.bytes(at, header.body_len as usize)
    }

    /// The records of the batch at the walk's place; `Err(what)` where its bytes are damaged.
    pub(super) fn records(
        &mut self,
        header: &BatchHeader,
    ) -> std::io::Result<Result<Vec<Record>, BodyFault>> {
        let (salt, len) = (self.salt, header.body_len as usize);
        let body = self.body(header)?;
        if body.len() < len || crc32fast::hash(body) != header.body_crc {
            return Ok(Err(BodyFault::Damaged));
        }
        Ok(Record::decode_all(salt, body, header.record_count).ok_or(BodyFault::Nonsense))
    }

    /// Goes on behind the batch at the walk's place.
    pub(super) fn pass(&mut self, header: &BatchHeader) {
        self.offset += header.padded_len() as u64;
    }

    /// No bytes there: the batches end, or the file does. A file that was made whole and ends early
    /// has lost what lay there.
    fn at_the_end(&self, offset: u64) -> Found {
        if self.data_end == u64::MAX || self.data_end <= offset {
            Found::Nothing
        } else {
            Found::Other
        }
    }

    fn is_zero_to_the_end(&mut self) -> std::io::Result<bool> {
        let mut offset = self.offset;
        loop {
            let bytes = self.bytes(offset, BLOCK_LEN)?;
            if bytes.is_empty() {
                return Ok(self.at_the_end(offset) == Found::Nothing);
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            offset += bytes.len() as u64;
        }
    }

    /// Up to `len` bytes at `offset`; fewer only where the batches, or the file, end.
    fn bytes(&mut self, offset: u64, len: usize) -> std::io::Result<&[u8]> {
        let left = usize::try_from(self.data_end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(left);
        if len == 0 {
            return Ok(&[]);
        }
        let end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || end < offset + len as u64 {
            let wanted = self.window_len.max(len);
            if self.window.len() != wanted {
                // Asked for as zeros: the system has them, and nobody has to write them first.
                self.window = vec![0; wanted];
            }
            let count = read_full(self.file, &mut self.window, offset)?;
            self.window.truncate(count);
            self.window_at = offset;
        }
        let from = usize::try_from(offset - self.window_at).unwrap_or(usize::MAX);
        let rest = self.window.get(from..).unwrap_or_default();
        Ok(rest.get(..len).unwrap_or(rest))
    }
}

/// Why a batch with a whole header has no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// The body is not what the header's crc was made of: torn, or damaged later.
    Damaged,
    /// The crc is right and the content is not: never the work of a crash.
    Nonsense,
}
