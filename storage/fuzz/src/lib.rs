//! What the fuzz targets share: logs to damage, and crcs that are right again afterwards.
//!
//! Why mend: a crc stops nearly every random change at the door. With the crcs put right the fuzzer
//! reaches what lies behind them, where only a bug of ours or a forger with the salt would.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use storage::simulation::{Simulation, simulate};
use storage::{
    Disk, Done, Entry, EntryKind, Error, FaultDisk, Index, LogId, NodeId, Open, Stepper, Term,
    Verify, Vote, Wal, WalConfig,
};

pub const BLOCK: usize = 4096;

pub fn dir() -> &'static Path {
    Path::new("/wal")
}

/// The smallest numbers there are, and nothing in the background.
pub fn config(verify: Verify) -> WalConfig {
    WalConfig {
        prepared_segments: 0,
        reserve_bytes: 0,
        idle_mark_ms: 0,
        scrub_bytes_per_s: 0,
        segment_bytes: 24 << 10,
        batch_bytes_max: 8 << 10,
        tail_cache_bytes_max: 0,
        verify,
        ..WalConfig::default()
    }
}

/// Where logs are written without a thread: a run costs no start of one, and a seed says all of it.
pub struct Stage {
    stepper: Rc<RefCell<Option<Stepper>>>,
    _simulation: Simulation,
}

impl Stage {
    /// `seed`: of the salts, so another one for each life of a log.
    pub fn new(seed: u64) -> Self {
        let stepper = Rc::new(RefCell::new(None));
        let newest = Rc::clone(&stepper);
        let drive = Box::new(move |opened| drop(newest.replace(Some(opened))));
        Self {
            stepper,
            _simulation: simulate(seed, drive),
        }
    }

    /// Lets the newest log do all that it has to do.
    pub fn run(&self) {
        if let Some(stepper) = &mut *self.stepper.borrow_mut() {
            while stepper.step() {}
        }
    }

    pub fn answer(&self, call: impl FnOnce(Done)) -> Result<(), Error> {
        let (tx, rx) = std::sync::mpsc::sync_channel(1);
        call(Box::new(move |result| drop(tx.send(result))));
        self.run();
        rx.try_recv().expect("everybody is answered")
    }

    fn wait(&self, call: impl FnOnce(Done)) {
        self.answer(call).expect("nothing fails here");
    }
}

/// Its payload says its index: one that stands in another's place is noticed.
pub fn entry(term: u64, index: u64, len: usize) -> Entry {
    let id = LogId {
        term: Term(term),
        node: NodeId(1),
        index: Index(index),
    };
    Entry {
        id,
        kind: EntryKind::Command,
        payload: Bytes::from(vec![index as u8; len]),
    }
}

/// What is appended to a damaged log.
pub fn more(term: u64, index: u64) -> Entry {
    entry(term, index, 20)
}

/// All that was ever written under an index, the newest last.
pub fn written(index: u64) -> Vec<Entry> {
    let of = |lives: &[(u64, usize)]| {
        let lives = lives.iter();
        lives.map(|(term, len)| entry(*term, index, *len)).collect()
    };
    match index {
        1..=5 => of(&[(1, 9)]),
        6 => of(&[(1, 9), (2, 700)]),
        7..=9 => of(&[(2, 700)]),
        10..=12 => of(&[(2, 5)]),
        _ => Vec::new(),
    }
}

/// Whether somebody wrote this very entry, before the damage or after it.
pub fn was_written(entry: &Entry) -> bool {
    let (term, index) = (entry.id.term.0, entry.id.index.0);
    *entry == more(term, index) || written(index).contains(entry)
}

