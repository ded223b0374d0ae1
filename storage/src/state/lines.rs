//! Lines: keys that came side by side under one header share a row.
//!
//! Holds: the lines of a row follow each other, as do their seqs (or all are withheld), and came at
//! one moment; so a row says for each line only what differs: digest and id. Rows under one header
//! never overlap, so the last one that begins at or before a line is the only one to look at.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::dedupe::{Found, own_range};
use super::{Apply, keys};
use crate::codec::{self, WireSubmission};
use crate::error::Error;
use crate::ids::{FormId, Index, Seq};
use crate::outcome::{Placed, Terms};
use crate::rows::{self, KeyRange, Side};

/// Lines that share a row: 64 of them are 2 KiB.
const RUN_LINES_MAX: u32 = 64;
/// A line's digest and id.
pub(super) const LINE_BYTES: usize = 32;
/// The row of a line (in its key) and those that follow it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Lines {
    index: Index,
    /// Of the first line; the others follow. `None`: all are withheld.
    first_seq: Option<Seq>,
    received_ms: u64,
    terms: Terms,
    /// Digest and id of each.
    each: Bytes,
}

/// Lines of this pack that will share a row.
pub(super) struct OpenLines {
    form: FormId,
    header: String,
    first: u32,
    row: Lines,
    /// Digest and id of each, so far.
    lines: Vec<u8>,
}

/// What the rows say around the last line that was looked for: the next line is nearly always
/// answered by it. Who applies drops it whenever rows go.
#[derive(Debug)]
pub(super) struct Known {
    form: FormId,
    header: String,
    /// Lines about which `row` says everything: the run itself, or a gap between runs.
    first: u32,
    last: u32,
    row: Option<Lines>,
    /// Some key of its own begins with `<header>#`.
    pub(super) has_own: bool,
}

impl Lines {
    fn count(&self) -> u32 {
        u32::try_from(self.each.len() / LINE_BYTES).unwrap_or(u32::MAX)
    }

    /// What lies under line `nth` of this row.
    fn nth(&self, nth: u32) -> Option<Found> {
        let start = usize::try_from(nth).ok()?.checked_mul(LINE_BYTES)?;
        let line = self.each.get(start..start + LINE_BYTES)?;
        let (digest, id) = line.split_first_chunk::<16>()?;
        let placed = Placed {
            id: id.try_into().ok()?,
            seq: self.first_seq.map(|first| Seq(first.0 + u64::from(nth))),
            index: self.index,
            received_ms: self.received_ms,
            terms: self.terms,
        };
        Some((*digest, placed))
    }
}

impl OpenLines {
    pub(super) fn new(
        apply: &Apply<'_>,
        submission: &WireSubmission<'_>,
        (header, line): (&str, u32),
        first_seq: Option<Seq>,
    ) -> Self {
        Self {
            form: submission.form(),
            header: header.to_owned(),
            first: line,
            row: Lines {
                index: apply.index,
                first_seq,
                received_ms: submission.received_ms,
                terms: apply.terms,
                each: Bytes::new(),
            },
            lines: Vec::with_capacity(LINE_BYTES),
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.lines.len() / LINE_BYTES).unwrap_or(u32::MAX)
    }

    pub(super) fn holds(&self, form: FormId, header: &str, line: u32) -> bool {
        let nth = line.checked_sub(self.first);
        self.form == form && nth.is_some_and(|nth| nth < self.count()) && self.header == header
    }

    pub(super) fn header(&self) -> &str {
        &self.header
    }

    /// One line more.
    pub(super) fn push(&mut self, submission: &WireSubmission<'_>) {
        self.lines.extend_from_slice(&submission.digest);
        self.lines.extend_from_slice(&submission.id);
    }

    /// The key and value of the row, and the bytes of its lines.
    pub(super) fn into_row(self) -> (Vec<u8>, Vec<u8>, u64) {
        let bytes = self.lines.len() as u64;
        let row = Lines {
            each: self.lines.into(),
            ..self.row
        };
        let key = keys::line_keys(self.form, &self.header, self.first);
        (key, codec::encode_row(&row), bytes)
    }

    pub(super) fn is_continued_by(
        &self,
        submission: &WireSubmission<'_>,
        header: &str,
        line: u32,
        seq: Option<Seq>,
    ) -> bool {
        let count = self.count();
        let next_seq = self
            .row
            .first_seq
            .map(|first| Seq(first.0 + u64::from(count)));
        count < RUN_LINES_MAX
            && self.first.checked_add(count) == Some(line)
            && next_seq == seq
            && self.row.received_ms == submission.received_ms
            && self.form == submission.form()
            && self.header == header
    }
}

impl Known {
    /// What `known` says, if it knows about this line; else what `read` finds, which it is from then on.
    pub(super) fn around<'a>(
        known: &'a mut Option<Self>,
        (form, header, line): (FormId, &str, u32),
        read: impl FnOnce() -> Result<Self, Error>,
    ) -> Result<&'a Self, Error> {
        let before = known.take();
        let still = before.filter(|known| known.holds(form, header, line));
        Ok(known.insert(still.map_or_else(read, Ok)?))
    }

    /// `end` gives the row at one end of a range.
    pub(super) fn read(
        end: impl Fn(&KeyRange, Side) -> Result<Option<(Vec<u8>, Bytes)>, Error>,
        form: FormId,
        header: &str,
        line: u32,
    ) -> Result<Self, Error> {
        let mut known = Self {
            form,
            header: header.to_owned(),
            first: 0,
            last: u32::MAX,
            row: None,
            has_own: end(&own_range(form, header), Side::First)?.is_some(),
        };
        if let Some((key, value)) = end(&lines_through(form, header, line), Side::Last)? {
            let row: Lines = codec::decode_row("a run of lines", &value)?;
            let first = keys::tail_u32(&key, 0);
            let last = first.saturating_add(row.count() - 1);
            if line <= last {
                return Ok(Self {
                    first,
                    last,
                    row: Some(row),
                    ..known
                });
            }
            known.first = last + 1;
        }
        let after = KeyRange {
            start: lines_through(form, header, line).end,
            end: rows::after_prefix(&keys::line_keys_prefix(form, header)),
        };
        if let Some((key, _)) = end(&after, Side::First)? {
            known.last = keys::tail_u32(&key, 0) - 1;
        }
        Ok(known)
    }

    /// What lies under `line`, which is one of those that this knows about.
    pub(super) fn found(&self, line: u32) -> Option<Found> {
        self.row.as_ref()?.nth(line - self.first)
    }

    fn holds(&self, form: FormId, header: &str, line: u32) -> bool {
        self.form == form && (self.first..=self.last).contains(&line) && self.header == header
    }
}

/// Runs under `header` that begin at or before `line`.
pub(super) fn lines_through(form: FormId, header: &str, line: u32) -> KeyRange {
    let mut end = keys::line_keys(form, header, line);
    end.push(0);
    KeyRange {
        start: keys::line_keys_prefix(form, header),
        end,
    }
}

/// What lies under `line`, if the row at `key` reaches so far.
pub(super) fn line_row(key: &[u8], value: &[u8], line: u32) -> Result<Option<Found>, Error> {
    let nth = line - keys::tail_u32(key, 0);
    if nth >= RUN_LINES_MAX {
        return Ok(None);
    }
    Ok(codec::decode_row::<Lines>("a run of lines", value)?.nth(nth))
}

const _: () = assert!(
    RUN_LINES_MAX as usize * LINE_BYTES + 512 < keys::VALUE_BYTES_MAX,
    "a full run fits into a row"
);
