//! How a node with an empty disk becomes somebody: it founds a cluster, is founded, or joins one.
//!
//! ```text
//!  ask all listed peers ─┬─ one belongs to a cluster ────────── join it: a fresh number, then the log
//!                        ├─ all answer, all are empty ─ lowest address: found ─ others: be founded
//!                        └─ one does not answer ─────────────── wait, and say for whom
//! ```
//! Holds:
//! - A cluster is founded only while every listed peer answers and is empty: who cannot be reached may
//!   be what is left of one.
//! - A founder writes its own identity first, and the others theirs before its log has an entry. A
//!   founding that is cut off anywhere leaves nodes without vote and log, which count as empty and are
//!   founded again.
//! - Numbers are never used twice: an empty disk gets a fresh one, whatever address it has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use storage::{Disk, NodeId};
use tokio::sync::mpsc;
use tracing::info;

use crate::error::Error;
use crate::facts;
use crate::identity::{ClusterId, Identity};
use crate::mend::{self, Helpers};
use crate::peer::desk::{Desk, Wish};
use crate::peer::hello::Lane;
use crate::peer::link::{Dialer, Link};
use crate::peer::wire::{Asking, Enrolling, Facts, Founding, Joined, Joining, Reply, Request};
use crate::types::Peer;

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(200);
/// A peer that is up answers within microseconds.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// One that has to sync before it answers.
const SYNCED_MAX: Duration = Duration::from_secs(10);
/// The leader answers when the log was sent; whoever waits asks again.
const ENROLLED_MAX: Duration = Duration::from_secs(30);

/// The members of a cluster that is founded here, as openraft is told.
pub(crate) type Members = BTreeMap<u64, Peer>;

/// What it takes to find out.
pub(crate) struct Bootstrap {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) data_dir: PathBuf,
    pub(crate) desk: Arc<Desk>,
    pub(crate) crowd: Crowd,
    /// Left by a founding or a joining that was cut off.
    pub(crate) identity: Option<Identity>,
    /// Why the last founding did not come to its end.
    pub(crate) unfounded: Option<String>,
}

/// The listed peers, asked by whoever does not know their numbers.
#[derive(Clone)]
pub(crate) struct Crowd {
    /// This node's own address.
    pub(crate) address: String,
    links: Arc<Vec<Link>>,
    dialer: Dialer,
}

type Heard = Vec<(String, Result<Facts, String>)>;

impl Crowd {
    pub(crate) fn new(dialer: &Dialer, address: &str, peers: &[String]) -> Self {
        let mut others: Vec<_> = peers.iter().filter(|peer| *peer != address).collect();
        others.sort();
        others.dedup();
        let link = |peer: &String| Link::new(dialer.clone(), Lane::Talk, None, peer);
        Self {
            address: address.to_owned(),
            links: Arc::new(others.into_iter().map(link).collect()),
            dialer: dialer.clone(),
        }
    }

    /// All, this node too.
    fn listed(&self) -> BTreeSet<&str> {
        let others = self.links.iter().map(Link::address);
        others.chain([self.address.as_str()]).collect()
    }

