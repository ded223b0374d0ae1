//! What callers, readers and the writer share: one short lock over the log as it is in memory.
//!
//! Holds: `head` and `cache` are as of all calls so far, `chart` and `segments` as of what is
//! written. Never is anything waited for, written or answered under the lock, except for room.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::cache::TailCache;
use super::chart::{Chart, Head};
use super::damage::{Damage, Floor};
use super::directory::Directory;
use super::entry::SegmentId;
use super::kept::KeptBatches;
use super::mode::{WriteMode, mode_on};
use super::open_files::OpenFiles;
use super::piece::Piece;
use super::pool::Pool;
use super::queue::{Needs, Queue};
use super::record::Record;
use super::recovery::Known;
use super::scrub::Scrubber;
use crate::command::Policy;
use crate::config::WalConfig;
use crate::error::Error;
use crate::ids::{Index, LogId};
use crate::metrics::WalMetrics;
use crate::poison::Poison;

pub(super) struct Core {
    state: Mutex<State>,
    /// The active segment's: what comes in is encoded for it. Changed under the state's lock only.
    salt: AtomicU64,
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
    pub(super) pool: Pool,
    pub(super) scrub: Scrubber,
    /// Held while a damaged file is read for what it has lost.
    pub(super) surveying: Mutex<()>,
    mode: OnceLock<WriteMode>,
    pub(super) uuid: [u8; 16],
    /// The log's own threads: they never wait for each other's end.
    own_threads: Mutex<Vec<ThreadId>>,
    /// Set once by the writer when it is gone: nothing answers any more.
    has_ended: AtomicBool,
    /// Wakes whoever drives the writer in place of its thread.
    #[cfg(feature = "testing")]
    pub(super) bell: super::stepped::Bell,
    /// Keeps other processes out for as long as anybody may write or read.
    pub(super) lock: Mutex<Option<Box<dyn Send + Sync>>>,
}

pub(super) struct State {
    pub(super) head: Head,
    pub(super) cache: TailCache,
    pub(super) queue: Queue,
    /// A commit that is not on its way to the disk yet.
    pub(super) committed: Option<LogId>,
    pub(super) policy: Policy,
    pub(super) chart: Chart,
    /// Truncations and purges that the chart does not know of yet, in order.
    pub(super) unwritten_drops: VecDeque<Record>,
    pub(super) segments: VecDeque<Known>,
    pub(super) findings: Vec<Damage>,
    pub(super) floor: Option<Floor>,
    pub(super) is_closing: bool,
    /// The writer sleeps: only then is a wake-up worth a system call.
    is_writer_idle: bool,
    /// Somebody waits for room: as above.
    is_room_wanted: bool,
}

/// What the writer does next.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the one that counts, and is moved once"
)]
pub(super) enum Turn {
    /// Write this, and the commit with it.
    Batch(Waiting),
    /// Nothing has come for a while: say durably that what was written last is durable.
    Mark,
    /// The interval is over, or the policy no longer lets bytes wait.
    Sync,
    /// Nothing more will come.
    End(Option<LogId>),
}

/// A batch in its turn.
pub(super) struct Waiting {
    pub(super) batch: Batch,
    /// The commit that goes with it.
    pub(super) committed: Option<LogId>,
    pub(super) policy: Policy,
}

/// The parts of a core that only `open` knows.
pub(super) struct Parts {
    pub(super) config: WalConfig,
    pub(super) directory: Directory,
    pub(super) uuid: [u8; 16],
    pub(super) lock: Box<dyn Send + Sync>,
    pub(super) chart: Chart,
    pub(super) segments: VecDeque<Known>,
    pub(super) findings: Vec<Damage>,
    pub(super) floor: Option<Floor>,
}

