//! The bytes on disk, byte for byte: a log written today opens for ever.
//!
//! The golden segments were made by hand-written numbers and one salt; a change of the format makes
//! a new version and a new file, and the old ones stay here and still have to open.
#![expect(clippy::unwrap_used, reason = "a test")]

mod script;

use std::sync::Arc;

use bytes::Bytes;
use script::{Answers, Model, dir, id, open, small_config};
use storage::{
    Disk, Entry, EntryKind, Error, FaultDisk, Index, NodeId, Open, Term, Vote, WalItem, inspect_wal,
};

/// A file of hex digits: each line is an offset, a colon and the bytes there; zeros are left out.
fn from_hex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let (offset, digits) = line.split_once(':').unwrap();
        let offset = usize::from_str_radix(offset, 16).unwrap();
        let digits: String = digits.split_whitespace().collect();
        if digits.is_empty() {
            bytes.resize(offset, 0);
            continue;
        }
        for (at, pair) in digits.as_bytes().chunks(2).enumerate() {
            let byte = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            let at = offset + at;
            bytes.resize(bytes.len().max(at + 1), 0);
            *bytes.get_mut(at).unwrap() = byte;
        }
    }
    bytes
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for (at, line) in bytes.chunks(16).enumerate() {
        if line.iter().any(|byte| *byte != 0) {
            let digits: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{:06x}: {}", at * 16, digits.join(" ")).unwrap();
        }
    }
    writeln!(text, "{:06x}:", bytes.len()).unwrap();
    text
}

fn first_segment() -> std::path::PathBuf {
    dir().join("0000000000000001.seg")
}

fn disk_with(segment: &[u8]) -> FaultDisk {
    let disk = FaultDisk::new();
    disk.create_dir_all(dir()).unwrap();
    let file = disk.open(&first_segment(), Open::Create).unwrap();
    file.write_at(segment, 0).unwrap();
    disk
}

fn entry(index: u64, kind: EntryKind, payload: &'static [u8]) -> Entry {
    Entry {
        id: id(2, index),
        kind,
        payload: Bytes::from_static(payload),
    }
}

fn vote() -> Vote {
    Vote {
        term: Term(2),
        node: NodeId(1),
        is_committed: true,
    }
}

/// What the golden log of version 1 holds.
fn golden() -> Model {
    let mut model = Model {
        vote: Some(vote()),
        ..Model::default()
    };
    model.append(entry(1, EntryKind::Membership, b"members"));
    model.append(entry(2, EntryKind::Blank, b""));
    model.append(entry(3, EntryKind::Command, b"a command that lasts"));
    model.truncate_after(Some(id(2, 2)));
    model.append(entry(3, EntryKind::Command, b"its successor"));
    model.purge(id(2, 1));
    model
}

/// Writes the log that `golden` describes: one batch a call.
fn write_golden(disk: &FaultDisk) {
    let (wal, _) = open(disk, &small_config()).unwrap();
    let mut answers = Answers::new();
    wal.save_vote(vote(), answers.done());
    answers.wait();
    let entries = vec![
        entry(1, EntryKind::Membership, b"members"),
        entry(2, EntryKind::Blank, b""),
        entry(3, EntryKind::Command, b"a command that lasts"),
    ];
    wal.append(entries, answers.done());
    answers.wait();
    wal.truncate_after(Some(id(2, 2)), answers.done());
    answers.wait();
    wal.append(
        vec![entry(3, EntryKind::Command, b"its successor")],
        answers.done(),
    );
    answers.wait();
    wal.save_committed(id(2, 2));
    wal.purge(id(2, 1), answers.done());
    assert_eq!(5, answers.kept());
    wal.close().unwrap();
}

