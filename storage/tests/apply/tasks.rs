//! Tasks: their cursors, their lives, and what they set aside.

use bytes::Bytes;
use storage::{
    Advance, Command, DefineTask, Expect, FormId, Horizon, Index, Outcome, Park, ParkedMark,
    ParkedRecord, Position, RetireTask, SeekTask, SendStarted, Seq, SetTaskState, Slot, Start,
    TaskState, Term, Unpark,
};

use super::{at, many, str_of};
use crate::world::*;

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
