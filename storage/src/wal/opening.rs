//! Opening a log: read and judge first, and only then change anything.
//!
//! ```text
//! lock ─ read hardstate ─ read segments ─ refuse? ─ hardstate: not clean, floor ─ a new segment
//!      ─ vote and salvaged records into it, synced ─ hardstate: there is a log ─ seal the old one
//! ```
//! Holds: up to "refuse?" nothing is written but what makes durable that which is read. The floor is
//! durable before the new segment, whose header ends the torn one, could hide the need for it. A cut
//! between any two steps is a start like any other for the next one.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::core::{Core, Parts};
use super::damage::{Damage, Floor};
use super::directory::Directory;
use super::entry::Recovered;
use super::handle::Handle;
use super::hardstate::{self, Found, HardFiles, HardState};
use super::record::Record;
use super::recovery::{self, Scan};
use super::rotation::{self, Stand};
use super::writer::Writer;
use super::{Wal, pool, random, scrub, writer};
use crate::command::Policy;
use crate::config::WalConfig;
use crate::disk::Disk;
use crate::error::Error;

/// What to do about damage to what was durable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OnCorruption {
    Refuse,
    Report,
}

pub(super) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    config: &WalConfig,
    on_corruption: OnCorruption,
) -> Result<(Wal, Recovered), Error> {
    let boot_id = disk.boot_id();
    let directory = Directory::new(disk, dir);
    directory.ensure()?;
    let lock = directory.lock()?;
    let hard = read_hardstate(&directory)?;
    let marked = match on_corruption {
        OnCorruption::Refuse => BTreeSet::new(),
        OnCorruption::Report => directory.marked()?,
    };
    let scan = recovery::scan(&directory, hard.as_ref(), config.verify, marked)?;
    let is_new = scan.is_none();
    let mut scan = match scan {
        Some(scan) => scan,
        None => Scan::empty(match &hard {
            Some(hard) => hard.uuid,
            None => random(dir)?,
        }),
    };
    judge(&directory, &mut scan, hard.as_ref(), boot_id, is_new)?;
    for finding in scan.findings.iter().filter(|one| one.is_corruption()) {
        tracing::error!(%finding, "the log is damaged");
    }
    if on_corruption == OnCorruption::Refuse {
        refuse(&scan)?;
    }

    directory.remove_unfinished()?;
    let hard = HardFiles::open(directory.disk(), dir, {
        let before = hard.unwrap_or_else(|| HardState::new(scan.uuid));
        HardState {
            vote: greater(before.vote, scan.chart.head.marks.vote),
            floor: scan.floor,
            policy: config.fsync,
            boot_id,
            clean_end: None,
            ..before
        }
    })?;
    let salts: Vec<u64> = scan.segments.iter().map(|known| known.salt).collect();
    let rooms = directory.rooms(config.segment_bytes, &salts)?;
    let next_room = directory.next_room_number()?;
    let findings = std::mem::take(&mut scan.findings);
    let core = Arc::new(Core::new(Parts {
        config: config.clone(),
        directory,
        uuid: scan.uuid,
        lock,
        chart: std::mem::take(&mut scan.chart),
        segments: std::mem::take(&mut scan.segments),
        findings: findings.clone(),
        floor: hard.now.floor,
    }));
    core.pool.fill(rooms, next_room);
    let damaged: Vec<_> = {
        let state = core.state();
        let damaged = state.segments.iter().filter(|known| known.is_damaged);
        damaged.map(|known| known.info.id).collect()
    };
    for id in damaged {
        core.directory.mark(id)?;
    }
    let writer = begin(&core, &scan, hard)?;
    rotation::sweep(&core)?;
    let recovered = recovered(&core, is_new, findings);
    let wal = start(&core, writer)?;
    Ok((wal, recovered))
}

fn read_hardstate(directory: &Directory) -> Result<Option<HardState>, Error> {
    match hardstate::read(directory.disk(), directory.path())? {
        Found::None => Ok(None),
        Found::Whole(state) => Ok(Some(state)),
        Found::Damaged(path) => {
            let what = std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "neither copy is whole: this node no longer knows what it voted",
            );
            Err(Error::io("trust", path)(what))
        }
    }
}

