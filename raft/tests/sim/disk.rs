//! One life's view of a disk: gone the moment that the life is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use storage::{Disk, FaultDisk, File, Mapped, Open};

/// A disk that a process holds. After its end nothing of it reaches the disk any more.
pub struct LifeDisk {
    pub disk: FaultDisk,
    pub is_dead: Arc<AtomicBool>,
    pub locks: Locks,
}

/// What a process has locked: its end releases that, whoever of it still thinks to hold it.
pub type Locks = Arc<Mutex<Vec<Option<Box<dyn Send + Sync>>>>>;

struct Held {
    locks: Locks,
    at: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(lock) = self.locks.lock().unwrap().get_mut(self.at) {
            drop(lock.take());
        }
    }
}

struct LifeFile {
    file: Box<dyn File>,
    is_dead: Arc<AtomicBool>,
}

fn alive(is_dead: &AtomicBool) -> io::Result<()> {
    if is_dead.load(Ordering::Relaxed) {
        Err(io::Error::other("this process is dead"))
    } else {
        Ok(())
    }
}

impl Disk for LifeDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        alive(&self.is_dead)?;
        Ok(Box::new(LifeFile {
            file: self.disk.open(path, how)?,
            is_dead: Arc::clone(&self.is_dead),
        }))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        alive(&self.is_dead)?;
        self.disk.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        alive(&self.is_dead)?;
        self.disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        alive(&self.is_dead)?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        alive(&self.is_dead)?;
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        alive(&self.is_dead)?;
        self.disk.sync_dir(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        alive(&self.is_dead)?;
        self.disk.exists(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        alive(&self.is_dead)?;
        self.disk.free_bytes(path)
    }

    fn boot_id(&self) -> [u8; 16] {
        self.disk.boot_id()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        alive(&self.is_dead)?;
        let lock = self.disk.lock(path)?;
        let mut locks = self.locks.lock().unwrap();
        locks.push(Some(lock));
        Ok(Box::new(Held {
            locks: Arc::clone(&self.locks),
            at: locks.len() - 1,
        }))
    }
}

impl File for LifeFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        alive(&self.is_dead)?;
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        alive(&self.is_dead)?;
        self.file.write_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        alive(&self.is_dead)?;
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        alive(&self.is_dead)?;
        self.file.len()
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        alive(&self.is_dead)?;
        self.file.reserve(len)
    }

    fn release(&self, offset: u64, len: u64) -> io::Result<()> {
        alive(&self.is_dead)?;
        self.file.release(offset, len)
    }

    fn forget_cached(&self) -> io::Result<()> {
        self.file.forget_cached()
    }

    fn map(&self) -> io::Result<Option<Mapped>> {
        alive(&self.is_dead)?;
        self.file.map()
    }
}
