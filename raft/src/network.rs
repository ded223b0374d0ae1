//! openraft's way to the other members. A cluster of one has none, so whoever is asked for is out
//! of reach.
//!
//! Holds: nothing here answers for a peer. In particular a pre-vote is refused, where openraft's
//! default would grant it: a node that reaches nobody must not count as a majority.

use std::future::Future;

use openraft::OptionalSend;
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{RPCOption, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};

use crate::snapshot::SnapshotData;
use crate::types::{Peer, Types};

/// Makes connections for openraft.
#[derive(Debug)]
pub(crate) struct Network;

impl RaftNetworkFactory<Types> for Network {
    type Network = NoWay;

    async fn new_client(&mut self, target: u64, peer: &Peer) -> NoWay {
        NoWay {
            to: format!("node {target} at '{}'", peer.address),
        }
    }
}

/// A connection to a member that cannot be reached.
#[derive(Debug)]
pub(crate) struct NoWay {
    to: String,
}

impl NoWay {
    fn unreachable(&self) -> Unreachable<Types> {
        Unreachable::from_string(format!("{} cannot be reached from here", self.to))
    }
}

impl RaftNetworkV2<Types> for NoWay {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(self.unreachable().into())
    }

    async fn pre_vote(
        &mut self,
        _request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: VoteOf<Types>,
        _snapshot: SnapshotOf<Types, SnapshotData>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(self.unreachable().into())
    }
}
