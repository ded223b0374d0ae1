//! Packs: what a sender hands in, in its turn, and what it is told.

use storage::{Command, EndSession, NodeId, Outcome, Pack, Sender};

use super::{accepted, many, slots_of};
use crate::world::*;

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
