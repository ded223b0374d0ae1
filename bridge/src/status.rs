//! How each task is doing: what people look at when rows do not arrive.
//!
//! Holds: telling never decides. The pump writes its cell, readers copy it, and leave in it what the
//! log last told them; nothing here is read back by the pump.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use crate::feed::Behind;
use crate::record::{Lane, Position};

/// What a lane is doing. Ordered from well to ill: a task shows the worst of its lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneState {
    /// Delivering, or all delivered.
    Running,
    /// Another node delivers it: this one does not lead.
    Standby,
    /// Waiting for its predecessor to end, or for its destination to open.
    Starting,
    /// A person has paused it.
    Paused,
    /// In trouble, and trying again.
    Retrying,
    /// It goes no further until a person acts; the last error says why.
    Stopped,
}

/// The last thing that went wrong and has not been mended by a delivery since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastError {
    /// In words.
    pub why: String,
    /// When this trouble began, milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// How often it was met since.
    pub count: u64,
}

/// One lane of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneStatus {
    /// The form.
    pub form: Arc<str>,
    /// What it is doing.
    pub state: LaneState,
    /// Everything up to here is delivered or parked; `None` until the destination has opened.
    pub position: Option<Position>,
    /// The cursor as a seq: everything up to it is delivered or parked.
    pub seq: u64,
    /// Records delivered in this process's life.
    pub delivered_records: u64,
    /// Records parked in this process's life.
    pub parked_records: u64,
    /// Records not delivered yet.
    pub lag_records: u64,
    /// Their bytes, or what the log has of them with whatever lies between; `None` if that cannot be
    /// told.
    pub lag_bytes: Option<u64>,
    /// How long ago the oldest undelivered record was accepted.
    pub oldest_age_ms: Option<u64>,
    /// What is wrong now.
    pub last_error: Option<LastError>,
    /// What the sink has to tell about its destination: a shape of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<Arc<serde_json::Value>>,
}

/// Where a sink writes what people should see of its destination. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    told: Arc<watch::Sender<Option<Arc<serde_json::Value>>>>,
}

impl Notes {
    /// Tells this from now on, in place of what was told before.
    pub fn set(&self, told: serde_json::Value) {
        self.told.send_replace(Some(Arc::new(told)));
    }

    /// What is told now.
    pub fn get(&self) -> Option<Arc<serde_json::Value>> {
        self.told.borrow().clone()
    }

    /// Waits until such a thing is told; for ever, if it never is.
    #[cfg(feature = "testing")]
    pub(crate) async fn until(&self, mut is_so: impl FnMut(&serde_json::Value) -> bool) {
        let mut told = self.told.subscribe();
        let is_told =
            |told: &Option<Arc<serde_json::Value>>| told.as_deref().is_some_and(&mut is_so);
        // It ends with the sender, which is here.
        drop(told.wait_for(is_told).await);
    }
}

/// One task, with the worst of its lanes on top.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its present life.
    pub incarnation: u64,
    /// Which sink.
    pub sink: Arc<str>,
    /// The worst of its lanes' states.
    pub state: LaneState,
    /// Records not delivered yet, over all lanes.
    pub lag_records: u64,
    /// Their bytes, over all lanes, as far as they can be told.
    pub lag_bytes: Option<u64>,
    /// Age of the oldest undelivered record, over all lanes.
    pub oldest_age_ms: Option<u64>,
    /// The first error of its lanes.
    pub last_error: Option<LastError>,
    /// Every lane, by form.
    pub lanes: Vec<LaneStatus>,
}

/// What the pump writes and readers copy.
#[derive(Debug)]
pub(crate) struct Cell {
    inner: Mutex<LaneStatus>,
    notes: Notes,
    /// What was behind when the log could last be asked.
    behind: Mutex<Behind>,
}

impl Cell {
    pub(crate) fn new(lane: &Lane) -> Self {
        Self {
            notes: Notes::default(),
            behind: Mutex::default(),
            inner: Mutex::new(LaneStatus {
                form: Arc::from(lane.form()),
                state: LaneState::Starting,
                position: None,
                seq: 0,
                delivered_records: 0,
                parked_records: 0,
                lag_records: 0,
                lag_bytes: None,
                oldest_age_ms: None,
                last_error: None,
                sink: None,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, LaneStatus> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self) -> LaneStatus {
        LaneStatus {
            sink: self.notes.get(),
            ..self.lock().clone()
        }
    }

    /// Keeps it for a time when the log cannot be asked; gives it back.
    pub(crate) fn note_behind(&self, behind: Behind) -> Behind {
        *self.behind.lock().unwrap_or_else(PoisonError::into_inner) = behind;
        behind
    }

    /// Nothing, if it was never noted.
    pub(crate) fn last_behind(&self) -> Behind {
        *self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn notes(&self) -> &Notes {
        &self.notes
    }

    pub(crate) fn set_state(&self, state: LaneState) {
        self.lock().state = state;
    }

    /// The destination has opened, or taken more.
    pub(crate) fn set_position(&self, position: Position, delivered: u64) {
        let mut inner = self.lock();
        inner.position = Some(position);
        inner.delivered_records += delivered;
    }

    /// Where the destination stands is not known here any more.
    pub(crate) fn forget_position(&self) {
        self.lock().position = None;
    }

    pub(crate) fn add_parked(&self) {
        self.lock().parked_records += 1;
    }

    /// Notes a trouble. True if it is news, so that it is logged once and not once a retry.
    pub(crate) fn set_error(&self, why: &str, now_ms: u64) -> bool {
        let mut inner = self.lock();
        match &mut inner.last_error {
            Some(error) if error.why == why => {
                error.count += 1;
                false
            }
            Some(error) => {
                error.count += 1;
                why.clone_into(&mut error.why);
                true
            }
            none => {
                *none = Some(LastError {
                    why: why.to_owned(),
                    since_ms: now_ms,
                    count: 1,
                });
                true
            }
        }
    }

    /// A delivery has gone through. Returns the trouble that it ended.
    pub(crate) fn clear_error(&self) -> Option<LastError> {
        self.lock().last_error.take()
    }
}

/// Puts a task's lanes together.
pub(crate) fn sum(
    name: &Arc<str>,
    incarnation: u64,
    sink: &Arc<str>,
    lanes: Vec<LaneStatus>,
) -> TaskStatus {
    TaskStatus {
        name: Arc::clone(name),
        incarnation,
        sink: Arc::clone(sink),
        state: lanes
            .iter()
            .map(|lane| lane.state)
            .max()
            .unwrap_or(LaneState::Running),
        lag_records: lanes.iter().map(|lane| lane.lag_records).sum(),
        lag_bytes: lanes.iter().map(|lane| lane.lag_bytes).sum(),
        oldest_age_ms: lanes.iter().filter_map(|lane| lane.oldest_age_ms).max(),
        last_error: lanes.iter().find_map(|lane| lane.last_error.clone()),
        lanes,
    }
}
