//! Filling the holes of a damaged log with what peers still have.
//!
//! ```text
//!  holes ─ ask everybody how they stand ─ fetch from each in turn ─ Wal::repair checks each copy ─ synced
//!            │                                                        │
//!            └ nobody serves: wait, and say for whom                  └ the leader serves, and nothing fits: hopeless
//! ```
//! Holds:
//! - A copy counts only if what is left of the lost bytes confirms it, so it does not matter who gives
//!   it, whether it was committed there, or whether that node's own log has holes.
//! - At a start all holes are filled before raft runs: a log with a hole elects nobody and is read by
//!   nobody. While raft runs this node is handed no leadership and stands for no election until they are
//!   filled; openraft's reads of a hole wait for that (see `log_store`).
//! - Nothing is given up while somebody could still help: "hopeless" is said only after the
//!   leader, whose log is whole, has answered.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures::future::join_all;
use storage::{Entry, Index, RepairError, Wal};
use tracing::{error, info, warn};

use crate::error::Error;
use crate::facts;
use crate::node::Node;
use crate::peer::hello::Lane;
use crate::peer::link::{Dialer, Link, LinkError};
use crate::peer::wire::{Asking, Facts, Fetching, Reply, Request, WireEntry};
use crate::start::blocking;

/// Between two looks at the holes, and between two tries to fill them.
const AGAIN: Duration = Duration::from_millis(200);
/// A peer that is up answers within microseconds.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Some megabytes over a slow line.
const FETCHED_MAX: Duration = Duration::from_secs(30);
/// Bytes of entries in one answer.
const FETCH_BYTES_MAX: usize = 4 << 20;
/// Bytes of copies that are held at once; a batch of the log is never larger.
const COPIES_BYTES_MAX: usize = 8 << 20;

/// Those who may have what was lost.
pub(crate) struct Helpers {
    dialer: Dialer,
    /// This node's own address, and its cluster, if that is known.
    own: String,
    cluster: Option<[u8; 16]>,
    links: BTreeMap<String, Arc<Link>>,
}

/// What one pass came to.
#[derive(Debug)]
pub(crate) enum Pass {
    /// No hole is left.
    Whole,
    /// Some were filled.
    Better,
    /// Nobody can help yet, in words.
    Waiting(String),
    /// Nobody ever will, in words.
    Hopeless(String),
}

/// What became of copies.
#[derive(Debug, Default)]
struct Filled {
    count: u64,
    /// Why the first one that does not fit does not.
    refused: Option<String>,
}

impl Helpers {
    pub(crate) fn new(dialer: &Dialer, own: &str, cluster: Option<[u8; 16]>) -> Self {
        Self {
            dialer: dialer.clone(),
            own: own.to_owned(),
            cluster,
            links: BTreeMap::new(),
        }
    }

    /// Somebody may be at these addresses.
    pub(crate) fn learn(&mut self, addresses: impl IntoIterator<Item = String>) {
        for address in addresses {
            if address != self.own && !address.is_empty() && !self.links.contains_key(&address) {
                let link = Link::new(self.dialer.clone(), Lane::Talk, None, &address);
                self.links.insert(address, Arc::new(link));
            }
        }
    }

    /// How they stand, or why that is not known.
    pub(crate) async fn ask(&mut self) -> Vec<(Arc<Link>, Result<Facts, String>)> {
        let cluster = self.cluster;
        let asked = self.links.values().map(async |link| {
            let request = Request::Ask(Asking::default());
            let heard = match link.call(&request, ANSWER_MAX).await {
                Ok(Reply::Facts(facts)) if cluster.is_none() || facts.cluster == cluster => {
                    Ok(*facts)
                }
                Ok(Reply::Facts(_)) => Err("it is no member of this cluster".to_owned()),
                other => Err(in_words(other)),
            };
            (Arc::clone(link), heard)
        });
        let heard = join_all(asked).await;
        let facts = heard.iter().filter_map(|(_, heard)| heard.as_ref().ok());
        let members: Vec<_> = facts
            .flat_map(|facts| facts.members.iter().map(|(_, address)| address.clone()))
            .collect();
        self.learn(members);
        heard
    }

