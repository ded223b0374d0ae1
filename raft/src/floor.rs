//! The amnesia floor: what a node that may have lost the end of its log must not do, and until when.
//!
//! Holds:
//! - A floored node helps nobody to be elected whose log ends below the floor, does not stand for
//!   election and is handed no leadership: among what it lost may be an entry that was acknowledged
//!   because of it.
//! - It is lifted where the node's log covers everything that its present leader has committed in the
//!   leader's own reign: whatever was acknowledged is in there.
//! - Where all voters answer and none leads, as after a power cut of all at once, there is nothing
//!   more to find: the greatest of their last ids is what is left, and a floor above it comes down to
//!   it. So the one that has it leads, and nobody else. A majority is not enough for that.
//!
//! Why a floor is enough. Let this node have acknowledged an entry E, which was committed by it, and
//! lost it. Its vote is kept apart from its log, so the floor is of the newest term that it ever
//! promised anything in, which is E's or a later one; of that term it is above every entry. A candidate
//! that reaches it has an entry of a still later term, of a leader that was elected without this node's
//! forgetting, and such a leader has E.
//!
//! Why lifting is safe. The leader is the one that this node's own vote names, and has committed an
//! entry of its own reign (term *and* node: more than one may lead in a term, one after the other). So
//! it has all that was committed in earlier reigns. A log that ends at or behind that entry, under this
//! vote, ends with an entry of this leader, and is like the leader's up to there. What is left is what
//! an earlier life of this node acknowledged to this same leader and the leader counted late: the
//! leader drops such answers once it has let this life in (`gate`), and the question that
//! the leader's answer is to was put after that. Where the floor is of the leader's own term it must
//! be reached by its index too. The entries are written before the lifting, in one ordered stream.
//!
//! Why lowering is safe. E was committed by a majority, and each of it that has not lost it has it
//! still. Each voter was asked after this node had started, so after E was acknowledged by it: whoever
//! has E, its answer is E or later. So the greatest answer is at least E, or nobody has it. It does not
//! matter that they answer at different moments, nor that one starts anew in between: one that loses E
//! after its answer has a floor of its own, and is asked again. What members say unasked may be older
//! and is not used. The voters are those of both halves of a joint membership, and whoever is named in a newer
//! one that anybody knows of: if this node does not know that one to ask it, nothing comes down.
//! That none leads is not needed for this; where one does, catching up is what finds everything.
//! Learners are not asked: they make no majority.
//!
//! What this cannot see: a change of the members that was torn off the logs of *all* that were asked,
//! while the new voter, which has it, is away; and a log that was put back to an older one in the same
//! moment (`react` keeps such a node out where another one remembers what it had acknowledged).

use storage::{Floor, LogId, Vote};

use crate::mutants::{self, Mutant};

/// Whether a log that ends at `last` has all that the floor asks for.
pub(crate) fn reaches(last: Option<LogId>, floor: Floor) -> bool {
    if mutants::is(Mutant::FloorIgnored) {
        return true;
    }
    match floor {
        Floor::Upto(id) => last.is_some_and(|last| id <= last),
        Floor::Unknown => false,
    }
}

/// A leader, and what it has committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reign {
    pub(crate) vote: Vote,
    pub(crate) committed: LogId,
}

impl Reign {
    /// Whether a log that ends at `last` under this leader's vote has everything that a node with this
    /// floor may have acknowledged.
    pub(crate) fn is_covered(&self, floor: Floor, last: LogId) -> bool {
        let Self { vote, committed } = self;
        let is_own =
            vote.is_committed && (committed.term, committed.node) == (vote.term, vote.node);
        let is_reached = match floor {
            Floor::Upto(id) => id.term < vote.term || id.index <= last.index,
            Floor::Unknown => true,
        };
        is_own && *committed <= last && is_reached
    }
}

/// How one voter stands, for [`lowered`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Voter {
    /// Its raft runs, so its log was read.
    pub(crate) is_running: bool,
    /// The newest entry in its log.
    pub(crate) last: Option<LogId>,
    /// It follows somebody who leads.
    pub(crate) has_leader: bool,
}

