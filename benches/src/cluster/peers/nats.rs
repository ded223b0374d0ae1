//! NATS `JetStream`: a stream on file with three replicas and `sync_interval: always`.
//!
//! Holds: the clients are connected to the stream's leader; an acknowledgement is the server's own,
//! with a sequence number. The text protocol:
//!
//! ```text
//! PUB bench _INBOX.7.42 300␍␊…document…␍␊      MSG _INBOX.7.42 1 30␍␊{"stream":"BENCH","seq":9}␍␊
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::load::{Link, Waiting, Wire};
use super::super::peer::{Cluster, Dial, Peer, Places, Way, connect, missing};
use super::super::work::Work;
use crate::ask::get;
use crate::process::{Process, command, find, free_addresses, wait_for};

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\
                       \"no_responders\":true,\"protocol\":1}\r\n";
const STREAM: &str = r#"{"name":"BENCH","subjects":["bench"],"storage":"file","num_replicas":3,"retention":"limits","discard":"old"}"#;

/// The server's program, where it is here.
pub(super) struct Nats {
    program: Option<PathBuf>,
}

#[derive(Clone, Copy)]
struct Node {
    clients: SocketAddr,
    routes: SocketAddr,
    monitor: SocketAddr,
}

impl Nats {
    pub(super) fn find(places: &Places) -> Self {
        let folder = places.peers.join("nats/bin");
        Self {
            program: find("nats-server", Some(&folder)),
        }
    }

    fn spawn(&self, folder: &Path, nodes: &[Node]) -> Result<Vec<Process>> {
        let program = self.program.as_ref().context("nats-server")?;
        let routes = nodes.iter().map(|node| format!("nats://{}", node.routes));
        let routes = routes.collect::<Vec<_>>().join(", ");
        let start = |(at, node): (usize, &Node)| {
            let number = at + 1;
            let own = folder.join(format!("node-{number}"));
            std::fs::create_dir_all(&own)?;
            let settings = format!(
                "server_name: n{number}\nlisten: \"{}\"\nhttp: \"{}\"\n\
                 jetstream {{ store_dir: \"{}\", sync_interval: always, max_file_store: 20GB }}\n\
                 cluster {{ name: bench, listen: \"{}\", routes: [{routes}] }}\n",
                node.clients,
                node.monitor,
                own.join("data").display(),
                node.routes,
            );
            let file = own.join("nats.conf");
            std::fs::write(&file, settings)?;
            let mut command = command(program);
            command.arg("-c").arg(&file);
            Process::start(command, &own)
        };
        nodes.iter().enumerate().map(start).collect()
    }

    async fn ready(&self, folder: &Path) -> Result<Cluster> {
        let nodes = [node()?, node()?, node()?];
        let mut processes = self.spawn(folder, &nodes)?;
        let [first, ..] = nodes;
        wait_for("the stream", &mut processes, async || {
            api(first.clients, "STREAM.CREATE.BENCH", STREAM).await
        })
        .await?;
        let leader = wait_for("the stream's replicas", &mut processes, async || {
            leader(&nodes).await
        })
        .await?;
        let mut version = String::new();
        for node in &nodes {
            version = check_sync(node.monitor).await?;
        }
        Ok(Cluster {
            nodes: processes,
            ways: vec![Way {
                name: "nats jetstream R3",
                durability: "fsync on a majority",
                shape: |work, shared| Some(work.shared(shared)),
                dial: Box::new(Server { leader }),
            }],
            said: format!("nats-server {version}, R3 on file, sync_always on all three"),
        })
    }
}

impl Peer for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn missing(&self) -> Option<String> {
        missing(self.program.as_ref(), "nats-server")
    }

    fn start<'a>(&'a self, folder: &'a Path) -> LocalBoxFuture<'a, Result<Cluster>> {
        self.ready(folder).boxed_local()
    }
}

fn node() -> Result<Node> {
    let [clients, routes, monitor] = free_addresses()?;
    Ok(Node {
        clients,
        routes,
        monitor,
    })
}

/// The server says itself that it syncs before it acknowledges; its version.
async fn check_sync(monitor: SocketAddr) -> Result<String> {
    let text = get(monitor, "/jsz", None).await?;
    let value: Value = serde_json::from_str(&text)?;
    let is_synced = value.pointer("/config/sync_always") == Some(&Value::Bool(true));
    let config = value.get("config");
    ensure!(is_synced, "sync_interval is not `always`: {config:?}");
    let text = get(monitor, "/varz", None).await?;
    let value: Value = serde_json::from_str(&text)?;
    let version = value.get("version").and_then(Value::as_str);
    Ok(version.unwrap_or("of unknown version").to_owned())
}

/// Where the stream's leader takes clients, when both replicas are current.
async fn leader(nodes: &[Node; 3]) -> Result<SocketAddr> {
    let [first, ..] = nodes;
    let info = api(first.clients, "STREAM.INFO.BENCH", "").await?;
    let replicas = info.pointer("/cluster/replicas").and_then(Value::as_array);
    let current = replicas.into_iter().flatten();
    let current = current.filter(|one| one.get("current") == Some(&Value::Bool(true)));
    ensure!(current.count() == 2, "not all replicas are current: {info}");
    let name = info.pointer("/cluster/leader").and_then(Value::as_str);
    let name = name.context("no leader")?;
    let number: usize = name.trim_start_matches('n').parse()?;
    let node = nodes.get(number - 1).context("a leader of another name")?;
    Ok(node.clients)
}

