//! The audit of one topic: its replicas, and its settings.

use super::super::brokers::{Brokers, Configs, TopicShape};
use super::super::fault::Fault;
use super::{
    Finding, Level, MIN_INSYNC, RECORD_BYTES, REPLICAS, Rule, Subject, alter_topic, at_least,
    make_topic, weak_level,
};

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Role {
    /// The task's cursor.
    Control,
    Records,
    /// Kafka's own.
    Internal,
}

/// A week: what brokers keep by default.
const WEEK_MS: i64 = 7 * 86_400_000;

pub(super) fn findings(
    brokers: &Brokers,
    subject: &Subject<'_>,
    name: &str,
    role: Role,
) -> Result<Vec<Finding>, Fault> {
    let Some(shape) = brokers.topic(name)? else {
        return Ok(missing(subject, name, role).into_iter().collect());
    };
    let configs = brokers.topic_configs(name);
    let min_insync = configs
        .as_ref()
        .and_then(|configs| configs.get("min.insync.replicas")?.parse().ok());
    let mut findings = replicas(subject, name, &shape, min_insync);
    let rules = match role {
        Role::Records => of_records(subject),
        Role::Control => of_control(subject),
        Role::Internal => always(subject),
    };
    findings.extend(
        rules
            .iter()
            .map(|rule| judge(subject, name, rule, configs.as_ref())),
    );
    Ok(findings)
}

/// One that is not there yet is made with the first record; Kafka's own come with their first use.
fn missing(subject: &Subject<'_>, name: &str, role: Role) -> Option<Finding> {
    let mend = make_topic(subject, name, role)?;
    Some(Finding {
        what: format!("topic {name}"),
        is: "not there".to_owned(),
        should_be: if subject.settings.create_topics {
            "made by the task with the first record".to_owned()
        } else {
            "made by a person: create_topics is off".to_owned()
        },
        level: Level::Amber,
        mend: Some(mend),
    })
}

fn replicas(
    subject: &Subject<'_>,
    name: &str,
    shape: &TopicShape,
    min_insync: Option<i64>,
) -> Vec<Finding> {
    let what = |what: &str| format!("topic {name}: {what}");
    let leaderless = shape
        .partitions
        .iter()
        .filter(|partition| !partition.has_leader)
        .count();
    let (replicas, in_sync) = (shape.replicas_min(), shape.in_sync_min());
    let needed = min_insync
        .and_then(|min| usize::try_from(min).ok())
        .unwrap_or(1);
    vec![
        Finding {
            what: what("partitions with a leader"),
            is: format!(
                "{} of {}",
                shape.partitions.len() - leaderless,
                shape.partitions.len()
            ),
            should_be: "all: without one nothing is written".to_owned(),
            level: if leaderless == 0 {
                Level::Green
            } else {
                Level::Red
            },
            mend: None,
        },
        Finding {
            what: what("replicas"),
            is: replicas.to_string(),
            should_be: format!("{REPLICAS}: one may be lost while another restarts"),
            level: if replicas >= REPLICAS {
                Level::Green
            } else {
                weak_level(subject.settings)
            },
            mend: (replicas < REPLICAS).then(|| {
                format!(
                    "kafka-reassign-partitions.sh --bootstrap-server {} --execute \
                     --reassignment-json-file {name}-on-three-brokers.json",
                    subject.access.servers
                )
            }),
        },
        Finding {
            what: what("replicas in sync"),
            is: in_sync.to_string(),
            should_be: format!("{replicas}: all; fewer than min.insync.replicas take no writes"),
            level: if in_sync < needed {
                Level::Red
            } else if in_sync < replicas {
                Level::Amber
            } else {
                Level::Green
            },
            mend: None,
        },
    ]
}

/// What every topic needs.
fn always(subject: &Subject<'_>) -> Vec<Rule> {
    let weak = weak_level(subject.settings);
    vec![
        Rule::new(
            "min.insync.replicas",
            weak,
            format!("{MIN_INSYNC}: an acknowledged record is on that many disks"),
            at_least(MIN_INSYNC),
        )
        .mended_by(MIN_INSYNC.to_string()),
        Rule::new(
            "unclean.leader.election.enable",
            Level::Red,
            "false: a replica that lacks records must never lead",
            |value| value == "false",
        )
        .mended_by("false"),
    ]
}

