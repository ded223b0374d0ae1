//! Power cuts after every single change of the disk, failed syncs, torn writes, damaged bytes:
//! what was acknowledged is there, nothing is invented, and everybody is answered once.
#![expect(clippy::unwrap_used, reason = "a test")]

mod play;
mod script;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use play::Script;
use script::{Answers, Model, dir, entry, id, open, small_config};
use storage::{
    Damage, Disk, Error, Fault, FaultDisk, Floor, Health, Index, NodeId, Policy, SegmentId, Term,
    Vote, Wal, WalConfig,
};

/// Nothing acknowledged is lost and nothing is invented.
fn require_kept(script: &Script, wal: &Wal, at_least: usize, what: &str) {
    let found = Model::of(wal);
    let (first, last) = (found.entries.keys().next(), found.last);
    let (vote, purged) = (found.vote, found.purged);
    assert!(
        script.is_kept(wal, at_least),
        "{what}: {at_least} calls were kept, found {first:?} to {last:?}, {vote:?}, {purged:?}"
    );
}

fn policies() -> [Policy; 3] {
    [Policy::Always, Policy::IntervalMs(1), Policy::Never]
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_after_every_change_of_the_disk() {
    let config = small_config();
    for seed in 0..6 {
        let mut die_after = 1;
        loop {
            let disk = FaultDisk::new();
            disk.inject(Fault::DieAfter(die_after));
            let mut script = Script::new(seed);
            if let Ok((wal, _)) = open(&disk, &config) {
                script.play(&wal, 60);
                drop(wal);
            }
            let is_over = disk.changes() < die_after;
            let kept = script.answers.kept();
            disk.power_cut(seed.wrapping_mul(1000) + die_after);
            let what = format!("seed {seed}, cut after change {die_after}");
            let (wal, _) = open(&disk, &config).unwrap_or_else(|error| panic!("{what}: {error}"));
            require_kept(&script, &wal, kept, &what);
            drop(wal);
            if is_over {
                break;
            }
            die_after += 1;
        }
        assert!(
            die_after > 60,
            "the run was cut at many places: {die_after}"
        );
    }
}

#[test]
fn a_power_cut_during_recovery_loses_nothing_either() {
    let config = small_config();
    for seed in 0..8 {
        for second_cut in 1..8 {
            let disk = FaultDisk::new();
            let (wal, _) = open(&disk, &config).unwrap();
            disk.inject(Fault::DieAfter(disk.changes() + 40 + seed));
            let mut script = Script::new(seed);
            script.play(&wal, 80);
            drop(wal);
            let kept = script.answers.kept();
            disk.power_cut(seed);
            disk.inject(Fault::DieAfter(disk.changes() + second_cut));
            let during = open(&disk, &config);
            drop(during);
            disk.power_cut(seed + 100);
            let (wal, _) = open(&disk, &config).unwrap();
            require_kept(&script, &wal, kept, "after two cuts");
            let once = Model::of(&wal);
            drop(wal);
            let (wal, _) = open(&disk, &config).unwrap();
            assert_eq!(once, Model::of(&wal), "opening twice says the same");
        }
    }
}

#[test]
fn under_every_policy_a_cut_leaves_a_prefix_and_never_a_log_that_does_not_open() {
    for policy in policies() {
        let config = WalConfig {
            fsync: policy,
            ..small_config()
        };
        for seed in 0..60 {
            let disk = FaultDisk::new();
            let (wal, _) = open(&disk, &config).unwrap();
            disk.inject(Fault::DieAfter(disk.changes() + 5 + seed));
            let mut script = Script::new(seed);
            script.play(&wal, 80);
            drop(wal);
            let kept = if policy == Policy::Always {
                script.answers.kept()
            } else {
                0
            };
            script.answers.wait();
            disk.power_cut(seed);
            let what = format!("{policy} seed {seed}");
            let (wal, _) = open(&disk, &config).unwrap_or_else(|error| panic!("{what}: {error}"));
            require_kept(&script, &wal, kept, &what);
        }
    }
}

#[test]
fn under_every_policy_the_death_of_the_process_loses_nothing_acknowledged() {
    for policy in policies() {
        let config = WalConfig {
            fsync: policy,
            ..small_config()
        };
        for seed in 0..10 {
            let disk = FaultDisk::new();
            let (wal, _) = open(&disk, &config).unwrap();
            let mut script = Script::new(seed);
            script.play(&wal, 80);
            let kept = script.answers.kept();
            // What the system's cache holds at this moment is what the next process reads.
            let after = disk.copy();
            let (next, _) = open(&after, &config).unwrap();
            require_kept(&script, &next, kept, "after a kill");
        }
    }
}

#[test]
fn votes_truncations_and_purges_are_synced_under_every_policy() {
    let config = WalConfig {
        fsync: Policy::Never,
        ..small_config()
    };
    for seed in 0..20 {
        let disk = FaultDisk::new();
        let (wal, _) = open(&disk, &config).unwrap();
        let mut answers = Answers::new();
        let entries = (1..=9).map(|index| entry(id(1, index), 100)).collect();
        wal.append(entries, answers.done());
        wal.truncate_after(Some(id(1, 7)), answers.done());
        wal.purge(id(1, 2), answers.done());
        let vote = Vote {
            term: Term(5),
            node: NodeId(1),
            is_committed: false,
        };
        wal.save_vote(vote, answers.done());
        assert_eq!(4, answers.kept());
        disk.power_cut(seed);
        drop(wal);
        let (_, recovered) = open(&disk, &config).unwrap();
        assert_eq!(Some(vote), recovered.vote);
        assert_eq!(
            (Some(Index(3)), Some(id(1, 7))),
            (recovered.first, recovered.last)
        );
    }
}

#[test]
fn after_a_failed_sync_the_log_is_poisoned_and_never_syncs_again() {
    let config = WalConfig {
        segment_bytes: 1 << 20,
        ..small_config()
    };
    for (nth, is_direct) in (1..10).flat_map(|nth| [(nth, true), (nth, false)]) {
        let disk = FaultDisk::new();
        if !is_direct {
            disk.inject(Fault::NoDirect);
        }
        let (wal, _) = open(&disk, &config).unwrap();
        let before = disk.syncs();
        disk.inject(Fault::FailSync(before + nth));
        let told = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&told);
        wal.on_poison(Box::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        let mut answers = Answers::new();
        for index in 1..=20 {
            wal.append(vec![entry(id(1, index), 10)], answers.done());
            answers.wait();
            if !matches!(wal.health(), Health::Ok) {
                break;
            }
        }
        let kept = answers.kept();
        assert_eq!(usize::try_from(nth).unwrap() - 1, kept);
        assert!(matches!(
            answers.heard.last(),
            Some(Err(Error::Unknown { .. }))
        ));
        let syncs = disk.syncs();
        assert_eq!(before + nth, syncs);
        wal.append(vec![entry(id(1, 99), 10)], answers.done());
        wal.save_vote(
            Vote {
                term: Term(2),
                node: NodeId(1),
                is_committed: false,
            },
            answers.done(),
        );
        wal.purge(id(1, 1), answers.done());
        for result in answers.wait().iter().skip(kept + 1) {
            assert!(matches!(result, Err(Error::Poisoned { .. })), "{result:?}");
        }
        assert_eq!(1, told.load(Ordering::SeqCst));
        assert!(matches!(wal.close(), Err(Error::Poisoned { .. })));
        assert_eq!(syncs, disk.syncs(), "no sync after the failed one");
    }
}

#[test]
fn a_torn_write_poisons_the_log_and_leaves_what_was_before() {
    for nth in 1..10 {
        let disk = FaultDisk::new();
        let (wal, _) = open(&disk, &small_config()).unwrap();
        disk.inject(Fault::TearWrite(disk.writes() + nth));
        let mut answers = Answers::new();
        for index in 1..=12 {
            wal.append(vec![entry(id(1, index), 6000)], answers.done());
            answers.wait();
            if !matches!(wal.health(), Health::Ok) {
                break;
            }
        }
        let kept = answers.kept();
        drop(wal);
        let (_, recovered) = open(&disk, &small_config()).unwrap();
        assert_eq!(
            recovered.last,
            (kept > 0).then(|| id(1, kept as u64)),
            "write {nth}"
        );
    }
}

#[test]
fn a_full_disk_stops_nobody_loses_nothing_and_heals() {
    let config = WalConfig {
        prepared_segments: 1,
        ..small_config()
    };
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &config).unwrap();
    disk.inject(Fault::Full(0));
    let mut answers = Answers::new();
    let mut index = 0;
    // What is left of the active segment and the room that may be ready already is the reserve.
    while !matches!(wal.health(), Health::Full(_)) {
        index += 1;
        wal.append(vec![entry(id(1, index), 3000)], answers.done());
        assert!(index < 1000, "a full disk is noticed");
        while !answers.are_heard() && !matches!(wal.health(), Health::Full(_)) {
            std::thread::yield_now();
        }
    }
    let Health::Full(shortage) = wal.health() else {
        panic!("it is full");
    };
    assert!(shortage.free_bytes < shortage.needed_bytes, "{shortage:?}");
    for _ in 0..10 {
        index += 1;
        wal.append(vec![entry(id(1, index), 3000)], answers.done());
    }
    disk.clear_faults();
    assert_eq!(usize::try_from(index).unwrap(), answers.kept());
    while !matches!(wal.health(), Health::Ok) {
        std::thread::yield_now();
    }
    wal.close().unwrap();
    let (wal, recovered) = open(&disk, &config).unwrap();
    assert_eq!(Some(id(1, index)), recovered.last);
    assert_eq!(
        usize::try_from(index).unwrap(),
        Model::of(&wal).entries.len()
    );
}

