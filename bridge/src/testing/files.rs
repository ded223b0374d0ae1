//! A disk in memory that forgets what was not synced, and fails where it is told to.
//!
//!
//! Holds: what a power cut leaves, and what a failed sync loses, is `disk.rs`'s to say; every
//! operation that changes something is counted, and can be broken by its number.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Change, Die, Disk, Node, dir_of};
use crate::files::{Files, How, OpenFile, Stat};

/// What goes wrong at one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The power goes before the operation; everything fails until [`MemFiles::restart`].
    PowerBefore,
    /// The power goes after it, before anybody hears of it.
    PowerAfter,
    /// It fails, once, for want of room.
    Full,
    /// It fails, once. A sync that fails has lost what it was to save.
    Fail,
}

/// What a power cut can do to a sector that is being written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sectors {
    /// It is the old or the new one, as disks promise.
    Atomic,
    /// It can be garbage, what was synced in it included.
    Torn,
}

/// A disk in memory. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemFiles {
    disk: Arc<Mutex<Disk>>,
}

impl MemFiles {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations so far that change anything: each is one place to break.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Breaks the `n`th operation from now on, from 0.
    pub fn break_at(&self, n: u64, how: Break) {
        let mut disk = self.lock();
        let at = disk.operations + n;
        disk.breaks.insert(at, how);
    }

    /// Forgets the breaks that have not happened.
    pub fn mend(&self) {
        self.lock().breaks.clear();
    }

    /// True from a power cut to the restart.
    pub fn is_off(&self) -> bool {
        self.lock().is_off
    }

    /// The power is back: what was not durable is there, gone, or garbage, by `seed`.
    pub fn restart(&self, sectors: Sectors, seed: u64) {
        let mut disk = self.lock();
        let mut die = Die(seed);
        disk.breaks.clear();
        disk.is_off = false;
        let changes = std::mem::take(&mut disk.changes);
        let mut names = std::mem::take(&mut disk.durable_names);
        // One prefix a directory, as a journal keeps it.
        let dirs: BTreeSet<PathBuf> = changes.iter().map(|(path, _)| dir_of(path)).collect();
        for dir in dirs {
            let of_dir: Vec<_> = changes
                .iter()
                .filter(|(path, _)| dir_of(path) == dir)
                .collect();
            let kept = die.below(of_dir.len() + 1);
            for (path, change) in of_dir.into_iter().take(kept) {
                change.apply(path, &mut names);
            }
        }
        disk.names.clone_from(&names);
        disk.durable_names = names;
        for node in disk.nodes.values_mut() {
            node.cut(sectors, &mut die);
        }
    }

    /// What a file holds now.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.lock();
        let node = disk
            .names
            .get(path)
            .and_then(|inode| disk.nodes.get(inode))?;
        Some(node.now.clone())
    }

    /// All names that end like `end`.
    pub fn names(&self, end: &str) -> Vec<PathBuf> {
        let disk = self.lock();
        let ends = |path: &&PathBuf| path.to_string_lossy().ends_with(end);
        disk.names.keys().filter(ends).cloned().collect()
    }

    /// Somebody writes a file, in place and durably.
    pub fn write(&self, path: &Path, bytes: &[u8]) {
        let mut disk = self.lock();
        disk.clock_ns += 1;
        let modified_ns = disk.clock_ns;
        let there = disk.names.get(path).copied();
        let inode = there.unwrap_or(disk.inodes + 1);
        disk.inodes = disk.inodes.max(inode);
        disk.names.insert(path.to_path_buf(), inode);
        disk.durable_names.insert(path.to_path_buf(), inode);
        let node = Node {
            durable: bytes.to_vec(),
            now: bytes.to_vec(),
            modified_ns,
            durable_modified_ns: modified_ns,
            ..Node::default()
        };
        disk.nodes.insert(inode, node);
    }
}

impl Files for MemFiles {
    fn open(&self, path: &Path, how: How) -> io::Result<Box<dyn OpenFile>> {
        let mut disk = self.lock();
        if disk.is_off {
            return Err(io::Error::other("the power is off"));
        }
        let there = disk.names.get(path).copied();
        let inode = match (how, there) {
            (How::Read | How::Write, Some(inode)) => inode,
            (How::Read | How::Write, None) => return Err(io::ErrorKind::NotFound.into()),
            (How::Create, there) => disk.operate(|disk| disk.create(path, there))?,
        };
        Ok(Box::new(MemFile {
            files: self.clone(),
            inode,
        }))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let disk = self.lock();
        if disk.is_off {
            return Err(io::Error::other("the power is off"));
        }
        disk.names
            .get(path)
            .map(|inode| disk.stat(*inode))
            .transpose()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.lock().operate(|disk| {
            if !disk.names.contains_key(from) {
                return Err(io::ErrorKind::NotFound.into());
            }
            disk.change(from, Change::Rename(to.to_path_buf()));
            Ok(())
        })?
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.lock();
        if disk.is_off {
            return Err(io::Error::other("the power is off"));
        }
        if disk.names.contains_key(path) {
            disk.operate(|disk| disk.change(path, Change::Unlink))?;
        }
        Ok(())
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        if self.is_off() {
            Err(io::Error::other("the power is off"))
        } else {
            Ok(())
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.lock().operate(|disk| {
            let changes = std::mem::take(&mut disk.changes);
            for (path, change) in changes {
                if dir_of(&path) == dir {
                    change.apply(&path, &mut disk.durable_names);
                } else {
                    disk.changes.push((path, change));
                }
            }
        })
    }
}

#[derive(Debug)]
struct MemFile {
    files: MemFiles,
    inode: u64,
}

impl MemFile {
    fn change(&self, work: impl FnOnce(&mut Node)) -> io::Result<()> {
        self.files.lock().operate(|disk| {
            let modified_ns = disk.clock_ns;
            let node = disk
                .nodes
                .get_mut(&self.inode)
                .ok_or(io::ErrorKind::NotFound)?;
            work(node);
            node.modified_ns = modified_ns;
            Ok(())
        })?
    }
}

impl OpenFile for MemFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let disk = self.files.lock();
        if disk.is_off {
            return Err(io::Error::other("the power is off"));
        }
        let node = disk.nodes.get(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let there = node.now.get(from..).unwrap_or_default();
        let read = there.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(there) {
            *to = *from;
        }
        Ok(read)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        self.change(|node| {
            let to = from + bytes.len();
            if to > node.now.len() {
                node.now.resize(to, 0);
                node.is_len_dirty = true;
            }
            if let Some(there) = node.now.get_mut(from..to) {
                there.copy_from_slice(bytes);
            }
            node.touch(from, to);
        })
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.change(|node| {
            node.now.resize(len, 0);
            node.is_len_dirty = true;
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.files.lock();
        let synced = disk.operate(|disk| {
            if let Some(node) = disk.nodes.get_mut(&self.inode) {
                node.sync();
            }
        });
        if synced.is_err()
            && !disk.is_off
            && let Some(node) = disk.nodes.get_mut(&self.inode)
        {
            node.dirty.clear();
        }
        synced
    }

    fn stat(&self) -> io::Result<Stat> {
        self.files.lock().stat(self.inode)
    }
}
