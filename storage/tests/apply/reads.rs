//! Readers: records by seq, by position and across forms.

use storage::{Position, Seq};

use super::{at, str_of};
use crate::world::*;

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
