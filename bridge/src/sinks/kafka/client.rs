//! librdkafka's clients: how each is set up, and what they tell beside their answers.
//!
//! Holds: every client is made here, so no client ever makes a topic by looking at it, and what
//! exactly once rests on is set in one place. Clients are made, used and dropped on threads of our
//! own: their calls block, and dropping one may wait for a broker.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{DeliveryResult, ProducerContext};

use super::own::Own as _;
use crate::config::KafkaConfig;
use crate::files::read_secret;

/// The topic in which brokers keep transactions: as good as any to ask about, where a list of all topics
/// can be long.
pub(super) const TRANSACTIONS: &str = "__transaction_state";

/// Where Kafka is, and how this node speaks to it.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) servers: String,
    pub(super) mute: Mute,
    properties: Vec<(String, String)>,
}

/// Brokers that do not answer a question about settings are not asked again for a while.
#[derive(Clone, Debug, Default)]
pub(super) struct Mute(Arc<Mutex<Option<Instant>>>);

impl Mute {
    pub(super) fn is_on(&self) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() < Duration::from_mins(1))
    }

    pub(super) fn set(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl Access {
    /// Reads the files of what is secret.
    pub(super) fn new(config: &KafkaConfig, servers: String) -> Result<Self, String> {
        let pairs = |list: &[String]| -> Vec<(String, String)> {
            let pairs = list.iter().filter_map(|pair| pair.split_once('='));
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        };
        let mut properties = pairs(&config.properties);
        for (name, file) in pairs(&config.secrets) {
            let value = read_secret(Path::new(&file))
                .map_err(|error| format!("cannot read {file} for {name}: {error}"))?;
            properties.push((name, value));
        }
        Ok(Self {
            servers,
            mute: Mute::default(),
            properties,
        })
    }

    /// How connections are secured.
    pub(super) fn protocol(&self) -> String {
        let named = self
            .properties
            .iter()
            .find(|(name, _)| name == "security.protocol");
        named.map_or_else(|| "plaintext".to_owned(), |(_, value)| value.clone())
    }

    /// What every client begins with.
    pub(super) fn client(&self, name: &str) -> ClientConfig {
        let mut client = ClientConfig::new();
        for (name, value) in &self.properties {
            client.set(name, value);
        }
        client
            .own("bootstrap.servers", &self.servers)
            .own("client.id", name)
            // A look at a missing topic must not make it, with whatever the broker's defaults are.
            .own("allow.auto.create.topics", "false")
            .own("socket.keepalive.enable", "true")
            // A broker that is back is met again within a second. Half of the first pause is also what a new
            // client waits before it connects at all, and an opening makes three.
            .own("reconnect.backoff.ms", "20")
            .own("reconnect.backoff.max.ms", "1000")
            // The lines that tell of lost connections are wanted: see `Told::wear`.
            .set_log_level(RDKafkaLogLevel::Info);
        client
    }

    /// A consumer of its own partitions: no group is ever joined, nothing is ever stored there.
    pub(super) fn consumer(&self, name: &str, isolation: Isolation) -> ClientConfig {
        let mut client = self.client(name);
        client
            .own("group.id", name)
            .own("enable.auto.commit", "false")
            .own("enable.auto.offset.store", "false")
            .own("auto.offset.reset", "error")
            .own("enable.partition.eof", "true")
            .own(
                "isolation.level",
                match isolation {
                    Isolation::Committed => "read_committed",
                    Isolation::Uncommitted => "read_uncommitted",
                },
            );
        client
    }
}

/// Why librdkafka, as it is built here, does not take a property.
pub(crate) fn property_problem(name: &str, value: &str) -> Option<String> {
    let mut client = ClientConfig::new();
    client.set(name, value);
    let error = client.create_native_config().err()?;
    let why = if let KafkaError::ClientConfig(_, why, _, _) = error {
        why
    } else {
        error.to_string()
    };
    let advice = if cfg!(not(feature = "kafka-tls")) && why.contains("OpenSSL") {
        " (feature kafka-tls)"
    } else {
        ""
    };
    Some(format!("kafka: {name}: {why}{advice}"))
}

/// Whether a reader sees open and aborted transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
    Committed,
    Uncommitted,
}

/// What librdkafka tells beside its answers.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Lost connections and requests without an answer, so far.
    wear: AtomicU64,
    /// The last of them, in librdkafka's words.
    words: Mutex<String>,
    flight: Mutex<Flight>,
}

/// What became of the records of one transaction.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Where they lie, by topic (as numbered by the sender) and partition.
    pub(super) spans: BTreeMap<(u32, i32), Span>,
    /// The first that failed by itself, else the first that was put away for another's sake.
    pub(super) failed: Option<(RDKafkaErrorCode, Tag)>,
}

/// What one transaction has of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: i64,
    pub(super) last: i64,
    /// Which record lies at the last offset, as numbered by the sender.
    pub(super) record: u32,
}

impl Span {
    fn widen(&mut self, offset: i64, record: u32) {
        self.first = self.first.min(offset);
        if self.last < offset {
            (self.last, self.record) = (offset, record);
        }
    }
}

/// What a record carries through librdkafka: the number of its topic, and its own within the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) topic: u32,
    pub(super) record: u32,
}

