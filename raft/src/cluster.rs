//! The cluster from the outside: who leads, how everybody stands, what a person may ask for.
//!
//! Holds: whatever only the leader can do is asked of it through whichever node was asked.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "any other message is out of place, also one that is not invented yet"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use storage::{Floor, Health, Index, LEVEL_MAX, LogId, NodeId};
use tracing::error;

use crate::error::Error;
use crate::facts;
use crate::floor;
use crate::node::Node;
use crate::peer::wire::{Operation, Reply, Request};
use crate::roster::{self, Seat};

/// A change of the members may have to wait for a catch-up.
const OPERATION_MAX: Duration = Duration::from_secs(30);
/// A leader that leads shows it in a round trip.
const READ_INDEX_MAX: Duration = Duration::from_secs(5);
/// Handing over at a stop: then the others find out by themselves.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);

impl Node {
    /// Never one of several.
    pub fn is_alone(&self) -> bool {
        !self.inner.identity.ever_had_peers
    }

    /// Everybody, in the order of their numbers.
    pub fn roster(&self) -> Vec<Seat> {
        roster::of(self)
    }

    /// Since the leader was last heard of; zero on the leader itself; `None`: there is none.
    pub fn contact(&self) -> Option<Duration> {
        if self.inner.leadership.borrow().is_some() {
            return Some(Duration::ZERO);
        }
        let leader = *self.inner.leader.borrow();
        self.inner.desk.heard(leader?)
    }

    /// An index such that whoever reads it applied reads everything that was acknowledged before the
    /// call. Returns once it is applied here.
    pub async fn read_index(&self) -> Result<Index, Error> {
        let until = tokio::time::Instant::now() + READ_INDEX_MAX;
        let leader = *self.inner.leader.borrow();
        let asked = self.ask_leader(Request::ReadIndex, READ_INDEX_MAX).await?;
        let Reply::ReadIndex(Some(index)) = asked else {
            return Err(Error::NotLeader { leader });
        };
        let mut applied = self.inner.applied.clone();
        let there = applied.wait_for(|applied| index <= *applied);
        match tokio::time::timeout_at(until, there).await {
            Ok(Ok(_)) => Ok(index),
            Ok(Err(_)) => Err(Error::Stopping),
            Err(_) => Err(Error::NotLeader { leader }),
        }
    }

    /// Hands leadership to a member, the best one if none is named; says who leads then.
    pub async fn transfer(&self, to: Option<NodeId>) -> Result<NodeId, Error> {
        let done = self.ask_operation(Operation::Transfer(to)).await?;
        let to = done.parse().map(NodeId);
        to.map_err(|_| cannot(format!("an odd answer: {done}")))
    }

    /// Takes a member out for good.
    pub async fn remove(&self, node: NodeId) -> Result<(), Error> {
        self.ask_operation(Operation::Remove(node)).await.map(drop)
    }

    /// Lets nodes that may have lost the end of their log vote again, where a voter that would know
    /// better is gone for good. Asks every member that answers; says what became of it.
    pub async fn accept_tail_loss(&self) -> Result<String, Error> {
        let mut words = vec![self.accept_tail_loss_here().await.map_err(cannot)?];
        let me = self.inner.identity.node;
        for (node, address) in self.members() {
            if node == me {
                continue;
            }
            let link = self
                .inner
                .rounds
                .link(node, &address, crate::peer::hello::Lane::Talk);
            let request = Request::Operate(Operation::AcceptTailLoss);
            words.push(match link.call(&request, READ_INDEX_MAX).await {
                Ok(Reply::Done(Ok(done))) => done,
                Ok(Reply::Done(Err(why)) | Reply::Cannot(why)) => format!("node {node}: {why}"),
                Ok(_) => format!("node {node}: an odd answer"),
                Err(error) => format!("node {node} {error}"),
            });
        }
        Ok(words.join("; "))
    }

    async fn ask_operation(&self, operation: Operation) -> Result<String, Error> {
        if self.is_alone() {
            return Err(cannot("this cluster has one node".to_owned()));
        }
        match self
            .ask_leader(Request::Operate(operation), OPERATION_MAX)
            .await?
        {
            Reply::Done(Ok(done)) => Ok(done),
            Reply::Done(Err(why)) | Reply::Cannot(why) => Err(cannot(why)),
            _ => Err(Error::Unknown),
        }
    }

