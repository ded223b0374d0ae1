//! Retention: what the log may let go, who keeps it from that, and letting go.
//!
//! ```text
//!  every second:  cursors of all tasks ─► delivered ─┐
//!                 age, bytes, delivered long ago ────┴► candidate ─► a checkpoint at or below it
//!                 leader: propose it as the horizon       every node: purge up to the horizon
//! ```
//! Holds: a record goes only when every task of its form has passed it, whatever the settings say
//! and however short room is; this node's own local sheets are among them. Ages are of state time
//! alone: a clock that jumps lets nothing go.
//!
//! The horizon is always at a checkpoint of the leader, so it moves in steps of segments, and a
//! form's oldest records may stay longer than the settings ask: never shorter.
//!
//! What the sheets of the *other* nodes lack holds the horizon too, since `apply` removes the places
//! below it everywhere: each node tells the others up to where its own destinations have everything,
//! and one that was not heard of counts as having nothing new since. So a node that is down for good
//! holds the log until it is removed, and is named. Besides, no node purges what its own sheets lack.

mod config;
mod held;
mod rule;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bridge::TaskStatus;
use serde::Serialize;
use storage::{Command, Horizon, Index, encode_command};
use tracing::{debug, error, info};

use crate::stage::Stage;

pub use config::Config;
pub use held::{HeldBy, HeldByNode};

use rule::{Delivered, Segment, candidate, over, rounded_up};

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How many checkpoints the allowed log has room for, about: the finer, the closer to the bytes.
const CHECKPOINTS_IN_LOG: u64 = 8;

/// What is known of the tasks' own places: local sinks have no other.
pub type Tasks = Arc<dyn Fn() -> Vec<TaskStatus> + Send + Sync>;
/// True while room is short for another reason than the log's own size.
pub type IsShort = Arc<dyn Fn() -> bool + Send + Sync>;

/// How it stands, for people.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Entries up to this one may go on every node.
    pub horizon: Index,
    /// Entries up to this one are gone here.
    pub purged: Index,
    /// Every task has passed everything up to this one.
    pub delivered: Index,
    /// The length of the log.
    pub log_bytes: u64,
    /// What it may have.
    pub log_bytes_max: u64,
    /// What is first in the way of letting more go, if a task is.
    pub held_by: Option<HeldBy>,
    /// The other node whose own sheets are furthest behind, if they are behind this one's tasks.
    pub held_by_node: Option<HeldByNode>,
    /// The checkpoints here.
    pub checkpoints: Vec<Index>,
}

impl Report {
    /// What is first in the way of letting more go, in words.
    pub fn held_in_words(&self) -> Option<String> {
        let node = self.held_by_node.as_ref().map(ToString::to_string);
        node.or_else(|| self.held_by.as_ref().map(ToString::to_string))
    }
}

/// Decides and lets go. Clones are the same one.
#[derive(Clone)]
pub struct Retention {
    node: raft::Node,
    config: Config,
    log_bytes_max: u64,
    tasks: Tasks,
    is_short: IsShort,
    report: Arc<Mutex<Report>>,
    delivered: Arc<Mutex<Delivered>>,
}

impl Retention {
    /// Over a node. `free_bytes` is what its volume has left now: without a setting the log may have
    /// half of that and of what it has already.
    pub fn new(
        node: &raft::Node,
        config: &Config,
        free_bytes: u64,
        tasks: Tasks,
        is_short: IsShort,
    ) -> Self {
        let log_bytes_max = match config.bytes {
            0 => u64::midpoint(free_bytes, log_bytes(&segments(node))),
            bytes => bytes,
        };
        Self {
            node: node.clone(),
            config: config.clone(),
            log_bytes_max,
            tasks,
            is_short,
            report: Arc::default(),
            delivered: Arc::default(),
        }
    }

