//! The audit of the brokers: how many there are, and what they are set to.

use std::collections::BTreeMap;

use super::super::brokers::{Brokers, Configs};
use super::{Finding, Level, MIN_INSYNC, REPLICAS, Rule, Subject, at_least, weak_level};

pub(super) fn findings(brokers: &Brokers, subject: &Subject<'_>, ids: &[i32]) -> Vec<Finding> {
    let told: Vec<(i32, Option<Configs>)> = ids
        .iter()
        .map(|id| (*id, brokers.broker_configs(*id)))
        .collect();
    let mut findings = vec![
        Finding {
            what: "brokers".to_owned(),
            is: ids.len().to_string(),
            should_be: format!("{REPLICAS} at least, as many as there are replicas"),
            level: if ids.len() >= REPLICAS {
                Level::Green
            } else {
                weak_level(subject.settings)
            },
            mend: None,
        },
        encryption(subject),
    ];
    findings.extend(
        rules(subject)
            .iter()
            .map(|rule| judge(subject, rule, &told)),
    );
    findings
}

fn encryption(subject: &Subject<'_>) -> Finding {
    let protocol = subject.access.protocol();
    Finding {
        what: "connection: security.protocol".to_owned(),
        is: protocol.clone(),
        should_be: "ssl or sasl_ssl, outside a network of your own".to_owned(),
        level: if protocol.to_lowercase().contains("ssl") {
            Level::Green
        } else {
            Level::Amber
        },
        mend: Some(
            "kafka.properties = [\"security.protocol=SASL_SSL\", …] in the node's settings"
                .to_owned(),
        )
        .filter(|_| !protocol.to_lowercase().contains("ssl")),
    }
}

fn rules(subject: &Subject<'_>) -> Vec<Rule> {
    let mut rules = of_topics();
    rules.extend(of_transactions(subject));
    rules
}

/// What topics get that do not say.
fn of_topics() -> Vec<Rule> {
    let three = i64::try_from(REPLICAS).unwrap_or(i64::MAX);
    vec![
        Rule::new(
            "auto.create.topics.enable",
            Level::Amber,
            "false: a topic that was deleted comes back empty, with whatever replicas",
            |value| value == "false",
        ),
        Rule::new(
            "default.replication.factor",
            Level::Amber,
            format!("{three}: for topics that somebody makes without saying"),
            at_least(three),
        ),
        Rule::new(
            "min.insync.replicas",
            Level::Amber,
            format!("{MIN_INSYNC}: for topics that do not say"),
            at_least(MIN_INSYNC),
        )
        .mended_by(MIN_INSYNC.to_string()),
        Rule::new(
            "unclean.leader.election.enable",
            Level::Amber,
            "false: for topics that do not say",
            |value| value == "false",
        )
        .mended_by("false"),
        Rule::new(
            "offsets.topic.replication.factor",
            Level::Amber,
            format!("{three}: consumers keep their place"),
            at_least(three),
        ),
        Rule::new(
            "log.flush.interval.messages",
            Level::Amber,
            "low, if all brokers can lose power at once",
            |value| value.parse::<i64>().is_ok_and(|every| every <= 100_000),
        )
        .mended_by("1"),
    ]
}

/// What our transactions rest on.
fn of_transactions(subject: &Subject<'_>) -> Vec<Rule> {
    let weak = weak_level(subject.settings);
    let long = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    let (timeout, keepalive) = (
        long(subject.transaction_timeout_ms),
        long(subject.keepalive_ms),
    );
    let three = i64::try_from(REPLICAS).unwrap_or(i64::MAX);
    vec![
        Rule::new(
            "transaction.state.log.replication.factor",
            weak,
            format!("{three}: transactions that are under way survive a broker"),
            at_least(three),
        ),
        Rule::new(
            "transaction.state.log.min.isr",
            weak,
            format!("{MIN_INSYNC}"),
            at_least(MIN_INSYNC),
        ),
        Rule::new(
            "transaction.max.timeout.ms",
            Level::Red,
            format!("{timeout} at least (kafka.transaction_timeout_ms of this node)"),
            at_least(timeout),
        )
        .mended_by(timeout.to_string()),
        Rule::new(
            "transactional.id.expiration.ms",
            Level::Red,
            format!("more than twice {keepalive} (kafka.keepalive_ms of this node)"),
            at_least(keepalive.saturating_mul(2)),
        ),
    ]
}

