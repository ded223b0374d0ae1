//! How the simulated disk answers to [`Disk`] and [`File`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

use super::platter::Platter;
use super::{Fault, FaultDisk, Name, Sim};
use crate::disk::{Disk, File, Open};

impl Disk for FaultDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let mut sim = self.alive()?;
        let found = match sim.names.get(path) {
            Some(Name::File(node)) => Some(*node),
            Some(Name::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            None => None,
        };
        let node = match (found, how) {
            (Some(_), Open::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, Open::Read | Open::Write | Open::Direct) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            (_, Open::Direct) if sim.faults.contains(&Fault::NoDirect) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            (Some(node), Open::Read | Open::Write | Open::Direct) => node,
            (_, Open::Create | Open::CreateOrTruncate) => {
                sim.require_dir(path)?;
                let node = sim.files.last_key_value().map_or(1, |(last, _)| last + 1);
                sim.files.insert(node, Platter::default());
                sim.names.insert(path.to_owned(), Name::File(node));
                sim.changed();
                node
            }
        };
        Ok(Box::new(FaultFile {
            disk: self.clone(),
            node,
            life: sim.life,
            is_direct: how == Open::Direct,
        }))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut sim = self.alive()?;
        for dir in dir.ancestors().filter(|dir| dir.parent().is_some()) {
            if sim.names.insert(dir.to_owned(), Name::Dir).is_none() {
                sim.changed();
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let sim = self.alive()?;
        sim.require_dir(&dir.join("_"))?;
        Ok(sim
            .names
            .keys()
            .filter(|path| path.parent() == Some(dir))
            .cloned()
            .collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut sim = self.alive()?;
        sim.require_dir(to)?;
        if !sim.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let moved: Vec<PathBuf> = sim
            .names
            .keys()
            .filter(|path| path.starts_with(from))
            .cloned()
            .collect();
        for path in moved {
            let below = path.strip_prefix(from).map_err(io::Error::other)?;
            let target = if below.as_os_str().is_empty() {
                to.to_owned()
            } else {
                to.join(below)
            };
            if let Some(name) = sim.names.remove(&path) {
                sim.names.insert(target, name);
            }
        }
        sim.changed();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut sim = self.alive()?;
        if !matches!(sim.names.get(path), Some(Name::File(_))) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if let Some(Name::File(node)) = sim.names.remove(path) {
            let len = sim.files.get(&node).map_or(0, |file| file.content.len());
            sim.room = sim.room.map(|room| room + len as u64);
        }
        sim.changed();
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut sim = self.alive()?;
        // A path without a directory lies in the one that the process stands in.
        let dir = if dir == Path::new(".") {
            Path::new("")
        } else {
            dir
        };
        sim.durable_names
            .retain(|path, _| path.parent() != Some(dir));
        let names: Vec<_> = sim
            .names
            .iter()
            .filter(|(path, _)| path.parent() == Some(dir))
            .map(|(path, name)| (path.clone(), *name))
            .collect();
        sim.durable_names.extend(names);
        sim.changed();
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.alive()?.names.contains_key(path))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.alive()?.room.unwrap_or(1 << 40))
    }

    fn boot_id(&self) -> [u8; 16] {
        u128::from(self.sim().life + 1).to_be_bytes()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut sim = self.alive()?;
        if !sim.locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock {
            disk: self.clone(),
            path: path.to_owned(),
            life: sim.life,
        }))
    }
}

struct Lock {
    disk: FaultDisk,
    path: PathBuf,
    life: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut sim = self.disk.sim();
        if sim.life == self.life {
            sim.locked.remove(&self.path);
        }
    }
}

struct FaultFile {
    disk: FaultDisk,
    node: u64,
    life: u64,
    is_direct: bool,
}

/// What a device writes as one, and where memory must begin to be handed to it.
const BLOCK_LEN: usize = 4096;

impl FaultFile {
    fn alive(&self) -> io::Result<MutexGuard<'_, Sim>> {
        let sim = self.disk.alive()?;
        if sim.life == self.life {
            Ok(sim)
        } else {
            Err(io::Error::other("opened before the power cut"))
        }
    }
}

impl File for FaultFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut sim = self.alive()?;
        sim.reads += 1;
        if sim.faults.contains(&Fault::FailRead(sim.reads)) {
            return Err(io::Error::other("injected read error"));
        }
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let node = sim.files.get(&self.node).ok_or(io::ErrorKind::NotFound)?;
        let rest = node.content.get(offset..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut sim = self.alive()?;
        let mut offset = usize::try_from(offset).map_err(io::Error::other)?;
        let is_aligned = [buf.as_ptr().addr(), offset, buf.len()]
            .iter()
            .all(|number| number.is_multiple_of(BLOCK_LEN));
        if self.is_direct && !is_aligned {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sim.writes += 1;
        let nth = sim.writes;
        let is_torn = sim.faults.contains(&Fault::TearWrite(nth));
        if sim.faults.contains(&Fault::LoseWrite(nth)) {
            return Ok(());
        }
        for fault in &sim.faults {
            if let Fault::MisdirectWrite(n, by) = fault
                && *n == nth
            {
                offset += usize::try_from(*by).map_err(io::Error::other)?;
            }
        }
        let whole = if is_torn { buf.len() / 2 } else { buf.len() };
        let count = whole.min(sim.room_at(self.node, offset));
        sim.write(self.node, buf.get(..count).unwrap_or_default(), offset)?;
        if is_torn {
            return Err(io::Error::other("injected write error"));
        }
        if count < buf.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.is_direct {
            sim.syncs += 1;
            if sim.faults.contains(&Fault::FailSync(sim.syncs)) {
                return Err(io::Error::other("injected sync error"));
            }
            let node = sim
                .files
                .get_mut(&self.node)
                .ok_or(io::ErrorKind::NotFound)?;
            node.sync_range(offset, count);
            sim.changed();
        }
        Ok(())
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        let mut sim = self.alive()?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let now = sim
            .files
            .get(&self.node)
            .map_or(0, |node| node.content.len());
        if sim.room_at(self.node, 0) < len {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let zeros = vec![0; len.saturating_sub(now)];
        sim.write(self.node, &zeros, now)
    }

    fn sync(&self) -> io::Result<()> {
        let mut sim = self.alive()?;
        sim.syncs += 1;
        let is_failing = sim.faults.contains(&Fault::FailSync(sim.syncs));
        let node = sim
            .files
            .get_mut(&self.node)
            .ok_or(io::ErrorKind::NotFound)?;
        if is_failing {
            node.give_up();
            return Err(io::Error::other("injected sync error"));
        }
        node.sync();
        sim.changed();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let sim = self.alive()?;
        Ok(sim
            .files
            .get(&self.node)
            .map_or(0, |node| node.content.len() as u64))
    }
}
