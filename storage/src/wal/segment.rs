//! Reading one segment: its header, then batch after batch.
//!
//! Holds: it only says what is there. Whether bytes that are no batch mean "the end", "torn" or
//! "corrupt" is for `recovery` to judge: that depends on what comes later.

use std::sync::Arc;

use super::directory::Directory;
use super::entry::SegmentId;
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
        let file = directory.open(id, Open::Write)?;
        let header = read_header(directory, id, &*file)?;
        Ok(Self { header, file })
    }

    /// Opens it without the right to write.
    pub(super) fn open_to_read(directory: &Directory, id: SegmentId) -> Result<Self, Error> {
        let file = directory.open(id, Open::Read)?;
        let header = read_header(directory, id, &*file)?;
        Ok(Self { header, file })
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
    /// Nothing was written here: the file ends, or it has zeros up to its end.
    Nothing,
    /// Something else.
    Other,
}

/// A walk over the batches of one segment, reading ahead.
pub(super) struct Walk<'a> {
    file: &'a dyn File,
    salt: u64,
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
        let window_len = len.clamp(BLOCK_LEN, WINDOW_LEN);
        Ok(Self::at(
            &*segment.file,
            segment.header.salt,
            FIRST_BATCH_AT,
            window_len,
        ))
    }

    /// Begins at `offset`, where a batch begins. `window_len`: how much to read at once.
    pub(super) fn at(file: &'a dyn File, salt: u64, offset: u64, window_len: usize) -> Self {
        Self {
            file,
            salt,
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
            return Ok(Found::Nothing);
        }
        if let Some((header, crc)) = BatchHeader::decode(block)
            && header.salt == salt
        {
            return Ok(Found::Batch(header, crc));
        }
        let is_zero = block.iter().all(|byte| *byte == 0) && self.is_zero_to_the_end()?;
        Ok(if is_zero {
            Found::Nothing
        } else {
            Found::Other
        })
    }

    /// Whether the block at the walk's place begins a batch; zeros are not told from other bytes.
    pub(super) fn peek_block(&mut self) -> std::io::Result<Found> {
        let (salt, offset) = (self.salt, self.offset);
        let found = BatchHeader::decode(self.bytes(offset, BLOCK_LEN)?);
        Ok(found
            .filter(|(header, _)| header.salt == salt)
            .map_or(Found::Other, |(header, crc)| Found::Batch(header, crc)))
    }

    /// How long the file is.
    pub(super) fn file_len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    /// The records of the batch at the walk's place; `Err(what)` where its bytes are damaged.
    pub(super) fn records(
        &mut self,
        header: &BatchHeader,
    ) -> std::io::Result<Result<Vec<Record>, BodyFault>> {
        let (salt, len) = (self.salt, header.body_len as usize);
        let body = self.bytes(self.offset + BATCH_HEADER_LEN as u64, len)?;
        if body.len() < len || crc32fast::hash(body) != header.body_crc {
            return Ok(Err(BodyFault::Damaged));
        }
        Ok(Record::decode_all(salt, body, header.record_count).ok_or(BodyFault::Nonsense))
    }

    /// Goes on behind the batch at the walk's place.
    pub(super) fn pass(&mut self, header: &BatchHeader) {
        self.offset += header.padded_len() as u64;
    }

    /// Goes on at the next block.
    pub(super) fn pass_block(&mut self) {
        self.offset += BLOCK_LEN as u64;
    }

    fn is_zero_to_the_end(&mut self) -> std::io::Result<bool> {
        let mut offset = self.offset;
        loop {
            let bytes = self.bytes(offset, BLOCK_LEN)?;
            if bytes.is_empty() {
                return Ok(true);
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            offset += bytes.len() as u64;
        }
    }

    /// Up to `len` bytes at `offset`; fewer only at the end of the file.
    fn bytes(&mut self, offset: u64, len: usize) -> std::io::Result<&[u8]> {
        let end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || end < offset + len as u64 {
            self.window.resize(self.window_len.max(len), 0);
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
