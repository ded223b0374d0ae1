//! Who the members are, and how that changes: join, replace, remove, hand over.
//!
//! Holds:
//! - A number is given once: it is the index of an entry that was committed for it, so no two nodes
//!   and no two lives of a disk ever share one.
//! - A node that joins has the whole log before it votes, and takes the old voter's place in one joint
//!   change: at no moment does a majority exist that did not have everything.
//! - One change at a time: whoever comes while one is under way is told to come again.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "any other message is out of place, also one that is not invented yet"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::alias::LogIdOf;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::{Precondition, ReadPolicy};
use storage::{Index, LogId, NodeId};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::error::Error;
use crate::node::Node;
use crate::peer::hello::Lane;
use crate::peer::wire::{Enrolling, Joined, Joining, Operation, Reply, Request};
use crate::types::{self, Peer, Types};

/// A new member may take so long to get the whole log: 10 TiB over a slow line.
const CATCH_UP_MAX: Duration = Duration::from_hours(24);
/// It counts as caught up when it is this close behind: the joint change waits for the rest.
const CLOSE: u64 = 64;
/// How long a hand-over may take until it is said to have failed.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);
/// A change that is done shows within this on a node that is not stuck.
const SHOWN_MAX: Duration = Duration::from_secs(5);
/// Two changes of the members, each of them synced by a majority.
const REMOVE_MAX: Duration = Duration::from_secs(20);

const NOBODY: &str = "there is nobody who could lead instead";

/// A voter that is well; the greater, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Heir {
    /// It can serve all tasks.
    pub(crate) is_able: bool,
    last: Option<LogId>,
    pub(crate) node: NodeId,
}

