//! The table `[kafka]` of a task's definition: what goes where, and in which shape.
//!
//! Holds: it is replicated, so it names no password and no file. What is wrong with it is told where
//! it is defined, all at once.

use serde::Deserialize;
use serde_json::Value;

use crate::config::server_problem;

/// What stands for the form's name in a topic.
const FORM: &str = "{form}";

/// The longest name of a topic that Kafka takes.
const TOPIC_BYTES_MAX: usize = 249;

/// The settings of one task.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// `host:port`, several with commas; empty: `kafka.bootstrap` of the node.
    pub(super) servers: String,
    /// Where the records of a form go; `{form}` becomes its name.
    pub(super) topic: String,
    /// What a record's key is: `form`, `none` or `field:<name>`.
    pub(super) key: String,
    /// How the headers are named.
    pub(super) headers: HeaderStyle,
    /// How batches are compressed.
    pub(super) compression: Compression,
    /// Whether a topic that is missing is made, in this shape.
    pub(super) create_topics: bool,
    /// Partitions of a topic that is made.
    pub(super) partitions: i32,
    /// Replicas of a topic that is made.
    pub(super) replication: i32,
    /// How many of them must have a record before it counts as written.
    pub(super) min_insync: i32,
    /// Goes on where Kafka can lose what it has acknowledged.
    pub(super) accept_weak: bool,
    /// Where the task's cursor is; empty: a topic named after cluster and task.
    pub(super) control_topic: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum HeaderStyle {
    /// `formspool-id` and its like.
    #[default]
    Plain,
    /// The same, and those of `CloudEvents` in binary mode.
    CloudEvents,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Compression {
    #[default]
    Lz4,
    None,
    Zstd,
}

impl Compression {
    /// As librdkafka calls it.
    pub(super) fn codec(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::None => "none",
            Self::Zstd => "zstd",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: String::new(),
            topic: FORM.to_owned(),
            key: "form".to_owned(), // all records of a form in one partition: in the order of their seqs
            headers: HeaderStyle::Plain,
            compression: Compression::Lz4, // costs next to nothing, a third of the bytes
            create_topics: true,
            partitions: 3,  // a form uses one; many forms spread over them
            replication: 3, // one broker may burn while another one restarts
            min_insync: 2,
            accept_weak: false,
            control_topic: String::new(),
        }
    }
}

/// What a record's key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The form's name.
    Form,
    /// No key: records spread over the partitions.
    None,
    /// A member of the body; a record without it is keyed by its form.
    Field(String),
}

impl Settings {
    /// Reads the table; null is an empty one.
    pub(super) fn read(settings: &Value) -> Result<Self, String> {
        if settings.is_null() {
            return Ok(Self::default());
        }
        Self::deserialize(settings).map_err(|error| format!("kafka: {error}"))
    }

    pub(super) fn key(&self) -> Result<Key, String> {
        match (self.key.as_str(), self.key.strip_prefix("field:")) {
            ("form", _) => Ok(Key::Form),
            ("none", _) => Ok(Key::None),
            (_, Some(field)) if !field.is_empty() => Ok(Key::Field(field.to_owned())),
            _ => Err(format!(
                "kafka.key {:?}: it is form, none or field:<name>",
                self.key
            )),
        }
    }

    /// The topic of a form.
    pub(super) fn topic_of(&self, form: &str) -> String {
        self.topic.replace(FORM, form)
    }

    /// Where to begin looking for Kafka.
    pub(super) fn servers_or(&self, bootstrap: &[String]) -> Result<String, String> {
        match (self.servers.as_str(), bootstrap) {
            ("", []) => Err(
                "no Kafka is named: set kafka.bootstrap on this node, or servers in the task"
                    .to_owned(),
            ),
            ("", bootstrap) => Ok(bootstrap.join(",")),
            (servers, _) => Ok(servers.to_owned()),
        }
    }
}

/// Whether records and cursor lie where they lay. Another list of servers may lead to the same Kafka;
/// where it does not, no cursor is found there, and the task stops and says so.
pub(crate) fn is_same_place(one: &Value, other: &Value) -> bool {
    match (Settings::read(one), Settings::read(other)) {
        (Ok(one), Ok(other)) => {
            one.topic == other.topic && one.control_topic == other.control_topic
        }
        _ => false,
    }
}

