//! The parts that run, in the order in which they end; and the end itself.
//!
//! ```text
//!  not ready ─ leadership handed over ─ still served and forwarded (one of several) ─ doors
//!            ─ ingest ─ clock ─ bridge ─ raft, log, state ─ operators' door
//! ```
//! Holds: while clients may still be sent here, because nobody has looked at `/readyz` yet, they are
//! served; what was taken in is answered before what answers it ends.

use std::time::Duration;

use tracing::{info, warn};

use super::error::Error;
use super::ready::Readiness;
use crate::config;
use crate::http::Ready;
use crate::stage::Stage;

/// In the order in which they end.
#[derive(Debug, Default)]
pub(super) struct Stages {
    pub(super) doors: Stage,
    pub(super) ingest: Stage,
    pub(super) clock: Stage,
    pub(super) bridge: Stage,
    pub(super) ops: Stage,
}

/// How long the end may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Each stage, to finish what is at hand.
    pub(super) grace: Duration,
    /// Serving on after `/readyz` says no.
    pub(super) linger: Duration,
}

impl Times {
    /// Nobody else can serve in place of a node alone, so it does not wait to be left.
    pub(super) fn of(stop: &config::Stop, is_alone: bool) -> Self {
        let linger_ms = if is_alone { 0 } else { stop.linger_ms };
        Self {
            grace: Duration::from_millis(stop.grace_ms),
            linger: Duration::from_millis(linger_ms),
        }
    }
}

impl Stages {
    pub(super) fn cancel(&self) {
        for stage in [&self.doors, &self.ingest, &self.clock, &self.bridge] {
            stage.token.cancel();
        }
    }

    /// Ends all parts in the data's direction.
    pub(super) async fn stop(
        self,
        raft: raft::Node,
        ready: Readiness,
        times: Times,
    ) -> Result<(), Error> {
        ready.last(Ready::Draining);
        if !times.linger.is_zero() {
            linger(&raft, times.linger).await;
        }
        let Self {
            doors,
            ingest,
            clock,
            bridge,
            ops,
        } = self;
        for (name, stage) in [
            ("doors", doors),
            ("ingest", ingest),
            ("clock", clock),
            ("bridge", bridge),
        ] {
            let left = stage.stop(times.grace).await;
            if left > 0 {
                warn!(
                    stage = name,
                    left, "a stage did not finish within its grace"
                );
            }
        }
        let closed = raft.close().await;
        ops.stop(times.grace).await;
        info!("stopped");
        Ok(closed?)
    }
}

/// Another one leads from now on; what still comes here is forwarded. A node that stops for good
/// meanwhile has nothing more to wait for.
async fn linger(raft: &raft::Node, time: Duration) {
    info!(
        linger_ms = time.as_millis(),
        "handing over, and serving until nobody is sent here any more"
    );
    let handed = async {
        raft.hand_over().await;
        tokio::time::sleep(time).await;
    };
    tokio::select! {
        biased;
        why = raft.fatal() => warn!(error = why, "stopped for good while stopping"),
        () = handed => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_of_several_waits_to_be_left() {
        let stop = config::Stop::default();
        assert_eq!(Times::of(&stop, true).linger, Duration::ZERO);
        assert_eq!(Times::of(&stop, false).linger, Duration::from_secs(5));
    }
}
