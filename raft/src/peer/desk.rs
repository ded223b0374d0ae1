//! The answering end: what this node says to whoever calls, from its first moment to its last.
//!
//! Holds: before raft runs, only the talk lane answers; what a node may not promise (a vote below its
//! floor, leadership without its log) is refused here, before openraft hears of it.

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    VoteRequest,
};
use storage::{NodeId, Vote, Wal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::warn;

use super::hello::{Hello, Lane, Me};
use super::wire::{
    Append, Appended, Asking, Ballot, Declined, Facts, Founding, Handover, Offer, Proposed, Reply,
    Request, Voted,
};
use crate::facts;
use crate::floor;
use crate::identity::Identity;
use crate::mend;
use crate::node::{Inner, Node};
use crate::receive::{Newest, Receiving};
use crate::types::{self, Types};

/// A founder's wish, and where its answer goes.
pub(crate) type Wish = (Founding, oneshot::Sender<Result<String, String>>);
/// One founder at a time; more are told to come again.
const WISHES_MAX: usize = 4;
/// Members call, and few others.
const CALLERS_MAX: usize = 64;

/// What answers.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    inside: Mutex<Inside>,
    newest: Newest,
}

#[derive(Debug, Default)]
struct Inside {
    me: Option<Me>,
    /// How this node stands before its raft runs.
    still: Option<Box<Facts>>,
    /// A log that is being repaired before raft runs.
    mending: Option<Mending>,
    /// Where those are who told how they stand meanwhile.
    callers: BTreeSet<String>,
    node: Option<Weak<Inner>>,
    founders: Option<mpsc::Sender<Wish>>,
    heard: Option<(NodeId, Instant)>,
    /// Who has sent entries or heartbeats to this life first under the newest vote, and when that was.
    fed: Option<(Vote, Instant)>,
    told: Option<String>,
}

#[derive(Debug)]
struct Mending {
    address: String,
    identity: Identity,
    wal: Wal,
}

impl Desk {
    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who this node is, once it knows.
    pub(crate) fn me(&self) -> Option<Me> {
        self.inside().me
    }

    pub(crate) fn set_me(&self, me: Me) {
        self.inside().me = Some(me);
    }

    /// What is told before raft runs.
    pub(crate) fn set_still(&self, facts: Facts) {
        self.inside().still = Some(Box::new(facts));
    }

    /// A log with holes is being repaired: peers hear of it, and are given what it still has.
    pub(crate) fn set_mending(&self, address: &str, identity: &Identity, wal: &Wal) {
        let mut inside = self.inside();
        inside.me = Some(Me {
            cluster: identity.cluster.0,
            node: identity.node,
            boot: 0,
        });
        inside.mending = Some(Mending {
            address: address.to_owned(),
            identity: *identity,
            wal: wal.clone(),
        });
    }

    /// Where those are who told how they stand since then.
    pub(crate) fn callers(&self) -> Vec<String> {
        self.inside().callers.iter().cloned().collect()
    }

    /// This node has no past any more.
    pub(crate) fn forget(&self, address: &str) {
        let mut inside = self.inside();
        inside.me = None;
        inside.mending = None;
        inside.still = Some(Box::new(facts::still(address.to_owned(), None, None)));
    }

    /// From here on raft answers.
    pub(crate) fn open(&self, node: &Node) {
        let mut inside = self.inside();
        inside.mending = None;
        inside.node = Some(Arc::downgrade(&node.inner));
        inside.founders = None;
    }

    /// Takes founders' wishes.
    pub(crate) fn wait_for_founders(&self) -> mpsc::Receiver<Wish> {
        let (sender, receiver) = mpsc::channel(WISHES_MAX);
        self.inside().founders = Some(sender);
        receiver
    }

    pub(crate) fn no_more_founders(&self) {
        self.inside().founders = None;
    }

    /// The node, while its raft runs.
    pub(crate) fn node(&self) -> Option<Node> {
        let node = self.inside().node.as_ref().and_then(Weak::upgrade);
        node.map(|inner| Node { inner })
    }

    /// Since this leader was last heard of.
    pub(crate) fn heard(&self, leader: NodeId) -> Option<Duration> {
        let heard = self.inside().heard.filter(|(node, _)| *node == leader);
        heard.map(|(_, at)| at.elapsed())
    }

    /// Since when whoever leads by this vote has let this life in.
    pub(crate) fn fed_since(&self, leader: Vote) -> Option<Instant> {
        let fed = self.inside().fed.filter(|(vote, _)| *vote == leader);
        fed.map(|(_, since)| since)
    }