#[test]
fn a_purge_gives_a_full_disk_its_room_back() {
    let config = WalConfig {
        prepared_segments: 1,
        ..small_config()
    };
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &config).unwrap();
    let mut answers = Answers::new();
    for index in 1..=20 {
        wal.append(vec![entry(id(1, index), 3000)], answers.done());
    }
    assert_eq!(20, answers.kept());
    let full = wal.segments().len();
    assert!(3 < full, "{full} segments");
    let is_ready = |path: &std::path::PathBuf| path.extension().is_some_and(|it| it == "zero");
    while !disk.list(dir()).unwrap().iter().any(is_ready) {
        std::thread::yield_now();
    }
    disk.inject(Fault::Full(0));
    wal.purge(id(1, 20), answers.done());
    assert_eq!(21, answers.kept());
    for index in 21..=40 {
        wal.append(vec![entry(id(1, index), 3000)], answers.done());
        if index % 3 == 0 {
            wal.purge(id(1, index - 1), answers.done());
        }
        answers.wait();
    }
    let asked = answers.asked;
    assert_eq!(asked, answers.kept(), "recycled segments were enough");
    assert_eq!(Health::Ok, wal.health());
    drop(wal);
    let (wal, _) = open(&disk, &config).unwrap();
    assert_eq!(Some(id(1, 40)), wal.last());
}

