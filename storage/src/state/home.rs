//! The state's directory: its rows, the word that an orderly end leaves, and judging both.
//!
//! ```text
//! state/rows/    fjall's own
//! state/closed   Applied as it was when the rows were synced, crc32 (only between two lives)
//! quarantine/    state-1, state-2, … as they were found
//! ```
//! Holds: taking the word away is the first thing that opening does, whatever it finds next, so it
//! never speaks for other rows than those it was left with. Without it every row is read and the
//! digest compared.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::digests::{Applied, RowSum};
use super::open::{PROGRESS_STEP, Phase, Progress, StateParts};
use super::{Engine, LAYOUT, StateConfig, keys, view};
use crate::codec;
use crate::command::Policy;
use crate::disk::{Disk, create_dir_durably};
use crate::error::Error;
use crate::ids::{Index, LogId};
use crate::rows::{FjallRows, KeyRange, Rows, Side};
use crate::wal::Wal;

/// Where the state lives.
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
    Keep(Arc<dyn Rows>),
    Build { why: String },
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
        let build = |why: String| Ok(Verdict::Build { why });
        let rows = match self.rows(parts.config) {
            Ok(rows) => rows,
            // Another process works with them: they are not in doubt.
            Err(error @ Error::Locked { .. }) => return Err(error),
            Err(error) => return build(error.to_string()),
        };
        let applied = match read_applied(&*rows) {
            Ok(applied) => applied,
            Err(why) => return build(why),
        };
        if word != Some(applied)
            && let Err(why) = verify(&*rows, &applied, progress)
        {
            return build(why);
        }
        let Some(id) = applied.id else {
            return Ok(Verdict::Keep(rows));
        };
        match place_in_log(parts.wal, id)? {
            InLog::Same => Ok(Verdict::Keep(rows)),
            InLog::Other => build(format!("the log has another entry where {id} was applied")),
            InLog::Beyond { last } => {
                let policy: Option<Policy> =
                    view::load(&*rows, &keys::fact_policy(), "the policy")?;
                if !parts.had_peers && policy.unwrap_or_default() == Policy::Always {
                    return Err(Error::Vanished {
                        first: last.next(),
                        last: id.index,
                    });
                }
                build(format!("{id} was applied and the log ends at {last}"))
            }
        }
    }

    /// Moves the whole directory to `quarantine`; where it is now.
    pub(super) fn set_aside(&self) -> Result<PathBuf, Error> {
        let parent = self.dir.parent().unwrap_or_else(|| Path::new("."));
        let quarantine = parent.join("quarantine");
        self.disk
            .create_dir_all(&quarantine)
            .map_err(Error::io("create", &quarantine))?;
        let name = self
            .dir
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut number = 1_u32;
        let path = loop {
            let path = quarantine.join(format!("{name}-{number}"));
            if !self
                .disk
                .exists(&path)
                .map_err(Error::io("look for", &path))?
            {
                break path;
            }
            number += 1;
        };
        self.disk
            .rename(&self.dir, &path)
            .map_err(Error::io("set aside", &self.dir))?;
        for dir in [quarantine.as_path(), parent] {
            self.disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        }
        Ok(path)
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

/// What the rows say about themselves, or why they are no state.
fn read_applied(rows: &dyn Rows) -> Result<Applied, String> {
    let importing = rows
        .get(&keys::meta_importing())
        .map_err(|error| error.to_string())?;
    if importing.is_some() {
        return Err("an import had not ended".to_owned());
    }
    let applied = view::load::<Applied>(rows, &keys::meta_applied(), "what is applied");
    match applied.map_err(|error| error.to_string())? {
        Some(applied) if applied.layout == LAYOUT => Ok(applied),
        Some(applied) => Err(format!("the rows have layout {}", applied.layout)),
        None => Ok(Applied {
            layout: LAYOUT,
            ..Applied::default()
        }),
    }
}

/// Reads every row and compares count and digest.
fn verify(
    rows: &dyn Rows,
    applied: &Applied,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), String> {
    let mut sum = RowSum::default();
    let mut done = 0;
    let range = KeyRange {
        start: vec![keys::META + 1],
        end: vec![u8::MAX],
    };
    let scan = rows.scan(&range, Side::First, &mut |key, value| {
        sum.add(key, value);
        done += 1;
        if done % PROGRESS_STEP == 0 {
            progress(Progress {
                phase: Phase::Verify,
                done,
                total: applied.row_count,
            });
        }
        Ok(std::ops::ControlFlow::Continue(()))
    });
    scan.map_err(|error| error.to_string())?;
    progress(Progress {
        phase: Phase::Verify,
        done,
        total: applied.row_count,
    });
    if done != applied.row_count {
        return Err(format!(
            "there are {done} rows and should be {}",
            applied.row_count
        ));
    }
    if sum != applied.rows {
        return Err("the digest does not fit the rows".to_owned());
    }
    Ok(())
}

enum InLog {
    Same,
    Other,
    Beyond { last: Index },
}

/// Where the log has the entry that was applied last.
fn place_in_log(wal: &Wal, id: LogId) -> Result<InLog, Error> {
    let last = wal.last().map(|last| last.index);
    if last.is_none_or(|last| last < id.index) {
        return Ok(InLog::Beyond {
            last: last.unwrap_or_default(),
        });
    }
    if let Some(purged) = wal.purged().filter(|purged| id.index <= purged.index) {
        // Behind the log, the entries in between are gone; at its very beginning all is there.
        return Ok(if purged == id {
            InLog::Same
        } else {
            InLog::Other
        });
    }
    Ok(match wal.log_id(id.index)? {
        Some(found) if found == id => InLog::Same,
        Some(_) | None => InLog::Other,
    })
}
