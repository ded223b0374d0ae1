//! The queue as the bridge sees it: `bridge::Feed` over the log and the state.
//!
//! Holds: reads go through places and only up to the applied index (`storage::Records` has no other
//! way); a cursor moves by a command, through the front door, like everything else that changes
//! state. Reads may touch the disk, so they run on threads made for blocking.

mod covered;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bridge::{Behind, FeedError, Lane, Limit, Parked, Position, Standing};
use futures::future::BoxFuture;
use storage::{
    Advance, Command, FormId, Index, Outcome, Park, Records, SendStarted, Slot, StateView,
    encode_command,
};
use tokio::sync::watch;

use self::covered::{Covered, Covers};
use crate::forms::Registry;
use crate::node::is_applied_here;
use crate::stage::Stage;

/// An idle lane looks at its form's head at most this often, however busy other forms are: with
/// hundreds of lanes, looking at every entry would cost more than the entries.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// As long as a command that was forwarded may take to be applied here too.
const APPLIED_TIME_MAX: Duration = Duration::from_secs(10);

/// The queue of one node.
pub struct LogFeed {
    node: raft::Node,
    view: StateView,
    records: Records,
    registry: Registry,
    covers: Covers,
    lease: watch::Receiver<Option<u64>>,
}

impl LogFeed {
    /// The queue of `node`; `stage` holds the task that passes leadership on.
    pub fn new(node: &raft::Node, registry: &Registry, stage: &Stage) -> Self {
        let (sender, lease) = watch::channel(None);
        let (mut leadership, mut applied) = (node.leadership(), node.applied());
        let (view, own) = (node.view(), stage.clone());
        stage.spawn(async move {
            loop {
                applied.borrow_and_update();
                let term = *leadership.borrow_and_update();
                // An entry of its own term is applied behind all that earlier leaders committed.
                let is_caught_up = view.applied().map(|last| last.term) == term;
                sender.send_replace(term.filter(|_| is_caught_up).map(|term| term.0));
                tokio::select! {
                    biased;
                    () = own.stopping() => return,
                    changed = leadership.changed() => if changed.is_err() { return },
                    changed = applied.changed(), if !is_caught_up => if changed.is_err() { return },
                }
            }
        });
        Self {
            node: node.clone(),
            view: node.view(),
            records: node.records(),
            registry: registry.clone(),
            covers: Covers::new(node.view()),
            lease,
        }
    }

    /// The form whose cursor the lane moves; `None`: one cursor for all.
    fn form(&self, lane: &Lane) -> Result<Option<FormId>, FeedError> {
        let Some(name) = &lane.form else {
            return Ok(None);
        };
        self.form_named(name).map(Some)
    }

    /// The registry has it at hand; a definition that does not compile is only in the state.
    fn form_named(&self, name: &str) -> Result<FormId, FeedError> {
        if let Some(form) = self.registry.get(name) {
            return Ok(form.id);
        }
        let form = self.view.form(name).map_err(again)?;
        form.map(|form| form.id).ok_or(FeedError::Fenced)
    }

    /// The last seqs of the lane's forms, put together: another number as soon as one moves. A state
    /// that cannot be read looks like one that has moved.
    fn heads(&self, forms: &Covered) -> Option<u64> {
        let heads = forms.ids.iter().map(|form| self.view.head(*form));
        heads.map(|head| Some(head.ok()?.0)).sum()
    }

    /// Records of the lane after a position, read on a thread that may block.
    async fn read_after(
        &self,
        lane: &Lane,
        after: Position,
        limit: Limit,
    ) -> Result<Vec<storage::Record>, FeedError> {
        let (form, records, after) = (self.form(lane)?, self.records.clone(), inward(after));
        let forms = self.covers.get(lane)?;
        let Limit {
            count_max,
            bytes_max,
        } = limit;
        let read = move || match form {
            Some(form) => records.after_position(form, after, count_max, bytes_max),
            None => records.across(&forms.ids, after, count_max, bytes_max),
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(read) => read.map_err(again),
            Err(error) => Err(FeedError::Again(format!("a read was given up: {error}"))),
        }
    }

    async fn propose(&self, command: Command) -> Result<(), FeedError> {
        let applied = self.node.propose(encode_command(&command)).await;
        let applied = applied.map_err(|error| FeedError::Again(error.to_string()))?;
        // What the pump reads next must show it, also where another node leads.
        if !is_applied_here(&self.node, applied.log_id.index, APPLIED_TIME_MAX).await {
            return Err(FeedError::Again(
                "it is committed, and not applied here yet".to_owned(),
            ));
        }
        match applied.outcome {
            Outcome::Fenced | Outcome::Missing => Err(FeedError::Fenced),
            Outcome::Done
            | Outcome::Pack(_)
            | Outcome::OutOfTurn { .. }
            | Outcome::Form { .. }
            | Outcome::Task { .. }
            | Outcome::Released { .. }
            | Outcome::Conflict { .. } => Ok(()),
        }
    }
}

