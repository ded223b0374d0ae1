//! The faults of the Kafka workload, by name.

use clap::ValueEnum;

use crate::report::Report;
use crate::workload::kafka::mirror::Verdict;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// No fault: the instruments alone, without the product.
    Canary,
    /// `kill -9` of the node in the midst of transactions, at five moments in turn.
    Kill,
    /// `kill -9` when the commit is done and its reply has not arrived.
    KillUnseen,
    /// The reply to a commit is lost, and when it is asked again another producer has the name.
    ReplyLost,
    /// The same, and meanwhile the broker has forgotten the name.
    NameGone,
    /// A commit is held back by the network and arrives in the midst of a later transaction.
    LateEnd,
    /// A transaction takes longer than its timeout: the broker aborts it.
    Timeout,
    /// The producer is idle until the broker has forgotten its name.
    Expiry,
    /// The topic is deleted: the task stops and says why.
    TopicGone,
    /// It is deleted, made again and filled by others while the node is down: the same.
    TopicRemade,
    /// A backlog accepted long before the topic's retention.
    Old,
    /// The node's disk is copied, and two live with one name.
    Twin,
    /// Two tasks, and one holds its transaction open while the other begins anew.
    TwoTasks,
    /// A record that the topic does not take, and `kill -9` behind it.
    Poison,
    /// A seek back, and `kill -9` in the midst of it.
    Seek,
    /// A task deleted and made again.
    Reborn,
    /// Three nodes: `kill -9` of the leader.
    LeaderKilled,
    /// The leader stands still, and goes on when there is another one.
    LeaderPaused,
    /// No frame between the leader and the other nodes; it reaches the brokers.
    LeaderIsolated,
    /// No frame between the leader and anybody.
    LeaderVanished,
    /// The broker that coordinates the task stands still.
    BrokerStopped,
    /// All brokers stand still.
    BrokersStopped,
    /// One broker is killed and started again.
    BrokerKilled,
    /// The broker that coordinates the task is killed: another one takes over.
    CoordinatorMoved,
    /// All brokers are stopped and started, one after the other.
    BrokersRestarted,
}

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Kill => "kill",
            Self::KillUnseen => "kill-unseen",
            Self::ReplyLost => "reply-lost",
            Self::NameGone => "name-gone",
            Self::LateEnd => "late-end",
            Self::Timeout => "timeout",
            Self::Expiry => "expiry",
            Self::TopicGone => "topic-gone",
            Self::TopicRemade => "topic-remade",
            Self::Old => "old",
            Self::Twin => "twin",
            Self::TwoTasks => "two-tasks",
            Self::Poison => "poison",
            Self::Seek => "seek",
            Self::Reborn => "reborn",
            Self::LeaderKilled => "leader-killed",
            Self::LeaderPaused => "leader-paused",
            Self::LeaderIsolated => "leader-isolated",
            Self::LeaderVanished => "leader-vanished",
            Self::BrokerStopped => "broker-stopped",
            Self::BrokersStopped => "brokers-stopped",
            Self::BrokerKilled => "broker-killed",
            Self::CoordinatorMoved => "coordinator-moved",
            Self::BrokersRestarted => "brokers-restarted",
        }
    }

    /// Of the network between the nodes.
    pub(crate) fn is_of_the_net(self) -> bool {
        matches!(self, Self::LeaderIsolated | Self::LeaderVanished)
    }

    /// Some brokers go, and others must be there.
    pub(crate) fn needs_brokers(self) -> bool {
        matches!(
            self,
            Self::BrokerStopped
                | Self::BrokersStopped
                | Self::BrokerKilled
                | Self::CoordinatorMoved
                | Self::BrokersRestarted
        )
    }

    /// Something of an open transaction is at the broker when it falls: it must be aborted.
    pub(super) fn demand_bite(self, verdict: &Verdict, report: &mut Report) {
        let is_cut_off = matches!(
            self,
            Self::Kill
                | Self::Timeout
                | Self::LeaderKilled
                | Self::LeaderPaused
                | Self::LeaderIsolated
                | Self::LeaderVanished
        );
        if is_cut_off {
            let what = format!("records aborted by {}", self.name());
            report.demand(&what, verdict.aborted, 1);
        }
    }

    /// Of three nodes.
    pub(crate) fn needs_cluster(self) -> bool {
        let is_of_leaders = matches!(
            self,
            Self::LeaderKilled | Self::LeaderPaused | Self::LeaderIsolated | Self::LeaderVanished
        );
        is_of_leaders || self.needs_brokers()
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::Fault;

    #[test]
    fn names_are_those_of_the_command_line_and_stand_in_the_readme() {
        let readme = include_str!("../../../README.md");
        for fault in Fault::value_variants() {
            let name = fault.to_possible_value().unwrap();
            assert_eq!(fault.name(), name.get_name());
            assert!(readme.contains(&format!("`{}`", fault.name())), "{fault:?}");
        }
    }
}
