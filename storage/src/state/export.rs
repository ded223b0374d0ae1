//! The whole state as one stream: what a snapshot carries.
//!
//! ```text
//! ├ magic "fspstate" ┼ version u32 ┼ chunk … ┼ empty chunk ┤          numbers little-endian
//! chunk: ├ len u32 ┼ crc32 of the rows u32 ┼ rows: (key len u32 ┼ value len u32 ┼ key ┼ value) … ┤
//! ```
//! Holds: rows come in key order, so the first chunk says what is applied and who the members are;
//! the digest and the count of what was read must be those that the stream claims, or it is refused.
//! An import that did not end leaves a mark, by which the next open knows that the rows are no state
//! at all.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;

use bytes::{Buf, Bytes};

use super::digests::{Applied, Tally};
use super::{LAYOUT, facts, keys};
use crate::codec;
use crate::error::Error;
use crate::ids::LogId;
use crate::rows::{Each, KeyRange, Read, Rows, Side};

const MAGIC: [u8; 8] = *b"fspstate";
const VERSION: u32 = 1;
/// A chunk is closed when it has reached this; one row more may follow.
const CHUNK_BYTES: usize = 256 << 10;
/// No chunk of ours is longer.
const CHUNK_BYTES_MAX: usize = CHUNK_BYTES + (128 << 10);

/// Every row of every table.
fn everything() -> KeyRange {
    KeyRange {
        start: vec![0],
        end: vec![u8::MAX],
    }
}

