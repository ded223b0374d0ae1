//! A backlog that drains, beside a producer that has nothing else to do.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::Arguments;
use super::broker::{Broker, client};
use super::node::Node;
use crate::document::{DOCUMENT_BYTES, Document};
use crate::stats::{median, ratios, spread};

/// The key of every record, as the task has it: one form, one key.
const KEY: &str = "student-data";

pub(super) async fn run(arguments: &Arguments, broker: &Broker, folder: &Path) -> Result<()> {
    let records = arguments.records;
    println!("\ndrain: a backlog of {records} documents of {DOCUMENT_BYTES} bytes, one key");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=arguments.rounds {
        let own = folder.join(format!("drain-{round}"));
        let node = Node::start(&arguments.binary, &own, broker).await?;
        node.fill(records).await?;
        let topic = format!("ours-{round}");
        broker.topic(&topic).await?;
        let began = Instant::now();
        node.define("drain", &topic).await?;
        node.delivered("drain", records).await?;
        ours.push(records as f64 / began.elapsed().as_secs_f64());
        drop(node);
        std::fs::remove_dir_all(&own)?;

        let topic = format!("theirs-{round}");
        broker.topic(&topic).await?;
        let address = broker.address;
        let took = tokio::task::spawn_blocking(move || produce(address, &topic, records));
        theirs.push(records as f64 / took.await??.as_secs_f64());
        println!(
            "round {round}: ours {:.0}/s, idempotent producer {:.0}/s",
            ours.last().copied().unwrap_or_default(),
            theirs.last().copied().unwrap_or_default()
        );
    }
    let ratios = ratios(&ours, &theirs);
    let (least, most) = spread(&ratios);
    println!(
        "median: ours, exactly once from the log on disk {:.0}/s; librdkafka's idempotent producer \
         from memory {:.0}/s; ratio {:.2} ({least:.2}-{most:.2})",
        median(&ours),
        median(&theirs),
        median(&ratios)
    );
    Ok(())
}

/// As fast as the library goes: `acks=all`, idempotent, lz4, its own batching.
fn produce(address: std::net::SocketAddr, topic: &str, records: u64) -> Result<Duration> {
    let producer: BaseProducer = client(address)
        .set("enable.idempotence", "true")
        .set("compression.codec", "lz4")
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.messages", "100000")
        .create()?;
    let mut document = Document::of_client(0);
    let began = Instant::now();
    for number in 0..records {
        let payload = document.numbered(number);
        let mut record = BaseRecord::to(topic).key(KEY).payload(payload);
        while let Err((error, refused)) = producer.send(record) {
            let is_full = matches!(
                error,
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
            );
            ensure!(is_full, "{error}");
            producer.poll(Duration::from_millis(1));
            record = refused;
        }
    }
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(1));
    }
    Ok(began.elapsed())
}
