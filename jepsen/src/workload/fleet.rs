//! The connections that post all through a run: started together, told together what to do,
//! and settled at the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::checker::findings::{Findings, Kind};
use crate::workload::Run;
use crate::workload::worker::{Doors, Ended, Gauge, Phase, Worker, wait};

const WARM_TIME: Duration = Duration::from_mins(1);
/// The fact that a report has after all are settled.
pub(crate) const LEFT_IN_DOUBT: &str = "keyed documents left in doubt";
const QUIET_TIME: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);
const SETTLE_TIME: Duration = Duration::from_mins(2);

/// How many post, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crew {
    pub(crate) connections: u32,
    /// New documents a connection posts between two faults, at most.
    pub(crate) posts_max: u64,
    pub(crate) may_be_full: bool,
    /// How long each waits for an answer; `None`: long.
    pub(crate) patience: Option<Duration>,
    /// How long each rests after a receipt, at most.
    pub(crate) rest: Duration,
}

impl Crew {
    /// One that posts as fast as it can.
    pub(crate) fn busy(connections: u32, posts_max: u64) -> Self {
        Self {
            connections,
            posts_max,
            may_be_full: false,
            patience: None,
            rest: Duration::ZERO,
        }
    }
}

/// Dropped, its connections end.
pub(crate) struct Fleet {
    crew: Crew,
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) phase: watch::Sender<Phase>,
    workers: JoinSet<Ended>,
}

impl Fleet {
    pub(crate) fn start(run: &Run, addresses: &[SocketAddr], crew: Crew) -> Self {
        let (phase, phases) = watch::channel(Phase::Up(0));
        let gauge = Arc::<Gauge>::default();
        let mut workers = JoinSet::new();
        for process in 0..crew.connections {
            let worker = Worker {
                process,
                dice: run.dice.fork(u64::from(process) + 1),
                history: run.history.clone(),
                bodies: run.bodies,
                gauge: Arc::clone(&gauge),
                phases: phases.clone(),
                may_be_full: crew.may_be_full,
                rest: crew.rest,
            };
            let doors = Doors::new(addresses, crew.patience);
            workers.spawn(worker.work(doors, crew.posts_max));
        }
        Self {
            crew,
            gauge,
            phase,
            workers,
        }
    }

    /// Load is on when every connection has had a receipt since `before`, on average.
    pub(crate) async fn wait_for_load(&self, before: u64) -> bool {
        let enough = before + u64::from(self.crew.connections);
        wait(&self.gauge.acks, enough, WARM_TIME).await
    }

    /// Nothing is posted any more, and nothing is under way: what is, in time, without an answer is a
    /// finding.
    pub(crate) async fn quiet(&self, name: &str, findings: &mut Findings) {
        self.phase.send_replace(Phase::Down);
        if !self.is_still().await {
            findings.add(Kind::Answer, || {
                let seconds = QUIET_TIME.as_secs();
                format!("{name}: posts are without an answer for {seconds} s")
            });
        }
    }

    /// Waits until nothing is under way. False if time is over.
    pub(crate) async fn is_still(&self) -> bool {
        let end = Instant::now() + QUIET_TIME;
        while self.gauge.under_way.load(Ordering::Relaxed) > 0 {
            if Instant::now() > end {
                return false;
            }
            sleep(LOOK).await;
        }
        true
    }

    /// Nothing new is posted, what is in doubt is settled.
    pub(crate) async fn settle(self, run: &mut Run) -> anyhow::Result<()> {
        self.phase.send_replace(Phase::Settle);
        let settled = timeout(SETTLE_TIME, join(run, self.workers)).await;
        let unsettled = settled.context("connections do not come to an end")??;
        run.report.fact(LEFT_IN_DOUBT, unsettled);
        Ok(())
    }
}

async fn join(run: &mut Run, mut workers: JoinSet<Ended>) -> anyhow::Result<u64> {
    let mut unsettled = 0;
    while let Some(ended) = workers.join_next().await {
        let ended = ended.context("a connection's worker died")?;
        unsettled += u64::from(ended.is_in_doubt);
        for fault in ended.faults {
            run.note(Err(fault));
        }
    }
    Ok(unsettled)
}
