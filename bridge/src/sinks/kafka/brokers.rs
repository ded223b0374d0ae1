//! What brokers say of themselves and of topics, and the making of topics.
//!
//! Holds: looking changes nothing. A topic is made only by `make`, with its replication named, never
//! by a broker's defaults. Every question has a time limit; what a broker will not tell us (we may
//! not ask for configurations everywhere) is `None`, not a failure.
//!
//! Why two clients: nobody hears what an admin client complains of. So a producer that sends nothing asks
//! all that it can, and says why it has no connection; the other one is made where a broker has answered.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, Producer as _};

use super::client::{Access, TRANSACTIONS, Told};
use super::fault::{Fault, Kind};
use super::fleeting::Fleeting;
use super::producer::listen;

/// For one question.
const ANSWER: Duration = Duration::from_secs(5);

/// For settings: what cannot be told is unknown, and nobody waits for it for long.
const SETTINGS: Duration = Duration::from_secs(2);

/// For a new topic to have leaders everywhere.
const SPREAD: Duration = Duration::from_secs(10);

/// Settings by name, as a broker tells them.
pub(super) type Configs = BTreeMap<String, String>;

/// Asks brokers.
pub(super) struct Brokers {
    asks: Fleeting<BaseProducer<Told>>,
    admin: OnceCell<Fleeting<AdminClient<Told>>>,
    access: Access,
}

/// A topic as the brokers have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicShape {
    pub(super) partitions: Vec<PartitionShape>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartitionShape {
    pub(super) has_leader: bool,
    pub(super) replicas: usize,
    pub(super) in_sync: usize,
}

/// A topic to make.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) partitions: i32,
    pub(super) replication: i32,
    pub(super) min_insync: i32,
    /// `delete` or `compact`.
    pub(super) cleanup: &'static str,
}

impl TopicShape {
    /// How many partitions it has.
    pub(super) fn count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    pub(super) fn replicas_min(&self) -> usize {
        self.partitions
            .iter()
            .map(|partition| partition.replicas)
            .min()
            .unwrap_or(0)
    }

    pub(super) fn in_sync_min(&self) -> usize {
        self.partitions
            .iter()
            .map(|partition| partition.in_sync)
            .min()
            .unwrap_or(0)
    }

    fn is_led(&self) -> bool {
        self.partitions.iter().all(|partition| partition.has_leader)
    }
}

impl Brokers {
    /// Sets up; asks nothing yet.
    pub(super) fn new(access: &Access) -> Result<Self, Fault> {
        let asks = access
            .client("formspool-asks")
            .create_with_context(Told::default());
        let asks = asks.map_err(|error| Fault::of("set up a client", &error))?;
        Ok(Self {
            asks: Fleeting::new(asks),
            admin: OnceCell::new(),
            access: access.clone(),
        })
    }

    /// The ids of all brokers; also tells whether any answers.
    pub(super) fn ids(&self) -> Result<Vec<i32>, Fault> {
        let metadata = self.metadata("ask for the brokers", TRANSACTIONS)?;
        Ok(metadata
            .brokers()
            .iter()
            .map(rdkafka::metadata::MetadataBroker::id)
            .collect())
    }

    /// Kafka's own id of its cluster.
    pub(super) fn cluster_id(&self) -> Option<String> {
        self.asks.client().fetch_cluster_id(ANSWER)
    }

