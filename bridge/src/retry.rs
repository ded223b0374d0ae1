//! How long to wait after a delivery that failed. The only place where an error becomes a wait.
//!
//! Holds: waits grow from `first_ms` to `max_ms`, each drawn between half of it and all of it, by
//! a seeded die, so that many lanes do not come back in step. A destination that is away opens its
//! task's *circuit*: all lanes of the task wait, and one alone goes first to look.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::config::RetryConfig;
use crate::error::{Cause, Trouble};

/// Waits that grow until they are reset.
#[derive(Debug)]
pub(crate) struct Backoff {
    config: RetryConfig,
    failures: u32,
    die: Die,
}

impl Backoff {
    pub(crate) fn new(config: RetryConfig, seed: u64) -> Self {
        Self {
            config,
            failures: 0,
            die: Die(seed),
        }
    }

    /// The wait after one more failure. Never shorter than what the destination asked for.
    pub(crate) fn next(&mut self, trouble: &Trouble) -> Duration {
        let doubled = 1u64.checked_shl(self.failures).unwrap_or(u64::MAX);
        let whole_ms = self
            .config
            .first_ms
            .saturating_mul(doubled)
            .min(self.config.max_ms);
        self.failures = self.failures.saturating_add(1).min(63);
        let half_ms = whole_ms / 2;
        let wait = Duration::from_millis(half_ms + self.die.below(whole_ms - half_ms + 1));
        trouble.after.map_or(wait, |asked| wait.max(asked))
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// splitmix64: small, seeded, good enough to spread waits.
#[derive(Debug)]
struct Die(u64);

impl Die {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}

/// True if the trouble is the whole destination's, so that all lanes of the task wait for it.
pub(crate) fn opens_circuit(cause: Cause) -> bool {
    match cause {
        Cause::Away | Cause::Auth | Cause::Quota | Cause::Room => true,
        Cause::Place | Cause::Answer => false,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Closed,
    Open {
        until: Instant,
    },
    /// One lane is looking whether the destination is back.
    Probing,
}

/// A task's circuit: closed while its destination answers.
#[derive(Debug)]
pub(crate) struct Circuit {
    gate: watch::Sender<Gate>,
}

impl Circuit {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: watch::Sender::new(Gate::Closed),
        })
    }

    /// Waits until this lane may try. Of those that wait, one gets a pass as the probe; the others
    /// go on waiting until it has said what it found. Dropping the future gives nothing away.
    pub(crate) async fn pass(self: &Arc<Self>) -> Pass {
        let mut gate = self.gate.subscribe();
        loop {
            let seen = *gate.borrow_and_update();
            match seen {
                Gate::Closed => return Pass { probe: None },
                Gate::Open { until } if until <= Instant::now() => {
                    let is_first = self.gate.send_if_modified(|gate| {
                        let is_first = *gate == seen;
                        if is_first {
                            *gate = Gate::Probing;
                        }
                        is_first
                    });
                    if is_first {
                        return Pass {
                            probe: Some(Arc::clone(self)),
                        };
                    }
                }
                Gate::Open { until } => {
                    tokio::select! {
                        biased;
                        _ = gate.changed() => {}
                        () = sleep_until(until) => {}
                    }
                }
                // The sender lives as long as `self`: an error cannot come.
                Gate::Probing => drop(gate.changed().await),
            }
        }
    }

    /// The destination is away: nobody tries for `wait`.
    pub(crate) fn open(&self, wait: Duration) {
        self.gate.send_replace(Gate::Open {
            until: Instant::now() + wait,
        });
    }

    /// The destination answers.
    pub(crate) fn close(&self) {
        self.gate.send_if_modified(|gate| {
            let was_open = *gate != Gate::Closed;
            *gate = Gate::Closed;
            was_open
        });
    }
}

/// Leave to try once. A probe that ends without having said what it found leaves the circuit to
/// the next in line.
#[derive(Debug)]
pub(crate) struct Pass {
    probe: Option<Arc<Circuit>>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(circuit) = &self.probe {
            circuit.gate.send_if_modified(|gate| {
                let is_unsaid = *gate == Gate::Probing;
                if is_unsaid {
                    *gate = Gate::Open {
                        until: Instant::now(),
                    };
                }
                is_unsaid
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> Trouble {
        Trouble::new(Cause::Away, "away")
    }

    #[test]
    fn waits_grow_to_the_longest_and_start_again_after_a_reset() {
        let config = RetryConfig {
            first_ms: 100,
            max_ms: 1000,
            attempts_max: 1,
        };
        let mut backoff = Backoff::new(config, 7);
        for whole_ms in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next(&away());
            assert!(
                wait >= Duration::from_millis(whole_ms / 2),
                "{wait:?} of {whole_ms}"
            );
            assert!(
                wait <= Duration::from_millis(whole_ms),
                "{wait:?} of {whole_ms}"
            );
        }
        backoff.reset();
        assert!(backoff.next(&away()) <= Duration::from_millis(100));
    }

    #[test]
    fn a_time_that_the_destination_names_is_kept() {
        let config = RetryConfig {
            first_ms: 1,
            max_ms: 10,
            attempts_max: 1,
        };
        let asked = Trouble {
            after: Some(Duration::from_secs(9)),
            ..away()
        };
        assert_eq!(Backoff::new(config, 1).next(&asked), Duration::from_secs(9));
    }

    #[tokio::test(start_paused = true)]
    async fn one_lane_looks_while_the_others_wait() {
        let circuit = Circuit::new();
        circuit.open(Duration::from_secs(5));
        let began = Instant::now();
        let probe = circuit.pass().await;
        assert_eq!(began.elapsed(), Duration::from_secs(5));

        let other = circuit.pass();
        tokio::pin!(other);
        assert!(futures::poll!(&mut other).is_pending());
        circuit.close();
        drop(probe);
        drop(other.await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_says_nothing_leaves_it_to_the_next() {
        let circuit = Circuit::new();
        circuit.open(Duration::ZERO);
        drop(circuit.pass().await);
        assert!(circuit.pass().await.probe.is_some());
    }
}
