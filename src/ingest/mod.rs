//! The door: bytes become submissions, submissions become packs, packs are proposed.
//!
//! Holds: nothing unvalidated gets past here; whoever waits is always answered; an answer that says
//! "accepted" repeats what `apply` said and nothing else. Nothing here knows HTTP.
//!
//! ```text
//! submit ── submission (size, depth, parse, key, sanitise, validate, stamp)
//!        ── admission  (a permit for its bytes)
//!        ── batcher    (all that waits -> one pack -> Propose) ── receipt
//! ```

mod admission;
mod batcher;
mod config;
mod dice;
mod job;
mod lines;
mod pack;
mod peek;
mod receipt;
mod refused;
mod rewrite;
mod scan;
mod submission;
mod tree;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use storage::{Key, Outcome, Sender, StateView};

use crate::clock::Clock;
use crate::forms::Form;
use crate::metrics::Answered;
use crate::stage::Stage;

use admission::Admission;
use batcher::Batcher;
use job::{Answers, Job, Waiter};
use submission::{Door, KeySource, Stamp};

pub use crate::forms::Fault;
pub use config::Config;
pub use peek::{Peek, peek};
pub use receipt::{Receipt, durability_text, instant_text};
pub use refused::Refused;
pub use submission::Prepared;
pub(crate) use tree::tree_within;

/// Where packs go: the node's replicated log.
///
/// Holds: packs stand in the log in the order in which the outer futures returned `Ok`. An outer
/// `Err` means that the command is not in the log and never will be. An inner `Err` means the same,
/// unless it is [`Refused::Unknown`]. [`Refused::NoQuorum`] says besides that the same command may be
/// taken a moment later, by whoever leads then. The inner future goes on whether or not it is polled.
pub trait Propose: Send + Sync + 'static {
    /// Queues a command; the inner future is the answer to it.
    fn submit(&self, command: Bytes) -> BoxFuture<'_, Result<Answer, Refused>>;

    /// Whether there is room for new submissions. What is under way already goes on.
    fn room(&self) -> Result<(), Refused> {
        Ok(())
    }

    /// Resolves when somebody leads who did not when this was called: what was refused with
    /// [`Refused::NoQuorum`] may be taken now. May never resolve.
    fn news(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    /// Waits until all that was accepted anywhere before this call shows in the state here.
    fn catch_up(&self) -> BoxFuture<'_, Result<(), Refused>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The answer to a command that was queued.
pub type Answer = BoxFuture<'static, Result<Outcome, Refused>>;

/// What a client sent, as far as HTTP read it.
#[derive(Clone, Debug)]
pub enum Body {
    /// A JSON document, as received.
    Json(Bytes),
    /// Names and values of a page's form, decoded, in order.
    Pairs(Vec<(String, String)>),
}

/// One line of a request that carries many submissions.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number in the request, from 1.
    pub number: u32,
    /// A JSON document, as received.
    pub bytes: Bytes,
}

/// The door of a node. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    door: Arc<Door>,
    admission: Admission,
    propose: Arc<dyn Propose>,
    inbox: tokio::sync::mpsc::Sender<Job>,
    answer_max: Duration,
    answered: Answered,
}

impl Ingest {
    /// Starts the batcher on the stage. It drains when the stage is cancelled.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of the door, each once"
    )]
    pub fn spawn(
        config: Config,
        view: StateView,
        propose: Arc<dyn Propose>,
        sender: Sender,
        clock: Clock,
        stage: &Stage,
    ) -> Self {
        let admission = Admission::new(config.in_flight_bytes_max);
        let (inbox, waiting) = tokio::sync::mpsc::channel(admission.jobs_max());
        let answer_max = Duration::from_millis(config.answer_ms_max);
        let packs = Arc::clone(&propose);
        let batcher = Batcher::new(&config, waiting, packs, sender, stage.token.clone());
        stage.spawn(batcher.run());
        let door = Arc::new(Door::new(config, view, clock));
        Self {
            door,
            admission,
            propose,
            inbox,
            answer_max,
            answered: Answered::default(),
        }
    }

    /// What was answered so far, in numbers.
    pub fn answered(&self) -> &Answered {
        &self.answered
    }

    /// Takes one submission: returns once it has its place, or with the reason why it has none.
    ///
    /// A key given here wins over the document's own `_idempotency_key`.
    pub async fn submit(
        &self,
        form: &Arc<Form>,
        body: Body,
        key: Option<Key>,
    ) -> Result<Receipt, Refused> {
        let answer = self.take(form, body, key).await;
        self.count(&answer);
        answer
    }

    async fn take(
        &self,
        form: &Arc<Form>,
        body: Body,
        key: Option<Key>,
    ) -> Result<Receipt, Refused> {
        let submission = match self.prepare_or_look_again(form, body, key).await? {
            Prepared::Known(receipt) => return Ok(receipt),
            Prepared::New(submission) => *submission,
        };
        let stamp = Stamp::of(&submission);
        self.propose.room()?;
        let permit = self.admission.admit(submission.body.len())?;
        let answers = self.enqueue(Job::new(vec![submission], permit)).await?;
        answers.receipt(0, form, &stamp)
    }

    /// A key is looked up before the form is asked. Where the form says no and the key came with a
    /// request, the first one may have been accepted by another node a moment ago.
    async fn prepare_or_look_again(
        &self,
        form: &Arc<Form>,
        body: Body,
        key: Option<Key>,
    ) -> Result<Prepared, Refused> {
        let Some(key) = key else {
            return self.prepare(form, body, None);
        };
        match self.prepare(form, body.clone(), Some(key.clone())) {
            Err(refused @ (Refused::Invalid(_) | Refused::FormRetired)) => {
                match self.propose.catch_up().await {
                    Ok(()) => self.prepare(form, body, Some(key)),
                    Err(_) => Err(refused),
                }
            }
            prepared => prepared,
        }
    }

    /// The first half of `submit`: all that can be known without proposing.
    pub fn prepare(
        &self,
        form: &Arc<Form>,
        body: Body,
        key: Option<Key>,
    ) -> Result<Prepared, Refused> {
        let key = key.map_or(KeySource::Document, KeySource::Given);
        let mut reader = self.door.key_reader();
        self.door.prepare(form, body, key, &mut reader)
    }

    /// Takes the lines of one chunk of a request, in order; one answer a line.
    ///
    /// The next chunk of the same request may be given only when this one has returned: so no two
    /// packs that carry its lines are ever under way at once.
    pub async fn submit_lines(
        &self,
        form: &Arc<Form>,
        lines: Vec<Line>,
        header_key: Option<&str>,
    ) -> Vec<Result<Receipt, Refused>> {
        let answers = lines::submit(self, form, lines, header_key).await;
        for answer in &answers {
            self.count(answer);
        }
        answers
    }

    fn count(&self, answer: &Result<Receipt, Refused>) {
        let answer = answer.as_ref().map(|_| ()).map_err(Refused::name);
        self.answered.count(answer);
    }

    async fn enqueue(&self, (job, waiter): (Job, Waiter)) -> Result<Answers, Refused> {
        // Closed before the job was in: it is in no pack.
        self.inbox
            .send(job)
            .await
            .map_err(|_closed| Refused::Draining)?;
        waiter.wait(self.answer_max).await
    }
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingest")
            .field("admission", &self.admission)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
