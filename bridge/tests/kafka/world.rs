//! What every case works with: a broker, sinks that lead there, and a reader of our own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bridge::testing::telling_sink_of;
use bridge::{
    CsvConfig, KafkaConfig, Lane, Life, Metrics, Notes, NowMs, OsFiles, Sink, SinkSpec, Sinks,
};
use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::broker::Brokers;

/// The cluster that all sinks belong to.
pub(crate) const CLUSTER: &str = "0123456789abcdef";

pub(crate) struct World {
    pub(crate) brokers: Brokers,
}

/// A record as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<String>,
    pub(crate) body: String,
    pub(crate) timestamp_ms: i64,
    pub(crate) headers: Vec<(String, String)>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn seq(&self) -> u64 {
        self.header("formspool-seq").parse().expect("a seq")
    }
}

/// A sink of `task`, in this life, on a node with these settings.
pub(crate) fn sink_with(
    config: &KafkaConfig,
    task: &str,
    incarnation: u64,
    settings: &Value,
) -> Box<dyn Sink> {
    sink_and_notes(config, task, incarnation, settings).0
}

/// The same, and what it tells.
pub(crate) fn sink_and_notes(
    config: &KafkaConfig,
    task: &str,
    incarnation: u64,
    settings: &Value,
) -> (Box<dyn Sink>, Notes) {
    let mut sinks = Sinks::new(&CsvConfig::default(), Arc::new(OsFiles), CLUSTER);
    let now_ms: NowMs = Arc::new(wall_ms);
    sinks.add_kafka(config, CLUSTER, now_ms, &Metrics::default());
    let spec = SinkSpec {
        name: Arc::from("kafka"),
        settings: settings.clone(),
    };
    let life = Life {
        lane: Lane::of_all(task),
        incarnation,
    };
    telling_sink_of(&sinks, &spec, &life)
}

/// The present time, for records that must not be old.
pub(crate) fn wall_ms() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("a time after 1970");
    u64::try_from(since.as_millis()).expect("a time before the end of it")
}

impl World {
    /// One broker, for many cases.
    pub(crate) fn start() -> Self {
        Self {
            brokers: Brokers::start(1, ""),
        }
    }

    /// The node's settings; seconds where it has minutes.
    pub(crate) fn config(&self) -> KafkaConfig {
        KafkaConfig {
            bootstrap: vec![self.brokers.addresses.clone()],
            transaction_timeout_ms: 10_000,
            loss_confirm_ms: 1000,
            ..KafkaConfig::default()
        }
    }

    /// A sink of `task`, in this life.
    pub(crate) fn sink(&self, task: &str, incarnation: u64, settings: &Value) -> Box<dyn Sink> {
        sink_with(&self.config(), task, incarnation, settings)
    }

    /// A consumer without a past.
    pub(crate) fn consumer(&self, isolation: &str) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.brokers.addresses)
            .set("group.id", "a-reader")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", isolation)
            .create()
            .expect("a consumer")
    }

    /// All of a topic, partition by partition, as a `read_committed` reader sees it.
    pub(crate) fn read(&self, topic: &str) -> Vec<Seen> {
        self.read_as(topic, "read_committed")
    }

    pub(crate) fn read_as(&self, topic: &str, isolation: &str) -> Vec<Seen> {
        let consumer = self.consumer(isolation);
        let patience = Duration::from_secs(10);
        let metadata = consumer
            .fetch_metadata(Some(topic), patience)
            .expect("metadata");
        let partitions = metadata.topics()[0].partitions().len();
        let mut seen = Vec::new();
        for partition in 0..i32::try_from(partitions).expect("few") {
            let mut place = TopicPartitionList::new();
            place
                .add_partition_offset(topic, partition, Offset::Beginning)
                .expect("a place");
            consumer.assign(&place).expect("assigned");
            loop {
                match consumer.poll(patience).expect("an end in time") {
                    Ok(message) => seen.push(seen_of(&message)),
                    Err(KafkaError::PartitionEOF(_)) => break,
                    Err(error) => panic!("{topic}: {error}"),
                }
            }
        }
        seen
    }
}

/// A producer that is not ours, with any transactional id.
pub(crate) fn producer(world: &World, transactional_id: &str) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &world.brokers.addresses)
        .set("transactional.id", transactional_id)
        .set("transaction.timeout.ms", "60000")
        .create()
        .expect("a producer");
    producer.init_transactions(PATIENCE).expect("fenced");
    producer
}