impl Node {
    /// All members by number, with their addresses.
    pub(crate) fn members(&self) -> BTreeMap<NodeId, String> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        crate::codec::members(metrics.membership_config.membership())
            .into_iter()
            .collect()
    }

    /// Those that vote.
    pub(crate) fn voters(&self) -> BTreeSet<NodeId> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let voters = metrics.membership_config.membership().voter_ids();
        voters.map(types::node_in).collect()
    }

    /// Answers a peer, or a person through this node, where openraft does not.
    pub(crate) async fn serve_peer(&self, request: Request) -> Reply {
        match request {
            Request::ReadIndex => Reply::ReadIndex(self.read_index_here().await),
            Request::Join(Joining { address }) => Reply::Joined(self.give_number(&address).await),
            Request::Enroll(enrolling) => Reply::Done(self.enroll_apart(enrolling).await),
            Request::Operate(operation) => Reply::Done(self.operate(operation).await),
            _ => Reply::Cannot("this is not asked here".to_owned()),
        }
    }

    /// The index up to which one must read; `None` where this node cannot show that it leads.
    pub(crate) async fn read_index_here(&self) -> Option<Index> {
        let raft = &self.inner.raft;
        let read = raft.get_read_log_id(ReadPolicy::ReadIndex);
        let read = tokio::time::timeout(HAND_OVER_MAX, read).await.ok()?;
        let (id, _) = read.ok()?;
        Some(types::index_in(id.index()))
    }

    /// A number for whoever has an empty disk.
    async fn give_number(&self, address: &str) -> Result<Joined, String> {
        self.leads()?;
        let taken = self.members().keys().max().copied().unwrap_or_default();
        loop {
            let blank = self.inner.raft.write_blank().await.map_err(refusal)?;
            let index = types::index_in(blank.log_id.index);
            let number = u32::try_from(index.0);
            let node = NodeId(number.map_err(|_| "all numbers of nodes are used up")?);
            // The first entries of a log are as low as the founders' numbers.
            if taken < node {
                info!(node = %node, address, "a node with an empty disk gets a number");
                return Ok(Joined {
                    cluster: self.inner.identity.cluster.0,
                    node,
                });
            }
        }
    }

    /// In a task of its own: a caller that goes away must not leave a change half made.
    async fn enroll_apart(&self, enrolling: Enrolling) -> Result<String, String> {
        let node = self.clone();
        self.apart(async move { node.enroll(enrolling).await })
            .await
    }

    async fn apart<F>(&self, work: F) -> Result<String, String>
    where
        F: Future<Output = Result<String, String>> + Send + 'static,
    {
        let (sender, done) = oneshot::channel();
        let stop = self.inner.stop.clone();
        self.inner.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                result = work => drop(sender.send(result)), // the caller may have gone
            }
        });
        done.await.map_err(|_| "this node is stopping".to_owned())?
    }

    /// Makes a node a voter: a learner first, then in place of whoever had its address.
    async fn enroll(&self, enrolling: Enrolling) -> Result<String, String> {
        let Enrolling { node, address } = enrolling;
        let Ok(_one_at_a_time) = self.inner.changing.try_lock() else {
            return Err("another change of the members is under way".to_owned());
        };
        self.leads()?;
        self.learn_own_address().await?;
        if self.voters().contains(&node) {
            return Ok(format!("node {node} is a voter"));
        }
        let number = u64::from(node.0);
        let peer = Peer {
            address: address.clone(),
        };
        info!(node = %node, address, "a node joins: it is sent the log");
        let added = self.inner.raft.add_learner(number, peer, false).await;
        added.map_err(refusal)?;
        self.wait_until_close(number).await?;
        let members = self.members();
        let same_place = members
            .iter()
            .filter(|(other, at)| **other != node && **at == address);
        let old: BTreeSet<_> = same_place.map(|(other, _)| u64::from(other.0)).collect();
        let mut changes = vec![ChangeMembers::AddVoterIds(BTreeSet::from([number]))];
        if !old.is_empty() {
            changes.push(ChangeMembers::RemoveVoters(old.clone()));
        }
        self.change(ChangeMembers::Batch(changes)).await?;
        self.drop_learners(&old).await;
        let gone: Vec<_> = old.iter().map(ToString::to_string).collect();
        info!(node = %node, replaced = gone.join(" "), "a node has joined");
        Ok(format!("node {node} has joined"))
    }

    /// The learner has all but the last few entries.
    async fn wait_until_close(&self, number: u64) -> Result<(), String> {
        let wait = self.inner.raft.wait(Some(CATCH_UP_MAX));
        let close = wait.metrics(
            |seen| {
                let last = seen.last_log_index.unwrap_or(0);
                let matched = seen.replication.as_ref().and_then(|all| all.get(&number));
                let has = matched.copied().flatten().map(|id| id.index);
                seen.replication.is_none() || has.is_some_and(|has| last <= has + CLOSE)
            },
            "a new member has the log",
        );
        close.await.map_err(|error| error.to_string())?;
        self.leads()
    }

    /// A voter that was replaced may be left as one that only listens, after a change that was cut
    /// short.
    async fn drop_learners(&self, old: &BTreeSet<u64>) {
        let members = self.members();
        let voters = self.voters();
        let left = old.iter().copied().filter(|number| {
            let node = types::node_in(*number);
            members.contains_key(&node) && !voters.contains(&node)
        });
        let left: BTreeSet<_> = left.collect();
        if !left.is_empty()
            && let Err(why) = self.change(ChangeMembers::RemoveNodes(left)).await
        {
            warn!(error = why, "a replaced member is still listed");
        }
    }

    /// A node that was single did not need to say where it is.
    async fn learn_own_address(&self) -> Result<(), String> {
        let me = self.inner.identity.node;
        let members = self.members();
        let address = self.inner.address.clone();
        if members.get(&me).is_none_or(|known| *known == address) || 1 < self.voters().len() {
            return Ok(());
        }
        let nodes = BTreeMap::from([(u64::from(me.0), Peer { address })]);
        self.change(ChangeMembers::SetNodes(nodes)).await
    }

    async fn change(&self, changes: ChangeMembers<u64, Peer>) -> Result<(), String> {
        let at = {
            let metrics = self.inner.raft.metrics();
            let metrics = metrics.borrow_watched();
            *metrics.membership_config.log_id()
        };
        let still: Precondition<Types> = Precondition::LastMembershipLogId {
            last_membership_log_id: at as Option<LogIdOf<Types>>,
        };
        let raft = &self.inner.raft;
        let changed = raft.change_membership_if(changes, false, [still]).await;
        let changed = Some(changed.map_err(refusal)?.log_id);
        // The metrics follow a moment later, and whoever goes on from here reads the members there.
        let wait = raft.wait(Some(SHOWN_MAX));
        let shown = wait.metrics(
            |seen| changed <= *seen.membership_config.log_id(),
            "the members as they are now",
        );
        shown.await.map(drop).map_err(|error| error.to_string())
    }

    /// What a person asked for, on the leader; `AcceptTailLoss` on any node.
    pub(crate) async fn operate(&self, operation: Operation) -> Result<String, String> {
        match operation {
            Operation::Transfer(to) => {
                self.leads()?;
                let to = match to {
                    Some(to) => to,
                    None => self.heir().ok_or(NOBODY)?.node,
                };
                self.hand_to(to).await.map_err(|error| error.to_string())?;
                Ok(to.to_string())
            }
            Operation::Remove(node) => {
                let this = self.clone();
                self.apart(async move { this.remove_here(node).await })
                    .await
            }
            Operation::AcceptTailLoss => self.accept_tail_loss_here().await,
        }
    }

    /// A leader that goes has somebody else lead first: who is a member no more hears of no later leader,
    /// and would go on believing that it leads.
    async fn remove_self(&self) -> Result<String, String> {
        let me = self.inner.identity.node;
        let heir = self.heir().ok_or(NOBODY)?.node;
        self.hand_to(heir)
            .await
            .map_err(|error| error.to_string())?;
        let address = self.members().remove(&heir).unwrap_or_default();
        let link = self.inner.rounds.link(heir, &address, Lane::Talk);
        let request = Request::Operate(Operation::Remove(me));
        match link.call(&request, REMOVE_MAX).await {
            Ok(Reply::Done(done)) => done,
            Ok(Reply::Cannot(why)) => Err(why),
            Ok(_) => Err("the leader answered something else".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn remove_here(&self, node: NodeId) -> Result<String, String> {
        if node == self.inner.identity.node && 1 < self.voters().len() {
            self.leads()?;
            return self.remove_self().await;
        }
        let Ok(_one_at_a_time) = self.inner.changing.try_lock() else {
            return Err("another change of the members is under way".to_owned());
        };
        self.leads()?;
        let voters = self.voters();
        if !self.members().contains_key(&node) {
            return Err(format!("there is no node {node}"));
        }
        let number = BTreeSet::from([u64::from(node.0)]);
        if voters.contains(&node) {
            if voters.len() == 1 {
                return Err(format!("node {node} is the last one"));
            }
            self.change(ChangeMembers::RemoveVoters(number.clone()))
                .await?;
        }
        if self.members().contains_key(&node) {
            self.change(ChangeMembers::RemoveNodes(number)).await?;
        }
        Ok(format!("node {node} is a member no more"))
    }

    /// Who should lead instead of this node: of the voters that are well one that can serve all tasks,
    /// if there is one, and of those the one that has most of the log.
    pub(crate) fn heir(&self) -> Option<Heir> {
        let me = self.inner.identity.node;
        let voters = self.voters();
        let seen = self.inner.rounds.seen();
        let well = seen.iter().filter_map(|(node, sight)| {
            let facts = sight.fresh()?;
            let is_well = facts.is_running
                && !facts.is_full
                && !facts.is_sick
                && facts.floor.is_none()
                && facts.holes == 0;
            (is_well && *node != me && voters.contains(node)).then_some(Heir {
                is_able: facts.lacks.is_none(),
                last: facts.last,
                node: *node,
            })
        });
        well.max()
    }

    /// Hands leadership to a member and waits until it has it.
    pub(crate) async fn hand_to(&self, to: NodeId) -> Result<(), Error> {
        let cannot = |what: String| Error::Cluster { what };
        if !self.voters().contains(&to) {
            return Err(cannot(format!("node {to} does not vote")));
        }
        if to == self.inner.identity.node {
            return Ok(());
        }
        // One that does not take it costs an election.
        let seen = self.inner.rounds.seen();
        let facts = seen.get(&to).and_then(|sight| sight.fresh());
        if facts.is_some_and(|facts| facts.floor.is_some()) {
            return Err(cannot(format!(
                "node {to} may have lost the end of its log and takes no leadership until it has caught up"
            )));
        }
        let raft = &self.inner.raft;
        let asked = raft.trigger().transfer_leader(u64::from(to.0)).await;
        asked.map_err(|fatal| self.stopped(&fatal))?;
        let mut leader = self.inner.leader.clone();
        let taken = leader.wait_for(|leader| *leader == Some(to));
        match tokio::time::timeout(HAND_OVER_MAX, taken).await {
            Ok(_) => Ok(()),
            Err(_) => Err(cannot(format!(
                "node {to} did not take over within {} s: is it up, and has it caught up?",
                HAND_OVER_MAX.as_secs()
            ))),
        }
    }

    fn leads(&self) -> Result<(), String> {
        let leader = *self.inner.leader.borrow();
        if self.inner.leadership.borrow().is_some() {
            Ok(())
        } else {
            Err(Error::NotLeader { leader }.to_string())
        }
    }
}

fn refusal(error: RaftError<Types, ClientWriteError<Types>>) -> String {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => Error::NotLeader {
            leader: to.leader_id.map(types::node_in),
        }
        .to_string(),
        RaftError::APIError(error) => error.to_string(),
        RaftError::Fatal(fatal) => fatal.to_string(),
    }
}
