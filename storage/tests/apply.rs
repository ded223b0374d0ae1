//! The rules of the queue, one sentence a test.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    reason = "tests stop at the first surprise"
)]

#[expect(unreachable_pub, reason = "shared by the test files")]
mod world;

use bytes::Bytes;
use storage::{
    Advance, Command, DefineTask, EndSession, Entry, EntryKind, Error, Expect, FormId, Horizon,
    Index, Key, NodeId, Outcome, Pack, Park, ParkedMark, ParkedRecord, Policy, Position,
    RetireTask, SeekTask, SendStarted, Sender, Seq, SetLevel, SetPolicy, SetTaskState, SetToken,
    Slot, SlotOutcome, Start, State, TaskState, Term, Terms, Tick, Unpark, Voters,
};
use world::*;

fn at(index: u64, slot: u32) -> Position {
    Position {
        index: Index(index),
        slot: Slot(slot),
    }
}

fn accepted(seq: u64) -> SlotOutcome {
    SlotOutcome::Accepted { seq: Seq(seq) }
}

/// The seq of the receipt that a duplicate gets.
fn duplicate_of(outcome: &SlotOutcome) -> Option<u64> {
    match outcome {
        SlotOutcome::Duplicate(placed) => placed.seq.map(|seq| seq.0),
        _ => None,
    }
}

fn slots_of(world: &mut World, submissions: Vec<storage::Submission>) -> Vec<SlotOutcome> {
    world.submit(submissions).slots
}

fn many(form: FormId, count: u32) -> Vec<storage::Submission> {
    (0..count)
        .map(|n| submission(form, &format!("{{\"n\":{n}}}")))
        .collect()
}

#[test]
fn seqs_follow_the_slots_and_count_each_form_by_itself() {
    let mut world = World::new();
    let (a, b) = (world.form("a"), world.form("b"));
    let slots = slots_of(
        &mut world,
        vec![
            submission(a, "1"),
            submission(a, "2"),
            submission(b, "3"),
            submission(a, "4"),
        ],
    );
    assert_eq!(
        vec![accepted(1), accepted(2), accepted(1), accepted(3)],
        slots
    );
    assert_eq!(
        vec![accepted(4)],
        slots_of(&mut world, vec![submission(a, "5")])
    );
    let expected = [(1, "1"), (2, "2"), (3, "4"), (4, "5")].map(|(s, b)| (s, b.to_owned()));
    for step in 1..5 {
        assert_eq!(expected.to_vec(), world.bodies(a, step));
    }
    assert_eq!(vec![(1, "3".to_owned())], world.bodies(b, 9));
}

#[test]
fn a_thousand_submissions_of_one_form_are_one_run() {
    let mut world = World::new();
    let form = world.form("a");
    world.submit(many(form, 1));
    let before = world.view().row_count();
    world.submit(many(form, 1000));
    // A place both ways, and the pieces of the outcome: the rest was there already.
    assert_eq!(before + 3, world.view().row_count());
    assert_eq!(1001, world.bodies(form, 300).len());
}

#[test]
fn a_pack_that_is_sent_again_gets_the_stored_outcome_and_one_out_of_turn_nothing() {
    let mut world = World::new();
    let form = world.form("a");
    let pack = |boot, number, body: &str| {
        let sender = Sender {
            node: NodeId(3),
            boot,
        };
        Command::Submit(Pack {
            sender,
            number,
            submissions: vec![submission(form, body)],
        })
    };
    let out_of_turn = |expected| Outcome::OutOfTurn { expected };
    assert_eq!(out_of_turn(Some(1)), world.apply(&pack(1, 2, "x")));
    let first = world.apply(&pack(1, 1, "1"));
    assert!(
        matches!(&first, Outcome::Pack(pack) if pack.slots == [accepted(1)]),
        "{first:?}"
    );
    assert_eq!(first, world.apply(&pack(1, 1, "1")));
    assert_eq!(out_of_turn(Some(2)), world.apply(&pack(1, 3, "x")));
    assert_eq!(out_of_turn(Some(2)), world.apply(&pack(1, 0, "x")));
    let later: Vec<_> = (2..=9)
        .map(|n| world.apply(&pack(1, n, &n.to_string())))
        .collect();
    for (n, outcome) in (2..=9).zip(&later) {
        assert_eq!(outcome, &world.apply(&pack(1, n, "x")), "pack {n}");
    }
    assert_eq!(
        out_of_turn(Some(10)),
        world.apply(&pack(1, 1, "1")),
        "only eight are kept"
    );
    let newer = world.apply(&pack(2, 1, "new boot"));
    assert!(
        matches!(&newer, Outcome::Pack(pack) if pack.slots == [accepted(10)]),
        "{newer:?}"
    );
    assert_eq!(out_of_turn(None), world.apply(&pack(1, 10, "x")));
    assert_eq!(
        out_of_turn(Some(2)),
        world.apply(&pack(2, 9, "x")),
        "the old boot's are gone"
    );
    assert_eq!(10, world.view().head(form).unwrap().0);
    assert_eq!(
        Outcome::Done,
        world.apply(&Command::EndSession(EndSession { node: NodeId(3) }))
    );
    assert_eq!(
        Outcome::Missing,
        world.apply(&Command::EndSession(EndSession { node: NodeId(3) }))
    );
}

#[test]
fn a_full_packs_outcome_comes_back_whole() {
    let mut world = World::new();
    let form = world.form("a");
    let key = |n: u32| format!("key-{}", n % 100);
    let slots = |n: u32| keyed(form, &key(n), &format!("{}", n % 150));
    let submissions: Vec<_> = (0..4096).map(slots).collect();
    let pack = Pack {
        sender: world.sender,
        number: 1,
        submissions,
    };
    let first = world.apply(&Command::Submit(pack.clone()));
    let Outcome::Pack(outcome) = &first else {
        panic!("{first:?}")
    };
    assert_eq!(4096, outcome.slots.len());
    assert_eq!(100, world.view().head(form).unwrap().0);
    assert_eq!(first, world.apply(&Command::Submit(pack)));
}

