//! Filling a hole with an entry that a peer still has.
//!
//! Holds: the damaged file is never written. The repaired entry goes, as a record of its own kind,
//! into the active segment, and only if it is the very entry that was lost: where the damaged record's
//! header is still there its crc must fit these bytes, and else the crc of the whole batch must fit
//! with them put in. A peer's word alone is not enough.

use super::core::Core;
use super::entry::Entry;
use super::format::{BATCH_HEADER_LEN, BLOCK_LEN, BatchHeader, record_crc};
use super::record::Record;
use super::salvage;
use super::{Done, Needs, Wal};
use crate::disk::{Open, read_full};
use crate::error::Error;
use crate::ids::Index;
use crate::wal::aligned::AlignedBuf;
use crate::wal::bytes::{take, u32_at, u64_at};

/// Why an entry does not repair the log.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The log can read this entry, or has none of this index.
    #[error("entry {0} is not damaged")]
    NotDamaged(Index),
    /// What is left of the damaged bytes says that this is another entry.
    #[error("entry {0} is not the one that was lost")]
    Other(Index),
    /// Nothing is left that could tell.
    #[error("nothing is left of entry {0} to check a copy against")]
    Unverifiable(Index),
    /// The damaged bytes could not be read.
    #[error(transparent)]
    Log(#[from] Error),
}

impl Wal {
    /// Puts a lost entry back, if the damaged bytes confirm it; durable when `done` says so.
    pub fn repair(&self, entry: Entry, done: Done) -> Result<(), RepairError> {
        let core = &self.handle.core;
        let index = entry.id.index;
        if core.state().chart.hole_at(index).is_none() {
            return Err(RepairError::NotDamaged(index));
        }
        confirm(core, &entry)?;
        let state = core.state();
        let needs = Needs {
            must_sync: true,
            ..Needs::of(done)
        };
        if self.is_refusing(&state) {
            self.refuse(state, needs);
        } else {
            self.push(state, std::iter::once(Record::Repaired(entry)), needs);
        }
        Ok(())
    }
}

/// Looks for the damaged batch that was to carry the entry, and asks what is left of it.
fn confirm(core: &Core, entry: &Entry) -> Result<(), RepairError> {
    let index = entry.id.index;
    let suspects: Vec<_> = core.state().segments.iter().copied().collect();
    for known in suspects.iter().filter(|known| known.is_damaged) {
        let (id, path) = (known.info.id, core.directory.path_of(known.info.id));
        let file = core.directory.open(id, Open::Read)?;
        let mut offset = super::format::FIRST_BATCH_AT;
        while offset < known.info.bytes {
            let mut head = [0; BATCH_HEADER_LEN];
            read_full(&*file, &mut head, offset).map_err(Error::io("read", &path))?;
            let header = BatchHeader::decode(&head).map(|(header, _)| header);
            let Some(header) = header.filter(|header| header.salt == known.salt) else {
                offset += BLOCK_LEN as u64;
                continue;
            };
            let is_said = |(first, last)| (first..=last).contains(&index);
            if header.entries.is_some_and(is_said) {
                let mut body = vec![0; header.body_len as usize];
                let at = offset + BATCH_HEADER_LEN as u64;
                let count = read_full(&*file, &mut body, at).map_err(Error::io("read", &path))?;
                body.truncate(count);
                return fits(&header, &body, entry);
            }
            offset += header.padded_len() as u64;
        }
    }
    Err(RepairError::Unverifiable(index))
}

fn fits(header: &BatchHeader, body: &[u8], entry: &Entry) -> Result<(), RepairError> {
    let mut wanted = AlignedBuf::default();
    let lost = Record::Entry(entry.clone());
    lost.encode(header.salt, &mut wanted);
    let wanted = wanted.as_slice();
    match stored_crc(header, body, entry) {
        Some(crc) if Some(crc) == u32_at(wanted, 28) => return Ok(()),
        Some(_) | None => {}
    }
    // The record's header is damaged too: the batch as it was has the crc that its header says.
    let whole = salvage::all(header.salt, header, body);
    let mut rebuilt = AlignedBuf::default();
    let mut is_in = false;
    for record in &whole {
        let is_behind = matches!(record, Record::Entry(other) if entry.id.index < other.id.index);
        if is_behind && !is_in {
            rebuilt.extend(wanted);
            is_in = true;
        }
        record.encode(header.salt, &mut rebuilt);
    }
    if !is_in {
        rebuilt.extend(wanted);
    }
    let is_it = crc32fast::hash(rebuilt.as_slice()) == header.body_crc;
    if is_it {
        Ok(())
    } else if rebuilt.len() == header.body_len as usize {
        Err(RepairError::Other(entry.id.index))
    } else {
        Err(RepairError::Unverifiable(entry.id.index))
    }
}

/// The crc that the damaged record's own header says, if a header that names the entry is there.
fn stored_crc(header: &BatchHeader, body: &[u8], entry: &Entry) -> Option<u32> {
    let mut at = 0;
    while let Some(rest) = body.get(at..) {
        let names_it = u64_at(rest, 8)? == entry.id.index.0
            && u64_at(rest, 16)? == entry.id.term.0
            && u32_at(rest, 24)? == entry.id.node.0
            && u32_at(rest, 4)? as usize == entry.payload.len();
        if names_it {
            let head: [u8; 28] = take(rest, 0)?;
            let crc = record_crc(header.salt, &head, &entry.payload);
            return (u32_at(rest, 28)? == crc).then_some(crc);
        }
        at += 8;
    }
    None
}
