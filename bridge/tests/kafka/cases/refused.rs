//! What Kafka refuses, and what the task makes of it.

use bridge::testing::{drive, record};
use bridge::{Cause, Delivery, Opening, Record, Sink, SinkError};
use bytes::Bytes;
use rdkafka::producer::Producer as _;
use serde_json::json;

use super::delivery::{batch, fresh};
use crate::world::{PATIENCE, World, producer, send, sink_and_notes, wall_ms, weak};

/// Delivers as a pump would, and returns the record that is refused for good.
async fn refused(sink: &mut dyn Sink, records: &[Record]) -> (u64, String) {
    for _ in 0..20 {
        let delivered = sink.deliver(batch(records.to_vec())).await;
        if let Delivery::Never { which, why, .. } = delivered {
            return (which.index, why);
        }
        let Delivery::Reopen(trouble) = delivered else {
            panic!("it is refused: {delivered:?}");
        };
        assert_ne!(trouble.cause, Cause::Away, "{}", trouble.why);
        let opened = sink.open(Opening::default()).await;
        assert!(opened.is_ok(), "{opened:?}");
    }
    panic!("nothing is ever refused for good");
}

/// A body that no codec makes smaller.
fn noise(bytes: usize) -> Bytes {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'!' + u8::try_from(state % 90).expect("below 90")
    };
    (0..bytes).map(|_| next()).collect()
}

async fn one_too_large(world: &World, name: &str, compression: &str) {
    let topic = format!("{name}.f");
    world
        .make(&topic, 1, &[("max.message.bytes", "4000")])
        .await;
    let settings = json!({ "topic": format!("{name}.{{form}}"), "compression": compression });
    let mut sink = world.sink(name, 5, &weak(&settings));
    assert_eq!(sink.open(Opening::default()).await, Ok(None));
    let mut records: Vec<Record> = (1..=50).map(|seq| fresh("f", seq)).collect();
    records[29].body = noise(6000);
    let (which, why) = refused(&mut *sink, &records).await;
    assert_eq!(which, 30, "the one that is too large, and no other: {why}");
    assert!(why.contains("large") || why.contains("size"), "{why}");
    assert!(
        world.read(&topic).is_empty(),
        "nothing of the batch is there"
    );
    // It is parked, and the same sink takes the others.
    records.remove(29);
    let last = records[48].position;
    assert_eq!(
        sink.deliver(batch(records)).await,
        Delivery::Taken { upto: last }
    );
    assert_eq!(world.read(&topic).len(), 49);
    let next: Vec<Record> = (51..=52).map(|seq| fresh("f", seq)).collect();
    let last = next[1].position;
    assert_eq!(
        sink.deliver(batch(next)).await,
        Delivery::Taken { upto: last }
    );
    assert_eq!(world.read(&topic).len(), 51);
}

pub(crate) async fn a_record_that_is_too_large_is_named_among_good_ones(world: &World) {
    one_too_large(world, "large-1", "lz4").await;
}

pub(crate) async fn a_record_that_is_too_large_is_seen_before_it_is_sent(world: &World) {
    one_too_large(world, "large-2", "none").await;
    let all = world.read_as("large-2.f", "read_uncommitted");
    assert_eq!(all.len(), 51, "and nothing was ever aborted");
}

pub(crate) async fn old_records_outlive_the_retention_of_their_topic(world: &World) {
    // A minute is kept, segments are rolled at once, and the broker looks twice a second.
    let keeps = [("retention.ms", "60000"), ("segment.ms", "100")];
    world.make("old.f", 1, &keeps).await;
    world.make("old-witness", 1, &keeps).await;
    let a_day = 86_400_000;
    let old = |seq| Record {
        received_at_ms: wall_ms() - a_day,
        ..record("f", seq, "{}")
    };
    let mut sink = world.sink("old", 5, &weak(&json!({ "topic": "old.{form}" })));
    assert_eq!(sink.open(Opening::default()).await, Ok(None));
    let witness = producer(world, "old-witness");
    let mut write = async |seq| {
        let delivered = sink.deliver(batch(vec![old(seq)])).await;
        assert!(matches!(delivered, Delivery::Taken { .. }), "{delivered:?}");
        witness.begin_transaction().expect("begun");
        send(&witness, "old-witness", "x", "{}", wall_ms() - a_day);
        witness.commit_transaction(PATIENCE).expect("committed");
    };
    for seq in 1..=5 {
        write(seq).await;
    }
    // Stamped with their acceptance, as the witness is, they would be gone by now.
    world.until(|| world.read("old-witness").len() < 5).await;
    let seen = world.read("old.f");
    assert_eq!(seen.len(), 5, "all are there");
    let received = seen[0].header("formspool-received-at");
    assert!(
        received.ends_with('Z') && !received.is_empty(),
        "and say when they came"
    );
}

