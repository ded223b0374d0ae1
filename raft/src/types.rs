//! openraft's type parameters, bound once; and the bridge between its numbers and ours.
//!
//! Holds: openraft counts entries from 0, we count from 1 so that 0 can say "none yet". The two
//! meet in [`index_in`] and [`index_out`] and nowhere else.
//! Why the leader id carries the node (openraft's `leader_id_adv`): two candidates of one term are
//! then ordered instead of splitting the vote.

use std::fmt;
use std::io;

use bytes::Bytes;
use openraft::alias::{EntryOf, LogIdOf, StoredMembershipOf, VoteOf};
#[cfg(not(feature = "testing"))]
use openraft::impls::TokioRuntime as Runtime;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::impls::{BoxedErrorSource, InlineBatch};
use openraft::raft::responder::Responder;
use openraft::{EntryPayload, OptionalSend, RaftTypeConfig};
use serde::{Deserialize, Serialize};
use storage::{Entry, EntryKind, Index, LogId, NodeId, Outcome, Term, Vote};
use tokio::sync::oneshot;

use crate::codec;
#[cfg(feature = "testing")]
use crate::runtime::Runtime;

/// The types that openraft runs with here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Types;

impl RaftTypeConfig for Types {
    type D = Proposal;
    type R = Outcome;
    type NodeId = u64;
    type Node = Peer;
    type Term = u64;
    type LeaderId = LeaderId<u64, u64>;
    type Vote = openraft::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Proposal, u64, Peer>;
    type Entry = openraft::Entry<LeaderId<u64, u64>, Self::Payload>;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = Answer<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

/// Members and their addresses.
pub(crate) type Membership = openraft::Membership<u64, Peer>;

/// A command on its way through raft: bytes that nobody here looks into.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal(pub Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

/// A member, as the others reach it. The address may change; the node's number never does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Host and port of its peer listener; empty while the cluster has one node.
    pub address: String,
}

/// Where openraft puts the answer to a proposal.
///
/// Dropped unsent, it tells the waiter so: the receiver's error means "outcome unknown".
pub struct Answer<T>(oneshot::Sender<T>);

impl<T> Answer<T> {
    pub(crate) fn new() -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

impl<T: OptionalSend + 'static> Responder<Types, T> for Answer<T> {
    fn on_complete(self, result: T) {
        // Nobody waits any more: the entry is applied all the same.
        drop(self.0.send(result));
    }
}

/// openraft's index for ours.
pub(crate) fn index_out(index: Index) -> u64 {
    assert!(index.0 > 0, "no entry has index 0");
    index.0 - 1
}

/// Our index for openraft's.
pub(crate) fn index_in(index: u64) -> Index {
    Index(index).next()
}

/// Our node number for openraft's.
pub(crate) fn node_in(node: u64) -> NodeId {
    let number = u32::try_from(node);
    NodeId(number.unwrap_or_else(|_| panic!("node number {node} was never given out")))
}

pub(crate) fn log_id_in(id: LogIdOf<Types>) -> LogId {
    LogId {
        term: Term(id.leader_id.term),
        node: node_in(id.leader_id.node_id),
        index: index_in(id.index),
    }
}

pub(crate) fn log_id_out(id: LogId) -> LogIdOf<Types> {
    LogIdOf::<Types> {
        leader_id: leader_out(id.term, id.node),
        index: index_out(id.index),
    }
}

pub(crate) fn vote_in(vote: &VoteOf<Types>) -> Vote {
    Vote {
        term: Term(vote.leader_id.term),
        node: node_in(vote.leader_id.node_id),
        is_committed: vote.committed,
    }
}

pub(crate) fn vote_out(vote: &Vote) -> VoteOf<Types> {
    VoteOf::<Types> {
        leader_id: leader_out(vote.term, vote.node),
        committed: vote.is_committed,
    }
}

pub(crate) fn entry_in(entry: EntryOf<Types>) -> Entry {
    let (kind, payload) = match entry.payload {
        EntryPayload::Blank => (EntryKind::Blank, Bytes::new()),
        EntryPayload::Normal(proposal) => (EntryKind::Command, proposal.0),
        EntryPayload::Membership(members) => {
            (EntryKind::Membership, codec::encode_membership(&members))
        }
    };
    Entry {
        id: log_id_in(entry.log_id),
        kind,
        payload,
    }
}

pub(crate) fn entry_out(entry: Entry) -> io::Result<EntryOf<Types>> {
    let payload = match entry.kind {
        EntryKind::Blank => EntryPayload::Blank,
        EntryKind::Command => EntryPayload::Normal(Proposal(entry.payload)),
        EntryKind::Membership => EntryPayload::Membership(
            codec::decode_membership(&entry.payload).map_err(io::Error::other)?,
        ),
    };
    Ok(EntryOf::<Types> {
        log_id: log_id_out(entry.id),
        payload,
    })
}

/// The last applied membership as the state keeps it; none before the first.
pub(crate) fn membership_out(
    stored: Option<(LogId, Bytes)>,
) -> io::Result<StoredMembershipOf<Types>> {
    let Some((id, bytes)) = stored else {
        return Ok(StoredMembershipOf::<Types>::default());
    };
    let members = codec::decode_membership(&bytes).map_err(io::Error::other)?;
    Ok(StoredMembershipOf::<Types>::new(
        Some(log_id_out(id)),
        members,
    ))
}

fn leader_out(term: Term, node: NodeId) -> LeaderId<u64, u64> {
    LeaderId {
        term: term.0,
        node_id: u64::from(node.0),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn entry(payload: EntryPayload<Proposal, u64, Peer>) -> EntryOf<Types> {
        EntryOf::<Types> {
            log_id: LogIdOf::<Types> {
                leader_id: LeaderId {
                    term: 7,
                    node_id: 3,
                },
                index: 41,
            },
            payload,
        }
    }

    #[test]
    fn an_entry_of_each_kind_survives_the_way_to_storage_and_back() {
        let members = Membership::new(
            vec![BTreeSet::from([1, 2])],
            BTreeMap::from([
                (1, Peer::default()),
                (
                    2,
                    Peer {
                        address: "b:7080".to_owned(),
                    },
                ),
            ]),
        )
        .unwrap();
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Proposal(Bytes::from_static(b"opaque"))),
            EntryPayload::Membership(members),
        ] {
            let stored = entry_in(entry(payload.clone()));
            assert_eq!(stored.id.index, Index(42), "openraft's 41 is our 42");
            assert_eq!(entry_out(stored).unwrap(), entry(payload));
        }
    }

    #[test]
    fn a_vote_survives_the_way_to_storage_and_back() {
        for vote in [
            VoteOf::<Types>::new(4, 9),
            VoteOf::<Types>::new_committed(4, 9),
        ] {
            assert_eq!(vote_out(&vote_in(&vote)), vote);
        }
    }
}
