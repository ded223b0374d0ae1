//! The state against its log: same log, same rows, however often and wherever they were built.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    reason = "tests stop at the first surprise"
)]

#[expect(unreachable_pub, reason = "shared by the test files")]
mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use proptest::prelude::*;
use storage::{
    Advance, Command, DefineTask, Digests, Engine, Entry, EntryKind, Error, Expect, FormId, Index,
    LogId, NodeId, Opened, OsDisk, Pack, Park, ParkedRecord, Phase, Policy, Position, RetireTask,
    SeekTask, Sender, Seq, Slot, Start, State, StateConfig, StateParts, Submission, Term, Tick,
    Unpark, Wal,
};
use world::*;

/// A directory that goes with the test, and the state's place in it.
struct Home {
    _root: tempfile::TempDir,
    dir: PathBuf,
}

impl Home {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("state");
        Self { _root: root, dir }
    }

    fn open(&self, wal: &Wal) -> (State, Opened) {
        self.try_open(wal, false, &mut |_| {}).unwrap()
    }

    fn try_open(
        &self,
        wal: &Wal,
        had_peers: bool,
        progress: &mut dyn FnMut(storage::Progress),
    ) -> Result<(State, Opened), Error> {
        let config = StateConfig::default();
        let disk = Arc::new(OsDisk);
        let dir = &self.dir;
        let parts = StateParts {
            disk,
            dir,
            config: &config,
            wal,
            voters_of,
            had_peers,
        };
        State::open(&parts, progress)
    }

    fn quarantined(&self) -> bool {
        OsDisk
            .exists(&self.dir.with_file_name("quarantine").join("state-1"))
            .unwrap()
    }
}

use storage::Disk as _;

/// Built from the log alone, in memory.
fn rebuilt(wal: &Wal) -> State {
    let config = StateConfig {
        engine: Engine::Memory,
        ..StateConfig::default()
    };
    let dir = Path::new("/nowhere/state");
    let disk = Arc::new(storage::FaultDisk::new());
    let parts = StateParts {
        disk,
        dir,
        config: &config,
        wal,
        voters_of,
        had_peers: false,
    };
    State::open(&parts, &mut |_| {}).unwrap().0
}

fn digests(state: &State) -> (Digests, u64) {
    (state.view().digests(), state.view().row_count())
}

