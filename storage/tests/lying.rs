//! Disks that lose or misplace a write, and cuts at every change while the log opens, recycles its
//! files and saves votes: nothing altered is ever read, and nothing acknowledged goes in silence.
#![expect(clippy::unwrap_used, reason = "a test")]

mod play;
mod script;

use std::ops::Range;

use play::Script;
use script::{Answers, Model, entry, id, open, small_config};
use storage::{
    Damage, Error, Fault, FaultDisk, Floor, NodeId, Policy, Term, Verify, Vote, WalConfig,
};

/// A run on a disk that lies once. What is read, at once and after a start, was written; what is
/// missing after a start is told, unless only the newest write of all was a lie.
fn run_on_a_liar(seed: u64, fault: impl Fn(u64) -> Fault, verify: Verify) -> usize {
    let config = WalConfig {
        verify,
        ..small_config()
    };
    let mut noticed = 0;
    for nth in 1.. {
        let disk = FaultDisk::new();
        disk.inject(fault(nth));
        let what = format!("seed {seed}, {:?}, {verify:?}", fault(nth));
        let mut script = Script::new(seed);
        if let Ok((wal, _)) = open(&disk, &config) {
            script.play(&wal, 50);
            script.answers.wait();
            let said = script.states.last().unwrap();
            for entry in Model::try_of(&wal)
                .iter()
                .flat_map(|found| found.entries.values())
            {
                assert_eq!(said.entries.get(&entry.id.index), Some(entry), "{what}");
            }
            drop(wal);
        }
        let (kept, writes) = (script.answers.kept(), disk.writes());
        let is_last = nth + 1 >= writes;
        match open(&disk, &config).map(|(wal, recovered)| (Model::try_of(&wal), recovered)) {
            Err(Error::Corrupt { .. } | Error::Io { .. })
            | Ok((Err(Error::Corrupt { .. } | Error::Damaged { .. } | Error::Io { .. }), _)) => {
                noticed += 1;
            }
            Ok((Ok(found), recovered)) => {
                let is_whole = script.states.iter().skip(kept).any(|state| *state == found);
                let is_told = recovered.floor.is_some() || !recovered.damage.is_empty();
                let is_past = script
                    .states
                    .iter()
                    .any(|state| state.entries == found.entries && state.purged == found.purged);
                assert!(is_past, "{what}: never was like this: {found:?}");
                if !is_whole && !is_told {
                    assert!(is_last, "{what}: lost in silence (of {writes} writes)");
                }
                noticed += usize::from(is_told);
            }
            Err(error) | Ok((Err(error), _)) => panic!("{what}: {error}"),
        }
        if writes < nth {
            break;
        }
    }
    noticed
}

/// Over some seeds, with starts that read all and starts that read the tail. Only the sum is sure to
/// be large: what a single run notices hangs on how the writer's thread packs its calls.
fn noticed_by_all(seeds: Range<u64>, fault: impl Fn(u64) -> Fault + Copy) -> usize {
    let runs = seeds.flat_map(|seed| [(seed, Verify::Full), (seed, Verify::Tail)]);
    runs.map(|(seed, verify)| run_on_a_liar(seed, fault, verify))
        .sum()
}

#[test]
fn a_lost_write_is_noticed_unless_it_was_the_last() {
    let noticed = noticed_by_all(0..6, Fault::LoseWrite);
    assert!(noticed > 60, "12 runs: {noticed}");
}

#[test]
fn a_misdirected_write_is_noticed_unless_it_was_the_last() {
    for by in [512, 4096, 8192] {
        let noticed = noticed_by_all(0..3, |nth| Fault::MisdirectWrite(nth, by));
        assert!(noticed > 30, "6 runs, by {by}: {noticed}");
    }
}

