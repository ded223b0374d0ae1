//! A log with holes: which entries are named, what can still be read, and how they come back. And
//! what opening may leave unread: the scrubber and every read find it later.
#![expect(clippy::unwrap_used, reason = "a test")]

#[expect(dead_code, reason = "shared by the test files")]
mod script;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use script::{Answers, Model, dir, entry, id, open, small_config};
use storage::{
    Damage, Disk, Entry, Error, FaultDisk, Index, Open, OsDisk, Recovered, RepairError, Scan,
    SegmentId, SegmentInfo, Stepper, Verify, Wal, WalConfig, simulation::simulate,
};

const COUNT: u64 = 40;
const LEN: usize = 1000;
/// A record of `LEN` bytes, with its header.
const RECORD: usize = LEN + 32;

fn segment(number: u64) -> PathBuf {
    dir().join(format!("{number:016}.seg"))
}

fn append(wal: &Wal, indexes: std::ops::RangeInclusive<u64>) {
    let mut answers = Answers::new();
    let entries = indexes.map(|index| entry(id(1, index), LEN)).collect();
    wal.append(entries, answers.done());
    assert_eq!(1, answers.kept());
}

/// Batches of five entries, two a segment; closed in order. Entry 3 lies in the first one.
fn sealed(config: &WalConfig) -> FaultDisk {
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, config).unwrap();
    for first in (1..COUNT).step_by(5) {
        append(&wal, first..=first + 4);
    }
    assert_eq!(4, wal.segments().len());
    wal.close().unwrap();
    disk
}

fn open_damaged(disk: &FaultDisk, config: &WalConfig) -> (Wal, Recovered) {
    Wal::open_damaged(Arc::new(disk.clone()), dir(), config).unwrap()
}

fn config(verify: Verify) -> WalConfig {
    WalConfig {
        verify,
        ..small_config()
    }
}

/// Where byte `at` of the record of entry 3 lies in its file.
fn in_third(at: usize) -> usize {
    8192 + 64 + 2 * RECORD + at
}

/// Reads one by one: each entry, or that it is damaged.
fn holes(wal: &Wal, last: u64) -> Vec<u64> {
    let mut holes = Vec::new();
    for index in 1..=last {
        match wal.read(Index(index)..Index(index + 1), 10_000) {
            Ok(found) => assert_eq!(vec![entry(id(1, index), LEN)], found),
            Err(Error::Damaged { first, last }) => {
                assert!(first.0 <= index && index <= last.0);
                holes.push(index);
            }
            Err(error) => panic!("entry {index}: {error}"),
        }
    }
    holes
}

fn repair(wal: &Wal, entry: Entry) -> Result<(), RepairError> {
    let mut answers = Answers::new();
    wal.repair(entry, &[], answers.done())?;
    assert_eq!(1, answers.kept());
    Ok(())
}

/// The truncation is called for, and not on the disk yet, when the repair comes.
#[test]
fn a_repair_behind_a_truncation_brings_no_old_entry_back() {
    let disk = sealed(&config(Verify::Full));
    assert!(disk.flip(&segment(1), in_third(500), 4));
    let writers = Arc::new(Mutex::new(Vec::new()));
    let held = Arc::clone(&writers);
    let simulation = simulate(1, Box::new(move |writer| held.lock().unwrap().push(writer)));
    let (wal, _) = open_damaged(&disk, &config(Verify::Full));
    assert_eq!(vec![3], holes(&wal, COUNT));
    wal.truncate_after(Some(id(1, 2)), Box::new(drop));
    let new: Vec<_> = (3..=20).map(|index| entry(id(2, index), LEN)).collect();
    wal.append(new.clone(), Box::new(drop));
    let old = wal.repair(entry(id(1, 3), LEN), &[], Box::new(drop));
    assert!(
        matches!(old, Err(RepairError::NotDamaged(Index(3)))),
        "{old:?}"
    );
    while writers.lock().unwrap().iter_mut().any(Stepper::step) {}
    drop(wal);
    drop(simulation);
    let (wal, _) = open_damaged(&disk, &config(Verify::Full));
    assert_eq!(new, wal.read(Index(3)..Index(21), usize::MAX).unwrap());
}

