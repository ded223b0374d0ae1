//! Rooms on a real disk: whatever batches go to was written from end to end before. Where it was not, the file
//! system commits a change of its own with each batch, which nobody sees but in the time it takes.
#![expect(clippy::unwrap_used, reason = "a test")]

#[expect(dead_code, reason = "shared by the test files")]
mod script;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use script::{Answers, entry, id, small_config};
use storage::{Disk, Open, OsDisk, Wal};

fn open(home: &Path) -> Wal {
    Wal::open(Arc::new(OsDisk), home, &small_config())
        .unwrap()
        .0
}

fn with_holes(home: &Path) -> Vec<PathBuf> {
    let mut paths = OsDisk.list(home).unwrap();
    paths.retain(|path| OsDisk.open(path, Open::Read).unwrap().has_holes().unwrap());
    paths
}

fn append(wal: &Wal, indexes: std::ops::RangeInclusive<u64>) {
    let mut answers = Answers::new();
    for index in indexes.clone() {
        wal.append(vec![entry(id(1, index), 3000)], answers.done());
    }
    answers.wait();
    assert_eq!(indexes.count(), answers.kept());
}

/// A file that has its length and no blocks that were written.
fn hollow(path: &Path) {
    let file = OsDisk.open(path, Open::Create).unwrap();
    file.reserve(small_config().segment_bytes).unwrap();
    assert!(file.has_holes().unwrap(), "this system tells");
}

#[test]
fn a_new_log_begins_in_blocks_that_were_written_before() {
    let home = tempfile::tempdir().unwrap();
    let wal = open(home.path());
    let first = home.path().join("0000000000000001.seg");
    assert!(OsDisk.exists(&first).unwrap());
    assert!(!with_holes(home.path()).contains(&first));
    append(&wal, 1..=2);
    wal.close().unwrap();
}

#[test]
fn a_room_that_was_left_without_zeros_is_not_used() {
    let home = tempfile::tempdir().unwrap();
    open(home.path()).close().unwrap();
    let left = home.path().join("0000000000000100.zero");
    hollow(&left);
    let wal = open(home.path());
    assert!(!OsDisk.exists(&left).unwrap());
    wal.close().unwrap();
}

/// A start gives back what the last segment of the life before did not use. That one is no room when it is
/// purged; the next one is.
#[test]
fn a_segment_whose_end_was_given_back_is_not_recycled() {
    let home = tempfile::tempdir().unwrap();
    let wal = open(home.path());
    append(&wal, 1..=1);
    wal.close().unwrap();
    let wal = open(home.path());
    let first = home.path().join("0000000000000001.seg");
    assert_eq!(vec![first.clone()], with_holes(home.path()));
    append(&wal, 2..=40);
    let mut answers = Answers::new();
    wal.purge(id(1, 40), answers.done());
    answers.wait();
    wal.close().unwrap();
    let is_used = |path: &PathBuf| path.extension().is_some_and(|found| found == "used");
    let rooms = OsDisk
        .list(home.path())
        .unwrap()
        .into_iter()
        .filter(is_used);
    assert_eq!(1, rooms.count());
    assert_eq!(Vec::<PathBuf>::new(), with_holes(home.path()));
}