#[test]
fn the_same_key_with_the_same_body_is_the_same_submission() {
    let mut world = World::new();
    let (a, b) = (world.form("a"), world.form("b"));
    let slots = slots_of(
        &mut world,
        vec![
            keyed(a, "k", "body"),
            keyed(a, "k", "body"),
            keyed(a, "k", "other"),
            keyed(b, "k", "body"),
        ],
    );
    assert_eq!(accepted(1), slots[0]);
    assert_eq!(Some(1), duplicate_of(&slots[1]));
    assert_eq!(SlotOutcome::KeyReused, slots[2]);
    assert_eq!(accepted(1), slots[3], "keys belong to their form");
    let again = slots_of(
        &mut world,
        vec![keyed(a, "k", "body"), keyed(a, "k", "other")],
    );
    assert_eq!(slots[1], again[0], "the first receipt, word for word");
    assert_eq!(SlotOutcome::KeyReused, again[1]);
    let (digest, placed) = world
        .view()
        .key_reader()
        .placed(a, &Key::Own("k".into()))
        .unwrap()
        .unwrap();
    assert_eq!(submission(a, "body").digest, digest);
    assert_eq!(SlotOutcome::Duplicate(placed), again[0]);
    assert_eq!(1, world.bodies(a, 9).len());
}

#[test]
fn a_key_is_found_before_the_form_is_asked() {
    let mut world = World::new();
    let form = world.form("a");
    world.submit(vec![keyed(form, "k", "body")]);
    world.apply(&retire("a"));
    let slots = slots_of(
        &mut world,
        vec![
            keyed(form, "k", "body"),
            keyed(form, "new", "body"),
            submission(form, "body"),
            submission(FormId(99), "body"),
        ],
    );
    assert_eq!(Some(1), duplicate_of(&slots[0]));
    let retired = SlotOutcome::FormRetired;
    assert_eq!(
        [retired.clone(), retired, SlotOutcome::FormUnknown],
        slots[1..]
    );
    world.apply(&define("a", "{}", Expect::Absent));
    let slots = slots_of(&mut world, vec![keyed(form, "new", "body")]);
    assert_eq!(
        vec![accepted(2)],
        slots,
        "a refusal keeps no key; the head outlives retirement"
    );
}

#[test]
fn lines_share_rows_and_are_the_same_keys_as_their_own_spelling() {
    let mut world = World::new();
    let form = world.form("a");
    let lines = |range: std::ops::RangeInclusive<u32>| -> Vec<_> {
        range
            .map(|n| line(form, "h", n, &format!("body {n}")))
            .collect()
    };
    let before = world.view().row_count();
    let slots = slots_of(&mut world, lines(1..=1000));
    assert_eq!(accepted(1000), slots[999]);
    let rows = world.view().row_count() - before;
    assert!(rows < 40, "{rows} rows for a thousand lines");

    let again = slots_of(&mut world, lines(1..=1001));
    assert!(
        (0..1000).all(|n| duplicate_of(&again[n]) == Some(n as u64 + 1)),
        "{again:?}"
    );
    assert_eq!(accepted(1001), again[1000]);

    let slots = slots_of(
        &mut world,
        vec![
            keyed(form, "h#500", "body 500"),
            keyed(form, "h#0500", "body 500"),
            keyed(form, "h#500", "other"),
            keyed(form, "h#2000", "body 2000"),
            line(form, "h", 2000, "body 2000"),
            line(form, "h", 2000, "other"),
            line(form, "other", 500, "body 500"),
        ],
    );
    assert_eq!(Some(500), duplicate_of(&slots[0]));
    assert_eq!(accepted(1002), slots[1], "not how a line is written");
    assert_eq!(SlotOutcome::KeyReused, slots[2]);
    assert_eq!(accepted(1003), slots[3]);
    assert_eq!(Some(1003), duplicate_of(&slots[4]));
    assert_eq!(SlotOutcome::KeyReused, slots[5]);
    assert_eq!(accepted(1004), slots[6]);
    let slots = slots_of(&mut world, vec![line(form, "h", 2000, "body 2000")]);
    assert_eq!(
        Some(1003),
        duplicate_of(&slots[0]),
        "also when it is read from the rows"
    );
    for key in [
        Key::Own("h#77".into()),
        Key::Line {
            header: "h".into(),
            line: 77,
        },
    ] {
        let (_, placed) = world
            .view()
            .key_reader()
            .placed(form, &key)
            .unwrap()
            .unwrap();
        assert_eq!(Some(Seq(77)), placed.seq);
    }
    let missing = Key::Line {
        header: "h".into(),
        line: 5000,
    };
    assert_eq!(
        None,
        world.view().key_reader().placed(form, &missing).unwrap()
    );
}

#[test]
fn what_a_reader_of_keys_remembers_of_a_line_is_true_of_the_next() {
    let mut world = World::new();
    let form = world.form("a");
    let there = |number: u32| (10..=150).contains(&number) || number == 200;
    let mut pack: Vec<_> = (1..=210)
        .filter(|number| there(*number))
        .map(|number| line(form, "h", number, "body"))
        .collect();
    pack.push(keyed(form, "h#205", "body"));
    pack.push(line(form, "other", 5, "body"));
    slots_of(&mut world, pack);
    let view = world.view();
    let mut reader = view.key_reader();
    let upwards = 1..=210;
    let jumping = (0..420).map(|step| step * 83 % 210 + 1);
    for number in upwards.clone().rev().chain(jumping).chain(upwards) {
        let key = Key::Line {
            header: "h".into(),
            line: number,
        };
        let found = reader.placed(form, &key).unwrap();
        assert_eq!(there(number) || number == 205, found.is_some(), "{number}");
        assert_eq!(view.key_reader().placed(form, &key).unwrap(), found);
    }
    let other = Key::Line {
        header: "other".into(),
        line: 5,
    };
    assert!(reader.placed(form, &other).unwrap().is_some());
}