    /// A caller was sent away: told once a reason, for whoever wonders why a node does not come in.
    pub(crate) fn refused(&self, hello: &Hello, words: &str) {
        let told = self.inside().told.replace(words.to_owned());
        if told.as_deref() != Some(words) {
            let from = hello
                .from
                .map_or_else(|| "?".to_owned(), |node| node.to_string());
            warn!(peer = from, error = words, "a peer was refused");
        }
    }

    /// How this node stands.
    pub(crate) fn facts(&self) -> Option<Facts> {
        if let Some(node) = self.node() {
            return Some(facts::of(&node));
        }
        let inside = self.inside();
        match &inside.mending {
            Some(Mending {
                address,
                identity,
                wal,
            }) => Some(facts::still(address.clone(), Some(identity), Some(wal))),
            None => inside.still.as_deref().cloned(),
        }
    }

    /// Begins to answer; the order of the calls is the order in which openraft hears of them.
    pub(crate) fn answer(
        self: &Arc<Self>,
        caller: &Hello,
        request: Request,
    ) -> BoxFuture<'static, Reply> {
        let desk = Arc::clone(self);
        match (caller.lane, request) {
            (Lane::Append | Lane::Vote, Request::Append(append)) => {
                Box::pin(async move { desk.append(append).await.unwrap_or_else(Reply::Cannot) })
            }
            (Lane::Vote, Request::Vote(ballot)) => {
                Box::pin(
                    async move { desk.vote(ballot, false).await.unwrap_or_else(Reply::Cannot) },
                )
            }
            (Lane::Vote, Request::PreVote(ballot)) => {
                Box::pin(async move { desk.vote(ballot, true).await.unwrap_or_else(Reply::Cannot) })
            }
            (Lane::Vote, Request::Transfer(handover)) => {
                Box::pin(async move { desk.transfer(handover).await.unwrap_or_else(Reply::Cannot) })
            }
            (Lane::Forward, Request::Propose(command)) => Box::pin(async move {
                let Some(node) = desk.node() else {
                    return Reply::Proposed(Proposed::Stopping);
                };
                Reply::Proposed(node.propose_for_peer(command).await)
            }),
            (Lane::Talk, request) => {
                // Whoever names no cluster was asked nothing: it may say that it is anybody.
                let member = caller.from.filter(|_| caller.cluster.is_some());
                Box::pin(async move { desk.talk(member, request).await })
            }
            (lane, _) => Box::pin(ready(Reply::Cannot(format!(
                "this is not asked on the {lane:?} lane"
            )))),
        }
    }

    async fn talk(&self, member: Option<NodeId>, request: Request) -> Reply {
        match request {
            Request::Ask(Asking { mine }) => {
                match (mine, self.node()) {
                    (Some(facts), Some(node)) => {
                        let is_its_own = facts.node.is_some_and(|told| member == Some(told));
                        if is_its_own && facts.cluster == Some(node.inner.identity.cluster.0) {
                            node.inner.rounds.told(*facts);
                        }
                    }
                    (Some(facts), None) => self.note_caller(facts.address),
                    (None, _) => {}
                }
                match self.facts() {
                    Some(facts) => Reply::Facts(Box::new(facts)),
                    None => starting(),
                }
            }
            Request::Found(founding) => Reply::Done(self.found(founding).await),
            Request::ReadIndex | Request::Join(_) | Request::Enroll(_) | Request::Operate(_) => {
                match self.node() {
                    Some(node) => node.serve_peer(request).await,
                    None => starting(),
                }
            }
            Request::Fetch(fetching) => match self.log() {
                Some(wal) => mend::serve(wal, fetching).await,
                None => starting(),
            },
            Request::Append(_)
            | Request::Vote(_)
            | Request::PreVote(_)
            | Request::Transfer(_)
            | Request::Snapshot(_)
            | Request::Piece(_)
            | Request::Propose(_) => Reply::Cannot("this is not asked on this lane".to_owned()),
        }
    }

    fn note_caller(&self, address: String) {
        let mut inside = self.inside();
        if inside.callers.len() < CALLERS_MAX {
            inside.callers.insert(address);
        }
    }

    /// The log, where it is open.
    fn log(&self) -> Option<Wal> {
        match self.node() {
            Some(node) => Some(node.inner.wal.clone()),
            None => self
                .inside()
                .mending
                .as_ref()
                .map(|mending| mending.wal.clone()),
        }
    }

    async fn found(&self, founding: Founding) -> Result<String, String> {
        let founders = self.inside().founders.clone();
        let founders = founders.ok_or("this node is not waiting to be founded")?;
        let (sender, answer) = oneshot::channel();
        let sent = founders.try_send((founding, sender));
        sent.map_err(|_| "another founder is being heard")?;
        answer.await.map_err(|_| "this node is stopping")?
    }

    async fn append(&self, append: Append) -> Result<Reply, String> {
        let node = self.running()?;
        let leader = Vote::from(append.vote);
        let entries = append.entries.into_iter();
        let entries = entries.map(|entry| types::entry_out(entry.into()));
        let request = AppendEntriesRequest::<Types> {
            vote: types::vote_out(&leader),
            prev_log_id: append.prev.map(types::log_id_out),
            leader_commit: append.commit.map(types::log_id_out),
            entries: entries
                .collect::<Result<_, _>>()
                .map_err(|error| error.to_string())?,
        };
        let answer = node.inner.raft.append_entries(request).await;
        let appended = match answer.map_err(|error| error.to_string())? {
            AppendEntriesResponse::Success => Appended::All,
            AppendEntriesResponse::PartialSuccess(last) => {
                Appended::Upto(last.map(types::log_id_in))
            }
            AppendEntriesResponse::Conflict => Appended::Conflict,
            AppendEntriesResponse::HigherVote(vote) => {
                Appended::Newer(types::vote_in(&vote).into())
            }
        };
        if !matches!(appended, Appended::Newer(_)) {
            let mut inside = self.inside();
            let now = Instant::now();
            inside.heard = Some((leader.node, now));
            if inside.fed.is_none_or(|(vote, _)| vote != leader) {
                inside.fed = Some((leader, now));
            }
        }
        Ok(Reply::Appended(appended))
    }

    /// A vote or a pre-vote. Below its floor this node does not know what it has promised to keep;
    /// a candidate that is kept out does not know what it has.
    async fn vote(&self, ballot: Ballot, is_pre: bool) -> Result<Reply, String> {
        let node = self.running()?;
        let wal = &node.inner.wal;
        let candidate = Vote::from(ballot.vote).node;
        let is_kept_out = node.inner.gate.why_not(candidate).is_some();
        let floor = wal.floor();
        if is_kept_out || floor.is_some_and(|floor| !floor::reaches(ballot.last, floor)) {
            let mine = wal.vote();
            return Ok(Reply::Voted(Voted {
                vote: mine.map_or(ballot.vote, Into::into),
                is_granted: false,
                last: wal.last(),
            }));
        }
        let request = VoteRequest::<Types> {
            vote: types::vote_out(&ballot.vote.into()),
            last_log_id: ballot.last.map(types::log_id_out),
            leadership_transfer: ballot.is_handover,
        };
        let raft = &node.inner.raft;
        let answer = if is_pre {
            raft.pre_vote(request).await
        } else {
            raft.vote(request).await
        };
        let answer = answer.map_err(|error| error.to_string())?;
        Ok(Reply::Voted(Voted {
            vote: types::vote_in(&answer.vote).into(),
            is_granted: answer.vote_granted,
            last: answer.last_log_id.map(types::log_id_in),
        }))
    }

    async fn transfer(&self, handover: Handover) -> Result<Reply, String> {
        let node = self.running()?;
        // Leadership goes to nobody who cannot read its own log, or does not know what it promised.
        if node.inner.wal.floor().is_some() || 0 < node.inner.wal.holes() {
            let last = node.inner.wal.last();
            return Ok(Reply::Transferred(Err(Declined::Log(last))));
        }
        let request = TransferLeaderRequest::<Types>::new(
            types::vote_out(&handover.from.into()),
            u64::from(handover.to.0),
            handover.last.map(types::log_id_out),
        );
        let answer = node.inner.raft.handle_transfer_leader(request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        Ok(Reply::Transferred(answer.map_err(|error| match error {
            TransferLeaderError::VoteChanged { actual, .. } => {
                Declined::Vote(types::vote_in(&actual).into())
            }
            TransferLeaderError::LogNotFlushed { actual, .. } => {
                Declined::Log(actual.map(types::log_id_in))
            }
        })))
    }

    /// Makes room for a checkpoint.
    pub(crate) async fn receive(&self, offer: Offer) -> Result<Receiving, String> {
        let node = self.running()?;
        let shelf = node.checkpoints().clone();
        self.newest.begin(offer, shelf).await
    }

    fn running(&self) -> Result<Node, String> {
        self.node().ok_or_else(|| STARTING.to_owned())
    }
}

const STARTING: &str = "this node is still starting";

fn starting() -> Reply {
    Reply::Cannot(STARTING.to_owned())
}
