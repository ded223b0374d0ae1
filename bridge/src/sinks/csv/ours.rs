//! Whether a sheet is ours, and as we left it; and what happens to one that is not.
//!
//! Holds: a file that differs from what was left, by a byte or by its number, is never written to
//! and never removed: it gets another name and is left alone. Only bytes behind the mark that look
//! like our own rows are cut.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names::Names;
use super::sidecar::{Head, LAST_BYTES, Mark, crc_of};
use crate::files::{Files, How, OpenFile, Stat};

/// Sheets that are kept beside one; then it waits for a person. An editor that saves again and
/// again must not fill the disk.
const KEPT_MAX: u32 = 100;

/// Why a sheet was not opened, or a batch not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("cannot {op} {}", path.display())]
    Io {
        op: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} was written by a later life of this task ({incarnation})", path.display())]
    Later { path: PathBuf, incarnation: u64 },
    #[error("{} is not as it was left: {what}", path.display())]
    Differs { path: PathBuf, what: &'static str },
    #[error("{} was changed {KEPT_MAX} times; move the .kept files away", path.display())]
    KeptFull { path: PathBuf },
}

pub(super) fn io_fault(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Fault {
    move |source| Fault::Io {
        op,
        path: path.to_path_buf(),
        source,
    }
}

/// Which sheet, and through what it is written.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) files: Arc<dyn Files>,
    pub(super) names: Names,
    pub(super) head: Head,
}

/// What bytes behind the mark can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Rows that were written and not marked, if they look like it.
    MayBeOurs,
    /// Nothing of ours: the file was left at its mark.
    IsForeign,
}

/// Whether a file is the one that a mark speaks of.
#[derive(Debug)]
pub(super) enum Fit {
    Whole(Box<dyn OpenFile>),
    /// It is, with this many bytes, and more of ours behind the mark.
    WithTail(Box<dyn OpenFile>, u64),
    No(&'static str),
}

impl Setup {
    /// Whether the file that `stat` tells of is the one of `mark`.
    pub(super) fn fit(&self, stat: Stat, mark: &Mark, tail: Tail) -> Result<Fit, Fault> {
        let path = &self.names.csv;
        if stat.len < mark.length {
            return Ok(Fit::No("it is shorter"));
        }
        let file = self
            .files
            .open(path, How::Write)
            .map_err(io_fault("open", path))?;
        // The same file, untouched: its last rows are enough. Else every byte is looked at.
        let (from, crc) = if stat == mark.left() {
            (mark.length.saturating_sub(LAST_BYTES), mark.last_crc)
        } else {
            (0, mark.crc)
        };
        if crc_of(&*file, from, mark.length).map_err(io_fault("read", path))? != Some(crc) {
            return Ok(Fit::No("its rows were edited"));
        }
        if stat.len == mark.length {
            return Ok(Fit::Whole(file));
        }
        let mut first = [0; 24];
        let read = file
            .read_at(&mut first, mark.length)
            .map_err(io_fault("read", path))?;
        let first = first.get(..read).unwrap_or_default();
        if tail == Tail::MayBeOurs && is_next_row(first, mark.seq) {
            Ok(Fit::WithTail(file, stat.len))
        } else {
            Ok(Fit::No("rows were added"))
        }
    }

    /// The file under our name is the one that was left, and nobody has written to it since.
    pub(super) fn check_untouched(&self, left: Stat) -> Result<(), Fault> {
        let path = &self.names.csv;
        let what = match self.files.stat(path).map_err(io_fault("look at", path))? {
            Some(stat) if stat == left => return Ok(()),
            Some(stat) if stat.inode != left.inode => "another file has its name",
            Some(stat) if stat.len != left.len => "its length is another",
            Some(_) => "it was written to",
            None => "it was removed",
        };
        Err(Fault::Differs {
            path: path.clone(),
            what,
        })
    }

    pub(super) fn keep_aside(&self, what: &str) -> Result<(), Fault> {
        let path = &self.names.csv;
        for n in 1..=KEPT_MAX {
            let kept = self.names.kept(n);
            if self
                .files
                .stat(&kept)
                .map_err(io_fault("look at", &kept))?
                .is_none()
            {
                self.files
                    .rename(path, &kept)
                    .map_err(io_fault("rename", path))?;
                self.sync_dir()?;
                tracing::warn!(
                    path = %path.display(), kept = %kept.display(), what,
                    "sheet is kept under another name, and written anew"
                );
                return Ok(());
            }
        }
        Err(Fault::KeptFull { path: path.clone() })
    }

    pub(super) fn sync_dir(&self) -> Result<(), Fault> {
        self.files
            .sync_dir(&self.names.dir)
            .map_err(io_fault("sync", &self.names.dir))
    }

    /// No sheet is there, so a first one takes nobody's place.
    pub(super) fn check_free(&self) -> Result<(), Fault> {
        let path = &self.names.csv;
        let stat = self.files.stat(path).map_err(io_fault("look at", path))?;
        if stat.is_some_and(|stat| stat.len > 0) {
            let what = "another file has its name";
            return Err(Fault::Differs {
                path: path.clone(),
                what,
            });
        }
        Ok(())
    }
}

/// Read back: what a mark says of the file is what the file says of itself.
pub(super) fn last_crc(file: &dyn OpenFile, path: &Path, length: u64) -> Result<u32, Fault> {
    let from = length.saturating_sub(LAST_BYTES);
    let crc = crc_of(file, from, length).map_err(io_fault("read", path))?;
    let what = "it was cut while it was written";
    crc.ok_or_else(|| Fault::Differs {
        path: path.to_path_buf(),
        what,
    })
}

/// True if these bytes can be the beginning of a row behind the one with `seq`: its seq, whole or
/// torn; or zeros, which a power cut leaves where bytes never came.
fn is_next_row(first: &[u8], seq: u64) -> bool {
    let digits = first
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (digits, after) = first.split_at(digits);
    match after.first() {
        None | Some(0) => true,
        Some(b',') => std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse::<u64>().ok())
            .is_some_and(|next| next > seq),
        Some(_) => false,
    }
}