/// One question to the cluster's own subjects.
async fn api(address: SocketAddr, subject: &str, body: &str) -> Result<Value> {
    let (mut stream, mut bytes) = greeted(address, "_INBOX.api").await?;
    let request = format!(
        "PUB $JS.API.{subject} _INBOX.api {}\r\n{body}\r\n",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let read_answer = async {
        loop {
            match Told::first(&bytes)? {
                Some((Told::Answer { payload, .. }, _)) => {
                    let value: Value = serde_json::from_slice(payload)?;
                    ensure!(value.get("error").is_none(), "{subject}: {value}");
                    return Ok(value);
                }
                Some((Told::Ping | Told::Nothing, len)) => drop(bytes.drain(..len)),
                None => ensure!(stream.read_buf(&mut bytes).await? > 0, "closed"),
            }
        }
    };
    let patience = std::time::Duration::from_secs(5);
    tokio::time::timeout(patience, read_answer).await?
}

/// A connection that takes what is sent to `inbox`, and what it said after the greeting.
async fn greeted(address: SocketAddr, inbox: &str) -> Result<(TcpStream, Vec<u8>)> {
    const PONG: &[u8] = b"PONG\r\n";
    let mut stream = connect(address).await?;
    let hello = format!("{CONNECT}SUB {inbox} 1\r\nPING\r\n");
    stream.write_all(hello.as_bytes()).await?;
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(PONG.len()).position(|some| some == PONG) {
            let rest = bytes.split_off(at + PONG.len());
            return Ok((stream, rest));
        }
        let text = String::from_utf8_lossy(&bytes);
        ensure!(!text.contains("-ERR"), "{text}");
        ensure!(stream.read_buf(&mut bytes).await? > 0, "closed");
    }
}

struct Server {
    leader: SocketAddr,
}

impl Dial for Server {
    fn dial(&self, nth: usize, _: Work) -> LocalBoxFuture<'_, Result<Link>> {
        async move {
            let inbox = format!("_INBOX.{nth}");
            let (stream, unread) = greeted(self.leader, &format!("{inbox}.*")).await?;
            let wire = Box::new(Publisher { inbox });
            Ok(Link {
                stream,
                unread,
                wire,
            })
        }
        .boxed_local()
    }
}

/// Publishes; each submission has a subject for its acknowledgement.
struct Publisher {
    inbox: String,
}

impl Wire for Publisher {
    fn submit(&mut self, number: u64, document: &[u8], out: &mut Vec<u8>) {
        let head = format!("PUB bench {}.{number} {}\r\n", self.inbox, document.len());
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(document);
        out.extend_from_slice(b"\r\n");
    }

    fn answers(&mut self, bytes: &[u8], waiting: &mut Waiting, out: &mut Vec<u8>) -> Result<usize> {
        let mut taken = 0;
        while let Some((told, len)) = Told::first(bytes.get(taken..).unwrap_or_default())? {
            match told {
                Told::Answer { subject, payload } => {
                    let text = std::str::from_utf8(payload)?;
                    let is_ack = text.contains("\"seq\":") && !text.contains("\"error\"");
                    ensure!(is_ack, "not acknowledged: {text}");
                    let number = subject.rsplit('.').next().unwrap_or_default();
                    waiting.settle(number.parse()?)?;
                }
                Told::Ping => out.extend_from_slice(b"PONG\r\n"),
                Told::Nothing => {}
            }
            taken += len;
        }
        Ok(taken)
    }
}

/// What the server says.
enum Told<'a> {
    Answer { subject: &'a str, payload: &'a [u8] },
    Ping,
    Nothing,
}

impl<'a> Told<'a> {
    /// The first one and its length, if it is whole.
    fn first(bytes: &'a [u8]) -> Result<Option<(Self, usize)>> {
        let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let line = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
        let body = end + 2;
        let mut words = line.split(' ');
        match words.next() {
            Some("MSG") => {
                let subject = words.next().context("a message without a subject")?;
                let len: usize = words.next_back().unwrap_or_default().parse()?;
                let payload = bytes.get(body..body + len);
                let is_whole = bytes.len() >= body + len + 2;
                let payload = payload.filter(|_| is_whole);
                Ok(payload.map(|payload| (Self::Answer { subject, payload }, body + len + 2)))
            }
            Some("PING") => Ok(Some((Self::Ping, body))),
            Some("PONG" | "+OK" | "INFO") => Ok(Some((Self::Nothing, body))),
            // A message with a head: nobody listens to the stream's subject.
            _ => bail!("told: {line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn take(text: &str, waiting: &mut Waiting, out: &mut Vec<u8>) -> Result<usize> {
        let mut wire = Publisher {
            inbox: "_INBOX.7".to_owned(),
        };
        wire.answers(text.as_bytes(), waiting, out)
    }

    #[test]
    fn acknowledgements_are_taken_whole_and_pings_answered() {
        let mut waiting = Waiting::new(Instant::now());
        waiting.push(Instant::now());
        waiting.push(Instant::now());
        let first = "MSG _INBOX.7.1 1 9\r\n{\"seq\":3}\r\nPING\r\n";
        let text = format!("{first}MSG _INBOX.7.0 1 9\r\n{{\"seq\":4}}\r");
        let mut out = Vec::new();
        assert_eq!(first.len(), take(&text, &mut waiting, &mut out).unwrap());
        assert_eq!((1, &b"PONG\r\n"[..]), (waiting.len(), &out[..]));
    }

    #[test]
    fn a_refusal_is_an_error() {
        let mut waiting = Waiting::new(Instant::now());
        waiting.push(Instant::now());
        let body = r#"{"error":{"code":503},"seq":0}"#;
        for text in [
            format!("MSG _INBOX.7.0 1 {}\r\n{body}\r\n", body.len()),
            "HMSG _INBOX.7.0 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n".to_owned(),
            "-ERR 'Slow Consumer'\r\n".to_owned(),
        ] {
            let error = take(&text, &mut waiting, &mut Vec::new());
            assert!(error.is_err(), "{text}");
        }
    }
}
