//! The one way in which this room sets a property of librdkafka.
//!
//! Holds: what is set so stands in the table of what is not for a person to set, so nobody's setting is
//! overwritten unseen.

use rdkafka::config::ClientConfig;

use crate::config::why_ours;

/// A client's settings, as far as they are ours.
pub(super) trait Own {
    /// Sets a property of ours.
    fn own(&mut self, name: &str, value: impl Into<String>) -> &mut Self;
}

impl Own for ClientConfig {
    fn own(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        assert!(why_ours(name).is_some(), "{name} may be a person's to set");
        self.set(name, value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::client::{Access, Isolation};
    use super::super::producer::{self, Manner};
    use super::super::settings::Compression;
    use super::super::witness;
    use crate::config::{KafkaConfig, all_ours};

    use super::*;

    /// Everything that any client of this room sets.
    fn set() -> BTreeSet<String> {
        let config = KafkaConfig::default();
        let access = Access::new(&config, "a:1".to_owned()).unwrap();
        let manner = Manner {
            transactional_id: "t".to_owned(),
            compression: Compression::Lz4,
            batch_bytes: 1,
            is_singly: false,
        };
        let clients = [
            producer::client(&access, &config, &manner),
            witness::reader(access.consumer("r", Isolation::Uncommitted)),
        ];
        let names = clients.iter().flat_map(|client| client.config_map());
        names.map(|(name, _)| name.to_owned()).collect()
    }

    #[test]
    fn what_a_person_may_not_set_is_what_the_sink_sets() {
        let set = set();
        for name in &set {
            let config = KafkaConfig {
                properties: vec![format!("{name}=1")],
                ..KafkaConfig::default()
            };
            let problems = config.problems();
            let is_told =
                |problem: &String| problem.starts_with(&format!("kafka: {name} is not for"));
            assert!(problems.iter().any(is_told), "{name}: {problems:?}");
        }
        // rdkafka sets the first two; no report of the third would ever come.
        let not_here = ["log.queue", "log_level", "delivery.report.only.error"];
        let listed = all_ours().map(|names| names[0]);
        let listed: BTreeSet<String> = listed
            .filter(|name| !not_here.contains(name))
            .map(str::to_owned)
            .collect();
        assert_eq!(set, listed);
    }

    #[test]
    fn librdkafka_knows_every_name_and_the_others_mean_the_same() {
        for names in all_ours() {
            let told = |client: &ClientConfig| {
                let native = client.create_native_config().unwrap();
                let told = names.iter().map(|name| native.get(name).ok());
                told.collect::<BTreeSet<Option<String>>>()
            };
            let mut client = ClientConfig::new();
            let before = told(&client);
            // Of the values that it takes, one that is not the default.
            let other = [
                "1",
                "7",
                "5000",
                "true",
                "false",
                "none",
                "lz4",
                "latest",
                "read_uncommitted",
            ];
            let takes = other.iter().find(|value| {
                let mut client = ClientConfig::new();
                client.set(names[0], **value);
                client.create_native_config().is_ok() && told(&client) != before
            });
            client.set(
                names[0],
                *takes.unwrap_or_else(|| panic!("{names:?}: {before:?}")),
            );
            assert_eq!(told(&client).len(), 1, "{names:?}: {:?}", told(&client));
        }
    }
}
