//! Topics spoiled by hand, each in one way.

use std::collections::BTreeSet;

use super::{Expected, Log, Original, Shown, Topic, aborted, check, murmur2, partition};
use crate::checker::findings::{Findings, Kind};
use crate::form::Form;

const CLUSTER: &str = "c1";

/// A log, the topic that mirrors it, and what is said about both.
struct Mirror {
    log: Log,
    topic: Topic,
    parked: BTreeSet<u64>,
    replayed: u64,
}

impl Mirror {
    fn good(count: u64) -> Self {
        let mut mirror = Self {
            log: Log::new(),
            topic: Topic {
                name: "jepsen".to_owned(),
                rows: Vec::new(),
            },
            parked: BTreeSet::new(),
            replayed: 0,
        };
        for seq in 1..=count {
            mirror.take(seq);
            mirror.show(seq);
        }
        mirror
    }

    fn take(&mut self, seq: u64) {
        let original = Original {
            id: format!("id-{seq}"),
            received_at: format!("at-{seq}"),
            index: seq + 10,
            data: format!("{{\"n\":{seq}}}").into_bytes(),
        };
        self.log.insert(seq, original);
    }

    /// At the end of the topic. Markers of transactions take offsets too.
    fn show(&mut self, seq: u64) {
        let original = &self.log[&seq];
        let headers = [
            ("formspool-id", original.id.clone()),
            ("formspool-form", "jepsen".to_owned()),
            ("formspool-seq", seq.to_string()),
            ("formspool-index", original.index.to_string()),
            ("formspool-cluster", CLUSTER.to_owned()),
            ("formspool-received-at", original.received_at.clone()),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value));
        let offset = self.topic.rows.last().map_or(0, |row| row.offset + 2);
        self.topic.rows.push(Shown {
            partition: partition("jepsen", 3),
            offset,
            timestamp_ms: 0,
            key: Some("jepsen".to_owned()),
            headers: headers.to_vec(),
            value: original.data.clone(),
        });
    }

    fn kinds(&self) -> Vec<(Kind, u64)> {
        let mut findings = Findings::default();
        let expected = Expected {
            form: Form::Free,
            log: &self.log,
            cluster: CLUSTER,
            partitions: 3,
            parked: &self.parked,
            replayed: self.replayed,
        };
        check(&self.topic, &expected, &mut findings);
        findings.kinds().collect()
    }
}

fn replay() -> (String, String) {
    (super::REPLAY.0.to_owned(), super::REPLAY.1.to_owned())
}

#[test]
fn a_faithful_topic_pleases_and_so_does_an_empty_one_of_nothing() {
    assert_eq!(Mirror::good(20).kinds(), []);
    assert_eq!(Mirror::good(0).kinds(), []);
}

#[test]
fn one_that_is_missing_is_lost_wherever_it_should_stand() {
    for place in [0, 3, 9] {
        let mut mirror = Mirror::good(10);
        mirror.topic.rows.remove(place);
        assert_eq!(mirror.kinds(), [(Kind::Lost, 1)], "{place}");
    }
}

#[test]
fn one_twice_is_doubled_also_when_a_whole_transaction_is() {
    let mut mirror = Mirror::good(10);
    for seq in 7..=10 {
        mirror.show(seq);
    }
    assert_eq!(mirror.kinds(), [(Kind::Doubled, 4)]);
}

#[test]
fn order_is_that_of_offsets() {
    let mut mirror = Mirror::good(10);
    mirror.topic.rows.swap(4, 5);
    assert_eq!(mirror.kinds(), [(Kind::Reordered, 1)]);
}

#[test]
fn what_the_log_does_not_have_is_a_phantom() {
    let mut mirror = Mirror::good(3);
    mirror.log.remove(&3);
    assert_eq!(mirror.kinds(), [(Kind::Phantom, 1)]);
    let mut foreign = Mirror::good(3);
    foreign.topic.rows[1].headers.clear();
    assert_eq!(foreign.kinds(), [(Kind::Lost, 1), (Kind::Phantom, 1)]);
}

#[test]
fn every_part_of_a_record_is_compared() {
    type Spoil = fn(&mut Shown);
    let spoils: [Spoil; 10] = [
        |row| row.value.push(b' '),
        |row| row.key = None,
        |row| row.partition = (row.partition + 1) % 3,
        |row| row.headers[0].1.push('x'),
        |row| row.headers[1].1.push('x'),
        |row| row.headers[3].1.push('0'),
        |row| row.headers[4].1.push('x'),
        |row| drop(row.headers.remove(5)),
        |row| row.headers.push(row.headers[5].clone()),
        |row| row.headers.push(replay()),
    ];
    for (number, spoil) in spoils.iter().enumerate() {
        let mut mirror = Mirror::good(5);
        spoil(&mut mirror.topic.rows[2]);
        assert_eq!(mirror.kinds(), [(Kind::Altered, 1)], "spoil {number}");
    }
}

#[test]
fn what_is_parked_is_not_there_and_not_lost() {
    let mut mirror = Mirror::good(5);
    mirror.parked.insert(3);
    assert_eq!(mirror.kinds(), [(Kind::Phantom, 1)]);
    mirror.topic.rows.remove(2);
    assert_eq!(mirror.kinds(), []);
}

#[test]
fn a_replay_says_so_and_is_judged_by_itself() {
    let mut mirror = Mirror::good(4);
    let ends = mirror.topic.ends();
    for seq in 1..=4 {
        mirror.show(seq);
    }
    mirror.topic = mirror.topic.behind(&ends);
    assert_eq!(mirror.topic.rows.len(), 4);
    assert_eq!(mirror.kinds(), []);
    // What had not been there before is not sent once more.
    mirror.replayed = 3;
    assert_eq!(mirror.kinds(), [(Kind::Altered, 3)]);
    for row in &mut mirror.topic.rows[..3] {
        row.headers.push(replay());
    }
    assert_eq!(mirror.kinds(), []);
}

#[test]
fn the_uncommitted_reading_shows_all_that_is_committed_and_what_was_aborted() {
    let (mut committed, uncommitted) = (Mirror::good(9).topic, Mirror::good(9).topic);
    committed.rows.drain(3..6);
    let mut findings = Findings::default();
    assert_eq!(aborted(&committed, &uncommitted, &mut findings), 3);
    assert!(findings.is_clean());
    committed.rows[0].value.clear();
    aborted(&committed, &uncommitted, &mut findings);
    assert_eq!(findings.count(Kind::Altered), 1);
}

/// The vectors that Kafka's own tests have.
#[test]
fn keys_are_placed_as_java_places_them() {
    let vectors = [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        (
            "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
            -58_897_971,
        ),
        ("abc", 479_470_107),
    ];
    for (key, hash) in vectors {
        assert_eq!(murmur2(key.as_bytes()), hash.cast_unsigned(), "{key}");
    }
    let places = ["k", "student-data", "jepsen"].map(|key| partition(key, 3));
    assert_eq!(places, [2, 0, 1]);
}
