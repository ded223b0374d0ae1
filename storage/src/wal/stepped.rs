//! The writer without its thread: whoever drives it says when it takes its next turn.
//!
//! Holds: a turn does what the thread would have done in it, answers included, and nothing happens
//! between two turns. So a simulation decides how long a sync takes and what happens meanwhile, and
//! one seed means one order of things.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};

use super::Wal;
use super::answers::Answerer;
use super::handle::Handle;
use super::writer::{Line, Writer};

/// `None`: it has ended.
pub(super) type Shared = Arc<Mutex<Option<Line>>>;

/// Told that there is work for the writer, from wherever it was handed over.
#[derive(Default)]
pub(super) struct Bell(OnceLock<Box<dyn Fn() + Send + Sync>>);

impl Bell {
    pub(super) fn ring(&self) {
        if let Some(told) = self.0.get() {
            told();
        }
    }
}

/// Drives the writer of one log.
pub struct Stepper {
    line: Shared,
    dir: PathBuf,
}

impl Stepper {
    /// The log's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Calls `told` whenever there is work. Once only.
    pub fn on_work(&self, told: Box<dyn Fn() + Send + Sync>) {
        if let Some(line) = &*self.lock() {
            drop(line.core().bell.0.set(told));
        }
    }

    /// One turn: writes and syncs what waits, and answers. False: nothing waits, or it has ended.
    pub fn step(&mut self) -> bool {
        step(&mut self.lock())
    }

    /// Whether the log was closed, or dropped.
    pub fn has_ended(&self) -> bool {
        self.lock().is_none()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Line>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Stepper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stepper")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

fn step(held: &mut Option<Line>) -> bool {
    let Some(line) = held else {
        return false;
    };
    let left = line.left();
    let next = line.next();
    let Some(turn) = next.or_else(|| line.core().state().turn(left)) else {
        return false;
    };
    if !line.take(turn)
        && let Some(line) = held.take()
    {
        line.end();
    }
    true
}

/// Hands the writer over to the simulation that is on.
pub(super) fn start(writer: Writer) -> Wal {
    let core = Arc::clone(&writer.core);
    let answerer = Answerer::here(&core);
    let line = Arc::new(Mutex::new(Some(Line::new(writer, answerer))));
    crate::simulation::drive(Stepper {
        line: Arc::clone(&line),
        dir: core.directory.path().to_owned(),
    });
    Wal {
        handle: Arc::new(Handle {
            core,
            threads: Mutex::default(),
            stepped: Some(line),
        }),
    }
}

/// All turns that are left, at once: a close waits for the writer. Where this is called from within
/// a turn, by an answer that held the last handle, whoever drives takes the turns that are left.
pub(super) fn run_dry(line: &Shared) {
    let mut held = match line.try_lock() {
        Ok(held) => held,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return,
    };
    while step(&mut held) {}
}
