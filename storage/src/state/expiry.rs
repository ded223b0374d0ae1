//! State time, and what goes with it: expiring keys.
//!
//! Holds: time moves only by `Tick`, the sum of what leaders measured, so no clock of a node can
//! expire anything. Expiry takes a bounded number of rows a command; a key is there until its row
//! is gone, so how fast it goes decides nothing between nodes. Rows that expire together share one
//! row in the index, ordered by time.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Apply;
use super::keys;
use crate::codec;
use crate::error::Error;
use crate::rows::{KeyRange, Side};

/// State time and the room that keys take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Clock {
    pub(crate) time_ms: u64,
    pub(crate) key_bytes: u64,
}

/// Rows that expire together: so many that the row stays small.
const GROUP_KEYS_MAX: usize = 64;
const GROUP_BYTES_MAX: usize = 2048;

#[derive(Serialize, Deserialize)]
struct Group {
    /// What the keys were charged.
    bytes: u64,
    /// Whole keys of rows.
    keys: Vec<Bytes>,
}

/// Where the index begins: spares a scan over what is gone already. A hint, never a truth.
#[derive(Default)]
pub(crate) struct Oldest {
    /// Nothing lies below.
    from: Vec<u8>,
    /// The oldest time that is left; `None`: look.
    time_ms: Option<u64>,
}

/// Gathers what a command adds to the index.
#[derive(Default)]
pub(super) struct Groups {
    keys: Vec<Bytes>,
    len: usize,
    bytes: u64,
    written: u32,
}

impl Groups {
    /// The row `key`, charged with `bytes`, expires with this command's others.
    pub(super) fn push(&mut self, apply: &mut Apply<'_>, key: Vec<u8>, bytes: u64) {
        if self.keys.len() == GROUP_KEYS_MAX || self.len + key.len() > GROUP_BYTES_MAX {
            self.finish(apply);
        }
        self.len += key.len();
        self.bytes += bytes;
        self.keys.push(key.into());
    }

    /// Writes the group that is still open.
    pub(super) fn finish(&mut self, apply: &mut Apply<'_>) {
        if self.keys.is_empty() {
            return;
        }
        let time_ms = apply.clock.time_ms;
        let group = Group {
            bytes: self.bytes,
            keys: std::mem::take(&mut self.keys),
        };
        apply
            .over
            .store_new(keys::expiry(time_ms, apply.index, self.written), &group);
        apply.oldest.time_ms = apply.oldest.time_ms.map(|oldest| oldest.min(time_ms));
        *self = Self {
            written: self.written + 1,
            ..Self::default()
        };
    }
}

impl Apply<'_> {
    pub(super) fn tick(&mut self, elapsed_ms: u64) -> Result<(), Error> {
        let before_ms = self.clock.time_ms;
        self.clock.time_ms = before_ms.saturating_add(elapsed_ms);
        self.mark_time(before_ms)?;
        let mut budget = self.rules.expiry_rows_max;
        self.expire(&mut budget)?;
        self.prune()?;
        self.sweep()
    }

    /// Removes keys older than the window; whether any went.
    pub(super) fn expire(&mut self, budget: &mut usize) -> Result<bool, Error> {
        let mut is_changed = false;
        while self.oldest_time()?.is_some_and(|time_ms| {
            time_ms.saturating_add(self.rules.key_window_ms) <= self.clock.time_ms
        }) && self.expire_oldest(budget)?
        {
            is_changed = true;
        }
        Ok(is_changed)
    }

    /// Makes room for `bytes` more by removing the oldest keys; whether there is room now.
    /// `budget` is how many rows may still go in this command.
    pub(super) fn make_room(&mut self, bytes: u64, budget: &mut usize) -> Result<bool, Error> {
        while self.clock.key_bytes + bytes > self.rules.key_bytes_max {
            let is_old = self.oldest_time()?.is_some_and(|time_ms| {
                time_ms.saturating_add(self.rules.key_age_min_ms) <= self.clock.time_ms
            });
            if !is_old || !self.expire_oldest(budget)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn oldest_time(&mut self) -> Result<Option<u64>, Error> {
        if self.oldest.time_ms.is_none() {
            let time_ms = self
                .oldest_group()?
                .map(|(key, _)| keys::tail_u64(&key, 12));
            self.oldest.time_ms = Some(time_ms.unwrap_or(u64::MAX));
        }
        Ok(self.oldest.time_ms.filter(|time_ms| *time_ms < u64::MAX))
    }

    fn oldest_group(&self) -> Result<Option<(Vec<u8>, Bytes)>, Error> {
        let all = KeyRange::prefix(vec![keys::EXPIRY]);
        let start = self.oldest.from.clone().max(all.start);
        self.over.end(
            &KeyRange {
                start,
                end: all.end,
            },
            Side::First,
        )
    }

    /// Removes the oldest group; false where the budget does not reach for it.
    fn expire_oldest(&mut self, budget: &mut usize) -> Result<bool, Error> {
        let Some((key, value)) = self.oldest_group()? else {
            return Ok(false);
        };
        let group: Group = codec::decode_row("an expiry", &value)?;
        if group.keys.len() > *budget {
            return Ok(false);
        }
        *budget -= group.keys.len();
        for row in group.keys {
            let was_there = self.over.remove(row.to_vec())?;
            assert!(was_there, "a key went before its time");
        }
        assert!(
            self.clock.key_bytes >= group.bytes,
            "keys were charged less than they give back"
        );
        self.clock.key_bytes -= group.bytes;
        self.over.remove(key.clone())?;
        self.oldest.from = key;
        self.oldest.time_ms = None;
        Ok(true)
    }
}