#[test]
fn a_log_of_version_1_opens_and_holds_what_it_held() {
    let segment = from_hex(include_str!("testdata/wal-v1.hex"));
    let disk = disk_with(&segment);
    let (wal, recovered) = open(&disk, &small_config()).unwrap();
    assert_eq!(golden(), Model::of(&wal));
    assert_eq!(golden().next(), recovered.last.unwrap().index.next());
    assert_eq!(Some(id(2, 2)), recovered.committed);
    assert!(recovered.damage.is_empty() && recovered.floor.is_none());
    assert!(!recovered.is_new);
    assert_eq!(
        segment,
        disk.read(&first_segment()).unwrap(),
        "an old file is never edited"
    );
}

/// Everything but uuid, salt and the crcs that hang on them is what it was.
#[test]
fn the_same_calls_still_write_the_same_bytes() {
    let disk = FaultDisk::new();
    write_golden(&disk);
    let now = disk.read(&first_segment()).unwrap();
    let then = from_hex(include_str!("testdata/wal-v2.hex"));
    assert_eq!(then.len(), now.len(), "{}", to_hex(&now));
    let mut is_free = vec![false; now.len()];
    let mut free = |at: usize, len: usize| {
        is_free
            .iter_mut()
            .skip(at)
            .take(len)
            .for_each(|byte| *byte = true);
    };
    for copy in [0, 4096] {
        free(copy + 16, 16); // uuid
        free(copy + 40, 8); // salt
        free(copy + 4092, 4); // crc
    }
    let mut at = 8192;
    while now.get(at..at + 4) == Some(b"fspB") {
        free(at + 4, 12); // crc, salt
        free(at + 48, 8); // crc of the body, chain
        let body_len = u32::from_le_bytes(now.get(at + 44..at + 48).unwrap().try_into().unwrap());
        let end = at + 64 + usize::try_from(body_len).unwrap();
        let mut record = at + 64;
        while record < end {
            free(record + 28, 4);
            let len =
                u32::from_le_bytes(now.get(record + 4..record + 8).unwrap().try_into().unwrap());
            record += 32 + usize::try_from(len).unwrap().next_multiple_of(8);
        }
        at = end.next_multiple_of(4096);
    }
    for (at, (then, now)) in then.iter().zip(&now).enumerate() {
        assert!(
            is_free.get(at) == Some(&true) || then == now,
            "byte {at:06x}: {then} {now}"
        );
    }
}

fn hardstates() -> [std::path::PathBuf; 2] {
    [dir().join("hardstate.0"), dir().join("hardstate.1")]
}

#[test]
fn a_log_of_version_2_opens_and_holds_what_it_held() {
    let segment = from_hex(include_str!("testdata/wal-v2.hex"));
    let disk = disk_with(&segment);
    let hard = [
        from_hex(include_str!("testdata/hardstate-v1.0.hex")),
        from_hex(include_str!("testdata/hardstate-v1.1.hex")),
    ];
    for (path, bytes) in hardstates().iter().zip(&hard) {
        let file = disk.open(path, Open::Create).unwrap();
        file.write_at(bytes, 0).unwrap();
    }
    let (wal, recovered) = open(&disk, &small_config()).unwrap();
    assert_eq!(golden(), Model::of(&wal));
    assert_eq!(Some(id(2, 2)), recovered.committed);
    assert!(recovered.damage.is_empty() && recovered.floor.is_none());
    drop(wal);
    let now = disk.read(&first_segment()).unwrap();
    assert_eq!(
        segment.get(..28_672),
        now.get(..28_672),
        "what is written is never edited; a footer may be added"
    );
}

#[test]
fn a_newer_version_is_refused_by_its_name_and_not_called_damage() {
    let mut segment = from_hex(include_str!("testdata/wal-v1.hex"));
    for copy in [0, 4096] {
        *segment.get_mut(copy + 8).unwrap() = 3;
    }
    let opened = open(&disk_with(&segment), &small_config());
    assert!(
        matches!(
            opened,
            Err(Error::Version {
                found: 3,
                known: 2,
                ..
            })
        ),
        "{opened:?}"
    );
}

