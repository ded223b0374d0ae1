//! Bounds of the door.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use storage::{PACK_BYTES_MAX, PACK_SUBMISSIONS_MAX};

/// Settings of this room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Bytes of one submission, as received and as stored.
    pub submission_bytes_max: usize,
    /// Lists and objects within one another.
    pub depth_max: usize,
    /// Members over a whole document.
    pub fields_max: usize,
    /// Bytes of an idempotency key.
    pub key_bytes_max: usize,
    /// Bytes of all submissions that wait for their answer.
    pub in_flight_bytes_max: usize,
    /// Packs that are proposed and not yet answered.
    pub packs_in_flight_max: usize,
    /// How long a submission waits for its outcome before it is told "unknown".
    pub answer_ms_max: u64,
    /// How long a submission waits for somebody to lead before it is told that nobody does.
    pub leader_wait_ms: u64,
    /// How long a stopping node waits for outcomes.
    pub drain_ms_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            submission_bytes_max: 256 << 10, // half a pack: any form by hand, no file
            depth_max: 32,                   // no form is deeper; a parser's stack is never in play
            fields_max: 500,                 // more than any page shows
            key_bytes_max: 255,              // what the state keeps of one
            in_flight_bytes_max: 64 << 20, // a second of a slow disk; a quarter of a node's memory
            packs_in_flight_max: 4,        // hides a round trip; the outcomes kept are twice that
            answer_ms_max: 10_000,         // two elections; below the patience of a browser
            leader_wait_ms: 5_000,         // a new leader is there within that, but rarely later
            drain_ms_max: 5_000,           // what the endpoints need to notice
        }
    }
}

impl Config {
    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<String> {
        let ranges = [
            (
                "submission_bytes_max",
                self.submission_bytes_max,
                1,
                PACK_BYTES_MAX,
            ),
            ("depth_max", self.depth_max, 1, DEPTH_LIMIT),
            ("fields_max", self.fields_max, 1, 100_000),
            ("key_bytes_max", self.key_bytes_max, 1, KEY_BYTES_LIMIT),
            (
                "in_flight_bytes_max",
                self.in_flight_bytes_max,
                2 * PACK_BYTES_MAX,
                4 << 30,
            ),
            (
                "packs_in_flight_max",
                self.packs_in_flight_max,
                1,
                PACKS_IN_FLIGHT_LIMIT,
            ),
        ];
        let is_outside =
            |(_, value, min, max): &(&str, usize, usize, usize)| !(*min..=*max).contains(value);
        let mut problems: Vec<String> = ranges
            .iter()
            .filter(|range| is_outside(range))
            .map(|(name, value, min, max)| format!("limits.{name} = {value}: {min} to {max}"))
            .collect();
        if self.answer_ms_max == 0 {
            problems.push("limits.answer_ms_max = 0: nobody would wait for an answer".to_owned());
        }
        problems
    }

    /// How long packs wait for a leader: whoever waits for one of them must live to hear of it.
    pub(super) fn leader_wait(&self) -> Duration {
        Duration::from_millis(self.leader_wait_ms.min(self.answer_ms_max / 2))
    }
}

/// The JSON parser gives up at 128.
const DEPTH_LIMIT: usize = 100;
/// The state keeps a key whole in one row.
const KEY_BYTES_LIMIT: usize = 255;
/// The state keeps the outcomes of a sender's last eight packs; a pack sent again must find its own.
const PACKS_IN_FLIGHT_LIMIT: usize = 4;

const _: () = assert!(
    PACK_SUBMISSIONS_MAX <= 4096,
    "an outcome is kept in a few rows"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_fine_and_what_is_off_is_told() {
        assert!(Config::default().problems().is_empty());
        let config = Config {
            submission_bytes_max: PACK_BYTES_MAX + 1,
            packs_in_flight_max: 9,
            answer_ms_max: 0,
            ..Config::default()
        };
        assert_eq!(config.problems().len(), 3);
    }
}
