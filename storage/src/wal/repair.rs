//! Filling a hole with an entry that a peer still has.
//!
//! Holds: the damaged file is never written. The repaired entry goes, as a record of its own kind,
//! into the active segment, and only if it is the very entry that was lost: where the damaged record's
//! header is still there its crc must fit these bytes, and else the crc of the whole batch must fit
//! with them, and all that was lost with them, put in. A peer's word alone is not enough.

use std::collections::BTreeMap;
use std::ops::Range;

use super::core::Core;
use super::entry::Entry;
use super::format::{BATCH_HEADER_LEN, BLOCK_LEN, BatchHeader, FIRST_BATCH_AT, record_crc};
use super::piece::Piece;
use super::record::{CRC_AT, Record, encode_entry};
use super::{Done, Needs, Wal};
use super::{salvage, survey};
use crate::disk::{File, Open, read_full};
use crate::error::Error;
use crate::ids::Index;
use crate::wal::bytes::{take, u32_at, u64_at};

/// Places among records beside entries that are tried: a batch has one or two of those.
const MARKS_TRIED: usize = 8;

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
    /// `others`: copies of entries that were lost with it; where a whole stretch of a batch is gone, only
    /// all of them together can be confirmed.
    pub fn repair(&self, entry: Entry, others: &[Entry], done: Done) -> Result<(), RepairError> {
        let core = &self.handle.core;
        let index = entry.id.index;
        if !core.state().is_lost(index) {
            return Err(RepairError::NotDamaged(index));
        }
        confirm(core, &entry, others)?;
        let piece = Piece::of(core.salt(), Record::Repaired(entry));
        let state = core.state();
        // Asked again: the files were read without the lock, and behind a truncation that came meanwhile
        // the repaired entry would stand in the place of a new one.
        if !state.is_lost(index) {
            return Err(RepairError::NotDamaged(index));
        }
        let needs = Needs {
            must_sync: true,
            ..Needs::of(done)
        };
        if self.is_refusing(&state) {
            self.refuse(state, needs);
        } else {
            self.push(state, [piece], needs);
        }
        Ok(())
    }
}