/// Hands it a record and waits until the broker has it.
pub(crate) fn send(producer: &BaseProducer, topic: &str, key: &str, body: &str, timestamp_ms: u64) {
    let record = BaseRecord::to(topic)
        .partition(0)
        .key(key)
        .payload(body)
        .timestamp(i64::try_from(timestamp_ms).expect("a time"));
    producer
        .send(record)
        .map_err(|(error, _)| error)
        .expect("sent");
    producer.flush(PATIENCE).expect("arrived");
}

/// For anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

impl World {
    fn admin(&self) -> (AdminClient<DefaultClientContext>, AdminOptions) {
        let admin = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers.addresses)
            .create()
            .expect("an admin client");
        let options = AdminOptions::new()
            .request_timeout(Some(PATIENCE))
            .operation_timeout(Some(PATIENCE));
        (admin, options)
    }

    /// Makes a topic and waits until it is there.
    pub(crate) async fn make(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let (admin, options) = self.admin();
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (name, value) in configs {
            topic = topic.set(name, value);
        }
        let made = admin
            .create_topics([&topic], &options)
            .await
            .expect("an answer");
        assert_eq!(made, [Ok(name.to_owned())]);
        self.until(|| self.partitions(name) == Some(partitions))
            .await;
    }

    /// Gives a topic so many partitions.
    pub(crate) async fn grow(&self, name: &str, partitions: i32) {
        let (admin, options) = self.admin();
        let count = usize::try_from(partitions).expect("some");
        let more = NewPartitions::new(name, count);
        let grown = admin
            .create_partitions([&more], &options)
            .await
            .expect("an answer");
        assert_eq!(grown, [Ok(name.to_owned())]);
        self.until(|| self.partitions(name) == Some(partitions))
            .await;
    }

    pub(crate) async fn delete(&self, name: &str) {
        let (admin, options) = self.admin();
        let deleted = admin
            .delete_topics(&[name], &options)
            .await
            .expect("an answer");
        assert_eq!(deleted, [Ok(name.to_owned())]);
        self.until(|| self.partitions(name).is_none()).await;
    }

    /// Deletes what lies before this offset of the first partition, as retention does.
    pub(crate) async fn delete_up_to(&self, name: &str, offset: i64) {
        let (admin, options) = self.admin();
        let mut place = TopicPartitionList::new();
        place
            .add_partition_offset(name, 0, Offset::Offset(offset))
            .expect("a place");
        let deleted = admin
            .delete_records(&place, &options)
            .await
            .expect("an answer");
        for place in deleted.elements() {
            place.error().expect("deleted");
        }
    }

    /// What a topic or a broker is set to.
    pub(crate) async fn configs(&self, of: ResourceSpecifier<'_>) -> BTreeMap<String, String> {
        let (admin, options) = self.admin();
        let told = admin
            .describe_configs([&of], &options)
            .await
            .expect("an answer");
        let resource = told.into_iter().next().expect("one").expect("its settings");
        let entries = resource.entries.into_iter();
        entries
            .filter_map(|entry| Some((entry.name, entry.value?)))
            .collect()
    }

    /// How many partitions a topic has.
    pub(crate) fn partitions(&self, name: &str) -> Option<i32> {
        let asks = self.consumer("read_committed");
        let metadata = asks.fetch_metadata(Some(name), PATIENCE).expect("metadata");
        let topic = &metadata.topics()[0];
        let count = i32::try_from(topic.partitions().len()).expect("few");
        (topic.error().is_none() && count > 0).then_some(count)
    }

    /// Waits for something that brokers do: they tell nobody, so they are asked again and again.
    pub(crate) async fn until(&self, is_so: impl Fn() -> bool) {
        let looks = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(3 * PATIENCE, looks).await;
        assert!(waited.is_ok(), "it never came to it");
    }
}

fn seen_of(message: &rdkafka::message::BorrowedMessage<'_>) -> Seen {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| {
                (
                    header.key.to_owned(),
                    text(header.value.unwrap_or_default()),
                )
            })
            .collect()
    });
    Seen {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(text),
        body: message.payload().map(text).unwrap_or_default(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or_default(),
        headers,
    }
}

/// A task's settings for one broker, with these besides.
pub(crate) fn weak(more: &Value) -> Value {
    let mut settings = json!({ "replication": 1, "min_insync": 1, "accept_weak": true });
    let (Some(all), Some(more)) = (settings.as_object_mut(), more.as_object()) else {
        panic!("settings are tables");
    };
    all.extend(more.clone());
    settings
}
