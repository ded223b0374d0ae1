//! The log's files as `storage/FORMAT.md` draws them, read to be damaged: where batches and
//! records lie, and what is whole of them.
//!
//! Holds: nothing is believed but the drawing. No crc is checked: these files are read when their
//! writer was just killed, and a batch without the segment's secret salt is none.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::dice::Dice;

const BLOCK: usize = 4096;
const FIRST_BATCH: usize = 8192;
const BATCH_HEADER: usize = 64;
const RECORD_HEADER: usize = 32;
const ENTRY: u8 = 1;
const TRUNCATE: u8 = 3;

#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    batches: Vec<Batch>,
}

#[derive(Debug)]
struct Batch {
    offset: usize,
    end: usize,
    records: Vec<Record>,
}

/// Entries, and what drops them; the rest is passed over.
#[derive(Clone, Copy, Debug)]
struct Record {
    kind: u8,
    flags: u8,
    offset: usize,
    payload_len: usize,
    index: u64,
}

/// What was done to the files.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    /// File, place and what lay there.
    pub(crate) words: String,
    /// Entries that are no longer whole.
    pub(crate) entries: usize,
    /// The last entry that is whole.
    pub(crate) end: u64,
}

/// All segments below the data directory, the oldest first.
pub(crate) fn read(data: &Path) -> anyhow::Result<Vec<Segment>> {
    let directory = data.join("wal");
    let entries = std::fs::read_dir(&directory);
    let entries = entries.with_context(|| format!("no log in {}", directory.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "seg") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.into_iter().map(Segment::read).collect()
}

/// The last entry that is there, whole, with all that was dropped taken off.
fn last_index(segments: &[Segment]) -> u64 {
    let batches = segments.iter().flat_map(|segment| &segment.batches);
    let records = batches.flat_map(|batch| &batch.records);
    records.fold(0, |last, record| match (record.kind, record.flags) {
        (ENTRY, _) => record.index,
        (TRUNCATE, 1) => 0,
        _ => last.min(record.index),
    })
}

/// One bit of an entry's payload in a segment that is not written to any more. `None`: there is
/// none yet.
pub(crate) fn flip_sealed(segments: &[Segment], dice: &mut Dice) -> anyhow::Result<Option<Damage>> {
    let sealed = segments.split_last().map_or(&[][..], |(_, sealed)| sealed);
    let all = sealed.iter().flat_map(|segment| {
        let records = segment.batches.iter().flat_map(|batch| &batch.records);
        records.map(move |record| (segment, record))
    });
    let entries = all.filter(|(_, record)| record.kind == ENTRY && record.payload_len > 0);
    let entries = entries.collect::<Vec<_>>();
    let Some((segment, record)) = pick(&entries, dice) else {
        return Ok(None);
    };
    segment.flip(record, dice, last_index(segments)).map(Some)
}

/// One bit in the last entry that there is.
pub(crate) fn flip_tail(segments: &[Segment], dice: &mut Dice) -> anyhow::Result<Damage> {
    let all = segments.iter().rev().flat_map(|segment| {
        let records = segment.batches.iter().rev();
        let records = records.flat_map(|batch| batch.records.iter().rev());
        records.map(move |record| (segment, record))
    });
    let mut entries = all.filter(|(_, record)| record.kind == ENTRY && record.payload_len > 0);
    let (segment, record) = entries.next().context("a log without entries")?;
    segment.flip(*record, dice, record.index - 1)
}

/// The last batch, as a power cut in the middle of its write leaves it: from somewhere in it on
/// there are zeros.
pub(crate) fn tear(segments: &[Segment], dice: &mut Dice) -> anyhow::Result<Damage> {
    let mut all = segments.iter().rev();
    let last = all.find_map(|segment| Some((segment, segment.batches.last()?)));
    let (segment, batch) = last.context("a log without batches")?;
    let entries = batch.records.iter().filter(|record| record.kind == ENTRY);
    let entries = entries.collect::<Vec<_>>();
    let cut = match (entries.first(), entries.last()) {
        (Some(first), Some(last)) => {
            let room = last.offset + RECORD_HEADER / 2 - first.offset;
            first.offset + usize::try_from(dice.below(u64::try_from(room)?))?
        }
        // A mark, or votes: half of its header is gone.
        _ => batch.offset + BATCH_HEADER / 2,
    };
    let zeros = vec![0; batch.end - cut];
    segment.write(cut, &zeros)?;
    let lost = entries
        .iter()
        .filter(|record| record.offset + RECORD_HEADER + record.payload_len > cut);
    let indexes = lost.map(|record| record.index).collect::<Vec<_>>();
    let first = indexes.first().map_or(u64::MAX, |first| first - 1);
    let (path, end) = (segment.path.display(), last_index(segments).min(first));
    Ok(Damage {
        words: format!("{path}: zeros from byte {cut}, entries {indexes:?}"),
        entries: indexes.len(),
        end,
    })
}

impl Segment {
    fn read(path: PathBuf) -> anyhow::Result<Self> {
        let bytes = std::fs::read(&path)?;
        ensure!(
            bytes.get(..8) == Some(b"formspWL"),
            "{} is no segment as it is drawn",
            path.display()
        );
        let salt = bytes.get(40..48).context("a short segment")?;
        let mut batches = Vec::new();
        let mut at = FIRST_BATCH;
        while let Some(batch) = batch(&bytes, at, salt) {
            at = batch.end;
            batches.push(batch);
        }
        Ok(Self { path, batches })
    }

    fn flip(&self, record: Record, dice: &mut Dice, end: u64) -> anyhow::Result<Damage> {
        let len = u64::try_from(record.payload_len)?;
        let at = record.offset + RECORD_HEADER + usize::try_from(dice.below(len))?;
        let bit = dice.below(8);
        let file = std::fs::OpenOptions::new().read(true).open(&self.path)?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, u64::try_from(at)?)?;
        let flipped = byte.map(|byte| byte ^ (1 << bit));
        self.write(at, &flipped)?;
        let (path, index) = (self.path.display(), record.index);
        Ok(Damage {
            words: format!("{path}: bit {bit} of byte {at}, entry {index}"),
            entries: 1,
            end,
        })
    }

    fn write(&self, at: usize, bytes: &[u8]) -> anyhow::Result<()> {
        let file = std::fs::OpenOptions::new().write(true).open(&self.path)?;
        file.write_all_at(bytes, u64::try_from(at)?)?;
        Ok(file.sync_all()?)
    }
}

