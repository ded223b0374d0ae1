//! Commands as bytes: what a log written today must still say in years.

#![expect(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests stop at the first surprise"
)]

use std::fmt::Write as _;

use bytes::Bytes;
use proptest::prelude::*;
use storage::{
    Advance, Command, DefineForm, DefineTask, EndSession, Error, Expect, FormId, Horizon, Index,
    Key, NodeId, Pack, Park, ParkedRecord, Policy, Position, Release, RetireForm, RetireTask,
    SeekTask, SendStarted, Sender, Seq, SetLevel, SetPolicy, SetTaskState, SetToken, Slot, Start,
    Submission, TaskState, Term, Tick, Unpark, decode_command, encode_command,
};

fn position(index: u64, slot: u32) -> Position {
    Position {
        index: Index(index),
        slot: Slot(slot),
    }
}

fn submission(key: Option<Key>, is_withheld: bool, body: &'static str) -> Submission {
    Submission {
        id: [0xaa; 16],
        form: FormId(7),
        form_version: 300,
        received_ms: 0x0102_0304_0506,
        key,
        digest: [0xbb; 16],
        is_withheld,
        body: Bytes::from_static(body.as_bytes()),
    }
}

/// One of each kind, and its golden bytes.
fn golden() -> Vec<(&'static str, Command, &'static str)> {
    let name = || "ab".to_owned();
    let definition = Bytes::from_static(b"{}");
    let sender = Sender {
        node: NodeId(1),
        boot: 2,
    };
    let submissions = vec![
        submission(None, false, "{}"),
        submission(Some(Key::Own("k".into())), true, ""),
        submission(
            Some(Key::Line {
                header: "h".into(),
                line: 3,
            }),
            false,
            "x",
        ),
    ];
    let (from, to) = (position(1, 0), position(300, 2));
    let form = Some(FormId(7));
    let (task, incarnation) = (name(), Index(9));
    vec![
        (
            "submit",
            Command::Submit(Pack {
                sender,
                number: 4,
                submissions,
            }),
            GOLDEN_SUBMIT,
        ),
        (
            "define_form",
            Command::DefineForm(DefineForm {
                name: name(),
                expect: Expect::Version(3),
                definition: definition.clone(),
            }),
            "0201 02 6162 02 03 02 7b7d",
        ),
        (
            "retire_form",
            Command::RetireForm(RetireForm {
                name: name(),
                expect: Expect::Any,
            }),
            "0301 02 6162 00",
        ),
        (
            "define_task",
            Command::DefineTask(DefineTask {
                name: name(),
                expect: Expect::Absent,
                definition,
                start: Start::Now,
            }),
            "0401 02 6162 01 02 7b7d 01",
        ),
        (
            "retire_task",
            Command::RetireTask(RetireTask {
                name: name(),
                expect: Expect::Any,
            }),
            "0501 02 6162 00",
        ),
        (
            "advance",
            Command::Advance(Advance {
                task: task.clone(),
                incarnation,
                form,
                from,
                to,
            }),
            "0601 02 6162 09 01 07 01 00 fb2c01 02",
        ),
        (
            "send_started",
            Command::SendStarted(SendStarted {
                task,
                incarnation,
                form: None,
                from,
                to,
            }),
            "0701 02 6162 09 00 01 00 fb2c01 02",
        ),
        (
            "park",
            Command::Park(Park {
                task: name(),
                incarnation,
                form: FormId(7),
                position: to,
                reason: "r".into(),
                answer: "a".into(),
                record: ParkedRecord {
                    id: [7; 16],
                    seq: Seq(5),
                    term: Term(3),
                    received_ms: 300,
                    form_version: 2,
                    body: Bytes::from_static(b"{}"),
                },
            }),
            "0801 02 6162 09 07 fb2c01 02 01 72 01 61 07070707070707070707070707070707 05 03 fb2c01 02 \
             02 7b7d",
        ),
        (
            "unpark",
            Command::Unpark(Unpark {
                task: name(),
                position: to,
            }),
            "0901 02 6162 fb2c01 02",
        ),
        (
            "release",
            Command::Release(Release {
                form: FormId(7),
                positions: vec![from, to],
            }),
            "0a01 07 02 01 00 fb2c01 02",
        ),
        (
            "set_task_state",
            Command::SetTaskState(SetTaskState {
                task: name(),
                state: TaskState::Paused,
            }),
            "0b01 02 6162 01",
        ),
        (
            "tick",
            Command::Tick(Tick { elapsed_ms: 1000 }),
            "0c01 fbe803",
        ),
        (
            "horizon",
            Command::Horizon(Horizon { index: Index(5) }),
            "0d01 05",
        ),
        (
            "set_level",
            Command::SetLevel(SetLevel { level: 1 }),
            "0e01 01",
        ),
        (
            "set_policy",
            Command::SetPolicy(SetPolicy {
                policy: Policy::IntervalMs(50),
            }),
            "0f01 01 32",
        ),
        (
            "set_token",
            Command::SetToken(SetToken {
                name: name(),
                hash: [0xcc; 32],
                only_if_absent: true,
            }),
            "1001 02 6162 \
             cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc 01",
        ),
        (
            "end_session",
            Command::EndSession(EndSession { node: NodeId(3) }),
            "1101 03",
        ),
        (
            "define_task that keeps its life",
            Command::DefineTask(DefineTask {
                name: name(),
                expect: Expect::Version(3),
                definition: Bytes::from_static(b"{}"),
                start: Start::Kept,
            }),
            "0401 02 6162 02 03 02 7b7d 02",
        ),
        (
            "seek_task",
            Command::SeekTask(SeekTask {
                task: name(),
                to,
                is_replay: true,
            }),
            "1201 02 6162 fb2c01 02 01",
        ),
    ]
}