#[test]
fn lines_come_in_any_order_and_twice_in_one_pack() {
    let mut world = World::new();
    let form = world.form("a");
    let body = |n: u32| line(form, "h", n, &format!("body {n}"));
    let order = [5, 6, 3, 4, 5, 9, 2, 7, 9, 8, 1, 1];
    let mut known = std::collections::BTreeMap::new();
    for _ in 0..2 {
        let slots = slots_of(&mut world, order.iter().map(|n| body(*n)).collect());
        for (n, slot) in order.iter().zip(&slots) {
            if let Some(seq) = known.get(n) {
                assert_eq!(Some(*seq), duplicate_of(slot), "line {n}");
                continue;
            }
            let seq = known.len() as u64 + 1;
            assert_eq!(&accepted(seq), slot, "line {n}");
            known.insert(n, seq);
        }
    }
    assert_eq!(9, world.view().head(form).unwrap().0);
}

#[test]
fn lines_with_others_between_them_keep_their_own_receipts() {
    let mut world = World::new();
    let form = world.form("a");
    let lines = |n: u32| {
        let plain = line(form, "h", n, &format!("body {n}"));
        let is_withheld = n.is_multiple_of(5);
        storage::Submission {
            is_withheld,
            received_ms: u64::from(n / 7),
            ..plain
        }
    };
    let mut seqs = Vec::new();
    let mut pack = Vec::new();
    for n in 1..=20 {
        pack.push(lines(n));
        if n.is_multiple_of(3) {
            pack.push(submission(form, "between"));
        }
    }
    for (submission, slot) in pack.clone().iter().zip(slots_of(&mut world, pack)) {
        match slot {
            SlotOutcome::Accepted { seq } if submission.key.is_some() => seqs.push(Some(seq)),
            SlotOutcome::Withheld => seqs.push(None),
            _ => {}
        }
    }
    assert_eq!(20, seqs.len());
    for (n, slot) in (1..=20).zip(slots_of(&mut world, (1..=20).map(lines).collect())) {
        let SlotOutcome::Duplicate(placed) = slot else {
            panic!("{slot:?}")
        };
        let first = lines(n);
        assert_eq!(seqs[n as usize - 1], placed.seq, "line {n}");
        assert_eq!(
            (first.id, first.received_ms),
            (placed.id, placed.received_ms)
        );
    }
}

#[test]
fn a_line_that_was_pushed_out_in_this_very_pack_is_new_again() {
    let mut world = World::over(State::in_memory_with_keys(voters_of, 1000), wal());
    let form = world.form("a");
    world.submit(vec![line(form, "h", 1, "b")]);
    world.tick(20 * 60 * 1000);
    let mut pack = vec![line(form, "h", 1, "b")];
    pack.extend((0..5).map(|n| keyed(form, &format!("new {n}"), "b")));
    pack.push(line(form, "h", 1, "b"));
    let slots = slots_of(&mut world, pack);
    assert_eq!(Some(1), duplicate_of(&slots[0]));
    assert_eq!(accepted(2), slots[1]);
    assert_eq!(
        SlotOutcome::KeysFull,
        slots[6],
        "not a duplicate of what is gone"
    );
}

#[test]
fn a_withheld_submission_gets_its_seq_when_it_is_released_and_only_once() {
    let mut world = World::new();
    let form = world.form("a");
    let bot = |body: &str| storage::Submission {
        is_withheld: true,
        ..keyed(form, body, body)
    };
    let outcome = world.submit(vec![bot("w1"), submission(form, "1"), bot("w2"), bot("w3")]);
    let index = outcome.index.0;
    let kept = SlotOutcome::Withheld;
    assert_eq!(
        vec![kept.clone(), accepted(1), kept.clone(), kept],
        outcome.slots
    );
    let records = world.records();
    let listed = records
        .withheld(form, Position::default(), 10, usize::MAX)
        .unwrap();
    assert_eq!(
        ["w1", "w2", "w3"],
        [0, 1, 2].map(|n| str_of(&listed[n].body))
    );
    assert_eq!(
        1,
        records
            .withheld(form, at(index, 2), 10, usize::MAX)
            .unwrap()
            .len()
    );
    let again = slots_of(&mut world, vec![bot("w1")]);
    assert!(matches!(&again[0], SlotOutcome::Duplicate(placed) if placed.seq.is_none()));

    world.submit(vec![submission(form, "2")]);
    let positions = vec![
        at(index, 3),
        at(index, 2),
        at(index, 2),
        at(index, 1),
        at(7, 7),
    ];
    let released = world.next;
    assert_eq!(
        Outcome::Released { count: 2 },
        world.apply(&release(form, positions.clone()))
    );
    assert_eq!(
        Outcome::Released { count: 0 },
        world.apply(&release(form, positions))
    );
    assert_eq!(
        Outcome::Missing,
        world.apply(&release(FormId(9), vec![at(1, 1)]))
    );
    world.submit(vec![submission(form, "3")]);
    let all = [(1, "1"), (2, "2"), (3, "w3"), (4, "w2"), (5, "3")];
    assert_eq!(
        all.map(|(s, b)| (s, b.to_owned())).to_vec(),
        world.bodies(form, 2)
    );
    let record = records.get(form, Seq(4)).unwrap().unwrap();
    assert_eq!(
        (at(released, 1), at(index, 2)),
        (record.position, record.source)
    );
    assert_eq!(
        1,
        records
            .withheld(form, Position::default(), 10, usize::MAX)
            .unwrap()
            .len()
    );
}

