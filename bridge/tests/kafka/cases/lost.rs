//! What Kafka has forgotten stops the task, with the reason.

use bridge::testing::drive;
use bridge::{KafkaConfig, Opening, Record, Sink, SinkError};
use serde_json::{Value, json};

use super::delivery::fresh;
use crate::world::{PATIENCE, World, sink_with, weak};

fn records(upto: u64) -> Vec<Record> {
    (1..=upto).map(|seq| fresh("f", seq)).collect()
}

fn settings(name: &str) -> Value {
    weak(&json!({ "topic": format!("{name}.{{form}}"), "partitions": 1 }))
}

/// Opens until it stops; what looks lost is looked at for a while before.
async fn stopped(sink: &mut dyn Sink) -> String {
    let mut waits = 0;
    loop {
        match sink.open(Opening::default()).await {
            Err(SinkError::Stop(why)) => {
                assert!(waits > 0, "nothing is believed at first sight");
                return why;
            }
            Err(SinkError::Again(trouble)) => {
                assert!(trouble.why.contains("looks as if"), "{}", trouble.why);
                waits += 1;
                assert!(waits < 200, "it never stops");
            }
            Ok(opened) => panic!("it opened: {opened:?}"),
        }
    }
}

pub(crate) async fn a_deleted_topic_stops_the_task(world: &World) {
    let mut sink = world.sink("deleted", 5, &settings("deleted"));
    drive(&mut *sink, &records(5), 5).await;
    world.delete("deleted.f").await;
    // What comes next finds it out: nothing is made anew behind our back.
    let next = records(6).split_off(5);
    let delivered = sink.deliver(super::delivery::batch(next)).await;
    assert!(
        matches!(delivered, bridge::Delivery::Reopen(_)),
        "{delivered:?}"
    );
    let why = stopped(&mut *sink).await;
    assert!(
        why.contains("deleted.f is gone") && why.contains("replay deleted"),
        "{why}"
    );
    assert_eq!(world.partitions("deleted.f"), None);
}

pub(crate) async fn a_topic_that_was_made_again_stops_the_task(world: &World) {
    drive(
        &mut *world.sink("again", 5, &settings("again")),
        &records(5),
        5,
    )
    .await;
    world.delete("again.f").await;
    world.make("again.f", 1, &[]).await;
    let why = stopped(&mut *world.sink("again", 5, &settings("again"))).await;
    assert!(
        why.contains("ends at offset 0, and we wrote up to 4"),
        "{why}"
    );
}

pub(crate) async fn a_loss_is_found_while_nothing_is_delivered(world: &World) {
    let config = KafkaConfig {
        audit_every_ms: 300,
        ..world.config()
    };
    let mut sink = sink_with(&config, "quiet", 5, &settings("quiet"));
    drive(&mut *sink, &records(5), 5).await;
    world.delete("quiet.f").await;
    let uneasy = tokio::time::timeout(PATIENCE, sink.uneasy())
        .await
        .expect("in time");
    assert!(uneasy.why.contains("quiet.f is gone"), "{}", uneasy.why);
    let why = stopped(&mut *sink).await;
    assert!(why.contains("quiet.f is gone"), "{why}");
}