/// P5: whatever the first start did, the next ones find the same.
#[test]
fn a_cut_at_any_change_of_a_start_changes_nothing() {
    for seed in 0..4 {
        let config = small_config();
        let disk = FaultDisk::new();
        let (wal, _) = open(&disk, &config).unwrap();
        disk.inject(Fault::DieAfter(disk.changes() + 70 + seed));
        let mut script = Script::new(seed);
        script.play(&wal, 100);
        drop(wal);
        disk.power_cut(seed);
        let (first, recovered) = open(&disk.copy(), &config).unwrap();
        let content = Model::of(&first);
        for cut in 1.. {
            let again = disk.copy();
            let before = again.changes();
            again.inject(Fault::DieAfter(before + cut));
            drop(open(&again, &config));
            let is_over = again.changes() < before + cut;
            again.power_cut(seed * 100 + cut);
            for _ in 0..2 {
                let (wal, second) = open(&again, &config).unwrap();
                assert_eq!(content, Model::of(&wal), "seed {seed}, cut {cut}");
                assert_eq!(recovered.floor, second.floor, "seed {seed}, cut {cut}");
            }
            if is_over {
                assert!(cut > 5, "a start is cut at several places: {cut}");
                break;
            }
        }
    }
}

/// P7: files are recycled again and again, full of what they held before.
#[test]
fn a_recycled_file_never_shows_what_it_held_before() {
    let config = small_config();
    for seed in 0..2 {
        for cut in 1.. {
            let disk = FaultDisk::new();
            let (wal, _) = open(&disk, &config).unwrap();
            let before = disk.changes();
            disk.inject(Fault::DieAfter(before + cut));
            let mut answers = Answers::new();
            let (mut model, mut states) = (Model::default(), vec![Model::default()]);
            for index in 1..=45 {
                model.append(entry(id(1, index), 50));
                wal.append(vec![entry(id(1, index), 50)], answers.done());
                states.push(model.clone());
                if index % 4 == 0 {
                    model.purge(id(1, index - 2));
                    wal.purge(id(1, index - 2), answers.done());
                    states.push(model.clone());
                }
                if answers.wait().iter().any(Result::is_err) {
                    break;
                }
            }
            drop(wal);
            let is_over = disk.changes() < before + cut;
            let kept = answers.kept();
            disk.power_cut(seed * 1000 + cut);
            let what = format!("seed {seed}, cut {cut}");
            let (wal, recovered) =
                open(&disk, &config).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(
                states
                    .iter()
                    .skip(kept)
                    .any(|state| *state == Model::of(&wal)),
                "{what}"
            );
            assert!(
                !recovered.damage.iter().any(Damage::is_corruption),
                "{what}"
            );
            if is_over {
                assert!(cut > 100, "{cut}");
                break;
            }
        }
    }
}

/// Behind the last batch of a recycled file lie zeros, not the file's older life.
#[test]
fn a_process_killed_in_a_recycled_file_leaves_no_doubt() {
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &small_config()).unwrap();
    let mut answers = Answers::new();
    for index in 1..=45 {
        wal.append(vec![entry(id(1, index), 50)], answers.done());
        if index % 4 == 0 {
            wal.purge(id(1, index - 2), answers.done());
        }
        answers.wait();
        let killed = disk.copy();
        let (_, recovered) = open(&killed, &small_config()).unwrap();
        let (found, floor) = (recovered.damage, recovered.floor);
        assert!(found.is_empty() && floor.is_none(), "at {index}: {found:?}");
        assert_eq!(Some(id(1, index)), recovered.last);
    }
}