/// What hardstate and segments say together.
fn judge(
    directory: &Directory,
    scan: &mut Scan,
    hard: Option<&HardState>,
    boot_id: [u8; 16],
    is_new: bool,
) -> Result<(), Error> {
    let Some(hard) = hard else {
        // Version 1 had none; since then it is made before the first segment.
        let needs_one = scan.segments.iter().any(|known| 0 < known.len);
        return if needs_one && !is_new {
            let gone = std::io::ErrorKind::NotFound.into();
            Err(Error::io("find", directory.path().join("hardstate.0"))(
                gone,
            ))
        } else {
            Ok(())
        };
    };
    if hard.uuid != scan.uuid {
        let other = std::io::Error::other("it belongs to another log");
        return Err(Error::io("use", directory.path().join("hardstate.0"))(
            other,
        ));
    }
    let is_other_life = hard.boot_id != boot_id;
    if hard.clean_end.is_none() && hard.policy != Policy::Always && is_other_life && !is_new {
        scan.findings.push(Damage::PossibleLoss {
            policy: hard.policy,
        });
        scan.raise_floor(Floor::Unknown);
    }
    if let Some(floor) = hard.floor {
        scan.raise_floor(floor);
    }
    Ok(())
}

fn refuse(scan: &Scan) -> Result<(), Error> {
    let mut corrupt = scan
        .findings
        .iter()
        .filter(|finding| finding.is_corruption());
    match corrupt.next() {
        Some(
            Damage::Entries {
                segment,
                offset,
                what,
                ..
            }
            | Damage::Segment {
                segment,
                offset,
                what,
            },
        ) => Err(Error::Corrupt {
            segment: *segment,
            offset: *offset,
            what,
        }),
        Some(Damage::Tail { .. } | Damage::Unsynced { .. } | Damage::PossibleLoss { .. })
        | None => Ok(()),
    }
}

fn greater(one: Option<super::Vote>, two: Option<super::Vote>) -> Option<super::Vote> {
    let rank = |vote: &super::Vote| (vote.term, vote.node, vote.is_committed);
    match (one, two) {
        (Some(one), Some(two)) if rank(&two) <= rank(&one) => Some(one),
        (one, two) => two.or(one),
    }
}

/// Where writing begins: in the last segment if nothing was ever written to it, else in a new one,
/// which takes along what the stream of the old one lacks.
fn begin(core: &Arc<Core>, scan: &Scan, hard: HardFiles) -> Result<Writer, Error> {
    let stand = Stand {
        next_batch: scan.next_batch,
        chain: scan.chain,
    };
    let unused = scan.end.filter(recovery::is_unused);
    if unused.is_none() {
        core.pool.make_first(core)?;
    }
    let probed = match &unused {
        Some(end) => core.directory.path_of(end.header.id),
        None => core.pool.any_path().unwrap_or_default(),
    };
    core.find_mode(&probed)?;
    let tail = if let Some(end) = unused {
        rotation::open_tail(core, &end.header, stand)?
    } else {
        let room = core.pool.take(core, core.config.segment_bytes)?;
        let last = core.state().segments.back().map(|known| known.info.id);
        rotation::begin(core, last.unwrap_or_default().next(), &room, stand)?
    };
    let mut writer = Writer {
        policy: core.config.fsync,
        core: Arc::clone(core),
        wants_mark: false,
        is_over: false,
        used: None,
        next: None,
        dirty_since: None,
        tail,
        hard,
    };
    // A vote that only hardstate has goes into the stream too, so that its headers say it.
    let vote = writer.hard.now.vote;
    let lacks_vote = vote != core.state().chart.head.marks.vote;
    let vote = vote.filter(|_| lacks_vote).map(Record::Vote);
    writer.write_first(vote.into_iter().chain(scan.salvaged.iter().cloned()))?;
    writer.hard.save(|hard| hard.has_log = true)?;
    if let Some(end) = scan.end.filter(|end| !recovery::is_unused(end)) {
        rotation::seal(core, &end, stand)?;
    }
    Ok(writer)
}

fn recovered(core: &Core, is_new: bool, damage: Vec<Damage>) -> Recovered {
    let state = core.state();
    let marks = state.head.marks;
    Recovered {
        is_new,
        vote: marks.vote,
        committed: marks.committed,
        first: state.head.first,
        last: marks.last,
        purged: marks.purged,
        segments: state.segments.len(),
        damage,
        floor: state.floor,
    }
}

/// Starts the threads.
fn start(core: &Arc<Core>, writer: Writer) -> Result<Wal, Error> {
    #[cfg(feature = "testing")]
    if crate::simulation::is_on() {
        return Ok(super::stepped::start(writer));
    }
    let writer = writer::spawn(writer)?;
    let handle = Handle {
        core: Arc::clone(core),
        threads: Mutex::default(),
        #[cfg(feature = "testing")]
        stepped: None,
    };
    let wal = Wal {
        handle: Arc::new(handle),
    };
    wal.handle.keep(Some(writer));
    for other in [pool::spawn(core)?, scrub::spawn(core)?] {
        wal.handle.keep(other);
    }
    Ok(wal)
}
