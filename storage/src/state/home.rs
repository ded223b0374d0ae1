//! The state's directory: its rows, the word that an orderly end leaves, and judging both.
//!
//! ```text
//! state/rows/    fjall's own
//! state/closed   Applied as it was when the rows were synced, crc32 (only between two lives)
//! state/doubt    why the rows are not whole, in words; they are set aside by the next start
//! quarantine/    state-1, state-2, … as they were found
//! ```
//! Holds: taking the word away is the first thing that opening does, whatever it finds next, so it
//! never speaks for other rows than those it was left with. Without it the rows are looked at, as
//! `verify` says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::digests::Applied;
use super::open::{Progress, StateParts};
use super::{Engine, LAYOUT, StateConfig, keys, verify, view};
use crate::codec;
use crate::command::Policy;
use crate::disk::{Disk, create_dir_durably};
use crate::error::Error;
use crate::ids::{Index, LogId};
use crate::rows::{FjallRows, Rows};
use crate::wal::Wal;

/// Where the state lives.
#[derive(Clone)]
pub(super) struct Home {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

/// Where in the state's directory the rows are.
pub(super) fn rows_dir(dir: &Path) -> PathBuf {
    dir.join("rows")
}

/// What is to become of the rows.
pub(super) enum Verdict {
    Keep {
        rows: Arc<dyn Rows>,
        /// They are known to be whole; else their core is.
        is_whole: bool,
    },
    Build {
        why: String,
        /// A crash can leave it like that: nobody has to look.
        is_expected: bool,
    },
}

fn unexpected(why: String) -> Verdict {
    Verdict::Build {
        why,
        is_expected: false,
    }
}

const fn expected(why: String) -> Verdict {
    Verdict::Build {
        why,
        is_expected: true,
    }
}

impl Home {
    pub(super) fn new(parts: &StateParts<'_>) -> Self {
        Self {
            disk: Arc::clone(&parts.disk),
            dir: parts.dir.to_owned(),
        }
    }

    fn rows_dir(&self) -> PathBuf {
        rows_dir(&self.dir)
    }

    /// Left by an orderly end, taken away by the next start.
    fn word(&self) -> PathBuf {
        self.dir.join("closed")
    }

    pub(super) fn has_rows(&self, config: &StateConfig) -> Result<bool, Error> {
        match config.engine {
            Engine::Fjall => self
                .disk
                .exists(&self.rows_dir())
                .map_err(Error::io("look for", self.rows_dir())),
            #[cfg(feature = "testing")]
            Engine::Memory => Ok(false),
        }
    }

    pub(super) fn rows(&self, config: &StateConfig) -> Result<Arc<dyn Rows>, Error> {
        match config.engine {
            Engine::Fjall => {
                create_dir_durably(&*self.disk, &self.dir)
                    .map_err(Error::io("create", &self.dir))?;
                Ok(Arc::new(FjallRows::open(&self.rows_dir(), config)?))
            }
            #[cfg(feature = "testing")]
            Engine::Memory => Ok(Arc::new(crate::rows::MemoryRows::default())),
        }
    }