#[test]
fn a_damaged_entry_is_named_and_comes_back_only_as_what_it_was() {
    // The payload; the header's index; the header's crc; its kind.
    for at in [500, 8, 28, 0] {
        let disk = sealed(&config(Verify::Full));
        assert!(disk.flip(&segment(1), in_third(at), 4));
        assert!(matches!(
            open(&disk, &config(Verify::Full)),
            Err(Error::Corrupt { .. })
        ));
        let (wal, recovered) = open_damaged(&disk, &config(Verify::Full));
        let lost = Damage::Entries {
            segment: SegmentId(1),
            offset: 8192,
            entries: Index(3)..=Index(3),
            what: "a batch that was synced is damaged",
        };
        assert_eq!(vec![lost], recovered.damage, "byte {at}");
        assert_eq!(vec![3], holes(&wal, COUNT));
        let mut other = entry(id(1, 3), LEN);
        other.payload = vec![b'y'; LEN].into();
        assert!(
            matches!(repair(&wal, other), Err(RepairError::Other(Index(3)))),
            "byte {at}"
        );
        let healthy = repair(&wal, entry(id(1, 4), LEN));
        assert!(matches!(healthy, Err(RepairError::NotDamaged(Index(4)))));
        repair(&wal, entry(id(1, 3), LEN)).unwrap();
        assert_eq!(0, holes(&wal, COUNT).len());
        assert_eq!(40, Model::of(&wal).entries.len(), "in one go too");
        drop(wal);
        for verify in [Verify::Full, Verify::Tail, Verify::Tail] {
            let (wal, _) = open_damaged(&disk, &config(verify));
            assert_eq!(0, holes(&wal, COUNT).len(), "after a start, {verify:?}");
            let last = Model::of(&wal).last.unwrap().index.0;
            for first in (last + 1..last + 21).step_by(5) {
                append(&wal, first..=first + 4);
            }
            assert_eq!(
                0,
                holes(&wal, COUNT).len(),
                "and in a sealed segment, {verify:?}"
            );
        }
    }
}

#[test]
fn a_copy_is_refused_where_the_damaged_file_has_lost_its_end_as_well() {
    for len in [20 << 10, 8192 + 64, 8192, 4096] {
        let disk = sealed(&config(Verify::Full));
        assert!(disk.flip(&segment(1), in_third(28), 4));
        let (wal, _) = open_damaged(&disk, &config(Verify::Full));
        let bytes = disk.read(&segment(1)).unwrap();
        let file = disk.open(&segment(1), Open::CreateOrTruncate).unwrap();
        file.write_at(&bytes[..len], 0).unwrap();
        let again = repair(&wal, entry(id(1, 3), LEN));
        // The first batch ends before 20 KiB, and can tell.
        assert_eq!(20 << 10 == len, again.is_ok(), "{len}: {again:?}");
    }
}

#[test]
fn zeros_in_a_damaged_entry_hide_no_other() {
    let config = WalConfig {
        segment_bytes: 1 << 20,
        batch_bytes_max: 512 << 10,
        ..config(Verify::Full)
    };
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &config).unwrap();
    let mut zeros = entry(id(1, 2), 0);
    zeros.payload = vec![0; 200_000].into();
    let mut answers = Answers::new();
    let entries = vec![entry(id(1, 1), LEN), zeros, entry(id(1, 3), LEN)];
    wal.append(entries, answers.done());
    assert_eq!(1, answers.kept());
    append(&wal, 4..=4);
    wal.close().unwrap();
    assert!(disk.flip(&segment(1), 8192 + 64 + RECORD, 1));
    let (wal, _) = open_damaged(&disk, &config);
    assert_eq!(vec![2], holes(&wal, 4));
}

#[test]
fn what_lay_in_a_file_that_is_gone_is_a_hole_and_the_rest_reads_on() {
    for is_missing in [true, false] {
        let disk = sealed(&config(Verify::Full));
        if is_missing {
            disk.remove(&segment(2)).unwrap();
        } else {
            // Both copies of its header.
            assert!(disk.flip(&segment(2), 45, 1) && disk.flip(&segment(2), 4096 + 45, 1));
        }
        for verify in [Verify::Full, Verify::Tail] {
            assert!(matches!(
                open(&disk, &config(verify)),
                Err(Error::Corrupt { .. })
            ));
            let (wal, recovered) = open_damaged(&disk.copy(), &config(verify));
            assert_eq!((11..=20).collect::<Vec<_>>(), holes(&wal, COUNT));
            assert!(
                recovered.damage.iter().all(Damage::is_corruption),
                "{recovered:?}"
            );
            assert!(recovered.damage.iter().any(|damage| matches!(
                damage,
                Damage::Entries { entries, .. } if *entries == (Index(11)..=Index(20))
            )));
            let refused = repair(&wal, entry(id(1, 12), LEN));
            assert!(matches!(refused, Err(RepairError::Unverifiable(Index(12)))));
        }
    }
}

