//! Tasks: their cursors and their lives.

use bytes::Bytes;
use storage::{
    Advance, Command, DefineTask, Expect, Index, Outcome, Park, Position, RetireTask, SeekTask,
    SendStarted, SetTaskState, Start, TaskState,
};

use super::parked::kept;
use super::{at, many};
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

pub(super) fn seek(to: Position, is_replay: bool) -> Command {
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
