//! What callers, readers and the writer share: one short lock over the log as it is in memory.
//!
//! Holds: `head` and `cache` are as of all calls so far, `chart` and `segments` as of what is
//! written. Never is anything waited for, written or answered under the lock, except for room.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cache::TailCache;
use super::chart::{Chart, Head};
use super::directory::Directory;
use super::kept::KeptBatches;
use super::queue::{Job, Queue};
use super::reader::OpenFiles;
use super::recovery::Known;
use crate::command::Policy;
use crate::config::WalConfig;
use crate::ids::LogId;
use crate::metrics::WalMetrics;
use crate::poison::Poison;

pub(super) struct Core {
    state: Mutex<State>,
    /// There is work, or the end of it.
    work: Condvar,
    /// Queue bytes were released.
    room: Condvar,
    pub(super) poison: Poison,
    pub(super) metrics: WalMetrics,
    pub(super) config: WalConfig,
    pub(super) directory: Directory,
    pub(super) files: OpenFiles,
    pub(super) kept: KeptBatches,
    pub(super) uuid: [u8; 16],
    /// Set once by the writer when it is gone: nothing answers any more.
    has_ended: AtomicBool,
    /// Keeps other processes out for as long as anybody may write or read.
    pub(super) _lock: Box<dyn Send + Sync>,
}

pub(super) struct State {
    pub(super) head: Head,
    pub(super) cache: TailCache,
    pub(super) queue: Queue,
    /// A commit that is not on its way to the disk yet.
    pub(super) committed: Option<LogId>,
    pub(super) policy: Policy,
    pub(super) chart: Chart,
    pub(super) segments: VecDeque<Known>,
    pub(super) is_closing: bool,
    /// The writer sleeps: only then is a wake-up worth a system call.
    is_writer_idle: bool,
    /// Somebody waits for room: as above.
    is_room_wanted: bool,
}

/// What the writer does next.
pub(super) enum Turn {
    /// Write these, and the commit with them.
    Jobs(Vec<Job>, Option<LogId>, Policy),
    /// The interval is over, or the policy no longer lets bytes wait.
    Sync,
    /// Nothing more will come.
    End(Option<LogId>),
}

/// The parts of a core that only `open` knows.
pub(super) struct Parts {
    pub(super) config: WalConfig,
    pub(super) directory: Directory,
    pub(super) uuid: [u8; 16],
    pub(super) lock: Box<dyn Send + Sync>,
    pub(super) chart: Chart,
    pub(super) segments: VecDeque<Known>,
}

impl Core {
    pub(super) fn new(parts: Parts) -> Self {
        let state = State {
            head: parts.chart.head,
            cache: TailCache::default(),
            queue: Queue::default(),
            committed: None,
            policy: parts.config.fsync,
            chart: parts.chart,
            segments: parts.segments,
            is_closing: false,
            is_writer_idle: false,
            is_room_wanted: false,
        };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Condvar::new(),
            poison: Poison::default(),
            metrics: WalMetrics::default(),
            config: parts.config,
            directory: parts.directory,
            files: OpenFiles::default(),
            kept: KeptBatches::default(),
            uuid: parts.uuid,
            has_ended: AtomicBool::new(false),
            _lock: parts.lock,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `bytes` more may wait for the writer.
    pub(super) fn state_with_room(&self, bytes: usize) -> MutexGuard<'_, State> {
        let bytes_max = self.config.queue_bytes_max;
        let mut state = self.state();
        while !state.queue.has_room(bytes, bytes_max) && !self.has_ended() {
            state.is_room_wanted = true;
            let waited = self.room.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Hands a job over; gives it back where nobody is left to take it.
    pub(super) fn push(&self, mut state: MutexGuard<'_, State>, job: Job) -> Option<Job> {
        if self.has_ended() {
            return Some(job);
        }
        state.queue.push(job);
        self.wake(state);
        None
    }

    /// Lets the writer look again at what there is to do.
    pub(super) fn wake(&self, mut state: MutexGuard<'_, State>) {
        let was_idle = std::mem::take(&mut state.is_writer_idle);
        drop(state);
        if was_idle {
            self.work.notify_one();
        }
    }

    /// For the writer: its next turn. `dirty_since`: how long written bytes have not been synced.
    pub(super) fn next_turn(&self, dirty_since: Option<Instant>) -> Turn {
        let mut state = self.state();
        loop {
            if !state.queue.is_empty() {
                let jobs = state.queue.take(self.config.batch_bytes_max);
                return Turn::Jobs(jobs, state.committed.take(), state.policy);
            }
            if state.is_closing {
                return Turn::End(state.committed.take());
            }
            let patience = patience(state.policy, dirty_since);
            if patience == Some(Duration::ZERO) {
                return Turn::Sync;
            }
            state.is_writer_idle = true;
            state = match patience {
                None => self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.work.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.is_writer_idle = false;
        }
    }

    /// For the writer: jobs of so many bytes are answered.
    pub(super) fn release(&self, bytes: usize) {
        let mut state = self.state();
        state.queue.release(bytes);
        self.metrics
            .queue_bytes
            .set(i64::try_from(state.queue.bytes()).unwrap_or(i64::MAX));
        let is_room_wanted = std::mem::take(&mut state.is_room_wanted);
        drop(state);
        if is_room_wanted {
            self.room.notify_all();
        }
    }

    /// For the writer: it is gone, however it went. Who waits for room is let in to be refused.
    pub(super) fn end(&self) -> Vec<Job> {
        let mut state = self.state();
        self.has_ended.store(true, Ordering::SeqCst);
        let rest = state.queue.take(usize::MAX);
        drop(state);
        self.room.notify_all();
        rest
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }
}

/// How long written bytes may still wait for their sync; `None`: for as long as they like.
pub(super) fn patience(policy: Policy, dirty_since: Option<Instant>) -> Option<Duration> {
    let since = dirty_since?;
    match policy {
        Policy::Always => Some(Duration::ZERO),
        Policy::IntervalMs(ms) => {
            Some(Duration::from_millis(ms.into()).saturating_sub(since.elapsed()))
        }
        Policy::Never => None,
    }
}

/// For a thread that holds the core alone to its end.
pub(super) struct EndGuard(pub(super) Arc<Core>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison.set("the log's writer panicked");
        }
        // Their replies are spoken as they drop, in order.
        drop(self.0.end());
    }
}
