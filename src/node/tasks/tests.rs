//! What people are told of tasks, over a real log and state.

use std::path::Path;

use bridge::{CsvConfig, KafkaConfig, LaneState, Metrics, OsFiles, Parts, Sinks};
use bytes::Bytes;
use storage::{
    Command, DefineForm, DefineTask, Engine, Expect, FaultDisk, Pack, Start, Submission,
    encode_command,
};

use super::*;
use crate::feed::LogFeed;
use crate::forms::Registry;

const LIMIT: Duration = Duration::from_mins(1);

/// A node with one record of one form, and the bridge over it.
struct Bench {
    node: raft::Node,
    bridge: Bridge,
    stage: Stage,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let mut settings = storage::Config::default();
        settings.state.engine = Engine::Memory;
        settings.wal = storage::WalConfig::simulated();
        let disk = Arc::new(FaultDisk::new());
        let setup = raft::Setup::alone(disk, Path::new("/data"), settings);
        let start = raft::Node::start(setup, |_| {});
        let (node, _) = tokio::time::timeout(LIMIT, start).await.unwrap().unwrap();
        let (stage, dir) = (Stage::new(), tempfile::tempdir().unwrap());
        let (metrics, now_ms): (_, bridge::NowMs) = (Metrics::default(), Arc::new(|| 0));
        let csv = CsvConfig {
            dir: dir.path().into(),
            ..CsvConfig::default()
        };
        let mut sinks = Sinks::new(&csv, Arc::new(OsFiles), "c");
        sinks.add_kafka(&KafkaConfig::default(), "c", Arc::clone(&now_ms), &metrics);
        let parts = Parts {
            feed: Arc::new(LogFeed::new(&node, &Registry::new(node.view()), &stage)),
            sinks,
            metrics,
            now_ms,
            seed: 1,
        };
        let Stage { token, tracker } = stage.clone();
        let bridge = Bridge::spawn(bridge::Config::default(), parts, vec![], tracker, token);
        let bench = Self {
            node,
            bridge,
            stage,
            _dir: dir,
        };
        let form = DefineForm {
            name: "f".to_owned(),
            expect: Expect::Any,
            definition: Bytes::from_static(b"{}"),
        };
        let form = bench.propose(Command::DefineForm(form)).await;
        let storage::Outcome::Form { id: form, .. } = form else {
            panic!("{form:?}");
        };
        let submission = Submission {
            id: [7; 16],
            form,
            form_version: 1,
            received_ms: 1,
            key: None,
            digest: [0; 16],
            is_withheld: false,
            body: Bytes::from_static(b"{}"),
        };
        let pack = Pack {
            sender: bench.node.sender(),
            number: 1,
            submissions: vec![submission],
        };
        bench.propose(Command::Submit(pack)).await;
        bench
    }

    async fn propose(&self, command: Command) -> storage::Outcome {
        let applied = self.node.propose(encode_command(&command)).await;
        applied.unwrap().outcome
    }

    async fn define(&self, name: &str, definition: String) {
        let task = DefineTask {
            name: name.to_owned(),
            expect: Expect::Any,
            definition: definition.into(),
            start: Start::Beginning,
        };
        self.propose(Command::DefineTask(task)).await;
    }
}

#[tokio::test]
async fn a_task_that_this_build_cannot_run_is_listed_as_stopped_with_the_reason() {
    let bench = Bench::new().await;
    // As a newer release may define them: the doors of this one would not.
    let newer = [
        ("colour", r#""sink":"kafka","kafka":{"colour":"red"}"#),
        ("except", r#""sink":"csv","except":["g"]"#),
        ("tape", r#""sink":"tape""#),
    ];
    for (name, rest) in newer {
        let definition = format!(r#"{{"name":"{name}","forms":["f"],{rest}}}"#);
        bench.define(name, definition).await;
    }
    let changed = follow(&bench.node, &bench.bridge, &bench.stage);
    tokio::time::timeout(LIMIT, changed.notified())
        .await
        .unwrap();
    let overview = Overview::spawn(&bench.bridge, changed, &bench.stage).await;
    let told = overview.tasks();
    let names: Vec<&str> = told.iter().map(|task| &*task.name).collect();
    assert_eq!(names, ["colour", "except", "tape"]);
    for (task, sink) in told.iter().zip(["kafka", "csv", "tape"]) {
        assert_eq!((task.state, &*task.sink), (LaneState::Stopped, sink));
        let why = &task.last_error.as_ref().unwrap().why;
        assert!(
            why.contains(&*task.name) && why.contains("start that one"),
            "{why}"
        );
        // Or it could be deleted, and what is missing with it.
        assert_eq!(lag(&bench.bridge)(task.name.to_string()).await, Some(1));
        let lanes: Vec<&str> = task.lanes.iter().map(|lane| &*lane.form).collect();
        assert_eq!(lanes, [if sink == "kafka" { "*" } else { "f" }], "{sink}");
    }
    bench.stage.stop(LIMIT).await;
}