#[test]
fn a_damaged_file_is_set_aside_when_it_is_purged_and_the_log_is_whole_again() {
    for is_header in [false, true] {
        let disk = sealed(&config(Verify::Full));
        assert!(disk.flip(&segment(1), in_third(500), 1));
        if is_header {
            assert!(disk.flip(&segment(2), 45, 1) && disk.flip(&segment(2), 4096 + 45, 1));
        }
        let damaged = disk.read(&segment(1)).unwrap();
        let (wal, _) = open_damaged(&disk, &config(Verify::Full));
        let mut answers = Answers::new();
        wal.purge(id(1, 25), answers.done());
        assert_eq!(1, answers.kept());
        wal.close().unwrap();
        let aside = dir().join("quarantine/0000000000000001.seg");
        assert_eq!(damaged, disk.read(&aside).unwrap(), "as it was found");
        let (wal, recovered) = open(&disk, &config(Verify::Full)).unwrap();
        assert_eq!(Some(Index(26)), recovered.first);
        assert_eq!(15, Model::of(&wal).entries.len());
    }
}

#[test]
fn a_last_file_without_a_whole_header_is_kept_and_writing_goes_on_behind_it() {
    let disk = sealed(&config(Verify::Full));
    assert!(disk.flip(&segment(4), 45, 1) && disk.flip(&segment(4), 4096 + 45, 1));
    let damaged = disk.read(&segment(4)).unwrap();
    let (wal, recovered) = open_damaged(&disk, &config(Verify::Full));
    assert_eq!(
        (Some(id(1, 30)), true),
        (recovered.last, recovered.floor.is_some())
    );
    append(&wal, 31..=33);
    wal.close().unwrap();
    assert_eq!(
        damaged,
        disk.read(&segment(4)).unwrap(),
        "it is never written"
    );
    let (wal, _) = open_damaged(&disk, &config(Verify::Tail));
    assert_eq!(33, Model::of(&wal).entries.len());
}

#[test]
fn the_scrubber_finds_what_opening_did_not_read_and_tells_it_once() {
    let disk = sealed(&config(Verify::Tail));
    assert!(disk.flip(&segment(2), in_third(500), 1));
    let (wal, recovered) = open(&disk, &config(Verify::Tail)).unwrap();
    assert!(recovered.damage.is_empty() && wal.findings().is_empty());
    for _ in 0..2 {
        let found = wal.scrub();
        assert!(
            matches!(
                found.as_slice(),
                [Damage::Segment {
                    segment: SegmentId(2),
                    offset: 8192,
                    ..
                }]
            ),
            "{found:?}"
        );
        assert_eq!(found, wal.findings());
    }
    let read = wal.read(Index(13)..Index(14), 1000);
    assert!(matches!(read, Err(Error::Damaged { .. })), "{read:?}");
    assert_eq!(1, wal.findings().len());
    assert_eq!(vec![13], holes(&wal, COUNT), "and no more than that");
}

#[test]
fn opening_by_footers_reads_no_bodies_and_a_bad_footer_costs_a_scan_and_nothing_else() {
    let disk = sealed(&config(Verify::Full));
    let reads = |disk: &FaultDisk, verify| {
        let before = disk.reads();
        let (wal, recovered) = open(disk, &config(verify)).unwrap();
        let reads = disk.reads() - before;
        assert!(recovered.damage.is_empty(), "{recovered:?}");
        (reads, Model::of(&wal))
    };
    let (full, content) = reads(&disk.copy(), Verify::Full);
    let (tail, same) = reads(&disk.copy(), Verify::Tail);
    assert_eq!(content, same);
    assert!(tail <= full, "{tail} reads instead of {full}");
    // A body that is not read is not noticed at open.
    let flipped = disk.copy();
    assert!(flipped.flip(&segment(2), in_third(500), 1));
    assert!(open(&flipped, &config(Verify::Tail)).is_ok());
    let footer = 28 << 10;
    for number in 1..=4 {
        for at in [footer, footer + 70] {
            for harm in [vec![0xA5], vec![0; 4096 - 70]] {
                let disk = disk.copy();
                disk.scribble(&segment(number), at, &harm);
                assert_eq!(content, reads(&disk, Verify::Tail).1, "file {number}");
            }
        }
    }
}

