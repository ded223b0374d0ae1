//! The queue over a real log and state, as the pump reads it.

use std::path::Path;

use bridge::Feed as _;
use bytes::Bytes;
use storage::{
    DefineForm, DefineTask, Engine, Expect, FaultDisk, Pack, RetireTask, SeekTask, Start,
    Submission, Unpark,
};

use super::*;

const LIMIT: Duration = Duration::from_mins(1);
const ALL: Limit = Limit {
    count_max: 100,
    bytes_max: 1 << 20,
};

/// A node with two forms, a task over both that has one cursor, and the queue as its lane sees it.
struct Bench {
    node: raft::Node,
    feed: LogFeed,
    stage: Stage,
    lane: Lane,
    forms: [FormId; 2],
    life: u64,
    number: u64,
}

impl Bench {
    async fn new() -> Self {
        let disk = Arc::new(FaultDisk::new());
        let mut settings = storage::Config::default();
        settings.state.engine = Engine::Memory;
        settings.wal = storage::WalConfig::simulated();
        let setup = raft::Setup::alone(disk, Path::new("/data"), settings);
        let start = raft::Node::start(setup, |_| {});
        let (node, _) = tokio::time::timeout(LIMIT, start).await.unwrap().unwrap();
        let stage = Stage::new();
        let registry = Registry::new(node.view());
        let mut bench = Self {
            feed: LogFeed::new(&node, &registry, &stage),
            node,
            stage,
            lane: Lane::of_all("mirror"),
            forms: [FormId(0); 2],
            life: 0,
            number: 0,
        };
        for (at, name) in ["f", "g"].into_iter().enumerate() {
            let form = DefineForm {
                name: name.to_owned(),
                expect: Expect::Any,
                definition: Bytes::from_static(b"{}"),
            };
            let Outcome::Form { id, .. } = bench.propose(Command::DefineForm(form)).await else {
                panic!("no form");
            };
            bench.forms[at] = id;
        }
        bench.define().await;
        bench
    }

    async fn propose(&self, command: Command) -> Outcome {
        let applied = self.node.propose(encode_command(&command)).await.unwrap();
        applied.outcome
    }

    async fn define(&mut self) {
        let task = DefineTask {
            name: "mirror".to_owned(),
            expect: Expect::Any,
            definition: Bytes::from_static(
                br#"{"name":"mirror","forms":["*"],"sink":"kafka","start":"beginning"}"#,
            ),
            start: Start::Beginning,
        };
        self.begin(Command::DefineTask(task)).await;
    }

    /// A command that begins a life.
    async fn begin(&mut self, command: Command) {
        let Outcome::Task { incarnation, .. } = self.propose(command).await else {
            panic!("no life");
        };
        self.life = incarnation.0;
    }

    async fn seek(&mut self, to: Position, is_replay: bool) {
        let seek = SeekTask {
            task: "mirror".to_owned(),
            to: inward(to),
            is_replay,
        };
        self.begin(Command::SeekTask(seek)).await;
    }

    /// One record of each of these forms (0 or 1), in one pack; the entry.
    async fn submit(&mut self, forms: &[usize]) -> u64 {
        self.submit_bodies(forms, b"{}").await
    }

    async fn submit_bodies(&mut self, forms: &[usize], body: &'static [u8]) -> u64 {
        self.number += 1;
        let submissions = forms.iter().map(|form| Submission {
            id: [7; 16],
            form: self.forms[*form],
            form_version: 1,
            received_ms: 1000 + self.number,
            key: None,
            digest: [0; 16],
            is_withheld: false,
            body: Bytes::from_static(body),
        });
        let pack = Pack {
            sender: self.node.sender(),
            number: self.number,
            submissions: submissions.collect(),
        };
        let command = encode_command(&Command::Submit(pack));
        self.node.propose(command).await.unwrap().log_id.index.0
    }

    async fn read(&self, after: Position) -> Vec<bridge::Record> {
        let mut all: Vec<bridge::Record> = Vec::new();
        // Piece by piece, as the pump may.
        let two = Limit {
            count_max: 2,
            ..ALL
        };
        loop {
            let from = all.last().map_or(after, |last| last.position);
            let more = self.feed.read(&self.lane, from, two).await.unwrap();
            if more.is_empty() {
                return all;
            }
            all.extend(more);
        }
    }

