//! Retention over a real log: what holds it, what lets it go, what a restart finds.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bridge::{LaneState, LaneStatus};
use bytes::Bytes;
use storage::{
    Advance, Command, DefineForm, DefineTask, Engine, Expect, FaultDisk, FormId, Outcome, Pack,
    Position, Seq, Slot, Start, Submission, Tick,
};

use super::*;

const LIMIT: Duration = Duration::from_mins(1);

/// A node with small segments, a task that is told where it stands, and its retention.
struct Bench {
    disk: FaultDisk,
    node: raft::Node,
    retention: Retention,
    /// What the task has delivered.
    at: Arc<Mutex<Position>>,
    is_short: Arc<AtomicBool>,
    form: FormId,
    number: u64,
}

async fn start(disk: &FaultDisk) -> raft::Node {
    let mut settings = storage::Config::default();
    settings.state.engine = Engine::Memory;
    settings.state.checkpoint_bytes = 1 << 40;
    settings.wal = storage::WalConfig::simulated();
    settings.wal.segment_bytes = 64 << 10;
    settings.wal.batch_bytes_max = 16 << 10;
    let shared = Arc::new(disk.clone());
    let start = raft::Node::start(
        raft::Setup::alone(shared, Path::new("/data"), settings),
        |_| {},
    );
    let (node, _) = tokio::time::timeout(LIMIT, start).await.unwrap().unwrap();
    node
}

fn status(incarnation: Index, at: Position) -> TaskStatus {
    TaskStatus {
        name: Arc::from("sheet"),
        incarnation: incarnation.0,
        sink: Arc::from("csv"),
        state: LaneState::Running,
        lag_records: 0,
        lag_bytes: None,
        oldest_age_ms: None,
        last_error: None,
        lanes: vec![LaneStatus {
            form: Arc::from("f"),
            state: LaneState::Running,
            position: Some(bridge::Position {
                index: at.index.0,
                slot: at.slot.0,
            }),
            seq: 0,
            delivered_records: 0,
            parked_records: 0,
            lag_records: 0,
            lag_bytes: None,
            oldest_age_ms: None,
            last_error: None,
            sink: None,
        }],
    }
}

impl Bench {
    async fn new(config: Config) -> Self {
        let disk = FaultDisk::new();
        let node = start(&disk).await;
        let form = DefineForm {
            name: "f".to_owned(),
            expect: Expect::Any,
            definition: Bytes::from_static(b"{}"),
        };
        let Outcome::Form { id: form, .. } = propose(&node, Command::DefineForm(form)).await else {
            panic!("no form");
        };
        let task = DefineTask {
            name: "sheet".to_owned(),
            expect: Expect::Any,
            definition: Bytes::from_static(
                br#"{"name":"sheet","forms":["f"],"sink":"csv","start":"beginning"}"#,
            ),
            start: Start::Beginning,
        };
        let Outcome::Task { incarnation, .. } = propose(&node, Command::DefineTask(task)).await
        else {
            panic!("no task");
        };
        let at = Arc::new(Mutex::new(Position::default()));
        let is_short = Arc::new(AtomicBool::new(false));
        let (told, short) = (Arc::clone(&at), Arc::clone(&is_short));
        let retention = Retention::new(
            &node,
            &config,
            1 << 40,
            Arc::new(move || vec![status(incarnation, *told.lock().unwrap())]),
            Arc::new(move || short.load(Ordering::Relaxed)),
        );
        Self {
            disk,
            node,
            retention,
            at,
            is_short,
            form,
            number: 0,
        }
    }

    /// So many packs of one record, each of about a batch's least length.
    async fn submit(&mut self, count: u64) -> Index {
        let mut last = Index(0);
        for _ in 0..count {
            self.number += 1;
            let pack = Pack {
                sender: self.node.sender(),
                number: self.number,
                submissions: vec![Submission {
                    id: [0; 16],
                    form: self.form,
                    form_version: 1,
                    received_ms: 1,
                    key: None,
                    digest: [0; 16],
                    is_withheld: false,
                    body: Bytes::from_static(b"{}"),
                }],
            };
            let command = encode_command(&Command::Submit(pack));
            last = self.node.propose(command).await.unwrap().log_id.index;
        }
        last
    }

