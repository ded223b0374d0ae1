//! Records: the only way from a form to its payloads.
//!
//! Holds: payloads are reached through places, which exist only for what `apply` accepted; entries
//! are never searched for submissions. So what was refused, or is not applied yet, cannot be
//! shown, whoever asks. Records come in the order of their seqs, without a hole. Bodies are copied
//! out of their pack: a small record must not keep half a megabyte in memory.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::codec::{self, WireSubmission};
use crate::error::Error;
use crate::ids::{FormId, Index, LogId, Position, Seq};
use crate::mutants::{self, Mutant};
use crate::state::{Run, StateView};
use crate::wal::{Entry, EntryKind, Wal};

/// One accepted submission, or a withheld one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its form.
    pub form: FormId,
    /// Its place in the form's order; `None`: withheld.
    pub seq: Option<Seq>,
    /// Where it is delivered; cursors stand here.
    pub position: Position,
    /// Where its payload lies: the same, unless it was released later.
    pub source: Position,
    /// The entry that carries its payload.
    pub log_id: LogId,
    /// UUID version 7.
    pub id: [u8; 16],
    /// The definition that it was checked against.
    pub form_version: u32,
    /// Accept time, milliseconds since 1970 UTC.
    pub received_ms: u64,
    /// The document.
    pub body: Bytes,
}

/// The most that one call gives: what is known of a record before it is read must be bounded too.
const RECORDS_MAX: usize = 8192;
/// How much of the log one read asks for at a time.
const READ_BYTES_MAX: usize = 1 << 20;
/// Entries that lie further apart are not read in one go.
const READ_ENTRIES_MAX: u64 = 256;
/// What a record counts beside its body.
const RECORD_BYTES: usize = 64;

/// Reads records, from any thread.
#[derive(Clone)]
pub struct Records {
    view: StateView,
    wal: Wal,
}

/// How much is wanted. One record is always given where there is one.
#[derive(Clone, Copy)]
struct Bounds {
    count: usize,
    bytes: usize,
}

impl Records {
    /// Over a state and the log that it is derived from.
    pub const fn new(view: StateView, wal: Wal) -> Self {
        Self { view, wal }
    }

