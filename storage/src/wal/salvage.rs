//! Records out of a batch whose body is damaged.
//!
//! Holds: a record counts only by its own crc, which the segment's secret salt seeds; nothing is
//! guessed. Looking is bounded by the body, whatever its bytes say: a length that points outside of it
//! is no length, and crcs are taken of so many times its bytes, no more.

use super::format::BatchHeader;
use super::record::{RECORD_HEADER_LEN, Record};

/// How many bytes crcs may be taken of to find what is whole of a body. Each place that looks like a
/// record costs one of as many bytes as it says; what people send, zeros and all, is far below it, and
/// what somebody forged to be slow costs half a second of the largest body at the most.
pub(super) const fn hashed_max(body: &[u8]) -> usize {
    64 * body.len()
}

/// All whole records at the beginning, up to the first that is not: what may be kept of a write that
/// nothing proves to have been synced.
pub(super) fn beginning(salt: u64, header: &BatchHeader, mut body: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some((record, used)) = Record::decode(salt, body) {
        records.push(record);
        body = body.get(used..).unwrap_or_default();
    }
    records.truncate(header.record_count as usize);
    records
}

/// All whole records, wherever they lie: of a write that was durable.
pub(super) fn all(salt: u64, header: &BatchHeader, mut body: &[u8]) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let mut hashed_left = hashed_max(body);
    while body.len() >= RECORD_HEADER_LEN {
        let Some(left) = hashed_left.checked_sub(Record::len_said(body)) else {
            break;
        };
        hashed_left = left;
        let step = match Record::decode(salt, body) {
            Some((record, used)) if fits(header, &records, &record) => {
                records.push(record);
                used
            }
            Some(_) | None => 8,
        };
        body = body.get(step..).unwrap_or_default();
    }
    records
}

/// Entries come in the order of their indexes, and only those that the header says.
fn fits(header: &BatchHeader, before: &[Record], record: &Record) -> bool {
    let Some(index) = record.entry_index() else {
        return true;
    };
    let last = before.iter().rev().find_map(Record::entry_index);
    let is_said = header
        .entries
        .is_some_and(|(first, last)| (first..=last).contains(&index));
    is_said && last < Some(index)
}
