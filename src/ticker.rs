//! State time: the leader tells the log how much of its monotonic clock has passed.
//!
//! Holds: state time can only run slow. Time whose tick was refused or is unknown is not told
//! again, and what passed before this node led is not told at all: neither is what passed in a term
//! that has ended, and a tick is never forwarded to whoever leads next, who counts that time itself.
//! Wall time is never looked at.

use std::time::{Duration, Instant};

use storage::{Command, Index, Term, Tick, encode_command};
use tokio::sync::watch;
use tracing::debug;

use crate::stage::Stage;

/// Between two ticks under traffic: keys and ages are judged to the second.
const BUSY: Duration = Duration::from_secs(1);
/// Between two ticks in peace: an idle node writes an entry a minute.
const IDLE: Duration = Duration::from_mins(1);

/// Proposes ticks while this node leads, until the stage stops.
pub fn spawn(node: &raft::Node, stage: &Stage) {
    let (node, own) = (node.clone(), stage.clone());
    stage.spawn(async move {
        let mut leadership = node.leadership();
        loop {
            let is_leading = async |leadership: &mut watch::Receiver<Option<Term>>| {
                leadership.wait_for(Option::is_some).await.is_ok()
            };
            tokio::select! {
                biased;
                () = own.stopping() => return,
                is_leading = is_leading(&mut leadership) => if !is_leading { return },
            }
            let mut ticks = Ticks::new(Instant::now());
            let term = *leadership.borrow_and_update();
            loop {
                tokio::select! {
                    biased;
                    () = own.stopping() => return,
                    changed = leadership.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(BUSY) => {}
                }
                // Another term of this very node is another beginning: in between somebody else may
                // have led.
                if *leadership.borrow_and_update() != term {
                    break;
                }
                let applied = *node.applied().borrow();
                if let Some(tick) = ticks.due(Instant::now(), applied) {
                    match node
                        .propose_here(encode_command(&Command::Tick(tick)))
                        .await
                    {
                        Ok(applied) => ticks.told_at(applied.log_id.index),
                        Err(error) => debug!(%error, "a tick was not taken"),
                    }
                }
            }
        }
    });
}

/// When the next tick is due, and what it says.
#[derive(Debug)]
struct Ticks {
    last: Instant,
    told_at: Index,
}

impl Ticks {
    fn new(now: Instant) -> Self {
        Self {
            last: now,
            told_at: Index(0),
        }
    }

    /// The tick to propose now, if any. Its time is counted as told from here on.
    fn due(&mut self, now: Instant, applied: Index) -> Option<Tick> {
        let elapsed = now.saturating_duration_since(self.last);
        let has_traffic = applied > self.told_at;
        if elapsed < BUSY || !has_traffic && elapsed < IDLE {
            return None;
        }
        self.last = now;
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        Some(Tick { elapsed_ms })
    }

    /// Where the last tick stands: what is applied above it is traffic.
    fn told_at(&mut self, index: Index) {
        self.told_at = index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_under_traffic_a_minute_in_peace() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ticks = Ticks::new(start);
        assert_eq!(ticks.due(at(900), Index(5)), None);
        assert_eq!(
            ticks.due(at(1_100), Index(5)),
            Some(Tick { elapsed_ms: 1_100 })
        );
        ticks.told_at(Index(6));
        assert_eq!(
            ticks.due(at(5_000), Index(6)),
            None,
            "only the tick itself was applied"
        );
        assert_eq!(
            ticks.due(at(61_100), Index(6)),
            Some(Tick { elapsed_ms: 60_000 })
        );
    }

    #[test]
    fn time_whose_tick_was_not_taken_is_never_told_again() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ticks = Ticks::new(start);
        assert!(ticks.due(at(2_000), Index(1)).is_some());
        assert_eq!(
            ticks.due(at(3_500), Index(1)),
            Some(Tick { elapsed_ms: 1_500 })
        );
    }
}