    /// Whether the rows are to be kept, given the word that was left for them.
    pub(super) fn judge(
        &self,
        word: Option<Applied>,
        parts: &StateParts<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Verdict, Error> {
        if let Some(why) = self.doubt()? {
            return Ok(unexpected(why));
        }
        let rows = match self.rows(parts.config) {
            Ok(rows) => rows,
            // Another process works with them: they are not in doubt.
            Err(error @ Error::Locked { .. }) => return Err(error),
            Err(error) => return Ok(unexpected(error.to_string())),
        };
        let applied = match read_applied(&*rows) {
            Ok(applied) => applied,
            Err(build) => return Ok(build),
        };
        let is_whole = word == Some(applied);
        if !is_whole && let Err(why) = verify::core(&*rows, &applied, progress) {
            return Ok(unexpected(why));
        }
        match place_in_log(parts.wal, applied.id)? {
            InLog::Same => Ok(Verdict::Keep { rows, is_whole }),
            InLog::Other(id) => {
                let why = format!("the log has another entry where {id} was applied");
                Ok(unexpected(why))
            }
            InLog::Purged { first } => {
                let why = format!("it ends before the log, which begins at {first}");
                Ok(expected(why))
            }
            InLog::Beyond { id, last } => {
                let policy: Option<Policy> =
                    view::load(&*rows, &keys::fact_policy(), "the policy")?;
                if !parts.had_peers && policy.unwrap_or_default() == Policy::Always {
                    return Err(Error::Vanished {
                        first: last.next(),
                        last: id.index,
                    });
                }
                Ok(expected(format!(
                    "{id} was applied and the log ends at {last}"
                )))
            }
        }
    }

    fn doubt_path(&self) -> PathBuf {
        self.dir.join("doubt")
    }

    /// Makes the next start set the rows aside.
    pub(super) fn leave_doubt(&self, why: &str) -> Result<(), Error> {
        let path = self.doubt_path();
        self.disk
            .write_atomic(&path, why.as_bytes())
            .map_err(Error::io("write", path))
    }

    fn doubt(&self) -> Result<Option<String>, Error> {
        let path = self.doubt_path();
        if !self
            .disk
            .exists(&path)
            .map_err(Error::io("look for", &path))?
        {
            return Ok(None);
        }
        let why = self.disk.read(&path).map_err(Error::io("read", &path))?;
        Ok(Some(String::from_utf8_lossy(&why).into_owned()))
    }

    /// Moves the whole directory to `quarantine`; where it is now.
    pub(super) fn set_aside(&self) -> Result<PathBuf, Error> {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        set_aside(&*self.disk, &self.dir, &self.dir, &name)
    }

    /// Says that the rows are durable and end here.
    pub(super) fn leave_word(&self, applied: &Applied) -> Result<(), Error> {
        let path = self.word();
        let mut bytes = codec::encode_row(applied);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        self.disk
            .create_dir_all(&self.dir)
            .map_err(Error::io("create", &self.dir))?;
        self.disk
            .write_atomic(&path, &bytes)
            .map_err(Error::io("write", path))
    }

    /// What an orderly end left, which is gone after this: from now on rows change again.
    pub(super) fn take_word(&self) -> Result<Option<Applied>, Error> {
        let path = self.word();
        if !self
            .disk
            .exists(&path)
            .map_err(Error::io("look for", &path))?
        {
            return Ok(None);
        }
        let bytes = self.disk.read(&path).map_err(Error::io("read", &path))?;
        self.disk
            .remove(&path)
            .map_err(Error::io("remove", &path))?;
        self.disk
            .sync_dir(&self.dir)
            .map_err(Error::io("sync", &self.dir))?;
        Ok(bytes.split_last_chunk::<4>().and_then(|(body, crc)| {
            let is_whole = crc32fast::hash(body) == u32::from_le_bytes(*crc);
            is_whole.then(|| codec::decode_row("an orderly end", body).ok())?
        }))
    }
}

/// Moves `path` into the quarantine that stands beside `dir`, under `name` and a number.
pub(super) fn set_aside(
    disk: &dyn Disk,
    path: &Path,
    dir: &Path,
    name: &str,
) -> Result<PathBuf, Error> {
    let parent_of = |path: &Path| path.parent().unwrap_or_else(|| Path::new(".")).to_owned();
    let parent = parent_of(dir);
    let quarantine = parent.join("quarantine");
    disk.create_dir_all(&quarantine)
        .map_err(Error::io("create", &quarantine))?;
    let mut number = 1_u32;
    let to = loop {
        let to = quarantine.join(format!("{name}-{number}"));
        if !disk.exists(&to).map_err(Error::io("look for", &to))? {
            break to;
        }
        number += 1;
    };
    disk.rename(path, &to)
        .map_err(Error::io("set aside", path))?;
    let mut changed = vec![quarantine, parent, parent_of(path)];
    changed.dedup();
    for dir in changed {
        disk.sync_dir(&dir).map_err(Error::io("sync", dir))?;
    }
    Ok(to)
}

/// What the rows say about themselves, or why they are no state.
fn read_applied(rows: &dyn Rows) -> Result<Applied, Verdict> {
    let failed = |error: Error| unexpected(error.to_string());
    if rows.get(&keys::meta_importing()).map_err(failed)?.is_some() {
        return Err(expected("an import had not ended".to_owned()));
    }
    let applied = view::load::<Applied>(rows, &keys::meta_applied(), "what is applied");
    match applied.map_err(failed)? {
        Some(applied) if applied.layout == LAYOUT => Ok(applied),
        Some(applied) => Err(expected(format!("the rows have layout {}", applied.layout))),
        None => Ok(Applied {
            layout: LAYOUT,
            ..Applied::default()
        }),
    }
}

enum InLog {
    Same,
    Other(LogId),
    Purged { first: Index },
    Beyond { id: LogId, last: Index },
}

/// Where the log has the entry that was applied last.
fn place_in_log(wal: &Wal, applied: Option<LogId>) -> Result<InLog, Error> {
    let purged = wal.purged();
    let Some(id) = applied else {
        // Of no entry: all of them come after it.
        return Ok(match purged {
            Some(purged) => InLog::Purged {
                first: purged.index.next(),
            },
            None => InLog::Same,
        });
    };
    let last = wal.last().map(|last| last.index);
    if last.is_none_or(|last| last < id.index) {
        let last = last.unwrap_or_default();
        return Ok(InLog::Beyond { id, last });
    }
    if let Some(purged) = purged.filter(|purged| id.index < purged.index) {
        return Ok(InLog::Purged {
            first: purged.index.next(),
        });
    }
    Ok(match wal.log_id(id.index)? {
        Some(found) if found == id => InLog::Same,
        Some(_) | None => InLog::Other(id),
    })
}
