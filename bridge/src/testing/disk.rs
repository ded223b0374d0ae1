//! What is on a disk in memory: as readers see it, and as a power cut leaves it.
//!
//! ```text
//! file    durable: what a power cut leaves    now: what readers see    dirty: sectors to sync
//! names   durable, and a list of changes since the directory's last sync
//! ```
//! Holds: at a power cut, each dirty sector is independently old or new, and, where it holds
//! nothing that was synced (or on a disk that tears), zero or garbage; a file's length is the old
//! or the new one; of a directory's changes a prefix stays. A sync that fails loses the dirty
//! sectors, as kernels do: a second sync says yes and brings nothing back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::files::{Break, Sectors};
use crate::files::Stat;

const SECTOR: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) names: BTreeMap<PathBuf, u64>,
    pub(super) durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names since they were last made durable, oldest first.
    pub(super) changes: Vec<(PathBuf, Change)>,
    pub(super) operations: u64,
    pub(super) breaks: BTreeMap<u64, Break>,
    pub(super) is_off: bool,
    pub(super) clock_ns: i64,
    pub(super) inodes: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Link(u64),
    Unlink,
    /// To this name.
    Rename(PathBuf),
}

#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) durable: Vec<u8>,
    pub(super) now: Vec<u8>,
    pub(super) dirty: BTreeSet<usize>,
    pub(super) is_len_dirty: bool,
    pub(super) modified_ns: i64,
    /// As it was when it was last synced.
    pub(super) durable_modified_ns: i64,
}

impl Change {
    pub(super) fn apply(&self, path: &Path, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Link(inode) => {
                names.insert(path.to_path_buf(), *inode);
            }
            Self::Unlink => {
                names.remove(path);
            }
            Self::Rename(to) => {
                if let Some(inode) = names.remove(path) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl Disk {
    /// Counts one operation that changes something, and breaks it if it is to be broken.
    pub(super) fn operate<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> io::Result<T> {
        let broken = self.breaks.remove(&self.operations);
        if self.is_off {
            return Err(io::Error::other("the power is off"));
        }
        self.operations += 1;
        self.clock_ns += 1;
        match broken {
            None => Ok(work(self)),
            Some(Break::PowerBefore) => {
                self.is_off = true;
                Err(io::Error::other("the power is off"))
            }
            Some(Break::PowerAfter) => {
                work(self);
                self.is_off = true;
                Err(io::Error::other("the power is off"))
            }
            Some(Break::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(Break::Fail) => Err(io::Error::other("failed as told")),
        }
    }

    pub(super) fn change(&mut self, path: &Path, change: Change) {
        change.apply(path, &mut self.names);
        self.changes.push((path.to_path_buf(), change));
    }

    pub(super) fn stat(&self, inode: u64) -> io::Result<Stat> {
        let node = self.nodes.get(&inode).ok_or(io::ErrorKind::NotFound)?;
        let len = u64::try_from(node.now.len()).map_err(io::Error::other)?;
        Ok(Stat {
            len,
            modified_ns: node.modified_ns,
            inode,
        })
    }
}

impl Node {
    pub(super) fn touch(&mut self, from: usize, to: usize) {
        self.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
    }

    pub(super) fn sync(&mut self) {
        if self.is_len_dirty {
            self.durable.resize(self.now.len(), 0);
            self.is_len_dirty = false;
        }
        for sector in std::mem::take(&mut self.dirty) {
            self.keep(sector);
        }
        self.durable_modified_ns = self.modified_ns;
    }

    pub(super) fn keep(&mut self, sector: usize) {
        let from = sector * SECTOR;
        let to = (from + SECTOR).min(self.now.len()).min(self.durable.len());
        if let (Some(new), Some(old)) = (self.now.get(from..to), self.durable.get_mut(from..to)) {
            old.copy_from_slice(new);
        }
    }

    pub(super) fn cut(&mut self, sectors: Sectors, die: &mut Die) {
        let synced = self.durable.len();
        if std::mem::take(&mut self.is_len_dirty) && die.below(2) == 0 {
            self.durable.resize(self.now.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty) {
            let from = sector * SECTOR;
            let to = (from + SECTOR).min(self.durable.len());
            let is_whole = sectors == Sectors::Atomic && from < synced;
            match die.below(if is_whole { 2 } else { 4 }) {
                0 => {}
                1 => self.keep(sector),
                2 => self.durable.get_mut(from..to).unwrap_or_default().fill(0),
                _ => {
                    for byte in self.durable.get_mut(from..to).unwrap_or_default() {
                        *byte = u8::try_from(die.below(256)).unwrap_or_default();
                    }
                }
            }
        }
        if die.below(2) == 0 {
            self.modified_ns = self.durable_modified_ns;
        }
        self.now.clone_from(&self.durable);
    }
}

impl Disk {
    pub(super) fn create(&mut self, path: &Path, there: Option<u64>) -> u64 {
        let modified_ns = self.clock_ns;
        if let Some(inode) = there {
            if let Some(node) = self.nodes.get_mut(&inode) {
                node.now.clear();
                node.is_len_dirty = true;
                node.modified_ns = modified_ns;
            }
            return inode;
        }
        self.inodes += 1;
        let inode = self.inodes;
        self.nodes.insert(
            inode,
            Node {
                modified_ns,
                ..Node::default()
            },
        );
        self.change(path, Change::Link(inode));
        inode
    }
}

pub(super) fn dir_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// A small seeded die.
pub(super) struct Die(pub(super) u64);

impl Die {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let rolled = usize::try_from(self.0 >> 33).unwrap_or_default();
        rolled % end.max(1)
    }
}
