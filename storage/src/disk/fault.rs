//! A disk in memory that tears, loses, refuses and fills up.
//!
//! Holds: what was synced survives [`FaultDisk::power_cut`]; of the rest every 512-byte sector and
//! every name is kept, lost or (a sector) garbled by the seed's will. A failed sync leaves the
//! bytes readable and marks them clean, as kernels do: no later sync makes them durable.

mod platter;
mod seam;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::platter::{Dice, Platter};

/// What goes wrong, and when. Counted from 1 over the disk's whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The n-th operation that changes something is the last one that is carried out.
    DieAfter(u64),
    /// The n-th sync of a file fails, and what it should have made durable is lost at a cut.
    FailSync(u64),
    /// The n-th write fails after half of its bytes.
    TearWrite(u64),
    /// Files may grow by no more than this many bytes from now on.
    Full(u64),
    /// The n-th write says that it was carried out and was not.
    LoseWrite(u64),
    /// The n-th write lands so many bytes behind its place.
    MisdirectWrite(u64, u64),
    /// The n-th read fails.
    FailRead(u64),
    /// No file can be opened past the cache.
    NoDirect,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct FaultDisk {
    sim: Arc<Mutex<Sim>>,
}

#[derive(Clone, Default)]
struct Sim {
    files: BTreeMap<u64, Platter>,
    names: BTreeMap<PathBuf, Name>,
    durable_names: BTreeMap<PathBuf, Name>,
    locked: BTreeSet<PathBuf>,
    faults: Vec<Fault>,
    room: Option<u64>,
    is_dead: bool,
    /// Grows with every cut: what was opened before is worth nothing after.
    life: u64,
    changes: u64,
    writes: u64,
    reads: u64,
    syncs: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Dir,
    File(u64),
}

impl FaultDisk {
    /// An empty disk that works.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Plans a fault.
    pub fn inject(&self, fault: Fault) {
        let mut sim = self.sim();
        if let Fault::Full(bytes) = fault {
            sim.room = Some(bytes);
        } else {
            sim.faults.push(fault);
        }
    }

    /// Forgets all planned faults; a dead disk stays dead until the cut.
    pub fn clear_faults(&self) {
        let mut sim = self.sim();
        sim.faults.clear();
        sim.room = None;
    }

    /// The power goes and comes back: only what was durable is there for certain. Everything open
    /// fails from now on, locks are gone, planned faults are forgotten.
    pub fn power_cut(&self, seed: u64) {
        let mut sim = self.sim();
        let mut dice = Dice::new(seed);
        sim.cut_names(&mut dice);
        for node in sim.files.values_mut() {
            node.cut(&mut dice);
        }
        sim.locked.clear();
        sim.faults.clear();
        sim.room = None;
        sim.is_dead = false;
        sim.life += 1;
    }

    /// Another disk with the same content, as a reader would see it now; all of it durable.
    #[must_use]
    pub fn copy(&self) -> Self {
        let mut sim = self.sim().clone();
        sim.durable_names = sim.names.clone();
        for node in sim.files.values_mut() {
            node.settle();
        }
        sim.locked.clear();
        sim.faults.clear();
        sim.is_dead = false;
        Self {
            sim: Arc::new(Mutex::new(sim)),
        }
    }

    /// Flips bits of one byte, in the durable copy too. False: there is no such byte.
    pub fn flip(&self, path: &Path, offset: usize, mask: u8) -> bool {
        let mut sim = self.sim();
        let Some(Name::File(node)) = sim.names.get(path).copied() else {
            return false;
        };
        let Some(node) = sim.files.get_mut(&node) else {
            return false;
        };
        node.flip(offset, mask)
    }

    /// Cuts a file's end off, in the durable copy too.
    pub fn shorten(&self, path: &Path, len: usize) {
        let mut sim = self.sim();
        if let Some(Name::File(node)) = sim.names.get(path).copied()
            && let Some(node) = sim.files.get_mut(&node)
        {
            node.shorten(len);
        }
    }

    /// How many operations changed something so far.
    pub fn changes(&self) -> u64 {
        self.sim().changes
    }

    /// How often a file was read so far.
    pub fn reads(&self) -> u64 {
        self.sim().reads
    }

    /// Whether a file is there and how long it is.
    pub fn len(&self, path: &Path) -> Option<usize> {
        let sim = self.sim();
        match sim.names.get(path)? {
            Name::File(node) => sim.files.get(node).map(|file| file.content.len()),
            Name::Dir => None,
        }
    }

    /// Overwrites bytes, in the durable copy too: what a device does that lies.
    pub fn scribble(&self, path: &Path, offset: usize, bytes: &[u8]) {
        let mut sim = self.sim();
        if let Some(Name::File(node)) = sim.names.get(path).copied()
            && let Some(node) = sim.files.get_mut(&node)
        {
            node.scribble(bytes, offset);
        }
    }

