//! Submissions that wait for somebody to release them.

use storage::{FormId, Index, Outcome, Position, Seq, SlotOutcome};

use super::{accepted, at, slots_of, str_of};
use crate::world::*;

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
