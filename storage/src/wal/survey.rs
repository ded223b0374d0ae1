//! What a damaged file has lost, found while the log runs: then it is a hole like one that was there
//! at opening, and [`super::Wal::repair`] fills it.
//!
//! Holds: only entries that the log needs from this very file count, as its chart says; each is read
//! from the file, whatever memory still has of it. A finding is told once a file, and a mark beside the file makes
//! the next start read all of it whatever its footer says (see `directory`): a hole that was found
//! once is never forgotten.

use std::ops::{Range, RangeInclusive};
use std::sync::PoisonError;

use super::core::Core;
use super::damage::Damage;
use super::entry::SegmentId;
use super::reader::{self, Stretch};
use crate::disk::Open;
use crate::error::Error;
use crate::ids::Index;

/// `EIO`: the device cannot read it.
pub(super) const DEVICE_ERROR: i32 = 5;

/// Keeps a finding, and makes holes of what cannot be read. Blocks while the file is read.
pub(super) fn note(core: &Core, segment: SegmentId, offset: u64, what: &'static str) {
    // One at a time: who comes second finds the holes that the first one made.
    let _one = core
        .surveying
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let finding = Damage::Segment {
        segment,
        offset,
        what,
    };
    let Some(is_first) = core.note_damage(segment, finding.clone()) else {
        return;
    };
    if is_first {
        tracing::error!(%finding, "the log is damaged");
        if let Err(error) = core.directory.mark(segment) {
            tracing::warn!(%error, "the next start may have to find this damage again");
        }
    }
    let lost: Vec<_> = stretches(core, segment)
        .iter()
        .flat_map(|stretch| lost_of(core, stretch))
        .collect();
    let copies: Vec<_> = repaired_in(core, segment)
        .into_iter()
        .filter(|stretch| reader::repaired(core, stretch).is_err_and(|error| is_damage(&error)))
        .map(|stretch| stretch.start)
        .collect();
    let mut state = core.state();
    for index in copies {
        state.chart.lose_copy(index);
    }
    for hole in lost {
        tracing::error!(segment = %segment, first = %hole.start(), last = %hole.end(), "entries cannot be read");
        state.chart.lose(hole);
    }
}

/// Whether this error says that bytes are gone, and not that the system is short of something.
pub(super) fn is_damage(error: &Error) -> bool {
    if let Error::Io { source, .. } = error {
        return source.raw_os_error() == Some(DEVICE_ERROR)
            || source.kind() == std::io::ErrorKind::NotFound;
    }
    matches!(error, Error::Corrupt { .. })
}

fn stretches(core: &Core, segment: SegmentId) -> Vec<Stretch> {
    let state = core.state();
    let Some(known) = state.segments.iter().find(|known| known.info.id == segment) else {
        return Vec::new();
    };
    let ranges = state.chart.ranges_in(segment).into_iter();
    ranges
        .map(|(offset, range)| Stretch::of(known, offset, range))
        .collect()
}

fn repaired_in(core: &Core, segment: SegmentId) -> Vec<Stretch> {
    let state = core.state();
    let Some(known) = state.segments.iter().find(|known| known.info.id == segment) else {
        return Vec::new();
    };
    let copies = state.chart.repaired_in(segment);
    copies
        .map(|(index, offset)| Stretch::of(known, offset, index..index.next()))
        .collect()
}

/// The entries of a stretch that are not there, less those that are known to be lost. By ranges: how
/// many entries there are is what damaged bytes say.
fn lost_of(core: &Core, stretch: &Stretch) -> Vec<RangeInclusive<Index>> {
    let mut lost: Vec<Range<Index>> = Vec::new();
    let mut lose = |range: Range<Index>| match lost.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => lost.push(range),
    };
    // By its name, and from the device: what readers hold open may be a file that is gone.
    let open = |id| {
        let file = core.directory.open(id, Open::Read)?;
        let io = Error::io("reread", core.directory.path_of(id));
        file.forget_cached().map_err(io)?;
        Ok::<_, Error>(file)
    };
    let sound = core.state().chart.sound(stretch.start..stretch.end);
    let file = match open(stretch.segment) {
        Ok(file) => file,
        Err(error) if is_damage(&error) => return sound.into_iter().map(inclusive).collect(),
        Err(_) => return Vec::new(),
    };
    let mut walk = reader::walk(&*file, stretch);
    let mut at = stretch.start;
    while let Some(part) = sound.get(sound.partition_point(|part| part.end <= at)) {
        at = at.max(part.start);
        match reader::find(core, stretch, &mut walk, at) {
            Ok(batch) => {
                let end = batch.last.next().min(stretch.end);
                let there = batch.from(at).iter().map(|entry| entry.id.index);
                for index in there.take_while(|index| *index < end) {
                    lose(at..index);
                    at = index.next();
                }
                lose(at..end);
                at = end;
            }
            Err(error) if is_damage(&error) => {
                // What lies behind it up to the next point is found by no reader.
                lose(at..stretch.end);
                break;
            }
            Err(_) => break,
        }
    }
    let parts = lost.iter().flat_map(|lost| {
        let within = |part: &Range<Index>| part.start.max(lost.start)..part.end.min(lost.end);
        sound.iter().map(within)
    });
    parts
        .filter(|part| !part.is_empty())
        .map(inclusive)
        .collect()
}

/// Of a range that is not empty.
fn inclusive(range: Range<Index>) -> RangeInclusive<Index> {
    range.start..=Index(range.end.0 - 1)
}
