//! The durability table, read back from the brokers and from the client.

use std::collections::BTreeMap;

use bridge::testing::{drive, until_told};
use bridge::{KafkaConfig, KafkaTask, Level, Record, kafka_audit, kafka_read, kafka_spans};
use rdkafka::admin::ResourceSpecifier;
use serde_json::{Value, json};

use super::delivery::fresh;
use crate::broker::Brokers;
use crate::world::{CLUSTER, World, sink_and_notes, weak};

fn records(upto: u64) -> Vec<Record> {
    (1..=upto).map(|seq| fresh("f", seq)).collect()
}

fn task(name: &str, settings: &Value) -> KafkaTask {
    KafkaTask {
        name: name.to_owned(),
        settings: settings.clone(),
        forms: vec!["f".to_owned()],
        cluster: CLUSTER.to_owned(),
    }
}

fn expect(told: &BTreeMap<String, String>, pairs: &[(&str, &str)]) {
    for (name, value) in pairs {
        assert_eq!(told.get(*name).map(String::as_str), Some(*value), "{name}");
    }
}

/// The table of the stack that this product replaces: acks all, idempotence, one request in flight,
/// three replicas, two in sync, no unclean election, no topics by accident, frequent flushes.
pub(crate) async fn three_brokers_keep_the_durability_table(_: &World) {
    let flushes = "log.flush.interval.messages=1\n";
    let world = World {
        brokers: Brokers::start(3, flushes),
    };
    let config = KafkaConfig {
        max_in_flight: 1,
        properties: vec!["security.protocol=plaintext".to_owned()],
        ..world.config()
    };
    // Nothing is said of replicas: the defaults are the table.
    let settings = json!({ "topic": "profile.{form}" });
    let (mut sink, notes) = sink_and_notes(&config, "profile", 5, &settings);
    drive(&mut *sink, &records(20), 5).await;
    assert_eq!(world.read("profile.f").len(), 20);
    brokers_and_topics(&world).await;
    client_and_audit(&config, &settings);
    until_told(&notes, |told| told["audit"]["findings"].is_array()).await;
}

async fn brokers_and_topics(world: &World) {
    for id in 1..=3 {
        let told = world.configs(ResourceSpecifier::Broker(id)).await;
        expect(
            &told,
            &[
                ("default.replication.factor", "3"),
                ("min.insync.replicas", "2"),
                ("unclean.leader.election.enable", "false"),
                ("auto.create.topics.enable", "false"),
                ("transaction.state.log.replication.factor", "3"),
                ("transaction.state.log.min.isr", "2"),
                ("log.flush.interval.messages", "1"),
            ],
        );
    }
    for (topic, cleanup) in [
        ("profile.f", "delete"),
        ("formspool-01234567-profile", "compact"),
    ] {
        let told = world.configs(ResourceSpecifier::Topic(topic)).await;
        expect(
            &told,
            &[
                ("min.insync.replicas", "2"),
                ("unclean.leader.election.enable", "false"),
                ("cleanup.policy", cleanup),
            ],
        );
    }
}

fn client_and_audit(config: &KafkaConfig, settings: &Value) {
    let report = kafka_audit(config, &task("profile", settings)).expect("an audit");
    let found = |what: &str| {
        let mut found = report
            .findings
            .iter()
            .filter(|finding| finding.what == what);
        let finding = found.next().expect(what);
        (finding.is.as_str(), finding.level)
    };
    assert_eq!(found("producer: acks"), ("-1", Level::Green));
    assert_eq!(
        found("producer: enable.idempotence"),
        ("true", Level::Green)
    );
    assert_eq!(
        found("producer: max.in.flight.requests.per.connection"),
        ("1", Level::Green)
    );
    assert_eq!(
        found("producer: allow.auto.create.topics"),
        ("false", Level::Green)
    );
    assert_eq!(found("topic profile.f: replicas"), ("3", Level::Green));
    assert_eq!(
        found("topic profile.f: replicas in sync"),
        ("3", Level::Green)
    );
    assert_eq!(
        found("topic __transaction_state: min.insync.replicas"),
        ("2", Level::Green)
    );
    let (_, consumers) = found("consumers");
    assert_eq!(
        consumers,
        Level::Unknown,
        "what cannot be seen is not green"
    );
    let red: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.level == Level::Red)
        .collect();
    assert!(red.is_empty(), "{red:#?}");
}

pub(crate) async fn a_lone_broker_is_red_or_amber_and_told_how_to_mend(world: &World) {
    let settings = weak(&json!({ "topic": "lone.{form}", "partitions": 1 }));
    drive(&mut *world.sink("lone", 5, &settings), &records(3), 3).await;
    let strict = json!({ "topic": "lone.{form}" });
    let level = |settings: &Value| {
        let report = kafka_audit(&world.config(), &task("lone", settings)).expect("an audit");
        let mut found = report
            .findings
            .into_iter()
            .filter(|finding| finding.what == "topic lone.f: min.insync.replicas");
        found.next().expect("a finding")
    };
    assert_eq!(
        level(&settings).level,
        Level::Amber,
        "its owner said so in words"
    );
    let red = level(&strict);
    assert_eq!((red.level, red.is.as_str()), (Level::Red, "1"));
    let mend = red.mend.expect("a line that mends it");
    assert!(
        mend.contains("--entity-name lone.f --add-config min.insync.replicas=2"),
        "{mend}"
    );
}

pub(crate) async fn the_reader_sees_what_a_consumer_sees(world: &World) {
    let settings = weak(&json!({ "topic": "inspect.{form}" }));
    drive(&mut *world.sink("inspect", 5, &settings), &records(50), 7).await;
    let task = task("inspect", &settings);
    let spans = kafka_spans(&world.config(), &task).expect("spans");
    assert_eq!(spans.len(), 3, "all partitions");
    let mut seen = Vec::new();
    kafka_read(&world.config(), &task, &spans, |record| {
        assert_eq!((record.cluster, record.form), (CLUSTER, "f"));
        seen.push((record.seq, record.body.to_vec()));
    })
    .expect("read");
    let bodies = |seq| format!("{{\"n\":{seq}}}").into_bytes();
    assert_eq!(
        seen,
        (1..=50).map(|seq| (seq, bodies(seq))).collect::<Vec<_>>()
    );
}
