//! A backlog that drains, beside a producer that has nothing else to do.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::Arguments;
use super::broker::{Broker, client};
use super::node::Node;
use crate::document::{DOCUMENT_BYTES, Document};
use crate::stats::{median, ratios, spread};

/// The key of every record, as the task has it: one form, one key.
const KEY: &str = "student-data";

/// The headers that a task gives a record, as long as ours are: name, and value. The numbers follow.
const HEADERS: [(&str, &str); 6] = [
    ("formspool-id", "01939e5c-8a5e-7000-8000-0123456789ab"),
    ("formspool-form", KEY),
    ("formspool-cluster", "01939e5c-8a5e-7000-8000-0123456789ab"),
    ("formspool-received-at", "2025-11-24T16:00:00.123Z"),
    ("formspool-term", "1"),
    ("formspool-schema", "1"),
];

/// A part of the records that goes both ways before anything is measured: then the broker's code is
/// compiled, and its topic of transactions is there.
const WARM_PART: u64 = 5;

/// Between two looks at what has arrived, as ours.
const PACE: Duration = Duration::from_micros(300);

/// What the other producer's records carry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carries {
    /// Key, body and headers, as ours.
    All,
    /// Key and body.
    Body,
}

/// Records a second.
struct Round {
    ours: f64,
    /// With the same bytes in every record.
    theirs: f64,
    /// Without headers: about half of the bytes.
    bare: f64,
}

pub(super) async fn run(arguments: &Arguments, broker: &Broker, folder: &Path) -> Result<()> {
    let records = arguments.records;
    println!("\ndrain: a backlog of {records} documents of {DOCUMENT_BYTES} bytes, one key");
    round(arguments, (broker, folder), "warm", records / WARM_PART).await?;
    let (mut ours, mut theirs, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=arguments.rounds {
        let name = number.to_string();
        let round = round(arguments, (broker, folder), &name, records).await?;
        println!(
            "round {number}: ours {:.0}/s, idempotent producer {:.0}/s, without headers {:.0}/s",
            round.ours, round.theirs, round.bare
        );
        ours.push(round.ours);
        theirs.push(round.theirs);
        bare.push(round.bare);
    }
    println!(
        "median: ours, exactly once from the log on disk {:.0}/s",
        median(&ours)
    );
    for (what, theirs) in [
        ("of the same records from memory", theirs),
        ("of records without headers", bare),
    ] {
        let ratios = ratios(&ours, &theirs);
        let (least, most) = spread(&ratios);
        println!(
            "librdkafka's idempotent producer {what} {:.0}/s; ratio {:.2} ({least:.2}-{most:.2})",
            median(&theirs),
            median(&ratios)
        );
    }
    Ok(())
}

async fn round(
    arguments: &Arguments,
    (broker, folder): (&Broker, &Path),
    name: &str,
    records: u64,
) -> Result<Round> {
    let rate = |took: Duration| records as f64 / took.as_secs_f64();
    let own = folder.join(format!("drain-{name}"));
    let node = Node::start(&arguments.binary, &own, broker).await?;
    node.fill(records).await?;
    let topic = format!("ours-{name}");
    broker.topic(&topic).await?;
    let began = Instant::now();
    node.define("drain", &topic).await?;
    node.delivered("drain", records).await?;
    let ours = rate(began.elapsed());
    drop(node);
    std::fs::remove_dir_all(&own)?;
    let mut others = [0.0; 2];
    for (other, carries) in others.iter_mut().zip([Carries::All, Carries::Body]) {
        let topic = match carries {
            Carries::All => format!("theirs-{name}"),
            Carries::Body => format!("bare-{name}"),
        };
        broker.topic(&topic).await?;
        let address = broker.address;
        let took = tokio::task::spawn_blocking(move || produce(address, &topic, records, carries));
        *other = rate(took.await??);
    }
    let [theirs, bare] = others;
    Ok(Round { ours, theirs, bare })
}

/// As fast as the library goes: `acks=all`, idempotent, lz4, its own batching.
fn produce(
    address: std::net::SocketAddr,
    topic: &str,
    records: u64,
    carries: Carries,
) -> Result<Duration> {
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
        if carries == Carries::All {
            record = record.headers(headers(number));
        }
        while let Err((error, refused)) = producer.send(record) {
            let is_full = matches!(
                error,
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
            );
            ensure!(is_full, "{error}");
            listen(&producer);
            record = refused;
        }
    }
    while producer.in_flight_count() > 0 {
        listen(&producer);
    }
    Ok(began.elapsed())
}

/// Reads all reports that are there, or waits for a moment if there is none. A poll with a time would
/// spin until it is over, and take from the library what it needs itself.
fn listen(producer: &BaseProducer) {
    let before = producer.in_flight_count();
    let mut left = before;
    loop {
        producer.poll(Duration::ZERO);
        let now = producer.in_flight_count();
        if now >= left {
            break;
        }
        left = now;
    }
    if left == before {
        std::thread::sleep(PACE);
    }
}

fn headers(number: u64) -> OwnedHeaders {
    let number = number.to_string();
    let numbers = [("formspool-seq", &*number), ("formspool-index", &*number)];
    let all = HEADERS.into_iter().chain(numbers);
    all.fold(
        OwnedHeaders::new_with_capacity(9),
        |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        },
    )
}
