//! What a lane's metadata is called.
//!
//! ```text
//! key     formspool.<16 hex digits of (cluster, task, form)>   one for all items of a lane:
//!                                                              one read finds them all
//! id      31 bits of (key, purpose, attempt), never 0          the same in every process
//! ```
//! Holds: an id is a function of what it is for. A cursor's is that of the first attempt for ever, so
//! of two set-ups, whoever sends them and however late, one is refused. What a batch makes besides,
//! under its cursor's guard, gets another id if somebody else's item has the first.

use crate::record::Lane;

/// Ids that are tried for one purpose.
pub(super) const ATTEMPTS_MAX: u32 = 8;

/// A lane's names.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) cluster: String,
    pub(super) task: String,
    pub(super) form: String,
    key: String,
}

impl Names {
    pub(super) fn new(cluster: &str, lane: &Lane) -> Self {
        let of_all = hash(&[cluster, &lane.task, lane.form()]);
        Self {
            cluster: cluster.to_owned(),
            task: lane.task.to_string(),
            form: lane.form().to_owned(),
            key: format!("formspool.{of_all:016x}"),
        }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The id for a purpose.
    pub(super) fn id(&self, purpose: &str, attempt: u32) -> i32 {
        let mixed = hash(&[&self.key, purpose, &attempt.to_string()]);
        let bits = u32::try_from(mixed >> 33).unwrap_or_default();
        i32::try_from(bits).unwrap_or(i32::MAX).max(1)
    }
}

/// FNV-1a over the parts and where they end, then mixed: ids take the upper bits.
pub(super) fn hash(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^ (hash >> 27)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_positive_and_differ_by_lane_purpose_and_attempt() {
        let one = Names::new("c", &Lane::new("t", "f"));
        let other = Names::new("c", &Lane::new("t", "g"));
        let mut seen = std::collections::BTreeSet::new();
        for names in [&one, &other] {
            for purpose in ["cursor", "column:a", "column:b", "end", "tab"] {
                for attempt in 0..ATTEMPTS_MAX {
                    let id = names.id(purpose, attempt);
                    assert!(id > 0 && seen.insert(id), "{purpose} {attempt}");
                }
            }
        }
        assert_ne!(one.key(), other.key());
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
    }
}
