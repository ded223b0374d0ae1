//! Twice a second every member asks every other how it stands, and acts on what it hears.
//!
//! Holds: nothing is decided by silence but "unreachable"; what a member said in an earlier life is
//! forgotten with that life. Acting is idempotent: a round that is lost changes nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftMetrics;
use storage::{LogId, NodeId};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::facts;
use crate::node::Node;
use crate::peer::hello::Lane;
use crate::peer::link::{Dialer, Link};
use crate::peer::wire::{Asking, Facts, Reply, Request};
use crate::react;
use crate::types::{self, Types};

/// Between two rounds.
const ROUND: Duration = Duration::from_millis(500);
/// A member that is well answers within microseconds.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Silence for so long, and a member counts as unreachable.
pub(crate) const SILENCE: Duration = Duration::from_secs(3);

/// What one member said last.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) facts: Option<Arc<Facts>>,
    /// When that was.
    pub(crate) at: Option<Instant>,
    /// Its last answer to a question of this node.
    answer: Option<Answer>,
    /// Why it does not answer.
    pub(crate) error: Option<String>,
    /// Since when it has been so, or has answered.
    pub(crate) since: Instant,
}

/// What was true at some moment after a question was put. What a member says unasked may be older:
/// nothing that must not be wrong follows from it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// When the question was put.
    pub(crate) asked: Instant,
    pub(crate) facts: Arc<Facts>,
}

impl Sight {
    /// What it said, if that is not too long ago.
    pub(crate) fn fresh(&self) -> Option<&Arc<Facts>> {
        let is_fresh = self.at.is_some_and(|at| at.elapsed() < SILENCE);
        self.facts.as_ref().filter(|_| is_fresh)
    }

    /// What it answered, if that is not too long ago.
    pub(crate) fn answer(&self) -> Option<&Answer> {
        let answer = self.answer.as_ref();
        answer.filter(|answer| answer.asked.elapsed() < SILENCE)
    }
}

type Links = BTreeMap<(NodeId, Lane), Arc<Link>>;

/// What all members said last, and the links to them. A clone is the same one.
#[derive(Clone, Debug)]
pub(crate) struct Rounds {
    seen: Arc<Mutex<BTreeMap<NodeId, Sight>>>,
    links: Arc<Mutex<Links>>,
    /// The newest entry that each member is known to have acknowledged, from whoever led.
    acked: Arc<Mutex<BTreeMap<NodeId, LogId>>>,
    dialer: Dialer,
    /// Makes the next round come at once.
    pub(crate) kick: Arc<Notify>,
}

impl Rounds {
    pub(crate) fn new(dialer: Dialer, kick: Arc<Notify>) -> Self {
        Self {
            seen: Arc::default(),
            links: Arc::default(),
            acked: Arc::default(),
            dialer,
            kick,
        }
    }

