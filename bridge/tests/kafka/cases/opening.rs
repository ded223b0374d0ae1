//! What the cursor that is there means to an opening.

use std::time::Duration;

use bridge::testing::drive;
use bridge::{Cause, Delivery, KafkaConfig, Opening, Position, Record, SinkError, Standing};
use rdkafka::producer::Producer as _;
use serde_json::json;

use super::delivery::{batch, fresh};
use crate::world::{CLUSTER, PATIENCE, World, producer, send, sink_with, wall_ms, weak};

fn at(index: u64) -> Position {
    Position { index, slot: 0 }
}

/// A life that began at 0 and stands here.
fn standing(index: u64) -> Opening {
    Opening {
        standing: Standing {
            position: at(index),
            ..Standing::default()
        },
        term: 3,
    }
}

fn records(upto: u64) -> Vec<Record> {
    (1..=upto).map(|seq| fresh("f", seq)).collect()
}

fn stops(opened: &Result<Option<bridge::Cursor>, SinkError>, words: &str) {
    match opened {
        Err(SinkError::Stop(why)) if why.contains(words) => {}
        other => panic!("it must stop and say {words:?}, but: {other:?}"),
    }
}

pub(crate) async fn a_second_sink_fences_the_first(world: &World) {
    let settings = weak(&json!({ "topic": "fence.{form}" }));
    let all = records(30);
    let mut first = world.sink("fence", 5, &settings);
    drive(&mut *first, &all[..10], 10).await;
    let mut second = world.sink("fence", 5, &settings);
    let opened = second
        .open(Opening::default())
        .await
        .expect("opened")
        .expect("a cursor");
    assert_eq!(opened.position, at(10));
    let fenced = first.deliver(batch(all[10..20].to_vec())).await;
    let Delivery::Reopen(trouble) = fenced else {
        panic!("a fenced producer delivers nothing: {fenced:?}");
    };
    assert_eq!(trouble.cause, Cause::Place);
    assert!(trouble.why.contains("transactional id"), "{}", trouble.why);
    let delivered = second.deliver(batch(all[10..20].to_vec())).await;
    assert_eq!(delivered, Delivery::Taken { upto: at(20) });
    // They may take turns for as long as they like.
    drive(&mut *first, &all[..25], 5).await;
    drive(&mut *second, &all, 5).await;
    assert_eq!(world.read("fence.f").len(), 30, "each once");
}

pub(crate) async fn an_earlier_life_is_replaced_and_a_later_one_stops(world: &World) {
    let settings = weak(&json!({ "topic": "lives.{form}" }));
    drive(&mut *world.sink("lives", 5, &settings), &records(3), 3).await;
    let mut later = world.sink("lives", 9, &settings);
    let opening = Opening {
        standing: Standing {
            start: at(2),
            position: at(2),
            sending: None,
        },
        term: 3,
    };
    assert_eq!(later.open(opening).await, Ok(None));
    let again = world.sink("lives", 9, &settings).open(opening).await;
    let cursor = again.expect("opened").expect("the installed cursor");
    assert_eq!((cursor.incarnation, cursor.position), (9, at(2)));
    stops(
        &world.sink("lives", 5, &settings).open(standing(3)).await,
        "later life",
    );
    // A life that has moved already had a cursor there: Kafka has lost it.
    stops(
        &world.sink("lives", 11, &settings).open(standing(3)).await,
        "replay",
    );
}

pub(crate) async fn another_clusters_cursor_stops(world: &World) {
    let settings = weak(&json!({ "topic": "other.{form}", "control_topic": "other-control" }));
    drive(&mut *world.sink("other", 5, &settings), &records(3), 3).await;
    let stranger = producer(world, "a-stranger");
    stranger.begin_transaction().expect("begun");
    let cursor = json!({
        "version": 1, "cluster": "another", "task": "other", "incarnation": 5,
        "index": 9, "slot": 0, "term": 1,
    });
    send(
        &stranger,
        "other-control",
        "other",
        &cursor.to_string(),
        wall_ms(),
    );
    stranger.commit_transaction(PATIENCE).expect("committed");
    stops(
        &world
            .sink("other", 5, &settings)
            .open(Opening::default())
            .await,
        "cluster another",
    );
}

pub(crate) async fn a_cursor_that_is_gone_stops(world: &World) {
    let settings = weak(&json!({ "topic": "gone.{form}" }));
    stops(
        &world.sink("gone", 5, &settings).open(standing(3)).await,
        "replay",
    );
    // Deleted by hand, as a tombstone under its key.
    drive(&mut *world.sink("gone", 6, &settings), &records(3), 3).await;
    let control = "formspool-01234567-gone";
    world.delete(control).await;
    stops(
        &world.sink("gone", 6, &settings).open(standing(3)).await,
        control,
    );
}

