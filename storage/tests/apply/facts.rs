//! What the cluster knows of itself: its forms, its facts, its time.

use bytes::Bytes;
use storage::{
    Command, Entry, EntryKind, Error, Expect, FormId, Horizon, Index, Outcome, Policy, Seq,
    SetLevel, SetPolicy, SetToken, SlotOutcome, Terms, Tick, Voters,
};

use super::{accepted, slots_of, str_of};
use crate::world::*;

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
