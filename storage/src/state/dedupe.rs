//! Idempotency keys: the same key with the same body is the same submission.
//!
//! Holds: a key is looked up before anything else is asked about its submission, and names one
//! submission within its form until it expires. `Own("h#3")` and line 3 under header `h` are one
//! key, in whichever way each of them came. Lines that were taken side by side share a row: a
//! request of a thousand lines costs sixteen rows, not a thousand.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::expiry::Groups;
use super::lines::{Known, LINE_BYTES, OpenLines, line_row, lines_through};
use super::view::StateView;
use super::{Apply, keys};
use crate::codec::{self, WireKey, WireSubmission};
use crate::command::Key;
use crate::error::Error;
use crate::ids::{FormId, Seq};
use crate::outcome::Placed;
use crate::rows::{KeyRange, Read, Side};

/// A longer key gets past no door, and would not fit into a row.
pub(super) const KEY_BYTES_MAX: usize = 1024;
/// What a row is charged beside its key, which is charged twice for the index.
const ROW_BYTES: u64 = 160;

/// A key's row.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Own {
    digest: [u8; 16],
    placed: Placed,
}

/// What lies under a key.
pub(crate) type Found = ([u8; 16], Placed);

/// The line that `key` means, if it can be one: `<header>#<number>`, the number as we write it.
fn as_line(key: &str) -> Option<(&str, u32)> {
    let (header, number) = key.rsplit_once('#')?;
    let line: u32 = number.parse().ok()?;
    let is_ours = line > 0 && !number.starts_with(['0', '+']);
    is_ours.then_some((header, line))
}

fn own_text(header: &str, line: u32) -> String {
    format!("{header}#{line}")
}

/// What one pack knows about keys beside the rows.
#[derive(Default)]
pub(super) struct Keys {
    open: Option<OpenLines>,
    known: Option<Known>,
    groups: Groups,
}

impl Keys {
    /// What lies under `key`.
    pub(super) fn look(
        &mut self,
        apply: &mut Apply<'_>,
        form: FormId,
        key: WireKey<'_>,
    ) -> Result<Option<Found>, Error> {
        match key {
            WireKey::Own(own) => {
                if let Some(found) = own_row(apply.over.get(&keys::own_key(form, own))?)? {
                    return Ok(Some(found));
                }
                match as_line(own) {
                    Some((header, line)) => self.look_line(apply, form, header, line),
                    None => Ok(None),
                }
            }
            WireKey::Line { header, line } => {
                if let Some(found) = self.look_line(apply, form, header, line)? {
                    return Ok(Some(found));
                }
                let is_possible = self.known.as_ref().is_none_or(|known| known.has_own)
                    || apply
                        .over
                        .changed_end(&own_range(form, header), Side::First)
                        .is_some();
                if !is_possible {
                    return Ok(None);
                }
                own_row(
                    apply
                        .over
                        .get(&keys::own_key(form, &own_text(header, line)))?,
                )
            }
        }
    }

