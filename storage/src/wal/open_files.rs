//! Files that readers have open: the latest by `pread`, and sealed ones that a scan has mapped.
//!
//! Holds: once a file is forgotten nobody begins to read it any more, so whoever forgot it knows
//! whether it may be written again (see `disk::mapped`).

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::core::Core;
use super::entry::SegmentId;
use crate::config::Scan;
use crate::disk::{File, Mapped, Open};
use crate::error::Error;

/// How many files stay open for reading.
const OPEN_FILES_MAX: usize = 16;

/// Files that were read lately, the latest last.
#[derive(Default)]
pub(super) struct OpenFiles {
    files: Mutex<Vec<(SegmentId, Arc<dyn File>)>>,
    /// Those that scans have mapped.
    maps: Mutex<Maps>,
}

#[derive(Default)]
struct Maps {
    open: Vec<(SegmentId, Weak<dyn File>)>,
    /// Segments up to this one are gone: none of them is mapped any more.
    gone: SegmentId,
}

impl OpenFiles {
    pub(super) fn get(
        &self,
        core: &Core,
        id: SegmentId,
        is_scan: bool,
    ) -> Result<Arc<dyn File>, Error> {
        if is_scan && core.config.scan == Scan::Mapped {
            return mapped(core, id);
        }
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let found = files.iter().position(|(open, _)| *open == id);
        let file = match found.map(|at| files.remove(at)) {
            Some((_, file)) => file,
            None => core.directory.open(id, Open::Read)?,
        };
        if files.len() >= OPEN_FILES_MAX {
            files.remove(0);
        }
        files.push((id, Arc::clone(&file)));
        Ok(file)
    }

    /// The file is gone from the log. Whether somebody still reads it: nobody can begin to any more.
    pub(super) fn forget(&self, id: SegmentId) -> bool {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let found = files.iter().position(|(open, _)| *open == id);
        let file = found.map(|at| files.remove(at).1);
        let is_read = file.is_some_and(|file| 1 < Arc::strong_count(&file));
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        maps.gone = maps.gone.max(id);
        maps.open.retain(|(_, map)| 0 < map.strong_count());
        is_read || maps.open.iter().any(|(mapped, _)| *mapped == id)
    }
}

/// A mapped file, read like any other: bytes are copied out before they are looked at.
struct MappedFile(Mapped);

impl File for MappedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.0.bytes().get(offset..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(self.0.bytes().len() as u64)
    }

    fn reserve(&self, _: u64) -> std::io::Result<()> {
        Ok(())
    }
}

fn mapped(core: &Core, id: SegmentId) -> Result<Arc<dyn File>, Error> {
    let mut maps = core
        .files
        .maps
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if id <= maps.gone {
        let gone = std::io::ErrorKind::NotFound.into();
        return Err(Error::io("map", core.directory.path_of(id))(gone));
    }
    maps.open.retain(|(_, map)| 0 < map.strong_count());
    let known = maps.open.iter().find(|(mapped, _)| *mapped == id);
    if let Some(map) = known.and_then(|(_, map)| map.upgrade()) {
        return Ok(map);
    }
    let file = core.directory.open(id, Open::Read)?;
    let map = file
        .map()
        .map_err(Error::io("map", core.directory.path_of(id)))?;
    let Some(map) = map else { return Ok(file) };
    let map: Arc<dyn File> = Arc::new(MappedFile(map));
    maps.open.push((id, Arc::downgrade(&map)));
    Ok(map)
}
