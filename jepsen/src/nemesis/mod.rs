//! The faults: what is done to a cluster, and undone.
//!
//! Holds: a fault is laid, held under load, and healed; each says in words what it did, and a
//! fault that could not be laid is an error, never passed over. Nothing but files, signals,
//! settings at a start and the network between the nodes is touched.

pub(crate) mod gate;
mod lay;
pub(crate) mod wal;

use clap::ValueEnum;

use crate::workload::full::filler::Filler;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// All nodes are killed again and again in the midst of becoming a cluster.
    Genesis,
    /// `kill -9` of the leader; started again at the end.
    KillLeader,
    KillFollower,
    /// `SIGSTOP`, and `SIGCONT` at the end.
    PauseLeader,
    PauseFollower,
    /// No frame between the leader and the other nodes; clients reach all.
    IsolateLeader,
    /// No frame between the leader and anybody: its machine is gone, without a word.
    VanishLeader,
    /// The leader hears the others and is not heard.
    MuteLeader,
    /// The leader is heard and hears nobody.
    DeafLeader,
    /// A follower hears and is not heard.
    MuteFollower,
    /// Between all nodes frames are late, overtake each other and get lost.
    Lossy,
    /// `kill -9` of all at once.
    KillAll,
    /// `SIGTERM` and a start, one node after the other.
    Rolling,
    /// A follower loses its disk.
    Wipe,
    /// One bit in a part of the log that one node does not write any more.
    FlipSealed,
    /// One bit in the last entry of one node's log.
    FlipTail,
    /// All are killed at once, and the last batch of each is torn.
    TearAll,
    /// The same with two, and the third loses its disk: an operator must help.
    TearTwo,
    /// The disks of two followers have no room.
    Fill,
    /// One node's wall clock is a year ahead, and it leads.
    Clock,
}

/// One that was laid.
#[derive(Debug)]
pub(crate) struct Laid {
    pub(crate) words: String,
    /// The node that it was laid on, where it was one.
    pub(crate) victim: Option<usize>,
    /// What its node was called in the cluster, where its disk is lost.
    pub(crate) old_name: Option<u64>,
    /// Entries that were torn, of all nodes together.
    pub(crate) torn: usize,
    /// No node has an entry behind this one any more.
    pub(crate) destroyed_behind: Option<u64>,
    fillers: Vec<Filler>,
}

/// One that was undone.
#[derive(Debug)]
pub(crate) struct Healed {
    pub(crate) words: String,
    /// Where no majority was left: from when on there was one, in the history's time.
    pub(crate) from: u64,
    /// Frames that were dropped.
    pub(crate) dropped: u64,
    /// What was not borne as it must be.
    pub(crate) wrong: Option<String>,
}

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::KillLeader => "kill-leader",
            Self::KillFollower => "kill-follower",
            Self::PauseLeader => "pause-leader",
            Self::PauseFollower => "pause-follower",
            Self::IsolateLeader => "isolate-leader",
            Self::VanishLeader => "vanish-leader",
            Self::MuteLeader => "mute-leader",
            Self::DeafLeader => "deaf-leader",
            Self::MuteFollower => "mute-follower",
            Self::Lossy => "lossy",
            Self::KillAll => "kill-all",
            Self::Rolling => "rolling",
            Self::Wipe => "wipe",
            Self::FlipSealed => "flip-sealed",
            Self::FlipTail => "flip-tail",
            Self::TearAll => "tear-all",
            Self::TearTwo => "tear-two",
            Self::Fill => "fill",
            Self::Clock => "clock",
        }
    }

    /// Of the network between the nodes.
    pub(crate) fn is_of_the_net(self) -> bool {
        matches!(
            self,
            Self::IsolateLeader
                | Self::VanishLeader
                | Self::MuteLeader
                | Self::DeafLeader
                | Self::MuteFollower
                | Self::Lossy
        )
    }

    /// Each node needs a disk of its own.
    pub(crate) fn needs_disks(self) -> bool {
        self == Self::Fill
    }

    /// While it lasts most nodes run and reach each other, so the cluster must serve.
    pub(crate) fn leaves_a_majority(self) -> bool {
        !matches!(
            self,
            Self::KillAll | Self::TearAll | Self::TearTwo | Self::Fill | Self::Genesis
        )
    }

    /// It is over when it is laid.
    pub(crate) fn is_momentary(self) -> bool {
        self == Self::Rolling
    }

    /// What a node shows afterwards comes from files that were touched: all is read anew.
    pub(crate) fn is_of_the_disk(self) -> bool {
        matches!(
            self,
            Self::Wipe | Self::FlipSealed | Self::FlipTail | Self::TearAll | Self::TearTwo
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::Fault;

    #[test]
    fn names_are_those_of_the_command_line_and_stand_in_the_readme() {
        let readme = include_str!("../../README.md");
        for fault in Fault::value_variants() {
            let name = fault.to_possible_value().unwrap();
            assert_eq!(fault.name(), name.get_name());
            assert!(readme.contains(&format!("`{}`", fault.name())), "{fault:?}");
        }
    }
}
