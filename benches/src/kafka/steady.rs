//! Steady traffic: how much later than its receipt a submission is readable in Kafka.
//!
//! Holds: the clock of a record runs from its receipt to the moment when a consumer that reads only
//! what is committed has it, in this same process. Requests leave at fixed times, whatever the answers
//! do, so a slow minute is not hidden. They begin when the consumer has read all that came before them:
//! its own first half second is no part of what is measured.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use hdrhistogram::Histogram;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::Arguments;
use super::broker::{Broker, PARTITIONS, client};
use super::node::{Node, number_of, post};

const TOPIC: &str = "steady";
/// Requests a second; each carries its share of the rate.
const REQUESTS: u64 = 100;
/// The last record has arrived within this of the last receipt.
const PATIENCE: Duration = Duration::from_secs(30);

/// When each record was acknowledged, by its number.
type Receipts = Arc<Mutex<Vec<Option<Instant>>>>;

pub(super) async fn run(
    arguments: &Arguments,
    broker: &Broker,
    folder: &Path,
    duration: Duration,
) -> Result<()> {
    let rate = arguments.rate;
    println!(
        "\nsteady: {rate} submissions a second for {} s",
        duration.as_secs()
    );
    let node = Node::start(&arguments.binary, &folder.join("steady"), broker).await?;
    broker.topic(TOPIC).await?;
    node.define("steady", TOPIC).await?;
    // The task has opened, and everything is warm.
    let warm = rate;
    node.fill(warm).await?;
    node.delivered("steady", warm).await?;

    let lines = rate.div_ceil(REQUESTS);
    let requests = duration.as_secs() * REQUESTS;
    let receipts: Receipts = Arc::new(Mutex::new(vec![None; usize::try_from(lines * requests)?]));
    let (address, seen) = (broker.address, Arc::clone(&receipts));
    let (ready, is_ready) = oneshot::channel();
    let reader = tokio::task::spawn_blocking(move || read(address, (warm, ready), &seen));
    if is_ready.await.is_err() {
        reader.await??;
        bail!("the consumer ended before it began");
    }
    let mut sent = JoinSet::new();
    let began = Instant::now();
    for request in 0..requests {
        let at = began + Duration::from_micros(1_000_000 / REQUESTS * request);
        tokio::time::sleep_until(at.into()).await;
        let (http, receipts) = (node.http, Arc::clone(&receipts));
        sent.spawn(async move {
            let numbers = request * lines..(request + 1) * lines;
            post(http, numbers.clone()).await?;
            let now = Instant::now();
            let range = usize::try_from(numbers.start)?..usize::try_from(numbers.end)?;
            let mut receipts = receipts.lock().unwrap_or_else(PoisonError::into_inner);
            receipts.get_mut(range).unwrap_or_default().fill(Some(now));
            anyhow::Ok(())
        });
    }
    while let Some(one) = sent.join_next().await {
        one??;
    }
    let later = reader.await??;
    let at = |quantile: f64| later.value_at_quantile(quantile);
    println!(
        "readable in Kafka after its receipt: p50 {} ms, p99 {} ms, p99.9 {} ms, of {} records",
        at(0.5),
        at(0.99),
        at(0.999),
        later.len()
    );
    Ok(())
}

/// Reads every record once, and says how long after its receipt each one came, in milliseconds. Tells
/// when the first `skip`, which have none, are behind it.
fn read(
    address: std::net::SocketAddr,
    (skip, ready): (u64, oneshot::Sender<()>),
    receipts: &Receipts,
) -> Result<Histogram<u64>> {
    let consumer: BaseConsumer = client(address)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "10")
        .create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(TOPIC, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let mut later = Histogram::new(3)?;
    let mut early = Vec::new();
    let expected = receipts
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .len();
    let (mut skipped, mut ready) = (0, Some(ready));
    let mut last = Instant::now();
    while later.len() + u64::try_from(early.len())? < u64::try_from(expected)? {
        ensure!(
            last.elapsed() < PATIENCE,
            "nothing more comes after {}",
            later.len()
        );
        let Some(message) = consumer.poll(Duration::from_millis(5)) else {
            continue;
        };
        let message = message?;
        last = Instant::now();
        if skipped < skip {
            skipped += 1;
            if skipped == skip
                && let Some(ready) = ready.take()
            {
                // Whoever waits for it may have given up.
                ready.send(()).ok();
            }
            continue;
        }
        let number = number_of(message.payload().unwrap_or_default())?;
        let receipts = receipts.lock().unwrap_or_else(PoisonError::into_inner);
        match receipts.get(number).copied().flatten() {
            Some(receipt) => later.record(millis(last, receipt))?,
            // Its receipt is on the way to the client still.
            None => early.push((number, last)),
        }
    }
    // Every receipt is there by now, or will be in a moment; they came after the record did.
    for _ in early {
        later.record(0)?;
    }
    Ok(later)
}

fn millis(came: Instant, receipt: Instant) -> u64 {
    let later = came.saturating_duration_since(receipt).as_millis();
    u64::try_from(later).unwrap_or(u64::MAX)
}