    /// A topic, `None` if there is none.
    pub(super) fn topic(&self, name: &str) -> Result<Option<TopicShape>, Fault> {
        let doing = || format!("look at topic {name}");
        let metadata = self.metadata(&doing(), name)?;
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Ok(None);
        };
        if let Some(error) = topic.error() {
            let code = RDKafkaErrorCode::from(error);
            let is_gone = matches!(
                code,
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic
            );
            return if is_gone {
                Ok(None)
            } else {
                Err(Fault::of_code(&doing(), code))
            };
        }
        let partitions = topic.partitions().iter().map(|partition| PartitionShape {
            has_leader: partition.leader() >= 0,
            replicas: partition.replicas().len(),
            in_sync: partition.isr().len(),
        });
        Ok(Some(TopicShape {
            partitions: partitions.collect(),
        }))
    }

    /// The settings of a topic; `None` where we may not know them.
    pub(super) fn topic_configs(&self, name: &str) -> Option<Configs> {
        self.configs(&ResourceSpecifier::Topic(name))
    }

    /// The settings of a broker; `None` where we may not know them.
    pub(super) fn broker_configs(&self, id: i32) -> Option<Configs> {
        self.configs(&ResourceSpecifier::Broker(id))
    }

    fn configs(&self, of: &ResourceSpecifier<'_>) -> Option<Configs> {
        if self.access.mute.is_on() {
            return None;
        }
        let options = AdminOptions::new().request_timeout(Some(SETTINGS));
        let admin = self.admin().ok()?;
        let answer = block_on(admin.describe_configs([of], &options), ANSWER);
        if answer.as_ref().is_none_or(Result::is_err) {
            self.access.mute.set();
        }
        let answer = answer?;
        let resource = answer.ok()?.into_iter().next()?.ok()?;
        let entries = resource.entries.into_iter();
        Some(
            entries
                .filter_map(|entry| Some((entry.name, entry.value?)))
                .collect(),
        )
    }

    /// Makes a topic and waits until it has leaders.
    pub(super) fn make(&self, wanted: &Wanted<'_>) -> Result<TopicShape, Fault> {
        let doing = format!(
            "make topic {} with {} partitions, replication {}, min.insync.replicas {}",
            wanted.name, wanted.partitions, wanted.replication, wanted.min_insync
        );
        let min_insync = wanted.min_insync.to_string();
        let topic = NewTopic::new(
            wanted.name,
            wanted.partitions,
            TopicReplication::Fixed(wanted.replication),
        )
        .set("min.insync.replicas", &min_insync)
        .set("cleanup.policy", wanted.cleanup)
        .set("unclean.leader.election.enable", "false");
        let options = AdminOptions::new()
            .request_timeout(Some(ANSWER))
            .operation_timeout(Some(ANSWER));
        let made = self.admin()?.create_topics([&topic], &options);
        let answer = block_on(made, ANSWER + ANSWER)
            .ok_or_else(|| Fault::late(&doing))?
            .map_err(|error| self.fault(&doing, &error))?;
        for made in answer {
            if let Err((_, code)) = made
                && code != RDKafkaErrorCode::TopicAlreadyExists
            {
                return Err(Fault::of_code(&doing, code));
            }
        }
        tracing::info!(
            topic = wanted.name,
            partitions = wanted.partitions,
            "topic made"
        );
        let deadline = Instant::now() + SPREAD;
        loop {
            if let Some(shape) = self.topic(wanted.name)?
                && shape.is_led()
                && !shape.partitions.is_empty()
            {
                return Ok(shape);
            }
            if deadline <= Instant::now() {
                return Err(Fault::late(&doing));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn admin(&self) -> Result<&AdminClient<Told>, Fault> {
        if let Some(admin) = self.admin.get() {
            return Ok(admin);
        }
        let admin = self
            .access
            .client("formspool-admin")
            .create_with_context(Told::default());
        let admin = admin.map_err(|error| Fault::of("set up the admin client", &error))?;
        Ok(self.admin.get_or_init(|| Fleeting::new(admin)))
    }

    fn metadata(&self, doing: &str, topic: &str) -> Result<Metadata, Fault> {
        let asked = self.asks.client().fetch_metadata(Some(topic), ANSWER);
        asked.map_err(|error| self.fault(doing, &error))
    }

    /// The fault of an answer; where there is none, with what the client that asks has heard meanwhile: an
    /// address, a certificate, a password. An outage costs no more than its question.
    fn fault(&self, doing: &str, error: &KafkaError) -> Fault {
        let mut fault = Fault::of(&format!("{doing} at {}", self.access.servers), error);
        if fault.kind == Kind::Away {
            listen(&self.asks);
            let words = self.asks.context().words();
            if !words.is_empty() {
                fault.words = format!("{}: {words}", fault.words);
            }
        }
        fault
    }
}

/// Wakes the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for one of librdkafka's answers on this thread; `None`: not within `patience`.
fn block_on<T>(answer: impl Future<Output = T>, patience: Duration) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let deadline = Instant::now() + patience;
    loop {
        if let Poll::Ready(answer) = answer.as_mut().poll(&mut context) {
            return Some(answer);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpListener;

    use crate::config::KafkaConfig;

    use super::*;

    fn brokers(servers: String) -> Brokers {
        let access = Access::new(&KafkaConfig::default(), servers).unwrap();
        Brokers::new(&access).unwrap()
    }

    #[test]
    fn brokers_that_do_not_answer_are_asked_by_one_client() {
        // Connections are made, and nobody ever says a word.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        silent.set_nonblocking(true).unwrap();
        let brokers = brokers(silent.local_addr().unwrap().to_string());
        let began = Instant::now();
        let fault = brokers.ids().unwrap_err();
        assert_eq!(fault.kind, Kind::Away, "{fault}");
        assert!(began.elapsed() < ANSWER + Duration::from_secs(1));
        let mut clients = 0;
        let end = loop {
            match silent.accept() {
                Ok(_) => clients += 1,
                Err(error) => break error.kind(),
            }
        };
        assert_eq!((clients, end), (1, ErrorKind::WouldBlock));
    }

    #[test]
    fn why_there_is_no_connection_is_told_at_every_try() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = nobody.local_addr().unwrap().to_string();
        drop(nobody);
        for _ in 0..2 {
            let fault = brokers(address.clone()).ids().unwrap_err();
            assert_eq!(fault.kind, Kind::Away, "{fault}");
            assert!(fault.words.contains("refused"), "{fault}");
        }
    }
}