/// How often the log is synced: Kafka trusts its replicas, not its disks.
fn flushes() -> Rule {
    Rule::new(
        "flush.messages",
        Level::Amber,
        "low, if all brokers can lose power at once: what they have not synced is lost then",
        |value| value.parse::<i64>().is_ok_and(|every| every <= 100_000),
    )
    .mended_by("1")
}

fn of_control(subject: &Subject<'_>) -> Vec<Rule> {
    let mut rules = always(subject);
    rules.push(
        Rule::new(
            "cleanup.policy",
            Level::Red,
            "compact: with any other the cursor of an idle task is deleted",
            |value| value == "compact",
        )
        .mended_by("compact"),
    );
    rules.push(flushes());
    rules
}

fn of_records(subject: &Subject<'_>) -> Vec<Rule> {
    let age = i64::try_from(subject.oldest_age_ms).unwrap_or(i64::MAX);
    let mut rules = always(subject);
    rules.extend([
        Rule::new(
            "cleanup.policy",
            Level::Red,
            "delete: with compact only the last record of each key stays",
            |value| value == "delete",
        )
        .mended_by("delete"),
        Rule::new(
            "retention.ms",
            Level::Amber,
            format!(
                "-1, or a week, and four times the age of the oldest that waited ({} s): older records \
                 are stamped with their delivery, or Kafka would delete them at once",
                age / 1000
            ),
            move |value| {
                let keeps = value.parse::<i64>();
                keeps.is_ok_and(|ms| ms < 0 || (WEEK_MS <= ms && age.saturating_mul(4) <= ms))
            },
        ),
        Rule::new(
            "max.message.bytes",
            Level::Amber,
            format!("{RECORD_BYTES} at least: a larger submission is parked"),
            at_least(RECORD_BYTES),
        )
        .mended_by("1048588"),
        Rule::new(
            "message.timestamp.type",
            Level::Amber,
            "CreateTime: else the time of acceptance is in a header only",
            |value| value == "CreateTime",
        )
        .mended_by("CreateTime"),
        Rule::new(
            "message.timestamp.before.max.ms",
            Level::Amber,
            "a day at least: older records are refused, and stamped with their delivery",
            at_least(86_400_000),
        )
        .mended_by("9223372036854775807"),
        Rule::new(
            "compression.type",
            Level::Amber,
            "producer: else the broker packs each batch again",
            |value| value == "producer",
        )
        .mended_by("producer"),
        flushes(),
    ]);
    rules
}