/// What the writer may still have to do when nothing comes.
#[derive(Clone, Copy)]
pub(super) struct Left {
    /// Since when written bytes have not been synced.
    pub(super) dirty_since: Option<Instant>,
    /// The last batch is durable, and nothing behind it says so yet.
    pub(super) wants_mark: bool,
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
            unwritten_drops: VecDeque::new(),
            segments: parts.segments,
            findings: parts.findings,
            floor: parts.floor,
            is_closing: false,
            is_writer_idle: false,
            is_room_wanted: false,
        };
        Self {
            state: Mutex::new(state),
            salt: AtomicU64::new(0),
            work: Condvar::new(),
            room: Condvar::new(),
            poison: Poison::default(),
            metrics: WalMetrics::default(),
            config: parts.config,
            directory: parts.directory,
            files: OpenFiles::default(),
            kept: KeptBatches::default(),
            pool: Pool::default(),
            scrub: Scrubber::default(),
            surveying: Mutex::default(),
            mode: OnceLock::new(),
            uuid: parts.uuid,
            own_threads: Mutex::default(),
            has_ended: AtomicBool::new(false),
            #[cfg(feature = "testing")]
            bell: super::stepped::Bell::default(),
            lock: Mutex::new(Some(parts.lock)),
        }
    }

    /// How batches reach the disk under `always`: found out at open, the same from then on.
    pub(super) fn mode(&self) -> WriteMode {
        *self.mode.get_or_init(|| WriteMode::Buffered)
    }

    /// The same, by a try on this file where nothing has been tried yet.
    pub(super) fn find_mode(&self, path: &Path) -> Result<WriteMode, Error> {
        if let Some(mode) = self.mode.get() {
            return Ok(*mode);
        }
        let mode = mode_on(self.directory.disk(), path)?;
        Ok(*self.mode.get_or_init(|| mode))
    }

    pub(super) fn own(&self, thread: ThreadId) {
        self.threads().push(thread);
    }

    pub(super) fn is_own_thread(&self) -> bool {
        self.threads().contains(&std::thread::current().id())
    }

    fn threads(&self) -> MutexGuard<'_, Vec<ThreadId>> {
        self.own_threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a finding, once a segment: whether this is the first one. `None`: there is no such
    /// segment (any more).
    pub(super) fn note_damage(&self, segment: SegmentId, finding: Damage) -> Option<bool> {
        let mut state = self.state();
        let mut segments = state.segments.iter_mut();
        let found = segments.find(|known| known.info.id == segment)?;
        if std::mem::replace(&mut found.is_damaged, true) {
            return Some(false);
        }
        self.metrics.damaged.inc();
        state.findings.push(finding);
        Some(true)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The active segment's. Without the lock it may be another's a moment later.
    pub(super) fn salt(&self) -> u64 {
        self.salt.load(Ordering::Relaxed)
    }

    /// `_state`: whoever has that has the lock.
    pub(super) fn set_salt(&self, _state: &mut State, salt: u64) {
        self.salt.store(salt, Ordering::Relaxed);
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

    /// Hands a call over; gives it back where nobody is left to take it.
    pub(super) fn push(
        &self,
        mut state: MutexGuard<'_, State>,
        pieces: impl IntoIterator<Item = Piece>,
        needs: Needs,
    ) -> Option<Needs> {
        if self.has_ended() {
            return Some(needs);
        }
        let bytes_max = self.config.batch_bytes_max;
        state.queue.push(self.salt(), bytes_max, pieces, needs);
        self.wake(state);
        None
    }

    /// Stops the log for good.
    pub(super) fn poison_by(&self, error: &Error) -> Arc<str> {
        let source = std::error::Error::source(error).map(|source| format!(": {source}"));
        let reason: Arc<str> = Arc::from(format!("{error}{}", source.unwrap_or_default()));
        self.metrics.poisoned.set(1);
        self.poison.set(&reason);
        reason
    }

    /// Lets the writer look again at what there is to do.
    pub(super) fn wake(&self, mut state: MutexGuard<'_, State>) {
        let was_idle = std::mem::take(&mut state.is_writer_idle);
        drop(state);
        if was_idle {
            self.work.notify_one();
        }
        #[cfg(feature = "testing")]
        self.bell.ring();
    }

    /// For the writer: its next turn.
    pub(super) fn next_turn(&self, left: Left) -> Turn {
        let mut state = self.state();
        loop {
            if let Some(turn) = state.turn(left) {
                return turn;
            }
            let patience = patience(state.policy, left.dirty_since);
            let is_idling = left.wants_mark && left.dirty_since.is_none();
            let patience = if is_idling {
                self.config.idle_mark()
            } else {
                patience
            };
            state.is_writer_idle = true;
            state = match patience {
                None => self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.work.wait_timeout(state, left);
                    let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
                    let is_still = state.queue.is_empty() && !state.is_closing;
                    if is_idling && waited.timed_out() && is_still {
                        return Turn::Mark;
                    }
                    state
                }
            };
            state.is_writer_idle = false;
        }
    }

    /// For the writer: what the batch's calls counted is room again.
    pub(super) fn release(&self, mut state: MutexGuard<'_, State>, batch: &mut Batch) {
        state.queue.release(std::mem::take(&mut batch.cost));
        let bytes = i64::try_from(state.queue.bytes()).unwrap_or(i64::MAX);
        let is_room_wanted = std::mem::take(&mut state.is_room_wanted);
        drop(state);
        self.metrics.queue_bytes.set(bytes);
        if is_room_wanted {
            self.room.notify_all();
        }
    }

    pub(super) fn tell_cache(&self, state: &State) {
        let bytes = i64::try_from(state.cache.bytes()).unwrap_or(i64::MAX);
        self.metrics.cache_bytes.set(bytes);
    }

    pub(super) fn tell_segments(&self, state: &State) {
        let count = i64::try_from(state.segments.len()).unwrap_or(i64::MAX);
        self.metrics.segments.set(count);
    }

    /// For the writer: it is gone, however it went. Who waits for room is let in to be refused.
    pub(super) fn end(&self) -> Vec<Batch> {
        let mut state = self.state();
        self.has_ended.store(true, Ordering::SeqCst);
        let rest = std::iter::from_fn(|| state.queue.pop()).collect();
        drop(state);
        self.room.notify_all();
        rest
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }
}

impl State {
    /// Whether the log has an entry at `index` that it cannot read, as of all calls so far.
    pub(super) fn is_lost(&self, index: Index) -> bool {
        let mut drops = self.unwritten_drops.iter();
        self.chart.hole_at(index).is_some() && !drops.any(|drop| drop.drops(index))
    }

    /// The batch that waits, if there is one.
    pub(super) fn waiting(&mut self) -> Option<Waiting> {
        let batch = self.queue.pop()?;
        // Never ahead of the entries that it speaks of: they may be in a later batch, and a log that
        // ends before its own commit cannot be used.
        let is_last = self.queue.is_empty();
        let committed = self.committed.take_if(|_| is_last);
        Some(Waiting {
            batch,
            committed,
            policy: self.policy,
        })
    }

    /// What can be done at once; `None`: there is nothing to do yet.
    pub(super) fn turn(&mut self, left: Left) -> Option<Turn> {
        if let Some(waiting) = self.waiting() {
            return Some(Turn::Batch(waiting));
        }
        if self.is_closing {
            return Some(Turn::End(self.committed.take()));
        }
        let patience = patience(self.policy, left.dirty_since);
        (patience == Some(Duration::ZERO)).then_some(Turn::Sync)
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
        self.0.pool.close();
        // Their replies are spoken as they drop, in order.
        drop(self.0.end());
    }
}
