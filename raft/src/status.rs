//! How this node stands, for people and for `/v1/cluster`.
//!
//! Holds: numbers of one moment; nothing decides by them.

use openraft::ServerState;
use openraft::metrics::RaftMetrics;
use serde::Serialize;
use storage::{Index, NodeId, Term, Voters};

use crate::codec;
use crate::types::{self, Types};

/// A moment of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// How often it has started.
    pub boot: u64,
    /// Its cluster.
    pub cluster: String,
    /// What it does.
    pub role: Role,
    /// The raft era that it is in.
    pub term: Term,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The end of its log.
    pub last: Index,
    /// Up to here a majority has the log.
    pub committed: Index,
    /// Up to here its state has it.
    pub applied: Index,
    /// Why it stopped for good, if it did.
    pub stopped: Option<String>,
    /// How durable an acknowledged submission is: `fsync`, `interval:50ms` or `never`.
    pub policy: String,
    /// How many vote, and how many make a majority.
    pub voters: Voters,
    /// Everybody, in the order of their numbers.
    pub members: Vec<Member>,
}

/// One of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its number.
    pub node: NodeId,
    /// Where its peers reach it; empty in a cluster of one.
    pub address: String,
    /// Whether it votes; a member that does not is still catching up.
    pub is_voter: bool,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Puts commands in order.
    Leader,
    /// Follows a leader.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Follows without a vote.
    Learner,
    /// Nothing any more.
    Stopped,
}

impl From<ServerState> for Role {
    fn from(state: ServerState) -> Self {
        match state {
            ServerState::Leader => Self::Leader,
            ServerState::Follower => Self::Follower,
            ServerState::Candidate => Self::Candidate,
            ServerState::Learner => Self::Learner,
            ServerState::Shutdown => Self::Stopped,
        }
    }
}

/// What openraft knows of it.
pub(crate) struct Seen {
    pub(crate) role: Role,
    pub(crate) term: Term,
    pub(crate) leader: Option<NodeId>,
    pub(crate) last: Index,
    pub(crate) committed: Index,
    pub(crate) voters: Voters,
    pub(crate) members: Vec<Member>,
}

impl Seen {
    pub(crate) fn from_metrics(metrics: &RaftMetrics<Types>) -> Self {
        let membership = metrics.membership_config.membership();
        let is_voter = |node| membership.voter_ids().any(|voter| voter == node);
        Self {
            role: if metrics.running_state.is_ok() {
                metrics.state.into()
            } else {
                Role::Stopped
            },
            term: Term(metrics.current_term),
            leader: metrics.current_leader.map(types::node_in),
            last: metrics.last_log_index.map_or(Index(0), types::index_in),
            committed: metrics
                .local_committed
                .map_or(Index(0), |id| types::index_in(id.index)),
            voters: codec::voters(membership),
            members: membership
                .nodes()
                .map(|(node, peer)| Member {
                    node: types::node_in(*node),
                    address: peer.address.clone(),
                    is_voter: is_voter(*node),
                })
                .collect(),
        }
    }
}
