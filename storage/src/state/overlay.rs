//! The changes of one command, laid over the rows until they are written as one.
//!
//! Holds: a command reads its own changes; nothing reaches the rows before [`Overlay::into_parts`]
//! hands everything over for one write; row count and digest follow each change. What a command
//! reads again and again (facts, heads, sessions, forms) is kept in [`Hot`] across commands, which
//! is a copy and never a second truth: it takes a command's changes only after they were written.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::digests::Tally;
use super::keys;
use crate::codec;
use crate::error::Error;
use crate::rows::{KeyRange, Read, Side};

/// Beyond this the copies are dropped and read again: a node has few forms, but no limit on them.
const HOT_ROWS_MAX: usize = 16_384;

/// Copies of the rows of the hot tables; `None`: known to be absent.
#[derive(Default)]
pub(crate) struct Hot {
    rows: BTreeMap<Vec<u8>, Option<Bytes>>,
}

impl Hot {
    /// Takes over what was written.
    pub(crate) fn take(&mut self, changes: &Changes) {
        for (key, value) in changes {
            if key.first().is_some_and(|table| keys::is_hot(*table)) {
                self.keep(key, value.clone());
            }
        }
    }

    fn keep(&mut self, key: &[u8], value: Option<Bytes>) {
        if let Some(copy) = self.rows.get_mut(key) {
            *copy = value;
            return;
        }
        if self.rows.len() >= HOT_ROWS_MAX {
            self.rows.clear();
        }
        self.rows.insert(key.to_vec(), value);
    }
}

pub(crate) type Changes = BTreeMap<Vec<u8>, Option<Bytes>>;

