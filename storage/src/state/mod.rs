//! The state: what applying the log has made, kept in rows.
//!
//! Holds: [`State::apply`] is the only way to change it, and a pure function of rows and entry: no
//! clock, no dice, no settings, no order that a hash map would choose. One entry is one write: its
//! rows, its id, the row count and the digests are visible together or not at all. It is derived
//! from the log, so it is never synced on the way and never repaired: in doubt it is built again.

mod apply;
mod checkpoint;
mod config;
mod dedupe;
mod digests;
mod expiry;
mod export;
mod facts;
mod forms;
mod home;
mod horizon;
mod keys;
mod lines;
mod open;
mod overlay;
mod pack;
mod parked;
mod places;
mod rules;
mod sessions;
mod tasks;
mod verify;
mod view;
mod withheld;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

pub use checkpoint::{Checkpoint, Checkpoints, Incoming};
pub use config::{Engine, StateConfig};
pub use dedupe::KeyReader;
pub use digests::Digests;
pub use forms::FormRow;
pub use open::{Opened, Phase, Progress, StateParts};
pub use parked::{ParkedMark, ParkedRow};
pub use rules::LEVEL_MAX;
pub use tasks::{CursorRow, TaskRow};
pub use verify::OnDoubt;
pub use view::StateView;

pub(crate) use apply::Apply;
pub(crate) use places::Run;

use crate::error::Error;
use crate::ids::LogId;
use crate::metrics::StateMetrics;
use crate::outcome::{Outcome, Voters};
use crate::rows::{FjallRows, Rows};
use crate::wal::{Entry, EntryKind};
use checkpoint::Cutter;
use digests::Applied;
use expiry::Oldest;
use overlay::Hot;
use rules::Rules;
use verify::Verifier;
use view::Shared;

/// How the rows are laid out. Another number in the rows means: build them again.
const LAYOUT: u32 = 3;

/// Reads how many vote out of a membership's bytes, which are the business of the room above.
pub type VotersOf = fn(&[u8]) -> Voters;

/// The one owner that applies.
pub struct State {
    shared: Arc<Shared>,
    applied: Applied,
    members: Option<(LogId, Bytes)>,
    voters: Voters,
    voters_of: VotersOf,
    rules: Rules,
    hot: Hot,
    oldest: Oldest,
    /// Where to leave word of an orderly end.
    home: Option<home::Home>,
    /// Watches what is applied, in a node.
    cutter: Option<Cutter>,
    verifier: Verifier,
    #[cfg(feature = "testing")]
    spoil_at: Option<crate::ids::Index>,
}

impl State {
    /// A state in memory that is gone with the process: for simulation and tests.
    #[cfg(feature = "testing")]
    pub fn in_memory(voters_of: VotersOf) -> Self {
        match Self::over(
            Arc::new(crate::rows::MemoryRows::default()),
            voters_of,
            None,
        ) {
            Ok(state) => state,
            Err(error) => unreachable!("an empty state in memory opens: {error}"),
        }
    }

    /// As [`Self::in_memory`], with room for so few bytes of keys: to see what a full house does.
    #[cfg(feature = "testing")]
    pub fn in_memory_with_keys(voters_of: VotersOf, key_bytes_max: u64) -> Self {
        let mut state = Self::in_memory(voters_of);
        state.rules.key_bytes_max = key_bytes_max;
        state
    }

    /// Reads of a state that lies in `dir` and that nobody works with: a copy. Nothing is applied
    /// or judged; opening may finish what the store's last process left half done.
    pub fn peek(dir: &Path, config: &StateConfig) -> Result<StateView, Error> {
        let rows = Arc::new(FjallRows::open(&home::rows_dir(dir), config)?);
        Ok(Self::over(rows, |_| Voters::default(), None)?.view())
    }