    /// How it stands, as of the last look.
    pub fn report(&self) -> Report {
        self.report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Looks once a second until the stage stops.
    pub fn spawn(&self, stage: &Stage) {
        let (this, own) = (self.clone(), stage.clone());
        stage.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = own.stopping() => return,
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
                this.turn().await;
            }
        });
    }

    /// One look, and what follows from it.
    pub async fn turn(&self) {
        let looker = self.clone();
        let look = match tokio::task::spawn_blocking(move || looker.look()).await {
            Ok(Ok(look)) => look,
            Ok(Err(error)) => {
                error!(%error, "cannot tell what the log may let go");
                return;
            }
            Err(error) => {
                error!(%error, "the look at the log was given up");
                return;
            }
        };
        if look.wants_checkpoint {
            self.node.checkpoints().demand();
        }
        self.node.tell_delivered(look.own);
        if let Some(index) = look.horizon
            && self.node.leadership().borrow().is_some()
        {
            // Not forwarded: another leader has its own settings, and hears of other nodes itself.
            let command = encode_command(&Command::Horizon(Horizon { index }));
            match self.node.propose_here(command).await {
                Ok(_) => info!(%index, "the horizon moved"),
                Err(error) => debug!(%error, "the horizon was not taken"),
            }
        }
        match self.node.forget(look.own).await {
            Ok(gone) => debug!(purged = %gone.purged, gone.checkpoints, "the log was let go"),
            Err(error) => debug!(%error, "the log was not let go"),
        }
    }

    fn look(&self) -> Result<Look, storage::Error> {
        let (view, wal) = (self.node.view(), self.node.wal());
        // First: a record that is applied later lies above it.
        let applied = view.applied().map(|id| id.index).unwrap_or_default();
        let time_ms = view.state_time()?;
        let held = held::lanes(&view, &(self.tasks)())?;
        let before = |one: &HeldBy| Index(one.index.0.saturating_sub(1));
        let own = held.iter().filter(|one| one.is_local).map(before).min();
        let own = own.map_or(applied, |own| applied.min(own));
        let held_by = held.into_iter().min_by_key(|one| one.index);
        let here = held_by
            .as_ref()
            .map_or(applied, |one| applied.min(before(one)));
        let held_by_node = held::nodes(&self.node.roster()).filter(|one| one.delivered < here);
        let delivered = held_by_node.as_ref().map_or(here, |one| one.delivered);

        let segments = segments(&self.node);
        let log_bytes = log_bytes(&segments);
        let bytes_max = if (self.is_short)() {
            self.log_bytes_max.min(log_bytes / 4 * 3)
        } else {
            self.log_bytes_max
        };
        let aged = match self.config.time() {
            Some(age) => view.applied_at(time_ms.saturating_sub(millis(age)))?,
            None => Index(0),
        };
        let settled = {
            let mut samples = self
                .delivered
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            samples.note(time_ms, delivered);
            samples.before(time_ms, millis(self.config.after_delivery()))
        };
        let checkpoints = self.node.checkpoints();
        let all: Vec<Index> = checkpoints.all().iter().map(|one| one.id.index).collect();
        let over = rounded_up(over(&segments, bytes_max), delivered, &all);
        let candidate = candidate(delivered, aged.min(settled), over);
        let horizon = view.horizon()?;
        let candidate = view.horizon_for(candidate)?;
        let at = checkpoints.newest(candidate).map(|one| one.id.index);
        let newest = checkpoints
            .newest(Index(u64::MAX))
            .map(|one| one.id.index)
            .unwrap_or_default();
        let is_old = match self.config.time() {
            Some(age) => {
                newest
                    < view.applied_at(time_ms.saturating_sub(millis(age) / CHECKPOINTS_IN_LOG))?
            }
            None => false,
        };
        let behind: u64 = segments
            .iter()
            .filter(|one| newest < one.last)
            .map(|one| one.bytes)
            .sum();
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Report {
            horizon,
            purged: wal.purged().map(|id| id.index).unwrap_or_default(),
            delivered,
            log_bytes,
            log_bytes_max: self.log_bytes_max,
            held_by,
            held_by_node,
            checkpoints: all,
        };
        Ok(Look {
            own,
            horizon: at.filter(|at| horizon < *at),
            wants_checkpoint: is_old || bytes_max / CHECKPOINTS_IN_LOG < behind,
        })
    }
}

/// What a look came to.
struct Look {
    /// This node's own destinations have everything up to here.
    own: Index,
    /// What the horizon should be, where it is not yet.
    horizon: Option<Index>,
    wants_checkpoint: bool,
}

fn segments(node: &raft::Node) -> Vec<Segment> {
    let all = node.wal().segments().into_iter();
    all.map(|one| Segment {
        // The one being written cannot go, and has entries yet to come.
        last: if one.is_active {
            Index(u64::MAX)
        } else {
            one.last.unwrap_or_default()
        },
        bytes: one.bytes,
    })
    .collect()
}

fn log_bytes(segments: &[Segment]) -> u64 {
    segments.iter().map(|one| one.bytes).sum()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retention")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