    async fn tick(&self, elapsed_ms: u64) {
        propose(&self.node, Command::Tick(Tick { elapsed_ms })).await;
    }

    fn delivered(&self, index: Index) {
        *self.at.lock().unwrap() = Position {
            index,
            slot: Slot(u32::MAX),
        };
    }

    /// Looks, and lets time pass in which checkpoints are cut and written.
    async fn turns(&mut self, count: u32) -> Report {
        for _ in 0..count {
            self.retention.turn().await;
            self.submit(1).await;
            tokio::task::yield_now().await;
        }
        self.retention.turn().await;
        self.retention.report()
    }

    async fn until(&mut self, is_it: impl Fn(&Report) -> bool) -> Report {
        for _ in 0..2000 {
            let report = self.turns(1).await;
            if is_it(&report) {
                return report;
            }
        }
        panic!("{:?}", self.retention.report());
    }
}

async fn propose(node: &raft::Node, command: Command) -> Outcome {
    node.propose(encode_command(&command))
        .await
        .unwrap()
        .outcome
}

fn tight() -> Config {
    Config {
        time: "1s".to_owned(),
        bytes: 1,
        after_delivery: "0s".to_owned(),
    }
}

#[tokio::test]
async fn a_stuck_task_keeps_every_record_however_short_room_is() {
    let mut bench = Bench::new(tight()).await;
    bench.is_short.store(true, Ordering::Relaxed);
    bench.submit(60).await;
    for _ in 0..3 {
        bench.tick(3_600_000).await;
    }
    bench.until(|report| !report.checkpoints.is_empty()).await;
    let report = bench.turns(20).await;
    assert_eq!((report.horizon, report.purged), (Index(0), Index(0)));
    let held_by = report.held_by.unwrap();
    assert_eq!(
        (&*held_by.task, &*held_by.form, held_by.seq),
        ("sheet", "f", Seq(1))
    );
    assert_eq!(
        held_by.to_string(),
        "task sheet has not delivered record 1 of form f"
    );
    let read = bench.node.records().read(bench.form, Seq(0), 1, 1).unwrap();
    assert_eq!(read.len(), 1, "and all of them are there");
}

#[tokio::test]
async fn the_log_goes_as_far_as_the_task_has_got_and_no_further() {
    let mut bench = Bench::new(tight()).await;
    let half = bench.submit(60).await;
    let report = bench.until(|report| !report.checkpoints.is_empty()).await;
    let first = report.checkpoints[0];
    bench.delivered(half);
    let held = bench.turns(5).await;
    assert_eq!(held.delivered, half);
    assert!(held.horizon <= half && held.purged <= half, "{held:?}");
    let upto = bench.submit(60).await;
    bench.delivered(upto);
    let report = bench.until(|report| report.purged >= first).await;
    assert!(
        report.purged <= report.horizon && report.horizon <= upto,
        "{report:?}"
    );
    // What is left begins behind the horizon, and whoever asks for less is told where.
    let oldest = bench.node.view().oldest_seq(bench.form).unwrap();
    let records = bench.node.records();
    match records.read(bench.form, Seq(0), 1, 1) {
        Err(storage::Error::Forgotten { oldest: told }) => assert_eq!(told, oldest),
        other => panic!("{other:?}"),
    }
    let read = records.read(bench.form, Seq(oldest.0 - 1), 1, 1).unwrap();
    assert!(read[0].position.index > report.horizon);
    let fed = records
        .after_position(bench.form, Position::default(), 1, 1)
        .unwrap();
    assert_eq!(
        fed[0].seq,
        Some(oldest),
        "a task from the beginning begins there"
    );
}