pub(crate) async fn an_open_transaction_hides_the_cursor_and_is_waited_out(world: &World) {
    let settings = weak(&json!({ "topic": "hides.{form}" }));
    drive(&mut *world.sink("hides", 5, &settings), &records(3), 3).await;
    let stranger = producer(world, "another-stranger");
    stranger.begin_transaction().expect("begun");
    send(
        &stranger,
        "formspool-01234567-hides",
        "hides/opened",
        "{}",
        wall_ms(),
    );
    let config = KafkaConfig {
        transaction_timeout_ms: 2000,
        ..world.config()
    };
    let mut sink = sink_with(&config, "hides", 5, &settings);
    match sink.open(standing(3)).await {
        Err(SinkError::Again(trouble)) => {
            assert!(
                trouble.why.contains("open transaction hides"),
                "{}",
                trouble.why
            );
        }
        other => panic!("it must wait: {other:?}"),
    }
    stranger.abort_transaction(PATIENCE).expect("aborted");
    let opened = sink
        .open(standing(3))
        .await
        .expect("opened")
        .expect("a cursor");
    assert_eq!(opened.position, at(3));
}

pub(crate) async fn a_control_topic_of_two_tasks_stops(world: &World) {
    let settings = |topic: &str| weak(&json!({ "topic": topic, "control_topic": "shared" }));
    drive(
        &mut *world.sink("shared-1", 5, &settings("shared-1.{form}")),
        &records(3),
        3,
    )
    .await;
    let mut second = world.sink("shared-2", 5, &settings("shared-2.{form}"));
    stops(&second.open(Opening::default()).await, "shared-1");
}

pub(crate) async fn what_a_thief_of_the_id_left_open_is_aborted(world: &World) {
    // As after a cut of the coordinator's log: another producer takes the id, and ours hears so.
    let settings = weak(&json!({ "topic": "forgot.{form}" }));
    let mut sink = world.sink("forgot", 5, &settings);
    let all = records(9);
    drive(&mut *sink, &all[..3], 3).await;
    let thief = producer(world, &format!("formspool-{CLUSTER}-forgot"));
    thief.begin_transaction().expect("begun");
    send(&thief, "forgot.f", "f", "{}", wall_ms());
    drive(&mut *sink, &all, 3).await;
    assert_eq!(world.read("forgot.f").len(), 9);
}

pub(crate) async fn an_idle_task_keeps_itself_alive(world: &World) {
    let config = KafkaConfig {
        keepalive_ms: 500,
        ..world.config()
    };
    let settings = weak(&json!({ "topic": "alive.{form}" }));
    let mut sink = sink_with(&config, "alive", 5, &settings);
    drive(&mut *sink, &records(3), 3).await;
    let control = "formspool-01234567-alive";
    let cursors = || {
        let seen = world.read(control);
        let ours = seen
            .iter()
            .filter(|seen| seen.key.as_deref() == Some("alive"));
        ours.map(|seen| seen.body.clone()).collect::<Vec<_>>()
    };
    world.until(|| cursors().len() >= 4).await;
    let cursors = cursors();
    assert_eq!(cursors[2], cursors[3], "it stands where it stood");
    // Somebody else takes over while it idles: it finds out by itself.
    let opened = world
        .sink("alive", 5, &settings)
        .open(Opening::default())
        .await;
    assert!(opened.is_ok(), "{opened:?}");
    let uneasy = tokio::time::timeout(PATIENCE, sink.uneasy())
        .await
        .expect("in time");
    assert!(uneasy.why.contains("transactional id"), "{}", uneasy.why);
    let after = sink.deliver(batch(records(4).split_off(3))).await;
    assert!(matches!(after, Delivery::Reopen(_)), "{after:?}");
}

pub(crate) async fn nobody_answers(world: &World) {
    let config = KafkaConfig {
        bootstrap: vec!["127.0.0.1:1".to_owned()],
        ..world.config()
    };
    let began = std::time::Instant::now();
    let opened = sink_with(&config, "nobody", 5, &weak(&json!({})))
        .open(Opening::default())
        .await;
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "it ends by itself"
    );
    match opened {
        Err(SinkError::Again(trouble)) => {
            assert_eq!(trouble.cause, Cause::Away);
            assert!(
                trouble.why.contains("127.0.0.1:1") && trouble.why.contains("refused"),
                "it names who, and why: {}",
                trouble.why
            );
        }
        other => panic!("{other:?}"),
    }
}