/// Settings that brokers take while they run; the others are in `server.properties`.
const WHILE_RUNNING: [&str; 3] = [
    "log.flush.interval.messages",
    "min.insync.replicas",
    "unclean.leader.election.enable",
];

/// All brokers together: the worst of them counts, and each is named where they differ.
fn judge(subject: &Subject<'_>, rule: &Rule, told: &[(i32, Option<Configs>)]) -> Finding {
    let mut by_value: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    let mut level = Level::Green;
    for (id, configs) in told {
        let value = configs.as_ref().and_then(|configs| configs.get(rule.name));
        by_value
            .entry(value.map_or("unknown", String::as_str))
            .or_default()
            .push(*id);
        level = level.max(match value {
            None => Level::Unknown,
            Some(value) if (rule.is_met)(value) => Level::Green,
            Some(_) => rule.level,
        });
    }
    let is = match by_value.keys().next() {
        Some(value) if by_value.len() == 1 => (*value).to_owned(),
        _ => {
            let parts = by_value
                .iter()
                .map(|(value, ids)| format!("{value} on {ids:?}"));
            parts.collect::<Vec<_>>().join(", ")
        }
    };
    Finding {
        what: format!("brokers: {}", rule.name),
        is,
        should_be: rule.should_be.clone(),
        level,
        mend: (level > Level::Unknown).then(|| mend(subject, rule)),
    }
}

fn mend(subject: &Subject<'_>, rule: &Rule) -> String {
    let name = rule.name;
    if let Some(value) = rule.mend.as_ref().filter(|_| WHILE_RUNNING.contains(&name)) {
        return format!(
            "kafka-configs.sh --bootstrap-server {} --alter --entity-type brokers --entity-default \
             --add-config {name}={value}",
            subject.access.servers
        );
    }
    format!("{name} in server.properties of each broker, then restart one after another")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::super::client::Access;
    use super::super::super::settings::Settings;
    use super::*;
    use crate::config::KafkaConfig;

    #[test]
    fn the_worst_broker_counts_and_brokers_that_differ_are_named() {
        let access = Access::new(&KafkaConfig::default(), "a:1".to_owned()).unwrap();
        let subject = Subject {
            access: &access,
            settings: &Settings::default(),
            control: "c",
            topics: BTreeSet::new(),
            oldest_age_ms: 0,
            transaction_timeout_ms: 30_000,
            keepalive_ms: 1000,
            producer: &[],
        };
        let rules = rules(&subject);
        let rule = |name: &str| rules.iter().find(|rule| rule.name == name).unwrap();
        let told = |values: &[Option<&str>], name: &str| -> Vec<(i32, Option<Configs>)> {
            (1..)
                .zip(values)
                .map(|(id, value)| {
                    let configs =
                        value.map(|value| Configs::from([(name.to_owned(), value.to_owned())]));
                    (id, configs)
                })
                .collect()
        };
        let name = "transaction.state.log.min.isr";
        let found = judge(&subject, rule(name), &told(&[Some("2"), Some("2")], name));
        assert_eq!(
            (found.level, found.is.as_str(), found.mend),
            (Level::Green, "2", None)
        );
        let found = judge(
            &subject,
            rule(name),
            &told(&[Some("2"), Some("1"), None], name),
        );
        assert_eq!(found.level, Level::Red);
        assert_eq!(found.is, "1 on [2], 2 on [1], unknown on [3]");
        assert!(found.mend.unwrap().contains("server.properties"));
        let name = "min.insync.replicas";
        let found = judge(&subject, rule(name), &told(&[Some("1")], name));
        assert!(
            found
                .mend
                .unwrap()
                .starts_with("kafka-configs.sh --bootstrap-server a:1 --alter")
        );
    }
}
