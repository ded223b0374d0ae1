//! Ours: processes of the release binary, by their documented settings and nothing else.
//!
//! Holds: all nodes answer `/readyz` before a submission is sent. Two ways to submit: every client
//! to the leader, or the clients spread over all nodes, as behind a balancer that knows no leader.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde_json::Value;

use super::super::load::Link;
use super::super::peer::{Cluster, Dial, Peer, Places, Way, connect};
use super::super::work::{Shape, Work};
use super::http::{Lines, Single};
use crate::ask::get;
use crate::process::{Process, command, free_addresses, wait_for};

const TOKEN: &str = "a-token-for-the-benchmark-and-nothing-else";

/// The product with so many nodes.
pub(super) struct Formspool {
    binary: PathBuf,
    nodes: usize,
    /// Measures the clients spread over all nodes, too.
    is_spread: bool,
}

#[derive(Clone, Copy)]
struct Node {
    http: SocketAddr,
    ops: SocketAddr,
    peer: SocketAddr,
}

impl Formspool {
    pub(super) fn new(places: &Places, nodes: usize, is_spread: bool) -> Self {
        Self {
            binary: places.binary.clone(),
            nodes,
            is_spread: is_spread && nodes > 1,
        }
    }

    fn spawn(&self, folder: &Path, nodes: &[Node]) -> Result<Vec<Process>> {
        let binary = std::path::absolute(&self.binary)?;
        let token = folder.join("admin.token");
        std::fs::write(&token, TOKEN)?;
        let peers: Vec<String> = nodes.iter().map(|node| node.peer.to_string()).collect();
        let start = |(at, node): (usize, &Node)| {
            let own = folder.join(format!("node-{}", at + 1));
            let mut command = command(&binary);
            command
                .arg("serve")
                .env("FORMSPOOL_DATA_DIR", own.join("data"))
                .env("FORMSPOOL_WAL__FSYNC", "always")
                .env("FORMSPOOL_ADMIN__TOKEN_FILE", &token)
                .env("FORMSPOOL_HTTP__LISTEN", node.http.to_string())
                .env("FORMSPOOL_OPS__LISTEN", node.ops.to_string());
            if nodes.len() > 1 {
                command
                    .env("FORMSPOOL_PEER__LISTEN", node.peer.to_string())
                    .env("FORMSPOOL_CLUSTER__PEERS", peers.join(","));
            }
            Process::start(command, &own)
        };
        nodes.iter().enumerate().map(start).collect()
    }

    async fn ready(&self, folder: &Path) -> Result<Cluster> {
        let nodes: Vec<Node> = (0..self.nodes).map(|_| node()).collect::<Result<_>>()?;
        let mut processes = self.spawn(folder, &nodes)?;
        for node in &nodes {
            wait_for("formspool", &mut processes, async || {
                get(node.ops, "/readyz", None).await
            })
            .await?;
        }
        let all: Vec<SocketAddr> = nodes.iter().map(|node| node.http).collect();
        let first = *all.first().context("at least one node")?;
        let (leader, said) = if nodes.len() > 1 {
            wait_for("our leader", &mut processes, async || leader(&all).await).await?
        } else {
            (first, "1 node".to_owned())
        };
        Ok(Cluster {
            nodes: processes,
            ways: self.ways(leader, &all),
            said,
        })
    }

    fn ways(&self, leader: SocketAddr, all: &[SocketAddr]) -> Vec<Way> {
        let durability = if all.len() > 1 {
            "fsync on a majority"
        } else {
            "fsync on ONE node"
        };
        let way = |name, shape, addresses: &[SocketAddr], is_keyed| Way {
            name,
            durability,
            shape,
            dial: Box::new(Doors {
                addresses: addresses.to_vec(),
                is_keyed,
            }),
        };
        let mut ways = vec![
            way(
                "formspool",
                any as fn(Work, usize) -> Option<Shape>,
                &[leader],
                false,
            ),
            way("formspool, keyed", bulk, &[leader], true),
        ];
        if self.is_spread {
            ways.push(way("formspool, spread", any, all, false));
            ways.push(way("formspool, spread, keyed", bulk, all, true));
        }
        ways
    }
}

impl Peer for Formspool {
    fn name(&self) -> &'static str {
        "formspool"
    }

    fn missing(&self) -> Option<String> {
        let is_missing = !self.binary.is_file();
        is_missing.then(|| format!("{} is not built", self.binary.display()))
    }

    fn start<'a>(&'a self, folder: &'a Path) -> LocalBoxFuture<'a, Result<Cluster>> {
        self.ready(folder).boxed_local()
    }
}

fn node() -> Result<Node> {
    let [http, ops, peer] = free_addresses()?;
    Ok(Node { http, ops, peer })
}

/// The one whose role is leader, and what the cluster says of itself. All nodes must be voters, be
/// well, and sync before they acknowledge.
async fn leader(all: &[SocketAddr]) -> Result<(SocketAddr, String)> {
    for address in all {
        let text = get(*address, "/v1/cluster", Some(TOKEN)).await?;
        let value: Value = serde_json::from_str(&text)?;
        if value.get("role").and_then(Value::as_str) != Some("leader") {
            continue;
        }
        let policy = value.get("policy").and_then(Value::as_str);
        let voters = value.pointer("/voters/voters").and_then(Value::as_u64);
        let members = value.get("members").and_then(Value::as_array);
        let state = |member: &Value| member.get("state").and_then(Value::as_str) == Some("ok");
        let well = members.map(|members| members.iter().filter(|member| state(member)).count());
        let is_whole = well == Some(all.len());
        let all = u64::try_from(all.len())?;
        ensure!(
            is_whole && (policy, voters) == (Some("fsync"), Some(all)),
            "the cluster is not what is to be measured: {text}"
        );
        return Ok((*address, format!("{all} voters, policy fsync")));
    }
    anyhow::bail!("no node leads")
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one of two answers to what is done"
)]
fn any(work: Work, _: usize) -> Option<Shape> {
    Some(work.one_a_connection())
}

fn bulk(work: Work, _: usize) -> Option<Shape> {
    matches!(work, Work::Bulk(_)).then(|| work.one_a_connection())
}

struct Doors {
    addresses: Vec<SocketAddr>,
    is_keyed: bool,
}

impl Doors {
    async fn open(&self, nth: usize, work: Work) -> Result<Link> {
        let at = nth % self.addresses.len().max(1);
        let address = self.addresses.get(at).context("at least one node")?;
        let stream = connect(*address).await?;
        // The port makes it a key that no other connection has had.
        let key = format!("{}-{nth}", stream.local_addr()?.port());
        Ok(match work {
            Work::Waiting(_) => Link::new(stream, Single),
            Work::Bulk(_) => Link::new(stream, Lines::new(self.is_keyed.then_some(key))),
        })
    }
}

impl Dial for Doors {
    fn dial(&self, nth: usize, work: Work) -> LocalBoxFuture<'_, Result<Link>> {
        self.open(nth, work).boxed_local()
    }
}
