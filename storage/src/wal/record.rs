//! One WAL record: an entry, a vote or a mark inside a batch.
//!
//! ```text
//! 0      1       2       3      4             8       16     24     28     32
//! ├ kind ┼ flags ┼ codec ┼ zero ┼ payload_len ┼ index ┼ term ┼ node ┼ crc ─┼ payload, zeros to 8 ┤
//! ```
//! Holds: `crc` covers the 28 bytes before it and the payload, seeded with the segment's salt.

use bytes::Bytes;

use super::bytes::{count_at, put, round_up, take, u32_at};
use super::entry::{Entry, EntryKind, Vote};
use super::format::{BATCH_BODY_LEN_MAX, record_crc};
use crate::ids::{Index, LogId, NodeId, Term};

/// The length of a record's header.
pub(crate) const RECORD_HEADER_LEN: usize = 32;
/// Where its crc stands: behind all else of the header.
pub(super) const CRC_AT: usize = 28;
/// The largest payload of one entry: with its header it fills half a body, so that it always fits.
pub(crate) const PAYLOAD_LEN_MAX: usize = BATCH_BODY_LEN_MAX / 2;

const ENTRY: u8 = 1;
const VOTE: u8 = 2;
const TRUNCATE_AFTER: u8 = 3;
const PURGE_UPTO: u8 = 4;
const COMMITTED: u8 = 5;
const REPAIRED: u8 = 6;

/// Vote: a majority promised the same.
const IS_COMMITTED: u8 = 1;
/// Truncate: nothing is kept.
const KEEPS_NONE: u8 = 1;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Entry(Entry),
    Vote(Vote),
    TruncateAfter(Option<LogId>),
    PurgeUpto(LogId),
    Committed(LogId),
    /// An entry whose first bytes were damaged, as a peer had it.
    Repaired(Entry),
}

impl Record {
    /// The index of the entry, if it is one.
    pub(super) fn entry_index(&self) -> Option<Index> {
        self.entry_id().map(|id| id.index)
    }

    /// The name of the entry, if it is one.
    pub(super) fn entry_id(&self) -> Option<LogId> {
        match self {
            Self::Entry(entry) => Some(entry.id),
            Self::Vote(_)
            | Self::TruncateAfter(_)
            | Self::PurgeUpto(_)
            | Self::Committed(_)
            | Self::Repaired(_) => None,
        }
    }

