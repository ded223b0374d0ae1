//! When a checkpoint is cut, and the thread that writes it.
//!
//! Holds: it is cut between two entries, by the one who applies: exactly behind the first entry at
//! or past the end of a sealed segment, once enough of the log lies behind the last one, or at once
//! when one was asked for. What is written is a snapshot of the rows, which no later entry changes,
//! so applying goes on meanwhile; nothing that `apply` answers depends on it. One is under way at
//! most. One that fails is tried again later: the log stays, which costs room and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::Checkpoints;
use crate::ids::{Index, LogId};
use crate::rows::Rows;
use crate::wal::Wal;

/// The log's files are looked at behind every so many entries.
const LOOK_ENTRIES: u32 = 32;

/// Watches the applied entries.
pub(crate) struct Cutter {
    checkpoints: Checkpoints,
    wal: Wal,
    bytes: u64,
    countdown: u32,
    writing: Option<JoinHandle<()>>,
    cancel: Arc<AtomicBool>,
}

impl Cutter {
    /// One checkpoint every `bytes` of the log.
    pub(crate) fn new(checkpoints: Checkpoints, wal: Wal, bytes: u64) -> Self {
        Self {
            checkpoints,
            wal,
            bytes,
            countdown: LOOK_ENTRIES,
            writing: None,
            cancel: Arc::default(),
        }
    }

    pub(crate) const fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// `id` was applied just now, and `rows` show it as the last one.
    pub(crate) fn applied(&mut self, rows: &Arc<dyn Rows>, id: LogId) {
        self.countdown = self.countdown.saturating_sub(1);
        let is_wanted = self.checkpoints.is_wanted();
        if self.countdown > 0 && !is_wanted {
            return;
        }
        self.countdown = LOOK_ENTRIES;
        if self.writing.as_ref().is_some_and(|one| !one.is_finished()) {
            return;
        }
        let newest = self.checkpoints.newest(Index(u64::MAX));
        let newest = newest.map(|one| one.id.index).unwrap_or_default();
        let bytes = self.behind(newest, id.index);
        if bytes > 0 && (is_wanted || self.bytes <= bytes) {
            self.checkpoints
                .inner
                .is_wanted
                .store(false, Ordering::Release);
            self.cut(rows, id);
        }
    }

    /// The length of the sealed segments that end behind `newest` and are applied whole.
    fn behind(&self, newest: Index, applied: Index) -> u64 {
        let ends_between = |last: Index| newest < last && last <= applied;
        let segments = self.wal.segments().into_iter();
        segments
            .filter(|segment| !segment.is_active && segment.last.is_some_and(ends_between))
            .map(|segment| segment.bytes)
            .sum()
    }

    fn cut(&mut self, rows: &Arc<dyn Rows>, id: LogId) {
        let snapshot = rows.snapshot();
        let (checkpoints, cancel) = (self.checkpoints.clone(), Arc::clone(&self.cancel));
        let write = move || {
            let began = Instant::now();
            match checkpoints.write(&*snapshot, id, &cancel) {
                Ok(one) => tracing::info!(
                    index = %id.index,
                    bytes = one.bytes,
                    elapsed_ms = began.elapsed().as_millis(),
                    "checkpoint written"
                ),
                Err(_) if cancel.load(Ordering::Acquire) => {}
                Err(error) => {
                    tracing::warn!(%error, index = %id.index, "no checkpoint was written");
                }
            }
        };
        if crate::simulation::is_on() {
            return write();
        }
        let thread = std::thread::Builder::new().name("checkpoint".to_owned());
        match thread.spawn(write) {
            Ok(writing) => self.writing = Some(writing),
            Err(error) => tracing::warn!(%error, "no checkpoint was begun"),
        }
    }

    /// Waits for the one that is under way.
    pub(crate) fn wait(&mut self) {
        if let Some(writing) = self.writing.take() {
            // It says itself what became of it.
            drop(writing.join());
        }
    }
}

impl Drop for Cutter {
    /// The rows must be free when whoever holds them says that they are closed.
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Release);
        self.wait();
    }
}