#[test]
fn closing_on_a_full_disk_ends_and_says_what_was_not_written() {
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &small_config()).unwrap();
    disk.inject(Fault::Full(0));
    let mut answers = Answers::new();
    // More than the one segment takes, and less than may wait.
    for index in 1..=15 {
        wal.append(vec![entry(id(1, index), 3000)], answers.done());
    }
    let vote = Vote {
        term: Term(9),
        node: NodeId(1),
        is_committed: false,
    };
    wal.save_vote(vote, answers.done());
    wal.close().unwrap();
    let kept = answers.kept();
    let refused = answers.wait().iter().skip(kept);
    for result in refused {
        assert!(matches!(result, Err(Error::Closed)), "{result:?}");
    }
    disk.clear_faults();
    let (_, recovered) = open(&disk, &small_config()).unwrap();
    assert_eq!(Some(id(1, kept as u64)), recovered.last);
}

/// Three entries, each a batch of its own; the process is gone without a word.
fn three_batches() -> (FaultDisk, std::path::PathBuf) {
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &small_config()).unwrap();
    let mut answers = Answers::new();
    for index in 1..=3 {
        wal.append(vec![entry(id(1, index), 100)], answers.done());
        answers.wait();
    }
    let after = disk.copy();
    (after, dir().join("0000000000000001.seg"))
}

