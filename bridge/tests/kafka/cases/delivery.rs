//! What arrives, and in which shape.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bridge::testing::{Destination, contract, record};
use bridge::{Batch, Delivery, Opening, Position, Record, Sink};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::world::{CLUSTER, Seen, World, wall_ms, weak};

pub(crate) fn batch(records: Vec<Record>) -> Arc<Batch> {
    Arc::new(Batch::new(records, Arc::from([])))
}

/// The `seq`th record of `form`, accepted just now.
pub(crate) fn fresh(form: &str, seq: u64) -> Record {
    Record {
        received_at_ms: wall_ms(),
        ..record(form, seq, &format!("{{\"n\":{seq}}}"))
    }
}

pub(crate) async fn records_and_cursor_arrive_together(world: &World) {
    let mut sink = world.sink("together", 5, &weak(&json!({ "topic": "together.{form}" })));
    assert_eq!(sink.open(Opening::default()).await, Ok(None));
    let records: Vec<Record> = (1..=1000).map(|seq| fresh("f", seq)).collect();
    let last = records[999].position;
    let delivered = sink.deliver(batch(records.clone())).await;
    assert_eq!(delivered, Delivery::Taken { upto: last });
    let seen = world.read("together.f");
    assert_eq!(seen.len(), 1000);
    for (seen, record) in seen.iter().zip(&records) {
        assert_eq!(seen.seq(), record.seq);
        assert_eq!(seen.body.as_bytes(), &record.body[..]);
        assert_eq!(seen.key.as_deref(), Some("f"));
        assert_eq!(seen.header("formspool-id"), record.id);
        assert_eq!(seen.header("formspool-cluster"), CLUSTER);
        assert_eq!(u64::try_from(seen.timestamp_ms), Ok(record.received_at_ms));
    }
    let control = world.read("formspool-01234567-together");
    let cursor: Value =
        serde_json::from_str(&control.last().expect("a cursor").body).expect("JSON");
    assert_eq!(cursor["index"], 1000);
    assert_eq!(cursor["incarnation"], 5);
    let partition = seen[0].partition.to_string();
    assert_eq!(
        cursor["topics"]["together.f"]["last"][partition],
        seen[999].offset
    );
    drop(sink);
    let mut sink = world.sink("together", 5, &weak(&json!({ "topic": "together.{form}" })));
    let opened = sink
        .open(Opening::default())
        .await
        .expect("opened")
        .expect("a cursor");
    assert_eq!((opened.incarnation, opened.position), (5, last));
}

/// A topic, as the suite looks at it: a life's rows are those behind where its first sink was made.
struct Topic<'a> {
    world: &'a World,
    begins: Mutex<BTreeMap<u64, usize>>,
}

impl Topic<'_> {
    fn all(&self) -> Vec<(u64, String)> {
        let mut seen = self.world.read("contract.f");
        seen.sort_by_key(|seen| seen.offset);
        seen.iter()
            .map(|seen| (seen.seq(), seen.header("formspool-id").to_owned()))
            .collect()
    }
}

impl Destination for Topic<'_> {
    fn sink(&self, incarnation: u64) -> Box<dyn Sink> {
        let mut begins = self.begins.lock().expect("the lives");
        let is_new = !begins.contains_key(&incarnation);
        if is_new {
            let there = if begins.is_empty() {
                0
            } else {
                self.all().len()
            };
            begins.insert(incarnation, there);
        }
        let settings = weak(&json!({ "topic": "contract.{form}" }));
        self.world.sink("contract", incarnation, &settings)
    }

    fn rows(&self) -> BoxFuture<'_, Vec<(u64, String)>> {
        let begins = self.begins.lock().expect("the lives");
        let skip = begins.last_key_value().map_or(0, |(_, begin)| *begin);
        let rows = self.all().split_off(skip);
        async move { rows }.boxed()
    }
}

pub(crate) async fn the_sink_keeps_the_contract(world: &World) {
    contract(&Topic {
        world,
        begins: Mutex::default(),
    })
    .await;
}

pub(crate) async fn records_of_many_forms_go_to_their_topics_by_key(world: &World) {
    let settings = weak(
        &json!({ "topic": "many.{form}", "key": "field:roll", "headers": "cloudevents", "partitions": 5 }),
    );
    let mut sink = world.sink("many", 5, &settings);
    assert_eq!(sink.open(Opening::default()).await, Ok(None));
    let records: Vec<Record> = (1..=60u64)
        .map(|index| {
            let form = if index % 3 == 0 { "b" } else { "a" };
            let body = format!("{{\"roll\":\"r{}\"}}", index % 7);
            let seq = if index % 3 == 0 {
                index / 3
            } else {
                index - index / 3
            };
            Record {
                position: Position { index, slot: 0 },
                ..record(form, seq, &body)
            }
        })
        .collect();
    let delivered = sink.deliver(batch(records)).await;
    assert!(matches!(delivered, Delivery::Taken { .. }), "{delivered:?}");
    let (a, b) = (world.read("many.a"), world.read("many.b"));
    assert_eq!((a.len(), b.len()), (40, 20));
    let mut partition_of = BTreeMap::new();
    for seen in &a {
        let key = seen.key.clone().expect("a key");
        let known = partition_of.entry(key).or_insert(seen.partition);
        assert_eq!(*known, seen.partition, "a key has one partition");
        assert_eq!(seen.header("ce_subject"), seen.header("formspool-seq"));
        assert_eq!(seen.header("content-type"), "application/json");
    }
    assert_eq!(partition_of.len(), 7);
    // As Java's own partitioner puts them.
    assert_eq!(world.partitions("many.a"), Some(5));
    let by_partition = |partition| {
        let of = a.iter().filter(|seen| seen.partition == partition);
        of.map(Seen::seq).collect::<Vec<_>>()
    };
    assert!((0..5).all(|partition| by_partition(partition).is_sorted()));
}

pub(crate) async fn what_was_parked_is_passed_by_a_cursor_alone(world: &World) {
    let settings = weak(&json!({ "topic": "parked.{form}" }));
    let mut sink = world.sink("parked", 5, &settings);
    assert_eq!(sink.open(Opening::default()).await, Ok(None));
    let upto = Position { index: 7, slot: 2 };
    let empty = Batch {
        records: Vec::new(),
        upto,
        fields: Arc::from([]),
    };
    assert_eq!(
        sink.deliver(Arc::new(empty)).await,
        Delivery::Taken { upto }
    );
    let opened = world
        .sink("parked", 5, &settings)
        .open(Opening::default())
        .await;
    assert_eq!(opened.expect("opened").expect("a cursor").position, upto);
}

pub(crate) async fn a_large_batch_is_one_transaction(world: &World) {
    let settings = weak(&json!({ "topic": "large.{form}" }));
    let mut sink = world.sink("large", 5, &settings);
    assert_eq!(sink.open(Opening::default()).await, Ok(None));
    let records: Vec<Record> = (1..=50_000).map(|seq| fresh("f", seq)).collect();
    let last = records[49_999].position;
    assert_eq!(
        sink.deliver(batch(records)).await,
        Delivery::Taken { upto: last }
    );
    let seen = world.read("large.f");
    assert_eq!(seen.len(), 50_000);
    assert!(seen.iter().map(Seen::seq).eq(1..=50_000));
    let gaps = seen
        .windows(2)
        .filter(|two| two[1].offset != two[0].offset + 1)
        .count();
    assert_eq!(gaps, 0, "no marker stands between them");
}
