//! One node of ours with a task that leads to the broker.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;

use super::broker::{Broker, PARTITIONS};
use crate::ask::{get, sample, send};
use crate::document::Document;
use crate::process::{Process, command, free_addresses, wait_for};
use crate::usage::Usage;

const TOKEN: &str = "a-token-for-the-benchmark-and-nothing-else";
const FORM: &str = "student-data";
/// Lines of one request.
const LINES: u64 = 2000;
/// Requests under way.
const CLIENTS: u64 = 4;
/// A backlog is gone within this.
const PATIENCE: Duration = Duration::from_mins(5);

/// Ended when dropped.
pub(super) struct Node {
    process: Process,
    pub(super) http: SocketAddr,
    ops: SocketAddr,
}

impl Node {
    /// Starts one, without a local sheet: only what is asked for is measured.
    pub(super) async fn start(binary: &Path, own: &Path, broker: &Broker) -> Result<Self> {
        let [http, ops] = free_addresses()?;
        std::fs::create_dir_all(own)?;
        let token = own.join("admin.token");
        std::fs::write(&token, TOKEN)?;
        let mut command = command(std::path::absolute(binary)?);
        command
            .arg("serve")
            .env("FORMSPOOL_DATA_DIR", own.join("data"))
            .env(
                "FORMSPOOL_DEFINITIONS",
                std::path::absolute("deploy/forms")?,
            )
            .env("FORMSPOOL_ADMIN__TOKEN_FILE", &token)
            .env("FORMSPOOL_HTTP__LISTEN", http.to_string())
            .env("FORMSPOOL_OPS__LISTEN", ops.to_string())
            .env("FORMSPOOL_KAFKA__BOOTSTRAP", broker.address.to_string());
        let mut process = Process::start(command, own)?;
        let nodes = std::slice::from_mut(&mut process);
        wait_for("formspool", nodes, async || get(ops, "/readyz", None).await).await?;
        Ok(Self { process, http, ops })
    }

    /// Has `records` documents accepted, many lines a request.
    pub(super) async fn fill(&self, records: u64) -> Result<()> {
        let next = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (next, http) = (Arc::clone(&next), self.http);
            clients.spawn(async move {
                loop {
                    let from = next.fetch_add(LINES, Ordering::Relaxed);
                    if from >= records {
                        return Ok(());
                    }
                    post(http, from..records.min(from + LINES)).await?;
                }
            });
        }
        while let Some(client) = clients.join_next().await {
            let done: Result<()> = client?;
            done?;
        }
        Ok(())
    }

    /// Begins a task that mirrors the form into `topic`, which exists.
    pub(super) async fn define(&self, task: &str, topic: &str) -> Result<()> {
        let definition = json!({
            "name": task,
            "forms": [FORM],
            "sink": "kafka",
            "start": "beginning",
            "kafka": {
                "topic": topic,
                "partitions": PARTITIONS,
                "replication": 1,
                "min_insync": 1,
                "accept_weak": true,
            },
        });
        let path = format!("/v1/tasks/{task}");
        let body = definition.to_string();
        let content = ("application/json", body.as_bytes());
        send(self.http, ("PUT", &path), Some(TOKEN), content).await?;
        Ok(())
    }

    /// Waits until the task has delivered so many.
    pub(super) async fn delivered(&self, task: &str, records: u64) -> Result<()> {
        let name = format!("formspool_sink_delivered_records_total{{task=\"{task}\"}}");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = get(self.ops, "/metrics", None).await?;
            let seen: u64 = sample(&metrics, &name).map_or(Ok(0), str::parse)?;
            if seen >= records {
                return Ok(());
            }
            if Instant::now() > deadline {
                let status = get(self.http, "/v1/status", Some(TOKEN)).await?;
                anyhow::bail!("{seen} of {records} delivered: {status}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) fn rss_mib(&self) -> f64 {
        let bytes = Usage::of(&[self.process.id()]).rss_bytes;
        bytes as f64 / f64::from(1 << 20)
    }
}

/// Posts one request of many lines; every line must be acknowledged.
pub(super) async fn post(http: SocketAddr, numbers: std::ops::Range<u64>) -> Result<()> {
    let mut document = Document::of_client(0);
    let mut body = Vec::new();
    let count = numbers.end - numbers.start;
    for number in numbers {
        body.extend_from_slice(document.numbered(number));
        body.push(b'\n');
    }
    let path = format!("/v1/forms/{FORM}/submissions");
    let content = ("application/x-ndjson", &body[..]);
    let answer = send(http, ("POST", &path), None, content).await?;
    let lines = answer.lines();
    let receipts = lines.filter(|line| line.contains("\"seq\":")).count();
    let receipts = u64::try_from(receipts)?;
    let told = || {
        format!(
            "{receipts} of {count}: {}",
            answer.get(..300).unwrap_or_default()
        )
    };
    ensure!(receipts == count, "{}", told());
    Ok(())
}

/// The number in a document.
pub(super) fn number_of(document: &[u8]) -> Result<usize> {
    let text = std::str::from_utf8(document)?;
    let (_, rest) = text.split_once("\"0000-").context("a document of ours")?;
    Ok(rest.get(..10).context("ten digits")?.parse()?)
}
