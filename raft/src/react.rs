//! What follows from how the others stand.
//!
//! Holds: each reaction is safe to be late or to be done twice.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use storage::{Floor, Health, LogId, NodeId, Vote};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::divergence;
use crate::facts;
use crate::floor::{self, Reign, Voter};
use crate::node::Node;
use crate::peer::wire::Facts;
use crate::roster;
use crate::rounds::{self, Before, Sight};

/// A leader that is not well tries to hand over this often.
const HAND_OVER_AGAIN: Duration = Duration::from_secs(10);

/// What is remembered from round to round.
#[derive(Debug, Default)]
pub(crate) struct Reactions {
    handed_over: Option<Instant>,
    is_floored: Option<bool>,
    is_damaged: bool,
    is_kept_down: Option<bool>,
}

impl Reactions {
    /// Acts on what was heard.
    pub(crate) async fn act(&mut self, node: &Node) {
        self.floor(node).await;
        self.stand_or_not(node);
        self.hand_over(node).await;
        compare(node);
    }

    /// A floored node stands for no election, and one with holes in its log neither; it is floored no
    /// longer once it has caught up.
    async fn floor(&mut self, node: &Node) {
        let wal = &node.inner.wal;
        let before = wal.floor();
        if let Some(floor) = before {
            if let Some(low) = lower(node, floor) {
                error!(
                    from = ?floor, to = ?low,
                    "all voters answer and none leads: the floor comes down to the newest entry that any of them has; \
                     what was acknowledged above it, if anything, is lost"
                );
                node.set_floor(Some(low)).await;
            } else if has_caught_up(node, floor) {
                info!("the log covers all that the leader has committed: the floor is lifted");
                node.set_floor(None).await;
            }
        }
        let is_floored = self::is_floored(node);
        if self.is_floored != Some(is_floored) && is_floored {
            warn!(
                "this node may have lost the end of its log: it does not vote for anybody who has less, and does \
                 not stand for election, until it has caught up"
            );
        }
        self.is_floored = Some(is_floored);
    }

    /// Whoever is floored or damaged, or a member no more, stands for no election.
    fn stand_or_not(&mut self, node: &Node) {
        let is_removed = is_removed(node);
        if node.inner.is_removed.swap(is_removed, Ordering::Relaxed) != is_removed && is_removed {
            error!("{}", roster::REMOVED);
        }
        let entries = node.inner.wal.holes();
        let is_damaged = 0 < entries;
        if is_damaged && !self.is_damaged {
            warn!(
                entries,
                "the log is damaged: this node does not stand for election until peers have repaired it"
            );
        }
        self.is_damaged = is_damaged;
        let is_kept_down = is_floored(node) || is_removed || is_damaged;
        if self.is_kept_down != Some(is_kept_down) {
            self.is_kept_down = Some(is_kept_down);
            node.inner.raft.runtime_config().elect(!is_kept_down);
        }
    }

    /// A leader whose disk is slow or full lets somebody lead whose disk is not; one that cannot serve
    /// all tasks, somebody who can.
    async fn hand_over(&mut self, node: &Node) {
        if node.inner.leadership.borrow().is_none() {
            return;
        }
        let is_full = matches!(node.inner.wal.health(), Health::Full(_));
        let lacks = node.inner.lacks();
        // Whoever lacks something hands over to nobody who does too: it would only go back and forth.
        let (why, must_be_able) = if is_full {
            ("its disk is full", false)
        } else if node.inner.pulse.is_sick() {
            ("its disk is slow", false)
        } else if 0 < node.inner.wal.holes() {
            ("its log is damaged", false)
        } else if let Some(lacks) = &lacks {
            (lacks.as_str(), true)
        } else {
            return;
        };
        if self
            .handed_over
            .is_some_and(|at| at.elapsed() < HAND_OVER_AGAIN)
        {
            return;
        }
        self.handed_over = Some(Instant::now());
        let heir = node.heir().filter(|heir| heir.is_able || !must_be_able);
        if let Some(to) = heir.map(|heir| heir.node) {
            warn!(peer = %to, error = why, "this node hands leadership over");
            if let Err(error) = node.hand_to(to).await {
                warn!(%error, peer = %to, "leadership was not taken");
            }
        }
    }
}

fn is_floored(node: &Node) -> bool {
    let (floor, last) = (node.inner.wal.floor(), node.inner.wal.last());
    floor.is_some_and(|floor| !floor::reaches(last, floor))
}

/// Whether this node was taken out: by its own log, or by a later one that somebody else has.
fn is_removed(node: &Node) -> bool {
    let me = node.inner.identity.node;
    let mine = facts::of(node);
    let has_me = |facts: &Facts| facts.members.iter().any(|(member, _)| *member == me);
    if mine.members.is_empty() {
        return false;
    }
    if !has_me(&mine) {
        // Whoever joins has not come to its own entry yet.
        return !node.inner.identity.is_joining;
    }
    let seen = node.inner.rounds.seen();
    let mut answers = seen.values().filter_map(Sight::answer);
    answers.any(|answer| {
        let facts = &answer.facts;
        let committed = facts.committed.map(|id| id.index);
        mine.members_at < facts.members_at && Some(facts.members_at) <= committed && !has_me(facts)
    })
}

