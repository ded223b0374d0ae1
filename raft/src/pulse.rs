//! How long this node's disk takes to make entries durable.
//!
//! Holds: a disk is sick that took longer than [`SLOW`] three times within [`WINDOW`]; a sync that
//! does not end at all counts again each time it has been slow for so long. One that is well for a
//! window is well.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// An election's shortest timeout is less: a leader that syncs so slowly holds everybody up.
const SLOW: Duration = Duration::from_secs(2);
const WINDOW: Duration = Duration::from_secs(30);
const TIMES: usize = 3;

/// A clone is the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pulse(Arc<Mutex<Beats>>);

#[derive(Debug, Default)]
struct Beats {
    /// Appends that are not durable yet, oldest first.
    waiting: VecDeque<Instant>,
    /// When slow ones were noticed, within the window.
    slow: VecDeque<Instant>,
}

impl Pulse {
    /// Entries are on their way to the disk. They become durable in the order of these calls.
    pub(crate) fn begin(&self) {
        self.beats().waiting.push_back(Instant::now());
    }

    /// The oldest are durable.
    pub(crate) fn end(&self) {
        let mut beats = self.beats();
        let now = Instant::now();
        if let Some(began) = beats.waiting.pop_front() {
            beats.note(began, now);
        }
    }

    /// Whether it is.
    pub(crate) fn is_sick(&self) -> bool {
        let mut beats = self.beats();
        let now = Instant::now();
        if let Some(oldest) = beats.waiting.front().copied() {
            beats.note(oldest, now);
        }
        while beats.slow.front().is_some_and(|at| WINDOW < now - *at) {
            beats.slow.pop_front();
        }
        TIMES <= beats.slow.len()
    }

    fn beats(&self) -> std::sync::MutexGuard<'_, Beats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beats {
    /// Many appends wait for one sync: it counts once a [`SLOW`].
    fn note(&mut self, began: Instant, now: Instant) {
        let since = self
            .slow
            .back()
            .copied()
            .map_or(began, |last| last.max(began));
        if SLOW <= now - since && self.slow.len() < TIMES {
            self.slow.push_back(now);
        } else if SLOW <= now - since {
            self.slow.pop_front();
            self.slow.push_back(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn append(pulse: &Pulse, took_ms: u64) {
        pulse.begin();
        tokio::time::sleep(Duration::from_millis(took_ms)).await;
        pulse.end();
    }

    #[tokio::test(start_paused = true)]
    async fn three_slow_ones_within_half_a_minute_are_a_sick_disk_and_it_gets_well() {
        let pulse = Pulse::default();
        for _ in 0..2 {
            append(&pulse, 2_100).await;
        }
        append(&pulse, 1_900).await;
        assert!(!pulse.is_sick());
        append(&pulse, 2_100).await;
        assert!(pulse.is_sick());
        tokio::time::sleep(WINDOW).await;
        assert!(!pulse.is_sick());
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_wait_for_one_slow_sync_count_once() {
        let pulse = Pulse::default();
        for _ in 0..50 {
            pulse.begin();
        }
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        for _ in 0..50 {
            pulse.end();
        }
        assert!(!pulse.is_sick());
    }

    #[tokio::test(start_paused = true)]
    async fn a_sync_that_never_ends_is_noticed_without_its_end() {
        let pulse = Pulse::default();
        pulse.begin();
        for _ in 0..7 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            pulse.is_sick();
        }
        assert!(pulse.is_sick());
    }
}
