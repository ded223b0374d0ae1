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
            (None, Open::Read | Open::Write) => return Err(io::ErrorKind::NotFound.into()),
            (Some(node), Open::Read | Open::Write) => node,
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
        sim.names.remove(path);
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
}

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
        let sim = self.alive()?;
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
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        sim.writes += 1;
        let is_torn = sim.faults.contains(&Fault::TearWrite(sim.writes));
        let room = sim.room.map_or(usize::MAX, |room| {
            usize::try_from(room).unwrap_or(usize::MAX)
        });
        let count = if is_torn { buf.len() / 2 } else { buf.len() }.min(room);
        sim.room = sim.room.map(|room| room.saturating_sub(count as u64));
        let node = sim
            .files
            .get_mut(&self.node)
            .ok_or(io::ErrorKind::NotFound)?;
        node.write(buf.get(..count).unwrap_or_default(), offset);
        sim.changed();
        match (is_torn, count < buf.len()) {
            (true, _) => Err(io::Error::other("injected write error")),
            (false, true) => Err(io::ErrorKind::StorageFull.into()),
            (false, false) => Ok(()),
        }
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