#[test]
fn a_footer_that_speaks_of_bytes_behind_its_place_is_not_believed() {
    let disk = sealed(&config(Verify::Full));
    let (wal, _) = open(&disk.copy(), &config(Verify::Tail)).unwrap();
    let (content, segments) = (Model::of(&wal), wal.segments());
    let footer = 28 << 10;
    // Where the last batch ends, and where the first point lies.
    for field in [32, 64 + 8] {
        for value in [0, footer as u64 + 1, 40 << 30, u64::MAX] {
            let disk = disk.copy();
            let mut bytes = disk.read(&segment(1)).unwrap()[footer..].to_vec();
            bytes[field..field + 8].copy_from_slice(&value.to_le_bytes());
            let crc = crc32fast::hash(&bytes[8..]);
            bytes[4..8].copy_from_slice(&crc.to_le_bytes());
            disk.scribble(&segment(1), footer, &bytes);
            let (wal, recovered) = open(&disk, &config(Verify::Tail)).unwrap();
            assert!(recovered.damage.is_empty(), "{recovered:?}");
            assert_eq!(content, Model::of(&wal), "{value} at {field}");
            let is = |one: &[SegmentInfo]| one.iter().map(|one| one.bytes).collect::<Vec<_>>();
            assert_eq!(is(&segments), is(&wal.segments()), "{value} at {field}");
        }
    }
}

#[test]
fn entries_that_a_forged_header_promises_cost_no_more_than_one() {
    let disk = sealed(&config(Verify::Full));
    open(&disk, &config(Verify::Full))
        .unwrap()
        .0
        .close()
        .unwrap();
    let last = segment(5);
    let mut header = disk.read(&last).unwrap()[..4096].to_vec();
    header[80..88].copy_from_slice(&(1_u64 << 60).to_le_bytes());
    let crc = crc32fast::hash(&header[..4092]);
    header[4092..].copy_from_slice(&crc.to_le_bytes());
    disk.scribble(&last, 0, &[header.clone(), header].concat());
    let (told, hears) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let (wal, _) = open(&disk, &config(Verify::Tail)).unwrap();
        let refused = wal.read(Index(1 << 50)..Index((1 << 50) + 1), 1);
        told.send((refused.map_err(|error| error.to_string()), wal.lost()))
            .unwrap();
    });
    // By the entry it would take years.
    let (refused, lost) = hears.recv_timeout(Duration::from_mins(1)).unwrap();
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(vec![Index(COUNT + 1)..=Index(1 << 60)], lost);
}

#[test]
fn points_of_footers_serve_reads_after_truncations() {
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &small_config()).unwrap();
    let (mut answers, mut model, mut last) = (Answers::new(), Model::default(), 0);
    for round in 1..=12 {
        for _ in 0..6 {
            last += 1;
            model.append(entry(id(round, last), 100));
            wal.append(vec![entry(id(round, last), 100)], answers.done());
        }
        last -= 2;
        let keep = model.entries[&Index(last)].id;
        model.truncate_after(Some(keep));
        wal.truncate_after(Some(keep), answers.done());
        answers.wait();
    }
    wal.close().unwrap();
    for verify in [Verify::Tail, Verify::Full, Verify::Tail] {
        let (wal, _) = open(&disk, &config(verify)).unwrap();
        assert_eq!(model, Model::of(&wal), "{verify:?}");
    }
}

#[test]
fn mapped_scans_of_real_files_say_the_same_and_a_purge_under_one_is_safe() {
    let home = tempfile::tempdir().unwrap();
    let config = |scan| WalConfig {
        scan,
        segment_bytes: 1 << 20,
        batch_bytes_max: 64 << 10,
        queue_bytes_max: 1 << 20,
        ..small_config()
    };
    let open = |scan| {
        Wal::open(Arc::new(OsDisk), home.path(), &config(scan))
            .unwrap()
            .0
    };
    let wal = open(Scan::Read);
    let mut answers = Answers::new();
    for index in 1..=600 {
        wal.append(vec![entry(id(1, index), 9000)], answers.done());
    }
    assert_eq!(600, answers.kept());
    let all = |wal: &Wal| wal.read(Index(1)..Index(500), 4 << 20).unwrap();
    let content = all(&wal);
    assert!(content.len() > 400);
    wal.close().unwrap();
    let wal = open(Scan::Mapped);
    assert_eq!(content, all(&wal));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let first = wal.first().unwrap();
                    match wal.read(first..Index(first.0 + 300), 2 << 20) {
                        Ok(found) => {
                            for (at, found) in (first.0..).zip(&found) {
                                assert_eq!(&entry(id(1, at), 9000), found);
                            }
                        }
                        Err(Error::Purged { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    if first.0 > 500 {
                        return;
                    }
                }
            });
        }
        let mut answers = Answers::new();
        for step in 1..=52 {
            wal.purge(id(1, step * 10), answers.done());
            // What is written now would go into a file that is recycled too early.
            wal.append(vec![entry(id(1, 600 + step), 9000)], answers.done());
            answers.wait();
        }
        let asked = answers.asked;
        assert_eq!(asked, answers.kept());
    });
}