/// Rows as one command sees them.
pub(crate) struct Overlay<'a> {
    rows: &'a dyn Read,
    hot: &'a mut Hot,
    changes: Changes,
    tally: Tally,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(rows: &'a dyn Read, hot: &'a mut Hot, tally: Tally) -> Self {
        Self {
            rows,
            hot,
            changes: Changes::new(),
            tally,
        }
    }

    /// All changes, and the tally of the rows after them.
    pub(crate) fn into_parts(self) -> (Changes, Tally) {
        (self.changes, self.tally)
    }

    /// How many rows this command has changed so far.
    pub(crate) fn change_count(&self) -> usize {
        self.changes.len()
    }

    /// The rows as they were before this command.
    pub(crate) const fn stored(&self) -> &'a dyn Read {
        self.rows
    }

    pub(crate) fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        if let Some(changed) = self.changes.get(key) {
            return Ok(changed.clone());
        }
        if !key.first().is_some_and(|table| keys::is_hot(*table)) {
            return self.rows.get(key);
        }
        if let Some(copy) = self.hot.rows.get(key) {
            return Ok(copy.clone());
        }
        let value = self.rows.get(key)?;
        self.hot.keep(key, value.clone());
        Ok(value)
    }

    /// The decoded value of `key`; `what` names the kind of row.
    pub(crate) fn load<T: DeserializeOwned>(
        &mut self,
        key: &[u8],
        what: &'static str,
    ) -> Result<Option<T>, Error> {
        let value = self.get(key)?;
        value
            .map(|value| codec::decode_row(what, &value))
            .transpose()
    }

    pub(crate) fn store<T: Serialize>(&mut self, key: Vec<u8>, value: &T) -> Result<(), Error> {
        self.put(key, codec::encode_row(value).into())
    }

    /// As [`Self::store`], where nothing is there yet.
    pub(crate) fn store_new<T: Serialize>(&mut self, key: Vec<u8>, value: &T) {
        self.put_new(key, codec::encode_row(value).into());
    }

    pub(crate) fn put(&mut self, key: Vec<u8>, value: Bytes) -> Result<(), Error> {
        match self.get(&key)? {
            Some(old) => {
                assert_value(&key, &value);
                self.tally.remove(&key, &old);
                self.tally.add(&key, &value);
                self.changes.insert(key, Some(value));
            }
            None => self.put_new(key, value),
        }
        Ok(())
    }

    /// The caller knows that nothing is there, by the key's own nature (an index, a next seq):
    /// spares the hot path a read in the store.
    pub(crate) fn put_new(&mut self, key: Vec<u8>, value: Bytes) {
        assert_value(&key, &value);
        self.tally.add(&key, &value);
        let old = self.changes.insert(key, Some(value));
        assert!(
            old.is_none_or(|old| old.is_none()),
            "a new row was there already"
        );
    }

    /// Removes a row; whether it was there.
    pub(crate) fn remove(&mut self, key: Vec<u8>) -> Result<bool, Error> {
        let Some(old) = self.get(&key)? else {
            return Ok(false);
        };
        self.tally.remove(&key, &old);
        self.changes.insert(key, None);
        Ok(true)
    }

    /// Removes at most `count_max` rows of `range`; how many there were.
    pub(crate) fn remove_some(
        &mut self,
        range: &KeyRange,
        count_max: usize,
    ) -> Result<usize, Error> {
        let mut found: Vec<Vec<u8>> = Vec::new();
        while found.len() < count_max {
            let rest = match found.last() {
                Some(last) => KeyRange {
                    start: successor(last),
                    end: range.end.clone(),
                },
                None => range.clone(),
            };
            let Some((key, _)) = self.end(&rest, Side::First)? else {
                break;
            };
            found.push(key);
        }
        let count = found.len();
        for key in found {
            self.remove(key)?;
        }
        Ok(count)
    }

    /// The row at that end of `range`, this command's changes included.
    pub(crate) fn end(
        &self,
        range: &KeyRange,
        from: Side,
    ) -> Result<Option<(Vec<u8>, Bytes)>, Error> {
        if range.is_empty() {
            return Ok(None);
        }
        let changed = self.changed_end(range, from);
        let mut stored = None;
        self.rows.scan(range, from, &mut |key, value| {
            if self.changes.contains_key(key) {
                return Ok(ControlFlow::Continue(()));
            }
            stored = Some((key.to_vec(), Bytes::copy_from_slice(value)));
            Ok(ControlFlow::Break(()))
        })?;
        Ok(match (changed, stored) {
            (Some(ours), Some(theirs)) => {
                let is_ours_first = ours.0 < theirs.0;
                Some(if is_ours_first == (from == Side::First) {
                    ours
                } else {
                    theirs
                })
            }
            (ours, theirs) => ours.or(theirs),
        })
    }

    /// As [`Self::end`], among this command's changes alone.
    pub(crate) fn changed_end(&self, range: &KeyRange, from: Side) -> Option<(Vec<u8>, Bytes)> {
        let bounds = (
            Bound::Included(range.start.as_slice()),
            Bound::Excluded(range.end.as_slice()),
        );
        let mut rows = self
            .changes
            .range::<[u8], _>(bounds)
            .filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
        match from {
            Side::First => rows.next(),
            Side::Last => rows.next_back(),
        }
    }

    /// Stores something large in pieces, each under `prefix` and its number; what was there has
    /// `old_len` bytes. Returns nothing: the length is the caller's to keep.
    pub(crate) fn put_pieces(
        &mut self,
        prefix: &[u8],
        bytes: &[u8],
        old_len: usize,
    ) -> Result<(), Error> {
        let mut count = 0;
        for piece in bytes.chunks(keys::PIECE_BYTES) {
            self.put(piece_key(prefix, count), Bytes::copy_from_slice(piece))?;
            count += 1;
        }
        for surplus in count..piece_count(old_len) {
            self.remove(piece_key(prefix, surplus))?;
        }
        Ok(())
    }
}

/// How many pieces hold so many bytes.
pub(crate) fn piece_count(len: usize) -> u32 {
    u32::try_from(len.div_ceil(keys::PIECE_BYTES)).unwrap_or(u32::MAX)
}

/// Where piece `number` of what lies under `prefix` is.
pub(crate) fn piece_key(prefix: &[u8], number: u32) -> Vec<u8> {
    let mut key = prefix.to_vec();
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// Puts pieces together again; `get` reads one of them.
pub(crate) fn get_pieces(
    mut get: impl FnMut(&[u8]) -> Result<Option<Bytes>, Error>,
    prefix: &[u8],
    len: usize,
) -> Result<Bytes, Error> {
    let mut bytes = Vec::with_capacity(len.min(1 << 20));
    for number in 0..piece_count(len) {
        let piece = get(&piece_key(prefix, number))?;
        bytes.extend_from_slice(&piece.ok_or(Error::Unfit {
            what: "a piece is missing",
        })?);
    }
    if bytes.len() != len {
        return Err(Error::Unfit {
            what: "pieces have another length than their row says",
        });
    }
    Ok(bytes.into())
}

/// The smallest key after `key`.
pub(crate) fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}

fn assert_value(key: &[u8], value: &[u8]) {
    assert!(
        value.len() < keys::VALUE_BYTES_MAX,
        "a row of table {:?} has {} bytes",
        key.first(),
        value.len(),
    );
}