/// Lets the life of a member in that has just answered, or keeps it out, by how its log ends now. At
/// once: a leader that is new waits for this before it sends anything, and whoever is silent must not
/// make it wait.
pub(crate) async fn judge_life(node: &Node, before: &Before, member: NodeId) {
    let (gate, sending) = (&node.inner.gate, &node.inner.sending);
    let Some(sight) = node.inner.rounds.seen().remove(&member) else {
        return;
    };
    // What it said before may rightly be less than it has acknowledged since.
    let answer = sight.answer().filter(|answer| before.at <= answer.asked);
    let Some(answer) = answer.filter(|answer| answer.facts.is_running) else {
        return;
    };
    let facts = &answer.facts;
    let is_known = gate.knows(member, facts.boot);
    let had = if is_known {
        // Whoever follows somebody newer may rightly have had its log cut.
        let is_cut = newer(facts, node.inner.wal.vote());
        before.matched.get(&member).copied().filter(|_| !is_cut)
    } else {
        // A life that is new is sent nothing yet, so what is known by now an earlier one has said.
        let matched = rounds::matched(node).get(&member).copied();
        matched.max(before.acked.get(&member).copied())
    };
    let is_short = facts.last < had;
    let last = facts.last.map(|last| last.index).unwrap_or_default();
    let why_not = match had.filter(|_| is_short) {
        Some(had) if facts.floor.is_some() => match let_back(node, member, facts, had).await {
            Ok(()) => None,
            Err(Later) => return,
        },
        Some(had) => Some(older(facts, had)),
        None if is_known => gate.why_not(member),
        None => None,
    };
    if facts.floor.is_some() {
        node.inner.rounds.forget_acked(member);
    }
    match &why_not {
        Some(why) if gate.why_not(member).as_ref() != Some(why) => {
            error!(peer = %member, error = why, "a member is kept out");
            sending.end(member);
        }
        Some(_) => {}
        None => sending.heard(member, last),
    }
    gate.judge(member, facts.boot, answer.asked, why_not);
}

/// Whether whoever says this has seen a later election than this node.
fn newer(facts: &Facts, own: Option<Vote>) -> bool {
    let rank = |vote: Vote| (vote.term, vote.node);
    facts.vote.map(|vote| rank(vote.into())) > own.map(rank)
}

/// It cannot be said yet: the next round knows more.
struct Later;

/// A follower has less than it had acknowledged, and knows of it: it may go back, once.
async fn let_back(node: &Node, member: NodeId, facts: &Facts, had: LogId) -> Result<(), Later> {
    let ends = ends(facts);
    warn!(peer = %member, ends, %had, "a member lost the end of its log and is sent it again");
    if node.inner.leadership.borrow().is_none() {
        // A later leader of this node begins with what it hears then.
        return Ok(());
    }
    let number = u64::from(member.0);
    let trigger = node.inner.raft.trigger();
    match trigger.allow_next_revert(&number, true).await {
        Ok(Ok(())) => Ok(()),
        // This node leads no more, or is stopping.
        Ok(Err(_)) | Err(_) => Err(Later),
    }
}

fn ends(facts: &Facts) -> String {
    let nothing = || "nothing".to_owned();
    facts.last.map_or_else(nothing, |last| last.to_string())
}

fn older(facts: &Facts, had: LogId) -> String {
    format!(
        "its log ends at {}, and it had acknowledged entries up to {had}: its disk is an older one. \
         Empty its data directory, and it joins under a fresh number",
        ends(facts)
    )
}

/// What this node's floor comes down to, if all voters are there and none leads.
fn lower(node: &Node, floor: Floor) -> Option<Floor> {
    let mine = facts::of(node);
    let me = node.inner.identity.node;
    let seen = node.inner.rounds.seen();
    let mut asked = node.voters();
    // Who knows of another membership may know of voters that this node does not ask: then it stays.
    for facts in seen.values().filter_map(|sight| sight.facts.as_deref()) {
        if mine.members_at <= facts.members_at && mine.members != facts.members {
            asked.extend(facts.members.iter().map(|(member, _)| *member));
        }
    }
    let mut voters = Vec::new();
    for voter in asked {
        let facts = if voter == me {
            &mine
        } else {
            &*seen.get(&voter)?.answer()?.facts
        };
        voters.push(Voter {
            is_running: facts.is_running,
            last: facts.last,
            has_leader: facts.leader.is_some(),
        });
    }
    floor::lowered(floor, &voters)
}

/// Whether this node's log covers what its present leader has committed in its own reign.
fn has_caught_up(node: &Node, floor: Floor) -> bool {
    let Some(leader) = *node.inner.leader.borrow() else {
        return false;
    };
    let me = node.inner.identity.node;
    let facts = if leader == me {
        facts::of(node)
    } else {
        let seen = node.inner.rounds.seen();
        let Some(answer) = seen.get(&leader).and_then(Sight::answer) else {
            return false;
        };
        let fed = answer.facts.vote.map(Vote::from);
        let fed = fed.and_then(|vote| node.inner.desk.fed_since(vote));
        if fed.is_none_or(|fed| answer.asked < fed) {
            return false;
        }
        (*answer.facts).clone()
    };
    let wal = &node.inner.wal;
    let (Some(vote), Some(committed), Some(last)) = (facts.vote, facts.committed, wal.last())
    else {
        return false;
    };
    let reign = Reign {
        vote: vote.into(),
        committed,
    };
    reign.vote.node == leader && wal.vote() == Some(reign.vote) && reign.is_covered(floor, last)
}

/// Digests at equal indexes are equal, or somebody is wrong.
fn compare(node: &Node) {
    let mine = facts::of(node);
    let mut all = vec![mine];
    let seen = node.inner.rounds.seen();
    all.extend(
        seen.values()
            .filter_map(|sight| sight.fresh().map(|facts| (**facts).clone())),
    );
    match divergence::verdict(node.inner.identity.node, &all) {
        divergence::Verdict::Equal => node.suspect(BTreeMap::new()),
        divergence::Verdict::Minority(why) => {
            error!(error = why, "this node stops");
            node.inner.halt.set(&why);
        }
        divergence::Verdict::Suspects(others) => node.suspect(others),
    }
}