    /// Records of `form` after `after`; none means that there are none yet. From below the horizon
    /// none is given, but [`Error::Forgotten`].
    pub fn read(
        &self,
        form: FormId,
        after: Seq,
        count_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, Error> {
        let bounds = Bounds {
            count: count_max.min(RECORDS_MAX),
            bytes: bytes_max,
        };
        let Some(first) = after.0.checked_add(1).map(Seq) else {
            return Ok(Vec::new()); // nothing is behind the last number
        };
        let runs = self.runs(form, first, bounds.count)?;
        let records = self.resolve(&runs, bounds, |run| {
            u32::try_from(first.0.saturating_sub(run.first.0)).unwrap_or(u32::MAX)
        });
        match records {
            // The horizon has passed them between the look at the places and the log.
            Err(Error::Purged { .. }) => Err(Error::Forgotten {
                oldest: self.view.oldest_seq(form)?,
            }),
            records => records,
        }
    }

    /// One record.
    pub fn get(&self, form: FormId, seq: Seq) -> Result<Option<Record>, Error> {
        if seq.0 == 0 {
            return Ok(None);
        }
        let found = self.read(form, Seq(seq.0 - 1), 1, 0)?;
        Ok(found.into_iter().find(|record| record.seq == Some(seq)))
    }

    /// Records of `form` that are delivered after `after`, from the oldest on that is still there.
    pub fn after_position(
        &self,
        form: FormId,
        after: Position,
        count_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, Error> {
        match self.view.seq_after(form, after)? {
            Some(seq) => self.read(form, Seq(seq.0 - 1), count_max, bytes_max),
            None => Ok(Vec::new()),
        }
    }

    /// Records of many forms that are delivered after `after`, in the order of the log.
    ///
    /// No task asks yet: it is what the runs by position are kept for, on disk, from the first
    /// record on, so its test is what shows that they are right.
    pub fn across(
        &self,
        forms: &BTreeSet<FormId>,
        after: Position,
        count_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, Error> {
        let bounds = Bounds {
            count: count_max.min(RECORDS_MAX),
            bytes: bytes_max,
        };
        let runs = self.view.runs_after(after, forms, bounds.count)?;
        self.resolve(&runs, bounds, |run| run.passed(after))
    }

    /// Withheld submissions of `form`, after a position. They have no seq.
    pub fn withheld(
        &self,
        form: FormId,
        after: Position,
        count_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, Error> {
        let positions = self
            .view
            .withheld(form, after, count_max.min(RECORDS_MAX))?;
        let last = positions.last().map_or(Index(0), |position| position.index);
        let mut reader = Reader::new(&self.wal);
        let mut records = Vec::new();
        let mut bytes = 0;
        for in_entry in positions.chunk_by(|one, next| one.index == next.index) {
            let Some(first) = in_entry.first() else {
                continue;
            };
            let entry = reader.entry(first.index, last)?;
            let pack = codec::read_pack(&entry.payload)?;
            for position in in_entry {
                let submission = in_pack(&pack.submissions, *position, form)?;
                let size = submission.body.len() + RECORD_BYTES;
                if bytes + size > bytes_max && !records.is_empty() {
                    return Ok(records);
                }
                bytes += size;
                let places = (*position, *position);
                records.push(record(entry.id, submission, None, places));
            }
        }
        Ok(records)
    }

    /// The withheld submission of that id in the entry at `index`. Nothing else of the entry is
    /// copied, and no entry is read in which none of the form's is withheld.
    pub fn withheld_by_id(
        &self,
        form: FormId,
        index: Index,
        id: [u8; 16],
    ) -> Result<Option<Record>, Error> {
        let positions = self.view.withheld_in(form, index)?;
        if positions.is_empty() {
            return Ok(None);
        }
        let entry = Reader::new(&self.wal).entry(index, index)?;
        let pack = codec::read_pack(&entry.payload)?;
        for position in positions {
            let submission = in_pack(&pack.submissions, position, form)?;
            if submission.id == id {
                let places = (position, position);
                return Ok(Some(record(entry.id, submission, None, places)));
            }
        }
        Ok(None)
    }

    /// Where the payloads of the records from `seq` on lie; holes are a broken promise.
    fn runs(&self, form: FormId, seq: Seq, count_max: usize) -> Result<Vec<Run>, Error> {
        let mut runs: Vec<Run> = Vec::new();
        let mut count = 0_u64;
        self.view.places(form, seq, &mut |run| {
            if count >= count_max as u64 {
                return ControlFlow::Break(());
            }
            count += run.last().0 + 1 - run.first.max(seq).0;
            runs.push(run);
            ControlFlow::Continue(())
        })?;
        let mut next = seq;
        for run in &runs {
            if run.first > next && !may_have_holes() {
                return Err(Error::Unfit {
                    what: "a form's records have a hole",
                });
            }
            next = run.last().next();
        }
        Ok(runs)
    }

    /// The records of `runs`, each from the one that `skip` says.
    fn resolve(
        &self,
        runs: &[Run],
        bounds: Bounds,
        skip: impl Fn(&Run) -> u32,
    ) -> Result<Vec<Record>, Error> {
        let mut reader = Reader::new(&self.wal);
        let last = runs
            .iter()
            .map(|run| run.source.index)
            .max()
            .unwrap_or_default();
        let mut records = Vec::new();
        let mut bytes = 0;
        // Runs that lie in one entry share one look at it.
        for in_entry in runs.chunk_by(|one, next| one.source.index == next.source.index) {
            let Some(first) = in_entry.first() else {
                continue;
            };
            let entry = reader.entry(first.source.index, last)?;
            let pack = codec::read_pack(&entry.payload)?;
            for (run, nth) in in_entry
                .iter()
                .flat_map(|run| (skip(run)..run.count).map(move |nth| (run, nth)))
            {
                let places = run.nth(nth);
                let submission = in_pack(&pack.submissions, places.1, run.form)?;
                let size = submission.body.len() + RECORD_BYTES;
                let is_over = bytes + size > bounds.bytes && !records.is_empty();
                if records.len() == bounds.count || is_over {
                    return Ok(records);
                }
                bytes += size;
                let seq = Seq(run.first.0 + u64::from(nth));
                records.push(record(entry.id, submission, Some(seq), places));
            }
        }
        Ok(records)
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("view", &self.view)
            .finish_non_exhaustive()
    }
}

/// Broken on purpose: then readers must see the hole, not an error in its place.
fn may_have_holes() -> bool {
    mutants::is(Mutant::SeqHole) || mutants::is(Mutant::DropSlot)
}

fn in_pack<'p, 'b>(
    submissions: &'p [WireSubmission<'b>],
    position: Position,
    form: FormId,
) -> Result<&'p WireSubmission<'b>, Error> {
    usize::try_from(position.slot.0)
        .ok()
        .and_then(|slot| submissions.get(slot))
        .filter(|submission| submission.form() == form)
        .ok_or(Error::Unfit {
            what: "a place points at no submission of its form",
        })
}

fn record(
    log_id: LogId,
    submission: &WireSubmission<'_>,
    seq: Option<Seq>,
    (position, source): (Position, Position),
) -> Record {
    let mut body = submission.body.to_vec();
    if mutants::is(Mutant::AlterBody)
        && seq.is_some_and(|seq| seq.0.is_multiple_of(50))
        && let Some(byte) = body
            .iter_mut()
            .rev()
            .find(|byte| byte.is_ascii_alphanumeric())
    {
        *byte = if *byte == b'x' { b'y' } else { b'x' };
    }
    Record {
        form: submission.form(),
        seq,
        position,
        source,
        log_id,
        id: submission.id,
        form_version: submission.form_version,
        received_ms: submission.received_ms,
        body: body.into(),
    }
}

/// Reads entries in growing order mostly, some at a time.
struct Reader<'a> {
    wal: &'a Wal,
    /// Adjacent entries, ascending.
    ahead: Vec<Entry>,
}

impl<'a> Reader<'a> {
    const fn new(wal: &'a Wal) -> Self {
        Self {
            wal,
            ahead: Vec::new(),
        }
    }

    /// The entry at `index`. Nothing behind `last` will be asked for.
    fn entry(&mut self, index: Index, last: Index) -> Result<Entry, Error> {
        if let Ok(at) = self
            .ahead
            .binary_search_by_key(&index, |entry| entry.id.index)
            && let Some(entry) = self.ahead.get(at)
        {
            return Ok(entry.clone());
        }
        let end = last
            .0
            .min(index.0.saturating_add(READ_ENTRIES_MAX - 1))
            .max(index.0);
        self.ahead = self.wal.read(index..Index(end).next(), READ_BYTES_MAX)?;
        let entry = self.ahead.first().filter(|entry| entry.id.index == index);
        let entry = entry.ok_or(Error::Unfit {
            what: "a place points at an entry that is gone",
        })?;
        if entry.kind != EntryKind::Command {
            return Err(Error::Unfit {
                what: "a place points at an entry without a command",
            });
        }
        Ok(entry.clone())
    }
}