fn pick<'a, T>(all: &[(&'a T, &Record)], dice: &mut Dice) -> Option<(&'a T, Record)> {
    let len = u64::try_from(all.len()).ok()?;
    let (owner, record) = all.get(usize::try_from(dice.below(len)).ok()?)?;
    Some((owner, **record))
}

fn batch(bytes: &[u8], offset: usize, salt: &[u8]) -> Option<Batch> {
    let header = bytes.get(offset..offset + BATCH_HEADER)?;
    if !header.starts_with(b"fspB") || header.get(8..16)? != salt {
        return None;
    }
    let body = offset + BATCH_HEADER..offset + BATCH_HEADER + number(header, 44, 4)?;
    let mut records = Vec::new();
    let mut at = body.start;
    while at + RECORD_HEADER <= body.end {
        let head = bytes.get(at..at + RECORD_HEADER)?;
        let [kind, flags, ..] = *head else {
            return None;
        };
        let payload_len = number(head, 4, 4)?;
        if kind == ENTRY || kind == TRUNCATE {
            records.push(Record {
                kind,
                flags,
                offset: at,
                payload_len,
                index: u64::try_from(number(head, 8, 8)?).ok()?,
            });
        }
        at += (RECORD_HEADER + payload_len).next_multiple_of(8);
    }
    let end = body.end.next_multiple_of(BLOCK);
    Some(Batch {
        offset,
        end,
        records,
    })
}