/// What a floor comes down to where these are all voters, each asked since this node started; `None`:
/// it stays.
pub(crate) fn lowered(floor: Floor, all: &[Voter]) -> Option<Floor> {
    let is_one_away = |voter: &Voter| voter.has_leader || !voter.is_running;
    if all.iter().any(is_one_away) {
        return None;
    }
    let last = all.iter().filter_map(|voter| voter.last).max()?;
    match floor {
        Floor::Upto(id) if id <= last => None,
        Floor::Upto(_) | Floor::Unknown => Some(Floor::Upto(last)),
    }
}

#[cfg(test)]
mod tests {
    use storage::{Index, NodeId, Term};

    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId {
            term: Term(term),
            node: NodeId(1),
            index: Index(index),
        }
    }

    fn voter(last: LogId) -> Voter {
        Voter {
            is_running: true,
            last: Some(last),
            has_leader: false,
        }
    }

    #[test]
    fn a_candidate_below_the_floor_has_not_reached_it_however_long_its_log() {
        let floor = Floor::Upto(id(3, 10));
        assert!(reaches(Some(id(3, 10)), floor));
        assert!(reaches(Some(id(4, 5)), floor), "a newer term is further on");
        assert!(!reaches(Some(id(3, 9)), floor));
        assert!(!reaches(Some(id(2, 99)), floor));
        assert!(!reaches(None, floor));
        assert!(!reaches(Some(id(9, 99)), Floor::Unknown));
    }

    #[test]
    fn where_all_are_there_and_none_leads_the_floor_comes_down_to_the_greatest_last() {
        let all = [voter(id(3, 8)), voter(id(3, 9)), voter(id(2, 50))];
        assert_eq!(
            lowered(Floor::Upto(id(3, 12)), &all),
            Some(Floor::Upto(id(3, 9)))
        );
        assert_eq!(lowered(Floor::Unknown, &all), Some(Floor::Upto(id(3, 9))));
        assert_eq!(
            lowered(Floor::Upto(id(3, 9)), &all),
            None,
            "somebody has all of it"
        );
    }

    #[test]
    fn a_leader_anywhere_leaves_the_floor_to_catching_up() {
        let mut all = [voter(id(3, 8)), voter(id(3, 9))];
        all[0].has_leader = true;
        assert_eq!(lowered(Floor::Unknown, &all), None);
    }

    #[test]
    fn one_whose_log_is_not_read_yet_may_have_more_than_it_says() {
        let mut all = [voter(id(3, 8)), voter(id(3, 9))];
        all[1].is_running = false;
        assert_eq!(lowered(Floor::Unknown, &all), None);
    }

    #[test]
    fn only_what_the_leader_committed_in_its_own_reign_covers_everything() {
        let floor = Floor::Upto(LogId {
            node: NodeId(u32::MAX),
            ..id(3, 10)
        });
        let reign = |term, node, committed| Reign {
            vote: Vote {
                term: Term(term),
                node: NodeId(node),
                is_committed: true,
            },
            committed,
        };
        assert!(reign(4, 1, id(4, 8)).is_covered(floor, id(4, 8)));
        assert!(!reign(4, 1, id(4, 8)).is_covered(floor, id(4, 7)), "behind");
        assert!(
            !reign(4, 1, id(3, 8)).is_covered(floor, id(4, 9)),
            "of an earlier term"
        );
        assert!(
            !reign(4, 2, id(4, 8)).is_covered(floor, id(4, 9)),
            "of an earlier leader of the term"
        );
        let candidate = Reign {
            vote: Vote {
                is_committed: false,
                ..reign(4, 1, id(4, 8)).vote
            },
            ..reign(4, 1, id(4, 8))
        };
        assert!(!candidate.is_covered(floor, id(4, 9)));
        // The leader to whom it had acknowledged what it lost has all of that.
        assert!(!reign(3, 1, id(3, 8)).is_covered(floor, id(3, 9)));
        assert!(reign(3, 1, id(3, 8)).is_covered(floor, id(3, 10)));
        assert!(reign(3, 1, id(3, 8)).is_covered(Floor::Unknown, id(3, 8)));
    }
}
