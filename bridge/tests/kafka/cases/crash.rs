//! A crash between any two steps: what the next sink finds, and what it makes of it.

use bridge::testing::drive;
use bridge::{Opening, Record};
use rdkafka::producer::{BaseProducer, Producer as _};
use serde_json::json;

use super::delivery::{batch, fresh};
use crate::world::{CLUSTER, PATIENCE, Seen, World, producer, send, wall_ms, weak};

/// Records 1 to 20 by a sink that lived; then a producer with its id that goes on as a sink would, and
/// comes only so far.
struct Scene<'a> {
    world: &'a World,
    name: &'a str,
    topic: String,
    records: Vec<Record>,
}

impl<'a> Scene<'a> {
    async fn begin(world: &'a World, name: &'a str) -> (Scene<'a>, BaseProducer) {
        let scene = Self {
            world,
            name,
            topic: format!("{name}.f"),
            records: (1..=40).map(|seq| fresh("f", seq)).collect(),
        };
        drive(&mut *scene.sink(), &scene.records[..20], 7).await;
        let id = format!("formspool-{CLUSTER}-{name}");
        let doomed = producer(world, &id);
        doomed.begin_transaction().expect("begun");
        for record in &scene.records[20..30] {
            let body = String::from_utf8_lossy(&record.body);
            send(&doomed, &scene.topic, "f", &body, wall_ms());
        }
        (scene, doomed)
    }

    fn sink(&self) -> Box<dyn bridge::Sink> {
        let settings = json!({ "topic": format!("{}.{{form}}", self.name), "partitions": 1 });
        self.world.sink(self.name, 5, &weak(&settings))
    }

    fn control(&self) -> String {
        format!("formspool-01234567-{}", self.name)
    }

    /// The next sink brings the rest; all is there once, and in order, though not at once.
    async fn end(self, seen_at_all: usize) {
        drive(&mut *self.sink(), &self.records, 9).await;
        let seqs: Vec<u64> = self.world.read(&self.topic).iter().map(Seen::seq).collect();
        assert_eq!(seqs, (1..=40).collect::<Vec<u64>>(), "each once, in order");
        let all = self.world.read_as(&self.topic, "read_uncommitted");
        assert_eq!(
            all.len(),
            seen_at_all,
            "the crash did leave something behind"
        );
    }
}

pub(crate) async fn a_crash_before_the_cursor_leaves_nothing(world: &World) {
    let (scene, doomed) = Scene::begin(world, "crash-1").await;
    scene.end(50).await;
    drop(doomed);
}

pub(crate) async fn a_crash_before_the_commit_leaves_nothing(world: &World) {
    let (scene, doomed) = Scene::begin(world, "crash-2").await;
    let cursor = json!({
        "version": 1, "cluster": CLUSTER, "task": "crash-2", "incarnation": 5,
        "index": 30, "slot": 0, "term": 1, "topics": {},
    });
    send(
        &doomed,
        &scene.control(),
        "crash-2",
        &cursor.to_string(),
        wall_ms(),
    );
    scene.end(50).await;
    let late = doomed.commit_transaction(PATIENCE);
    assert!(late.is_err(), "the fence holds: {late:?}");
}

pub(crate) async fn a_crash_behind_the_commit_doubles_nothing(world: &World) {
    let records: Vec<Record> = (1..=10).map(|seq| fresh("f", seq)).collect();
    let settings = weak(&json!({ "topic": "crash-3.{form}" }));
    let mut doomed = world.sink("crash-3", 5, &settings);
    assert_eq!(doomed.open(Opening::default()).await, Ok(None));
    // Its answer is never heard.
    drop(doomed.deliver(batch(records.clone())).await);
    drive(&mut *world.sink("crash-3", 5, &settings), &records, 3).await;
    assert_eq!(world.read("crash-3.f").len(), 10);
}
