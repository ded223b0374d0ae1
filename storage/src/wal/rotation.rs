//! From one segment to the next, and what becomes of old ones.
//!
//! ```text
//! rotate   sync ─ footer into the old one ─ take a room ─ header into it, synced
//!          ─ rename it to the next number ─ sync the directory ─ first batch
//! purge    the oldest one: rename it to a room, or remove it, or (damaged) set it aside ─ sync
//! ```
//! A cut between any two steps leaves a whole log: a segment without a footer is read through; a
//! header in a room is overwritten by the next; a segment that nothing was written to is used as it
//! is. A purged segment that is still there is purged again: what is purged stands in every header.

use super::core::Core;
use super::directory::{Room, is_whole};
use super::entry::{SegmentId, SegmentInfo};
use super::footer::{Footer, data_end, segment_len_for};
use super::format::{FIRST_BATCH_AT, SegmentHeader, VERSION};
use super::mode::WriteMode;
use super::random;
use super::recovery::{End, Known};
use super::writer::{Tail, Writer};
use crate::disk::{File, Open};
use crate::error::Error;

/// Where the written stream stands.
#[derive(Clone, Copy)]
pub(super) struct Stand {
    pub(super) next_batch: u64,
    pub(super) chain: u32,
}

impl Writer {
    /// The next segment: this one is durable to its end before the other begins.
    pub(super) fn rotate(&mut self, data_len: u64) -> Result<(), Error> {
        self.sync()?;
        let tail = &self.tail;
        let stand = Stand {
            next_batch: tail.next_batch,
            chain: tail.chain,
        };
        let sealed = Sealed {
            id: tail.segment,
            salt: tail.salt,
            len: tail.segment_len,
            end: tail.offset,
        };
        write_footer(&self.core, &*tail.file, sealed, stand)?;
        let len = segment_len_for(data_len).max(self.core.config.segment_bytes);
        let room = self.core.pool.take(&self.core, len)?;
        self.tail = begin(&self.core, tail.segment.next(), &room, stand)?;
        Ok(())
    }
}

/// A segment that nothing is appended to any more.
#[derive(Clone, Copy)]
struct Sealed {
    id: SegmentId,
    salt: u64,
    len: u64,
    /// Where its last batch ends.
    end: u64,
}

/// Writes the footer, if the segment gets one.
fn write_footer(core: &Core, file: &dyn File, sealed: Sealed, stand: Stand) -> Result<(), Error> {
    let Sealed { id, salt, len, end } = sealed;
    let footer = footer(core, id, end, stand).and_then(|footer| footer.encode(salt, len));
    footer.map_or(Ok(()), |footer| {
        let path = core.directory.path_of(id);
        file.write_at(&footer, data_end(len))
            .map_err(Error::io("write the footer of", path))
    })
}

/// `None`: it has to be read through at every start.
fn footer(core: &Core, id: SegmentId, end: u64, stand: Stand) -> Option<Footer> {
    let state = core.state();
    if state.chart.has_repaired_in(id) {
        return None;
    }
    let known = state.segments.iter().find(|known| known.info.id == id);
    if known.is_some_and(|known| known.is_damaged) {
        return None;
    }
    Some(Footer {
        next_batch: stand.next_batch,
        chain: stand.chain,
        end,
        log_first: state.chart.head.first,
        last: known.and_then(|known| known.info.last),
        points: state.chart.points_of(id),
    })
}

/// Makes a room the segment `id`, and shows it to readers.
pub(super) fn begin(core: &Core, id: SegmentId, room: &Room, stand: Stand) -> Result<Tail, Error> {
    let header = SegmentHeader {
        version: VERSION,
        is_recycled: room.is_recycled,
        uuid: core.uuid,
        id,
        salt: u64::from_le_bytes(random(core.directory.path_of(id))?),
        segment_len: room.len,
        first_batch: stand.next_batch,
        chain: stand.chain,
        marks: core.state().chart.head.marks,
    };
    core.directory.begin(room, &header)?;
    let info = SegmentInfo {
        id,
        last: None,
        bytes: FIRST_BATCH_AT,
        is_active: true,
    };
    let mut state = core.state();
    if let Some(before) = state.segments.back_mut() {
        before.info.is_active = false;
    }
    state.segments.push_back(Known {
        info,
        salt: header.salt,
        len: room.len,
        chain: stand.chain,
        is_damaged: false,
    });
    core.tell_segments(&state);
    drop(state);
    open_tail(core, &header, stand)
}

/// Opens the active segment to be written from its beginning.
pub(super) fn open_tail(core: &Core, header: &SegmentHeader, stand: Stand) -> Result<Tail, Error> {
    let direct = match core.mode() {
        WriteMode::Direct => Some(core.directory.open(header.id, Open::Direct)?),
        WriteMode::Buffered => None,
    };
    let mut state = core.state();
    core.set_salt(&mut state, header.salt);
    if let Some(active) = state.segments.back_mut() {
        active.info.is_active = true;
    }
    drop(state);
    Ok(Tail {
        file: core.directory.open(header.id, Open::Write)?,
        direct,
        segment: header.id,
        segment_len: header.segment_len,
        is_recycled: header.is_recycled,
        salt: header.salt,
        offset: FIRST_BATCH_AT,
        data_end: header.data_end(),
        next_batch: stand.next_batch,
        chain: stand.chain,
        // Whatever was read was synced before it was believed.
        synced_upto: stand.next_batch - 1,
    })
}

/// Seals the last segment of an earlier life: nothing is appended to it any more. What it did not
/// use goes back to the volume, so that a node that starts often does not fill its disk.
pub(super) fn seal(core: &Core, end: &End, stand: Stand) -> Result<(), Error> {
    let header = &end.header;
    if !end.is_clean || !header.is_fixed() {
        return Ok(());
    }
    let id = header.id;
    let path = core.directory.path_of(id);
    let file = core.directory.open(id, Open::Write)?;
    let sealed = Sealed {
        id,
        salt: header.salt,
        len: header.segment_len,
        end: end.offset,
    };
    write_footer(core, &*file, sealed, stand)?;
    file.sync().map_err(Error::io("sync", &path))?;
    let unused = header.data_end().saturating_sub(end.offset);
    if unused > 0 {
        file.release(end.offset, unused)
            .map_err(Error::io("release the end of", &path))?;
    }
    Ok(())
}

/// Lets the oldest segments go as long as all their entries are purged.
pub(super) fn sweep(core: &Core) -> Result<(), Error> {
    loop {
        let mut state = core.state();
        let purged = state.chart.head.marks.purged.map(|id| id.index);
        let oldest = state.segments.front().copied();
        let is_free = |known: &Known| !known.info.is_active && known.info.last <= purged;
        let Some(oldest) = oldest.filter(is_free) else {
            return Ok(());
        };
        state.segments.pop_front();
        core.tell_segments(&state);
        drop(state);
        let id = oldest.info.id;
        let is_read = core.files.forget(id);
        if oldest.is_damaged {
            let path = core.directory.quarantine(id)?;
            tracing::warn!(segment = %id, path = %path.display(), "damaged segment set aside");
        } else if is_read || !is_room(core, &oldest) {
            // What a reader holds stays as it is when the name goes.
            core.directory.remove(id)?;
        } else {
            core.pool.recycle(core, id, oldest.len)?;
        }
    }
}

/// Whether it is as good as a new room. Where a start gave its end back to the volume it is not.
fn is_room(core: &Core, known: &Known) -> bool {
    let file = core.directory.open(known.info.id, Open::Read);
    known.len > 0 && file.is_ok_and(|file| is_whole(&*file, known.len))
}