#[test]
fn withheld_submissions_are_read_within_bounds_or_one_by_its_id() {
    let mut world = World::new();
    let (form, other) = (world.form("a"), world.form("b"));
    let bot = |form, body: String| storage::Submission {
        is_withheld: true,
        ..submission(form, &body)
    };
    let body = |n: usize| format!("{n}{}", "x".repeat(1000));
    let mut index = Vec::new();
    for pack in 0..3 {
        let own = (0..4).map(|n| bot(form, body(pack * 4 + n)));
        let pack = own.chain([submission(form, &body(99)), bot(other, body(98))]);
        index.push(world.submit(pack.collect()).index);
    }
    let records = world.records();
    let read = |after, bytes| records.withheld(form, after, 99, bytes).unwrap();
    let start = Position::default();
    assert_eq!(
        [1, 1, 3, 12],
        [0, 1100, 3300, 99_999].map(|bytes| read(start, bytes).len())
    );
    let mut after = start;
    let mut found = Vec::new();
    while let Some(last) = read(after, 2200).last() {
        found.extend(read(after, 2200));
        after = last.source;
    }
    assert_eq!(read(start, usize::MAX), found, "a page follows the last");

    for wanted in &found {
        let index = wanted.source.index;
        let by_id = |form, index, id| records.withheld_by_id(form, index, id).unwrap();
        assert_eq!(Some(wanted), by_id(form, index, wanted.id).as_ref());
        assert_eq!(None, by_id(other, index, wanted.id));
        assert_eq!(None, by_id(form, Index(index.0 + 1), wanted.id));
        assert_eq!(None, by_id(form, Index(u64::MAX), wanted.id));
    }
    let accepted = submission(form, &body(99)).id;
    assert_eq!(
        None,
        records.withheld_by_id(form, index[0], accepted).unwrap()
    );
    world.apply(&release(form, vec![found[0].source]));
    let gone = records.withheld_by_id(form, index[0], found[0].id).unwrap();
    assert_eq!(None, gone, "it was released");
}

#[test]
fn the_last_boot_counts_packs_that_are_not_applied_yet() {
    let mut world = World::new();
    let form = world.form("a");
    let node = world.sender.node;
    let last = |world: &World| world.state.last_boot(&world.wal, node).unwrap();
    assert_eq!(
        (0, None),
        (last(&world), world.view().session_boot(node).unwrap())
    );
    world.sender.boot = 7;
    world.submit(vec![submission(form, "1")]);
    assert_eq!(
        (7, Some(7)),
        (last(&world), world.view().session_boot(node).unwrap())
    );
    for (number, of) in [(8, node), (99, NodeId(2))] {
        let pack = Command::Submit(storage::Pack {
            sender: Sender {
                node: of,
                boot: number,
            },
            number: 1,
            submissions: vec![submission(form, "2")],
        });
        append(&world.wal, vec![entry(world.next, &pack)]);
        world.next += 1;
    }
    assert_eq!(
        (8, Some(7)),
        (last(&world), world.view().session_boot(node).unwrap())
    );
}

fn str_of(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn keys_expire_by_ticks_alone_and_a_few_a_command() {
    let mut world = World::new();
    let form = world.form("a");
    let day = 24 * 60 * 60 * 1000;
    let pack = |world: &mut World, from: u32| {
        slots_of(
            world,
            (from..from + 300)
                .map(|n| keyed(form, &n.to_string(), "b"))
                .collect(),
        )
    };
    pack(&mut world, 1000);
    world.tick(1000);
    pack(&mut world, 2000);
    let full = world.view().keys_bytes().unwrap();
    world.tick(day - 1001);
    assert_eq!(full, world.view().keys_bytes().unwrap());
    world.tick(1);
    assert!(
        world.view().keys_bytes().unwrap() > full / 2,
        "a tick takes at most 256 rows"
    );
    world.tick(0);
    assert_eq!(
        full / 2,
        world.view().keys_bytes().unwrap(),
        "the younger ones stay"
    );
    let slots = slots_of(
        &mut world,
        vec![keyed(form, "1001", "new"), keyed(form, "2001", "new")],
    );
    assert_eq!(vec![accepted(601), SlotOutcome::KeyReused], slots);
    for _ in 0..4 {
        world.tick(day);
    }
    assert_eq!(0, world.view().keys_bytes().unwrap());
    assert_eq!(day * 5, world.view().state_time().unwrap());
}

#[test]
fn a_full_house_pushes_out_the_oldest_keys_but_none_younger_than_ten_minutes() {
    let mut world = World::over(State::in_memory_with_keys(voters_of, 20_000), wal());
    let form = world.form("a");
    let keys = |world: &mut World, from: u32, count: u32| {
        slots_of(
            world,
            (from..from + count)
                .map(|n| keyed(form, &n.to_string(), "b"))
                .collect(),
        )
    };
    let slots = keys(&mut world, 1000, 200);
    let taken = slots
        .iter()
        .filter(|slot| matches!(slot, SlotOutcome::Accepted { .. }))
        .count();
    assert!((100..200).contains(&taken), "{taken}");
    assert!(
        slots[taken..]
            .iter()
            .all(|slot| *slot == SlotOutcome::KeysFull)
    );
    assert_eq!(
        vec![accepted(taken as u64 + 1)],
        slots_of(&mut world, vec![submission(form, "no key")])
    );
    assert_eq!(SlotOutcome::KeysFull, keys(&mut world, 9000, 1)[0]);
    world.tick(10 * 60 * 1000 - 1);
    assert_eq!(SlotOutcome::KeysFull, keys(&mut world, 9000, 1)[0]);
    world.tick(1);
    assert!(
        keys(&mut world, 5000, 50)
            .iter()
            .all(|s| matches!(s, SlotOutcome::Accepted { .. }))
    );
    assert!(world.view().keys_bytes().unwrap() <= 20_000);
    let oldest = world
        .view()
        .key_reader()
        .placed(form, &Key::Own("1000".into()))
        .unwrap();
    assert_eq!(None, oldest);
}

#[test]
fn a_form_keeps_its_number_its_seqs_and_all_its_definitions() {
    let mut world = World::new();
    let form = |id, version, is_changed| Outcome::Form {
        id: FormId(id),
        version,
        is_changed,
    };
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(9000));
    assert_eq!(
        form(1, 1, true),
        world.apply(&define("a", "{}", Expect::Absent))
    );
    let version = world.view().definitions_version();
    assert_eq!(
        form(1, 1, false),
        world.apply(&define("a", "{}", Expect::Absent))
    );
    assert_eq!(
        form(1, 1, false),
        world.apply(&define("a", "{}", Expect::Any))
    );
    assert_eq!(version, world.view().definitions_version());
    let conflict = |version| Outcome::Conflict { version };
    assert_eq!(
        conflict(1),
        world.apply(&define("a", &large, Expect::Absent))
    );
    assert_eq!(
        conflict(1),
        world.apply(&define("a", &large, Expect::Version(2)))
    );
    assert_eq!(
        conflict(0),
        world.apply(&define("b", &large, Expect::Version(1)))
    );
    assert_eq!(
        form(1, 2, true),
        world.apply(&define("a", &large, Expect::Version(1)))
    );
    assert_ne!(version, world.view().definitions_version());
    assert_eq!(
        form(2, 1, true),
        world.apply(&define("b", "{}", Expect::Any))
    );

    world.submit(vec![
        submission(FormId(1), "old version"),
        submission(FormId(1), "x"),
    ]);
    let future = storage::Submission {
        form_version: 3,
        ..submission(FormId(1), "x")
    };
    assert_eq!(
        vec![SlotOutcome::FormUnknown],
        slots_of(&mut world, vec![future])
    );
    assert_eq!(form(1, 2, true), world.apply(&retire("a")));
    assert_eq!(form(1, 2, false), world.apply(&retire("a")));
    assert_eq!(Outcome::Missing, world.apply(&retire("nobody")));
    assert!(world.view().form("a").unwrap().unwrap().is_retired);
    assert_eq!(
        form(1, 3, true),
        world.apply(&define("a", &large, Expect::Absent))
    );
    assert_eq!(
        vec![accepted(3)],
        slots_of(&mut world, vec![submission(FormId(1), "y")])
    );

    let row = world.view().form("a").unwrap().unwrap();
    assert_eq!(
        (FormId(1), 3, false, Seq(3)),
        (row.id, row.version, row.is_retired, row.head)
    );
    assert_eq!(large, str_of(&row.definition));
    let first = world.view().definition(FormId(1), 1).unwrap().unwrap();
    assert_eq!("{}", str_of(&first));
    assert_eq!(None, world.view().definition(FormId(1), 4).unwrap());
    let names: Vec<_> = world
        .view()
        .forms()
        .unwrap()
        .into_iter()
        .map(|form| form.name)
        .collect();
    assert_eq!(["a", "b"], names[..]);
}

