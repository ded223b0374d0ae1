//! The seam to the ordered store that the state lives in.
//!
//! Holds: one writer. A write is atomic for a crash and for a snapshot: they have all of it or
//! nothing. Reading the rows themselves is for the writer alone: beside a write that is under way
//! fjall shows whatever part is in place. Nothing here promises durability before `sync`, because
//! rows are derived from the log and can be built again. Why a trait: simulation runs on a tree in
//! memory and must see the very same rows as fjall.

mod fjall;
#[cfg(feature = "testing")]
mod memory;

use std::ops::ControlFlow;

use ::bytes::Bytes;

use crate::error::Error;

pub(crate) use self::fjall::FjallRows;
#[cfg(feature = "testing")]
pub(crate) use memory::MemoryRows;

/// Keys from `start` up to but without `end`.
#[derive(Clone, Debug)]
pub(crate) struct KeyRange {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Vec<u8>,
}

impl KeyRange {
    /// Every key that begins with `prefix`, which is not all `0xff`.
    pub(crate) fn prefix(prefix: Vec<u8>) -> Self {
        Self {
            end: after_prefix(&prefix),
            start: prefix,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start >= self.end
    }
}

/// The first key behind all that begin with `prefix`.
pub(crate) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    unreachable!("a prefix begins with a table's number, which is below 0xff")
}

/// Which end a scan begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    First,
    Last,
}

/// What a scan calls with each key and value; it goes on while told to.
pub(crate) type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Error> + 'a;

/// Reading.
pub(crate) trait Read: Send + Sync {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;
    /// Calls `each` with the rows of `range`, in order from that end.
    fn scan(&self, range: &KeyRange, from: Side, each: &mut Each<'_>) -> Result<(), Error>;

    /// The row at that end of `range`.
    fn end(&self, range: &KeyRange, from: Side) -> Result<Option<(Vec<u8>, Bytes)>, Error> {
        let mut found = None;
        self.scan(range, from, &mut |key, value| {
            found = Some((key.to_vec(), Bytes::copy_from_slice(value)));
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }
}

/// One change of one row: `None` removes it.
pub(crate) type Change<'a> = (&'a [u8], Option<&'a Bytes>);

/// Reading and writing.
pub(crate) trait Rows: Read {
    /// Makes all changes or none.
    fn write(&self, changes: &mut dyn Iterator<Item = Change<'_>>) -> Result<(), Error>;
    /// The rows as the last whole write left them, however long they are read. Costs two counters,
    /// so every answer to another thread can have one.
    fn snapshot(&self) -> Box<dyn Read>;
    /// Makes what was written durable.
    fn sync(&self) -> Result<(), Error>;
    /// Bytes on disk, for the metrics.
    fn disk_bytes(&self) -> u64;
}
