//! Random bits for ids, drawn from the operating system by the page and handed out in order.

use std::sync::{Mutex, PoisonError};

/// A pool of random bytes; each is used once.
pub(super) struct Dice {
    pool: Mutex<Pool>,
}

struct Pool {
    bytes: Box<[u8; POOL_LEN]>,
    at: usize,
}

/// A page: one call to the operating system for some 400 ids.
const POOL_LEN: usize = 4096;
/// What a UUID version 7 has beside its time.
const ID_LEN: usize = 10;

impl Dice {
    pub(super) fn new() -> Self {
        Self {
            pool: Mutex::new(Pool {
                bytes: Box::new([0; POOL_LEN]),
                at: POOL_LEN,
            }),
        }
    }

    /// An id that no other submission has: a UUID version 7 of this millisecond.
    pub(super) fn id(&self, now_ms: u64) -> [u8; 16] {
        let random = self.draw();
        *uuid::Builder::from_unix_timestamp_millis(now_ms, &random)
            .into_uuid()
            .as_bytes()
    }

    fn draw(&self) -> [u8; ID_LEN] {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = pool
                .bytes
                .get(pool.at..)
                .and_then(<[u8]>::first_chunk)
                .copied();
            if let Some(random) = left {
                pool.at += ID_LEN;
                return random;
            }
            let drawn = getrandom::fill(pool.bytes.as_mut_slice());
            assert!(
                drawn.is_ok(),
                "the operating system gives no random bytes: {drawn:?}"
            );
            pool.at = 0;
        }
    }
}

impl std::fmt::Debug for Dice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dice")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_id_comes_twice_and_each_is_a_uuid_of_its_time() {
        let dice = Dice::new();
        let ids: BTreeSet<_> = (0..10_000).map(|_| dice.id(1_700_000_000_000)).collect();
        assert_eq!(ids.len(), 10_000);
        for id in ids {
            let id = uuid::Uuid::from_bytes(id);
            assert_eq!(id.get_version_num(), 7);
            assert_eq!(id.get_timestamp().unwrap().to_unix().0, 1_700_000_000);
        }
    }
}