#[test]
fn a_cursor_moves_forward_only_within_one_life_and_from_where_it_stands() {
    let mut world = World::new();
    let form = world.form("a");
    world.submit(many(form, 5));
    let Outcome::Task {
        incarnation,
        version: 1,
        is_changed: true,
    } = world.apply(&task("t", "{}"))
    else {
        panic!("no task")
    };
    let again = Outcome::Task {
        incarnation,
        version: 1,
        is_changed: false,
    };
    assert_eq!(again, world.apply(&task("t", "{}")));
    let advance = |incarnation, from, to| {
        let task = "t".to_owned();
        Command::Advance(Advance {
            task,
            incarnation,
            form: Some(form),
            from,
            to,
        })
    };
    let start = Position::default();
    let sent = SendStarted {
        task: "t".into(),
        incarnation,
        form: Some(form),
        from: start,
        to: at(2, 1),
    };
    assert_eq!(Outcome::Done, world.apply(&Command::SendStarted(sent)));
    let cursor = world.view().cursor("t", Some(form)).unwrap().unwrap();
    assert_eq!((start, Some(at(2, 1))), (cursor.position, cursor.sending));
    assert_eq!(
        Outcome::Fenced,
        world.apply(&advance(Index(1), start, at(2, 1)))
    );
    assert_eq!(
        Outcome::Fenced,
        world.apply(&advance(incarnation, at(2, 0), at(2, 1)))
    );
    assert_eq!(
        Outcome::Fenced,
        world.apply(&advance(incarnation, start, start))
    );
    assert_eq!(
        Outcome::Fenced,
        world.apply(&advance(incarnation, start, at(999, 0)))
    );
    assert_eq!(
        Outcome::Done,
        world.apply(&advance(incarnation, start, at(2, 1)))
    );
    assert_eq!(
        Outcome::Fenced,
        world.apply(&advance(incarnation, at(2, 1), at(2, 0)))
    );
    assert_eq!(
        Outcome::Fenced,
        world.apply(&advance(incarnation, start, at(2, 1)))
    );
    let cursor = world.view().cursor("t", Some(form)).unwrap().unwrap();
    assert_eq!((at(2, 1), None), (cursor.position, cursor.sending));

    let now = Command::DefineTask(DefineTask {
        name: "t".into(),
        expect: Expect::Version(1),
        definition: Bytes::from_static(b"{\"new\":1}"),
        start: Start::Now,
    });
    let index = world.next;
    let Outcome::Task {
        incarnation: newer,
        version: 2,
        ..
    } = world.apply(&now)
    else {
        panic!("not changed")
    };
    assert_eq!(Index(index), newer);
    let cursor = world.view().cursor("t", Some(form)).unwrap().unwrap();
    assert_eq!((newer, at(index, 0)), (cursor.incarnation, cursor.position));
    assert_eq!(
        Outcome::Fenced,
        world.apply(&advance(incarnation, at(2, 1), at(2, 2)))
    );

    let pause = SetTaskState {
        task: "t".into(),
        state: TaskState::Paused,
    };
    assert!(matches!(
        world.apply(&Command::SetTaskState(pause)),
        Outcome::Task {
            is_changed: true,
            ..
        }
    ));
    assert_eq!(
        TaskState::Paused,
        world.view().task("t").unwrap().unwrap().state
    );
}

fn kept(body: &str) -> ParkedRecord {
    ParkedRecord {
        id: [5; 16],
        seq: Seq(2),
        term: Term(1),
        received_ms: 77,
        form_version: 1,
        body: Bytes::from(body.to_owned()),
    }
}

fn seek(to: Position, is_replay: bool) -> Command {
    Command::SeekTask(SeekTask {
        task: "t".into(),
        to,
        is_replay,
    })
}

