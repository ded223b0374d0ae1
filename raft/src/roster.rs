//! Everybody in the cluster as this node sees them.
//!
//! Holds: what is told here may be a moment old, and decides nothing by itself.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use serde::Serialize;
use storage::{Floor, Index, NodeId};

use crate::floor;
use crate::node::Node;
use crate::peer::wire::Facts;

/// A follower that is so far behind is told of.
const BEHIND: u64 = 1024;

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seat {
    /// Its number.
    pub node: NodeId,
    /// Where its peers reach it; empty in a cluster of one.
    pub address: String,
    /// Whether it votes; a member that does not is still catching up.
    pub is_voter: bool,
    /// Whether it is this node.
    pub is_self: bool,
    /// How it stands.
    pub state: Standing,
    /// For how long it has stood so.
    pub since_ms: u64,
    /// What that means and what to do; empty while all is well.
    pub words: String,
    /// The newest entry in its log.
    pub last: Option<Index>,
    /// Up to here its state has it.
    pub applied: Option<Index>,
    /// Room on the volume of its log.
    pub free_bytes: Option<u64>,
    /// Which life of it this is.
    pub boot: Option<u64>,
    /// Below what it must not vote, in words.
    pub floor: Option<String>,
    /// Up to here its own destinations have everything; what lies above is still read there.
    pub delivered: Option<Index>,
    /// Entries that it cannot read.
    pub holes: u64,
    /// The newest digests that all nodes can be compared by.
    pub digest: Option<DigestAt>,
}

/// Digests after one entry: equal on all nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DigestAt {
    /// The entry.
    pub index: Index,
    /// Over what the log holds up to it.
    pub log: String,
    /// Over the rows of the state.
    pub rows: String,
}

/// How a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// All is well.
    Ok,
    /// It does not answer.
    Unreachable,
    /// It has less of the log than it should have by now.
    Behind,
    /// Its disk has no room for more.
    Full,
    /// Its disk is slow.
    Sick,
    /// It cannot serve all tasks: it lacks a credential, or its build cannot run one.
    Lacking,
    /// It may have lost the end of its log and does not vote until it has caught up.
    Floored,
    /// It has entries that it cannot read.
    Damaged,
    /// Its digests differ from the others'.
    Divergent,
    /// It does not belong here.
    Refused,
}

/// What this node says of itself once it was taken out.
pub(crate) const REMOVED: &str = "this node is a member no more: stop it for good, or empty its data directory, and \
                                  it joins under a fresh number";

/// Everybody, as `node` sees them.
pub(crate) fn of(node: &Node) -> Vec<Seat> {
    let me = node.inner.identity.node;
    let mine = node.own_facts();
    let voters = node.voters();
    let seen = node.inner.rounds.seen();
    let mut members = node.members();
    if node.inner.is_removed.load(Ordering::Relaxed) {
        let address = || node.inner.address.clone();
        members.entry(me).or_insert_with(address);
    }
    let seats = members.into_iter().map(|(member, address)| {
        let sight = seen.get(&member);
        let facts = if member == me {
            Some(&mine)
        } else {
            sight.and_then(|sight| sight.facts.as_deref())
        };
        let answers = member == me || sight.is_some_and(|sight| sight.fresh().is_some());
        let (state, words) = standing(node, member, facts.filter(|_| answers), &mine, &voters);
        let error = sight.and_then(|sight| sight.error.clone());
        let since = sight.map_or(node.inner.since, |sight| sight.since);
        Seat {
            node: member,
            address,
            is_voter: voters.contains(&member),
            is_self: member == me,
            state,
            since_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
            words: match (state, error) {
                (Standing::Unreachable, Some(error)) => format!("{words}: {error}"),
                _ => words,
            },
            last: facts.and_then(|facts| facts.last).map(|last| last.index),
            applied: facts.map(|facts| facts.applied),
            free_bytes: facts.map(|facts| facts.free_bytes),
            delivered: facts.map(|facts| facts.delivered),
            boot: facts.map(|facts| facts.boot),
            floor: facts
                .and_then(|facts| facts.floor)
                .map(|floor| match Floor::from(floor) {
                    Floor::Upto(id) => format!("entry {id}"),
                    Floor::Unknown => "unknown".to_owned(),
                }),
            holes: facts.map_or(0, |facts| facts.holes),
            digest: facts
                .and_then(|facts| facts.digests.last())
                .map(|(index, log, rows)| DigestAt {
                    index: *index,
                    log: format!("{:032x}", u128::from_be_bytes(*log)),
                    rows: format!("{rows:032x}"),
                }),
        }
    });
    seats.collect()
}

/// How a member stands and what to do about it; the worst first.
fn standing(
    node: &Node,
    member: NodeId,
    facts: Option<&Facts>,
    mine: &Facts,
    voters: &BTreeSet<NodeId>,
) -> (Standing, String) {
    let suspects = node
        .inner
        .suspects
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(index) = suspects.get(&member) {
        let words = format!(
            "its state differs from this node's after entry {index}: compare the nodes' digests, and empty the one that is wrong"
        );
        return (Standing::Divergent, words);
    }
    drop(suspects);
    if member == mine.node.unwrap_or_default() && node.inner.is_removed.load(Ordering::Relaxed) {
        return (Standing::Refused, REMOVED.to_owned());
    }
    if let Some(why) = node.inner.gate.why_not(member) {
        return (Standing::Refused, why);
    }
    let Some(facts) = facts else {
        let words = "it does not answer: is it running, and can this node reach its address";
        return (Standing::Unreachable, words.to_owned());
    };
    if 0 < facts.holes {
        let words = format!(
            "it cannot read {} entries of its log and is being sent them again",
            facts.holes
        );
        return (Standing::Damaged, words);
    }
    if facts
        .floor
        .is_some_and(|floor| !floor::reaches(facts.last, floor.into()))
    {
        let words = "it may have lost the end of its log; it votes for nobody who has less until it has caught up. \
                     Where a voter is gone for good: formspool cluster accept-tail-loss";
        return (Standing::Floored, words.to_owned());
    }
    if facts.is_full {
        let words = "its disk is full: make room, and it goes on by itself";
        return (Standing::Full, words.to_owned());
    }
    if facts.is_sick {
        let words = "its disk takes seconds for a sync: look at its device and at who else uses it";
        return (Standing::Sick, words.to_owned());
    }
    let last = facts.last.map_or(0, |last| last.index.0);
    let committed = mine.committed.map_or(0, |id| id.index.0);
    if last + BEHIND < committed || !voters.contains(&member) {
        let words = format!("it is being sent the log: it has {last} of {committed} entries");
        return (Standing::Behind, words);
    }
    if let Some(words) = &facts.lacks {
        return (Standing::Lacking, words.clone());
    }
    (Standing::Ok, String::new())
}