    /// What is read, as `f1`, and `f1!` where it is a replay.
    async fn words(&self, after: Position) -> Vec<String> {
        let word = |record: bridge::Record| {
            let mark = if record.is_replay { "!" } else { "" };
            format!("{}{}{mark}", record.form, record.seq)
        };
        self.read(after).await.into_iter().map(word).collect()
    }

    async fn park(&self, record: &bridge::Record) {
        let parked = Parked {
            record: record.clone(),
            why: "no".to_owned(),
            answer: String::new(),
        };
        let park = self.feed.park(&self.lane, self.life, parked);
        assert_eq!(park.await, Ok(()));
    }

    async fn unpark(&self, at: Position) {
        let unpark = Unpark {
            task: "mirror".to_owned(),
            position: inward(at),
        };
        let outcome = self.propose(Command::Unpark(unpark)).await;
        assert_eq!(outcome, Outcome::Done);
    }

    async fn bytes(&self, after: Position) -> Option<u64> {
        let behind = self.feed.behind(&self.lane, after).await;
        behind.unwrap().bytes
    }

    async fn advance(&self, from: Position, to: Position) {
        let advance = self.feed.advance(&self.lane, self.life, from, to);
        assert_eq!(advance.await, Ok(()));
    }

    fn held(&self, after: Position) -> Vec<Held> {
        let held = self.feed.held(&self.lane, self.life, after);
        held.unwrap()
    }

    async fn end(self) {
        self.stage.stop(LIMIT).await;
    }
}

fn at(index: u64, slot: u32) -> Position {
    Position { index, slot }
}

const START: Position = Position { index: 0, slot: 0 };

#[test]
fn a_long_reason_is_cut_between_characters() {
    assert_eq!(cut("aé".to_owned(), 2), "a");
    assert_eq!(cut("ab".to_owned(), 9), "ab");
}

#[tokio::test]
async fn a_lane_over_all_forms_reads_them_in_the_order_of_the_log() {
    let mut bench = Bench::new().await;
    let first = bench.submit(&[0, 1, 0]).await;
    bench.submit(&[1]).await;
    assert_eq!(bench.words(START).await, ["f1", "g1", "f2", "g2"]);
    assert_eq!(bench.words(at(first, 1)).await, ["f2", "g2"]);
    let behind = bench.feed.behind(&bench.lane, at(first, 1)).await.unwrap();
    assert_eq!((behind.records, behind.head_seq), (2, 4));
    bench.advance(START, at(first, 1)).await;
    let standing = bench.feed.standing(&bench.lane).await.unwrap();
    assert_eq!((standing.start, standing.position), (START, at(first, 1)));
    bench.end().await;
}

#[tokio::test]
async fn bytes_are_exact_of_few_records_and_never_too_few_of_many() {
    const BODY: usize = 100 << 10;
    static LARGE: [u8; BODY] = [b'x'; BODY];
    let mut bench = Bench::new().await;
    assert_eq!(bench.bytes(START).await, Some(0));
    let first = bench.submit(&[0, 1, 0]).await;
    assert_eq!(bench.bytes(START).await, Some(6));
    assert_eq!(bench.bytes(at(first, 1)).await, Some(2));
    let mut last = 0;
    for _ in 0..5 {
        last = bench.submit_bodies(&[0], &LARGE).await;
    }
    assert_eq!(bench.bytes(at(last, 0)).await, Some(0));
    let body = u64::try_from(BODY).unwrap();
    assert_eq!(bench.bytes(at(last - 1, 0)).await, Some(body));
    // Heads, padding, and what lies before the first one's batch.
    let slack = 5 * (16 << 10) + (128 << 10);
    let five = bench.bytes(at(first, 2)).await.unwrap();
    assert!((5 * body..5 * body + slack).contains(&five), "{five}");
    bench.end().await;
}