#[test]
fn a_seek_begins_a_life_elsewhere_and_a_replay_knows_what_was_there() {
    let mut world = World::new();
    let form = world.form("a");
    world.submit(many(form, 3));
    let Outcome::Task { incarnation, .. } = world.apply(&task("t", "{}")) else {
        panic!()
    };
    let advance = |incarnation, from, to| {
        Command::Advance(Advance {
            task: "t".into(),
            incarnation,
            form: None,
            from,
            to,
        })
    };
    let start = Position::default();
    assert_eq!(
        Outcome::Done,
        world.apply(&advance(incarnation, start, at(2, 1)))
    );
    assert_eq!(
        Outcome::Fenced,
        world.apply(&seek(at(999, 0), false)),
        "not beyond the log"
    );
    let index = Index(world.next);
    let Outcome::Task {
        incarnation: second,
        version: 2,
        is_changed: true,
    } = world.apply(&seek(at(2, 0), true))
    else {
        panic!()
    };
    assert_eq!(index, second);
    assert_eq!(
        Outcome::Fenced,
        world.apply(&advance(incarnation, at(2, 1), at(2, 2))),
        "the old life counts no more"
    );
    let cursor = |world: &World| world.view().cursor("t", None).unwrap().unwrap();
    assert_eq!(
        (second, at(2, 0), at(2, 1)),
        (
            cursor(&world).incarnation,
            cursor(&world).position,
            cursor(&world).replay_upto
        )
    );
    assert_eq!(at(2, 0), world.view().task("t").unwrap().unwrap().start);
    assert_eq!(
        Outcome::Done,
        world.apply(&advance(second, at(2, 0), at(2, 2)))
    );
    assert_eq!(at(2, 1), cursor(&world).replay_upto, "kept by an advance");

    // Not asked for as a replay: nothing is marked.
    let Outcome::Task { .. } = world.apply(&seek(start, false)) else {
        panic!()
    };
    assert_eq!(
        (start, start),
        (cursor(&world).position, cursor(&world).replay_upto)
    );
    let missing = Command::SeekTask(SeekTask {
        task: "none".into(),
        to: start,
        is_replay: true,
    });
    assert_eq!(Outcome::Missing, world.apply(&missing));
}

#[test]
fn a_definition_that_leads_to_the_same_place_keeps_its_life() {
    let mut world = World::new();
    world.form("a");
    let Outcome::Task { incarnation, .. } = world.apply(&task("t", "{}")) else {
        panic!()
    };
    let define = |version, definition: &'static str, start| {
        Command::DefineTask(DefineTask {
            name: "t".into(),
            expect: Expect::Version(version),
            definition: Bytes::from_static(definition.as_bytes()),
            start,
        })
    };
    let same = |version, is_changed| Outcome::Task {
        incarnation,
        version,
        is_changed,
    };
    assert_eq!(
        same(1, false),
        world.apply(&define(1, "{}", Start::Beginning)),
        "the very definition"
    );
    assert_eq!(
        same(2, true),
        world.apply(&define(1, "{\"a\":1}", Start::Kept))
    );
    let index = Index(world.next);
    assert_eq!(
        Outcome::Task {
            incarnation: index,
            version: 3,
            is_changed: true
        },
        world.apply(&define(2, "{\"b\":1}", Start::Beginning))
    );
}

#[test]
fn a_parked_record_outlives_the_log_and_is_delivered_again_after_an_unpark() {
    let mut world = World::new();
    let form = world.form("a");
    world.submit(many(form, 3));
    let Outcome::Task { incarnation, .. } = world.apply(&task("t", "{}")) else {
        panic!()
    };
    let body = "z".repeat(10_000);
    let park = |incarnation| {
        Command::Park(Park {
            task: "t".into(),
            incarnation,
            form,
            position: at(2, 1),
            reason: "too large".into(),
            answer: "é".repeat(3000),
            record: kept(&body),
        })
    };
    assert_eq!(Outcome::Fenced, world.apply(&park(Index(1))));
    assert_eq!(Outcome::Done, world.apply(&park(incarnation)));
    assert_eq!(
        Outcome::Done,
        world.apply(&park(incarnation)),
        "again is the same"
    );
    let parked = world.view().parked("t", Position::default(), 10).unwrap();
    assert_eq!(1, parked.len());
    assert_eq!(
        (at(2, 1), body.as_str()),
        (parked[0].position, str_of(&parked[0].record.body))
    );
    assert_eq!(2048, parked[0].answer.len());
    let unpark = Command::Unpark(Unpark {
        task: "t".into(),
        position: at(2, 1),
    });
    let index = world.next;
    assert_eq!(Outcome::Done, world.apply(&unpark));
    assert_eq!(Outcome::Missing, world.apply(&unpark));
    assert_eq!(
        Outcome::Done,
        world.apply(&park(incarnation)),
        "refused once more"
    );
    let second = world.next;
    assert_eq!(Outcome::Done, world.apply(&unpark));
    assert!(
        world
            .view()
            .parked("t", Position::default(), 10)
            .unwrap()
            .is_empty()
    );
    let again = world.view().unparked("t", Index(0), 10).unwrap();
    assert_eq!(
        (Index(index), body.as_str()),
        (again[0].0, str_of(&again[0].1.record.body))
    );
    let advance = Advance {
        task: "t".into(),
        incarnation,
        form: Some(form),
        from: Position::default(),
        to: at(index, 0),
    };
    let horizon = Horizon {
        index: Index(index),
    };
    assert_eq!(Outcome::Done, world.apply(&Command::Horizon(horizon)));
    let before = world.view().row_count();
    assert_eq!(Outcome::Done, world.apply(&Command::Advance(advance)));
    let again = world.view().unparked("t", Index(0), 10).unwrap();
    assert_eq!((1, Index(second)), (again.len(), again[0].0));
    assert_eq!(body, str_of(&again[0].1.record.body));
    assert_eq!(
        before + 1 - 4,
        world.view().row_count(),
        "a cursor more; row and body are gone"
    );
}

/// A task over `a`, of which records 0 and 1 are parked, and its life.
fn with_two_parked(world: &mut World) -> (FormId, Index) {
    let form = world.form("a");
    world.submit(many(form, 4));
    let Outcome::Task { incarnation, .. } = world.apply(&task("t", "{}")) else {
        panic!()
    };
    for slot in 0..2 {
        world.apply(&Command::Park(Park {
            task: "t".into(),
            incarnation,
            form,
            position: at(2, slot),
            reason: "r".into(),
            answer: String::new(),
            record: kept(&"z".repeat(9000)),
        }));
    }
    (form, incarnation)
}

fn parked_at(world: &World) -> Vec<Position> {
    let parked = world.view().parked("t", Position::default(), 10).unwrap();
    parked.iter().map(|row| row.position).collect()
}

