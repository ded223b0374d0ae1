//! etcd: three members, `Put` of unique keys over gRPC at the leader.
//!
//! Holds: etcd syncs its log on a majority before it answers, by default and without a setting to
//! change that here. It is a store of keys that is held in memory, not a log.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;

use super::super::load::Link;
use super::super::peer::{Cluster, Dial, Peer, Way, connect, missing};
use super::super::work::Work;
use super::grpc::Calls;
use crate::ask::{get, sample};
use crate::process::{Process, command, find, free_addresses, wait_for};

/// Above what a run writes: a full etcd refuses.
const QUOTA_BYTES: u64 = 8 << 30;

/// The server's program, where it is here.
pub(super) struct Etcd {
    program: Option<PathBuf>,
}

impl Etcd {
    pub(super) fn find() -> Self {
        Self {
            program: find("etcd", None),
        }
    }

    fn spawn(
        &self,
        folder: &Path,
        clients: &[SocketAddr; 3],
        peers: &[SocketAddr; 3],
    ) -> Result<Vec<Process>> {
        let program = self.program.as_ref().context("etcd")?;
        let members = peers.iter().enumerate();
        let members = members.map(|(at, peer)| format!("n{at}=http://{peer}"));
        let members = members.collect::<Vec<_>>().join(",");
        let start = |(at, (client, peer)): (usize, (&SocketAddr, &SocketAddr))| {
            let own = folder.join(format!("node-{at}"));
            let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
            let mut command = command(program);
            for (name, value) in [
                ("--name", format!("n{at}")),
                ("--data-dir", own.join("data").display().to_string()),
                ("--listen-client-urls", client.clone()),
                ("--advertise-client-urls", client),
                ("--listen-peer-urls", peer.clone()),
                ("--initial-advertise-peer-urls", peer),
                ("--initial-cluster", members.clone()),
                ("--initial-cluster-state", "new".to_owned()),
                ("--quota-backend-bytes", QUOTA_BYTES.to_string()),
                ("--logger", "zap".to_owned()),
                ("--log-level", "warn".to_owned()),
            ] {
                command.arg(name).arg(value);
            }
            Process::start(command, &own)
        };
        clients.iter().zip(peers).enumerate().map(start).collect()
    }

    async fn ready(&self, folder: &Path) -> Result<Cluster> {
        let (clients, peers) = (free_addresses::<3>()?, free_addresses::<3>()?);
        let mut processes = self.spawn(folder, &clients, &peers)?;
        let (leader, version) = wait_for("etcd's leader", &mut processes, async || {
            leader(&clients).await
        })
        .await?;
        Ok(Cluster {
            nodes: processes,
            ways: vec![Way {
                name: "etcd",
                durability: "fsync on a majority",
                shape: |work, shared| Some(work.shared(shared)),
                dial: Box::new(Member { leader }),
            }],
            said: format!("etcd {version}, 3 members, Put at the leader"),
        })
    }
}

impl Peer for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn missing(&self) -> Option<String> {
        missing(self.program.as_ref(), "etcd")
    }

    fn start<'a>(&'a self, folder: &'a Path) -> LocalBoxFuture<'a, Result<Cluster>> {
        self.ready(folder).boxed_local()
    }
}

/// The leader's address and version, when every member knows a leader.
async fn leader(clients: &[SocketAddr; 3]) -> Result<(SocketAddr, String)> {
    let mut found = None;
    for client in clients {
        let metrics = get(*client, "/metrics", None).await?;
        let has_leader = sample(&metrics, "etcd_server_has_leader");
        ensure!(has_leader == Some("1"), "{client} knows no leader");
        if sample(&metrics, "etcd_server_is_leader") == Some("1") {
            found = Some(*client);
        }
    }
    let Some(leader) = found else {
        bail!("no member leads");
    };
    let version = get(leader, "/version", None).await?;
    let version: serde_json::Value = serde_json::from_str(&version)?;
    let version = version
        .get("etcdserver")
        .and_then(serde_json::Value::as_str);
    Ok((leader, version.context("no version")?.to_owned()))
}

struct Member {
    leader: SocketAddr,
}

impl Dial for Member {
    fn dial(&self, _: usize, _: Work) -> LocalBoxFuture<'_, Result<Link>> {
        async move {
            let stream = connect(self.leader).await?;
            let authority = self.leader.to_string();
            let port = stream.local_addr()?.port();
            let wire = Calls::new(port, "/etcdserverpb.KV/Put", &authority, put);
            Ok(Link::new(stream, wire))
        }
        .boxed_local()
    }
}

/// A `PutRequest`: field 1 is the key, field 2 the value. A client is called by its port, so that a
/// later measurement does not overwrite the keys of an earlier one.
fn put(client: u16, number: u64, document: &[u8], out: &mut Vec<u8>) {
    let key = format!("bench/{client}/{number}");
    for (field, value) in [(1, key.as_bytes()), (2, document)] {
        out.push(field << 3 | 2);
        varint(value.len(), out);
        out.extend_from_slice(value);
    }
}

fn varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_is_two_fields() {
        let mut out = Vec::new();
        put(3, 7, &[b'd'; 300], &mut out);
        let (head, value) = out.split_at(out.len() - 300);
        assert_eq!(b"\x0a\x09bench/3/7\x12\xac\x02", head);
        assert!(value.iter().all(|byte| *byte == b'd'));
    }
}
