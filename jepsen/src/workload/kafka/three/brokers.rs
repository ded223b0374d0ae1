//! Faults of the brokers, under load of three nodes.
//!
//! Holds: something was committed before any of them: until then nobody coordinates, and a fault would
//! have nothing to cut short.

use std::time::Duration;

use tokio::time::Instant;

use crate::nemesis::gate::{Api, Bait, Way};
use crate::workload::kafka::fault::Fault;
use crate::workload::kafka::three::{CATCH_TIME, HOLD, Three};

/// A broker that was killed is missed within this.
const MOVE_TIME: Duration = Duration::from_secs(30);

impl Three<'_> {
    /// Answers what happened, in words.
    pub(super) async fn brokers(&mut self, fault: Fault) -> anyhow::Result<String> {
        self.commits(fault).await;
        let brokers = &mut self.lab.brokers;
        let coordinator = brokers.layout().await?.coordinator(&self.mirror.id())?;
        let number = coordinator + 1;
        match fault {
            Fault::BrokerStopped => {
                brokers.pause(coordinator).await?;
                self.hold(self.plan.outage()).await?;
                self.lab.brokers.resume()?;
                Ok(format!("broker {number}, which coordinates, stood still"))
            }
            Fault::BrokersStopped => {
                for broker in brokers.numbers() {
                    brokers.pause(broker).await?;
                }
                self.hold(self.plan.outage()).await?;
                self.lab.brokers.resume()?;
                Ok("all brokers stood still".to_owned())
            }
            Fault::BrokerKilled => {
                let other = (coordinator + 1) % brokers.numbers().len();
                brokers.kill(other).await?;
                self.hold(HOLD).await?;
                self.lab.brokers.start().await?;
                Ok(format!("broker {} was killed and started", other + 1))
            }
            Fault::CoordinatorMoved => {
                brokers.kill(coordinator).await?;
                let next = self.moved_from(coordinator).await?;
                self.lab.brokers.start().await?;
                Ok(format!(
                    "broker {number} was killed, {} coordinated",
                    next + 1
                ))
            }
            Fault::BrokersRestarted => {
                for broker in brokers.numbers() {
                    self.lab.brokers.stop(broker).await?;
                    self.lab.brokers.start().await?;
                }
                Ok("all brokers were restarted, one after the other".to_owned())
            }
            Fault::Canary
            | Fault::Kill
            | Fault::KillUnseen
            | Fault::ReplyLost
            | Fault::NameGone
            | Fault::LateEnd
            | Fault::Timeout
            | Fault::Expiry
            | Fault::TopicGone
            | Fault::TopicRemade
            | Fault::Old
            | Fault::Twin
            | Fault::TwoTasks
            | Fault::Poison
            | Fault::Seek
            | Fault::Reborn
            | Fault::LeaderKilled
            | Fault::LeaderPaused
            | Fault::LeaderIsolated
            | Fault::LeaderVanished => anyhow::bail!("not a fault of brokers"),
        }
    }

    /// Waits until something is.
    async fn commits(&mut self, fault: Fault) {
        let commit = Bait::first(Way::Reply, Api::EndTxn, &self.mirror.id());
        let commit = self.lab.gates.set(commit.seen_only());
        let is_caught = commit.caught(CATCH_TIME).await;
        let name = format!("commits before {}", fault.name());
        self.run.report.demand(&name, is_caught.into(), 1);
    }

    /// Who coordinates in place of a broker that was killed. The controller misses it only once its
    /// session is over.
    async fn moved_from(&mut self, coordinator: usize) -> anyhow::Result<usize> {
        let end = Instant::now() + MOVE_TIME;
        let next = loop {
            self.hold(HOLD).await?;
            let layout = self.lab.brokers.layout().await?;
            match layout.coordinator(&self.mirror.id()) {
                Ok(next) if next != coordinator => break next,
                other if Instant::now() > end => break other?,
                _ => {}
            }
        };
        let moved = u64::from(next != coordinator);
        self.run.report.demand("coordinators moved", moved, 1);
        Ok(next)
    }
}
