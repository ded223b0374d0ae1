//! The durability audit: what brokers and topics are set to, what they should be, and the line that
//! mends it.
//!
//! Holds: looking decides nothing. What can lose an acknowledged record is red, what can surprise is
//! amber; what we may not see is unknown, never green. A task that said `accept_weak` has its few
//! replicas shown amber: its owner has said so in words.

mod brokerwide;
mod topic;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};

use super::brokers::Brokers;
use super::client::{Access, TRANSACTIONS};
use super::fault::Fault;
use super::settings::Settings;
use super::topics;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Green,
    /// Not visible to us.
    Unknown,
    /// Can surprise, loses nothing by itself.
    Amber,
    /// Can lose what was acknowledged.
    Red,
}

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of what: `topic student-data: min.insync.replicas`.
    pub what: String,
    /// What it is.
    pub is: String,
    /// What it should be, and why.
    pub should_be: String,
    /// How grave that is.
    pub level: Level,
    /// The line that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// What is audited.
pub(super) struct Subject<'a> {
    pub(super) access: &'a Access,
    pub(super) settings: &'a Settings,
    pub(super) control: &'a str,
    /// Topics of records.
    pub(super) topics: BTreeSet<String>,
    /// How old the oldest record was that waited for delivery lately.
    pub(super) oldest_age_ms: u64,
    pub(super) transaction_timeout_ms: u64,
    pub(super) keepalive_ms: u64,
    /// Our own producer's settings, as librdkafka has understood them.
    pub(super) producer: &'a [(&'static str, String)],
}

/// The largest submission that a node takes, as it is set by default, with its headers.
const RECORD_BYTES: i64 = (256 << 10) + (4 << 10);

/// What a setting should be.
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) should_be: String,
    /// Where it is not.
    pub(super) level: Level,
    pub(super) is_met: Box<dyn Fn(&str) -> bool>,
    /// The value that mends it, if one is right for everybody.
    pub(super) mend: Option<String>,
}

impl Rule {
    pub(super) fn new(
        name: &'static str,
        level: Level,
        should_be: impl Into<String>,
        is_met: impl Fn(&str) -> bool + 'static,
    ) -> Self {
        Self {
            name,
            should_be: should_be.into(),
            level,
            is_met: Box::new(is_met),
            mend: None,
        }
    }

    #[must_use]
    pub(super) fn mended_by(self, value: impl Into<String>) -> Self {
        Self {
            mend: Some(value.into()),
            ..self
        }
    }
}

/// At least so much.
pub(super) fn at_least(least: i64) -> impl Fn(&str) -> bool {
    move |value| value.parse::<i64>().is_ok_and(|value| value >= least)
}

/// Looks at everything.
pub(super) fn audit(brokers: &Brokers, subject: &Subject<'_>) -> Result<Vec<Finding>, Fault> {
    let ids = brokers.ids()?;
    let mut findings = brokerwide::findings(brokers, subject, &ids);
    let mut names: Vec<(&str, topic::Role)> = vec![(subject.control, topic::Role::Control)];
    names.extend(
        subject
            .topics
            .iter()
            .map(|name| (name.as_str(), topic::Role::Records)),
    );
    names.push((TRANSACTIONS, topic::Role::Internal));
    names.push(("__consumer_offsets", topic::Role::Internal));
    for (name, role) in names {
        findings.extend(topic::findings(brokers, subject, name, role)?);
    }
    findings.extend(producer(subject));
    findings.push(consumers());
    Ok(findings)
}