#[test]
fn one_whole_copy_of_a_header_is_enough_and_none_is_damage() {
    let good = from_hex(include_str!("testdata/wal-v1.hex"));
    for copy in [0, 4096] {
        let mut segment = good.clone();
        *segment.get_mut(copy + 45).unwrap() ^= 1;
        let (wal, _) = open(&disk_with(&segment), &small_config()).unwrap();
        assert_eq!(golden(), Model::of(&wal));
        *segment.get_mut(4096 - copy + 45).unwrap() ^= 1;
        let opened = open(&disk_with(&segment), &small_config());
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
    }
}

/// A payload that looks like a batch cannot be taken for one: it does not know the salt.
#[test]
fn a_batch_forged_inside_a_payload_proves_nothing() {
    let segment = from_hex(include_str!("testdata/wal-v1.hex"));
    let last = segment.get(0x7000..0x8000).unwrap(); // "everything up to batch 5 is synced"
    let forged = last.repeat(4);
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &small_config()).unwrap();
    let mut answers = Answers::new();
    wal.append(vec![script::entry(id(2, 1), 100)], answers.done());
    answers.wait();
    // Header and record take 96 bytes: the forged headers are put where blocks begin.
    let payload = [vec![0; 4096 - 96], forged].concat();
    let evil = Entry {
        id: id(2, 2),
        kind: EntryKind::Command,
        payload: payload.into(),
    };
    wal.append(vec![evil], answers.done());
    answers.wait();
    // It is larger than a segment of these settings, so it lies in one of its own.
    let torn = disk.copy();
    assert!(torn.flip(&dir().join("0000000000000002.seg"), 8192 + 70, 1));
    let (_, recovered) = open(&torn, &small_config()).unwrap();
    assert_eq!(1, recovered.damage.len(), "{recovered:?}");
    assert_eq!(Some(Index(1)), recovered.last.map(|last| last.index));
}

#[test]
fn a_walk_shows_what_was_written_in_its_order() {
    let disk = disk_with(&from_hex(include_str!("testdata/wal-v1.hex")));
    let mut items = Vec::new();
    inspect_wal(Arc::new(disk), dir(), &mut |item| items.push(item)).unwrap();
    let words: Vec<String> = items
        .iter()
        .map(|item| match item {
            WalItem::Segment {
                id, first_batch, ..
            } => format!("segment {id} from {first_batch}"),
            WalItem::Batch {
                seq,
                records,
                synced_upto,
                ..
            } => {
                format!("batch {seq}: {records} after {synced_upto}")
            }
            WalItem::Entry(entry) => format!("entry {} {:?}", entry.id, entry.kind),
            WalItem::Vote(vote) => format!("vote {}", vote.term),
            WalItem::TruncateAfter(keep) => format!("truncate after {}", keep.unwrap()),
            WalItem::Purge(upto) => format!("purge {upto}"),
            WalItem::Committed(id) => format!("committed {id}"),
            WalItem::HardState(state) => format!("hardstate {}", state.generation),
            WalItem::Repaired(entry) => format!("repaired {}", entry.id),
            WalItem::Footer { end, points } => format!("footer {end} {points}"),
            WalItem::Damage { what, .. } => format!("damage {what}"),
        })
        .collect();
    let expected = [
        "segment 1 from 1",
        "batch 1: 1 after 0",
        "vote 2",
        "batch 2: 3 after 1",
        "entry 2.1.1 Membership",
        "entry 2.1.2 Blank",
        "entry 2.1.3 Command",
        "batch 3: 1 after 2",
        "truncate after 2.1.2",
        "batch 4: 1 after 3",
        "entry 2.1.3 Command",
        "batch 5: 2 after 4",
        "purge 2.1.1",
        "committed 2.1.2",
        "batch 6: 0 after 5",
    ];
    assert_eq!(expected.as_slice(), words);
}
