//! What the promise costs: acknowledged submissions a second, beside a server that stores nothing
//! and beside the bare disk, in the same run.
//!
//! Holds: the three are measured in turn in each round, so that a noisy minute hits all; the figures
//! told are medians of the rounds and ratios; durability stands beside every figure.
#![expect(clippy::print_stdout, reason = "a program for eyes")]
#![expect(
    clippy::cast_precision_loss,
    reason = "rates are shown with three digits"
)]

mod ask;
mod cluster;
mod document;
mod kafka;
mod load;
mod no_store;
mod process;
mod raw;
mod server;
mod stats;
mod usage;
mod wal;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use hdrhistogram::Histogram;

use server::Server;
use stats::{median, ratios};

/// The product's, so that the server that stores nothing has no other.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(
    about = "Acknowledged submissions a second, beside a server that stores nothing and the bare disk."
)]
struct Arguments {
    /// The release binary of the product.
    #[arg(long, default_value = "target/release/formspool")]
    binary: PathBuf,
    /// Where data and the raw file go: it must be the disk that you want to know about.
    #[arg(long, default_value = "target")]
    folder: PathBuf,
    /// Rounds; medians are told.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds a measurement.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// Only the server that stores nothing, on this address.
    NoStore { address: std::net::SocketAddr },
    /// Only the clients, against a server that listens already: for a profiler.
    Load {
        address: std::net::SocketAddr,
        connections: usize,
        seconds: u64,
    },
    /// The write-ahead log beside the bare device, and beside other logs where they are built in.
    Wal(wal::Arguments),
    /// Three nodes, and three of each peer that is installed.
    Cluster(cluster::Arguments),
    /// The Kafka task on one real broker, beside librdkafka's own idempotent producer.
    Kafka(kafka::Arguments),
}

const CONNECTIONS: [usize; 3] = [1, 64, 1000];

/// One server's or device's figures over the rounds.
#[derive(Default)]
struct Row {
    rates: Vec<f64>,
    p50: Vec<u64>,
    p99: Vec<u64>,
}

impl Row {
    fn add(&mut self, rate: f64, latencies: &Histogram<u64>) {
        self.rates.push(rate);
        self.p50.push(latencies.value_at_quantile(0.5));
        self.p99.push(latencies.value_at_quantile(0.99));
    }

    fn show(&self, name: &str, durability: &str) {
        println!(
            "{name:<24} {durability:<10} {:>10.0} /s   p50 {:>7} us   p99 {:>8} us",
            median(&self.rates),
            median(&self.p50),
            median(&self.p99)
        );
    }
}

/// The median of the ratios round by round.
fn ratio(part: &Row, whole: &Row) -> f64 {
    median(&ratios(&part.rates, &whole.rates))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Part::Wal(arguments)) = &arguments.part {
        // Without a runtime: nothing of it shall run beside the log.
        return wal::run(arguments);
    }
    if let Some(Part::Cluster(arguments)) = &arguments.part {
        return cluster::run(arguments);
    }
    if let Some(Part::Kafka(arguments)) = &arguments.part {
        return tokio::runtime::Runtime::new()?.block_on(kafka::run(arguments));
    }
    tokio::runtime::Runtime::new()?.block_on(over_http(arguments))
}

async fn over_http(arguments: Arguments) -> Result<()> {
    match arguments.part {
        Some(Part::NoStore { address }) => return no_store::serve(address).await,
        Some(Part::Load {
            address,
            connections,
            seconds,
        }) => {
            let seen = load::run(address, connections, Duration::from_secs(seconds)).await?;
            let mut row = Row::default();
            row.add(seen.rate, &seen.latencies);
            row.show("clients", "");
            return Ok(());
        }
        Some(Part::Wal(_) | Part::Cluster(_) | Part::Kafka(_)) | None => {}
    }
    let folder = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&arguments.folder)?;
    let duration = Duration::from_secs(arguments.seconds);
    println!(
        "{} rounds of {} s each; medians. Submissions of 150 bytes, one request under way a connection.",
        arguments.rounds, arguments.seconds
    );
    for connections in CONNECTIONS {
        let (mut raw_row, mut bare, mut product) = (Row::default(), Row::default(), Row::default());
        for round in 0..arguments.rounds {
            let (rate, latencies) = raw::measure(folder.path(), duration)?;
            raw_row.add(rate, &latencies);
            let server = Server::no_store().await?;
            let seen = load::run(server.address, connections, duration).await?;
            bare.add(seen.rate, &seen.latencies);
            drop(server);
            let data_dir = folder.path().join(format!("data-{connections}-{round}"));
            let server = Server::product(&arguments.binary, &data_dir).await?;
            let seen = load::run(server.address, connections, duration).await?;
            product.add(seen.rate, &seen.latencies);
            drop(server);
            std::fs::remove_dir_all(&data_dir)?;
        }
        println!("\n{connections} connection(s)");
        raw_row.show("raw write + fdatasync", "one by one");
        bare.show("axum, stores nothing", "none");
        product.show("formspool", "fsync");
        println!(
            "formspool / stores nothing {:.2}   formspool / raw syncs {:.2}",
            ratio(&product, &bare),
            ratio(&product, &raw_row)
        );
    }
    Ok(())
}