    async fn ask(&self) -> Heard {
        let asked = self.links.iter().map(async |link| {
            let heard = match link
                .call(&Request::Ask(Asking::default()), ANSWER_MAX)
                .await
            {
                Ok(Reply::Facts(facts)) => Ok(*facts),
                Ok(Reply::Cannot(why)) => Err(why),
                Ok(_) => Err("it answered something else".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            (link.address().to_owned(), heard)
        });
        futures::future::join_all(asked).await
    }

    /// Whether the cluster of `own`, or any one, has a leader other than that; else who is waited for.
    /// `callers`: where others may be, beside those that are listed.
    pub(crate) async fn others_lead(
        &self,
        own: Option<&Identity>,
        callers: &[String],
    ) -> Result<(), String> {
        let mut helpers = Helpers::new(
            &self.dialer,
            &self.address,
            own.map(|identity| identity.cluster.0),
        );
        helpers.learn(self.links.iter().map(|link| link.address().to_owned()));
        helpers.learn(callers.iter().cloned());
        let heard = helpers.ask().await;
        if mend::leader_in(&heard).is_some_and(|leader| leader != self.address) {
            return Ok(());
        }
        let waits = heard.iter().map(|(link, heard)| {
            let why = heard
                .as_ref()
                .err()
                .map_or("it knows no leader", String::as_str);
            format!("{} ({why})", link.address())
        });
        Err(waits.collect::<Vec<_>>().join(", "))
    }

    fn link_to(&self, address: &str) -> Link {
        Link::new(self.dialer.clone(), Lane::Talk, None, address)
    }

    /// Asks whoever leads to make this node a member.
    pub(crate) async fn enroll(&self, node: NodeId) -> Result<String, String> {
        let heard = self.ask().await;
        let leader = leader_of(&heard).ok_or("no peer knows a leader")?;
        let enrolling = Enrolling {
            node,
            address: self.address.clone(),
        };
        let link = self.link_to(&leader);
        match link.call(&Request::Enroll(enrolling), ENROLLED_MAX).await {
            Ok(Reply::Done(done)) => done,
            Ok(Reply::Cannot(why)) => Err(why),
            Ok(_) => Err("the leader answered something else".to_owned()),
            Err(error) => Err(format!("the leader at {leader} {error}")),
        }
    }
}

impl Bootstrap {
    /// Returns once this node is somebody: its identity is durable. With it come the members, if it
    /// is the founder.
    pub(crate) async fn run(
        mut self,
        mut waiting: impl FnMut(String) + Send,
    ) -> Result<(Identity, Option<Members>), Error> {
        let mut founders = self.desk.wait_for_founders();
        let mut told = String::new();
        loop {
            let heard = self.crowd.ask().await;
            if let Some(end) = self.consider(&heard).await? {
                self.desk.no_more_founders();
                return Ok(end);
            }
            let words = self.in_words(&heard);
            if told != words {
                waiting(words.clone());
                told = words;
            }
            self.listen(&mut founders).await?;
        }
    }

    /// Hears founders, for a moment.
    async fn listen(&mut self, founders: &mut mpsc::Receiver<Wish>) -> Result<(), Error> {
        let until = tokio::time::Instant::now() + AGAIN;
        while let Ok(Some((founding, answer))) =
            tokio::time::timeout_at(until, founders.recv()).await
        {
            let taken = self.be_founded(&founding).await?;
            drop(answer.send(taken)); // a founder that went away comes again
        }
        Ok(())
    }

    async fn consider(
        &mut self,
        heard: &Heard,
    ) -> Result<Option<(Identity, Option<Members>)>, Error> {
        let there = || heard.iter().filter_map(|(_, heard)| heard.as_ref().ok());
        let cluster = there()
            .filter(|facts| !facts.is_pristine)
            .find_map(|facts| facts.cluster);
        if let Some(cluster) = cluster {
            if let Some(identity) = self.identity.filter(|own| own.cluster.0 == cluster) {
                return Ok(Some((identity, None)));
            }
            let Some(leader) = leader_of(heard) else {
                return Ok(None);
            };
            return Ok(self.join(&leader).await?.map(|identity| (identity, None)));
        }
        let all_are_empty = heard.iter().all(|(_, heard)| heard.is_ok());
        let is_lowest = heard
            .iter()
            .all(|(address, _)| self.crowd.address < *address);
        if all_are_empty && is_lowest {
            return self.found().await;
        }
        Ok(None)
    }

    /// Makes a cluster of all listed peers.
    async fn found(&mut self) -> Result<Option<(Identity, Option<Members>)>, Error> {
        let others = self.crowd.links.iter().map(Link::address);
        let addresses = std::iter::once(self.crowd.address.as_str()).chain(others);
        let members: Vec<_> = (1..)
            .map(NodeId)
            .zip(addresses.map(str::to_owned))
            .collect();
        let identity = match self.identity {
            Some(identity) if identity.node == NodeId(1) => identity,
            _ => Identity {
                ever_had_peers: true,
                ..Identity::genesis(&self.data_dir)?
            },
        };
        self.become_somebody(identity).await?;
        let links = Arc::clone(&self.crowd.links);
        for (link, (node, _)) in links.iter().zip(members.iter().skip(1)) {
            let founding = Founding {
                cluster: identity.cluster.0,
                node: *node,
                members: members.clone(),
            };
            let answer = link.call(&Request::Found(founding), SYNCED_MAX).await;
            let why = match answer {
                Ok(Reply::Done(Ok(_))) => continue,
                Ok(Reply::Done(Err(why)) | Reply::Cannot(why)) => why,
                Ok(_) => "it answered something else".to_owned(),
                Err(error) => error.to_string(),
            };
            self.unfounded = Some(format!("{} is not founded: {why}", link.address()));
            return Ok(None);
        }
        info!(cluster = %identity.cluster, members = members.len(), "a cluster is founded");
        let members = members
            .into_iter()
            .map(|(node, address)| (u64::from(node.0), Peer { address }));
        Ok(Some((identity, Some(members.collect()))))
    }

    /// Takes the number that a founder gives.
    async fn be_founded(&mut self, founding: &Founding) -> Result<Result<String, String>, Error> {
        let mine = (founding.node, self.crowd.address.clone());
        let named: BTreeSet<_> = founding.members.iter().map(|(_, at)| at.as_str()).collect();
        if !founding.members.contains(&mine) || named != self.crowd.listed() {
            return Ok(Err(format!(
                "the founder lists {}, this node {}: do all nodes list the same cluster.peers, by the addresses \
                 that they advertise?",
                words(&named),
                words(&self.crowd.listed())
            )));
        }
        let identity = Identity {
            cluster: ClusterId(founding.cluster),
            node: founding.node,
            boot: self.identity.map_or(0, |identity| identity.boot),
            ever_had_peers: true,
            is_provisional: true,
            is_joining: false,
        };
        self.become_somebody(identity).await?;
        Ok(Ok(String::new()))
    }

    /// Gets a fresh number from the leader.
    async fn join(&mut self, leader: &str) -> Result<Option<Identity>, Error> {
        let request = Request::Join(Joining {
            address: self.crowd.address.clone(),
        });
        let answer = self.crowd.link_to(leader).call(&request, SYNCED_MAX).await;
        let Ok(Reply::Joined(Ok(Joined { cluster, node }))) = answer else {
            return Ok(None);
        };
        let identity = Identity {
            cluster: ClusterId(cluster),
            node,
            boot: 0,
            ever_had_peers: true,
            is_provisional: true,
            is_joining: true,
        };
        self.become_somebody(identity).await?;
        info!(node = %node, cluster = %identity.cluster, "this node joins a cluster");
        Ok(Some(identity))
    }

    async fn become_somebody(&mut self, identity: Identity) -> Result<(), Error> {
        if self.identity != Some(identity) {
            let (disk, dir) = (Arc::clone(&self.disk), self.data_dir.clone());
            crate::start::blocking(move || identity.save(&*disk, &dir)).await?;
            self.identity = Some(identity);
        }
        let address = self.crowd.address.clone();
        self.desk
            .set_still(facts::still(address, Some(&identity), None));
        Ok(())
    }

    /// Who is waited for.
    fn in_words(&self, heard: &Heard) -> String {
        let mut waits = Vec::new();
        for (address, heard) in heard {
            match heard {
                Ok(facts) if facts.is_pristine => {}
                Ok(_) => waits.push(format!("{address} (a member; it knows no leader yet)")),
                Err(why) => waits.push(format!("{address} ({why})")),
            }
        }
        if waits.is_empty()
            && let Some(why) = &self.unfounded
        {
            return why.clone();
        }
        if waits.is_empty() {
            return "all peers are there and empty: waiting for the one with the lowest address to found the cluster"
                .to_owned();
        }
        format!("waiting for peers: {}", waits.join(", "))
    }
}

fn words(addresses: &BTreeSet<&str>) -> String {
    let addresses: Vec<_> = addresses.iter().copied().collect();
    addresses.join(", ")
}

/// Where the leader is, by what most peers say last.
fn leader_of(heard: &Heard) -> Option<String> {
    facts::leader(heard.iter().filter_map(|(_, heard)| heard.as_ref().ok()))
}
