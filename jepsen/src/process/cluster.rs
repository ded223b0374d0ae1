//! Several products that are one: a site each, and who of them runs.
//!
//! Holds: nodes are numbered from 0 here and from 1 in words. A node that was told to live and has
//! ended by itself is a finding; one that was killed is not.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::client::cluster::{State, View, state, view};
use crate::net::{self, Net};
use crate::process::disk::Disk;
use crate::process::ports;
use crate::process::site::Site;
use crate::process::{Died, Node};

const LEADER_TIME: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(50);
/// Of each node in its own network.
const PORTS: [u16; 3] = [8080, 9080, 7080];

/// How it is laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) nodes: usize,
    /// Each node in a network of its own.
    pub(crate) has_net: bool,
    /// Each node on a disk of its own, of that size.
    pub(crate) disk_mib: Option<u64>,
    pub(crate) seed: u64,
}

/// Fields in the order in which they must go: nodes before the network between them.
#[derive(Debug)]
pub(crate) struct Cluster {
    members: Vec<Member>,
    pub(crate) net: Option<Net>,
}

/// A node before the site, whose disk it lives on.
#[derive(Debug)]
pub(crate) struct Member {
    node: Option<Node>,
    pub(crate) site: Site,
    /// How often it was started.
    pub(crate) boots: Arc<AtomicU32>,
}

impl Cluster {
    /// Within the directory of `home`; nothing is started.
    pub(crate) fn new(home: &Site, deploy: &Path, layout: Layout) -> anyhow::Result<Self> {
        let Layout { nodes, seed, .. } = layout;
        let net = layout.has_net.then(|| Net::new(nodes, seed)).transpose()?;
        let listens = (0..nodes).map(|node| match &net {
            Some(_) => Ok(PORTS.map(|port| SocketAddr::from((net::address(node), port)))),
            None => ports::free::<3>(),
        });
        let listens = listens.collect::<anyhow::Result<Vec<_>>>()?;
        let peers = listens.iter().map(|[_, _, peer]| peer.to_string());
        let peers = peers.collect::<Vec<_>>().join(",");
        let mut members = Vec::new();
        for (node, [http, ops, peer]) in listens.into_iter().enumerate() {
            let space = net.as_ref().map(|net| net.space(node)).transpose()?;
            let name = (node + 1).to_string();
            let mut site = home.member(&name, deploy, (http, ops), space)?;
            site.set("PEER__LISTEN", Some(peer.to_string()));
            site.set("CLUSTER__PEERS", Some(peers.clone()));
            if let Some(mib) = layout.disk_mib {
                let disk = Disk::plain(site.path(), mib)?;
                site.live_on(disk);
            }
            members.push(Member {
                node: None,
                site,
                boots: Arc::default(),
            });
        }
        Ok(Self { members, net })
    }

