//! Reading sealed segments again, slowly, so that damage is found while a peer still has the entries.
//!
//! Holds: it reads the device, not the system's copy, at a set rate, and never writes. What it finds
//! is told once and kept in the log's findings; who can repair does so. It reads by `pread`: a block
//! that cannot be read is a finding, not the end of the process.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::core::Core;
use super::damage::Damage;
use super::entry::SegmentId;
use super::recovery::Known;
use super::segment::{Found, Segment, Walk};
use super::survey;
use crate::error::Error;

/// Between two looks for something to read.
const REST: Duration = Duration::from_secs(10);
/// After the whole log was read.
const REST_AFTER_ALL: Duration = Duration::from_hours(6);

/// How far the scrubber is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// How often the whole log was read.
    pub rounds: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The segment read last.
    pub segment: SegmentId,
}

#[derive(Default)]
pub(super) struct Scrubber {
    state: Mutex<ScrubState>,
    changed: Condvar,
}

#[derive(Default)]
struct ScrubState {
    report: ScrubReport,
    is_closing: bool,
}

impl Scrubber {
    fn state(&self) -> MutexGuard<'_, ScrubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self) -> ScrubReport {
        self.state().report
    }

    pub(super) fn close(&self) {
        self.state().is_closing = true;
        self.changed.notify_all();
    }

    /// Waits, or is woken by the end. False: it is the end.
    fn rest(&self, time: Duration) -> bool {
        let state = self.state();
        if state.is_closing {
            return false;
        }
        let waited = self
            .changed
            .wait_timeout_while(state, time, |state| !state.is_closing);
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_closing
    }

    fn run(&self, core: &Core) {
        let mut done = SegmentId::default();
        while self.rest(REST) {
            let next = {
                let state = core.state();
                let mut sealed = state.segments.iter().filter(|known| !known.info.is_active);
                sealed.find(|known| done < known.info.id).copied()
            };
            let Some(known) = next else {
                if done != SegmentId::default() {
                    self.state().report.rounds += 1;
                    done = SegmentId::default();
                    if !self.rest(REST_AFTER_ALL) {
                        return;
                    }
                }
                continue;
            };
            done = known.info.id;
            if !check(core, &known, Some(self)) {
                return;
            }
            let mut state = self.state();
            state.report.segment = known.info.id;
        }
    }

    /// Keeps to the rate. False: it is the end.
    fn pace(&self, bytes: u64, bytes_per_s: u64) -> bool {
        self.state().report.bytes += bytes;
        let time = Duration::from_secs_f64(
            f64::from(u32::try_from(bytes).unwrap_or(u32::MAX))
                / f64::from(u32::try_from(bytes_per_s).unwrap_or(u32::MAX).max(1)),
        );
        self.rest(time)
    }
}

impl super::Wal {
    /// Reads all sealed segments at once, and says what is damaged. What it finds is among the
    /// findings from then on.
    pub fn scrub(&self) -> Vec<Damage> {
        let core = &self.handle.core;
        let sealed: Vec<Known> = {
            let state = core.state();
            let sealed = state.segments.iter().filter(|known| !known.info.is_active);
            sealed.copied().collect()
        };
        for known in &sealed {
            check(core, known, None);
        }
        self.findings()
    }
}

/// Reads one sealed segment. False: the end came before.
fn check(core: &Core, known: &Known, pace: Option<&Scrubber>) -> bool {
    match read(core, known, pace) {
        Ok(Outcome::Whole) => true,
        Ok(Outcome::Ended) => false,
        Ok(Outcome::Damaged(offset, what)) => {
            survey::note(core, known.info.id, offset, what);
            true
        }
        // Purged meanwhile, or a device that cannot read it.
        Err(_) if !is_there(core, known) => true,
        Err(error) => {
            tracing::error!(segment = %known.info.id, %error, "a sealed segment cannot be read");
            survey::note(core, known.info.id, 0, "the device cannot read it");
            true
        }
    }
}

enum Outcome {
    Whole,
    Ended,
    Damaged(u64, &'static str),
}

fn read(core: &Core, known: &Known, pace: Option<&Scrubber>) -> Result<Outcome, Error> {
    let path = || core.directory.path_of(known.info.id);
    let io = |error| Error::io("read", path())(error);
    let segment = Segment::open(&core.directory, known.info.id)?;
    segment.file.forget_cached().map_err(io)?;
    let mut walk = Walk::new(&segment).map_err(io)?;
    while walk.offset < known.info.bytes {
        let offset = walk.offset;
        let Found::Batch(header, _) = walk.peek().map_err(io)? else {
            return Ok(Outcome::Damaged(
                offset,
                "a batch that was synced is damaged",
            ));
        };
        if walk.records(&header).map_err(io)?.is_err() {
            return Ok(Outcome::Damaged(
                offset,
                "a batch that was synced is damaged",
            ));
        }
        walk.pass(&header);
        let bytes_per_s = core.config.scrub_bytes_per_s;
        if pace.is_some_and(|pace| !pace.pace(walk.offset - offset, bytes_per_s)) {
            return Ok(Outcome::Ended);
        }
    }
    segment.file.forget_cached().map_err(io)?;
    Ok(Outcome::Whole)
}

fn is_there(core: &Core, known: &Known) -> bool {
    let state = core.state();
    let mut segments = state.segments.iter();
    segments.any(|other| other.info.id == known.info.id)
}

/// Starts the scrubber, if the settings want one.
pub(super) fn spawn(core: &Arc<Core>) -> Result<Option<JoinHandle<()>>, Error> {
    if core.config.scrub_bytes_per_s == 0 {
        return Ok(None);
    }
    let core = Arc::clone(core);
    let path = core.directory.path().to_owned();
    std::thread::Builder::new()
        .name("wal-scrubber".to_owned())
        .spawn(move || core.scrub.run(&core))
        .map(Some)
        .map_err(Error::io("start the scrubber of", path))
}
