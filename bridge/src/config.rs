//! This room's settings. Node-local: what a task does is in its definition, not here.

mod kafka;
mod sheets;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use kafka::KafkaConfig;
#[cfg(all(test, feature = "kafka"))]
pub(crate) use kafka::all_ours;
#[cfg(feature = "kafka")]
pub(crate) use kafka::{server_problem, why_ours};
pub use sheets::SheetsConfig;

/// Settings of delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The CSV sink.
    pub csv: CsvConfig,
    /// What happens after a delivery that failed.
    pub retry: RetryConfig,
    /// How long a lane goes on delivering what is there once the node stops.
    pub drain_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            csv: CsvConfig::default(),
            retry: RetryConfig::default(),
            drain_ms: 5000, // some 100,000 rows; what is left comes after the next start
        }
    }
}

/// Settings of the CSV sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CsvConfig {
    /// Where the sheets lie. Empty: `sheets` in the data directory.
    pub dir: PathBuf,
    /// Records that one sync makes durable, at most.
    pub batch_records_max: usize,
    /// Bytes of bodies that one sync makes durable, at most.
    pub batch_bytes_max: usize,
    /// The least time between two syncs of a sheet, unless a whole batch waits.
    pub pause_ms: u64,
    /// Sheets that are written at the same moment, each on a thread of its own.
    pub workers_max: usize,
}

impl Default for CsvConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            batch_records_max: 4096, // as many as a pack: one of them rarely needs two syncs
            batch_bytes_max: 1 << 20, // a millisecond or two of a disk
            pause_ms: 100, // a person does not see it, and the log's own syncs are left in peace
            workers_max: 8, // memory: this many batches; disks gain nothing from more at once
        }
    }
}

/// Settings of trying again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// The first wait.
    pub first_ms: u64,
    /// The longest wait.
    pub max_ms: u64,
    /// Answers against one record until it counts as refused for good.
    pub attempts_max: u32,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            first_ms: 200,   // a broker that restarts is back soon
            max_ms: 30_000,  // after hours of outage, delivery goes on within half a minute
            attempts_max: 8, // about a minute of answers that may be a mood
        }
    }
}

impl Config {
    /// Every fault of these settings, in words.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut at_least = |name: &str, value: u64, least: u64| {
            if value < least {
                problems.push(format!("{name} is {value}; it must be at least {least}"));
            }
        };
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        at_least(
            "bridge.csv.batch_records_max",
            wide(self.csv.batch_records_max),
            1,
        );
        at_least(
            "bridge.csv.batch_bytes_max",
            wide(self.csv.batch_bytes_max),
            1,
        );
        at_least("bridge.csv.workers_max", wide(self.csv.workers_max), 1);
        at_least("bridge.retry.first_ms", self.retry.first_ms, 1);
        at_least(
            "bridge.retry.max_ms",
            self.retry.max_ms,
            self.retry.first_ms,
        );
        at_least(
            "bridge.retry.attempts_max",
            u64::from(self.retry.attempts_max),
            1,
        );
        if self.csv.pause_ms > 60_000 {
            problems.push(format!(
                "bridge.csv.pause_ms is {}; rows would be more than a minute late",
                self.csv.pause_ms
            ));
        }
        problems
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_problems() {
        assert_eq!(Config::default().problems(), Vec::<String>::new());
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut config = Config::default();
        config.csv.workers_max = 0;
        config.retry.max_ms = 1;
        config.csv.pause_ms = 60_001;
        assert_eq!(config.problems().len(), 3, "{:?}", config.problems());
    }
}
