//! openraft's way to the other members, over links.
//!
//! Holds: nothing here answers for a peer: whoever cannot be reached, refuses or says nothing in time
//! has granted nothing and has appended nothing. Heartbeats and votes never wait behind entries, nor
//! entries behind a checkpoint: each kind has a connection of its own.
//!
//! Why appends are pipelined: the next entries are under way while the peer's disk still syncs the
//! last ones, and it syncs them together.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "any other message is out of place, also one that is not invented yet"
)]

use std::future::Future;
use std::io::{self, Read as _};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use openraft::OptionalSend;
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{RPCOption, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use storage::{NodeId, Wal};

use crate::flow::{Flow, append_of};
use crate::gate::Gate;
use crate::peer::hello::Lane;
use crate::peer::link::{Dialer, Line, Link, LinkError};
use crate::peer::wire::{Appended, Ballot, Declined, Handover, Offer, Reply, Request, Voted};
use crate::sending::Sending;
use crate::snapshot::SnapshotData;
use crate::types::{self, Peer, Types};

/// One piece of a checkpoint.
const PIECE_BYTES: usize = 1 << 20;
/// A peer may take so long to write a piece.
const PIECE_TIME_MAX: Duration = Duration::from_secs(30);
/// And so long to make its state of the whole.
const INSTALL_TIME_MAX: Duration = Duration::from_mins(10);

/// Makes connections for openraft.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) dialer: Dialer,
    pub(crate) sending: Sending,
    pub(crate) gate: Gate,
    pub(crate) wal: Wal,
}

impl Network {
    pub(crate) fn client(&self, target: u64, peer: &Peer, appends: Lane) -> Client {
        let to = types::node_in(target);
        let link = |lane| Link::new(self.dialer.clone(), lane, Some(to), &peer.address);
        Client {
            to,
            appends: link(appends),
            votes: link(Lane::Vote),
            snapshots: link(Lane::Snapshot),
            sending: self.sending.clone(),
            gate: self.gate.clone(),
            wal: self.wal.clone(),
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, peer: &Peer) -> Client {
        self.client(target, peer, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, peer: &Peer) -> Client {
        self.client(target, peer, Lane::Vote)
    }
}

/// The connections to one member; each is made when it is needed.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) to: NodeId,
    pub(crate) appends: Link,
    votes: Link,
    snapshots: Link,
    sending: Sending,
    pub(crate) gate: Gate,
    wal: Wal,
}

impl Client {
    async fn ask(&self, request: Request, limit: Duration) -> Result<Reply, RPCError<Types>> {
        let reply = self.votes.call(&request, limit).await;
        reply.map_err(|error| self.failed(&error))
    }

    async fn ballot(
        &self,
        rpc: VoteRequest<Types>,
        request: impl FnOnce(Ballot) -> Request,
        limit: Duration,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        if let Some(why) = self.gate.why_not(self.to) {
            // It has forgotten what it acknowledged: its vote is worth nothing.
            return Err(Unreachable::from_string(format!("node {}: {why}", self.to)).into());
        }
        // openraft is told so too, but only a moment later.
        if 0 < self.wal.holes() {
            let words = "this node's log is damaged: it stands for no election";
            return Err(Unreachable::from_string(words).into());
        }
        let ballot = Ballot {
            vote: types::vote_in(&rpc.vote).into(),
            last: rpc.last_log_id.map(types::log_id_in),
            is_handover: rpc.leadership_transfer,
        };
        match self.ask(request(ballot), limit).await? {
            Reply::Voted(Voted {
                vote,
                is_granted,
                last,
            }) => Ok(VoteResponse::<Types> {
                vote: types::vote_out(&vote.into()),
                vote_granted: is_granted,
                last_log_id: last.map(types::log_id_out),
            }),
            other => Err(self.nonsense(&other)),
        }
    }

    /// Whether the life at the other end may be sent entries.
    async fn pass(&self, line: &Line) -> Result<(), RPCError<Types>> {
        let passed = self.gate.pass(self.to, line).await;
        passed.map_err(|why| Unreachable::from_string(format!("node {} {why}", self.to)).into())
    }

    pub(crate) fn failed(&self, error: &LinkError) -> RPCError<Types> {
        let words = format!("node {} at '{}' {error}", self.to, self.appends.address());
        match error {
            LinkError::Unreachable(_) | LinkError::Refused(_) => {
                Unreachable::from_string(words).into()
            }
            LinkError::Lost(_) => NetworkError::from_string(words).into(),
        }
    }

    pub(crate) fn nonsense(&self, reply: &Reply) -> RPCError<Types> {
        let what = match reply {
            Reply::Cannot(why) => why.clone(),
            _ => "answered something else".to_owned(),
        };
        Unreachable::from_string(format!("node {}: {what}", self.to)).into()
    }