/// P10, torn writes of hardstate too.
#[test]
fn a_vote_never_goes_back() {
    let config = small_config();
    for is_torn in [false, true] {
        for at in 1.. {
            let disk = FaultDisk::new();
            let (wal, _) = open(&disk, &config).unwrap();
            let before = if is_torn {
                disk.writes()
            } else {
                disk.changes()
            };
            disk.inject(if is_torn {
                Fault::TearWrite(before + at)
            } else {
                Fault::DieAfter(before + at)
            });
            let mut answers = Answers::new();
            for term in 1..=12 {
                let vote = Vote {
                    term: Term(term),
                    node: NodeId(1),
                    is_committed: term % 2 == 0,
                };
                wal.save_vote(vote, answers.done());
                if answers.wait().iter().any(Result::is_err) {
                    break;
                }
            }
            drop(wal);
            let now = if is_torn {
                disk.writes()
            } else {
                disk.changes()
            };
            let kept = answers.kept() as u64;
            disk.power_cut(at);
            let (wal, _) = open(&disk, &config).unwrap();
            let term = wal.vote().map_or(0, |vote| vote.term.0);
            assert!(
                (kept..=kept + 1).contains(&term),
                "at {at}: {term} after {kept}"
            );
            drop(wal);
            let (wal, _) = open(&disk, &config).unwrap();
            assert_eq!(term, wal.vote().map_or(0, |vote| vote.term.0));
            if now < before + at {
                break;
            }
        }
    }
}

/// Either copy of hardstate may be damaged: the floor stands in both.
#[test]
fn a_floor_survives_the_loss_of_either_copy() {
    for name in ["hardstate.0", "hardstate.1"] {
        let disk = FaultDisk::new();
        let (wal, _) = open(&disk, &small_config()).unwrap();
        let mut answers = Answers::new();
        wal.set_floor(Some(Floor::Upto(id(3, 9))), answers.done());
        assert_eq!(1, answers.kept());
        let disk = disk.copy();
        assert!(disk.flip(&script::dir().join(name), 80, 1));
        let (_, recovered) = open(&disk, &small_config()).unwrap();
        assert_eq!(Some(Floor::Upto(id(3, 9))), recovered.floor, "{name}");
    }
}

#[test]
fn under_a_weak_policy_a_boot_is_a_possible_loss_and_never_corruption() {
    for policy in [Policy::IntervalMs(1), Policy::Never] {
        let config = WalConfig {
            fsync: policy,
            ..small_config()
        };
        for seed in 0..80 {
            let disk = FaultDisk::new();
            let (wal, _) = open(&disk, &config).unwrap();
            let mut script = Script::new(seed);
            disk.inject(Fault::DieAfter(disk.changes() + 5 + seed));
            script.play(&wal, 80);
            drop(wal);
            script.answers.wait();
            disk.power_cut(seed);
            let (wal, recovered) = open(&disk, &config).unwrap();
            let what = format!("{policy}, seed {seed}: {:?}", recovered.damage);
            assert!(script.is_kept(&wal, 0), "{what}: a prefix");
            let is_loss = |damage: &Damage| matches!(damage, Damage::PossibleLoss { .. });
            assert!(recovered.damage.iter().any(is_loss), "{what}");
            assert!(
                !recovered.damage.iter().any(Damage::is_corruption),
                "{what}"
            );
            assert_eq!(Some(Floor::Unknown), recovered.floor, "{what}");
        }
    }
}

/// P6 in direct mode: a write that fails is the last one.
#[test]
fn after_a_failed_direct_write_nothing_is_written_any_more() {
    for nth in 1..12 {
        let disk = FaultDisk::new();
        let (wal, _) = open(&disk, &small_config()).unwrap();
        assert_eq!(storage::WriteMode::Direct, wal.write_mode());
        disk.inject(Fault::TearWrite(disk.writes() + nth));
        let mut answers = Answers::new();
        for index in 1..=12 {
            wal.append(vec![entry(id(1, index), 100)], answers.done());
            answers.wait();
        }
        let kept = answers.kept();
        let writes = disk.writes();
        for result in answers.wait().iter().skip(kept + 1) {
            assert!(matches!(result, Err(Error::Poisoned { .. })), "{result:?}");
        }
        wal.append(vec![entry(id(1, 13), 100)], answers.done());
        answers.wait();
        assert!(wal.close().is_err());
        assert_eq!(writes, disk.writes(), "write {nth}");
    }
}