    /// The entry, if it is one.
    pub(crate) fn into_entry(self) -> Option<Entry> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::Vote(_)
            | Self::TruncateAfter(_)
            | Self::PurgeUpto(_)
            | Self::Committed(_)
            | Self::Repaired(_) => None,
        }
    }

    /// Whether it takes entries away.
    pub(crate) fn drops_entries(&self) -> bool {
        match self {
            Self::TruncateAfter(_) | Self::PurgeUpto(_) => true,
            Self::Entry(_) | Self::Vote(_) | Self::Committed(_) | Self::Repaired(_) => false,
        }
    }

    /// The vote, if it is one.
    pub(super) fn vote(&self) -> Option<Vote> {
        match self {
            Self::Vote(vote) => Some(*vote),
            Self::Entry(_)
            | Self::TruncateAfter(_)
            | Self::PurgeUpto(_)
            | Self::Committed(_)
            | Self::Repaired(_) => None,
        }
    }

    /// Whether it takes away the entry at `index`.
    pub(super) fn drops(&self, index: Index) -> bool {
        match self {
            Self::TruncateAfter(keep) => keep.is_none_or(|keep| keep.index < index),
            Self::PurgeUpto(upto) => index <= upto.index,
            Self::Entry(_) | Self::Vote(_) | Self::Committed(_) | Self::Repaired(_) => false,
        }
    }

    /// Writes it at the end of `out`.
    pub(super) fn encode(&self, salt: u64, out: &mut Vec<u8>) {
        let (kind, flags, id) = match self {
            Self::Entry(entry) => return encode_entry(entry, salt, out),
            Self::Repaired(entry) => return write((REPAIRED, 0, entry.id), Some(entry), salt, out),
            Self::Vote(vote) => {
                let id = LogId {
                    term: vote.term,
                    node: vote.node,
                    index: Index(0),
                };
                (VOTE, if vote.is_committed { IS_COMMITTED } else { 0 }, id)
            }
            Self::TruncateAfter(Some(id)) => (TRUNCATE_AFTER, 0, *id),
            Self::TruncateAfter(None) => (TRUNCATE_AFTER, KEEPS_NONE, LogId::default()),
            Self::PurgeUpto(id) => (PURGE_UPTO, 0, *id),
            Self::Committed(id) => (COMMITTED, 0, *id),
        };
        write((kind, flags, id), None, salt, out);
    }

    /// The record at the beginning of `body` and how many bytes it takes; `None`: there is none.
    pub(crate) fn decode(salt: u64, body: &[u8]) -> Option<(Self, usize)> {
        let len = u32_at(body, 4)? as usize;
        if len > PAYLOAD_LEN_MAX {
            return None;
        }
        let payload = body.get(RECORD_HEADER_LEN..RECORD_HEADER_LEN.checked_add(len)?)?;
        if u32_at(body, CRC_AT)? != record_crc(salt, body.get(..CRC_AT)?, payload) {
            return None;
        }
        let id = LogId {
            term: Term(count_at(body, 16)?),
            node: NodeId(u32_at(body, 24)?),
            index: Index(count_at(body, 8)?),
        };
        let [kind, flags, codec, _] = take(body, 0)?;
        let record = match (kind, flags, codec) {
            (ENTRY | REPAIRED, 0, codec) => {
                let entry = Entry {
                    id,
                    kind: entry_kind(codec)?,
                    payload: Bytes::copy_from_slice(payload),
                };
                if kind == ENTRY {
                    Self::Entry(entry)
                } else {
                    Self::Repaired(entry)
                }
            }
            (VOTE, flags, 0) => Self::Vote(Vote {
                term: id.term,
                node: id.node,
                is_committed: flags & IS_COMMITTED != 0,
            }),
            (TRUNCATE_AFTER, KEEPS_NONE, 0) => Self::TruncateAfter(None),
            (TRUNCATE_AFTER, 0, 0) => Self::TruncateAfter(Some(id)),
            (PURGE_UPTO, 0, 0) => Self::PurgeUpto(id),
            (COMMITTED, 0, 0) => Self::Committed(id),
            _ => return None,
        };
        Some((record, encoded_len(len)))
    }

    /// How many bytes decoding would take the crc of; 0 where it would not come as far.
    pub(super) fn len_said(body: &[u8]) -> usize {
        let len = u32_at(body, 4).map_or(usize::MAX, |len| len as usize);
        if len <= PAYLOAD_LEN_MAX && RECORD_HEADER_LEN + len <= body.len() {
            RECORD_HEADER_LEN + len
        } else {
            0
        }
    }

    /// All records of a body. `None`: it is not exactly `count` whole records.
    pub(crate) fn decode_all(salt: u64, mut body: &[u8], count: u32) -> Option<Vec<Self>> {
        // A record has 32 bytes at least, so a damaged count cannot ask for memory.
        let mut records = Vec::with_capacity((count as usize).min(body.len() / RECORD_HEADER_LEN));
        while !body.is_empty() {
            let (record, used) = Self::decode(salt, body)?;
            records.push(record);
            body = body.get(used..)?;
        }
        (records.len() == count as usize).then_some(records)
    }
}

/// How many bytes a record with a payload of that length takes in a body.
const fn encoded_len(payload_len: usize) -> usize {
    RECORD_HEADER_LEN + round_up(payload_len, 8)
}

/// How many bytes an entry takes in a body.
pub(super) fn entry_len(entry: &Entry) -> usize {
    encoded_len(entry.payload.len())
}

/// Writes an entry at the end of `out`.
pub(super) fn encode_entry(entry: &Entry, salt: u64, out: &mut Vec<u8>) {
    write((ENTRY, 0, entry.id), Some(entry), salt, out);
}

