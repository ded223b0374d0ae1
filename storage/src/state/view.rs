//! What anyone may read of the state, from any thread.
//!
//! Holds: a view shows applied entries only, each whole or not at all, because every answer comes
//! from a snapshot, and from one only; the rows themselves would show a write that is half done.
//! Each answer is as new as its own snapshot. A view never writes and never blocks the one who
//! applies.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::dedupe::KeyReader;
use super::digests::{self, Applied, Digests};
use super::forms::FormRow;
use super::parked::{ParkedMark, ParkedRow};
use super::places::Run;
use super::tasks::{CursorRow, TaskRow};
use super::{expiry, forms, horizon, keys, parked, tasks};
use crate::codec;
use crate::command::Policy;
use crate::error::Error;
use crate::ids::{FormId, Index, LogId, NodeId, Position, Seq, Slot};
use crate::metrics::StateMetrics;
use crate::rows::{KeyRange, Read, Rows, Side};

/// Reads the state.
#[derive(Clone)]
pub struct StateView {
    shared: Arc<Shared>,
}

/// What the one who applies and those who read have in common.
pub(crate) struct Shared {
    /// To read from another thread than the one that writes: through a snapshot.
    pub(crate) rows: Arc<dyn Rows>,
    /// Written after each apply, once its rows are visible.
    pub(crate) applied: Mutex<Applied>,
    /// Grows with every change of a form or task.
    pub(crate) definitions: AtomicU64,
    pub(crate) metrics: StateMetrics,
}

