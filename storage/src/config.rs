//! The settings of this room, with the reason of each default on its line.
//!
//! Holds: what is on disk is never a setting; a log written under one set of numbers opens under
//! every other.

use serde::{Deserialize, Serialize};

use crate::command::Policy;
use crate::state::StateConfig;

/// The settings of this room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The log.
    pub wal: WalConfig,
    /// The state that is derived from it.
    pub state: StateConfig,
}

impl Config {
    /// All faults at once, in words.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.wal.problems();
        problems.extend(self.state.problems());
        problems
    }
}

/// How the log is written and what of it is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WalConfig {
    /// The policy at genesis: `always`, `interval:50ms` or `never`. Later it is a command.
    #[serde(with = "policy_text")]
    pub fsync: Policy,
    /// When a segment has this length the next one begins.
    pub segment_bytes: u64,
    /// The most that one sync carries, unless a single entry is larger.
    pub batch_bytes_max: usize,
    /// The most that waits for the writer; beyond it `append` blocks.
    pub queue_bytes_max: usize,
    /// The most recent entries, kept to be read without the disk.
    pub tail_cache_bytes_max: usize,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self {
            fsync: Policy::Always,     // an acknowledged submission survives a power cut
            segment_bytes: 64 << 20,   // purge works in these steps; a scan takes ~50 ms
            batch_bytes_max: 4 << 20,  // where devices stop getting faster; ~2 ms
            queue_bytes_max: 16 << 20, // four batches: the writer never starves
            tail_cache_bytes_max: 16 << 20, // peers and sinks that keep up never touch the disk
        }
    }
}

impl WalConfig {
    /// All faults at once, in words.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.segment_bytes < 1 << 20 {
            problems.push("wal.segment_bytes must be at least 1 MiB".to_owned());
        }
        if self.segment_bytes > 1 << 30 {
            problems.push("wal.segment_bytes must be at most 1 GiB".to_owned());
        }
        if self.batch_bytes_max < 64 << 10 || self.batch_bytes_max > 8 << 20 {
            problems.push("wal.batch_bytes_max must be between 64 KiB and 8 MiB".to_owned());
        }
        if self.batch_bytes_max as u64 > self.segment_bytes {
            problems.push("wal.batch_bytes_max must not exceed wal.segment_bytes".to_owned());
        }
        if self.queue_bytes_max < self.batch_bytes_max {
            problems.push("wal.queue_bytes_max must be at least wal.batch_bytes_max".to_owned());
        }
        if matches!(self.fsync, Policy::IntervalMs(ms) if ms == 0 || ms > 60_000) {
            problems.push("wal.fsync interval must be between 1ms and 60000ms".to_owned());
        }
        problems
    }
}

/// `always`, `interval:50ms`, `never`: the policy as people write it.
mod policy_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::command::Policy;

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde asks for this signature"
    )]
    pub(super) fn serialize<S: Serializer>(policy: &Policy, to: S) -> Result<S::Ok, S::Error> {
        match policy {
            Policy::Always => to.serialize_str("always"),
            Policy::IntervalMs(ms) => to.collect_str(&format_args!("interval:{ms}ms")),
            Policy::Never => to.serialize_str("never"),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Policy, D::Error> {
        let text = String::deserialize(from)?;
        let interval = || {
            text.strip_prefix("interval:")?
                .strip_suffix("ms")?
                .parse()
                .ok()
        };
        match (text.as_str(), interval()) {
            ("always", _) => Ok(Policy::Always),
            ("never", _) => Ok(Policy::Never),
            (_, Some(ms)) => Ok(Policy::IntervalMs(ms)),
            (_, None) => Err(D::Error::custom(
                "expected `always`, `interval:<milliseconds>ms` or `never`",
            )),
        }
    }
}