#[test]
fn what_is_found_while_the_log_runs_is_a_hole_until_it_is_repaired_also_after_a_start() {
    // Found by the scrubber, or by whoever reads it.
    for is_read in [false, true] {
        let disk = sealed(&config(Verify::Tail));
        assert!(disk.flip(&segment(2), in_third(500), 1));
        let (wal, _) = open_damaged(&disk, &config(Verify::Tail));
        assert_eq!(0, wal.holes(), "opening believes the footer");
        if is_read {
            let read = wal.read(Index(11)..Index(20), 100_000).unwrap();
            assert_eq!(2, read.len(), "up to the hole");
        } else {
            wal.scrub();
        }
        assert_eq!(vec![Index(13)..=Index(13)], wal.lost());
        let read = wal.read(Index(14)..Index(41), 100_000).unwrap();
        assert_eq!(27, read.len(), "and behind it");
        wal.close().unwrap();
        let (wal, _) = open_damaged(&disk, &config(Verify::Tail));
        assert_eq!(
            vec![Index(13)..=Index(13)],
            wal.lost(),
            "it is not forgotten"
        );
        repair(&wal, entry(id(1, 13), LEN)).unwrap();
        assert_eq!(0, wal.holes() + holes(&wal, COUNT).len() as u64);
        wal.close().unwrap();
        let (wal, _) = open_damaged(&disk, &config(Verify::Tail));
        assert_eq!(0, wal.holes() + holes(&wal, COUNT).len() as u64);
        // The repaired copy rots too.
        let copy = wal.segments().iter().rev().nth(1).unwrap().id;
        wal.close().unwrap();
        let mut at = 8192 + 64;
        while !disk.read(&segment(copy.0)).unwrap()[at..].starts_with(&[b'x'; 100]) {
            at += 1;
        }
        let (wal, _) = open_damaged(&disk, &config(Verify::Tail));
        assert!(disk.flip(&segment(copy.0), at + 50, 1));
        wal.scrub();
        assert_eq!(vec![Index(13)..=Index(13)], wal.lost());
        repair(&wal, entry(id(1, 13), LEN)).unwrap();
        assert_eq!(0, holes(&wal, COUNT).len());
    }
}

#[test]
fn entries_come_back_where_the_header_of_their_batch_is_gone_or_a_stretch_of_it() {
    // The header of the batch, in its magic (a byte of a random salt may be 0xFF already); a block over
    // the ends of three records and the headers of two.
    let block = [0; 3 * 1032 - 600];
    let harms = [(8192, vec![0xFF], 5), (in_third(500), block.to_vec(), 3)];
    for is_running in [false, true] {
        for (at, harm, count) in &harms {
            let verify = if is_running {
                Verify::Tail
            } else {
                Verify::Full
            };
            let disk = sealed(&config(verify));
            disk.scribble(&segment(2), *at, harm);
            let (wal, _) = open_damaged(&disk, &config(verify));
            wal.scrub();
            let lost = holes(&wal, COUNT);
            // A running log has fewer places to begin reading at than one that was read as it opened.
            assert!(
                lost.len() == *count || (is_running && lost.len() == 10),
                "{lost:?}"
            );
            let all: Vec<_> = lost.iter().map(|at| entry(id(1, *at), LEN)).collect();
            let mut wrong = all.clone();
            wrong[1].payload = vec![b'y'; LEN].into();
            let refused = wal.repair(wrong[1].clone(), &wrong, Box::new(drop));
            assert!(refused.is_err(), "{refused:?}");
            for one in &all {
                let mut answers = Answers::new();
                wal.repair(one.clone(), &all, answers.done()).unwrap();
                assert_eq!(1, answers.kept());
            }
            assert_eq!(0, holes(&wal, COUNT).len());
        }
    }
}