#[test]
fn a_last_write_in_doubt_is_left_out_reported_and_its_bytes_stay() {
    let (disk, path) = three_batches();
    let third = 8192 + 2 * 4096;
    assert!(disk.flip(&path, third + 80, 1));
    let before = disk.read(&path).unwrap();
    let (next, recovered) = open(&disk, &small_config()).unwrap();
    let tail = Damage::Tail {
        segment: SegmentId(1),
        offset: third as u64,
        entries: Some(Index(3)..=Index(3)),
    };
    assert_eq!(
        (Some(id(1, 2)), vec![tail]),
        (recovered.last, recovered.damage)
    );
    let Some(Floor::Upto(floor)) = recovered.floor else {
        panic!("{:?}", recovered.floor);
    };
    assert_eq!((Term(1), Index(3)), (floor.term, floor.index));
    let mut answers = Answers::new();
    next.append(vec![entry(id(2, 3), 100)], answers.done());
    answers.wait();
    drop(next);
    let (next, recovered) = open(&disk, &small_config()).unwrap();
    assert_eq!((Some(id(2, 3)), vec![]), (recovered.last, recovered.damage));
    assert_eq!(Some(Floor::Upto(floor)), recovered.floor, "it stays");
    let mut answers = Answers::new();
    next.set_floor(None, answers.done());
    assert_eq!(1, answers.kept());
    drop(next);
    assert_eq!(before, disk.read(&path).unwrap(), "nothing is edited");
    let (_, recovered) = open(&disk, &small_config()).unwrap();
    assert_eq!(None, recovered.floor, "until somebody takes it away");
}

#[test]
fn a_last_write_whose_header_is_damaged_has_an_unknown_floor() {
    let (disk, path) = three_batches();
    assert!(disk.flip(&path, 8192 + 2 * 4096 + 20, 1));
    let (_, recovered) = open(&disk, &small_config()).unwrap();
    assert_eq!(
        (Some(id(1, 2)), Some(Floor::Unknown)),
        (recovered.last, recovered.floor)
    );
}

#[test]
fn what_is_whole_of_a_last_write_in_doubt_is_kept() {
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &small_config()).unwrap();
    let mut answers = Answers::new();
    let entries = (1..=5).map(|index| entry(id(1, index), 1000)).collect();
    wal.append(entries, answers.done());
    assert_eq!(1, answers.kept());
    let disk = disk.copy();
    let path = dir().join("0000000000000001.seg");
    // The fourth record's payload.
    assert!(disk.flip(&path, 8192 + 64 + 3 * 1032 + 500, 1));
    let (wal, recovered) = open(&disk, &small_config()).unwrap();
    assert_eq!(Some(id(1, 3)), recovered.last);
    assert_eq!(3, Model::of(&wal).entries.len());
    assert!(matches!(
        recovered.damage.as_slice(),
        [Damage::Tail { entries: Some(range), .. }] if *range == (Index(4)..=Index(5))
    ));
    drop(wal);
    let (wal, _) = open(&disk, &small_config()).unwrap();
    assert_eq!(3, Model::of(&wal).entries.len(), "and it stays");
}