fn write((kind, flags, id): (u8, u8, LogId), entry: Option<&Entry>, salt: u64, out: &mut Vec<u8>) {
    let codec = entry.map_or(0, |entry| codec(entry.kind));
    let payload = entry.map_or(&[][..], |entry| &entry.payload);
    assert!(
        payload.len() <= PAYLOAD_LEN_MAX,
        "an entry of {}",
        payload.len()
    );
    let mut head = [0; RECORD_HEADER_LEN];
    put(&mut head, 0, &[kind, flags, codec, 0]);
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    put(&mut head, 4, &len.to_le_bytes());
    put(&mut head, 8, &id.index.0.to_le_bytes());
    put(&mut head, 16, &id.term.0.to_le_bytes());
    put(&mut head, 24, &id.node.0.to_le_bytes());
    let crc = record_crc(salt, head.get(..CRC_AT).unwrap_or_default(), payload);
    put(&mut head, CRC_AT, &crc.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
    out.resize(round_up(out.len(), 8), 0);
}

/// Binds whole records to the segment of this salt.
pub(super) fn reseed(salt: u64, mut records: &mut [u8]) {
    while let Some(len) = u32_at(records, 4) {
        let len = len as usize;
        let end = encoded_len(len).min(records.len());
        let (record, behind) = records.split_at_mut(end);
        let payload = record.get(RECORD_HEADER_LEN..RECORD_HEADER_LEN + len);
        let head = record.get(..CRC_AT).unwrap_or_default();
        let crc = record_crc(salt, head, payload.unwrap_or_default());
        put(record, CRC_AT, &crc.to_le_bytes());
        records = behind;
    }
}

const fn codec(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Blank => 0,
        EntryKind::Command => 1,
        EntryKind::Membership => 2,
    }
}

const fn entry_kind(codec: u8) -> Option<EntryKind> {
    match codec {
        0 => Some(EntryKind::Blank),
        1 => Some(EntryKind::Command),
        2 => Some(EntryKind::Membership),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Record> {
        let id = LogId {
            term: Term(2),
            node: NodeId(1),
            index: Index(5),
        };
        let entry = |kind, payload: &'static [u8]| {
            Record::Entry(Entry {
                id,
                kind,
                payload: Bytes::from_static(payload),
            })
        };
        let vote = |is_committed| {
            Record::Vote(Vote {
                term: Term(3),
                node: NodeId(4),
                is_committed,
            })
        };
        vec![
            entry(EntryKind::Blank, b""),
            entry(EntryKind::Command, b"payload"),
            entry(EntryKind::Membership, b"12345678"),
            vote(false),
            vote(true),
            Record::TruncateAfter(None),
            Record::TruncateAfter(Some(id)),
            Record::PurgeUpto(id),
            Record::Committed(id),
            Record::Repaired(Entry {
                id,
                kind: EntryKind::Command,
                payload: Bytes::from_static(b"as it was"),
            }),
        ]
    }

    #[test]
    fn what_is_written_is_read_back_in_order() {
        let mut body = Vec::new();
        for record in all() {
            record.encode(7, &mut body);
        }
        assert_eq!(Some(all()), Record::decode_all(7, &body, 10));
        assert_eq!(None, Record::decode_all(7, &body, 9));
        assert_eq!(
            None,
            Record::decode_all(8, &body, 10),
            "another segment's record"
        );
        assert_eq!(None, Record::decode_all(7, &body[..body.len() - 8], 10));
        reseed(8, &mut body);
        assert_eq!(Some(all()), Record::decode_all(8, &body, 10));
    }

    #[test]
    fn every_flipped_bit_that_means_something_is_noticed() {
        let mut good = Vec::new();
        all()[1].encode(7, &mut good);
        for at in 0..RECORD_HEADER_LEN + 7 {
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                assert_eq!(None, Record::decode(7, &bytes), "byte {at} bit {bit}");
            }
        }
    }
}
