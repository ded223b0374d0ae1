//! From task definitions in the state to pumps of the bridge, and back to people as a status.
//!
//! Holds: what runs follows what is applied: a task defined through any node begins here by itself.
//! A task over all forms gets a lane for a new form when the form is defined. Telling never decides.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bridge::{Bridge, TaskSpec, TaskStatus};
use serde_json::{Value, json};
use storage::{Position, StateView, TaskRow, TaskState};
use tokio::sync::Notify;
use tracing::{error, info};

use crate::forms::{OnPoison, StoredTask, TaskDefinition};
use crate::http::Lag;
use crate::stage::Stage;

/// The last known status of all tasks: refreshed each second, read by whoever asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Overview {
    tasks: Arc<Mutex<Vec<TaskStatus>>>,
}

/// How old a status may be.
const REFRESH: Duration = Duration::from_secs(1);

impl Overview {
    /// Refreshes until the stage stops. Returns with a first status, so that nobody who asks as
    /// soon as the doors are open is told that there are no tasks.
    /// Looks again at once when the definitions have changed.
    pub(super) async fn spawn(bridge: &Bridge, changed: Arc<Notify>, stage: &Stage) -> Self {
        let overview = Self::default();
        overview.refresh(bridge).await;
        let (bridge, own, mine) = (bridge.clone(), stage.clone(), overview.clone());
        stage.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = own.stopping() => return,
                    () = changed.notified() => {}
                    () = tokio::time::sleep(REFRESH) => {}
                }
                mine.refresh(&bridge).await;
            }
        });
        overview
    }

    async fn refresh(&self, bridge: &Bridge) {
        let tasks = bridge.status().await;
        *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
    }

    /// All tasks.
    pub(super) fn tasks(&self) -> Vec<TaskStatus> {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What became of one record at each task of its form.
    pub(super) fn delivery(&self, view: &StateView, form: &str, position: Position) -> Value {
        let told = self.tasks().into_iter().filter_map(|task| {
            let state = state_at(view, &task, form, position)?;
            Some(json!({ "task": task.name, "state": state }))
        });
        told.collect()
    }
}

/// What became of a record at one task; `None` if the task has nothing to do with its form.
fn state_at(
    view: &StateView,
    task: &TaskStatus,
    form: &str,
    position: Position,
) -> Option<&'static str> {
    let lane = task
        .lanes
        .iter()
        .find(|lane| matches!(&*lane.form, "*") || *lane.form == *form)?;
    let row = view.task(&task.name).ok()??;
    if !StoredTask::read(&row.definition).known()?.covers(form) {
        return None;
    }
    // Where another node delivers, only the replicated cursor is known here; where this one does, its
    // own word is newer.
    let id = view.form(form).ok()??.id;
    let id = (&*lane.form != "*").then_some(id);
    let replicated = view.cursor(&task.name, id).ok()?.map(|row| row.position);
    let own = lane.position.map(|at| Position {
        index: storage::Index(at.index),
        slot: storage::Slot(at.slot),
    });
    let cursor = own.max(replicated).unwrap_or_default();
    // One that was sent once more is delivered, or parked, where that was asked.
    let mut at = position;
    let again = view.unparked_marks(&task.name, storage::Index(0)).ok()?;
    for (index, mark) in &again {
        if mark.position == at {
            at = Position {
                index: *index,
                slot: storage::Slot(0),
            };
        }
    }
    let parked = view.parked_marks(&task.name, before(at), at).ok()?;
    Some(match (parked.is_empty(), at <= cursor) {
        (false, _) => "parked",
        (true, true) => "delivered",
        (true, false) => "waiting",
    })
}

/// The last position in front of another.
fn before(at: Position) -> Position {
    match at.slot.0.checked_sub(1) {
        Some(slot) => Position {
            slot: storage::Slot(slot),
            ..at
        },
        None => Position {
            index: storage::Index(at.index.0.saturating_sub(1)),
            slot: storage::Slot(u32::MAX),
        },
    }
}

/// How many records a task has not delivered, looked at when it is asked.
pub(super) fn lag(bridge: &Bridge) -> Lag {
    let bridge = bridge.clone();
    Arc::new(move |task| {
        let bridge = bridge.clone();
        Box::pin(async move {
            let all = bridge.status().await;
            let found = all.into_iter().find(|status| *status.name == *task)?;
            Some(found.lag_records)
        })
    })
}

/// All tasks of the state as the bridge wants them; what this build cannot run, too: people must see it.
pub(super) fn specs(view: &StateView) -> Result<Vec<TaskSpec>, storage::Error> {
    let forms = view.forms()?;
    let specs = view.tasks()?.into_iter().map(|task| {
        let stored = StoredTask::read(&task.definition);
        let covered = forms.iter().filter(|form| stored.covers(&form.name));
        let names = covered.map(|form| Arc::from(form.name.as_str())).collect();
        spec(&task, &stored, names)
    });
    Ok(specs.collect())
}

fn spec(task: &TaskRow, stored: &StoredTask, forms: Vec<Arc<str>>) -> TaskSpec {
    let on_poison = stored.known().map(|definition| definition.on_poison);
    TaskSpec {
        name: Arc::from(task.name.as_str()),
        incarnation: task.incarnation.0,
        forms,
        sink: stored.spec(),
        on_poison: match on_poison.unwrap_or_default() {
            OnPoison::Park => bridge::OnPoison::Park,
            OnPoison::ParkKey => bridge::OnPoison::ParkKey,
            OnPoison::Stop => bridge::OnPoison::Stop,
        },
        is_paused: task.state == TaskState::Paused,
        unfit: stored.unfit().map(Arc::from),
    }
}

/// Keeps what runs equal to what is applied, until the stage stops. Tells when it has changed.
pub(super) fn follow(node: &raft::Node, bridge: &Bridge, stage: &Stage) -> Arc<Notify> {
    let told = Arc::new(Notify::new());
    let changed = Arc::clone(&told);
    let (view, mut applied) = (node.view(), node.applied());
    let (bridge, own) = (bridge.clone(), stage.clone());
    stage.spawn(async move {
        let mut seen = None;
        loop {
            let version = view.definitions_version();
            if seen != Some(version) {
                match specs(&view) {
                    Ok(specs) => {
                        info!(tasks = specs.len(), "definitions changed");
                        bridge.set_tasks(specs);
                        seen = Some(version);
                        changed.notify_one();
                    }
                    Err(error) => error!(%error, "cannot read the tasks"),
                }
            }
            tokio::select! {
                biased;
                () = own.stopping() => return,
                changed = applied.changed() => if changed.is_err() { return },
            }
        }
    });
    told
}

/// How often it is looked whether this node can serve all tasks.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Tells the other nodes what this one lacks to serve all tasks, until the stage stops.
pub(super) fn tell_lacks(node: &raft::Node, bridge: &Bridge, stage: &Stage) {
    let (node, bridge, own) = (node.clone(), bridge.clone(), stage.clone());
    stage.spawn(async move {
        loop {
            node.tell_lacks(bridge.lacks().await);
            tokio::select! {
                biased;
                () = own.stopping() => return,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    });
}

/// The file of a form's local sheet, within the directory of sheets.
pub(super) fn sheet_of(view: &StateView, form: &str) -> Option<String> {
    let tasks = view.tasks().ok()?;
    let definitions = tasks
        .iter()
        .filter_map(|task| TaskDefinition::from_json(&task.definition).ok());
    let mut covering = definitions.filter(|definition| definition.covers(form));
    covering.find_map(|definition| Some(definition.csv?.path.replace("{form}", form)))
}

#[cfg(test)]
mod tests;