fn judge(subject: &Subject<'_>, topic: &str, rule: &Rule, configs: Option<&Configs>) -> Finding {
    let value = configs.and_then(|configs| configs.get(rule.name));
    let level = match value {
        None => Level::Unknown,
        Some(value) if (rule.is_met)(value) => Level::Green,
        Some(_) => rule.level,
    };
    let mend = rule.mend.as_ref().filter(|_| level > Level::Unknown);
    Finding {
        what: format!("topic {topic}: {}", rule.name),
        is: value.cloned().unwrap_or_else(|| "unknown".to_owned()),
        should_be: rule.should_be.clone(),
        level,
        mend: mend.map(|value| alter_topic(subject, topic, rule.name, value)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::super::brokers::PartitionShape;
    use super::super::super::client::Access;
    use super::super::super::settings::Settings;
    use super::*;
    use crate::config::KafkaConfig;

    fn levels(settings: &Settings, role: Role, pairs: &[(&str, &str)]) -> Vec<(String, Level)> {
        let access = Access::new(&KafkaConfig::default(), "a:1".to_owned()).unwrap();
        let subject = Subject {
            access: &access,
            settings,
            control: "control",
            topics: BTreeSet::new(),
            oldest_age_ms: 3_600_000,
            transaction_timeout_ms: 30_000,
            keepalive_ms: 1000,
            producer: &[],
        };
        let rules = match role {
            Role::Records => of_records(&subject),
            Role::Control => of_control(&subject),
            Role::Internal => always(&subject),
        };
        let configs: Configs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let judged = rules
            .iter()
            .map(|rule| judge(&subject, "t", rule, Some(&configs)));
        judged
            .map(|finding| (finding.what, finding.level))
            .collect()
    }

    const GOOD: [(&str, &str); 9] = [
        ("min.insync.replicas", "2"),
        ("unclean.leader.election.enable", "false"),
        ("cleanup.policy", "delete"),
        ("retention.ms", "604800000"),
        ("max.message.bytes", "1048588"),
        ("message.timestamp.type", "CreateTime"),
        ("message.timestamp.before.max.ms", "9223372036854775807"),
        ("compression.type", "producer"),
        ("flush.messages", "1"),
    ];

    #[test]
    fn a_topic_of_records_is_green_where_all_is_well_and_each_fault_has_its_level() {
        let settings = Settings::default();
        let level = |name: &str, value: &str| {
            let mut pairs = GOOD.to_vec();
            if let Some(pair) = pairs.iter_mut().find(|(key, _)| *key == name) {
                pair.1 = value;
            }
            let levels = levels(&settings, Role::Records, &pairs);
            levels.into_iter().map(|(_, level)| level).max()
        };
        assert_eq!(level("", ""), Some(Level::Green));
        for (name, value, expected) in [
            ("min.insync.replicas", "1", Level::Red),
            ("unclean.leader.election.enable", "true", Level::Red),
            ("cleanup.policy", "compact", Level::Red),
            ("retention.ms", "3600000", Level::Amber),
            ("retention.ms", "-1", Level::Green),
            ("max.message.bytes", "1000", Level::Amber),
            ("message.timestamp.type", "LogAppendTime", Level::Amber),
            ("message.timestamp.before.max.ms", "3600000", Level::Amber),
            ("compression.type", "gzip", Level::Amber),
            ("flush.messages", "9223372036854775807", Level::Amber),
        ] {
            assert_eq!(level(name, value), Some(expected), "{name}={value}");
        }
    }

    #[test]
    fn what_is_not_told_is_unknown_and_a_weakness_that_was_accepted_is_amber() {
        let levels_of =
            |settings: &Settings, pairs: &[(&str, &str)]| levels(settings, Role::Control, pairs);
        assert!(
            levels_of(&Settings::default(), &[])
                .iter()
                .all(|(_, level)| *level == Level::Unknown)
        );
        let accepted = Settings {
            accept_weak: true,
            ..Settings::default()
        };
        let weak = [("min.insync.replicas", "1")];
        let of = |settings| levels_of(settings, &weak).first().map(|(_, level)| *level);
        let strict = Settings::default();
        assert_eq!(of(&strict), Some(Level::Red));
        assert_eq!(of(&accepted), Some(Level::Amber));
    }

    #[test]
    fn fewer_replicas_in_sync_than_needed_are_red_and_one_behind_is_amber() {
        let access = Access::new(&KafkaConfig::default(), "a:1".to_owned()).unwrap();
        let settings = Settings::default();
        let subject = Subject {
            access: &access,
            settings: &settings,
            control: "control",
            topics: BTreeSet::new(),
            oldest_age_ms: 0,
            transaction_timeout_ms: 30_000,
            keepalive_ms: 1000,
            producer: &[],
        };
        let level = |in_sync| {
            let partition = PartitionShape {
                has_leader: true,
                replicas: 3,
                in_sync,
            };
            let shape = TopicShape {
                partitions: vec![partition],
            };
            let findings = replicas(&subject, "t", &shape, Some(2));
            findings.last().map(|finding| finding.level)
        };
        assert_eq!(level(3), Some(Level::Green));
        assert_eq!(level(2), Some(Level::Amber));
        assert_eq!(level(1), Some(Level::Red));
    }
}
