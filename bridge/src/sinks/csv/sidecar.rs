//! A sheet's cursor, beside it: how many of the sheet's bytes are ours, and up to where in the log.
//!
//! ```text
//! line   ├ crc32 of the JSON, 8 hex digits ─┼ space ─┼ JSON, one line ─┼ LF ─┤
//! file   ├ Head ─┼ Mark ─┼ Mark ─┼ Mark … ─┤   each Mark holds alone; the last whole one counts
//! ```
//! Holds: a mark is appended, and synced, only after the sheet's bytes that it speaks of are
//! synced. A line that is not whole ends the file: it can only be one that nobody relied on.
//! Opening a sheet begins a new one: what was read may be in the system's cache and nowhere else,
//! after a sync that failed.
//! Why lines and not one value replaced: one sync a batch, where a replacement costs three. The
//! file is begun anew, by rename, when it has grown.

use std::io;

use serde::{Deserialize, Serialize};

use super::cells::Column;
use super::names::Names;
use crate::files::{Files, How, OpenFile, Stat};
use crate::record::Position;

/// The version of this layout. Another one is not read.
const VERSION: u32 = 1;
/// When it is begun anew: some 250 marks.
const SIDECAR_BYTES_MAX: u64 = 64 << 10;
/// Whatever a power cut tore in bytes that were synced long before lies within these: a disk
/// writes no larger piece at once.
pub(super) const LAST_BYTES: u64 = 64 << 10;
/// A file this large is not one of ours.
const READ_BYTES_MAX: u64 = 16 << 20;

/// Whose sheet it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) version: u32,
    pub(super) cluster: String,
    pub(super) task: String,
    pub(super) form: String,
    pub(super) incarnation: u64,
}

impl Head {
    pub(super) fn new(cluster: &str, task: &str, form: &str, incarnation: u64) -> Self {
        Self {
            version: VERSION,
            cluster: cluster.to_owned(),
            task: task.to_owned(),
            form: form.to_owned(),
            incarnation,
        }
    }

    /// True if `self` is of a later life of the same lane than `other`.
    pub(super) fn is_later_than(&self, other: &Self) -> bool {
        let same = Self {
            incarnation: other.incarnation,
            ..self.clone()
        };
        same == *other && self.incarnation > other.incarnation
    }
}

/// How far the sheet is ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Everything up to here is in the sheet; `None` while it holds no record.
    pub(super) position: Option<Position>,
    /// The last row's seq; 0 while there is none.
    pub(super) seq: u64,
    /// The last row's id: tells it from another that stands at its position in another log.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) id: Option<String>,
    /// The sheet's bytes that are ours; what stands behind them is not.
    pub(super) length: u64,
    /// Of all of them.
    pub(super) crc: u32,
    /// Of the last [`LAST_BYTES`]: enough to look at when the file is the one that was left.
    pub(super) last_crc: u32,
    /// The file as it was left.
    pub(super) modified_ns: i64,
    pub(super) inode: u64,
    /// The sheet was written anew, and takes its name only after this mark is durable: until
    /// then the mark before this one holds.
    pub(super) is_swap: bool,
    /// The columns from here on, where they have changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) columns: Option<Vec<Column>>,
}

impl Mark {
    /// What `stat` says if nobody has touched the sheet since.
    pub(super) fn left(&self) -> Stat {
        Stat {
            len: self.length,
            modified_ns: self.modified_ns,
            inode: self.inode,
        }
    }
}

/// What a sidecar said.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) head: Head,
    /// The last mark, and the one before if the last is a swap: newest first, columns filled in.
    pub(super) marks: Vec<Mark>,
}

/// An open sidecar, ready for the next mark.
#[derive(Debug)]
pub(super) struct Sidecar {
    file: Box<dyn OpenFile>,
    len: u64,
    head: Head,
    columns: Vec<Column>,
}

impl Sidecar {
    /// What the sidecar says; `None` if there is none, or none that says anything.
    pub(super) fn read(files: &dyn Files, names: &Names) -> io::Result<Option<Known>> {
        let Some(stat) = files.stat(&names.sidecar)? else {
            return Ok(None);
        };
        if stat.len > READ_BYTES_MAX {
            return Ok(None);
        }
        let bytes = read_whole(&*files.open(&names.sidecar, How::Read)?, stat.len)?;
        Ok(parse(&bytes))
    }

    /// A new sidecar in the place of any other, durable when it returns. `mark` must name its
    /// columns.
    pub(super) fn create(
        files: &dyn Files,
        names: &Names,
        head: &Head,
        mark: &Mark,
    ) -> io::Result<Self> {
        assert!(
            mark.columns.is_some(),
            "a sidecar's first mark names the columns"
        );
        let mut lines = line(head)?;
        lines.extend(line(mark)?);
        let mut file = files.open(&names.sidecar_new, How::Create)?;
        file.write_at(&lines, 0)?;
        file.sync()?;
        files.rename(&names.sidecar_new, &names.sidecar)?;
        files.sync_dir(&names.dir)?;
        Ok(Self {
            file,
            len: wide(lines.len()),
            head: head.clone(),
            columns: mark.columns.clone().unwrap_or_default(),
        })
    }

