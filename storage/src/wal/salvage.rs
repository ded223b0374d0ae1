//! Records out of a batch whose body is damaged.
//!
//! Holds: a record counts only by its own crc, which the segment's secret salt seeds; nothing is
//! guessed. Looking is bounded by the body: a length that points outside of it is no length.

use super::format::BatchHeader;
use super::record::{RECORD_HEADER_LEN, Record};

/// How often bytes may look like a record and be none.
const TRIES: usize = 4096;

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
    // Bytes that look like a record cost a crc each; what people send must not make that endless.
    let mut tries_left = TRIES + 2 * header.record_count as usize;
    while body.len() >= RECORD_HEADER_LEN && tries_left > 0 {
        if Record::looks_like_one(body) {
            tries_left -= 1;
        }
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
