//! What Kafka has forgotten stops the task, with the reason.

use bridge::testing::{drive, until_told};
use bridge::{Delivery, KafkaConfig, Opening, Record, Sink, SinkError};
use rdkafka::producer::Producer as _;
use serde_json::{Value, json};

use super::delivery::{batch, fresh};
use crate::world::{PATIENCE, World, producer, send, sink_and_notes, sink_with, wall_ms, weak};

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
    let delivered = sink.deliver(batch(next)).await;
    assert!(matches!(delivered, Delivery::Reopen(_)), "{delivered:?}");
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

/// Records that are not ours, up to so many.
fn fill(world: &World, topic: &str, count: u64) {
    let other = producer(world, &format!("filler-of-{topic}"));
    other.begin_transaction().expect("begun");
    for number in 0..count {
        send(&other, topic, "f", &format!("{number}"), wall_ms());
    }
    other.commit_transaction(PATIENCE).expect("committed");
}

pub(crate) async fn a_topic_that_was_made_again_and_has_grown_stops_the_task(world: &World) {
    let name = "regrown";
    drive(&mut *world.sink(name, 5, &settings(name)), &records(5), 5).await;
    world.delete("regrown.f").await;
    world.make("regrown.f", 1, &[]).await;
    fill(world, "regrown.f", 20);
    let why = stopped(&mut *world.sink(name, 5, &settings(name))).await;
    assert!(why.contains("another record lies at offset 4"), "{why}");
    assert!(why.contains("replay regrown"), "{why}");
}

/// A marker lies where our last record lay.
pub(crate) async fn a_topic_that_was_made_again_and_ends_in_a_marker_stops_the_task(world: &World) {
    let name = "marked";
    drive(&mut *world.sink(name, 5, &settings(name)), &records(5), 5).await;
    world.delete("marked.f").await;
    world.make("marked.f", 1, &[]).await;
    fill(world, "marked.f", 4);
    let why = stopped(&mut *world.sink(name, 5, &settings(name))).await;
    assert!(why.contains("no record lies at offset 4"), "{why}");
}

pub(crate) async fn a_topic_that_is_made_again_behind_a_session_stops_it(world: &World) {
    let mut sink = world.sink("behind", 5, &settings("behind"));
    drive(&mut *sink, &records(5), 5).await;
    world.delete("behind.f").await;
    world.make("behind.f", 1, &[]).await;
    // More than there was: the end alone does not show it.
    let next = records(25).split_off(5);
    let mut waits = 0;
    loop {
        match sink.deliver(batch(next.clone())).await {
            Delivery::Reopen(_) => break,
            Delivery::Again(_) if waits < 20 => waits += 1,
            answer @ (Delivery::Again(_) | Delivery::Taken { .. } | Delivery::Never { .. }) => {
                panic!("{answer:?}")
            }
        }
    }
    let why = stopped(&mut *sink).await;
    assert!(why.contains("behind.f"), "{why}");
}

/// Somebody else fills it before the session writes again, so its offsets only grow and the cursor
/// goes on: what the last audit has seen tells.
pub(crate) async fn what_a_session_does_not_notice_an_audit_does(world: &World) {
    let (mut sink, notes) = sink_and_notes(&world.config(), "audited", 5, &settings("audited"));
    drive(&mut *sink, &records(5), 5).await;
    until_told(&notes, |told| {
        told["audit"].to_string().contains("audited.f")
    })
    .await;
    world.delete("audited.f").await;
    world.make("audited.f", 1, &[]).await;
    fill(world, "audited.f", 20);
    let next = records(7).split_off(5);
    let answer = sink.deliver(batch(next)).await;
    assert!(matches!(answer, Delivery::Taken { .. }), "{answer:?}");
    // A form that is new hurries the next audit.
    let answer = sink.deliver(batch(vec![fresh("g", 8)])).await;
    assert!(matches!(answer, Delivery::Taken { .. }), "{answer:?}");
    let uneasy = tokio::time::timeout(PATIENCE, sink.uneasy())
        .await
        .expect("in time");
    assert!(uneasy.why.contains("looks as if"), "{}", uneasy.why);
    let why = stopped(&mut *sink).await;
    assert!(why.contains("another record lies at offset 4 "), "{why}");
}

/// What compaction has replaced is not lost.
pub(crate) async fn what_was_compacted_away_is_no_loss(world: &World) {
    let name = "compacted";
    let brief = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("max.compaction.lag.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    world.make("compacted.f", 1, &brief).await;
    drive(&mut *world.sink(name, 5, &settings(name)), &records(5), 5).await;
    let lies = || {
        world
            .read("compacted.f")
            .iter()
            .any(|seen| seen.offset == 4)
    };
    world
        .until(|| {
            fill(world, "compacted.f", 1);
            !lies()
        })
        .await;
    let mut sink = world.sink(name, 5, &settings(name));
    let opened = sink.open(Opening::default()).await.expect("no loss");
    assert_eq!(opened.expect("a cursor").position, records(5)[4].position);
}

/// Nor is what retention has deleted.
pub(crate) async fn what_retention_has_deleted_is_no_loss(world: &World) {
    let name = "retained";
    drive(&mut *world.sink(name, 5, &settings(name)), &records(5), 5).await;
    fill(world, "retained.f", 3);
    world.delete_up_to("retained.f", 6).await;
    assert!(world.read("retained.f").iter().all(|seen| seen.offset > 4));
    let mut sink = world.sink(name, 5, &settings(name));
    let opened = sink.open(Opening::default()).await.expect("no loss");
    assert_eq!(opened.expect("a cursor").position, records(5)[4].position);
}
