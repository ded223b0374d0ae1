//! The settings of the state's store.
//!
//! Holds: nothing here changes what applying a command answers. What would (how long a key is
//! kept, how much room keys have) belongs to [`super::rules`], by the cluster's level: two nodes,
//! or one node before and after a restart, must never answer differently.

use serde::{Deserialize, Serialize};

/// Where the rows live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// In fjall, under the state's directory.
    #[default]
    Fjall,
    /// In memory, built from the log at every open: for simulation.
    #[cfg(feature = "testing")]
    Memory,
}

/// How the state is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateConfig {
    /// When a memtable has this size it becomes a table on disk.
    pub memtable_bytes: u64,
    /// Blocks of tables kept in memory.
    pub cache_bytes: u64,
    /// The most that the store's own journal may take on disk.
    pub journal_bytes_max: u64,
    /// A checkpoint is written each time so much of the log lies behind the last one.
    pub checkpoint_bytes: u64,
    /// Which store; not a setting of a node.
    #[serde(skip)]
    pub engine: Engine,
    /// After this entry a row is not what was applied: to see who notices.
    #[cfg(feature = "testing")]
    #[serde(skip)]
    pub spoil_at: Option<crate::ids::Index>,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            memtable_bytes: 8 << 20,     // a handful of them may be in memory at once
            cache_bytes: 16 << 20,       // heads, sessions and the newest places
            journal_bytes_max: 64 << 20, // the least that the store takes
            checkpoint_bytes: 1 << 30,   // a rebuild applies no more than that: some ten seconds
            engine: Engine::Fjall,
            #[cfg(feature = "testing")]
            spoil_at: None,
        }
    }
}

impl StateConfig {
    /// All faults at once, in words.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1 << 20..=256 << 20).contains(&self.memtable_bytes) {
            problems.push("state.memtable_bytes must be between 1 MiB and 256 MiB".to_owned());
        }
        if !(1 << 20..=4 << 30).contains(&self.cache_bytes) {
            problems.push("state.cache_bytes must be between 1 MiB and 4 GiB".to_owned());
        }
        if self.journal_bytes_max < 64 << 20 {
            problems.push("state.journal_bytes_max must be at least 64 MiB".to_owned());
        }
        if self.checkpoint_bytes < 1 << 20 {
            problems.push("state.checkpoint_bytes must be at least 1 MiB".to_owned());
        }
        problems
    }
}