    /// Asks everybody once for everything that the log lacks.
    pub(crate) async fn pass(
        &mut self,
        wal: &Wal,
        tell: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Pass, Error> {
        let heard = self.ask().await;
        let leader = leader_in(&heard);
        let mut waits = Vec::new();
        let mut filled = Filled::default();
        let mut has_leader_served = false;
        for (link, facts) in heard {
            let (Some((first, last)), total) = (ends(&wal.lost()), wal.holes()) else {
                break;
            };
            let name = match &facts {
                Ok(Facts {
                    node: Some(node), ..
                }) => format!("node {node}"),
                Ok(_) => link.address().to_owned(),
                Err(why) => {
                    waits.push(format!("{} ({why})", link.address()));
                    continue;
                }
            };
            tell(format!(
                "repairing entries {first} to {last} of the log from {name}: {total} are left"
            ));
            let copies = match fetch(&link, &wal.lost()).await {
                Ok(copies) => copies,
                Err(why) => {
                    waits.push(format!("{} ({why})", link.address()));
                    continue;
                }
            };
            if facts.is_ok_and(|facts| facts.holes == 0 && Some(facts.address) == leader) {
                has_leader_served = true;
            }
            let wal = wal.clone();
            let more = blocking(move || fill(&wal, &copies)).await?;
            filled.count += more.count;
            filled.refused = filled.refused.or(more.refused);
        }
        let Some((first, last)) = ends(&wal.lost()) else {
            return Ok(Pass::Whole);
        };
        if 0 < filled.count {
            return Ok(Pass::Better);
        }
        let why = filled
            .refused
            .unwrap_or_else(|| "nobody who answers has them".to_owned());
        let words = format!(
            "{} entries of the log between {first} and {last} are damaged, and no peer's copy repairs them ({why})",
            wal.holes()
        );
        if has_leader_served {
            return Ok(Pass::Hopeless(words));
        }
        if leader.is_none() {
            waits.push("a leader".to_owned());
        }
        Ok(Pass::Waiting(format!(
            "{words}: waiting for {}",
            waits.join(", ")
        )))
    }
}

impl fmt::Debug for Helpers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helpers")
            .field("links", &self.links.keys())
            .finish_non_exhaustive()
    }
}

/// Where the leader is, by what those say who follow it or are it.
pub(crate) fn leader_in(heard: &[(Arc<Link>, Result<Facts, String>)]) -> Option<String> {
    facts::leader(heard.iter().filter_map(|(_, heard)| heard.as_ref().ok()))
}

