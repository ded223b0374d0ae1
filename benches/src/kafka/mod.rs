//! The Kafka task beside librdkafka's own idempotent producer, on one real broker, in one run.
//!
//! Three questions: how fast does a backlog drain, how much later than its receipt is a submission
//! readable in Kafka while traffic is steady, and does memory stay flat while Kafka is away.
//!
//! Holds: in each round both drain the same number of documents of the same size, under one key and
//! with headers of the same length, into a new topic of the same broker, which has met both before; the
//! broker has one replica and does not flush, so figures of speed are those of the client. Ours is
//! transactional and read from the log on disk; the other's documents lie ready in its memory. What it
//! does without our headers, half of the bytes, is told too.

mod broker;
mod drain;
mod memory;
mod node;
mod steady;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use self::broker::Broker;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Records of the backlog, 300 bytes each.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Rounds of draining; medians are told.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Submissions a second while traffic is steady.
    #[arg(long, default_value_t = 5000)]
    rate: u64,
    /// Seconds of steady traffic.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// MiB of bodies that are accepted while Kafka is away.
    #[arg(long, default_value_t = 1024)]
    backlog_mib: u64,
    /// Only these parts: drain, steady, memory; by comma.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The release binary of the product.
    #[arg(long, default_value = "target/release/formspool")]
    binary: PathBuf,
    /// Where `deploy/dev/setup.sh kafka` lays down the broker.
    #[arg(long, default_value = "target/peers")]
    peers: PathBuf,
    /// Where the data goes: it must be the disk that you want to know about.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
}

/// Measures and tells.
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("bench-kafka-")
        .tempdir_in(&arguments.dir)
        .with_context(|| format!("make a folder in {}", arguments.dir.display()))?;
    let folder = std::path::absolute(folder.path())?;
    let is_asked =
        |part: &str| arguments.only.is_empty() || arguments.only.iter().any(|one| one == part);
    println!(
        "one broker of Kafka on this machine, replication 1, no flush; log: fsync on one node"
    );
    let broker = Broker::start(&arguments.peers, &folder.join("broker")).await?;
    if is_asked("drain") {
        drain::run(arguments, &broker, &folder).await?;
    }
    if is_asked("steady") {
        steady::run(
            arguments,
            &broker,
            &folder,
            Duration::from_secs(arguments.seconds),
        )
        .await?;
    }
    if is_asked("memory") {
        memory::run(arguments, &broker, &folder).await?;
    }
    Ok(())
}
