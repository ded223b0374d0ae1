//! The queue as the bridge sees it: `bridge::Feed` over the log and the state.
//!
//! Holds: reads go through places and only up to the applied index (`storage::Records` has no other
//! way); a cursor moves by a command, through the front door, like everything else that changes
//! state. Reads may touch the disk, so they run on threads made for blocking.

mod again;
mod covered;
mod lag;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bridge::{Behind, FeedError, Held, Lane, Limit, Parked, Position, Standing};
use futures::future::BoxFuture;
use storage::{
    Advance, Command, CursorRow, FormId, Index, Outcome, Park, ParkedRecord, Records, SendStarted,
    Seq, Slot, StateView, TaskRow, Term, encode_command,
};
use tokio::sync::watch;

use self::again::UNPARKED_MAX;
use self::covered::{Covered, Covers};
use crate::forms::Registry;
use crate::node::is_applied_here;
use crate::stage::Stage;

/// An idle lane looks at its form's head at most this often, however busy other forms are: with
/// hundreds of lanes, looking at every entry would cost more than the entries.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// As long as a command that was forwarded may take to be applied here too.
const APPLIED_TIME_MAX: Duration = Duration::from_secs(10);

/// To see whether there is any.
const ONE: Limit = Limit {
    count_max: 1,
    bytes_max: 1,
};

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

    fn task(&self, lane: &Lane) -> Result<TaskRow, FeedError> {
        let task = self.view.task(&lane.task).map_err(again)?;
        task.ok_or(FeedError::Fenced)
    }

    fn cursor(&self, lane: &Lane) -> Result<CursorRow, FeedError> {
        let form = self.form(lane)?;
        let cursor = self.view.cursor(&lane.task, form).map_err(again)?;
        cursor.ok_or(FeedError::Fenced)
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
            let cursor = self.cursor(lane)?;
            let forms = self.covers.get(lane)?;
            // Before the records: what stood before one of these was applied earlier, so the read that
            // follows sees it.
            let again = self.unparked_after(lane, &forms, after)?;
            let records = self.read_after(lane, after, limit).await?.into_iter();
            let mut records: Vec<bridge::Record> = records
                .filter_map(|record| {
                    let name = forms.names.get(&record.form)?;
                    let is_replay = record.position <= cursor.replay_upto;
                    outward(name, record, is_replay)
                })
                .collect();
            // Neither may pass what the other has not shown yet.
            if again.len() == UNPARKED_MAX
                && let Some(last) = again.last()
            {
                records.retain(|record| record.position < last.position);
            }
            let from = records.last().map_or(after, |last| last.position);
            let end = if again.last().is_some_and(|last| from < last.position) {
                let next = self.read_after(lane, from, ONE).await?;
                next.first().map(|next| position(next.position))
            } else {
                None
            };
            let shown = |one: &bridge::Record| end.is_none_or(|end| one.position < end);
            records.extend(again.into_iter().filter(shown));
            records.sort_by_key(|record| record.position);
            Ok(records)
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
            let version = self.view.definitions_version();
            let again = self.unparked_after(lane, &forms, after);
            if !matches!(again, Ok(found) if found.is_empty()) {
                return;
            }
            if !matches!(self.read_after(lane, after, ONE).await, Ok(found) if found.is_empty()) {
                return;
            }
            while heads.is_some() && self.heads(&forms) == heads {
                let is_over = applied.changed().await.is_err();
                // A task over all forms may cover another one by now, or a parked record comes again.
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
            let task = self.task(lane)?;
            let cursor = self.cursor(lane)?;
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
        Box::pin(lag::of(self, lane, after))
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
                record: ParkedRecord {
                    id: id_of(&parked.record)?,
                    seq: Seq(parked.record.seq),
                    term: Term(parked.record.term),
                    received_ms: parked.record.received_at_ms,
                    form_version: parked.record.form_version,
                    body: parked.record.body,
                },
            }))
            .await
        })
    }

    fn parked_within(
        &self,
        lane: &Lane,
        incarnation: u64,
        after: Position,
        upto: Position,
    ) -> Result<Vec<Position>, FeedError> {
        let marks = self.marks(lane, incarnation, (inward(after), inward(upto)))?;
        Ok(marks
            .into_iter()
            .map(|mark| position(mark.position))
            .collect())
    }

    fn held(&self, lane: &Lane, incarnation: u64, after: Position) -> Result<Vec<Held>, FeedError> {
        self.held_after(lane, incarnation, after)
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
fn outward(form: &Arc<str>, record: storage::Record, is_replay: bool) -> Option<bridge::Record> {
    Some(bridge::Record {
        form: Arc::clone(form),
        seq: record.seq?.0,
        position: position(record.position),
        term: record.log_id.term.0,
        id: uuid::Uuid::from_bytes(record.id).to_string(),
        received_at_ms: record.received_ms,
        form_version: record.form_version,
        body: record.body,
        is_replay,
    })
}

/// The feed gave it out in this writing itself.
fn id_of(record: &bridge::Record) -> Result<[u8; 16], FeedError> {
    let id = uuid::Uuid::parse_str(&record.id);
    id.map(uuid::Uuid::into_bytes)
        .map_err(|error| FeedError::Again(format!("record {} has no id: {error}", record.seq)))
}

/// At most `bytes_max` bytes of a text, cut between characters.
fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

#[cfg(test)]
mod tests;
