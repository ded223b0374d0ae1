//! What the doors may read: the one file of this room that reads the queue.
//!
//! Holds: payloads come through `Records` alone, so only what `apply` accepted is ever shown, and
//! only up to the applied index. Reads that may touch the disk run beside the connections' threads,
//! at most [`READS_AT_ONCE_MAX`] of them, each of at most [`READ_BYTES_MAX`] (a page of withheld
//! submissions: [`WITHHELD_BYTES_MAX`]).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use storage::{
    FormId, FormRow, Index, ParkedRow, Position, Record, Records, Seq, StateView, TaskRow, Terms,
    Voters,
};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::error::{BROKEN, NOT_FOUND, Problem};
use crate::forms::Form;

/// More would only queue up at the disk.
const READS_AT_ONCE_MAX: usize = 32;
/// Records of one read: a few milliseconds of work.
pub(super) const READ_COUNT_MAX: usize = 1000;
/// Bytes of one read.
pub(super) const READ_BYTES_MAX: usize = 256 << 10;
/// Bytes of one page of withheld submissions: some seconds of a slow line.
const WITHHELD_BYTES_MAX: usize = 4 << 20;

/// Reads of the applied state. Cheap to clone.
#[derive(Clone, Debug)]
pub struct View {
    state: StateView,
    records: Records,
    applied: watch::Receiver<Index>,
    turns: Arc<Semaphore>,
}

impl View {
    /// A view; `applied` changes after every entry whose effects `state` shows.
    pub fn new(state: StateView, records: Records, applied: watch::Receiver<Index>) -> Self {
        Self {
            state,
            records,
            applied,
            turns: Arc::new(Semaphore::new(READS_AT_ONCE_MAX)),
        }
    }

    /// The hash of the admin's token, if one is set and can be read.
    pub(super) fn admin_hash(&self) -> Option<[u8; 32]> {
        match self.state.token_hash("admin") {
            Ok(hash) => hash,
            Err(error) => {
                tracing::error!(%error, "cannot read the admin's token");
                None
            }
        }
    }

    /// A form as the state has it.
    pub(super) fn form(&self, name: &str) -> Result<FormRow, Problem> {
        self.state.form(name)?.ok_or_else(|| Problem::no_form(name))
    }

    /// Every form's name, of retired ones too.
    pub(super) fn form_names(&self) -> Result<HashMap<FormId, String>, Problem> {
        let forms = self.state.forms()?.into_iter();
        Ok(forms.map(|form| (form.id, form.name)).collect())
    }

    /// The last seq of a form; 0: none yet.
    pub(super) fn head(&self, form: FormId) -> Result<Seq, Problem> {
        Ok(self.state.head(form)?)
    }

    /// What a receipt of now says about durability.
    pub(super) fn terms(&self, voters: Voters) -> Result<Terms, Problem> {
        Ok(Terms {
            policy: self.state.policy()?,
            voters,
        })
    }

    /// Resolves when the form has a record after `after`, when the time is over, or at the stop.
    pub(super) async fn wait_beyond(
        &self,
        form: FormId,
        after: Seq,
        time: Duration,
        stopping: &CancellationToken,
    ) -> Result<(), Problem> {
        let mut applied = self.applied.clone();
        let news = async {
            loop {
                applied.borrow_and_update();
                if self.head(form)? > after || applied.changed().await.is_err() {
                    return Ok(());
                }
            }
        };
        tokio::select! {
            biased;
            () = stopping.cancelled() => Ok(()),
            news = tokio::time::timeout(time, news) => news.unwrap_or(Ok(())),
        }
    }

    /// The next records after `after`, in order: at most `count_max`, and what one read carries.
    pub(super) async fn records(
        &self,
        form: FormId,
        after: Seq,
        count_max: usize,
    ) -> Result<Vec<Record>, Problem> {
        let count_max = count_max.min(READ_COUNT_MAX);
        self.beside(move |view| view.records.read(form, after, count_max, READ_BYTES_MAX))
            .await
    }

    /// One record.
    pub(super) async fn record(&self, form: FormId, seq: Seq) -> Result<Option<Record>, Problem> {
        if seq > self.head(form)? {
            return Ok(None); // any number can stand in an address
        }
        self.beside(move |view| view.records.get(form, seq)).await
    }

    /// Withheld submissions after a position: at most `count_max`, and what one page carries.
    pub(super) async fn withheld(
        &self,
        form: FormId,
        after: Position,
        count_max: usize,
    ) -> Result<Vec<Record>, Problem> {
        self.beside(move |view| {
            view.records
                .withheld(form, after, count_max, WITHHELD_BYTES_MAX)
        })
        .await
    }

    /// The withheld submission of that id in that entry.
    pub(super) async fn withheld_in(
        &self,
        form: FormId,
        index: Index,
        id: [u8; 16],
    ) -> Result<Option<Record>, Problem> {
        self.beside(move |view| view.records.withheld_by_id(form, index, id))
            .await
    }

    /// Which rules run.
    pub(super) fn level(&self) -> Result<u32, Problem> {
        Ok(self.state.level()?)
    }

    /// What the log may have let go.
    pub(super) fn horizon(&self) -> Result<Index, Problem> {
        Ok(self.state.horizon()?)
    }

    /// A task as the state has it.
    pub(super) fn task(&self, name: &str) -> Result<TaskRow, Problem> {
        let none = || Problem::new(NOT_FOUND, format!("no task is named {name:?}"));
        self.state.task(name)?.ok_or_else(none)
    }

    /// A task's parked records after a position.
    pub(super) async fn parked(
        &self,
        task: String,
        after: Position,
        count_max: usize,
    ) -> Result<Vec<ParkedRow>, Problem> {
        self.beside(move |view| view.state.parked(&task, after, count_max))
            .await
    }

    /// Columns of a table of this form: the present fields in their order, then those that older
    /// versions had; and whether some version lets other members in.
    pub(super) async fn columns(&self, form: Arc<Form>) -> Result<(Vec<String>, bool), Problem> {
        self.beside(move |view| {
            let mut columns = form.columns();
            let mut known: BTreeSet<String> = columns.iter().cloned().collect();
            let mut has_others = lets_others_in(&form);
            for version in (1..form.version).rev() {
                let Some(bytes) = view.state.definition(form.id, version)? else {
                    continue;
                };
                // A definition of an older release that no longer compiles has no columns here.
                let Ok(old) = Form::from_bytes(form.id, version, true, &bytes) else {
                    continue;
                };
                has_others |= lets_others_in(&old);
                columns.extend(
                    old.columns()
                        .into_iter()
                        .filter(|one| known.insert(one.clone())),
                );
            }
            Ok((columns, has_others))
        })
        .await
    }

    /// Runs a read on a thread that may wait for the disk.
    async fn beside<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, storage::Error> + Send + 'static,
    ) -> Result<T, Problem> {
        let stopped = || Problem::new(BROKEN, "the read was broken off");
        let turn = Arc::clone(&self.turns)
            .acquire_owned()
            .await
            .map_err(|_| stopped())?;
        let view = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let answer = read(&view);
            drop(turn);
            answer
        });
        Ok(task.await.map_err(|_| stopped())??)
    }
}

fn lets_others_in(form: &Form) -> bool {
    form.definition.schema.get("additionalProperties") != Some(&serde_json::Value::Bool(false))
}