fn advance(incarnation: Index, from: Position, to: Position) -> Command {
    Command::Advance(Advance {
        task: "t".into(),
        incarnation,
        form: None,
        from,
        to,
    })
}

#[test]
fn what_an_older_life_parked_is_forgotten_when_a_new_one_has_passed_it() {
    let mut world = World::new();
    let (form, first) = with_two_parked(&mut world);
    let start = Position::default();
    assert_eq!(Outcome::Done, world.apply(&advance(first, start, at(2, 3))));
    assert_eq!(
        [at(2, 0), at(2, 1)],
        parked_at(&world)[..],
        "its own life passes what it has parked"
    );
    let marks = world.view().parked_marks("t", at(2, 0), at(2, 1)).unwrap();
    let mark = ParkedMark {
        position: at(2, 1),
        form,
        seq: Seq(2),
        incarnation: first,
    };
    assert_eq!([mark], marks[..]);

    // Back to behind the first one: only the second is delivered once more.
    let Outcome::Task { incarnation, .. } = world.apply(&seek(at(2, 0), false)) else {
        panic!()
    };
    let pieces = world.view().row_count();
    assert_eq!(
        Outcome::Done,
        world.apply(&advance(incarnation, at(2, 0), at(2, 3)))
    );
    assert_eq!([at(2, 0)], parked_at(&world)[..]);
    assert_eq!(pieces - 4, world.view().row_count(), "the row and its body");
}

#[test]
fn what_the_log_has_let_go_stays_parked_in_every_life() {
    let mut world = World::new();
    let (_, first) = with_two_parked(&mut world);
    let start = Position::default();
    assert_eq!(Outcome::Done, world.apply(&advance(first, start, at(2, 3))));
    world.apply(&Command::Horizon(Horizon { index: Index(2) }));
    let Outcome::Task { incarnation, .. } = world.apply(&seek(start, true)) else {
        panic!()
    };
    let task = world.view().task("t").unwrap().unwrap();
    let oldest = at(2, u32::MAX);
    assert_eq!(oldest, task.start, "no life begins below the horizon");
    let end = at(world.next - 1, 0);
    assert_eq!(
        Outcome::Done,
        world.apply(&advance(incarnation, oldest, end))
    );
    assert_eq!(2, parked_at(&world).len());
}

#[test]
fn what_was_delivered_again_is_found_by_a_seek_as_long_as_the_log_keeps_its_entry() {
    let mut world = World::new();
    let (_, first) = with_two_parked(&mut world);
    let index = Index(world.next);
    world.apply(&Command::Unpark(Unpark {
        task: "t".into(),
        position: at(2, 0),
    }));
    let there = |world: &World| {
        let marks = world.view().unparked_marks("t", Index(0)).unwrap();
        marks
            .iter()
            .map(|(index, mark)| (*index, mark.position))
            .collect::<Vec<_>>()
    };
    let passed = Position {
        index,
        slot: Slot(0),
    };
    let start = Position::default();
    assert_eq!(Outcome::Done, world.apply(&advance(first, start, passed)));
    assert_eq!([(index, at(2, 0))], there(&world)[..]);
    world.apply(&Command::Horizon(Horizon { index }));
    let end = at(world.next - 1, 0);
    assert_eq!(Outcome::Done, world.apply(&advance(first, passed, end)));
    assert!(there(&world).is_empty());
}

#[test]
fn a_deleted_task_leaves_nothing_behind_and_its_name_begins_anew() {
    let mut world = World::new();
    let form = world.form("a");
    world.submit(many(form, 400));
    let before = world.view().row_count();
    let Outcome::Task { incarnation, .. } = world.apply(&task("t", "{}")) else {
        panic!()
    };
    for slot in 0..400 {
        world.apply(&Command::Park(Park {
            task: "t".into(),
            incarnation,
            form,
            position: at(2, slot),
            reason: String::new(),
            answer: String::new(),
            record: kept("{}"),
        }));
    }
    let retire = Command::RetireTask(RetireTask {
        name: "t".into(),
        expect: Expect::Version(1),
    });
    assert!(matches!(world.apply(&retire), Outcome::Task { .. }));
    assert_eq!(Outcome::Missing, world.apply(&retire));
    assert_eq!(None, world.view().task("t").unwrap());
    let Outcome::Task { version: 2, .. } = world.apply(&task("t", "{}")) else {
        panic!()
    };
    assert!(
        world
            .view()
            .parked("t", Position::default(), 10)
            .unwrap()
            .is_empty()
    );
    for _ in 0..5 {
        world.tick(0);
    }
    // Task and definition of the new life, and nothing of the old one. Time is still 0: no row.
    assert_eq!(before + 2, world.view().row_count());
}

#[test]
fn facts_only_grow_and_receipts_speak_of_their_own_entry() {
    let mut world = World::new();
    let form = world.form("a");
    let members = Entry {
        id: id(world.next),
        kind: EntryKind::Membership,
        payload: Bytes::from_static(&[3]),
    };
    append(&world.wal, vec![members.clone()]);
    world.next += 1;
    assert_eq!(Outcome::Done, world.state.apply(&members).unwrap());
    assert_eq!(
        Some((members.id, members.payload.clone())),
        world.state.membership()
    );
    let first = world.submit(vec![keyed(form, "k", "b")]);
    let voters = Voters {
        quorum: 2,
        count: 3,
    };
    assert_eq!(
        Terms {
            policy: Policy::Always,
            voters
        },
        first.terms
    );
    let policy = Policy::IntervalMs(50);
    world.apply(&Command::SetPolicy(SetPolicy { policy }));
    let second = world.submit(vec![keyed(form, "k", "b")]);
    assert_eq!(Terms { policy, voters }, second.terms);
    let SlotOutcome::Duplicate(placed) = &second.slots[0] else {
        panic!("{second:?}")
    };
    assert_eq!((first.index, first.terms), (placed.index, placed.terms));

    let applied = world.next - 1;
    for (index, expected) in [(2, 2), (1, 2), (99, applied + 2)] {
        world.apply(&Command::Horizon(Horizon {
            index: Index(index),
        }));
        assert_eq!(Index(expected), world.view().horizon().unwrap());
    }
    assert_eq!(
        Outcome::Done,
        world.apply(&Command::SetLevel(SetLevel { level: 1 }))
    );
    let token = |hash, only_if_absent| {
        Command::SetToken(SetToken {
            name: "admin".into(),
            hash: [hash; 32],
            only_if_absent,
        })
    };
    assert_eq!(Outcome::Done, world.apply(&token(1, true)));
    assert_eq!(Outcome::Done, world.apply(&token(1, true)));
    assert_eq!(
        Outcome::Conflict { version: 1 },
        world.apply(&token(2, true))
    );
    assert_eq!(Some([1; 32]), world.view().token_hash("admin").unwrap());
    assert_eq!(Outcome::Done, world.apply(&token(2, false)));
    assert_eq!(Some([2; 32]), world.view().token_hash("admin").unwrap());
}

