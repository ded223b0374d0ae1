//! The horizon against a model: what is below it is hidden at once and removed a little at a time,
//! what is above it is as if there were none.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests stop at the first surprise"
)]

#[expect(dead_code, unreachable_pub, reason = "shared by the test files")]
mod world;

use std::collections::BTreeMap;

use proptest::prelude::*;
use storage::{
    Command, Error, FormId, Horizon, Index, Outcome, Position, Seq, Slot, Submission, Tick,
};
use world::*;

const HOUR_MS: u64 = 3_600_000;

fn horizon(index: u64) -> Command {
    Command::Horizon(Horizon {
        index: Index(index),
    })
}

fn withheld(form: FormId, body: &str) -> Submission {
    Submission {
        is_withheld: true,
        ..submission(form, body)
    }
}

const fn at(index: u64, slot: u32) -> Position {
    Position {
        index: Index(index),
        slot: Slot(slot),
    }
}

/// Ticks until nothing is removed any more; how many rows went at most in one.
fn settle(world: &mut World) -> u64 {
    let mut most = 0;
    loop {
        let before = world.view().row_count();
        world.tick(1);
        let gone = before - world.view().row_count();
        if gone == 0 {
            return most;
        }
        most = most.max(gone);
    }
}

#[test]
fn rows_below_the_horizon_go_a_bounded_number_a_command_and_keys_and_heads_stay() {
    let mut world = World::new();
    let form = world.form("a");
    let other = world.form("b");
    world.submit(vec![keyed(form, "k", "first")]);
    for round in 0..50 {
        let one = |n: u32| {
            let form = if n.is_multiple_of(2) { form } else { other };
            submission(form, &format!("{round} {n}"))
        };
        world.submit((0..40).map(one).collect());
    }
    world.submit(vec![withheld(form, "w"), withheld(form, "v")]);
    let last = world.next - 1;
    let rows = world.view().row_count();
    assert_eq!(Outcome::Done, world.apply(&horizon(last)));
    assert!(world.view().row_count() < rows);
    let most = settle(&mut world);
    assert!((100..=300).contains(&most), "{most}");
    assert!(
        world.view().row_count() < 40,
        "{}",
        world.view().row_count()
    );
    let again = world.submit(vec![keyed(form, "k", "first")]);
    assert!(
        matches!(again.slots[0], storage::SlotOutcome::Duplicate(_)),
        "{again:?}"
    );
    assert_eq!(Seq(1001), world.view().head(form).unwrap());
    world.submit(vec![submission(form, "next")]);
    let read = world.records().read(form, Seq(1001), 10, 9999).unwrap();
    assert_eq!(Some(Seq(1002)), read[0].seq);
}

#[test]
fn packs_of_many_runs_are_removed_as_fast_as_they_come() {
    let mut world = World::new();
    let (one, two) = (world.form("a"), world.form("b"));
    let mut most = 0;
    for _ in 0..60 {
        let slots =
            (0..400_u32).map(|n| submission(if n.is_multiple_of(2) { one } else { two }, "b"));
        world.submit(slots.collect());
        world.apply(&horizon(world.next - 1));
        most = most.max(world.view().row_count());
    }
    assert!(most < 4000, "{most}");
}

#[test]
fn the_payload_of_a_released_record_stays_until_the_horizon_can_pass_the_record() {
    let mut world = World::new();
    let form = world.form("a");
    let early = world
        .submit(vec![withheld(form, "real"), withheld(form, "spam")])
        .index
        .0;
    for n in 0..10 {
        world.submit(vec![submission(form, &n.to_string())]);
    }
    world.apply(&release(form, vec![at(early, 0)]));
    let released = world.next - 1;
    world.tick(1);
    for index in [early, released - 1] {
        assert_eq!(
            Index(early - 1),
            world.view().horizon_for(Index(index)).unwrap()
        );
        world.apply(&horizon(index));
        assert_eq!(Index(early - 1), world.view().horizon().unwrap());
    }
    assert_eq!(11, world.bodies(form, 3).len());
    assert_eq!(
        Index(released),
        world.view().horizon_for(Index(released)).unwrap()
    );
    world.apply(&horizon(released));
    assert_eq!(Index(released), world.view().horizon().unwrap());
    settle(&mut world);
    assert!(
        world
            .records()
            .withheld(form, Position::default(), 9, 999)
            .unwrap()
            .is_empty()
    );
    let too_late = world.apply(&release(form, vec![at(early, 1)]));
    assert_eq!(Outcome::Released { count: 0 }, too_late);
}

#[test]
fn a_withheld_submission_below_the_horizon_is_released_no_more_even_while_its_row_is_there() {
    let mut world = World::new();
    let form = world.form("a");
    for n in 0..300 {
        world.submit(vec![submission(form, &n.to_string())]);
    }
    let held = world.submit(vec![withheld(form, "w")]).index.0;
    world.tick(1);
    world.apply(&horizon(held));
    assert_eq!(
        Outcome::Released { count: 0 },
        world.apply(&release(form, vec![at(held, 0)]))
    );
    assert!(
        world
            .records()
            .withheld_by_id(form, Index(held), [0; 16])
            .unwrap()
            .is_none()
    );
}

