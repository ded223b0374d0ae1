//! Idempotency keys: one key is one submission, for as long as it is kept.

use storage::{Expect, FormId, Key, Seq, SlotOutcome, State};

use super::{accepted, slots_of};
use crate::world::*;

/// The seq of the receipt that a duplicate gets.
fn duplicate_of(outcome: &SlotOutcome) -> Option<u64> {
    match outcome {
        SlotOutcome::Duplicate(placed) => placed.seq.map(|seq| seq.0),
        _ => None,
    }
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