#[tokio::test]
async fn what_was_delivered_stays_its_time_and_a_restart_goes_on_from_there() {
    let config = Config {
        time: "1h".to_owned(),
        bytes: 1 << 40,
        after_delivery: "2h".to_owned(),
    };
    let mut bench = Bench::new(config).await;
    let last = bench.submit(60).await;
    bench.node.checkpoints().demand();
    bench.tick(1000).await;
    bench.delivered(last);
    bench.until(|report| !report.checkpoints.is_empty()).await;
    let upto = bench.submit(2).await;
    bench.delivered(upto);
    let report = bench.turns(3).await;
    assert_eq!(
        report.horizon,
        Index(0),
        "neither old nor delivered long ago"
    );
    bench.tick(3_700_000).await;
    let report = bench.turns(3).await;
    assert_eq!(report.horizon, Index(0), "old, but delivered an hour ago");
    bench.tick(3_700_000).await;
    bench.turns(3).await;
    bench.tick(3_700_000).await;
    let upto = bench.submit(2).await;
    bench.delivered(upto);
    let report = bench.until(|report| report.purged > Index(0)).await;
    let rows = bench.node.view().digests().rows;
    let Bench {
        disk,
        node,
        retention,
        ..
    } = bench;
    drop(retention);
    let floor = node.checkpoints().floor(report.horizon).unwrap();
    node.close().await.unwrap();
    let node = start(&disk).await;
    assert_eq!(node.view().digests().rows, rows);
    assert_eq!(node.view().horizon().unwrap(), report.horizon);
    assert_eq!(node.checkpoints().floor(report.horizon), Some(floor));
    node.close().await.unwrap();
}

#[tokio::test]
async fn a_task_with_one_cursor_for_all_forms_holds_what_that_one_has_not_passed() {
    let mut bench = Bench::new(tight()).await;
    let task = DefineTask {
        name: "mirror".to_owned(),
        expect: Expect::Any,
        definition: Bytes::from_static(
            br#"{"name":"mirror","forms":["*"],"sink":"kafka","start":"beginning"}"#,
        ),
        start: Start::Beginning,
    };
    let task = propose(&bench.node, Command::DefineTask(task)).await;
    let Outcome::Task { incarnation, .. } = task else {
        panic!("no task");
    };
    let first = bench.submit(1).await;
    let last = bench.submit(1).await;
    let held = |bench: &Bench| {
        let lanes = held::lanes(&bench.node.view(), &[]).unwrap();
        let of_mirror = lanes.into_iter().filter(|held| held.task == "mirror");
        of_mirror.map(|held| held.index).collect::<Vec<_>>()
    };
    assert_eq!(held(&bench), [first]);
    for (from, to, left) in [(Index(0), first, vec![last]), (first, last, vec![])] {
        let at = |index| Position {
            index,
            slot: Slot(0),
        };
        let advance = Advance {
            task: "mirror".to_owned(),
            incarnation,
            form: None,
            from: at(from),
            to: at(to),
        };
        let outcome = propose(&bench.node, Command::Advance(advance)).await;
        assert_eq!(outcome, Outcome::Done);
        assert_eq!(held(&bench), left);
    }
}

#[tokio::test]
async fn a_task_that_this_build_cannot_run_holds_the_log_where_it_stands() {
    // The sink alone refuses the one; of the other nothing is known, not even whose its places are.
    let unreadable = [
        (r#""kafka":{"colour":"red"}"#, false),
        (r#""except":["g"]"#, true),
    ];
    for (newer, holds_all) in unreadable {
        let mut bench = Bench::new(tight()).await;
        let text = format!(
            r#"{{"name":"mirror","forms":["f"],"sink":"kafka","start":"beginning",{newer}}}"#
        );
        let task = DefineTask {
            name: "mirror".to_owned(),
            expect: Expect::Any,
            definition: text.into(),
            start: Start::Beginning,
        };
        let task = propose(&bench.node, Command::DefineTask(task)).await;
        let Outcome::Task { incarnation, .. } = task else {
            panic!("no task");
        };
        let first = bench.submit(1).await;
        let last = bench.submit(1).await;
        let at = |index| Position {
            index,
            slot: Slot(0),
        };
        let advance = Advance {
            task: "mirror".to_owned(),
            incarnation,
            form: None,
            from: at(Index(0)),
            to: at(first),
        };
        // By a node that can.
        let outcome = propose(&bench.node, Command::Advance(advance)).await;
        assert_eq!(outcome, Outcome::Done);
        let lanes = held::lanes(&bench.node.view(), &[]).unwrap();
        let held = lanes.iter().find(|held| held.task == "mirror").unwrap();
        let expected = if holds_all { first } else { last };
        assert_eq!(
            (held.index, held.is_local),
            (expected, holds_all),
            "{newer}"
        );
    }
}
