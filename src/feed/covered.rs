//! Which forms a lane moves, at hand.
//!
//! Holds: what `get` returns is never older than the call: the state's number of definitions is read
//! before the forms are. A task over all forms covers a new one from its definition on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bridge::{FeedError, Lane};
use storage::{FormId, StateView};

use super::again;
use crate::forms::StoredTask;

/// The forms of a lane.
#[derive(Clone, Debug, Default)]
pub(super) struct Covered {
    /// By id.
    pub(super) ids: BTreeSet<FormId>,
    /// Their names, retired ones included: what they hold is still delivered.
    pub(super) names: BTreeMap<FormId, Arc<str>>,
}

/// The forms of every lane that was asked for since the definitions last changed.
#[derive(Debug)]
pub(super) struct Covers {
    view: StateView,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    version: Option<u64>,
    lanes: HashMap<Lane, Arc<Covered>>,
}

impl Covers {
    pub(super) fn new(view: StateView) -> Self {
        Self {
            view,
            seen: Mutex::default(),
        }
    }

    /// The forms of `lane`. `Fenced` if its task, or its one form, is gone.
    pub(super) fn get(&self, lane: &Lane) -> Result<Arc<Covered>, FeedError> {
        let version = Some(self.view.definitions_version());
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.version != version {
                *seen = Seen {
                    version,
                    lanes: HashMap::new(),
                };
            }
            if let Some(covered) = seen.lanes.get(lane) {
                return Ok(Arc::clone(covered));
            }
        }
        let covered = Arc::new(self.look(lane)?);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.version == version {
            seen.lanes.insert(lane.clone(), Arc::clone(&covered));
        }
        Ok(covered)
    }

    fn look(&self, lane: &Lane) -> Result<Covered, FeedError> {
        let mut covered = Covered::default();
        let mut add = |id: FormId, name: &str| {
            covered.ids.insert(id);
            covered.names.insert(id, Arc::from(name));
        };
        if let Some(name) = &lane.form {
            let form = self.view.form(name).map_err(again)?;
            let form = form.ok_or(FeedError::Fenced)?;
            add(form.id, &form.name);
        } else {
            let task = self.view.task(&lane.task).map_err(again)?;
            let task = task.ok_or(FeedError::Fenced)?;
            let stored = StoredTask::read(&task.definition);
            for form in self.view.forms().map_err(again)? {
                if stored.covers(&form.name) {
                    add(form.id, &form.name);
                }
            }
        }
        Ok(covered)
    }
}