/// What we hold ourselves to.
fn producer(subject: &Subject<'_>) -> Vec<Finding> {
    let rules = [
        Rule::new("acks", Level::Red, "all (-1)", |value| {
            matches!(value, "-1" | "all")
        }),
        Rule::new("enable.idempotence", Level::Red, "true", |value| {
            value == "true"
        }),
        Rule::new(
            "max.in.flight.requests.per.connection",
            Level::Red,
            "1 to 5: order and once hold with each",
            |value| {
                value
                    .parse::<u32>()
                    .is_ok_and(|most| (1..=5).contains(&most))
            },
        ),
        Rule::new("transactional.id", Level::Red, "the task's own", |value| {
            !value.is_empty()
        }),
        Rule::new("allow.auto.create.topics", Level::Red, "false", |value| {
            value == "false"
        }),
    ];
    let judged = rules.into_iter().map(|rule| {
        let told = subject.producer.iter().find(|(name, _)| *name == rule.name);
        let is = told.map_or("", |(_, value)| value.as_str());
        Finding {
            what: format!("producer: {}", rule.name),
            is: is.to_owned(),
            level: if (rule.is_met)(is) {
                Level::Green
            } else {
                rule.level
            },
            should_be: rule.should_be,
            mend: None,
        }
    });
    judged.collect()
}

/// What no broker tells.
fn consumers() -> Finding {
    Finding {
        what: "consumers".to_owned(),
        is: "not visible from here; nor are fsync on the brokers' disks and their racks".to_owned(),
        should_be: "enable.auto.commit=false, isolation.level=read_committed: Java consumers read \
                    aborted records by default"
            .to_owned(),
        level: Level::Unknown,
        mend: None,
    }
}

/// The audit as it stands in a task's status: the worst first, and what is green only counted.
pub(super) fn told(findings: &[Finding]) -> Value {
    let mut shown: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.level > Level::Green)
        .collect();
    shown.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    json!({ "green": findings.len() - shown.len(), "findings": shown })
}

/// How many there are of a level.
pub(super) fn count(findings: &[Finding], level: Level) -> usize {
    findings
        .iter()
        .filter(|finding| finding.level == level)
        .count()
}

/// Why a task does not write to a topic that can lose records: too few replicas, or too few that must
/// have one. `None` if it is strong enough, or the task has said that it need not be.
pub(super) fn weakness(
    settings: &Settings,
    name: &str,
    shape: &super::brokers::TopicShape,
    min_insync: Option<i64>,
) -> Option<String> {
    let replicas = shape.replicas_min();
    let is_weak = replicas < REPLICAS || min_insync.is_some_and(|min| min < MIN_INSYNC);
    if !is_weak || settings.accept_weak {
        return None;
    }
    let min = min_insync.map_or("unknown".to_owned(), |min| min.to_string());
    Some(format!(
        "topic {name} has {replicas} replicas and min.insync.replicas {min}: one lost disk loses \
         records. Give it {REPLICAS} and {MIN_INSYNC} (kafka-reassign-partitions.sh, kafka-configs.sh), or \
         say accept_weak = true in the task's table [kafka]"
    ))
}

/// Replicas that survive a disk while a broker restarts.
pub(super) const REPLICAS: usize = 3;

/// How many of them must have a record.
pub(super) const MIN_INSYNC: i64 = 2;

/// What a weak topic counts as.
fn weak_level(settings: &Settings) -> Level {
    if settings.accept_weak {
        Level::Amber
    } else {
        Level::Red
    }
}

/// The line that changes a topic's setting.
fn alter_topic(subject: &Subject<'_>, topic: &str, name: &str, value: &str) -> String {
    format!(
        "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {topic} \
         --add-config {name}={value}",
        subject.access.servers
    )
}

/// The line that makes a topic.
fn make_topic(subject: &Subject<'_>, name: &str, role: topic::Role) -> Option<String> {
    let wanted = match role {
        topic::Role::Control => topics::wanted_control(subject.settings, name),
        topic::Role::Records => topics::wanted(subject.settings, name),
        topic::Role::Internal => return None,
    };
    Some(format!(
        "kafka-topics.sh --bootstrap-server {} {}",
        subject.access.servers,
        topics::create_arguments(&wanted)
    ))
}