fn why(opened: Opened) -> String {
    match opened {
        Opened::Rebuilt { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

fn withheld(form: FormId, body: &str) -> Submission {
    Submission {
        is_withheld: true,
        ..submission(form, body)
    }
}

/// A little of everything.
fn history(world: &mut World, rounds: u32) {
    let form = world.form("a");
    world.apply(&task("t", "{}"));
    for round in 0..rounds {
        world.submit(vec![
            submission(form, &round.to_string()),
            keyed(form, &format!("k{}", round % 5), &round.to_string()),
            line(form, "h", round, "b"),
            withheld(form, "w"),
        ]);
        world.tick(1000);
    }
}

#[test]
fn an_orderly_end_spares_the_next_start_a_look_at_every_row() {
    let home = Home::new();
    let wal = wal();
    let (state, opened) = home.open(&wal);
    assert_eq!(Opened::Fresh, opened);
    let mut world = World::over(state, wal.clone());
    history(&mut world, 50);
    let expected = digests(&world.state);
    world.state.close().unwrap();
    let mut verified = 0;
    let open = |verified: &mut u64| {
        let (state, opened) = home
            .try_open(&wal, false, &mut |progress| {
                *verified += u64::from(progress.phase == Phase::Verify);
            })
            .unwrap();
        assert_eq!((Opened::Kept, expected), (opened, digests(&state)));
        state
    };
    let state = open(&mut verified);
    assert_eq!(0, verified);
    drop(state);
    let state = open(&mut verified);
    assert_eq!(1, verified, "whoever did not say goodbye is looked at");
    assert_eq!(expected, digests(&state));
}

#[test]
fn rows_that_are_behind_the_log_catch_up_to_the_same_state() {
    let home = Home::new();
    let wal = wal();
    let mut world = World::over(home.open(&wal).0, wal.clone());
    history(&mut world, 20);
    world.state.close().unwrap();
    // The store loses everything after this: later entries go to another state over the same log.
    let mut other = World::over(rebuilt(&wal), wal.clone());
    other.number = 20;
    for round in 0..10 {
        other.submit(vec![keyed(FormId(1), &format!("later {round}"), "b")]);
    }
    let (mut state, opened) = home.open(&wal);
    assert_eq!(Opened::Kept, opened);
    let next = state.applied().unwrap().index.next();
    let end = wal.last().unwrap().index.next();
    for entry in wal.read(next..end, usize::MAX).unwrap() {
        state.apply(&entry).unwrap();
    }
    assert_eq!(digests(&other.state), digests(&state));
}

#[test]
fn a_changed_row_is_noticed_and_the_state_built_again() {
    let home = Home::new();
    let wal = wal();
    let mut world = World::over(home.open(&wal).0, wal.clone());
    history(&mut world, 20);
    let expected = digests(&world.state);
    drop(world.state);
    {
        let store = fjall::Database::builder(home.dir.join("rows"))
            .open()
            .unwrap();
        let rows = store
            .keyspace("state", fjall::KeyspaceCreateOptions::default)
            .unwrap();
        let row = rows.prefix([0x07]).next().unwrap().into_inner().unwrap();
        rows.insert(row.0, [200_u8]).unwrap();
    }
    let (state, opened) = home.open(&wal);
    assert_eq!("the digest does not fit the rows", why(opened));
    assert!(home.quarantined());
    assert_eq!(expected, digests(&state));
}

#[test]
fn a_store_that_does_not_open_is_set_aside() {
    let home = Home::new();
    let wal = wal();
    let mut world = World::over(home.open(&wal).0, wal.clone());
    history(&mut world, 20);
    let expected = digests(&world.state);
    world.state.close().unwrap();
    for path in OsDisk.list(&home.dir.join("rows")).unwrap() {
        if OsDisk.list(&path).is_err() {
            OsDisk.write_atomic(&path, b"not what was here").unwrap();
        }
    }
    let (state, opened) = home.open(&wal);
    assert!(
        matches!(
            opened,
            Opened::Rebuilt {
                set_aside: Some(_),
                ..
            }
        ),
        "{opened:?}"
    );
    assert!(home.quarantined());
    assert_eq!(expected, digests(&state));
}

#[test]
fn a_rebuild_goes_as_far_as_is_committed_and_not_further() {
    let wal = wal();
    let mut world = World::over(State::in_memory(voters_of), wal.clone());
    history(&mut world, 10);
    let expected = digests(&world.state);
    let committed = wal.last().unwrap();
    append(
        &wal,
        vec![entry(world.next, &Command::Tick(Tick { elapsed_ms: 1 }))],
    );
    let state = rebuilt(&wal);
    assert_eq!(Some(committed), state.applied());
    assert_eq!(expected, digests(&state));
}

/// A node whose state has applied more than its log holds.
fn ahead(policy: Policy) -> (Home, Wal, u64) {
    let home = Home::new();
    let full = wal();
    let mut world = World::over(home.open(&full).0, full.clone());
    world.apply(&Command::SetPolicy(storage::SetPolicy { policy }));
    history(&mut world, 5);
    world.state.close().unwrap();
    let short = wal();
    let last = full.last().unwrap().index.0;
    append(
        &short,
        full.read(Index(1)..Index(last - 1), usize::MAX).unwrap(),
    );
    short.save_committed(id(last - 2));
    (home, short, last)
}

#[test]
fn a_single_node_whose_log_lacks_what_it_acknowledged_stops_and_keeps_both() {
    let (home, wal, last) = ahead(Policy::Always);
    for _ in 0..2 {
        match home.try_open(&wal, false, &mut |_| {}) {
            Err(Error::Vanished { first, last: end }) => {
                assert_eq!((Index(last - 1), Index(last)), (first, end));
            }
            other => panic!("{other:?}"),
        }
        assert!(!home.quarantined());
    }
}

#[test]
fn a_log_that_may_lose_its_tail_is_no_reason_to_stop() {
    for (policy, had_peers) in [(Policy::Never, false), (Policy::Always, true)] {
        let (home, wal, last) = ahead(policy);
        let (state, opened) = home.try_open(&wal, had_peers, &mut |_| {}).unwrap();
        assert!(why(opened).contains("the log ends at"));
        assert_eq!(Some(id(last - 2)), state.applied());
        assert!(home.quarantined());
        assert_eq!(digests(&rebuilt(&wal)), digests(&state));
    }
}

#[test]
fn another_entry_under_the_same_index_means_another_history() {
    let home = Home::new();
    let wal1 = wal();
    let mut world = World::over(home.open(&wal1).0, wal1.clone());
    history(&mut world, 5);
    world.state.close().unwrap();
    let wal2 = wal();
    for number in 1..=20 {
        let id = LogId {
            term: Term(2),
            node: NodeId(2),
            index: Index(number),
        };
        append(
            &wal2,
            vec![Entry {
                id,
                kind: EntryKind::Blank,
                payload: Bytes::new(),
            }],
        );
        wal2.save_committed(id);
    }
    let (state, opened) = home.open(&wal2);
    assert!(why(opened).contains("another entry"));
    assert_eq!(
        Some(Index(20)),
        state.applied().map(|applied| applied.index)
    );
}

#[test]
fn an_exported_state_is_the_same_state_wherever_it_is_imported() {
    let mut world = World::new();
    history(&mut world, 600);
    let mut bytes = Vec::new();
    world.state.export(&mut bytes).unwrap();
    let home = Home::new();
    let empty = wal();
    let (stored, _) = home.open(&empty);
    let mut used = World::new();
    history(&mut used, 3);
    for mut state in [stored, used.state] {
        let before = state.view().definitions_version();
        state.import(&mut bytes.as_slice()).unwrap();
        assert_eq!(digests(&world.state), digests(&state));
        assert_eq!(world.state.membership(), state.membership());
        assert_eq!(
            world.view().digest_ring().unwrap(),
            state.view().digest_ring().unwrap()
        );
        assert_ne!(before, state.view().definitions_version());
        let mut again = Vec::new();
        state.export(&mut again).unwrap();
        assert_eq!(bytes, again);
        let next = entry(world.next, &Command::Tick(Tick { elapsed_ms: 7 }));
        state.apply(&next).unwrap();
    }
}

#[test]
fn a_damaged_or_short_export_is_refused_and_half_an_import_is_no_state() {
    let mut world = World::new();
    history(&mut world, 100);
    let mut bytes = Vec::new();
    world.state.export(&mut bytes).unwrap();
    for at in [0, 9, 13, 17, 40, bytes.len() / 2, bytes.len() - 3] {
        let mut bad = bytes.clone();
        *bad.get_mut(at).unwrap() ^= 1;
        let mut state = State::in_memory(voters_of);
        assert!(state.import(&mut bad.as_slice()).is_err(), "byte {at}");
    }
    // One byte of a row, with a crc that fits: only the digest can tell.
    let mut bad = bytes.clone();
    let len = u32::from_le_bytes(bad.get(12..16).unwrap().try_into().unwrap()) as usize;
    *bad.get_mut(20 + len - 1).unwrap() ^= 1;
    let crc = crc32fast::hash(bad.get(20..20 + len).unwrap());
    bad.get_mut(16..20)
        .unwrap()
        .copy_from_slice(&crc.to_le_bytes());
    let refused = State::in_memory(voters_of).import(&mut bad.as_slice());
    assert!(matches!(refused, Err(Error::Unfit { .. })), "{refused:?}");

    let home = Home::new();
    let (mut state, _) = home.open(&world.wal);
    let short = bytes.get(..bytes.len() - 9).unwrap();
    assert!(state.import(&mut &*short).is_err());
    drop(state);
    let (state, opened) = home.open(&world.wal);
    assert_eq!("an import had not ended", why(opened));
    assert_eq!(digests(&world.state), digests(&state));
}

#[test]
fn digests_are_remembered_every_1024_entries() {
    let mut world = World::new();
    let mut expected = Vec::new();
    for index in 1..=3100_u64 {
        let entry = Entry {
            id: id(index),
            kind: EntryKind::Blank,
            payload: Bytes::new(),
        };
        world.state.apply(&entry).unwrap();
        if index.is_multiple_of(1024) {
            expected.push(world.view().digests());
        }
    }
    assert_eq!(3, expected.len());
    assert_eq!(expected, world.view().digest_ring().unwrap());
}

/// Rows are compared between nodes of different releases: a row laid out in another way is another
/// level's business. Where this fails, either put it back or raise `LAYOUT` and say so.
#[test]
fn a_fixed_history_has_the_digest_that_it_always_had() {
    let mut world = World::new();
    history(&mut world, 40);
    world.apply(&Command::RetireTask(RetireTask {
        name: "t".into(),
        expect: Expect::Any,
    }));
    let digests = world.view().digests();
    assert_eq!(
        "7145792d291a13f1352560fc0fa8b0f1",
        format!("{:032x}", digests.rows)
    );
    assert_eq!(
        "a8901fa167a8a00e763676ba111ceb5b",
        format!("{:032x}", u128::from_be_bytes(digests.log))
    );
}

/// What a random history is made of.
#[derive(Clone, Debug)]
enum Step {
    Submit(Vec<(u8, u8, u8)>),
    Again,
    Reboot,
    Define(u8, u8),
    Retire(u8),
    Task(u8, u8),
    RetireTask(u8),
    Seek(u8, bool),
    Advance(u8),
    Park(u8, u8),
    Unpark(u8),
    Release(u8),
    Tick(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec((0..4_u8, any::<u8>(), 0..6_u8), 1..40).prop_map(Step::Submit),
        2 => Just(Step::Again),
        1 => Just(Step::Reboot),
        2 => (0..3_u8, 0..3_u8).prop_map(|(form, text)| Step::Define(form, text)),
        1 => (0..3_u8).prop_map(Step::Retire),
        2 => (0..2_u8, 0..3_u8).prop_map(|(task, text)| Step::Task(task, text)),
        1 => (0..2_u8).prop_map(Step::RetireTask),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(at, is_replay)| Step::Seek(at, is_replay)),
        2 => any::<u8>().prop_map(Step::Advance),
        2 => (any::<u8>(), 0..40_u8).prop_map(|(index, slot)| Step::Park(index, slot)),
        1 => any::<u8>().prop_map(Step::Unpark),
        2 => any::<u8>().prop_map(Step::Release),
        3 => (0..30_000_000_u64).prop_map(Step::Tick),
    ]
}

fn random_submission((form, kind, text): (u8, u8, u8)) -> Submission {
    let form = FormId(u32::from(form));
    let body = text.to_string();
    let n = u32::from(kind >> 3);
    let submission = match kind % 8 {
        0 | 1 => submission(form, &body),
        2 | 3 => keyed(form, &format!("key {n}"), &body),
        4 => keyed(form, &format!("h#{n}"), &body),
        5 => line(form, "h", n, &body),
        6 => line(form, "h", u32::from(text), &body),
        _ => withheld(form, &body),
    };
    Submission {
        form_version: 1 + u32::from(kind % 3 / 2),
        ..submission
    }
}

/// Turns steps into commands; what a step refers to is picked from what has happened.
struct Script {
    sender: Sender,
    number: u64,
    last: Option<Command>,
}

impl Script {
    fn command(&mut self, index: u64, step: &Step) -> Command {
        let name = |n: u8| format!("n{n}");
        let position = |at: u8| Position {
            index: Index(u64::from(at) % index.max(1)),
            slot: Slot(u32::from(at) % 40),
        };
        match step {
            Step::Submit(slots) => {
                self.number += 1;
                let submissions = slots.iter().copied().map(random_submission).collect();
                let pack = Pack {
                    sender: self.sender,
                    number: self.number,
                    submissions,
                };
                self.last = Some(Command::Submit(pack));
                self.last.clone().unwrap()
            }
            Step::Again => self
                .last
                .clone()
                .unwrap_or(Command::Tick(Tick { elapsed_ms: 0 })),
            Step::Reboot => {
                self.sender.boot += 1;
                self.number = 0;
                Command::Tick(Tick { elapsed_ms: 0 })
            }
            Step::Define(form, text) => {
                let text = text.to_string().repeat(1 + usize::from(*text) * 5000);
                define(&name(*form), &text, Expect::Any)
            }
            Step::Retire(form) => retire(&name(*form)),
            Step::Task(which, text) => Command::DefineTask(DefineTask {
                name: name(*which),
                expect: Expect::Any,
                definition: Bytes::from(text.to_string().repeat(2000 * usize::from(*text))),
                start: if text % 2 == 0 {
                    Start::Now
                } else {
                    Start::Kept
                },
            }),
            Step::RetireTask(which) => Command::RetireTask(RetireTask {
                name: name(*which),
                expect: Expect::Any,
            }),
            Step::Seek(at, is_replay) => Command::SeekTask(SeekTask {
                task: name(at % 2),
                to: position(*at),
                is_replay: *is_replay,
            }),
            Step::Advance(at) => Command::Advance(Advance {
                task: name(at % 2),
                incarnation: Index(u64::from(*at) % index),
                form: None,
                from: Position {
                    index: Index(u64::from(*at) % index),
                    slot: Slot(0),
                },
                to: Position {
                    index: Index(index - 1),
                    slot: Slot(1),
                },
            }),
            Step::Park(at, slot) => Command::Park(Park {
                task: name(at % 2),
                incarnation: Index(u64::from(*at) % index),
                form: FormId(1),
                position: Position {
                    slot: Slot(u32::from(*slot)),
                    ..position(*at)
                },
                reason: "why".into(),
                answer: "no".into(),
                record: ParkedRecord {
                    id: [*slot; 16],
                    seq: Seq(u64::from(*slot)),
                    term: Term(1),
                    received_ms: 9,
                    form_version: 1,
                    body: Bytes::from(vec![*slot; usize::from(*slot) * 200]),
                },
            }),
            Step::Unpark(at) => Command::Unpark(Unpark {
                task: name(at % 2),
                position: position(*at),
            }),
            Step::Release(at) => {
                let positions = (0..40)
                    .map(|slot| Position {
                        slot: Slot(slot),
                        ..position(*at)
                    })
                    .collect();
                release(FormId(1 + u32::from(at % 3)), positions)
            }
            Step::Tick(elapsed_ms) => Command::Tick(Tick {
                elapsed_ms: *elapsed_ms,
            }),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Rows in memory, rows in fjall that are closed or dropped on the way, and rows built again
    /// from the log are the same rows; outcomes are the same outcomes; and records have no holes.
    #[test]
    fn one_log_gives_one_state(
        steps in prop::collection::vec((step(), 0..20_u8), 1..60),
    ) {
        let home = Home::new();
        let mut world = World::new();
        let (mut stored, _) = home.open(&world.wal);
        let mut script =
            Script { sender: Sender { node: NodeId(1), boot: 1 }, number: 0, last: None };
        for (step, fate) in &steps {
            let command = script.command(world.next, step);
            let outcome = world.apply(&command);
            let last = wal_entry(&world);
            prop_assert_eq!(outcome, stored.apply(&last).unwrap());
            if *fate < 2 {
                if *fate == 0 { stored.close().unwrap() } else { drop(stored) }
                let (opened, how) = home.open(&world.wal);
                prop_assert_eq!(Opened::Kept, how);
                stored = opened;
            }
            prop_assert_eq!(digests(&world.state), digests(&stored));
        }
        prop_assert_eq!(digests(&world.state), digests(&rebuilt(&world.wal)));
        for form in 1..=3 {
            let head = world.view().head(FormId(form)).unwrap();
            let bodies = world.bodies(FormId(form), 7);
            let seqs: Vec<u64> = bodies.iter().map(|(seq, _)| *seq).collect();
            prop_assert_eq!((1..=head.0).collect::<Vec<_>>(), seqs);
        }
    }
}

fn wal_entry(world: &World) -> Entry {
    let last = world.wal.last().unwrap().index;
    world
        .wal
        .read(last..last.next(), usize::MAX)
        .unwrap()
        .remove(0)
}

/// A pack that alternates between two forms has a run for every record, so its write takes long
/// enough to be looked into.
#[test]
fn a_reader_never_sees_a_write_that_is_half_done() {
    let home = Home::new();
    let wal = wal();
    let mut world = World::over(home.open(&wal).0, wal);
    let forms = [world.form("a"), world.form("b")];
    let (view, records) = (world.view(), world.records());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0_u64;
            while !is_over.load(Ordering::Acquire) {
                let heads = forms.map(|form| view.head(form).unwrap());
                let cuts = forms.map(|form| {
                    let last = view.head(form).unwrap();
                    records.get(form, last).unwrap().is_some() || last == Seq(0)
                });
                assert_eq!([true; 2], cuts, "a head without its record, look {looks}");
                assert!(heads[0] <= view.head(forms[1]).unwrap(), "look {looks}");
                looks += 1;
            }
            looks
        });
        for round in 0..40 {
            let pack = (0..1000).map(|n| submission(forms[n % 2], &format!("{round}/{n}")));
            world.submit(pack.collect());
        }
        is_over.store(true, Ordering::Release);
        assert!(0 < reader.join().unwrap(), "the reader looked between");
    });
}

#[test]
fn the_word_of_an_orderly_end_never_outlives_the_rows_it_was_left_for() {
    let home = Home::new();
    let wal = wal();
    let mut world = World::over(home.open(&wal).0, wal.clone());
    history(&mut world, 5);
    world.state.close().unwrap();
    let word = home.dir.join("closed");
    assert!(OsDisk.exists(&word).unwrap());
    std::fs::remove_dir_all(home.dir.join("rows")).unwrap();
    let (state, opened) = home.open(&wal);
    assert_eq!("there was no state", why(opened));
    assert!(!OsDisk.exists(&word).unwrap(), "it speaks for other rows");
    drop(state);
}