#[test]
fn after_an_idle_mark_the_same_damage_is_corruption() {
    let config = WalConfig {
        idle_mark_ms: 1,
        ..small_config()
    };
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &config).unwrap();
    let mut answers = Answers::new();
    wal.append(vec![entry(id(1, 1), 100)], answers.done());
    answers.wait();
    let path = dir().join("0000000000000001.seg");
    // Until the mark stands it is a last write in doubt.
    let is_corruption = || {
        let after = disk.copy();
        assert!(after.flip(&path, 8192 + 80, 1));
        match open(&after, &small_config()) {
            Err(Error::Corrupt { .. }) => true,
            opened => {
                assert!(opened.unwrap().1.floor.is_some());
                false
            }
        }
    };
    let end = Instant::now() + Duration::from_mins(1);
    while !is_corruption() {
        assert!(Instant::now() < end, "no mark is written");
        std::thread::yield_now();
    }
    drop(wal);
}

#[test]
fn an_unclean_start_of_the_machine_under_a_weak_policy_is_a_possible_loss() {
    for policy in policies() {
        let config = WalConfig {
            fsync: policy,
            ..small_config()
        };
        for is_boot in [false, true] {
            let disk = FaultDisk::new();
            let (wal, _) = open(&disk, &config).unwrap();
            let mut answers = Answers::new();
            wal.append(vec![entry(id(1, 1), 100)], answers.done());
            answers.wait();
            let disk = if is_boot { disk } else { disk.copy() };
            if is_boot {
                disk.power_cut(1);
            }
            let (_, recovered) = open(&disk, &config).unwrap();
            let is_weak = policy != Policy::Always;
            let is_told = recovered
                .damage
                .iter()
                .any(|damage| matches!(damage, Damage::PossibleLoss { .. }));
            assert_eq!(is_weak && is_boot, is_told, "{policy} {is_boot}");
            assert_eq!(is_told, recovered.floor == Some(Floor::Unknown));
        }
    }
}

#[test]
fn a_vote_survives_whatever_becomes_of_its_batch() {
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &small_config()).unwrap();
    let mut answers = Answers::new();
    let vote = Vote {
        term: Term(7),
        node: NodeId(3),
        is_committed: false,
    };
    wal.save_vote(vote, answers.done());
    assert_eq!(1, answers.kept());
    let path = dir().join("0000000000000001.seg");
    for at in [8192 + 10, 8192 + 70] {
        let disk = disk.copy();
        assert!(disk.flip(&path, at, 1));
        let (wal, recovered) = open(&disk, &small_config()).unwrap();
        assert_eq!(Some(vote), recovered.vote);
        drop(wal);
        let (_, recovered) = open(&disk, &small_config()).unwrap();
        assert_eq!(
            (Some(vote), true),
            (recovered.vote, recovered.damage.is_empty())
        );
    }
}

#[test]
fn a_log_whose_hardstate_or_segments_are_gone_is_never_taken_for_a_new_one() {
    let (disk, path) = three_batches();
    let copy = disk.copy();
    copy.remove(&path).unwrap();
    assert!(matches!(
        open(&copy, &small_config()),
        Err(Error::Corrupt { .. })
    ));
    for half in [false, true] {
        let copy = disk.copy();
        copy.remove(&dir().join("hardstate.0")).unwrap();
        if half {
            assert!(open(&copy, &small_config()).is_ok(), "one copy is enough");
            continue;
        }
        copy.remove(&dir().join("hardstate.1")).unwrap();
        assert!(matches!(
            open(&copy, &small_config()),
            Err(Error::Io { .. })
        ));
    }
    let copy = disk.copy();
    for name in ["hardstate.0", "hardstate.1"] {
        assert!(copy.flip(&dir().join(name), 60, 1));
    }
    assert!(matches!(
        open(&copy, &small_config()),
        Err(Error::Io { .. })
    ));
}