    /// How often a file was synced, or asked to be, so far. A write past the cache is one.
    pub fn syncs(&self) -> u64 {
        self.sim().syncs
    }

    /// How many writes there were so far.
    pub fn writes(&self) -> u64 {
        self.sim().writes
    }

    fn sim(&self) -> MutexGuard<'_, Sim> {
        self.sim.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, Sim>> {
        let sim = self.sim();
        if sim.is_dead {
            Err(io::Error::other("the disk is dead"))
        } else {
            Ok(sim)
        }
    }
}

impl Sim {
    /// Counts an operation that changed something; the disk may die of it.
    fn changed(&mut self) {
        self.changes += 1;
        self.is_dead |= self.faults.contains(&Fault::DieAfter(self.changes));
    }

    /// How far a file may reach, from `offset` on, before the disk is full.
    fn room_at(&self, node: u64, offset: usize) -> usize {
        let len = self.files.get(&node).map_or(0, |file| file.content.len());
        let room = self.room.map_or(usize::MAX, |room| {
            usize::try_from(room).unwrap_or(usize::MAX)
        });
        len.saturating_add(room).saturating_sub(offset)
    }

    /// Writes into the cache; growing takes room.
    fn write(&mut self, node: u64, bytes: &[u8], offset: usize) -> io::Result<()> {
        let file = self.files.get_mut(&node).ok_or(io::ErrorKind::NotFound)?;
        let before = file.content.len();
        file.write(bytes, offset);
        let grown = (file.content.len() - before) as u64;
        self.room = self.room.map(|room| room.saturating_sub(grown));
        self.changed();
        Ok(())
    }

    fn require_dir(&self, path: &Path) -> io::Result<()> {
        let dir = path.parent().unwrap_or_else(|| Path::new(""));
        let is_root = dir.parent().is_none();
        if is_root || self.names.get(dir) == Some(&Name::Dir) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn cut_names(&mut self, dice: &mut Dice) {
        let all: BTreeSet<PathBuf> = self
            .names
            .keys()
            .chain(self.durable_names.keys())
            .cloned()
            .collect();
        let mut kept = BTreeMap::new();
        for path in all {
            let (old, new) = (self.durable_names.get(&path), self.names.get(&path));
            let name = if old == new || dice.is_lucky() {
                new
            } else {
                old
            };
            // Ordered by path, so a directory is decided before what lies in it.
            let dir = path.parent().unwrap_or_else(|| Path::new(""));
            let has_dir = dir.parent().is_none() || kept.get(dir) == Some(&Name::Dir);
            if let Some(name) = name.filter(|_| has_dir) {
                kept.insert(path, *name);
            }
        }
        self.names.clone_from(&kept);
        self.durable_names = kept;
    }
}

impl std::fmt::Debug for FaultDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultDisk")
            .field("changes", &self.changes())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Disk, Open};
    use super::*;

    #[test]
    fn only_what_was_synced_survives_the_worst_cut_and_a_failed_sync_never_heals() {
        for seed in 0..64 {
            let disk = FaultDisk::new();
            let path = Path::new("/d/a");
            disk.create_dir_all(Path::new("/d")).unwrap();
            disk.sync_dir(Path::new("/")).unwrap();
            let file = disk.open(path, Open::Create).unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
            file.write_at(&[1; 700], 0).unwrap();
            file.sync().unwrap();
            disk.inject(Fault::FailSync(2));
            file.write_at(&[2; 700], 1024).unwrap();
            assert!(file.sync().is_err());
            file.sync().unwrap();
            assert_eq!(2, disk.read(path).unwrap()[1024], "still readable");
            disk.power_cut(seed);
            assert!(file.sync().is_err(), "opened before the cut");
            let bytes = disk.read(path).unwrap();
            assert_eq!([1; 700], bytes[..700]);
            assert!(!bytes.contains(&2), "seed {seed}");
        }
    }

    #[test]
    fn a_name_is_durable_only_after_its_directory_was_synced() {
        let mut lost = 0;
        for seed in 0..64 {
            let disk = FaultDisk::new();
            disk.open(Path::new("/a"), Open::Create)
                .unwrap()
                .sync()
                .unwrap();
            disk.power_cut(seed);
            lost += usize::from(!disk.exists(Path::new("/a")).unwrap());
            disk.write_atomic(Path::new("/a"), b"new").unwrap();
            disk.power_cut(seed);
            assert_eq!(b"new", &*disk.read(Path::new("/a")).unwrap());
        }
        assert!((1..64).contains(&lost), "{lost} of 64");
    }
}