/// Why an answer is none.
fn in_words(answer: Result<Reply, LinkError>) -> String {
    match answer {
        Ok(Reply::Cannot(why)) => why,
        Ok(_) => "it answered something else".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn ends(lost: &[RangeInclusive<Index>]) -> Option<(Index, Index)> {
    Some((*lost.first()?.start(), *lost.last()?.end()))
}

/// What a peer has of these, as much as is held at once.
async fn fetch(link: &Link, lost: &[RangeInclusive<Index>]) -> Result<Vec<Entry>, String> {
    let mut copies: Vec<Entry> = Vec::new();
    let mut bytes = 0;
    for range in lost {
        let (mut first, last) = (*range.start(), *range.end());
        while first <= last && bytes < COPIES_BYTES_MAX {
            let request = Request::Fetch(Fetching { first, last });
            let entries = match link.call(&request, FETCHED_MAX).await {
                Ok(Reply::Entries(entries)) => entries,
                other => return Err(in_words(other)),
            };
            let Some(end) = entries.last().map(|entry| entry.id().index) else {
                break;
            };
            if end < first {
                return Err("it sent other entries than those".to_owned());
            }
            first = end.next();
            bytes += entries.iter().map(WireEntry::payload_len).sum::<usize>();
            copies.extend(entries.into_iter().map(Entry::from));
        }
    }
    Ok(copies)
}

/// Puts back what fits; durable on return.
fn fill(wal: &Wal, copies: &[Entry]) -> Result<Filled, Error> {
    let mut filled = Filled::default();
    // As many answers as copies: no `done` ever waits.
    let (told, heard) = mpsc::sync_channel(copies.len());
    for copy in copies {
        let told = told.clone();
        let done = Box::new(move |result| drop(told.send(result)));
        match wal.repair(copy.clone(), copies, done) {
            Ok(()) => filled.count += 1,
            Err(RepairError::NotDamaged(_)) => {}
            Err(RepairError::Log(error)) => return Err(error.into()),
            Err(refused) => {
                // The rest of a stretch that nothing is left of is refused for the same reason.
                filled.refused = Some(refused.to_string());
                if matches!(refused, RepairError::Unverifiable(_)) {
                    break;
                }
            }
        }
    }
    drop(told);
    wal.hurry();
    for result in heard {
        result?;
    }
    Ok(filled)
}

/// What this node has of the entries that a peer has lost. It need not be committed: the peer knows
/// what it had.
pub(crate) async fn serve(wal: Wal, fetching: Fetching) -> Reply {
    let read = move || {
        let end = fetching.last.next();
        let mut first = fetching.first;
        while first < end {
            match wal.read(first..end, FETCH_BYTES_MAX) {
                // A hole here, too: perhaps not of the same entries.
                Err(storage::Error::Damaged { last, .. }) => first = last.next(),
                // Nobody has more of them than the log begins with.
                Err(storage::Error::Purged { first: oldest }) if first < oldest => first = oldest,
                read => return Ok(read?),
            }
        }
        Ok(Vec::new())
    };
    match blocking(read).await {
        Ok(entries) => Reply::Entries(entries.into_iter().map(Into::into).collect()),
        Err(error) => Reply::Cannot(error.to_string()),
    }
}

/// Fills holes that are found while the node runs, until it stops.
pub(crate) async fn watch(node: Node, dialer: Dialer) {
    let stop = node.inner.stop.clone();
    let mut told = String::new();
    let mut helpers = Helpers::new(
        &dialer,
        &node.inner.address,
        Some(node.inner.identity.cluster.0),
    );
    loop {
        let step = async {
            if node.inner.wal.holes() == 0 {
                told.clear();
            } else {
                mend_once(&node, &mut helpers, &mut told).await;
            }
            tokio::time::sleep(AGAIN).await;
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = step => {}
        }
    }
}

async fn mend_once(node: &Node, helpers: &mut Helpers, told: &mut String) {
    let inner = &*node.inner;
    helpers.learn(node.members().into_values());
    match helpers.pass(&inner.wal, &|_| {}).await {
        Ok(Pass::Whole) => info!("the log is repaired: no entry of it is damaged any more"),
        Ok(Pass::Better) => {}
        Ok(Pass::Waiting(words)) => {
            if *told != words {
                warn!(error = words, "the log is damaged");
                *told = words;
            }
        }
        // The next start sets this log aside: here raft would go on with it meanwhile.
        Ok(Pass::Hopeless(words)) => {
            error!(error = words, "this node stops: the next start begins anew");
            inner.halt.set(&words);
        }
        Err(error) => inner
            .halt
            .set(&format!("the log cannot be repaired: {error}")),
    }
}

/// Fills all holes before raft runs. `Err(Ok(words))`: it cannot be done.
pub(crate) async fn mend(
    wal: &Wal,
    helpers: &mut Helpers,
    callers: &(dyn Fn() -> Vec<String> + Send + Sync),
    tell: &(dyn Fn(String) + Send + Sync),
) -> Result<Result<(), String>, Error> {
    let total = wal.holes();
    warn!(
        entries = total,
        "the log is damaged: it is repaired from peers before this node takes part"
    );
    loop {
        helpers.learn(callers());
        match helpers.pass(wal, tell).await? {
            Pass::Whole => {
                info!(entries = total, "the log is repaired");
                return Ok(Ok(()));
            }
            Pass::Better => {}
            Pass::Waiting(words) => {
                tell(words);
                tokio::time::sleep(AGAIN).await;
            }
            Pass::Hopeless(words) => return Ok(Err(words)),
        }
    }
}
