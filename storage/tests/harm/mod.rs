//! What the tests of damage share: small logs with a known content, and what an opened log says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::PathBuf;

use storage::{
    Damage, Disk, Error, FaultDisk, Floor, Index, LogId, NodeId, Term, Verify, Vote, Wal, WalConfig,
};

use crate::script::{Answers, Model, dir, entry, id, open, small_config};

pub(crate) const BLOCK: usize = 4096;

/// A log whose content is known, and what each of its blocks held before.
pub(crate) struct Specimen {
    pub(crate) disk: FaultDisk,
    pub(crate) model: Model,
    /// The content without the last call, and how many bytes the files had with it.
    pub(crate) before_last: Model,
    /// By kind of file and number of the block: every content that such a block ever had.
    older: BTreeMap<(bool, usize), BTreeSet<Vec<u8>>>,
}

/// How a specimen's process went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    /// Killed: what it had written is there, and nothing says that it was the end.
    Died,
}

pub(crate) fn vote(term: u64) -> Vote {
    Vote {
        term: Term(term),
        node: NodeId(1),
        is_committed: true,
    }
}

/// One call a time, each a batch of its own.
struct Maker {
    wal: Wal,
    specimen: Specimen,
    answers: Answers,
}

impl Maker {
    fn append(&mut self, term: u64, indexes: std::ops::RangeInclusive<u64>, len: usize) {
        let entries: Vec<_> = indexes.map(|index| entry(id(term, index), len)).collect();
        self.specimen.before_last = self.specimen.model.clone();
        for entry in &entries {
            self.specimen.model.append(entry.clone());
        }
        let done = self.answers.done();
        self.wal.append(entries, done);
        self.note();
    }

    fn vote(&mut self, term: u64) {
        self.specimen.before_last = self.specimen.model.clone();
        self.specimen.model.vote = Some(vote(term));
        let done = self.answers.done();
        self.wal.save_vote(vote(term), done);
        self.note();
    }

    fn truncate_after(&mut self, keep: LogId) {
        self.specimen.before_last = self.specimen.model.clone();
        self.specimen.model.truncate_after(Some(keep));
        let done = self.answers.done();
        self.wal.truncate_after(Some(keep), done);
        self.note();
    }

    fn purge(&mut self, upto: LogId) {
        self.specimen.before_last = self.specimen.model.clone();
        self.specimen.model.purge(upto);
        let done = self.answers.done();
        self.wal.purge(upto, done);
        self.note();
        // The purged files go after the answer; the next answer comes after that.
        let done = self.answers.done();
        self.wal.sync(done);
        self.note();
    }

    fn note(&mut self) {
        let asked = self.answers.asked;
        assert_eq!(asked, self.answers.kept());
        self.specimen.remember();
    }
}

impl Specimen {
    /// Two lives: the second one begins in a sealed log with a purged and recycled file.
    pub(crate) fn new(end: End) -> Self {
        let config = small_config();
        let disk = FaultDisk::new();
        let (wal, _) = open(&disk, &config).unwrap();
        let mut maker = Maker {
            wal,
            specimen: Self {
                disk: disk.clone(),
                model: Model::default(),
                before_last: Model::default(),
                older: BTreeMap::new(),
            },
            answers: Answers::new(),
        };
        maker.vote(1);
        maker.append(1, 1..=3, 20);
        for index in 4..=7 {
            maker.append(1, index..=index, 10);
        }
        // In one file with what it drops: both of them carry entry 7.
        maker.truncate_after(id(1, 6));
        for index in 7..=11 {
            maker.append(2, index..=index, 10);
        }
        maker.purge(id(1, 6));
        maker.vote(2);
        maker.append(2, 12..=14, 1500);
        maker.wal.close().unwrap();
        maker.specimen.remember();
        maker.wal = open(&disk, &config).unwrap().0;
        maker.specimen.remember();
        maker.append(2, 15..=15, 10);
        for index in 16..=22 {
            maker.append(2, index..=index, 10);
        }
        maker.append(2, 23..=24, 10);
        let Maker {
            wal, mut specimen, ..
        } = maker;
        if end == End::Closed {
            wal.close().unwrap();
            specimen.remember();
        }
        specimen.disk = disk.copy();
        specimen
    }

    fn remember(&mut self) {
        for path in self.disk.list(dir()).unwrap() {
            if path.extension().is_none_or(|it| it == "tmp") {
                continue;
            }
            let is_log = is_segment(&path) || !path.to_string_lossy().contains("hardstate");
            let bytes = match self.disk.read(&path) {
                Ok(bytes) => bytes,
                // It became a room since the list was made: a file of another name now.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => panic!("{}: {error}", path.display()),
            };
            for (at, block) in bytes.chunks(BLOCK).enumerate() {
                let seen = self.older.entry((is_log, at)).or_default();
                seen.insert(block.to_vec());
            }
        }
    }

    /// Segments and hardstate.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = self.disk.list(dir()).unwrap();
        files.retain(|path| is_segment(path) || path.to_string_lossy().contains("hardstate"));
        files
    }

    /// What a block at this place ever held, here or in a file whose room this was.
    pub(crate) fn older(&self, path: &std::path::Path, block: usize) -> Vec<Vec<u8>> {
        let seen = self.older.get(&(is_segment(path), block));
        seen.into_iter().flatten().cloned().collect()
    }

    /// The last file, and where its last batch begins.
    pub(crate) fn last_batch(&self) -> (PathBuf, usize) {
        let path = self.files().into_iter().rfind(|path| is_segment(path));
        let path = path.unwrap();
        let bytes = self.disk.read(&path).unwrap();
        let salt = bytes[40..48].to_vec();
        let is_batch =
            |at: &usize| bytes[*at..*at + 4] == *b"fspB" && bytes[*at + 8..*at + 16] == salt;
        let at = (2 * BLOCK..bytes.len()).step_by(BLOCK).filter(is_batch);
        let last = at.max().unwrap();
        (path, last)
    }
}

pub(crate) fn is_segment(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|it| it == "seg")
}

/// What opening and reading everything said.
#[derive(Debug)]
pub(crate) enum Seen {
    Refused(Error),
    Opened {
        content: Result<Model, Error>,
        damage: Vec<Damage>,
        floor: Option<Floor>,
    },
}

pub(crate) fn look(disk: &FaultDisk, config: &WalConfig) -> Seen {
    match open(disk, config) {
        Err(error) => Seen::Refused(error),
        Ok((wal, recovered)) => Seen::Opened {
            content: Model::try_of(&wal),
            damage: recovered.damage,
            floor: recovered.floor,
        },
    }
}

pub(crate) fn config(verify: Verify) -> WalConfig {
    WalConfig {
        verify,
        ..small_config()
    }
}

/// Damage is told as such: never as "busy", "closed" or a bug of the caller.
pub(crate) fn is_told(error: &Error) -> bool {
    matches!(
        error,
        Error::Corrupt { .. } | Error::Damaged { .. } | Error::Version { .. } | Error::Io { .. }
    )
}

/// The floor holds up to this entry at least.
pub(crate) fn holds(floor: Option<Floor>, last: Option<Index>) -> bool {
    match floor {
        None => false,
        Some(Floor::Unknown) => true,
        Some(Floor::Upto(id)) => last <= Some(id.index),
    }
}