/// Every fault of the settings, in words.
pub(crate) fn problems(settings: &Value) -> Vec<String> {
    let settings = match Settings::read(settings) {
        Ok(settings) => settings,
        Err(problem) => return vec![problem],
    };
    let mut problems = Vec::new();
    if !settings.servers.is_empty() {
        let servers = settings.servers.split(',').map(str::trim);
        problems.extend(
            servers
                .filter_map(|server| Some(format!("kafka.servers: {}", server_problem(server)?))),
        );
    }
    problems.extend(settings.key().err());
    problems.extend(
        topic_problem(&settings.topic_of("x"))
            .map(|why| format!("kafka.topic {:?}: {why}", settings.topic)),
    );
    if !settings.control_topic.is_empty() {
        let control = &settings.control_topic;
        problems.extend(
            topic_problem(control).map(|why| format!("kafka.control_topic {control:?}: {why}")),
        );
        if *control == settings.topic {
            problems.push("kafka.control_topic is the topic of the records too".to_owned());
        }
    }
    let shape = [
        ("partitions", settings.partitions, 10_000),
        ("replication", settings.replication, 100),
        ("min_insync", settings.min_insync, settings.replication),
    ];
    for (name, value, most) in shape {
        if !(1..=most).contains(&value) {
            problems.push(format!("kafka.{name} is {value}; it must be 1 to {most}"));
        }
    }
    if (settings.replication < 3 || settings.min_insync < 2) && !settings.accept_weak {
        problems.push(format!(
            "kafka: with replication {} and min_insync {} one lost disk loses records; if that is \
             what you want, say accept_weak = true",
            settings.replication, settings.min_insync
        ));
    }
    if settings.compression == Compression::Zstd && !cfg!(feature = "kafka-zstd") {
        problems.push("kafka.compression: this build has no zstd (feature kafka-zstd)".to_owned());
    }
    problems
}

/// What Kafka has against a topic's name.
fn topic_problem(name: &str) -> Option<String> {
    let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name == "." || name == ".." {
        return Some("is no name for a topic".to_owned());
    }
    if !name.chars().all(is_known) {
        return Some("a topic's name has a-z A-Z 0-9 . _ - only, and {form}".to_owned());
    }
    (name.len() > TOPIC_BYTES_MAX).then(|| format!("is longer than {TOPIC_BYTES_MAX}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_defaults_are_sound_and_durable() {
        assert_eq!(problems(&Value::Null), Vec::<String>::new());
        let settings = Settings::read(&Value::Null).unwrap();
        assert_eq!(settings.topic_of("student-data"), "student-data");
        assert_eq!((settings.replication, settings.min_insync), (3, 2));
        assert_eq!(settings.key(), Ok(Key::Form));
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faulty = json!({
            "servers": "a:1,b", "key": "field:", "topic": "x/{form}", "control_topic": "ö",
            "partitions": 0, "replication": 3, "min_insync": 4,
        });
        assert_eq!(problems(&faulty).len(), 6, "{:#?}", problems(&faulty));
        assert_eq!(problems(&json!({ "topik": "x" })).len(), 1);
    }

    #[test]
    fn what_can_lose_records_must_be_said_in_words() {
        let weak = json!({ "replication": 1, "min_insync": 1 });
        assert_eq!(problems(&weak).len(), 1);
        let said = json!({ "replication": 1, "min_insync": 1, "accept_weak": true });
        assert_eq!(problems(&said), Vec::<String>::new());
    }

    #[test]
    fn a_task_may_name_its_own_kafka() {
        let bootstrap = ["a:1".to_owned(), "b:2".to_owned()];
        let settings = Settings::default();
        assert_eq!(settings.servers_or(&bootstrap).as_deref(), Ok("a:1,b:2"));
        assert!(settings.servers_or(&[]).is_err());
        let own = Settings {
            servers: "c:3".to_owned(),
            ..settings
        };
        assert_eq!(own.servers_or(&bootstrap).as_deref(), Ok("c:3"));
    }
}