    async fn send_checkpoint(
        &self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, SnapshotData>,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let line = self.snapshots.line(PIECE_TIME_MAX).await;
        self.pass(&line.map_err(|error| self.failed(&error))?)
            .await?;
        let id = snapshot.snapshot.checkpoint().id;
        let offer = Offer {
            vote: types::vote_in(&vote).into(),
            id,
        };
        let mut reply = self.send(&Request::Snapshot(offer), PIECE_TIME_MAX).await?;
        let pieces = snapshot.snapshot.read();
        let mut pieces = Some(pieces.map_err(|error| self.unread(&error))?);
        while let (Reply::Done(Ok(_)), Some(mut from)) = (&reply, pieces.take()) {
            let read = crate::blocking::blocking(move || {
                let mut piece = Vec::with_capacity(PIECE_BYTES);
                let read = from
                    .by_ref()
                    .take(PIECE_BYTES as u64)
                    .read_to_end(&mut piece);
                read.map(|_| (piece, from))
            });
            let read = read.await.map_err(io::Error::other).flatten();
            let (piece, from) = read.map_err(|error| self.unread(&error))?;
            let is_end = piece.is_empty();
            let limit = if is_end {
                INSTALL_TIME_MAX
            } else {
                PIECE_TIME_MAX
            };
            reply = self
                .send(&Request::Piece(Bytes::from(piece)), limit)
                .await?;
            pieces = (!is_end).then_some(from);
        }
        match reply {
            Reply::Installed(answer) => Ok(SnapshotResponse::<Types> {
                vote: types::vote_out(&answer.vote.into()),
            }),
            other => Err(self.nonsense(&other).into()),
        }
    }

    async fn send(
        &self,
        request: &Request,
        limit: Duration,
    ) -> Result<Reply, StreamingError<Types>> {
        let reply = self.snapshots.call(request, limit).await;
        reply.map_err(|error| self.failed(&error).into())
    }

    fn unread(&self, error: &dyn std::fmt::Display) -> StreamingError<Types> {
        Unreachable::from_string(format!("a checkpoint for node {}: {error}", self.to)).into()
    }
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let line = self.votes.line(option.soft_ttl()).await;
        self.pass(&line.map_err(|error| self.failed(&error))?)
            .await?;
        let request = Request::Append(append_of(rpc));
        match self.ask(request, option.soft_ttl()).await? {
            Reply::Appended(Appended::All) => Ok(AppendEntriesResponse::Success),
            Reply::Appended(Appended::Upto(last)) => Ok(AppendEntriesResponse::PartialSuccess(
                last.map(types::log_id_out),
            )),
            Reply::Appended(Appended::Conflict) => Ok(AppendEntriesResponse::Conflict),
            Reply::Appended(Appended::Newer(vote)) => Ok(AppendEntriesResponse::HigherVote(
                types::vote_out(&vote.into()),
            )),
            other => Err(self.nonsense(&other)),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            // The first request comes before the connection: openraft holds it back after a failure, and
            // whoever did not ask for it would dial without a pause.
            let mut input = input;
            let Some(first) = input.next().await else {
                return Ok(stream::empty().boxed() as BoxStream<'s, _>);
            };
            let input = stream::iter([first]).chain(input);
            let line = self.appends.line(option.hard_ttl()).await;
            let line = line.map_err(|error| self.failed(&error))?;
            self.pass(&line).await?;
            let flow = Flow::new(self, input, line);
            let answers = stream::unfold(Some(flow), async |flow| {
                let mut flow = flow?;
                let answer = flow.next().await?;
                let goes_on = matches!(answer, Ok(Ok(_)));
                Some((answer, goes_on.then_some(flow)))
            });
            Ok(answers.boxed() as BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ballot(rpc, Request::Vote, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ballot(rpc, Request::PreVote, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let index = snapshot.snapshot.checkpoint().id.index;
        self.sending.begin(self.to, index);
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = self.send_checkpoint(vote, snapshot) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let from = *request.from_leader();
        let last = request.last_log_id().copied();
        let handover = Handover {
            from: types::vote_in(&from).into(),
            // Every member is told; only this one stands for election at once.
            to: types::node_in(*request.to_node_id()),
            last: last.map(types::log_id_in),
        };
        match self
            .ask(Request::Transfer(handover), option.soft_ttl())
            .await?
        {
            Reply::Transferred(Ok(())) => Ok(Ok(())),
            Reply::Transferred(Err(Declined::Vote(vote))) => {
                Ok(Err(TransferLeaderError::VoteChanged {
                    expected: from,
                    actual: types::vote_out(&vote.into()),
                }))
            }
            Reply::Transferred(Err(Declined::Log(actual))) => {
                Ok(Err(TransferLeaderError::LogNotFlushed {
                    expected: last,
                    actual: actual.map(types::log_id_out),
                }))
            }
            other => Err(self.nonsense(&other)),
        }
    }
}
