//! Two digests that nodes compare: one of the state's rows, one chained over the log.
//!
//! Holds: the digest of the rows is the sum, modulo 2^128, of a hash of each row, so a change of
//! one row costs two hashes however large the state is; and a full scan must find the same sum.
//! The chain covers index and crc of every entry's payload, in order. Both are kept for every
//! 1024th index in a ring, so that two nodes always find an index that both remember.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::keys;
use crate::ids::{Index, LogId};

/// Both digests are kept where the index is a multiple of this.
pub(crate) const RING_STEP: u64 = 1024;
/// So many of them are kept.
pub(crate) const RING_LEN: u64 = 64;

/// The sum over all rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowSum(pub(crate) u128);

/// How many rows there are and the sum of their hashes: of all, and of the few that decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Of all rows.
    pub(crate) rows: RowSum,
    /// How many there are.
    pub(crate) row_count: u64,
    /// Of the rows of the core tables alone: what every answer rests on, small enough to be read
    /// whole at any start.
    pub(crate) core: RowSum,
    /// How many there are of those.
    pub(crate) core_count: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        let hash = hash_row(key, value);
        self.rows.0 = self.rows.0.wrapping_add(hash);
        self.row_count += 1;
        if is_core(key) {
            self.core.0 = self.core.0.wrapping_add(hash);
            self.core_count += 1;
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8], value: &[u8]) {
        assert!(0 < self.row_count, "a row is removed from an empty state");
        let hash = hash_row(key, value);
        self.rows.0 = self.rows.0.wrapping_sub(hash);
        self.row_count -= 1;
        if is_core(key) {
            self.core.0 = self.core.0.wrapping_sub(hash);
            self.core_count -= 1;
        }
    }
}

fn is_core(key: &[u8]) -> bool {
    key.first().is_some_and(|table| keys::is_core(*table))
}

/// The key's length goes first, so that no two rows hash alike.
fn hash_row(key: &[u8], value: &[u8]) -> u128 {
    let mut hash = Sha256::new();
    hash.update((key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(value);
    u128::from_le_bytes(first_half(&hash.finalize()))
}

/// The log's chain, one entry further.
pub(crate) fn chain(before: [u8; 16], index: Index, payload: &[u8]) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(index.0.to_le_bytes());
    hash.update(crc32fast::hash(payload).to_le_bytes());
    first_half(&hash.finalize())
}

fn first_half(hash: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(hash) {
        *to = *from;
    }
    half
}

/// What is known about the state beside the state itself; written with every apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// How rows are laid out; another number means: build them again.
    pub(crate) layout: u32,
    /// The last entry applied.
    pub(crate) id: Option<LogId>,
    /// How many rows there are, and the sums of their hashes.
    pub(crate) tally: Tally,
    /// The chain over the log.
    pub(crate) chain: [u8; 16],
}

/// Both digests at one index. Equal on every node that applied the same log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// After applying this entry.
    pub index: Index,
    /// Of the rows.
    pub rows: u128,
    /// Of the log up to here.
    pub log: [u8; 16],
}

impl Applied {
    pub(crate) fn digests(&self) -> Digests {
        Digests {
            index: self.id.map_or(Index(0), |id| id.index),
            rows: self.tally.rows.0,
            log: self.chain,
        }
    }
}
