//! Three nodes of ours beside three of each peer: submissions acknowledged a second.
//!
//! Holds: in each round every cluster has its turn alone on the machine, on empty disks, so that a
//! noisy minute hits all; what an acknowledgement means is looked up in the running cluster and
//! stands beside its figures. `benches/README.md` tells how to read it.

mod load;
mod measure;
mod peer;
mod peers;
mod table;
mod work;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use self::measure::Bench;
use self::peer::{Peer, Places};
use self::table::Table;
use self::work::Work;
use crate::document::DOCUMENT_BYTES;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Nodes of ours; the peers always have three.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    nodes: u8,
    /// Rounds; medians are told.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds a measurement, after a quarter of it to warm up.
    #[arg(long, default_value = "3", value_parser = super::wal::seconds)]
    seconds: Duration,
    /// Submissions that wait for their acknowledgement at once, each by itself.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1000],
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    waiting: Vec<u32>,
    /// Connections with 500 submissions under way each; 0 leaves this part out.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(0..=32))]
    bulk: u32,
    /// Connections at most that the clients of the peers share what waits over.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    shared: u8,
    /// Only these clusters; by comma.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Also measures our clients spread over all nodes, not only at the leader.
    #[arg(long)]
    spread: bool,
    /// The release binary of the product.
    #[arg(long, default_value = "target/release/formspool")]
    binary: PathBuf,
    /// Where `deploy/dev/setup.sh bench` lays down what is no package of the system.
    #[arg(long, default_value = "target/peers")]
    peers: PathBuf,
    /// Where the data goes: it must be the disk that you want to know about.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// Every round as one JSON document, instead of the medians as text.
    #[arg(long)]
    json: bool,
}

/// Measures and tells. One thread for all clients: see `load`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (mut interrupted, mut ended) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        // Whoever stops it drops it, and with it each server and folder.
        tokio::select! {
            biased;
            _ = interrupted.recv() => bail!("interrupted"),
            _ = ended.recv() => bail!("ended"),
            done = measure(arguments) => done,
        }
    })
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("bench-cluster-")
        .tempdir_in(&arguments.dir)
        .with_context(|| format!("make a folder in {}", arguments.dir.display()))?;
    let (peers, skipped) = peers(arguments)?;
    let mut works = Vec::new();
    for count in &arguments.waiting {
        works.push(Work::Waiting(usize::try_from(*count)?));
    }
    if arguments.bulk > 0 {
        works.push(Work::Bulk(usize::try_from(arguments.bulk)?));
    }
    let mut bench = Bench {
        folder: std::path::absolute(folder.path())?,
        duration: arguments.seconds,
        shared: usize::from(arguments.shared),
        tables: works.into_iter().map(Table::new).collect(),
        said: Vec::new(),
        failed: skipped,
    };
    for round in 1..=arguments.rounds {
        let told = |name: &str| {
            if !arguments.json {
                println!("round {round} of {}: {name}", arguments.rounds);
            }
        };
        bench.round(&peers, told).await?;
    }
    if arguments.json {
        let setting = json!({
            "document_bytes": DOCUMENT_BYTES,
            "rounds": arguments.rounds,
            "seconds": arguments.seconds.as_secs_f64(),
            "nodes": arguments.nodes,
            "shared_connections": arguments.shared,
            "clusters": bench.said,
            "left_out": bench.failed,
        });
        println!("{}", json!({ "setting": setting, "tables": bench.tables }));
    } else {
        print!("{}", bench.text());
    }
    Ok(())
}

type Chosen = (Vec<Box<dyn Peer>>, Vec<String>);

/// Those that are asked for and here; words on those that are not here.
fn peers(arguments: &Arguments) -> Result<Chosen> {
    let places = Places {
        binary: arguments.binary.clone(),
        peers: arguments.peers.clone(),
    };
    let all = peers::all(&places, usize::from(arguments.nodes), arguments.spread);
    let names: Vec<&str> = all.iter().map(|peer| peer.name()).collect();
    if let Some(name) = arguments
        .only
        .iter()
        .find(|name| !names.contains(&name.as_str()))
    {
        bail!("no cluster {name}; there are {}", names.join(", "));
    }
    let (mut chosen, mut skipped) = (Vec::new(), Vec::new());
    for peer in all {
        let is_asked =
            arguments.only.is_empty() || arguments.only.iter().any(|name| name == peer.name());
        match peer.missing() {
            _ if !is_asked => {}
            Some(words) => skipped.push(format!("{}: {words}", peer.name())),
            None => chosen.push(peer),
        }
    }
    Ok((chosen, skipped))
}