    /// This node's floor comes down to the newest entry of all that answer, a majority at least.
    pub(crate) async fn accept_tail_loss_here(&self) -> Result<String, String> {
        let me = self.inner.identity.node;
        let Some(before) = self.inner.wal.floor() else {
            return Ok(format!("node {me} has all of its log"));
        };
        let seen = self.inner.rounds.seen();
        let voters = self.voters();
        let mut lasts: Vec<Option<LogId>> = vec![self.inner.wal.last()];
        for voter in voters.iter().filter(|voter| **voter != me) {
            let facts = seen.get(voter).and_then(|sight| sight.fresh());
            lasts.extend(facts.map(|facts| facts.last));
        }
        if lasts.len() <= voters.len() / 2 {
            return Err(format!(
                "only {} of {} voters answer node {me}: no majority",
                lasts.len(),
                voters.len()
            ));
        }
        let last = lasts.into_iter().flatten().max();
        let last = last.ok_or("no voter has any entry")?;
        if floor::reaches(Some(last), before) {
            return Ok(format!(
                "node {me} waits for an entry that another node has"
            ));
        }
        error!(from = ?before, to = %last, "a person accepts the loss of what this node may have acknowledged");
        self.set_floor(Some(Floor::Upto(last))).await;
        Ok(format!("node {me} votes for whoever has entry {last}"))
    }

    /// Hands leadership over if this node has it: before it stops.
    pub async fn hand_over(&self) {
        if self.inner.leadership.borrow().is_none() {
            return;
        }
        if let Some(heir) = self.heir().map(|heir| heir.node) {
            // Should it fail, the others elect somebody when this node is silent.
            drop(tokio::time::timeout(HAND_OVER_MAX, self.hand_to(heir)).await);
        }
    }

    /// Why there is no room for more on a majority, in words.
    pub fn crowded(&self) -> Option<String> {
        if self.is_alone() {
            return None;
        }
        let me = self.inner.identity.node;
        let leader = *self.inner.leader.borrow();
        let seen = self.inner.rounds.seen();
        let is_full = |voter: &NodeId| {
            if *voter == me {
                matches!(self.inner.wal.health(), Health::Full(_))
            } else {
                let facts = seen.get(voter).and_then(|sight| sight.fresh());
                facts.is_some_and(|facts| facts.is_full)
            }
        };
        let voters = self.voters();
        let full: Vec<_> = voters.iter().filter(|voter| is_full(voter)).collect();
        let has_room = voters.len() - full.len();
        let leader_is_full = leader.is_some_and(|leader| full.contains(&&leader));
        if full.is_empty() || (voters.len() / 2 < has_room && !leader_is_full) {
            return None;
        }
        let names: Vec<_> = full.iter().map(ToString::to_string).collect();
        Some(format!(
            "the disks of nodes {} are full, so no majority has room for more",
            names.join(" and ")
        ))
    }

    /// The highest level that every member supports; `None` while one was not heard of.
    pub fn level_of_all(&self) -> Option<u32> {
        let me = self.inner.identity.node;
        let seen = self.inner.rounds.seen();
        let mut level = LEVEL_MAX;
        for node in self.members().keys().filter(|node| **node != me) {
            level = level.min(seen.get(node)?.fresh()?.level_max);
        }
        Some(level)
    }

    /// Sets or lifts the floor, durably.
    pub(crate) async fn set_floor(&self, floor: Option<Floor>) {
        let (told, heard) = tokio::sync::oneshot::channel();
        self.inner
            .wal
            .set_floor(floor, Box::new(move |done| drop(told.send(done))));
        // Should it fail, the log is poisoned and the node stops.
        drop(heard.await);
    }

    /// Notes whose digests differ from this node's, and says so once.
    pub(crate) fn suspect(&self, others: BTreeMap<NodeId, Index>) {
        let mut suspects = self
            .inner
            .suspects
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if suspects.keys().ne(others.keys()) {
            for (node, index) in &others {
                error!(peer = %node, index = %index, "the state of a member differs from this node's");
            }
        }
        *suspects = others;
    }

    /// How it stands, as it would tell a peer.
    pub(crate) fn own_facts(&self) -> crate::peer::wire::Facts {
        facts::of(self)
    }
}

fn cannot(what: String) -> Error {
    Error::Cluster { what }
}