/// Little-endian.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + len)?.iter().rev();
    let number = bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    usize::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::{
        BATCH_HEADER, BLOCK, RECORD_HEADER, flip_sealed, flip_tail, last_index, read, tear,
    };
    use crate::dice::Dice;

    const SALT: [u8; 8] = *b"saltsalt";

    fn record(kind: u8, index: u64, payload: &[u8]) -> Vec<u8> {
        let mut record = vec![0; RECORD_HEADER];
        record[0] = kind;
        record[4..8].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        record[8..16].copy_from_slice(&index.to_le_bytes());
        record[28..32].fill(7);
        record.extend_from_slice(payload);
        record.resize(record.len().next_multiple_of(8), 0);
        record
    }

    fn batch(records: &[Vec<u8>]) -> Vec<u8> {
        let body = records.concat();
        let mut batch = vec![0; BATCH_HEADER];
        batch[..4].copy_from_slice(b"fspB");
        batch[8..16].copy_from_slice(&SALT);
        batch[44..48].copy_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        batch.extend_from_slice(&body);
        batch.resize(batch.len().next_multiple_of(BLOCK), 0);
        batch
    }

    /// A data directory with these segments.
    fn data(segments: &[&[Vec<u8>]]) -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        std::fs::create_dir(data.path().join("wal")).unwrap();
        for (batches, number) in segments.iter().zip(1..) {
            let mut bytes = vec![0; 2 * BLOCK];
            bytes[..8].copy_from_slice(b"formspWL");
            bytes[40..48].copy_from_slice(&SALT);
            bytes.extend(batches.concat());
            bytes.resize(bytes.len() + 4 * BLOCK, 0);
            let path = data.path().join("wal").join(format!("{number:016}.seg"));
            std::fs::write(path, bytes).unwrap();
        }
        data
    }

    fn three_entries() -> tempfile::TempDir {
        let first = batch(&[record(2, 0, b"a vote"), record(1, 1, b"first")]);
        let second = batch(&[record(1, 2, b"second"), record(1, 3, b"third")]);
        data(&[&[first], &[second]])
    }

    #[test]
    fn entries_count_and_what_drops_them_is_taken_off() {
        let data = three_entries();
        assert_eq!(last_index(&read(data.path()).unwrap()), 3);
        let dropping = batch(&[record(1, 1, b"x"), record(1, 2, b"y"), record(3, 1, b"")]);
        assert_eq!(
            last_index(&read(self::data(&[&[dropping]]).path()).unwrap()),
            1
        );
    }

    #[test]
    fn a_torn_batch_has_lost_its_last_entry_and_nothing_before_it() {
        for seed in 0..50 {
            let data = three_entries();
            let damage = tear(&read(data.path()).unwrap(), &mut Dice::new(seed)).unwrap();
            let torn = read(data.path()).unwrap();
            assert!((1..=2).contains(&damage.entries), "{damage:?}");
            assert_eq!(
                damage.end,
                3 - u64::try_from(damage.entries).unwrap(),
                "{damage:?}"
            );
            assert_eq!(torn[0].batches[0].records.len(), 1, "{damage:?}");
            let bytes = std::fs::read(&torn[1].path).unwrap();
            assert!(!bytes.windows(5).any(|text| text == b"third"), "{damage:?}");
        }
    }

    #[test]
    fn a_torn_mark_is_no_batch_any_more() {
        let entry = batch(&[record(1, 1, b"first")]);
        let data = data(&[&[entry, batch(&[])]]);
        let damage = tear(&read(data.path()).unwrap(), &mut Dice::new(1)).unwrap();
        assert_eq!((damage.entries, damage.end), (0, 1));
        assert_eq!(last_index(&read(data.path()).unwrap()), 1);
    }

    #[test]
    fn one_bit_is_flipped_in_an_older_segment_or_in_the_last_entry() {
        let changed = |path: &std::path::Path, before: &[u8]| {
            let after = std::fs::read(path).unwrap();
            let pairs = before.iter().zip(&after);
            pairs.map(|(a, b)| (a ^ b).count_ones()).sum::<u32>()
        };
        let data = three_entries();
        let segments = read(data.path()).unwrap();
        let paths = [&segments[0].path, &segments[1].path];
        let before = paths.map(|path| std::fs::read(path).unwrap());
        let damage = flip_sealed(&segments, &mut Dice::new(3)).unwrap().unwrap();
        assert!(damage.words.contains("entry 1"), "{damage:?}");
        assert_eq!(
            [changed(paths[0], &before[0]), changed(paths[1], &before[1])],
            [1, 0]
        );
        let damage = flip_tail(&segments, &mut Dice::new(3)).unwrap();
        assert!(damage.words.contains("entry 3"), "{damage:?}");
        assert_eq!(
            [changed(paths[0], &before[0]), changed(paths[1], &before[1])],
            [1, 1]
        );
        let alone = self::data(&[&[batch(&[record(1, 1, b"first")])]]);
        let segments = read(alone.path()).unwrap();
        assert!(flip_sealed(&segments, &mut Dice::new(3)).unwrap().is_none());
    }
}