    /// Of every node, from its next start on.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) {
        for member in &mut self.members {
            member.site.set(name, value.map(str::to_owned));
        }
    }

    /// All of them, at once; waits until each takes submissions.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        let down = self.numbers().filter(|node| !self.is_running(*node));
        let down = down.collect::<Vec<_>>();
        for node in &down {
            self.launch(*node)?;
        }
        for node in down {
            self.ready(node).await?;
        }
        Ok(())
    }

    /// Starts one and waits for nothing.
    pub(crate) fn launch(&mut self, node: usize) -> anyhow::Result<()> {
        let member = self.member_mut(node)?;
        ensure!(member.node.is_none(), "node {} runs already", node + 1);
        member.boots.fetch_add(1, Ordering::Relaxed);
        member.node = Some(Node::launch(&member.site)?);
        Ok(())
    }

    /// Waits until it takes submissions; answers how long that took from its start on.
    pub(crate) async fn ready(&mut self, node: usize) -> anyhow::Result<Duration> {
        self.until(node, "/readyz").await
    }

    /// Waits for a 200 of its operators' listener.
    pub(crate) async fn until(&mut self, node: usize, path: &str) -> anyhow::Result<Duration> {
        let Member {
            node: running,
            site,
            ..
        } = self.member_mut(node)?;
        let running = running.as_mut().context("it does not run")?;
        let ready = running.until(site, path).await;
        ready.with_context(|| format!("node {}", node + 1))?;
        Ok(running.ready_after)
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) async fn kill(&mut self, node: usize) -> anyhow::Result<()> {
        let mut running = self.take(node)?;
        let killed = running.kill().await;
        self.blame(node, killed)
    }

    /// All that run, with nothing between one and the next.
    pub(crate) async fn kill_all(&mut self) -> anyhow::Result<()> {
        for node in self.numbers() {
            if let Some(running) = &self.member(node)?.node {
                running.signal_kill()?;
            }
        }
        for node in self
            .numbers()
            .filter(|node| self.is_running(*node))
            .collect::<Vec<_>>()
        {
            self.take(node)?.gone().await?;
        }
        Ok(())
    }

    /// `SIGTERM`; the end must be in order.
    pub(crate) async fn stop(&mut self, node: usize) -> anyhow::Result<()> {
        let stopped = self.take(node)?.stop().await;
        self.blame(node, stopped)
    }

    pub(crate) async fn pause(&mut self, node: usize) -> anyhow::Result<()> {
        let running = self.member_mut(node)?.node.as_mut();
        running.context("it does not run")?.pause().await
    }

    pub(crate) fn resume(&self, node: usize) -> anyhow::Result<()> {
        let running = self.member(node)?.node.as_ref();
        running.context("it does not run")?.resume()
    }

    /// None that runs has ended by itself.
    pub(crate) fn must_live(&mut self) -> anyhow::Result<()> {
        for (number, member) in (1..).zip(&mut self.members) {
            if let Some(node) = &mut member.node {
                let lives = node.must_live();
                lives.with_context(|| format!("node {number}: {}", member.site.log_tail()))?;
            }
        }
        Ok(())
    }

    pub(crate) fn is_running(&self, node: usize) -> bool {
        self.members
            .get(node)
            .is_some_and(|member| member.node.is_some())
    }

    /// The numbers of all.
    pub(crate) fn numbers(&self) -> std::ops::Range<usize> {
        0..self.members.len()
    }

    pub(crate) fn member(&self, node: usize) -> anyhow::Result<&Member> {
        self.members.get(node).context("no such node")
    }

    pub(crate) fn member_mut(&mut self, node: usize) -> anyhow::Result<&mut Member> {
        self.members.get_mut(node).context("no such node")
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.site.http).collect()
    }

    /// The same on all.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        self.member(0)?.site.token()
    }

    pub(crate) async fn view(&self, node: usize) -> anyhow::Result<View> {
        let mut client = Client::new(self.member(node)?.site.http);
        view(&mut client, &self.token()?).await
    }

    pub(crate) async fn state(&self, node: usize) -> anyhow::Result<State> {
        let mut client = Client::new(self.member(node)?.site.http);
        state(&mut client, &self.token()?).await
    }

    /// Waits for a node that says it leads and that most of those that run follow.
    pub(crate) async fn leader(&self) -> anyhow::Result<usize> {
        let end = Instant::now() + LEADER_TIME;
        loop {
            let (mut views, mut silent) = (Vec::new(), Vec::new());
            for node in self.numbers().filter(|node| self.is_running(*node)) {
                match self.view(node).await {
                    Ok(view) => views.push((node, view)),
                    Err(error) => silent.push(format!("node {}: {error:#}", node + 1)),
                }
            }
            if let Some(node) = leader(&views) {
                return Ok(node);
            }
            if Instant::now() > end {
                let time = LEADER_TIME.as_secs();
                let words = format!("no leader within {time} s: {views:?} {silent:.500?}");
                return Err(Died(words).into());
            }
            sleep(LOOK).await;
        }
    }

    /// What each said last, for people.
    pub(crate) fn log_tails(&self) -> String {
        let tails = (1..).zip(&self.members);
        let tails = tails.map(|(number, member)| {
            let tail = member.site.log_tail();
            let is_told = |line: &&str| line.starts_with("20") || line.contains("panicked");
            let told = tail.lines().filter(is_told);
            let lines = told.rev().take(8).collect::<Vec<_>>();
            let lines = lines.into_iter().rev().collect::<Vec<_>>().join("\n    ");
            format!("  node {number} said last:\n    {lines}")
        });
        tails.collect::<Vec<_>>().join("\n")
    }

    fn take(&mut self, node: usize) -> anyhow::Result<Node> {
        let running = self.member_mut(node)?.node.take();
        running.with_context(|| format!("node {} does not run", node + 1))
    }

    fn blame(&self, node: usize, done: anyhow::Result<()>) -> anyhow::Result<()> {
        let tail = || self.member(node).map(|member| member.site.log_tail());
        done.with_context(|| format!("node {}: {}", node + 1, tail().unwrap_or_default()))
    }
}

/// The one that leads in the eyes of more than half of `views`.
fn leader(views: &[(usize, View)]) -> Option<usize> {
    let leads = |(_, view): &&(usize, View)| {
        let followers = views
            .iter()
            .filter(|(_, other)| other.leader == Some(view.node));
        view.role == "leader" && followers.count() * 2 > views.len()
    };
    views.iter().find(leads).map(|(node, _)| *node)
}

#[cfg(test)]
mod tests {
    use super::leader;
    use crate::client::cluster::{View, Voters};

    fn view(node: u64, role: &str, leader: Option<u64>) -> View {
        View {
            cluster: String::new(),
            node,
            role: role.to_owned(),
            leader,
            voters: Voters { voters: 3 },
            members: Vec::new(),
        }
    }

    #[test]
    fn a_leader_is_whom_most_follow_not_who_says_so() {
        let old = (0, view(7, "leader", Some(7)));
        let new = (1, view(8, "leader", Some(8)));
        let third = (2, view(9, "follower", Some(8)));
        assert_eq!(leader(&[old.clone(), new, third.clone()]), Some(1));
        assert_eq!(leader(&[old, third]), None);
        assert_eq!(leader(&[]), None);
    }
}
