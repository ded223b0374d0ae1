//! What a task sets aside: it outlives the log, a new life, and is delivered again when asked for.

use bytes::Bytes;
use storage::{
    Advance, Command, FormId, Horizon, Index, Outcome, Park, ParkedMark, ParkedRecord, Position,
    Seq, Slot, Term, Unpark,
};

use super::tasks::seek;
use super::{at, many, str_of};
use crate::world::*;

pub(super) fn kept(body: &str) -> ParkedRecord {
    ParkedRecord {
        id: [5; 16],
        seq: Seq(2),
        term: Term(1),
        received_ms: 77,
        form_version: 1,
        body: Bytes::from(body.to_owned()),
    }
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
