//! Settings of the Kafka sink that are this node's own: where Kafka is, what it may see of us, and how
//! much is under way. What a task sends where is in its definition.
//!
//! Holds: no password stands here. A property that is secret is named with the file that holds it.

mod ours;

use std::collections::BTreeSet;
#[cfg(feature = "kafka")]
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[cfg(all(test, feature = "kafka"))]
pub(crate) use ours::all_ours;
pub(crate) use ours::why_ours;

/// Settings of the Kafka sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// Brokers to ask first, as `host:port`; a task may name others.
    pub bootstrap: Vec<String>,
    /// How long an open transaction may hold back readers after we have died.
    pub transaction_timeout_ms: u64,
    /// A task without records writes its cursor again after this.
    pub keepalive_ms: u64,
    /// How often brokers and topics are looked at.
    pub audit_every_ms: u64,
    /// What looks lost must look so for this long before the task stops.
    pub loss_confirm_ms: u64,
    /// Records of one transaction, at most.
    pub batch_records_max: usize,
    /// Bytes of bodies of one transaction, at most.
    pub batch_bytes_max: usize,
    /// Requests under way to one broker.
    pub max_in_flight: u32,
    /// Tasks served at the same moment, each on a thread of its own.
    pub workers_max: usize,
    /// More settings of librdkafka, each as `security.protocol=SASL_SSL`.
    pub properties: Vec<String>,
    /// Settings of librdkafka that are secret, each as `sasl.password=/path/of/its/file`.
    pub secrets: Vec<String>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            bootstrap: Vec::new(),
            transaction_timeout_ms: 30_000, // below every broker's maximum; a successor does not wait for it
            keepalive_ms: 6 * 3_600_000,    // brokers forget an idle transactional id after 7 days
            audit_every_ms: 600_000,        // settings drift over weeks, replicas over minutes
            loss_confirm_ms: 20_000, // an election passes in seconds; a broker that is cut off is fenced in 9
            batch_records_max: 50_000, // the cost is per transaction: 75 ms for 100 records, 190 for these
            batch_bytes_max: 16 << 20, // three of them are in memory while a backlog drains
            max_in_flight: 5,          // what Kafka allows with idempotence; order holds with it
            workers_max: 16,           // memory; a task that waits for its Kafka holds its place
            properties: Vec::new(),
            secrets: Vec::new(),
        }
    }
}

impl KafkaConfig {
    /// Every fault of these settings, in words.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut between = |name: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                problems.push(format!(
                    "kafka.{name} is {value}; it must be {least} to {most}"
                ));
            }
        };
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        between(
            "transaction_timeout_ms",
            self.transaction_timeout_ms,
            1000,
            900_000,
        );
        between("keepalive_ms", self.keepalive_ms, 100, 3 * 86_400_000);
        between("audit_every_ms", self.audit_every_ms, 100, 86_400_000);
        between("loss_confirm_ms", self.loss_confirm_ms, 0, 600_000);
        between(
            "batch_records_max",
            wide(self.batch_records_max),
            1,
            500_000,
        );
        between("batch_bytes_max", wide(self.batch_bytes_max), 1, 256 << 20);
        between("max_in_flight", u64::from(self.max_in_flight), 1, 5);
        between("workers_max", wide(self.workers_max), 1, 1000);
        for server in &self.bootstrap {
            problems.extend(server_problem(server).map(|why| format!("kafka.bootstrap: {why}")));
        }
        let mut names = BTreeSet::new();
        for pair in self.properties.iter().chain(&self.secrets) {
            let Some((name, _)) = pair.split_once('=').filter(|(name, _)| !name.is_empty()) else {
                problems.push(format!("kafka: {pair:?} is not name=value"));
                continue;
            };
            if let Some(why) = why_ours(name) {
                problems.push(format!("kafka: {name} is not for a person to set: {why}"));
            }
            if !names.insert(name) {
                problems.push(format!("kafka: {name} is set twice"));
            }
        }
        #[cfg(feature = "kafka")]
        problems.extend(self.refused());
        let plain = self
            .properties
            .iter()
            .filter_map(|pair| pair.split_once('='));
        for (name, _) in plain.filter(|(name, _)| is_secret(name)) {
            problems.push(format!(
                "kafka.properties: {name} is a secret: put it into a file and name that in \
                 kafka.secrets"
            ));
        }
        problems
    }

    /// What librdkafka does not take; of secrets it is asked with something of no meaning.
    #[cfg(feature = "kafka")]
    fn refused(&self) -> Vec<String> {
        use crate::sinks::property_problem;
        let named = |pair: &'_ String| {
            let (name, value) = pair.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        let plain = self.properties.iter().filter_map(named);
        let secret = self.secrets.iter().filter_map(named);
        let secret = secret.map(|(name, _)| (name, "x".to_owned()));
        let all = plain.chain(secret);
        let all = all.filter(|(name, _)| !name.is_empty() && why_ours(name).is_none());
        all.filter_map(|(name, value)| property_problem(&name, &value))
            .collect()
    }

    #[cfg(feature = "kafka")]
    pub(crate) fn transaction_timeout(&self) -> Duration {
        Duration::from_millis(self.transaction_timeout_ms)
    }
}

fn is_secret(name: &str) -> bool {
    name.ends_with("password") || name.ends_with("secret") || name == "ssl.key.pem"
}

/// What is wrong with a broker's address.
pub(crate) fn server_problem(server: &str) -> Option<String> {
    let port = server
        .rsplit_once(':')
        .map(|(host, port)| (host, port.parse::<u16>()));
    match port {
        Some((host, Ok(port)))
            if !host.is_empty() && port > 0 && !host.contains([',', '/', ' ']) =>
        {
            None
        }
        _ => Some(format!("{server:?} is not host:port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exactly_once_rests_on_is_not_for_a_person_to_set() {
        let mut config = KafkaConfig::default();
        assert_eq!(config.problems(), Vec::<String>::new());
        for name in ["acks", "transactional.id", "sasl.password"] {
            config.properties.push(format!("{name}=x"));
        }
        config.properties.push("acks".to_owned());
        config.secrets.push("acks=/run/secrets/acks".to_owned());
        config.bootstrap = vec![
            "a:9092".to_owned(),
            "b".to_owned(),
            "c:9092,d:9092".to_owned(),
        ];
        config.max_in_flight = 6;
        config.keepalive_ms = 7 * 86_400_000;
        assert_eq!(config.problems().len(), 10, "{:#?}", config.problems());
    }
}