const GOLDEN_SUBMIT: &str = "0101 01 02 04 03 \
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 07 fb2c01 fd0605040302010000 00 \
    bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 00 02 7b7d \
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 07 fb2c01 fd0605040302010000 01 00 01 6b \
    bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 01 00 \
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 07 fb2c01 fd0605040302010000 01 01 01 68 03 \
    bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 00 01 78";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn every_kind_has_its_golden_bytes() {
    let mut kinds = Vec::new();
    for (name, command, golden) in golden() {
        let bytes = encode_command(&command);
        assert_eq!(golden.replace(' ', ""), hex(&bytes), "{name}");
        assert_eq!(command, decode_command(&bytes).unwrap(), "{name}");
        kinds.extend(bytes.first().copied());
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!((1..=18).collect::<Vec<u8>>(), kinds);
}

#[test]
fn bytes_that_are_no_command_are_refused_and_claim_no_memory() {
    for (name, command, _) in golden() {
        let bytes = encode_command(&command);
        for len in 0..bytes.len() {
            let cut = decode_command(bytes.get(..len).unwrap());
            assert!(
                matches!(cut, Err(Error::Decode { .. })),
                "{name} cut at {len}: {cut:?}"
            );
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(
            matches!(decode_command(&longer), Err(Error::Decode { .. })),
            "{name}"
        );
    }
    // A pack that claims 2^63 submissions.
    let huge = [
        1, 1, 1, 2, 4, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ];
    assert!(matches!(decode_command(&huge), Err(Error::Decode { .. })));
    let unknown = decode_command(&[19, 1]);
    assert!(matches!(
        unknown,
        Err(Error::UnknownCommand {
            kind: 19,
            version: 1
        })
    ));
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = bytes;
        if let Some(kind) = bytes.first_mut() {
            *kind %= 19;
        }
        if let Some(version) = bytes.get_mut(1) {
            *version = 1;
        }
        if let Ok(command) = decode_command(&bytes) {
            prop_assert_eq!(&command, &decode_command(&encode_command(&command)).unwrap());
        }
    }
}
