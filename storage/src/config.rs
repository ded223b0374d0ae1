//! The settings of this room, with the reason of each default on its line.
//!
//! Holds: what is on disk is never a setting; a log written under one set of numbers opens under
//! every other.

use std::time::Duration;

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
    /// The most recent entries, kept to be read without the disk; what is not written yet comes on top.
    pub tail_cache_bytes_max: usize,
    /// Segments that are ready before they are needed; also what votes and cursors live off while
    /// the disk is full. 0: each is made when it is needed.
    pub prepared_segments: usize,
    /// What is left of the volume to others (the state, sheets) when segments are made ahead.
    pub reserve_bytes: u64,
    /// After so long without work a mark is written that says that the last batch is durable. 0:
    /// never.
    pub idle_mark_ms: u64,
    /// How much of the log is read at every start.
    pub verify: Verify,
    /// How long scans read sealed segments.
    pub scan: Scan,
    /// How many bytes of sealed segments are checked each second, in the background. 0: none.
    pub scrub_bytes_per_s: u64,
}

/// How much of the log is read at every start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// The last segment; the sealed ones by their footers, where those agree with each other.
    #[default]
    Tail,
    /// Every byte.
    Full,
}

/// How long scans (a rebuild) read sealed segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scan {
    /// By `pread`: a block that the device cannot read is an error with its place.
    #[default]
    Read,
    /// Mapped: less copying, but a block that the device cannot read kills the process.
    Mapped,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self {
            fsync: Policy::Always,     // an acknowledged submission survives a power cut
            segment_bytes: 64 << 20,   // purge works in these steps; a scan takes ~50 ms
            batch_bytes_max: 4 << 20,  // where devices stop getting faster; ~2 ms
            queue_bytes_max: 16 << 20, // four batches: the writer never starves
            tail_cache_bytes_max: 16 << 20, // peers and sinks that keep up never touch the disk
            prepared_segments: 2,      // one to go on in at once, one for a full disk
            reserve_bytes: 64 << 20,   // the state's journal and a few sheets
            idle_mark_ms: 10,          // ten syncs: no closed loop of one client ever waits for it
            verify: Verify::Tail,      // the scrubber reads the rest, without anybody waiting
            scan: Scan::Read,          // an error can be repaired, a dead process cannot
            scrub_bytes_per_s: 8 << 20, // 64 MiB in 8 s: 1 TiB in a day and a half
        }
    }
}

impl WalConfig {
    /// For simulation: small segments, each made when it is needed, and nothing that happens by
    /// itself in the background, so that one seed means one order of things.
    #[cfg(feature = "testing")]
    pub fn simulated() -> Self {
        Self {
            segment_bytes: 256 << 10,
            batch_bytes_max: 128 << 10,
            prepared_segments: 0,
            reserve_bytes: 0,
            idle_mark_ms: 0,
            verify: Verify::Full,
            scrub_bytes_per_s: 0,
            ..Self::default()
        }
    }

    /// How long the writer idles before it marks the last batch as durable.
    pub(crate) fn idle_mark(&self) -> Option<Duration> {
        (self.idle_mark_ms > 0).then(|| Duration::from_millis(self.idle_mark_ms))
    }

    /// All faults at once, in words.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.segment_bytes.is_multiple_of(4096) {
            problems.push("wal.segment_bytes must be a multiple of 4096".to_owned());
        }
        if self.prepared_segments > 64 {
            problems.push("wal.prepared_segments must be at most 64".to_owned());
        }
        if self.idle_mark_ms > 60_000 {
            problems.push("wal.idle_mark_ms must be at most 60000".to_owned());
        }
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