impl Shared {
    pub(crate) fn applied(&self) -> Applied {
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateView {
    /// The most that idempotency keys may take.
    pub const KEYS_BYTES_MAX: u64 = super::rules::Rules::FIRST.key_bytes_max;

    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The state's numbers, to be registered.
    pub fn metrics(&self) -> &StateMetrics {
        &self.shared.metrics
    }

    /// The last entry applied.
    pub fn applied(&self) -> Option<LogId> {
        self.shared.applied().id
    }

    /// Milliseconds of replicated time.
    pub fn state_time(&self) -> Result<u64, Error> {
        Ok(self.clock()?.time_ms)
    }

    /// Bytes that idempotency keys take.
    pub fn keys_bytes(&self) -> Result<u64, Error> {
        Ok(self.clock()?.key_bytes)
    }

    /// Another number than before: some form or task has changed.
    pub fn definitions_version(&self) -> u64 {
        self.shared.definitions.load(Ordering::Acquire)
    }

    /// The form of that name, retired or not.
    pub fn form(&self, name: &str) -> Result<Option<FormRow>, Error> {
        let rows = self.rows();
        match load::<FormId>(&*rows, &keys::form_name(name), "a form's name")? {
            Some(form) => forms::row(&*rows, form),
            None => Ok(None),
        }
    }

    /// All forms, by name.
    pub fn forms(&self) -> Result<Vec<FormRow>, Error> {
        let rows = self.rows();
        let mut ids: Vec<FormId> = Vec::new();
        rows.scan(
            &KeyRange::prefix(vec![keys::FORM_NAME]),
            Side::First,
            &mut |_, value| {
                ids.push(codec::decode_row("a form's name", value)?);
                Ok(ControlFlow::Continue(()))
            },
        )?;
        ids.into_iter()
            .filter_map(|form| forms::row(&*rows, form).transpose())
            .collect()
    }

    /// A definition as it was in `version`.
    pub fn definition(&self, form: FormId, version: u32) -> Result<Option<Bytes>, Error> {
        forms::definition(&*self.rows(), form, version)
    }

    /// The form's last seq; 0: none yet.
    pub fn head(&self, form: FormId) -> Result<Seq, Error> {
        let head = load(&*self.rows(), &keys::head(form), "a head")?;
        Ok(head.unwrap_or_default())
    }

    /// Looks up idempotency keys.
    pub const fn key_reader(&self) -> KeyReader<'_> {
        KeyReader::new(self)
    }

    /// All tasks, by name.
    pub fn tasks(&self) -> Result<Vec<TaskRow>, Error> {
        let rows = self.rows();
        let mut found = Vec::new();
        rows.scan(
            &KeyRange::prefix(vec![keys::TASK]),
            Side::First,
            &mut |key, value| {
                let name = String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned();
                found.push((name, codec::decode_row::<tasks::Task>("a task", value)?));
                Ok(ControlFlow::Continue(()))
            },
        )?;
        let live = found.into_iter().filter(|(_, task)| !task.is_retired);
        live.map(|(name, task)| tasks::row(&*rows, name, &task))
            .collect()
    }

    /// The task of that name.
    pub fn task(&self, name: &str) -> Result<Option<TaskRow>, Error> {
        let rows = self.rows();
        let task = tasks::live(&*rows, name)?;
        task.map(|task| tasks::row(&*rows, name.to_owned(), &task))
            .transpose()
    }

    /// Where a task stands: with one form, or (`None`) with all of them.
    pub fn cursor(&self, task: &str, form: Option<FormId>) -> Result<Option<CursorRow>, Error> {
        let rows = self.rows();
        let Some(task) = tasks::live(&*rows, task)? else {
            return Ok(None);
        };
        let cursor = load::<tasks::Cursor>(&*rows, &keys::cursor(task.born, form), "a cursor")?;
        Ok(Some(task.cursor(cursor)))
    }

    /// At most `count_max` parked records of a task, after a position.
    pub fn parked(
        &self,
        task: &str,
        after: Position,
        count_max: usize,
    ) -> Result<Vec<ParkedRow>, Error> {
        let rows = self.rows();
        match tasks::live(&*rows, task)? {
            Some(task) => parked::list(&*rows, task.born, after, count_max),
            None => Ok(Vec::new()),
        }
    }

    /// What a task has parked after `from`, up to `to`.
    pub fn parked_marks(
        &self,
        task: &str,
        from: Position,
        to: Position,
    ) -> Result<Vec<ParkedMark>, Error> {
        let rows = self.rows();
        match tasks::live(&*rows, task)? {
            Some(task) => parked::marks(&*rows, task.born, (from, to)),
            None => Ok(Vec::new()),
        }
    }

    /// What a task delivers a second time behind entry `after`: the entry at whose position it comes,
    /// and where it was parked.
    pub fn unparked_marks(
        &self,
        task: &str,
        after: Index,
    ) -> Result<Vec<(Index, ParkedMark)>, Error> {
        let rows = self.rows();
        match tasks::live(&*rows, task)? {
            Some(task) => parked::unparked_marks(&*rows, task.born, after),
            None => Ok(Vec::new()),
        }
    }

    /// Records that a task delivers a second time: the entry at whose position each one comes, and
    /// the record.
    pub fn unparked(
        &self,
        task: &str,
        after: Index,
        count_max: usize,
    ) -> Result<Vec<(Index, ParkedRow)>, Error> {
        let rows = self.rows();
        match tasks::live(&*rows, task)? {
            Some(task) => parked::list_unparked(&*rows, task.born, after, count_max),
            None => Ok(Vec::new()),
        }
    }

    /// Where at most `count_max` withheld submissions lie, after a position.
    pub fn withheld(
        &self,
        form: FormId,
        after: Position,
        count_max: usize,
    ) -> Result<Vec<Position>, Error> {
        let after = after.max(horizon::end_of(self.horizon()?));
        let range = KeyRange {
            start: super::overlay::successor(&keys::withheld(form, after)),
            end: keys::withheld(FormId(form.0.saturating_add(1)), Position::default()),
        };
        self.withheld_between(&range, count_max)
    }

    /// Where the withheld submissions of one entry lie: no more than a pack holds.
    pub(crate) fn withheld_in(&self, form: FormId, index: Index) -> Result<Vec<Position>, Error> {
        if index <= self.horizon()? {
            return Ok(Vec::new());
        }
        let at = |slot| keys::withheld(form, Position { index, slot });
        let range = KeyRange {
            start: at(Slot(0)),
            end: super::overlay::successor(&at(Slot(u32::MAX))),
        };
        self.withheld_between(&range, usize::MAX)
    }

    fn withheld_between(&self, range: &KeyRange, count_max: usize) -> Result<Vec<Position>, Error> {
        let mut found = Vec::new();
        self.rows().scan(range, Side::First, &mut |key, _| {
            if found.len() == count_max {
                return Ok(ControlFlow::Break(()));
            }
            found.push(keys::tail_position(key));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// The hash of the token of that name.
    pub fn token_hash(&self, name: &str) -> Result<Option<[u8; 32]>, Error> {
        load(&*self.rows(), &keys::token(name), "a token")
    }

    /// How durable an acknowledged submission is, from the next entry on.
    pub fn policy(&self) -> Result<Policy, Error> {
        Ok(load(&*self.rows(), &keys::fact_policy(), "the policy")?.unwrap_or_default())
    }

    /// Whether a policy was ever set by command (at genesis it is).
    pub fn has_policy(&self) -> Result<bool, Error> {
        Ok(self.rows().get(&keys::fact_policy())?.is_some())
    }

    /// The boot that the session of `node` belongs to; `None`: it has none.
    pub fn session_boot(&self, node: NodeId) -> Result<Option<u64>, Error> {
        super::sessions::boot(&*self.rows(), node)
    }

    /// Which rules run.
    pub fn level(&self) -> Result<u32, Error> {
        Ok(load(&*self.rows(), &keys::fact_level(), "the level")?.unwrap_or(1))
    }

    /// Both digests at the last applied entry.
    pub fn digests(&self) -> Digests {
        self.shared.applied().digests()
    }

    /// Both digests at every remembered index, oldest first.
    pub fn digest_ring(&self) -> Result<Vec<Digests>, Error> {
        let rows = self.rows();
        let mut ring = Vec::new();
        for slot in 0..digests::RING_LEN {
            let slot = u8::try_from(slot).unwrap_or(u8::MAX);
            ring.extend(load::<Digests>(&*rows, &keys::meta_ring(slot), "a digest")?);
        }
        ring.sort_unstable_by_key(|digests: &Digests| digests.index);
        Ok(ring)
    }

    /// How many rows there are.
    pub fn row_count(&self) -> u64 {
        self.shared.applied().tally.row_count
    }

    /// Bytes that the rows take on disk, about.
    pub fn disk_bytes(&self) -> u64 {
        self.shared.rows.disk_bytes()
    }

    /// Runs of `form`, in order, from the one that holds `seq` on, while `each` wants more.
    pub(crate) fn places(
        &self,
        form: FormId,
        seq: Seq,
        each: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        // From one snapshot: places go once the horizon has passed them.
        let rows = self.rows();
        let oldest = horizon::oldest(&*rows, form)?;
        if seq < oldest {
            return Err(Error::Forgotten { oldest });
        }
        super::places::scan(&*rows, form, seq, each)
    }

    /// Runs of `forms` by position, from the first one that ends after `after`, until they hold
    /// `count_max` records.
    pub(crate) fn runs_after(
        &self,
        after: Position,
        forms: &BTreeSet<FormId>,
        count_max: usize,
    ) -> Result<Vec<Run>, Error> {
        let rows = self.rows();
        let after = after.max(horizon::end_of(horizon::of(&*rows)?));
        let mut runs = Vec::new();
        let mut count = 0;
        super::places::scan_at(&*rows, after, &mut |run| {
            if count >= count_max {
                return Ok(ControlFlow::Break(()));
            }
            if forms.contains(&run.form) {
                // Its payload may lie elsewhere, which only the place by seq tells.
                let run = super::places::holding(&*rows, run.form, run.first)?;
                let run = run.ok_or(Error::Unfit {
                    what: "a run has no place by seq",
                })?;
                count += usize::try_from(run.count - run.passed(after)).unwrap_or(usize::MAX);
                runs.push(run);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(runs)
    }

    /// The first seq of `form` that is delivered after `position`, if there is one.
    pub(crate) fn seq_after(&self, form: FormId, position: Position) -> Result<Option<Seq>, Error> {
        // From one snapshot: a head that is newer than the places would promise what they lack.
        let rows = self.rows();
        let position = position.max(horizon::end_of(horizon::of(&*rows)?));
        let head = load(&*rows, &keys::head(form), "a head")?;
        super::places::seq_after(&*rows, form, position, head.unwrap_or_default())
    }

    fn clock(&self) -> Result<expiry::Clock, Error> {
        Ok(load(&*self.rows(), &keys::fact_clock(), "the clock")?.unwrap_or_default())
    }

    /// One moment of the state.
    pub(super) fn rows(&self) -> Box<dyn Read> {
        self.shared.rows.snapshot()
    }
}

impl fmt::Debug for StateView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateView")
            .field("applied", &self.applied())
            .finish_non_exhaustive()
    }
}

pub(crate) fn load<T: DeserializeOwned>(
    rows: &(impl Read + ?Sized),
    key: &[u8],
    what: &'static str,
) -> Result<Option<T>, Error> {
    rows.get(key)?
        .map(|value| codec::decode_row(what, &value))
        .transpose()
}