pub(crate) async fn a_refused_timestamp_becomes_the_time_of_delivery(world: &World) {
    let refuses = [
        ("message.timestamp.before.max.ms", "3600000"),
        ("retention.ms", "-1"),
    ];
    world.make("stamp.f", 1, &refuses).await;
    let mut sink = world.sink("stamp", 5, &weak(&json!({ "topic": "stamp.{form}" })));
    assert_eq!(sink.open(Opening::default()).await, Ok(None));
    let old = Record {
        received_at_ms: wall_ms() - 86_400_000,
        ..record("f", 1, "{}")
    };
    let first = sink.deliver(batch(vec![old.clone(), fresh("f", 2)])).await;
    assert!(
        matches!(first, Delivery::Reopen(_)),
        "refused at first: {first:?}"
    );
    let opened = sink.open(Opening::default()).await.expect("opened");
    assert!(opened.is_some(), "its cursor is there");
    let second = sink.deliver(batch(vec![old, fresh("f", 2)])).await;
    assert!(matches!(second, Delivery::Taken { .. }), "{second:?}");
    let seen = world.read("stamp.f");
    let age = wall_ms() - u64::try_from(seen[0].timestamp_ms).expect("a time");
    assert!(age < 60_000, "it is stamped with its delivery");
}

pub(crate) async fn a_missing_topic_is_waited_for(world: &World) {
    let settings = weak(
        &json!({ "topic": "missing.{form}", "create_topics": false, "control_topic": "missing-control" }),
    );
    let mut sink = world.sink("missing", 5, &settings);
    let words = |trouble: &bridge::Trouble, topic: &str| {
        let line = format!("--create --topic {topic}");
        assert!(trouble.why.contains(&line), "{}", trouble.why);
    };
    match sink.open(Opening::default()).await {
        Err(SinkError::Again(trouble)) => words(&trouble, "missing-control"),
        other => panic!("{other:?}"),
    }
    world
        .make("missing-control", 1, &[("cleanup.policy", "compact")])
        .await;
    assert_eq!(sink.open(Opening::default()).await, Ok(None));
    let delivered = sink.deliver(batch(vec![fresh("f", 1)])).await;
    let Delivery::Again(trouble) = delivered else {
        panic!("{delivered:?}");
    };
    words(&trouble, "missing.f");
    world.make("missing.f", 1, &[]).await;
    let delivered = sink.deliver(batch(vec![fresh("f", 1)])).await;
    assert!(matches!(delivered, Delivery::Taken { .. }), "{delivered:?}");
}

pub(crate) async fn what_can_lose_records_is_refused_unless_it_is_said_in_words(world: &World) {
    world
        .make(
            "formspool-01234567-strong",
            1,
            &[("cleanup.policy", "compact")],
        )
        .await;
    let opened = world
        .sink("strong", 5, &json!({}))
        .open(Opening::default())
        .await;
    match opened {
        Err(SinkError::Again(trouble)) => {
            assert!(
                trouble.why.contains("accept_weak = true"),
                "{}",
                trouble.why
            );
        }
        other => panic!("{other:?}"),
    }
    // A topic that would have to be made with three replicas cannot be, on one broker.
    match world
        .sink("strong-2", 5, &json!({}))
        .open(Opening::default())
        .await
    {
        Err(SinkError::Again(trouble)) => {
            assert!(trouble.why.contains("fewer brokers"), "{}", trouble.why);
        }
        other => panic!("{other:?}"),
    }
    let opened = world
        .sink("strong", 5, &weak(&json!({})))
        .open(Opening::default())
        .await;
    assert_eq!(opened, Ok(None));
}

pub(crate) async fn a_topic_that_has_grown_alarms_and_goes_on(world: &World) {
    let settings = weak(&json!({ "topic": "grown.{form}", "partitions": 1 }));
    let first: Vec<Record> = (1..=3).map(|seq| fresh("f", seq)).collect();
    drive(&mut *world.sink("grown", 5, &settings), &first, 3).await;
    world.grow("grown.f", 4).await;
    let (mut sink, notes) = sink_and_notes(&world.config(), "grown", 5, &settings);
    let all: Vec<Record> = (1..=6).map(|seq| fresh("f", seq)).collect();
    drive(&mut *sink, &all, 3).await;
    assert_eq!(world.read("grown.f").len(), 6);
    let told = notes.get().expect("something is told");
    let alarm = told["alarm"].as_str().expect("an alarm");
    assert!(alarm.contains("had 1 partitions and has 4"), "{alarm}");
}