/// A log with votes, truncated, purged and recycled parts; `is_closed`: it ended in order.
pub fn log(is_closed: bool) -> FaultDisk {
    let stage = Stage::new(1);
    let disk = FaultDisk::new();
    let (wal, _) =
        Wal::open(Arc::new(disk.clone()), dir(), &config(Verify::Full)).expect("a new log");
    let id = |term, index| entry(term, index, 0).id;
    stage.wait(|done| {
        wal.save_vote(
            Vote {
                term: Term(1),
                node: NodeId(1),
                is_committed: true,
            },
            done,
        )
    });
    for index in 1..=6 {
        stage.wait(|done| wal.append(vec![entry(1, index, 9)], done));
    }
    stage.wait(|done| wal.purge(id(1, 3), done));
    stage.wait(|done| wal.truncate_after(Some(id(1, 5)), done));
    stage.wait(|done| wal.append((6..=9).map(|index| entry(2, index, 700)).collect(), done));
    stage.wait(|done| wal.append((10..=12).map(|index| entry(2, index, 5)).collect(), done));
    if is_closed {
        wal.close().expect("it closes");
    }
    disk.copy()
}

pub fn files(disk: &FaultDisk) -> Vec<PathBuf> {
    let mut files = disk.list(dir()).unwrap_or_default();
    files.retain(|path| disk.len(path).is_some());
    files
}

/// Puts a whole file in place.
pub fn put(disk: &FaultDisk, path: &Path, bytes: &[u8]) {
    let file = disk
        .open(path, Open::CreateOrTruncate)
        .expect("the directory is there");
    file.write_at(bytes, 0).expect("a disk without faults");
}

fn set(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(room) = bytes.get_mut(at..at + 4) {
        room.copy_from_slice(&value.to_le_bytes());
    }
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    let field = bytes
        .get(at..at + 4)
        .and_then(|field| field.try_into().ok());
    field.map_or(0, |field| u32::from_le_bytes(field) as usize)
}

/// Puts the crcs of all records of a body right.
pub fn mend_records(salt: &[u8], body: &mut [u8]) {
    let mut at = 0;
    while at + 32 <= body.len() {
        let len = u32_at(body, at + 4);
        let Some(end) = (at + 32).checked_add(len).filter(|end| *end <= body.len()) else {
            return;
        };
        let crc = crc32fast::hash(&[salt, &body[at..at + 28], &body[at + 32..end]].concat());
        set(body, at + 28, crc);
        at = end.next_multiple_of(8);
    }
}

/// Puts all crcs of a file right; `has_chain`: the chain from batch to batch too.
pub fn mend(path: &Path, bytes: &mut [u8], has_chain: bool) {
    if path.extension().is_none_or(|it| it != "seg") {
        if bytes.len() >= BLOCK {
            let crc = crc32fast::hash(&bytes[..BLOCK - 4]);
            set(bytes, BLOCK - 4, crc);
        }
        return;
    }
    for copy in bytes
        .chunks_mut(BLOCK)
        .take(2)
        .filter(|copy| copy.len() == BLOCK)
    {
        let crc = crc32fast::hash(&copy[..BLOCK - 4]);
        set(copy, BLOCK - 4, crc);
    }
    let Some(salt) = bytes.get(40..48).map(<[u8]>::to_vec) else {
        return;
    };
    let mut chain = u32_at(bytes, 64) as u32;
    let mut at = 2 * BLOCK;
    while at + BLOCK <= bytes.len() {
        if &bytes[at..at + 4] == b"fspF" {
            let crc = crc32fast::hash(&bytes[at + 8..]);
            set(bytes, at + 4, crc);
        }
        if &bytes[at..at + 4] != b"fspB" {
            at += BLOCK;
            continue;
        }
        let len = u32_at(bytes, at + 44).min(bytes.len() - at - 64);
        let body = &mut bytes[at + 64..at + 64 + len];
        mend_records(&salt, body);
        let crc = crc32fast::hash(body);
        set(bytes, at + 48, crc);
        if has_chain {
            set(bytes, at + 52, chain);
        }
        chain = crc32fast::hash(&bytes[at + 8..at + 64]);
        set(bytes, at + 4, chain);
        at += (64 + len).next_multiple_of(BLOCK);
    }
}