    fn over(
        rows: Arc<dyn Rows>,
        voters_of: VotersOf,
        home: Option<home::Home>,
    ) -> Result<Self, Error> {
        let applied = view::load(&*rows, &keys::meta_applied(), "what is applied")?;
        let applied = applied.unwrap_or(Applied {
            layout: LAYOUT,
            ..Applied::default()
        });
        let members = facts::members(&*rows)?;
        let shared = Shared {
            rows,
            applied: Mutex::new(applied),
            definitions: AtomicU64::new(0),
            metrics: StateMetrics::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            applied,
            voters: members
                .as_ref()
                .map(|(_, bytes)| voters_of(bytes))
                .unwrap_or_default(),
            members,
            voters_of,
            rules: Rules::FIRST,
            hot: Hot::default(),
            oldest: Oldest::default(),
            home,
            cutter: None,
            verifier: Verifier::default(),
            #[cfg(feature = "testing")]
            spoil_at: None,
        })
    }

    /// The last entry applied.
    pub const fn applied(&self) -> Option<LogId> {
        self.applied.id
    }

    /// The last membership applied, as the room above wrote it.
    pub fn membership(&self) -> Option<(LogId, Bytes)> {
        self.members.clone()
    }

    /// Applies the next entry. After an error the state must not be used any more: the entry is
    /// part of history, and whoever cannot apply it cannot go on.
    pub fn apply(&mut self, entry: &Entry) -> Result<Outcome, Error> {
        self.assert_next(entry);
        let rows = Arc::clone(&self.shared.rows);
        let mut apply = Apply::begin(self, &*rows, entry.id)?;
        let outcome = apply.entry(entry)?;
        let done = apply.end()?;
        self.applied.id = Some(entry.id);
        self.applied.tally = done.tally;
        #[cfg(feature = "testing")]
        if self.spoil_at == Some(entry.id.index) {
            self.applied.tally.rows.0 ^= 1;
        }
        self.applied.chain = digests::chain(self.applied.chain, entry.id.index, &entry.payload);
        self.write(&done)?;
        self.hot.take(&done.changes);
        if entry.kind == EntryKind::Membership {
            self.voters = (self.voters_of)(&entry.payload);
            self.members = Some((entry.id, entry.payload.clone()));
        }
        *self
            .shared
            .applied
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = self.applied;
        if done.has_new_definitions {
            self.shared.definitions.fetch_add(1, Ordering::Release);
        }
        self.tell(&done, &outcome);
        if let Some(cutter) = &mut self.cutter {
            cutter.applied(&self.shared.rows, entry.id);
        }
        Ok(outcome)
    }

    fn tell(&self, done: &apply::Done, outcome: &Outcome) {
        let metrics = &self.shared.metrics;
        metrics
            .applied_index
            .set(gauge(self.applied.id.map_or(0, |id| id.index.0)));
        metrics.rows.set(gauge(self.applied.tally.row_count));
        metrics.key_bytes.set(gauge(done.clock.key_bytes));
        metrics.time_ms.set(gauge(done.clock.time_ms));
        if let Outcome::Pack(pack) = outcome {
            metrics.count(&pack.slots);
        }
    }

    /// Everything as one write.
    fn write(&self, done: &apply::Done) -> Result<(), Error> {
        let applied = crate::codec::encode_row(&self.applied);
        let mut about = vec![(keys::meta_applied(), Bytes::from(applied))];
        let digests = self.applied.digests();
        if digests.index.0.is_multiple_of(digests::RING_STEP) {
            let slot = (digests.index.0 / digests::RING_STEP) % digests::RING_LEN;
            let key = keys::meta_ring(u8::try_from(slot).unwrap_or(0));
            about.push((key, crate::codec::encode_row(&digests).into()));
        }
        let about = about
            .iter()
            .map(|(key, value)| (key.as_slice(), Some(value)));
        let changes = done
            .changes
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_ref()));
        self.shared.rows.write(&mut changes.chain(about))
    }

    /// Commands carry seqs in their wake, so none may be skipped; other entries may (a test of the
    /// room above begins in the middle of a log).
    fn assert_next(&self, entry: &Entry) {
        let Some(applied) = self.applied.id else {
            return;
        };
        let index = entry.id.index;
        assert!(
            applied.index < index,
            "entry {} is applied after {applied}",
            entry.id
        );
        let is_next = applied.index.next() == index;
        assert!(
            is_next || entry.kind != EntryKind::Command,
            "command {} is applied after {applied}",
            entry.id,
        );
    }

    /// Writes the whole state, as a snapshot carries it.
    pub fn export(&self, to: &mut dyn io::Write) -> Result<(), Error> {
        export::export(&*self.shared.rows.snapshot(), to)
    }

    /// The checkpoints of this state; a state in memory has none.
    pub fn checkpoints(&self) -> Option<&Checkpoints> {
        self.cutter.as_ref().map(Cutter::checkpoints)
    }

    /// Cuts one here and now, and waits for it.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, Error> {
        let (Some(checkpoints), Some(id)) = (self.checkpoints(), self.applied()) else {
            return Ok(None);
        };
        let rows = self.shared.rows.snapshot();
        checkpoints.write(&*rows, id, &Arc::default()).map(Some)
    }

    /// Waits for the checkpoint that is being written, if one is.
    pub fn wait_for_checkpoint(&mut self) {
        if let Some(cutter) = &mut self.cutter {
            cutter.wait();
        }
    }

    /// Looks at all rows beside the running node, where the end before was without order. Should
    /// they not be whole, the next start builds the state anew and `on_doubt` is told why.
    pub fn verify_beside(&mut self, on_doubt: OnDoubt) {
        self.verifier.begin(self.home.clone(), on_doubt);
    }

    /// Replaces the whole state by an exported one. Until it returns `Ok` nothing may be read; a
    /// crash on the way is noticed at the next open.
    pub fn import(&mut self, from: &mut dyn io::Read) -> Result<(), Error> {
        // What was to be looked at is about to go; what comes is checked as it is read.
        self.verifier = Verifier::default();
        export::import(&*self.shared.rows, from)?;
        let rows = Arc::clone(&self.shared.rows);
        let fresh = Self::over(rows, self.voters_of, None)?;
        self.applied = fresh.applied;
        self.members.clone_from(&fresh.members);
        self.voters = fresh.voters;
        self.hot = Hot::default();
        self.oldest = Oldest::default();
        *self
            .shared
            .applied
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = self.applied;
        self.shared.definitions.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// A reader.
    pub fn view(&self) -> StateView {
        StateView::new(Arc::clone(&self.shared))
    }

    /// Makes the rows durable and says so, which spares the next start a look at all of them.
    pub fn close(mut self) -> Result<(), Error> {
        self.cutter = None;
        let is_whole = self.verifier.end();
        self.shared.rows.sync()?;
        match &self.home {
            Some(home) if is_whole => home.leave_word(&self.applied),
            Some(_) | None => Ok(()),
        }
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("applied", &self.applied.id)
            .finish_non_exhaustive()
    }
}