    /// Adds a mark, durable when it returns: one sync. After an error this sidecar is not used
    /// any more; whether the mark is there is read when it is opened again.
    pub(super) fn append(
        &mut self,
        files: &dyn Files,
        names: &Names,
        mark: &Mark,
    ) -> io::Result<()> {
        if let Some(columns) = &mark.columns {
            self.columns.clone_from(columns);
        }
        if self.len > SIDECAR_BYTES_MAX && !mark.is_swap {
            let whole = Mark {
                columns: Some(self.columns.clone()),
                ..mark.clone()
            };
            *self = Self::create(files, names, &self.head, &whole)?;
            return Ok(());
        }
        let line = line(mark)?;
        self.file.write_at(&line, self.len)?;
        self.file.sync()?;
        self.len += wide(line.len());
        Ok(())
    }
}

fn line<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(value)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes())
}

/// The JSON of a whole line.
fn unline(line: &[u8]) -> Option<&[u8]> {
    let (crc, json) = line.split_at_checked(8)?;
    let json = json.strip_prefix(b" ")?;
    let crc = u32::from_str_radix(std::str::from_utf8(crc).ok()?, 16).ok()?;
    (crc == crc32fast::hash(json)).then_some(json)
}

fn parse(bytes: &[u8]) -> Option<Known> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let whole = |line: &[u8]| unline(line.strip_suffix(b"\n")?).map(<[u8]>::to_vec);
    let first = lines.next()?;
    let head: Head = serde_json::from_slice(&whole(first)?).ok()?;
    if head.version != VERSION {
        return None;
    }
    let mut known = Known {
        head,
        marks: Vec::new(),
    };
    let mut columns: Option<Vec<Column>> = None;
    for text in lines {
        let mark = whole(text).and_then(|json| serde_json::from_slice::<Mark>(&json).ok());
        let Some(mut mark) = mark else {
            break;
        };
        if let Some(named) = mark.columns.take() {
            columns = Some(named);
        }
        mark.columns = Some(columns.clone()?);
        known.marks.insert(0, mark);
        let held = known
            .marks
            .first()
            .map_or(0, |last| if last.is_swap { 2 } else { 1 });
        known.marks.truncate(held);
    }
    Some(known)
}

/// The first `len` bytes of a file, or fewer if it has shrunk.
fn read_whole(file: &dyn OpenFile, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, wide(filled))? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

pub(super) fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// The crc of a range of a file; `None` if the file ends within it.
pub(super) fn crc_of(file: &dyn OpenFile, from: u64, to: u64) -> io::Result<Option<u32>> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 64 << 10];
    let mut at = from;
    while at < to {
        let room = usize::try_from(to - at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(part) = buffer.get_mut(..room) else {
            break;
        };
        let read = file.read_at(part, at)?;
        if read == 0 {
            return Ok(None);
        }
        hasher.update(part.get(..read).unwrap_or_default());
        at += wide(read);
    }
    Ok(Some(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(seq: u64, is_swap: bool) -> Mark {
        Mark {
            position: Some(Position {
                index: seq,
                slot: 0,
            }),
            seq,
            id: None,
            length: seq * 10,
            crc: 1,
            last_crc: 2,
            modified_ns: 3,
            inode: 4,
            is_swap,
            columns: None,
        }
    }

    fn lines(marks: &[Mark]) -> Vec<u8> {
        let head = Head::new("c", "t", "f", 7);
        let mut bytes = line(&head).unwrap();
        for (at, mark) in marks.iter().enumerate() {
            let columns = (at == 0).then(|| vec![Column::Field("a".to_owned())]);
            bytes.extend(
                line(&Mark {
                    columns,
                    ..mark.clone()
                })
                .unwrap(),
            );
        }
        bytes
    }

    #[test]
    fn the_last_whole_mark_counts_wherever_the_file_is_torn() {
        let whole = lines(&[mark(1, false), mark(2, false)]);
        let second_begins = lines(&[mark(1, false)]).len();
        let first_begins = lines(&[]).len();
        for cut in 0..=whole.len() {
            let known = parse(&whole[..cut]);
            let seq = known.and_then(|known| known.marks.first().map(|mark| mark.seq));
            let expected = match cut {
                _ if cut == whole.len() => Some(2),
                _ if cut >= second_begins => Some(1),
                _ => None,
            };
            assert_eq!(seq, expected, "cut at {cut}, first mark at {first_begins}");
        }
    }

    #[test]
    fn a_swap_keeps_the_mark_before_it() {
        let known = parse(&lines(&[mark(1, false), mark(2, false), mark(3, true)])).unwrap();
        let seqs: Vec<u64> = known.marks.iter().map(|mark| mark.seq).collect();
        assert_eq!(seqs, [3, 2]);
        assert!(known.marks.iter().all(|mark| mark.columns.is_some()));
        let known = parse(&lines(&[mark(1, false), mark(3, true), mark(4, false)])).unwrap();
        assert_eq!(known.marks.len(), 1);
    }

    #[test]
    fn a_later_life_is_told_from_another_lane() {
        let ours = Head::new("c", "t", "f", 7);
        assert!(Head::new("c", "t", "f", 8).is_later_than(&ours));
        assert!(!Head::new("c", "t", "f", 6).is_later_than(&ours));
        assert!(!Head::new("d", "t", "f", 8).is_later_than(&ours));
    }
}