/// P3: after an orderly end every single damaged byte is noticed, or changes nothing.
#[test]
fn every_damaged_byte_of_a_closed_log_is_noticed_or_means_nothing() {
    let config = small_config();
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &config).unwrap();
    let mut script = Script::new(11);
    script.play(&wal, 30);
    script.answers.wait();
    wal.close().unwrap();
    let good = script.states.last().unwrap().clone();
    let is_segment = |path: &std::path::PathBuf| path.extension().is_some_and(|it| it == "seg");
    for path in disk.list(dir()).unwrap() {
        let len = disk.read(&path).unwrap().len();
        let mut noticed = 0;
        for at in (0..len).filter(|at| at % 4096 < 400 || at % 37 == 0) {
            let damaged = disk.copy();
            damaged.flip(&path, at, 1 << (at % 8));
            match open(&damaged, &config) {
                Ok((wal, _)) => assert_eq!(good, Model::of(&wal), "{} byte {at}", path.display()),
                Err(Error::Corrupt { .. } | Error::Version { .. }) => noticed += 1,
                Err(error) => panic!("{} byte {at}: {error}", path.display()),
            }
        }
        assert!(
            !is_segment(&path) || noticed > len / 400,
            "{}: {noticed} of {len}",
            path.display()
        );
    }
}

#[test]
fn a_missing_file_is_never_taken_for_an_empty_log() {
    let config = small_config();
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &config).unwrap();
    let mut answers = Answers::new();
    for index in 1..=40 {
        wal.append(vec![entry(id(1, index), 3000)], answers.done());
    }
    assert_eq!(40, answers.kept());
    let count = wal.segments().len();
    assert!(count > 3);
    wal.close().unwrap();
    for number in 1..count {
        let damaged = disk.copy();
        damaged
            .remove(&dir().join(format!("{number:016}.seg")))
            .unwrap();
        let opened = open(&damaged, &config);
        assert!(
            matches!(opened, Err(Error::Corrupt { .. })),
            "file {number}: {opened:?}"
        );
        let swapped = disk.copy();
        let (one, two) = (number, number + 1);
        swapped
            .rename(
                &dir().join(format!("{one:016}.seg")),
                &dir().join(format!("{two:016}.seg")),
            )
            .unwrap();
        assert!(open(&swapped, &config).is_err());
    }
}

#[test]
fn closing_writes_what_waits_and_refuses_what_comes_later() {
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &small_config()).unwrap();
    let other = wal.clone();
    let mut answers = Answers::new();
    for index in 1..=50 {
        wal.append(vec![entry(id(1, index), 1000)], answers.done());
    }
    wal.save_committed(id(1, 49));
    wal.close().unwrap();
    other.append(vec![entry(id(1, 51), 10)], answers.done());
    assert_eq!(50, answers.kept());
    assert!(matches!(answers.heard.last(), Some(Err(Error::Closed))));
    assert_eq!(50, Model::of(&other).entries.len(), "still readable");
    drop(other);
    let (_, recovered) = open(&disk, &small_config()).unwrap();
    assert_eq!(
        (Some(id(1, 50)), Some(id(1, 49))),
        (recovered.last, recovered.committed)
    );
}

#[test]
fn the_writers_death_answers_everybody() {
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &small_config()).unwrap();
    let mut answers = Answers::new();
    wal.append(vec![entry(id(1, 1), 10)], answers.done());
    answers.wait();
    // A callback that panics takes the writer's thread with it.
    wal.append(
        vec![entry(id(1, 2), 10)],
        Box::new(|_| panic!("a callback's bug")),
    );
    for index in 3..=20 {
        wal.append(vec![entry(id(1, index), 10)], answers.done());
    }
    answers.wait();
    let other = wal.clone();
    assert!(matches!(wal.close(), Err(Error::Poisoned { .. })));
    other.save_vote(
        Vote {
            term: Term(2),
            node: NodeId(1),
            is_committed: false,
        },
        answers.done(),
    );
    assert!(matches!(
        answers.wait().last(),
        Some(Err(Error::Poisoned { .. }))
    ));
}

#[test]
fn two_processes_never_write_one_log() {
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &small_config()).unwrap();
    assert!(matches!(
        open(&disk, &small_config()),
        Err(Error::Locked { .. })
    ));
    drop(wal);
    open(&disk, &small_config()).unwrap();
}