    fn look_line(
        &mut self,
        apply: &mut Apply<'_>,
        form: FormId,
        header: &str,
        line: u32,
    ) -> Result<Option<Found>, Error> {
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.holds(form, header, line))
        {
            self.close(apply);
        }
        let before = lines_through(form, header, line);
        if let Some((key, value)) = apply.over.changed_end(&before, Side::Last)
            && let Some(found) = line_row(&key, &value, line)?
        {
            return Ok(Some(found));
        }
        let end = |range: &KeyRange, side| apply.over.end(range, side);
        let read = || Known::read(end, form, header, line);
        let known = Known::around(&mut self.known, (form, header, line), read)?;
        Ok(known.found(line))
    }

    /// Whether there is room for one more key; the oldest ones may go for it.
    pub(super) fn has_room(
        &mut self,
        apply: &mut Apply<'_>,
        key: WireKey<'_>,
        budget: &mut usize,
    ) -> Result<bool, Error> {
        let bytes = LINE_BYTES as u64 + row_charge(text_of(key));
        let before = apply.clock.key_bytes;
        let has_room = apply.make_room(bytes, budget)?;
        if apply.clock.key_bytes < before {
            self.known = None;
        }
        Ok(has_room)
    }

    /// Keeps what was placed under `key`, which [`Self::look`] did not find.
    pub(super) fn note(
        &mut self,
        apply: &mut Apply<'_>,
        key: WireKey<'_>,
        submission: &WireSubmission<'_>,
        seq: Option<Seq>,
    ) {
        match key {
            WireKey::Own(own) => {
                let placed = Placed {
                    id: submission.id,
                    seq,
                    index: apply.index,
                    received_ms: submission.received_ms,
                    terms: apply.terms,
                };
                let key = keys::own_key(submission.form(), own);
                apply.over.store_new(
                    key.clone(),
                    &Own {
                        digest: submission.digest,
                        placed,
                    },
                );
                let bytes = row_charge(own);
                apply.clock.key_bytes += bytes;
                self.groups.push(apply, key, bytes);
            }
            WireKey::Line { header, line } => {
                if !self
                    .open
                    .as_ref()
                    .is_some_and(|open| open.is_continued_by(submission, header, line, seq))
                {
                    self.close(apply);
                    self.open = Some(OpenLines::new(apply, submission, (header, line), seq));
                    apply.clock.key_bytes += row_charge(header);
                }
                apply.clock.key_bytes += LINE_BYTES as u64;
                if let Some(open) = &mut self.open {
                    open.push(submission);
                }
            }
        }
    }

    /// Writes everything that is still gathered.
    pub(super) fn finish(mut self, apply: &mut Apply<'_>) {
        self.close(apply);
        self.groups.finish(apply);
    }

    fn close(&mut self, apply: &mut Apply<'_>) {
        let Some(open) = self.open.take() else { return };
        let row_bytes = row_charge(open.header());
        let (key, row, line_bytes) = open.into_row();
        apply.over.put_new(key.clone(), row.into());
        self.groups.push(apply, key, row_bytes + line_bytes);
    }
}

/// Looks up the keys of one request, one after the other, for those who only read.
///
/// Holds: what it says was so at some moment since it was made. Why it remembers: what it has read
/// around one line answers the next ones, and a request may have thousands.
#[derive(Debug)]
pub struct KeyReader<'a> {
    view: &'a StateView,
    known: Option<Known>,
}

impl<'a> KeyReader<'a> {
    pub(super) const fn new(view: &'a StateView) -> Self {
        Self { view, known: None }
    }

    /// What was placed under this key, and the digest of its body.
    pub fn placed(&mut self, form: FormId, key: &Key) -> Result<Option<Found>, Error> {
        match WireKey::from_key(key) {
            WireKey::Own(text) => {
                let rows = self.view.rows();
                match (stored_own(&*rows, form, text)?, as_line(text)) {
                    (None, Some((header, line))) => stored_line(&*rows, form, header, line),
                    (found, _) => Ok(found),
                }
            }
            WireKey::Line { header, line } => {
                let read = || {
                    let rows = self.view.rows();
                    Known::read(|range, side| rows.end(range, side), form, header, line)
                };
                let known = Known::around(&mut self.known, (form, header, line), read)?;
                match known.found(line) {
                    None if known.has_own => {
                        stored_own(&*self.view.rows(), form, &own_text(header, line))
                    }
                    found => Ok(found),
                }
            }
        }
    }
}

fn stored_own(rows: &dyn Read, form: FormId, text: &str) -> Result<Option<Found>, Error> {
    own_row(rows.get(&keys::own_key(form, text))?)
}

fn stored_line(
    rows: &dyn Read,
    form: FormId,
    header: &str,
    line: u32,
) -> Result<Option<Found>, Error> {
    match rows.end(&lines_through(form, header, line), Side::Last)? {
        Some((key, value)) => line_row(&key, &value, line),
        None => Ok(None),
    }
}

/// The text that a key is stored and charged by.
pub(super) const fn text_of(key: WireKey<'_>) -> &str {
    match key {
        WireKey::Own(own) => own,
        WireKey::Line { header, .. } => header,
    }
}

fn row_charge(text: &str) -> u64 {
    2 * text.len() as u64 + ROW_BYTES
}

/// Keys of their own that begin with `<header>#`.
pub(super) fn own_range(form: FormId, header: &str) -> KeyRange {
    let mut prefix = keys::own_key(form, header);
    prefix.push(b'#');
    KeyRange::prefix(prefix)
}

fn own_row(value: Option<Bytes>) -> Result<Option<Found>, Error> {
    let row = value
        .map(|value| codec::decode_row::<Own>("a key", &value))
        .transpose()?;
    Ok(row.map(|row| (row.digest, row.placed)))
}