pub(super) fn export(rows: &dyn Read, to: &mut dyn io::Write) -> Result<(), Error> {
    to.write_all(&MAGIC).map_err(stream("write"))?;
    to.write_all(&VERSION.to_le_bytes())
        .map_err(stream("write"))?;
    let mut chunk = Vec::new();
    rows.scan(&everything(), Side::First, &mut |key, value| {
        chunk.extend_from_slice(&length(key).to_le_bytes());
        chunk.extend_from_slice(&length(value).to_le_bytes());
        chunk.extend_from_slice(key);
        chunk.extend_from_slice(value);
        if chunk.len() >= CHUNK_BYTES {
            write_chunk(&chunk, to)?;
            chunk.clear();
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if !chunk.is_empty() {
        write_chunk(&chunk, to)?;
    }
    write_chunk(&[], to)
}

fn write_chunk(chunk: &[u8], to: &mut dyn io::Write) -> Result<(), Error> {
    to.write_all(&length(chunk).to_le_bytes())
        .map_err(stream("write"))?;
    to.write_all(&crc32fast::hash(chunk).to_le_bytes())
        .map_err(stream("write"))?;
    to.write_all(chunk).map_err(stream("write"))
}

/// What the beginning of a stream says.
pub(super) struct Head {
    pub(super) applied: Applied,
    pub(super) members: Option<(LogId, Bytes)>,
}

/// Reads the beginning alone.
pub(super) fn head(from: &mut dyn io::Read) -> Result<Head, Error> {
    read_magic(from)?;
    let mut claim = Claim::default();
    let mut first = FirstRows::default();
    if let Some(chunk) = read_chunk(from)? {
        let rows = split(&chunk)?;
        claim.take(&rows)?;
        first.0.extend(rows);
    }
    Ok(Head {
        applied: claim.applied()?,
        members: facts::members(&first)?,
    })
}

/// Reads all of it and believes nothing: every crc, the count, the digest.
pub(super) fn check(from: &mut dyn io::Read) -> Result<(), Error> {
    read_magic(from)?;
    let mut claim = Claim::default();
    while let Some(chunk) = read_chunk(from)? {
        claim.take(&split(&chunk)?)?;
    }
    claim.settle()
}

pub(super) fn import(rows: &dyn Rows, from: &mut dyn io::Read) -> Result<(), Error> {
    read_magic(from)?;
    let mark = keys::meta_importing();
    let is_under_way = Bytes::from_static(b"1");
    rows.write(&mut std::iter::once((mark.as_slice(), Some(&is_under_way))))?;
    clear(rows)?;
    let mut claim = Claim::default();
    while let Some(chunk) = read_chunk(from)? {
        let new = split(&chunk)?;
        claim.take(&new)?;
        rows.write(&mut new.iter().map(|(key, value)| (&key[..], Some(value))))?;
    }
    claim.settle()?;
    rows.write(&mut std::iter::once((mark.as_slice(), None)))?;
    rows.sync()
}

/// What a stream says about itself, and what was found so far.
#[derive(Default)]
struct Claim {
    applied: Option<Applied>,
    found: Tally,
}

impl Claim {
    fn take(&mut self, rows: &[(Bytes, Bytes)]) -> Result<(), Error> {
        for (key, value) in rows {
            if key.first() != Some(&keys::META) {
                self.found.add(key, value);
            } else if key == keys::meta_applied().as_slice() {
                self.applied = Some(codec::decode_row("what is applied", value)?);
            }
        }
        Ok(())
    }

    fn applied(&self) -> Result<Applied, Error> {
        let applied = self.applied.unwrap_or(Applied {
            layout: LAYOUT,
            ..Applied::default()
        });
        if applied.layout == LAYOUT {
            Ok(applied)
        } else {
            Err(Error::Decode {
                what: "an exported state: its layout",
            })
        }
    }

    fn settle(&self) -> Result<(), Error> {
        if self.applied()?.tally == self.found {
            return Ok(());
        }
        Err(Error::Unfit {
            what: "an exported state has another digest than it claims",
        })
    }
}

/// The rows of the first chunk.
#[derive(Default)]
struct FirstRows(BTreeMap<Bytes, Bytes>);

impl Read for FirstRows {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, range: &KeyRange, from: Side, each: &mut Each<'_>) -> Result<(), Error> {
        let within = |key: &Bytes| range.start[..] <= key[..] && key[..] < range.end[..];
        let mut rows = self.0.iter().filter(|(key, _)| within(key));
        while let Some((key, value)) = match from {
            Side::First => rows.next(),
            Side::Last => rows.next_back(),
        } {
            if each(key, value)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn read_magic(from: &mut dyn io::Read) -> Result<(), Error> {
    let mut magic = [0; 8];
    from.read_exact(&mut magic).map_err(stream("read"))?;
    if magic == MAGIC && read_u32(from)? == VERSION {
        return Ok(());
    }
    Err(Error::Decode {
        what: "an exported state: its head",
    })
}

/// Removes every row but the mark, some at a time.
fn clear(rows: &dyn Rows) -> Result<(), Error> {
    const ROWS_AT_ONCE: usize = 4096;
    loop {
        let mut gone: Vec<Vec<u8>> = Vec::new();
        rows.scan(&everything(), Side::First, &mut |key, _| {
            if key != keys::meta_importing().as_slice() {
                gone.push(key.to_vec());
            }
            Ok(if gone.len() < ROWS_AT_ONCE {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        })?;
        if gone.is_empty() {
            return Ok(());
        }
        rows.write(&mut gone.iter().map(|key| (key.as_slice(), None)))?;
    }
}

fn read_chunk(from: &mut dyn io::Read) -> Result<Option<Bytes>, Error> {
    let len = usize::try_from(read_u32(from)?).unwrap_or(usize::MAX);
    let crc = read_u32(from)?;
    if len > CHUNK_BYTES_MAX {
        return Err(Error::Decode {
            what: "an exported state: a chunk's length",
        });
    }
    let mut chunk = vec![0; len];
    from.read_exact(&mut chunk).map_err(stream("read"))?;
    if crc32fast::hash(&chunk) != crc {
        return Err(Error::Decode {
            what: "an exported state: a chunk",
        });
    }
    Ok((len > 0).then(|| chunk.into()))
}

fn split(chunk: &Bytes) -> Result<Vec<(Bytes, Bytes)>, Error> {
    let mut rest = chunk.clone();
    let mut rows = Vec::new();
    while rest.has_remaining() {
        let bad = Error::Decode {
            what: "an exported state: a row",
        };
        if rest.remaining() < 8 {
            return Err(bad);
        }
        let key_len = usize::try_from(rest.get_u32_le()).unwrap_or(usize::MAX);
        let value_len = usize::try_from(rest.get_u32_le()).unwrap_or(usize::MAX);
        if rest.remaining() < key_len.saturating_add(value_len) {
            return Err(bad);
        }
        let key = rest.split_to(key_len);
        rows.push((key, rest.split_to(value_len)));
    }
    Ok(rows)
}

fn read_u32(from: &mut dyn io::Read) -> Result<u32, Error> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes).map_err(stream("read"))?;
    Ok(u32::from_le_bytes(bytes))
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn stream(op: &'static str) -> impl FnOnce(io::Error) -> Error {
    Error::io(op, "an exported state")
}
