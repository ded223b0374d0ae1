//! For people: the audit on demand, and a reader of what a task's topics hold.
//!
//! Holds: nothing is changed, no group is joined, no offset is stored. The reader sees what every
//! `read_committed` consumer sees, from the first offset that is kept to the last that is stable when
//! it begins. Both block: call them on a thread made for it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::audit::{self, Finding, Subject};
use super::brokers::Brokers;
use super::client::{Access, Isolation};
use super::producer;
use super::setup::{House, Setup};
use crate::config::KafkaConfig;
use crate::metrics::Metrics;
use crate::record::Lane;
use crate::sinks::Life;
use crate::status::Notes;

/// A task as its definition names it.
#[derive(Clone, Debug)]
pub struct KafkaTask {
    /// Its name.
    pub name: String,
    /// The table `[kafka]`.
    pub settings: serde_json::Value,
    /// The forms that it moves.
    pub forms: Vec<String>,
    /// The cluster that it belongs to.
    pub cluster: String,
}

/// What the audit found.
#[derive(Clone, Debug)]
pub struct KafkaReport {
    /// Where Kafka was looked for.
    pub servers: String,
    /// Kafka's own id of its cluster.
    pub cluster: Option<String>,
    /// Every finding.
    pub findings: Vec<Finding>,
}

/// A record as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaRecord<'a> {
    /// Where it is.
    pub topic: &'a str,
    /// Where it is.
    pub partition: i32,
    /// Where it is.
    pub offset: i64,
    /// `formspool-cluster`; empty if it is not ours.
    pub cluster: &'a str,
    /// `formspool-form`.
    pub form: &'a str,
    /// `formspool-seq`, 0 if it is none.
    pub seq: u64,
    /// `formspool-id`.
    pub id: &'a str,
    /// Sent again because a person asked for it.
    pub is_replay: bool,
    /// The value.
    pub body: &'a [u8],
}

/// What of a partition there is to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSpan {
    /// Of which topic.
    pub topic: String,
    /// Which partition.
    pub partition: i32,
    /// The first offset that Kafka keeps: below it, retention has deleted.
    pub begin: i64,
    /// Behind the last one that is stable.
    pub end: i64,
}

/// No answer for so long is the end of the reader's patience.
const PATIENCE: Duration = Duration::from_secs(30);

/// For one question.
const ANSWER: Duration = Duration::from_secs(10);

/// Audits brokers and topics for `task`.
pub fn kafka_audit(config: &KafkaConfig, task: &KafkaTask) -> Result<KafkaReport, String> {
    let setup = setup(config, task)?;
    let manner = setup.manner(None, false);
    let producer = producer::profile(&setup.access, config, &manner).map_err(String::from)?;
    let brokers = Brokers::new(&setup.access).map_err(String::from)?;
    let subject = Subject {
        access: &setup.access,
        settings: &setup.settings,
        control: &setup.control,
        topics: topics(&setup, task),
        oldest_age_ms: 0,
        transaction_timeout_ms: config.transaction_timeout_ms,
        keepalive_ms: config.keepalive_ms,
        producer: &producer,
    };
    let findings = audit::audit(&brokers, &subject).map_err(String::from)?;
    Ok(KafkaReport {
        servers: setup.access.servers.clone(),
        cluster: brokers.cluster_id(),
        findings,
    })
}

/// What there is to read of the task's topics; a topic that is not there has nothing.
pub fn kafka_spans(config: &KafkaConfig, task: &KafkaTask) -> Result<Vec<KafkaSpan>, String> {
    let setup = setup(config, task)?;
    let brokers = Brokers::new(&setup.access).map_err(String::from)?;
    let reader = reader(&setup.access)?;
    let mut spans = Vec::new();
    for topic in topics(&setup, task) {
        let shape = brokers.topic(&topic).map_err(String::from)?;
        for partition in 0..shape.map_or(0, |shape| shape.count()) {
            let (begin, end) = reader
                .fetch_watermarks(&topic, partition, ANSWER)
                .map_err(|error| format!("look at {topic}/{partition}: {error}"))?;
            spans.push(KafkaSpan {
                topic: topic.clone(),
                partition,
                begin,
                end,
            });
        }
    }
    Ok(spans)
}

/// Reads `spans`, partition after partition, and shows each record.
pub fn kafka_read(
    config: &KafkaConfig,
    task: &KafkaTask,
    spans: &[KafkaSpan],
    mut show: impl FnMut(&KafkaRecord<'_>),
) -> Result<(), String> {
    let setup = setup(config, task)?;
    let reader = reader(&setup.access)?;
    for span in spans.iter().filter(|span| span.begin < span.end) {
        read(&reader, span, &mut show)?;
    }
    Ok(())
}

fn read(
    reader: &BaseConsumer,
    span: &KafkaSpan,
    show: &mut impl FnMut(&KafkaRecord<'_>),
) -> Result<(), String> {
    let doing = |error: &KafkaError| format!("read {}/{}: {error}", span.topic, span.partition);
    let mut place = TopicPartitionList::new();
    place
        .add_partition_offset(&span.topic, span.partition, Offset::Offset(span.begin))
        .and_then(|()| reader.assign(&place))
        .map_err(|error| doing(&error))?;
    let mut heard = Instant::now();
    loop {
        match reader.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                if span.end <= message.offset() {
                    return Ok(());
                }
                look(&message, show);
            }
            // The rest of the span is markers, and records of aborted transactions.
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) if heard.elapsed() > PATIENCE => return Err(doing(&error)),
            None if heard.elapsed() > PATIENCE => {
                return Err(doing(&KafkaError::NoMessageReceived));
            }
            Some(Err(_)) | None => {}
        }
    }
}

fn look(message: &BorrowedMessage<'_>, show: &mut impl FnMut(&KafkaRecord<'_>)) {
    let header = |name: &str| {
        let headers = message.headers()?;
        let found = headers.iter().find(|header| header.key == name)?;
        std::str::from_utf8(found.value?).ok()
    };
    show(&KafkaRecord {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        cluster: header("formspool-cluster").unwrap_or_default(),
        form: header("formspool-form").unwrap_or_default(),
        seq: header("formspool-seq")
            .and_then(|seq| seq.parse().ok())
            .unwrap_or(0),
        id: header("formspool-id").unwrap_or_default(),
        is_replay: header("formspool-replay").is_some(),
        body: message.payload().unwrap_or_default(),
    });
}

fn reader(access: &Access) -> Result<BaseConsumer, String> {
    access
        .consumer("formspool-inspect", Isolation::Committed)
        .create()
        .map_err(|error| error.to_string())
}

fn topics(setup: &Setup, task: &KafkaTask) -> BTreeSet<String> {
    task.forms
        .iter()
        .map(|form| setup.settings.topic_of(form))
        .collect()
}

fn setup(config: &KafkaConfig, task: &KafkaTask) -> Result<Setup, String> {
    let house = House {
        config: config.clone(),
        cluster: task.cluster.clone(),
        now_ms: std::sync::Arc::new(|| 0),
        metrics: Metrics::default(),
    };
    let life = Life {
        lane: Lane::of_all(&task.name),
        incarnation: 0,
    };
    Setup::new(&house, &life, &task.settings, &Notes::default())
}