#[test]
fn ages_are_told_by_state_time_alone_and_with_a_bounded_number_of_marks() {
    let mut world = World::new();
    let form = world.form("a");
    let mut hours = BTreeMap::new();
    for hour in 0..2000 {
        world.submit(vec![submission(form, "b")]);
        world.tick(HOUR_MS);
        hours.insert(hour, world.next - 1);
    }
    let now = world.view().state_time().unwrap();
    let applied_at = |ms: u64| world.view().applied_at(now - ms).unwrap().0;
    assert_eq!(hours[&1999], applied_at(0));
    assert_eq!(hours[&1997], applied_at(2 * HOUR_MS));
    assert_eq!(hours[&1997], applied_at(2 * HOUR_MS + 1) + 2);
    assert_eq!(0, applied_at(now));
    // Months ago a mark a day is left: never later than asked for, at most a day too early.
    let long_ago = applied_at(1500 * HOUR_MS);
    assert!(
        long_ago <= hours[&499] && hours[&470] <= long_ago,
        "{long_ago}"
    );
    let records = world.view().head(form).unwrap().0;
    let marks = world.view().row_count() - 2 * records;
    assert!(marks < 1200, "{marks}");
    world.apply(&horizon(world.next - 1));
    settle(&mut world);
    assert!(
        world.view().row_count() < 30,
        "{}",
        world.view().row_count()
    );
    world.apply(&Command::Tick(Tick {
        elapsed_ms: u64::MAX,
    }));
}

#[derive(Clone, Debug)]
enum Step {
    Submit(Vec<(bool, bool)>),
    Release(u8),
    Horizon(u8),
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(any::<(bool, bool)>(), 1..12).prop_map(Step::Submit),
        1 => any::<u8>().prop_map(Step::Release),
        2 => any::<u8>().prop_map(Step::Horizon),
        1 => Just(Step::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whoever_reads_finds_exactly_what_is_above_the_horizon(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        let forms = [world.form("a"), world.form("b")];
        // (form, seq) -> where it is delivered
        let mut placed: BTreeMap<(FormId, u64), Position> = BTreeMap::new();
        let mut held: Vec<(FormId, Position)> = Vec::new();
        for step in steps {
            let index = world.next;
            match step {
                Step::Submit(slots) => {
                    let mut submissions = Vec::new();
                    for (slot, (second, is_withheld)) in (0..).zip(slots) {
                        let form = forms[usize::from(second)];
                        let place = at(index, slot);
                        if is_withheld {
                            held.push((form, place));
                            submissions.push(withheld(form, "w"));
                        } else {
                            let seq = 1 + placed.keys().filter(|(of, _)| *of == form).count() as u64;
                            placed.insert((form, seq), place);
                            submissions.push(submission(form, "s"));
                        }
                    }
                    world.submit(submissions);
                }
                Step::Release(which) if !held.is_empty() => {
                    let (form, source) = held.remove(usize::from(which) % held.len());
                    let is_below = source.index <= world.view().horizon().unwrap();
                    let outcome = world.apply(&release(form, vec![source]));
                    prop_assert_eq!(Outcome::Released { count: u32::from(!is_below) }, outcome);
                    if !is_below {
                        let seq = 1 + placed.keys().filter(|(of, _)| *of == form).count() as u64;
                        placed.insert((form, seq), at(index, 0));
                    }
                }
                Step::Release(_) | Step::Tick => world.tick(1),
                Step::Horizon(part) => {
                    world.apply(&horizon(index * u64::from(part) / 255));
                }
            }
            let view = world.view();
            let now = view.horizon().unwrap();
            for form in forms {
                let of_form = placed.range((form, 0)..=(form, u64::MAX));
                let above: Vec<(u64, Position)> = of_form
                    .filter(|(_, place)| now < place.index)
                    .map(|((_, seq), place)| (*seq, *place))
                    .collect();
                let head = view.head(form).unwrap();
                let oldest = above.first().map_or(head.0 + 1, |(seq, _)| *seq);
                prop_assert_eq!(Seq(oldest), view.oldest_seq(form).unwrap());
                let records = world.records();
                if oldest > 1 {
                    let told = records.read(form, Seq(oldest - 2), 1, 1);
                    let told = match told {
                        Err(Error::Forgotten { oldest }) => oldest,
                        other => panic!("{other:?}"),
                    };
                    prop_assert_eq!(Seq(oldest), told);
                }
                let read = records.read(form, Seq(oldest - 1), 999, 99_999).unwrap();
                let read: Vec<_> = read.iter().map(|one| (one.seq.unwrap().0, one.position)).collect();
                prop_assert_eq!(&above, &read);
                for (nth, (_, place)) in above.iter().enumerate() {
                    let after = records.after_position(form, *place, 1, 1).unwrap();
                    let next = above.get(nth + 1).map(|(seq, _)| Seq(*seq));
                    prop_assert_eq!(next, after.first().and_then(|one| one.seq));
                }
                let first = view.undelivered(form, Position::default()).unwrap();
                prop_assert_eq!(above.first().map(|(seq, _)| Seq(*seq)), first.map(|(seq, _)| seq));
                if let Some((_, index)) = first {
                    prop_assert!(now < index, "its payload is above the horizon");
                }
            }
        }
    }
}
