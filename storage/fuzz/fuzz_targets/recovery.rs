//! Any bytes where a log should be: it opens, or it says why not; it never panics and never hangs.
//! Where no crc was forged, what it reads is what was written.
#![no_main]

use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use storage::{Disk, Entry, Error, FaultDisk, Index, Verify, Wal, inspect_wal};
use storage_fuzz::{BLOCK, Stage, config, dir, files, log, mend, more, put, was_written, written};

static LOGS: LazyLock<[FaultDisk; 2]> = LazyLock::new(|| [log(false), log(true)]);

/// What the first byte says.
const IS_CLOSED: u8 = 1;
const IS_TAIL: u8 = 2;
const IS_REFUSING: u8 = 4;
const IS_MENDED: u8 = 8;
const HAS_CHAIN: u8 = 16;
const IS_RAW: u8 = 32;

fuzz_target!(|data: &[u8]| {
    let Some((how, edits)) = data.split_first() else {
        return;
    };
    let is = |flag| how & flag != 0;
    let disk = LOGS[usize::from(is(IS_CLOSED))].copy();
    let paths = files(&disk);
    if is(IS_RAW) {
        // One file is what was given, from its beginning.
        let Some((which, bytes)) = edits.split_first() else {
            return;
        };
        let path = &paths[usize::from(*which) % paths.len()];
        put(&disk, path, bytes);
    } else {
        let mut contents: Vec<_> = paths.iter().map(|path| disk.read(path).unwrap()).collect();
        for edit in edits.chunks_exact(4).take(64) {
            let [which, at, to, value] = edit.try_into().unwrap();
            change(&mut contents, which, u16::from_le_bytes([at, to]), value);
        }
        for (path, bytes) in paths.iter().zip(&mut contents) {
            if is(IS_MENDED) {
                mend(path, bytes, is(HAS_CHAIN));
            }
            put(&disk, path, bytes);
            if bytes.is_empty() {
                disk.remove(path).unwrap();
            }
        }
    }
    let stage = Stage::new(2);
    let shared: Arc<dyn Disk> = Arc::new(disk);
    drop(inspect_wal(Arc::clone(&shared), dir(), &mut drop));
    let config = config(if is(IS_TAIL) {
        Verify::Tail
    } else {
        Verify::Full
    });
    for _ in 0..2 {
        let opened = if is(IS_REFUSING) {
            Wal::open(Arc::clone(&shared), dir(), &config)
        } else {
            Wal::open_damaged(Arc::clone(&shared), dir(), &config)
        };
        let Ok((wal, _)) = opened else { return };
        use_it(&wal, &stage, is(IS_MENDED));
    }
});

/// Changes a byte, or a block, or the length.
fn change(contents: &mut [Vec<u8>], which: u8, at: u16, value: u8) {
    let count = contents.len();
    let file = usize::from(which & 31) % count;
    let block = usize::from(at) / BLOCK * BLOCK;
    match which >> 5 {
        0..4 => {
            if let Some(byte) = contents[file].get_mut(usize::from(at)) {
                *byte = value;
            }
        }
        4 => {
            let end = (block + BLOCK).min(contents[file].len());
            if let Some(block) = contents[file].get_mut(block..end) {
                block.fill(0);
            }
        }
        5 => {
            let other = &contents[usize::from(value & 15) % count];
            let from = usize::from(value >> 4) * BLOCK;
            let copy = other.get(from..from + BLOCK).map(<[u8]>::to_vec);
            if let (Some(copy), Some(room)) = (copy, contents[file].get_mut(block..block + BLOCK)) {
                room.copy_from_slice(&copy);
            }
        }
        6 => contents[file].truncate(usize::from(at)),
        _ => {
            if let Some(byte) = contents[file].get_mut(usize::from(at)) {
                *byte ^= 1 << (value & 7);
            }
        }
    }
}

/// Reads all there is, mends what is not, and goes on writing.
fn use_it(wal: &Wal, stage: &Stage, is_forged: bool) {
    let mut at = wal.first().unwrap_or_default();
    let end = wal.last().map_or(Index(0), |last| last.index);
    for _ in 0..200 {
        if end < at {
            break;
        }
        at = match wal.read(at..Index(at.0.saturating_add(50)), 4096) {
            Ok(entries) => {
                let is_true = |entry: &Entry| is_forged || was_written(entry);
                assert!(entries.iter().all(is_true), "nobody wrote {entries:?}");
                match entries.last() {
                    Some(entry) => entry.id.index.next(),
                    None => break,
                }
            }
            Err(Error::Damaged { first, last }) => {
                repair(wal, stage, first.0..=last.0.min(first.0.saturating_add(20)));
                last.next()
            }
            Err(_) => at.next(),
        };
    }
    wal.scrub();
    assert_eq!(wal.holes() == 0, wal.lost().is_empty());
    let (term, index) = wal
        .last()
        .map_or((9, 1), |last| (last.term.0, last.index.next().0));
    let taken = stage.answer(|done| wal.append(vec![more(term, index)], done));
    taken.expect("a disk without faults takes it");
}

/// Offers the right entries, with all others that a peer could have.
fn repair(wal: &Wal, stage: &Stage, lost: RangeInclusive<u64>) {
    let others: Vec<_> = lost.clone().flat_map(written).collect();
    for copy in lost.filter_map(|index| written(index).pop()) {
        drop(wal.repair(copy, &others, Box::new(drop)));
        stage.run();
    }
}