impl Tag {
    /// The number of what is no record of the batch: the cursor, the mark.
    pub(super) const OURS: u32 = u32::MAX;

    pub(super) fn pack(self) -> usize {
        const { assert!(usize::BITS == 64, "a tag is two numbers in one") };
        (self.topic as usize) << 32 | self.record as usize
    }

    fn unpack(packed: usize) -> Self {
        let half = |value: usize| u32::try_from(value & 0xffff_ffff).unwrap_or(Self::OURS);
        Self {
            topic: half(packed >> 32),
            record: half(packed),
        }
    }
}

impl Told {
    /// Counts what costs a producer its epoch: see `fault.rs`.
    pub(super) fn wear(&self) -> u64 {
        self.wear.load(Ordering::Relaxed)
    }

    /// What librdkafka complained of last; empty if it never did.
    pub(super) fn words(&self) -> String {
        self.words
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection was lost, a request was not answered, or a connection was not made. The last
    /// carried no request of ours, so it wears nothing; librdkafka says it in its words only.
    fn complains(&self, words: &str) {
        const NOT_YET_UP: [&str; 4] = [
            "in state INIT",
            "in state DOWN",
            "in state TRY_CONNECT",
            "in state CONNECT",
        ];
        if !NOT_YET_UP.iter().any(|state| words.contains(state)) {
            self.wear.fetch_add(1, Ordering::Relaxed);
        }
        self.says(words);
    }

    fn says(&self, words: &str) {
        words.clone_into(&mut self.words.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl ClientContext for Told {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match facility {
            "FAIL" | "REQTMOUT" => self.complains(message),
            // Why a transaction has failed: its records' reports may only say that it did.
            "TXNERR" => self.says(message),
            _ => {}
        }
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if matches!(
            code,
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::OperationTimedOut
                    | RDKafkaErrorCode::Resolve
                    | RDKafkaErrorCode::Authentication
            )
        ) {
            self.complains(reason);
        }
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Told {}

impl ProducerContext for Told {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, packed: usize) {
        let tag = Tag::unpack(packed);
        let mut flight = self.flight();
        match result {
            // A report of something that had been there already names no offset.
            Ok(message) if message.offset() < 0 => {}
            Ok(message) => {
                let (offset, record) = (message.offset(), tag.record);
                let here = Span {
                    first: offset,
                    last: offset,
                    record,
                };
                let span = flight.spans.entry((tag.topic, message.partition()));
                span.and_modify(|span| span.widen(offset, record))
                    .or_insert(here);
            }
            Err((error, _)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                if flight
                    .failed
                    .is_none_or(|(known, _)| is_purged(known) && !is_purged(code))
                {
                    flight.failed = Some((code, tag));
                }
            }
        }
    }
}

/// True of a record that failed because its transaction did.
pub(super) fn is_purged(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_the_way_through_librdkafka() {
        for (topic, record) in [(0, 0), (7, 49_999), (3, Tag::OURS), (u32::MAX, u32::MAX)] {
            let tag = Tag { topic, record };
            assert_eq!(Tag::unpack(tag.pack()), tag);
        }
    }

    #[test]
    fn a_connection_that_was_lost_wears_and_one_that_was_never_made_does_not() {
        let told = Told::default();
        told.log(
            RDKafkaLogLevel::Error,
            "FAIL",
            "a:1/1: Connect failed (after 0ms in state CONNECT)",
        );
        told.log(
            RDKafkaLogLevel::Info,
            "CONFWARN",
            "never mind (in state UP)",
        );
        assert_eq!(told.wear(), 0);
        assert!(told.words().contains("Connect failed"));
        told.log(
            RDKafkaLogLevel::Info,
            "FAIL",
            "a:1/1: Disconnected (after 9ms in state UP)",
        );
        told.log(
            RDKafkaLogLevel::Warning,
            "REQTMOUT",
            "Timed out 1 in-flight requests",
        );
        told.error(
            KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure),
            "x",
        );
        assert_eq!(told.wear(), 3);
    }

    #[test]
    fn what_this_build_cannot_do_is_told_with_what_it_lacks() {
        assert_eq!(property_problem("socket.timeout.ms", "9000"), None);
        let told = property_problem("no.such.thing", "1").unwrap();
        assert!(told.contains("no.such.thing"), "{told}");
        let told = property_problem("security.protocol", "SASL_SSL");
        if cfg!(feature = "kafka-tls") {
            assert_eq!(told, None);
        } else {
            assert!(told.unwrap().ends_with("(feature kafka-tls)"));
        }
    }

    #[test]
    fn a_secret_is_read_from_its_file_and_no_client_makes_topics() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "geheim\n").unwrap();
        let mut config = KafkaConfig::default();
        config
            .secrets
            .push(format!("sasl.password={}", file.display()));
        let access = Access::new(&config, "a:1".to_owned()).unwrap();
        let client = access.client("x");
        assert_eq!(client.get("sasl.password"), Some("geheim"));
        assert_eq!(client.get("allow.auto.create.topics"), Some("false"));
        config
            .secrets
            .push("ssl.key.password=/nowhere/none".to_owned());
        assert!(Access::new(&config, "a:1".to_owned()).is_err());
    }
}