impl bridge::Feed for LogFeed {
    fn read<'a>(
        &'a self,
        lane: &'a Lane,
        after: Position,
        limit: Limit,
    ) -> BoxFuture<'a, Result<Vec<bridge::Record>, FeedError>> {
        Box::pin(async move {
            let records = self.read_after(lane, after, limit).await?;
            let forms = self.covers.get(lane)?;
            let records = records.into_iter();
            Ok(records
                .filter_map(|record| outward(forms.names.get(&record.form)?, record))
                .collect())
        })
    }

    fn wait<'a>(&'a self, lane: &'a Lane, after: Position) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let mut applied = self.node.applied();
            applied.borrow_and_update();
            // The head before the look: what comes in between is seen by one of the two.
            let Ok(forms) = self.covers.get(lane) else {
                return;
            };
            let heads = self.heads(&forms);
            let one = Limit {
                count_max: 1,
                bytes_max: 1,
            };
            if !matches!(self.read_after(lane, after, one).await, Ok(found) if found.is_empty()) {
                return;
            }
            let version = self.view.definitions_version();
            while heads.is_some() && self.heads(&forms) == heads {
                let is_over = applied.changed().await.is_err();
                // A task over all forms may cover another one by now.
                if is_over || self.view.definitions_version() != version {
                    return;
                }
                if self.heads(&forms) != heads {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        })
    }

    fn forgotten_upto(&self) -> Result<u64, FeedError> {
        Ok(self.view.horizon().map_err(again)?.0)
    }

    fn applied_upto(&self) -> u64 {
        self.view.applied().map_or(0, |applied| applied.index.0)
    }

    fn standing<'a>(&'a self, lane: &'a Lane) -> BoxFuture<'a, Result<Standing, FeedError>> {
        Box::pin(async move {
            let form = self.form(lane)?;
            let task = self.view.task(&lane.task).map_err(again)?;
            let cursor = self.view.cursor(&lane.task, form).map_err(again)?;
            let (Some(task), Some(cursor)) = (task, cursor) else {
                return Err(FeedError::Fenced);
            };
            Ok(Standing {
                start: position(task.start),
                position: position(cursor.position),
                sending: cursor.sending.map(position),
            })
        })
    }

    fn behind<'a>(
        &'a self,
        lane: &'a Lane,
        after: Position,
    ) -> BoxFuture<'a, Result<Behind, FeedError>> {
        Box::pin(async move {
            let forms = self.covers.get(lane)?;
            let (mut records, mut head_seq) = (0, 0);
            for form in &forms.ids {
                let head = self.view.head(*form).map_err(again)?;
                let next = self.view.undelivered(*form, inward(after)).map_err(again)?;
                // What was accepted after the head was read is counted the next time.
                let next = next.map_or(head.next(), |(next, _)| next);
                records += head.next().0.saturating_sub(next.0);
                head_seq += head.0;
            }
            let one = Limit {
                count_max: 1,
                bytes_max: 1,
            };
            let first = self.read_after(lane, after, one).await?;
            Ok(Behind {
                records,
                head_seq,
                bytes: None,
                oldest_received_at_ms: first.first().map(|first| first.received_ms),
            })
        })
    }

    fn advance<'a>(
        &'a self,
        lane: &'a Lane,
        incarnation: u64,
        from: Position,
        to: Position,
    ) -> BoxFuture<'a, Result<(), FeedError>> {
        Box::pin(async move {
            self.propose(Command::Advance(Advance {
                task: lane.task.as_ref().to_owned(),
                incarnation: Index(incarnation),
                form: self.form(lane)?,
                from: inward(from),
                to: inward(to),
            }))
            .await
        })
    }

    fn send_started<'a>(
        &'a self,
        lane: &'a Lane,
        incarnation: u64,
        from: Position,
        to: Position,
    ) -> BoxFuture<'a, Result<(), FeedError>> {
        Box::pin(async move {
            self.propose(Command::SendStarted(SendStarted {
                task: lane.task.as_ref().to_owned(),
                incarnation: Index(incarnation),
                form: self.form(lane)?,
                from: inward(from),
                to: inward(to),
            }))
            .await
        })
    }

    fn park<'a>(
        &'a self,
        lane: &'a Lane,
        incarnation: u64,
        parked: Parked,
    ) -> BoxFuture<'a, Result<(), FeedError>> {
        Box::pin(async move {
            self.propose(Command::Park(Park {
                task: lane.task.as_ref().to_owned(),
                incarnation: Index(incarnation),
                form: self.form_named(&parked.record.form)?,
                position: inward(parked.record.position),
                reason: cut(parked.why, 1 << 10),
                answer: cut(parked.answer, 2 << 10),
                body: parked.record.body,
            }))
            .await
        })
    }

    fn fields(&self, form: &str) -> Arc<[String]> {
        self.registry
            .get(form)
            .map(|form| form.columns())
            .unwrap_or_default()
            .into()
    }

    fn lease(&self) -> watch::Receiver<Option<u64>> {
        self.lease.clone()
    }
}

impl fmt::Debug for LogFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFeed")
            .field("view", &self.view)
            .finish_non_exhaustive()
    }
}

/// A failed read of log or state stops the node by itself; until then the lane waits.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn again(error: storage::Error) -> FeedError {
    FeedError::Again(error.to_string())
}

fn inward(position: Position) -> storage::Position {
    storage::Position {
        index: Index(position.index),
        slot: Slot(position.slot),
    }
}

fn position(position: storage::Position) -> Position {
    Position {
        index: position.index.0,
        slot: position.slot.0,
    }
}

/// A record without a seq is withheld, and never delivered.
fn outward(form: &Arc<str>, record: storage::Record) -> Option<bridge::Record> {
    Some(bridge::Record {
        form: Arc::clone(form),
        seq: record.seq?.0,
        position: position(record.position),
        term: record.log_id.term.0,
        id: uuid::Uuid::from_bytes(record.id).to_string(),
        received_at_ms: record.received_ms,
        form_version: record.form_version,
        body: record.body,
        is_replay: false,
    })
}

/// At most `bytes_max` bytes of a text, cut between characters.
fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        assert_eq!(cut("aé".to_owned(), 2), "a");
        assert_eq!(cut("ab".to_owned(), 9), "ab");
    }
}