#[test]
fn what_this_build_does_not_know_stops_it() {
    let mut world = World::new();
    let mut apply = |payload: &'static [u8]| {
        let payload = Bytes::from_static(payload);
        world.state.apply(&Entry {
            id: id(1),
            kind: EntryKind::Command,
            payload,
        })
    };
    assert!(matches!(
        apply(&[99, 1]),
        Err(Error::UnknownCommand {
            kind: 99,
            version: 1
        })
    ));
    assert!(matches!(
        apply(&[12, 2, 0]),
        Err(Error::UnknownCommand {
            kind: 12,
            version: 2
        })
    ));
    assert!(matches!(apply(&[12]), Err(Error::Decode { .. })));
    assert!(matches!(apply(&[12, 1, 0, 0]), Err(Error::Decode { .. })));
    let level = storage::encode_command(&Command::SetLevel(SetLevel { level: 3 }));
    let entry = Entry {
        id: id(1),
        kind: EntryKind::Command,
        payload: level,
    };
    let refused = world.state.apply(&entry);
    assert!(matches!(
        refused,
        Err(Error::UnknownLevel { level: 3, known: 2 })
    ));
    assert_eq!(None, world.view().applied());
}

#[test]
fn readers_reach_records_by_seq_by_position_and_across_forms() {
    let mut world = World::new();
    let forms = [world.form("a"), world.form("b"), world.form("c")];
    let mut expected = Vec::new();
    for round in 0..40_u32 {
        let pack: Vec<_> = (0..=(round * 7) % 5)
            .map(|n| {
                let pick = forms[((round * 3 + n / 2) % 3) as usize];
                (pick, format!("{round}/{n}"))
            })
            .collect();
        let index = world
            .submit(pack.iter().map(|(f, b)| submission(*f, b)).collect())
            .index;
        for (slot, (form, body)) in (0..).zip(pack) {
            expected.push((at(index.0, slot), form, body));
        }
    }
    let records = world.records();
    for form in forms {
        let own: Vec<_> = expected.iter().filter(|each| each.1 == form).collect();
        for (nth, (position, _, body)) in own.iter().enumerate() {
            let record = records.get(form, Seq(nth as u64 + 1)).unwrap().unwrap();
            assert_eq!(
                (position, body.as_str()),
                (&record.position, str_of(&record.body))
            );
            let next = records.after_position(form, *position, 1, 0).unwrap();
            assert_eq!(
                own.get(nth + 1).map(|each| each.0),
                next.first().map(|n| n.position)
            );
        }
        assert_eq!(None, records.get(form, Seq(own.len() as u64 + 1)).unwrap());
        assert_eq!(None, records.get(form, Seq(0)).unwrap());
        let all = records.after_position(form, Position::default(), usize::MAX, usize::MAX);
        assert_eq!(own.len(), all.unwrap().len());
    }
    for (form, past_the_end) in [(forms[0], u64::MAX), (forms[1], u64::MAX - 1)] {
        assert_eq!(None, records.get(form, Seq(past_the_end)).unwrap());
        let none = records.read(form, Seq(past_the_end), 9, 9).unwrap();
        assert_eq!(0, none.len());
    }
    let wanted: std::collections::BTreeSet<_> = [forms[0], forms[2]].into_iter().collect();
    for slot in [u32::MAX - 1, u32::MAX] {
        // Behind the last slot of an entry comes the next entry.
        let index = expected[0].0.index.0;
        let first = expected.iter().filter(|each| wanted.contains(&each.1));
        let first = first.map(|each| each.0).find(|at| at.index.0 > index);
        let some = records.across(&wanted, at(index, slot), 1, 0).unwrap();
        assert_eq!(first, some.first().map(|record| record.position));
    }
    let mut after = Position::default();
    let mut found = Vec::new();
    loop {
        let some = records.across(&wanted, after, 3, usize::MAX).unwrap();
        let Some(last) = some.last() else { break };
        after = last.position;
        assert!(some.len() <= 3);
        found.extend(
            some.into_iter()
                .map(|record| (record.position, record.form)),
        );
    }
    let wanted: Vec<_> = expected
        .iter()
        .filter(|each| wanted.contains(&each.1))
        .map(|e| (e.0, e.1))
        .collect();
    assert_eq!(wanted, found);
}

#[test]
fn a_read_stops_at_its_bounds_but_gives_one() {
    let mut world = World::new();
    let form = world.form("a");
    let body = "x".repeat(1000);
    world.submit((0..10).map(|_| submission(form, &body)).collect());
    let read = |count, bytes| {
        world
            .records()
            .read(form, Seq(0), count, bytes)
            .unwrap()
            .len()
    };
    assert_eq!(
        [1, 1, 3, 10],
        [read(10, 0), read(1, 9999), read(10, 3500), read(99, 99_999)]
    );
    assert_eq!(0, read(0, 9999));
}

#[test]
fn ticks_change_nothing_but_time() {
    let mut world = World::new();
    let rows = world.view().row_count();
    world.apply(&Command::Tick(Tick {
        elapsed_ms: u64::MAX,
    }));
    world.apply(&Command::Tick(Tick { elapsed_ms: 5 }));
    assert_eq!(u64::MAX, world.view().state_time().unwrap());
    assert_eq!(rows + 2, world.view().row_count(), "and a mark of it");
}