    /// The link to a member for one kind of request.
    pub(crate) fn link(&self, node: NodeId, address: &str, lane: Lane) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let known = links
            .get(&(node, lane))
            .filter(|link| link.address() == address);
        if let Some(link) = known {
            return Arc::clone(link);
        }
        let link = Arc::new(Link::new(self.dialer.clone(), lane, Some(node), address));
        links.insert((node, lane), Arc::clone(&link));
        link
    }

    /// Another node leads, or none: what was forwarded is not waited for any more. From a leader that
    /// was cut off no answer comes, and whoever leads next says what became of a command.
    pub(crate) fn give_up_forwarded(&self) {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        for ((_, lane), link) in &*links {
            if *lane == Lane::Forward {
                link.hang_up();
            }
        }
    }

    /// What everybody said last.
    pub(crate) fn seen(&self) -> BTreeMap<NodeId, Sight> {
        self.lock().clone()
    }

    /// A member says how it stands without being asked.
    pub(crate) fn told(&self, facts: Facts) {
        if let Some(node) = facts.node {
            self.learn(&facts);
            self.note(node, None, Ok(facts));
        }
    }

    /// What each member has acknowledged, as far as this node was told.
    pub(crate) fn acked(&self) -> BTreeMap<NodeId, LogId> {
        self.acks().clone()
    }

    /// A member has acknowledged this.
    pub(crate) fn has_acked(&self, member: NodeId, id: LogId) {
        let mut acked = self.acks();
        let newest = acked.entry(member).or_insert(id);
        *newest = id.max(*newest);
    }

    /// A leader says what was acknowledged to it.
    fn learn(&self, facts: &Facts) {
        for (member, id) in &facts.acked {
            self.has_acked(*member, *id);
        }
    }

    /// A member knows that it has lost what it may have acknowledged.
    pub(crate) fn forget_acked(&self, member: NodeId) {
        self.acks().remove(&member);
    }

    fn acks(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, LogId>> {
        self.acked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `asked`: when it was asked; `None`: it was not.
    fn note(&self, node: NodeId, asked: Option<Instant>, heard: Result<Facts, String>) {
        let mut seen = self.lock();
        let now = Instant::now();
        let sight = seen.entry(node).or_insert(Sight {
            facts: None,
            at: None,
            answer: None,
            error: None,
            since: now,
        });
        let had_answer = sight.at.is_some_and(|at| at.elapsed() < SILENCE);
        match heard {
            Ok(facts) => {
                let is_new_life = sight
                    .facts
                    .as_ref()
                    .is_some_and(|old| old.boot != facts.boot);
                if !had_answer || is_new_life {
                    sight.since = now;
                }
                if !had_answer && sight.error.is_some() {
                    info!(peer = %node, "a member answers again");
                }
                let facts = Arc::new(facts);
                if let Some(asked) = asked {
                    let facts = Arc::clone(&facts);
                    sight.answer = Some(Answer { asked, facts });
                }
                sight.facts = Some(facts);
                sight.at = Some(now);
                sight.error = None;
            }
            Err(why) => {
                if !had_answer && sight.error.is_none() {
                    sight.since = now;
                    warn!(peer = %node, error = why, "a member does not answer");
                }
                if !had_answer {
                    sight.error = Some(why);
                }
            }
        }
    }

    /// Whoever is no member any more is forgotten.
    fn keep_only(&self, members: &BTreeMap<NodeId, String>) {
        self.lock().retain(|node, _| members.contains_key(node));
        self.acks().retain(|node, _| members.contains_key(node));
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|(node, _), _| members.contains_key(node));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Sight>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks and acts until the node stops.
pub(crate) async fn run(node: Node) {
    let rounds = node.inner.rounds.clone();
    let stop = node.inner.stop.clone();
    let mut reactions = react::Reactions::default();
    loop {
        let round = async {
            let before = Before::now(&node);
            // Whoever cannot wait for the next round does not wait for those who are silent in this one.
            let is_kicked = tokio::select! {
                biased;
                () = rounds.kick.notified() => true,
                () = ask_all(&node, &rounds, &before) => false,
            };
            reactions.act(&node).await;
            tokio::select! {
                biased;
                () = rounds.kick.notified(), if !is_kicked => {}
                () = tokio::time::sleep(ROUND), if !is_kicked => {}
                else => {}
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = round => {}
        }
    }
}

/// What was known before anybody was asked: whatever a member answers must not fall behind it.
#[derive(Debug)]
pub(crate) struct Before {
    /// When that was: an answer to an earlier question does not tell.
    pub(crate) at: Instant,
    /// How far each follower's log was like this node's; empty where it did not lead.
    pub(crate) matched: BTreeMap<NodeId, LogId>,
    /// What each member had acknowledged to anybody.
    pub(crate) acked: BTreeMap<NodeId, LogId>,
}

impl Before {
    fn now(node: &Node) -> Self {
        let matched = matched(node);
        for (member, id) in &matched {
            node.inner.rounds.has_acked(*member, *id);
        }
        let acked = node.inner.rounds.acked();
        let at = Instant::now();
        Self { at, matched, acked }
    }
}

/// How far each follower's log is known to be like this node's; empty where this node does not lead.
pub(crate) fn matched(node: &Node) -> BTreeMap<NodeId, LogId> {
    acked(&node.inner.raft.metrics().borrow_watched())
}

/// The same, out of what openraft shows.
pub(crate) fn acked(metrics: &RaftMetrics<Types>) -> BTreeMap<NodeId, LogId> {
    let all = metrics.replication.iter().flatten();
    all.filter_map(|(node, id)| Some((types::node_in(*node), types::log_id_in((*id)?))))
        .collect()
}

async fn ask_all(node: &Node, rounds: &Rounds, before: &Before) {
    let members = node.members();
    rounds.keep_only(&members);
    let is_member = |member| members.contains_key(&member);
    node.inner.gate.keep_only(is_member);
    node.inner.sending.keep_only(is_member);
    let mine = facts::of(node);
    let me = node.inner.identity.node;
    let asked = members
        .iter()
        .filter(|(other, _)| **other != me)
        .map(|(other, address)| {
            let request = Request::Ask(Asking {
                mine: Some(Box::new(mine.clone())),
            });
            let link = rounds.link(*other, address, Lane::Talk);
            async move {
                let asked = Instant::now();
                let heard = match link.call(&request, ANSWER_MAX).await {
                    Ok(Reply::Facts(facts)) if facts.node == Some(*other) => Ok(*facts),
                    Ok(Reply::Cannot(why)) => Err(why),
                    Ok(_) => Err("it answered something else".to_owned()),
                    Err(error) => Err(error.to_string()),
                };
                if let Ok(facts) = &heard {
                    rounds.learn(facts);
                }
                rounds.note(*other, Some(asked), heard);
                react::judge_life(node, before, *other).await;
            }
        });
    futures::future::join_all(asked).await;
}
