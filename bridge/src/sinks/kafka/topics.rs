//! The topics that a task writes to, as this opening knows them.
//!
//! Holds: a topic is looked at before the first record goes there, and made, where the task says so,
//! in the shape that the task names. One that is missing and may not be made is a trouble that mends
//! itself once somebody makes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::audit;
use super::brokers::{Brokers, Configs, TopicShape, Wanted};
use super::fault::{Fault, Kind};
use super::settings::Settings;
use super::shape::{Retention, Rules};

/// A topic that records go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) partitions: i32,
    pub(super) rules: Rules,
}

/// All of them, numbered in the order in which they were met.
#[derive(Debug, Default)]
pub(super) struct Topics {
    all: Vec<Topic>,
    by_form: BTreeMap<Arc<str>, usize>,
}

impl Topics {
    /// A form's topic and its number, if it is known.
    pub(super) fn of(&self, form: &Arc<str>) -> Option<(u32, &Topic)> {
        let number = *self.by_form.get(form)?;
        Some((u32::try_from(number).ok()?, self.all.get(number)?))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.all.iter()
    }

    /// Learns the topic of a form.
    pub(super) fn add(&mut self, form: &Arc<str>, topic: Topic) {
        let number = self.all.iter().position(|known| known.name == topic.name);
        let number = number.unwrap_or_else(|| {
            self.all.push(topic);
            self.all.len() - 1
        });
        self.by_form.insert(Arc::clone(form), number);
    }

    /// The largest batch that all of them take.
    pub(super) fn bytes_max(&self) -> Option<usize> {
        self.all
            .iter()
            .filter_map(|topic| topic.rules.bytes_max)
            .min()
    }
}

/// Looks at a topic for records, and makes it if it is missing and may be made.
pub(super) fn find(brokers: &Brokers, settings: &Settings, name: &str) -> Result<Topic, Fault> {
    let (shape, configs) = find_strong(brokers, settings, &wanted(settings, name))?;
    Ok(Topic {
        name: name.to_owned(),
        partitions: shape.count(),
        rules: configs.map(|configs| rules(&configs)).unwrap_or_default(),
    })
}

/// A topic's shape and settings, if it is as durable as the task wants it; it is made if it is missing
/// and may be made.
pub(super) fn find_strong(
    brokers: &Brokers,
    settings: &Settings,
    wanted: &Wanted<'_>,
) -> Result<(TopicShape, Option<Configs>), Fault> {
    let shape = find_or_make(brokers, settings, wanted)?;
    let configs = brokers.topic_configs(wanted.name);
    let min_insync = configs
        .as_ref()
        .and_then(|configs| configs.get("min.insync.replicas")?.parse().ok());
    match audit::weakness(settings, wanted.name, &shape, min_insync) {
        None => Ok((shape, configs)),
        Some(words) => Err(Fault {
            kind: Kind::Topic,
            is_abortable: true,
            words,
            record: None,
        }),
    }
}

/// What a topic for records has to look like.
pub(super) fn wanted<'a>(settings: &Settings, name: &'a str) -> Wanted<'a> {
    Wanted {
        name,
        partitions: settings.partitions,
        replication: settings.replication,
        min_insync: settings.min_insync,
        cleanup: "delete",
    }
}

/// What the control topic has to look like.
pub(super) fn wanted_control<'a>(settings: &Settings, name: &'a str) -> Wanted<'a> {
    Wanted {
        partitions: 1,
        cleanup: "compact",
        ..wanted(settings, name)
    }
}

/// A topic's shape; it is made if it is missing and may be made.
fn find_or_make(
    brokers: &Brokers,
    settings: &Settings,
    wanted: &Wanted<'_>,
) -> Result<TopicShape, Fault> {
    if let Some(shape) = brokers.topic(wanted.name)? {
        return Ok(shape);
    }
    if settings.create_topics {
        return brokers.make(wanted);
    }
    Err(Fault {
        kind: Kind::Topic,
        is_abortable: true,
        words: format!(
            "topic {} is not there and create_topics is off; make it: kafka-topics.sh {}",
            wanted.name,
            create_arguments(wanted)
        ),
        record: None,
    })
}

/// What Kafka's own tool takes to make it.
pub(super) fn create_arguments(wanted: &Wanted<'_>) -> String {
    format!(
        "--create --topic {} --partitions {} --replication-factor {} \
         --config min.insync.replicas={} --config cleanup.policy={}",
        wanted.name, wanted.partitions, wanted.replication, wanted.min_insync, wanted.cleanup
    )
}

/// What of a topic's settings bears on its records.
fn rules(configs: &Configs) -> Rules {
    let number = |name: &str| configs.get(name)?.parse::<i64>().ok();
    let deletes = configs
        .get("cleanup.policy")
        .is_none_or(|policy| policy.contains("delete"));
    let retention = if deletes {
        number("retention.ms").map(|ms| u64::try_from(ms).map_or(Retention::Forever, Retention::Ms))
    } else {
        Some(Retention::Forever)
    };
    Rules {
        retention,
        bytes_max: number("max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs(pairs: &[(&str, &str)]) -> Configs {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn retention_is_forever_where_nothing_is_deleted_and_unknown_where_nothing_is_told() {
        let retention = |pairs: &[(&str, &str)]| rules(&configs(pairs)).retention;
        assert_eq!(
            retention(&[("retention.ms", "60000")]),
            Some(Retention::Ms(60_000))
        );
        assert_eq!(
            retention(&[("retention.ms", "-1")]),
            Some(Retention::Forever)
        );
        let compacted = [("cleanup.policy", "compact"), ("retention.ms", "60000")];
        assert_eq!(retention(&compacted), Some(Retention::Forever));
        let both = [
            ("cleanup.policy", "compact,delete"),
            ("retention.ms", "60000"),
        ];
        assert_eq!(retention(&both), Some(Retention::Ms(60_000)));
        assert_eq!(retention(&[]), None);
    }

    #[test]
    fn forms_that_share_a_topic_share_its_number() {
        let topic = |name: &str, bytes_max| Topic {
            name: name.to_owned(),
            partitions: 3,
            rules: Rules {
                retention: None,
                bytes_max,
            },
        };
        let mut topics = Topics::default();
        topics.add(&Arc::from("a"), topic("x", Some(9)));
        topics.add(&Arc::from("b"), topic("y", Some(5)));
        topics.add(&Arc::from("c"), topic("x", Some(9)));
        let number = |form: &str| topics.of(&Arc::from(form)).map(|(number, _)| number);
        assert_eq!(
            (number("a"), number("b"), number("c")),
            (Some(0), Some(1), Some(0))
        );
        assert_eq!(topics.iter().count(), 2);
        assert_eq!(topics.bytes_max(), Some(5));
    }
}
