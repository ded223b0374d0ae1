//! What stands in for the log's writer thread: a task that lets some time pass before each turn, so
//! that the power can go between what was handed over and its sync.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use storage::Stepper;
use tokio::sync::Notify;

use crate::dice::Dice;
use crate::trace::Trace;

/// How long the disks take. A clone is the same one.
#[derive(Clone)]
pub struct Paces(Arc<Mutex<Vec<Pace>>>);

struct Pace {
    dice: Dice,
    ms: (u64, u64),
}

/// A disk that is well.
pub const WELL: (u64, u64) = (1, 8);

impl Paces {
    pub fn new(dice: &mut Dice, count: usize) -> Self {
        let pace = |_| Pace {
            dice: dice.fork(),
            ms: WELL,
        };
        Self(Arc::new(Mutex::new((0..count).map(pace).collect())))
    }

    pub fn set(&self, at: usize, ms: (u64, u64)) {
        self.0.lock().unwrap()[at].ms = ms;
    }

    fn next(&self, at: usize) -> Duration {
        let pace = &mut self.0.lock().unwrap()[at];
        pace.dice.ms(pace.ms.0, pace.ms.1)
    }
}

/// Where the log of a place lies.
pub fn data_dir(at: usize) -> String {
    format!("/n{at}")
}

/// Whose log that is.
fn place_of(stepper: &Stepper) -> usize {
    let dir = stepper.dir().to_str().unwrap();
    let at = dir.trim_start_matches("/n").split('/').next();
    at.unwrap().parse().unwrap()
}

/// Until the log is closed.
pub async fn drive(mut stepper: Stepper, paces: Paces, trace: Trace) {
    let at = place_of(&stepper);
    let bell = Arc::new(Notify::new());
    let ring = Arc::clone(&bell);
    stepper.on_work(Box::new(move || ring.notify_one()));
    while !stepper.has_ended() {
        tokio::time::sleep(paces.next(at)).await;
        if stepper.step() {
            trace.mix(&("sync", at));
        } else if !stepper.has_ended() {
            bell.notified().await;
        }
    }
}