/// Looks for the damaged bytes that were to carry the entry, and asks what is left of them. The last
/// that say that they carried it are the ones that count: others were truncated before.
fn confirm(core: &Core, entry: &Entry, others: &[Entry]) -> Result<(), RepairError> {
    let index = entry.id.index;
    let suspects: Vec<_> = core.state().segments.iter().copied().collect();
    let mut verdict = Err(RepairError::Unverifiable(index));
    for known in suspects.iter().filter(|known| known.is_damaged) {
        let (id, path) = (known.info.id, core.directory.path_of(known.info.id));
        let file = match core.directory.open(id, Open::Read) {
            Ok(file) => file,
            Err(error) if survey::is_damage(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut offset = FIRST_BATCH_AT;
        while offset < known.info.bytes {
            let (header, body) = match piece(&*file, known.salt, offset..known.info.bytes) {
                Ok(piece) => piece,
                Err(error) if error.raw_os_error() == Some(survey::DEVICE_ERROR) => break,
                Err(error) => return Err(Error::io("read", path)(error).into()),
            };
            let Some(header) = header else {
                if body.is_empty() {
                    // The file has lost its end.
                    break;
                }
                // The batch's header is gone too: what its records' headers say is left.
                if let Some(crc) = stored_crc(known.salt, &body, entry) {
                    verdict = is_same(crc, known.salt, entry);
                }
                offset += body.len() as u64;
                continue;
            };
            let is_said = |(first, last)| (first..=last).contains(&index);
            if header.entries.is_some_and(is_said) {
                verdict = fits(&header, &body, entry, others);
            }
            offset += header.padded_len() as u64;
        }
    }
    verdict
}

/// What lies at the beginning of `range`: a batch's header and body, or, where there is no header,
/// all up to the next one. Never more than the range has.
fn piece(
    file: &dyn File,
    salt: u64,
    range: Range<u64>,
) -> std::io::Result<(Option<BatchHeader>, Vec<u8>)> {
    let header_at = |offset| {
        let mut head = [0; BATCH_HEADER_LEN];
        read_full(file, &mut head, offset)?;
        let header = BatchHeader::decode(&head).map(|(header, _)| header);
        Ok::<_, std::io::Error>(header.filter(|header| header.salt == salt))
    };
    // Of what the segment had: where the file has lost its end there is nothing.
    let range = range.start..range.end.min(file.len()?);
    let header = header_at(range.start)?;
    let (at, end) = if let Some(header) = &header {
        let at = range.start + BATCH_HEADER_LEN as u64;
        (at, at + u64::from(header.body_len))
    } else {
        let mut end = range.start + BLOCK_LEN as u64;
        while end < range.end && header_at(end)?.is_none() {
            end += BLOCK_LEN as u64;
        }
        (range.start, end)
    };
    let len = end.min(range.end).saturating_sub(at);
    let mut bytes = vec![0; usize::try_from(len).map_err(std::io::Error::other)?];
    let count = read_full(file, &mut bytes, at)?;
    bytes.truncate(count);
    Ok((header, bytes))
}

fn fits(
    header: &BatchHeader,
    body: &[u8],
    entry: &Entry,
    others: &[Entry],
) -> Result<(), RepairError> {
    let index = entry.id.index;
    if let Some(crc) = stored_crc(header.salt, body, entry)
        && is_same(crc, header.salt, entry).is_ok()
    {
        return Ok(());
    }
    // The record's header is damaged too: the batch as it was has the crc that its header says.
    let whole = salvage::all(header.salt, header, body);
    let is_said = |index: Index| {
        let said = header.entries;
        said.is_some_and(|(first, last)| (first..=last).contains(&index))
    };
    let mut lost: BTreeMap<Index, &Entry> = others
        .iter()
        .filter(|other| is_said(other.id.index))
        .map(|other| (other.id.index, other))
        .collect();
    lost.insert(index, entry);
    for there in whole.iter().filter_map(Record::entry_index) {
        lost.remove(&there);
    }
    let marks = whole.iter().filter(|one| one.entry_index().is_none());
    let mut is_as_long = false;
    for marks_before in 0..=marks.count().min(MARKS_TRIED) {
        let rebuilt = rebuild(header.salt, &whole, &lost, marks_before);
        if crc32fast::hash(&rebuilt) == header.body_crc {
            return Ok(());
        }
        is_as_long |= rebuilt.len() == header.body_len as usize;
    }
    Err(if is_as_long {
        RepairError::Other(index)
    } else {
        RepairError::Unverifiable(index)
    })
}

/// The batch with the lost entries put in. Nothing says how they stood among the records beside
/// entries: here they stand behind so many of those.
fn rebuild(
    salt: u64,
    whole: &[Record],
    lost: &BTreeMap<Index, &Entry>,
    marks_before: usize,
) -> Vec<u8> {
    let mut lost = lost.values().copied().peekable();
    let mut out = Vec::new();
    let mut marks = 0;
    for (at, record) in whole.iter().enumerate() {
        let is_mark = record.entry_index().is_none();
        if !is_mark || marks_before <= marks {
            let next = whole.iter().skip(at).find_map(Record::entry_index);
            let is_due = |entry: &&Entry| next.is_none_or(|next| entry.id.index < next);
            while let Some(entry) = lost.next_if(is_due) {
                encode_entry(entry, salt, &mut out);
            }
        }
        marks += usize::from(is_mark);
        record.encode(salt, &mut out);
    }
    for entry in lost {
        encode_entry(entry, salt, &mut out);
    }
    out
}

/// Whether the entry as it would be written has the crc that its damaged record has.
fn is_same(crc: u32, salt: u64, entry: &Entry) -> Result<(), RepairError> {
    let mut wanted = Vec::new();
    encode_entry(entry, salt, &mut wanted);
    if u32_at(&wanted, CRC_AT) == Some(crc) {
        Ok(())
    } else {
        Err(RepairError::Other(entry.id.index))
    }
}

/// The crc that the damaged record's own header says, if a header that names the entry is there.
fn stored_crc(salt: u64, body: &[u8], entry: &Entry) -> Option<u32> {
    let (mut at, mut hashed_left) = (0, salvage::hashed_max(body));
    while let Some(rest) = body.get(at..) {
        let names_it = u64_at(rest, 8)? == entry.id.index.0
            && u64_at(rest, 16)? == entry.id.term.0
            && u32_at(rest, 24)? == entry.id.node.0
            && u32_at(rest, 4)? as usize == entry.payload.len();
        if names_it {
            hashed_left = hashed_left.checked_sub(entry.payload.len())?;
            let head: [u8; CRC_AT] = take(rest, 0)?;
            let crc = record_crc(salt, &head, &entry.payload);
            if u32_at(rest, CRC_AT)? == crc {
                return Some(crc);
            }
        }
        at += 8;
    }
    None
}