#[tokio::test]
async fn a_parked_record_is_passed_and_comes_again_where_a_person_asked() {
    let mut bench = Bench::new().await;
    let first = bench.submit(&[0, 1]).await;
    let all = bench.read(START).await;
    bench.park(&all[0]).await;
    let within = |from, to| {
        let feed = &bench.feed;
        feed.parked_within(&bench.lane, bench.life, from, to)
            .unwrap()
    };
    assert_eq!(within(START, at(first, 9)), [at(first, 0)]);
    assert_eq!(within(at(first, 0), at(first, 9)), []);
    let other = bench
        .feed
        .parked_within(&bench.lane, 1, START, at(first, 9));
    assert_eq!(other, Ok(vec![]), "another life's");
    assert_eq!(
        (&*bench.held(START)[0].form, bench.held(START)[0].seq),
        ("f", 1)
    );

    bench.unpark(at(first, 0)).await;
    bench.submit(&[0]).await;
    assert_eq!(bench.words(at(first, 1)).await, ["f1!", "f2"]);
    let again = &bench.read(at(first, 1)).await[0];
    assert_eq!(
        (&again.id, again.received_at_ms),
        (&all[0].id, all[0].received_at_ms)
    );
    let behind = bench.feed.behind(&bench.lane, at(first, 1)).await.unwrap();
    assert_eq!(behind.records, 2);
    assert_eq!(bench.held(at(first, 1))[0].until, Some(again.position));
    assert_eq!(bench.held(again.position), [], "it has come by");
    bench.end().await;
}

#[tokio::test]
async fn a_wait_ends_when_a_parked_record_is_to_come_again() {
    let mut bench = Bench::new().await;
    let first = bench.submit(&[0]).await;
    bench.park(&bench.read(START).await[0]).await;
    bench.advance(START, at(first, 0)).await;
    let wait = bench.feed.wait(&bench.lane, at(first, 0));
    let ((), waited) = tokio::join!(
        bench.unpark(at(first, 0)),
        tokio::time::timeout(LIMIT, wait)
    );
    assert_eq!(waited, Ok(()));
    bench.end().await;
}

#[tokio::test]
async fn a_replay_marks_what_was_delivered_and_nothing_more() {
    let mut bench = Bench::new().await;
    let first = bench.submit(&[0, 0]).await;
    bench.advance(START, at(first, 0)).await;
    bench.seek(START, true).await;
    assert_eq!(bench.words(START).await, ["f1!", "f2"]);
    bench.seek(START, false).await;
    assert_eq!(bench.words(START).await, ["f1", "f2"]);
    bench.end().await;
}

#[tokio::test]
async fn each_life_gets_a_record_that_was_sent_once_more_exactly_once() {
    let mut bench = Bench::new().await;
    let first = bench.submit(&[0, 1]).await;
    bench.park(&bench.read(START).await[0]).await;
    bench.unpark(at(first, 0)).await;
    let end = bench.submit(&[1]).await;
    assert_eq!(bench.words(at(first, 1)).await, ["f1!", "g2"]);
    bench.advance(START, at(end, 0)).await;
    // Back to the beginning: the log gives it at its own place.
    bench.seek(START, true).await;
    assert_eq!(bench.words(START).await, ["f1!", "g1!", "g2!"]);
    // Back to behind that: it comes where it was sent once more.
    bench.seek(at(first, 0), true).await;
    assert_eq!(bench.words(at(first, 0)).await, ["g1!", "f1!", "g2!"]);
    bench.end().await;
}

#[tokio::test]
async fn a_task_that_is_gone_or_made_again_is_fenced() {
    let mut bench = Bench::new().await;
    let first = bench.submit(&[0, 1]).await;
    let old = bench.life;
    let retire = RetireTask {
        name: "mirror".to_owned(),
        expect: Expect::Any,
    };
    bench.propose(Command::RetireTask(retire)).await;
    let read = bench.feed.read(&bench.lane, START, ALL).await;
    assert_eq!(read, Err(FeedError::Fenced));
    bench.define().await;
    assert_ne!(bench.life, old);
    let advance = bench.feed.advance(&bench.lane, old, START, at(first, 0));
    assert_eq!(advance.await, Err(FeedError::Fenced));
    assert_eq!(bench.words(START).await, ["f1", "g1"], "it begins anew");
    bench.end().await;
}

#[tokio::test]
async fn a_task_that_cannot_be_read_is_behind_by_all_that_it_may_cover() {
    let mut bench = Bench::new().await;
    let first = bench.submit(&[0]).await;
    bench.submit(&[1, 1]).await;
    let newer = br#"{"name":"mirror","forms":["f"],"sink":"kafka","except":["x"]}"#;
    let task = DefineTask {
        name: "mirror".to_owned(),
        expect: Expect::Any,
        definition: Bytes::from_static(newer),
        start: Start::Beginning,
    };
    bench.begin(Command::DefineTask(task)).await;
    bench.advance(START, at(first, 0)).await;
    let standing = bench.feed.standing(&bench.lane).await.unwrap();
    let behind = bench.feed.behind(&bench.lane, standing.position).await;
    assert_eq!(behind.unwrap().records, 2);
    bench.end().await;
}
