//! Redis: one master and two replicas, all with an append-only file that is synced always.
//!
//! Holds: `XADD` and then `WAIT 1`: the master has synced (`appendfsync always`), one replica has
//! received. That is two of three nodes, but NO consensus: nothing elects, a failover may drop what was
//! acknowledged, and a master that was cut off still takes writes. The rows say so.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::load::{Link, Waiting, Wire};
use super::super::peer::{Cluster, Dial, Peer, Way, connect, missing};
use super::super::work::Work;
use crate::process::{Process, command, find, free_addresses, wait_for};

const DURABILITY: &str = "fsync on master, received by a replica; NO CONSENSUS";

/// The server's program, where it is here.
pub(super) struct Redis {
    program: Option<PathBuf>,
}

impl Redis {
    pub(super) fn find() -> Self {
        Self {
            program: find("redis-server", None),
        }
    }

    fn spawn(&self, folder: &Path, nodes: &[SocketAddr; 3]) -> Result<Vec<Process>> {
        let program = self.program.as_ref().context("redis-server")?;
        let [master, ..] = nodes;
        let start = |(at, node): (usize, &SocketAddr)| {
            let own = folder.join(format!("node-{}", at + 1));
            let replica_of = format!("replicaof 127.0.0.1 {}\n", master.port());
            let settings = format!(
                "bind 127.0.0.1\nport {}\ndir {}\nappendonly yes\nappendfsync always\nsave \"\"\n\
                 repl-diskless-sync-delay 0\n{}",
                node.port(),
                own.display(),
                if at > 0 { &replica_of } else { "" }
            );
            std::fs::create_dir_all(&own)?;
            let file = own.join("redis.conf");
            std::fs::write(&file, settings)?;
            let mut command = command(program);
            command.arg(&file);
            Process::start(command, &own)
        };
        nodes.iter().enumerate().map(start).collect()
    }

    async fn ready(&self, folder: &Path) -> Result<Cluster> {
        let nodes = free_addresses::<3>()?;
        let mut processes = self.spawn(folder, &nodes)?;
        let [master, ..] = nodes;
        wait_for("the replicas", &mut processes, async || {
            let told = ask(master, "INFO replication").await?;
            let online = told.matches("state=online").count();
            ensure!(online == 2, "not two replicas: {told}");
            Ok(())
        })
        .await?;
        let mut version = String::new();
        for node in nodes {
            for (name, value) in [("appendonly", "yes"), ("appendfsync", "always")] {
                let told = ask(node, &format!("CONFIG GET {name}")).await?;
                ensure!(told.contains(value), "{name} of {node}: {told}");
            }
            let told = ask(node, "INFO server").await?;
            let line = told
                .lines()
                .find_map(|line| line.strip_prefix("redis_version:"));
            line.unwrap_or_default().clone_into(&mut version);
        }
        let way = |name, shape| Way {
            name,
            durability: DURABILITY,
            shape,
            dial: Box::new(Master { master }),
        };
        Ok(Cluster {
            nodes: processes,
            ways: vec![
                way("redis, WAIT each", |work, _| match work {
                    Work::Waiting(_) => Some(work.one_a_connection()),
                    Work::Bulk(_) => None,
                }),
                way("redis, WAIT a batch", |work, shared| {
                    Some(work.shared(shared))
                }),
            ],
            said: format!("redis {version}, appendfsync always on all three, 2 replicas"),
        })
    }
}

impl Peer for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn missing(&self) -> Option<String> {
        missing(self.program.as_ref(), "redis-server")
    }

    fn start<'a>(&'a self, folder: &'a Path) -> LocalBoxFuture<'a, Result<Cluster>> {
        self.ready(folder).boxed_local()
    }
}

/// An inline command's answer, as far as it came at once.
async fn ask(address: SocketAddr, text: &str) -> Result<String> {
    let mut stream = connect(address).await?;
    stream
        .write_all(format!("{text}\r\nQUIT\r\n").as_bytes())
        .await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Master {
    master: SocketAddr,
}

impl Dial for Master {
    fn dial(&self, _: usize, _: Work) -> LocalBoxFuture<'_, Result<Link>> {
        async {
            let stream = connect(self.master).await?;
            Ok(Link::new(stream, Batches { sent: 0, added: 0 }))
        }
        .boxed_local()
    }
}

/// So many `XADD`, then one `WAIT`: its answer acknowledges them all.
struct Batches {
    sent: usize,
    added: usize,
}

impl Wire for Batches {
    fn submit(&mut self, _number: u64, document: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"*5\r\n$4\r\nXADD\r\n$5\r\nbench\r\n$1\r\n*\r\n$1\r\nd\r\n$");
        out.extend_from_slice(document.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(document);
        out.extend_from_slice(b"\r\n");
        self.sent += 1;
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$4\r\n5000\r\n");
    }

    fn answers(&mut self, bytes: &[u8], waiting: &mut Waiting, _: &mut Vec<u8>) -> Result<usize> {
        let mut taken = 0;
        while let Some((answer, len)) = Answer::first(bytes.get(taken..).unwrap_or_default())? {
            match answer {
                Answer::Id => self.added += 1,
                Answer::Count(replicas) => {
                    ensure!(replicas >= 1, "no replica has it");
                    ensure!(self.added == self.sent, "WAIT was answered before XADD");
                    waiting.settle_oldest(self.sent)?;
                    (self.sent, self.added) = (0, 0);
                }
            }
            taken += len;
        }
        Ok(taken)
    }

    fn is_batched(&self) -> bool {
        true
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// `$15␍␊1700000000000-0␍␊`, of `XADD`.
    Id,
    /// `:2␍␊`, of `WAIT`.
    Count(u64),
}

impl Answer {
    fn first(bytes: &[u8]) -> Result<Option<(Self, usize)>> {
        let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let line = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
        if let Some(count) = line.strip_prefix(':') {
            return Ok(Some((Self::Count(count.parse()?), end + 2)));
        }
        let len = line.strip_prefix('$').and_then(|len| len.parse().ok());
        let len: usize = len.with_context(|| format!("answered: {line}"))?;
        let whole = end + 2 + len + 2;
        Ok((bytes.len() >= whole).then_some((Self::Id, whole)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const ID: &str = "$3\r\n1-0\r\n";

    fn sent(count: usize) -> (Batches, Waiting) {
        let (mut wire, mut waiting) = (Batches { sent: 0, added: 0 }, Waiting::new(Instant::now()));
        for _ in 0..count {
            let number = waiting.push(Instant::now());
            wire.submit(number, b"{}", &mut Vec::new());
        }
        (wire, waiting)
    }

    #[test]
    fn only_the_answer_to_wait_acknowledges() {
        let (mut wire, mut waiting) = sent(2);
        let mut take = |text: String, waiting: &mut Waiting| {
            wire.answers(text.as_bytes(), waiting, &mut Vec::new())
        };
        assert_eq!(18, take(format!("{ID}{ID}:"), &mut waiting).unwrap());
        assert_eq!(2, waiting.len());
        assert_eq!(4, take(":1\r\n".to_owned(), &mut waiting).unwrap());
        assert_eq!(0, waiting.len());
    }

    #[test]
    fn no_replica_or_an_error_or_a_missing_answer_is_told() {
        for text in ["$3\r\n1-0\r\n:0\r\n", "-OOM no memory\r\n", ":1\r\n"] {
            let (mut wire, mut waiting) = sent(1);
            let taken = wire.answers(text.as_bytes(), &mut waiting, &mut Vec::new());
            assert!(taken.is_err(), "{text}");
        }
    }
}
