//! The Kafka sink: every record once and in order, by one transaction a batch that also carries the
//! cursor.
//!
//! ```text
//!  async side                      the task's own thread (worker.rs)
//!  open ───────────► Job::Open     fence, mark, read the cursor, compare      open.rs, control.rs
//!  deliver ────────► Job::Deliver  begin, records, cursor, drain, commit      session.rs, producer.rs
//!  uneasy ◄──────── a watch        keep alive, look around
//!  close, drop ────► Job::Close    drop the producer
//! ```
//! Holds: Kafka's cursor is the truth, and it is written with the records that it speaks of or not at
//! all; it is read only behind the fence; one task has one transactional id, on every node and in
//! every life. librdkafka is called on the task's own thread alone, and its types stop at this room's
//! edge. README.md of this room tells the protocol step by step.

mod audit;
mod auditor;
mod brokers;
mod client;
mod control;
mod cursor;
mod fault;
mod fleeting;
mod inspect;
mod loss;
mod murmur;
mod open;
mod own;
mod producer;
mod session;
mod settings;
mod setup;
mod shape;
mod telling;
mod topics;
mod witness;
mod worker;

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use self::setup::Setup;
use self::worker::{Job, Worker};
use super::{Life, SinkKind};
use crate::bridge::NowMs;
use crate::config::KafkaConfig;
use crate::error::{Cause, SinkError, Trouble};
use crate::feed::Limit;
use crate::metrics::Metrics;
use crate::sink::{Batch, Cursor, Delivery, Opening, Sink};
use crate::status::Notes;

pub use audit::{Finding, Level};
pub(crate) use client::property_problem;
pub use inspect::{
    KafkaRecord, KafkaReport, KafkaSpan, KafkaTask, kafka_audit, kafka_read, kafka_spans,
};
pub(super) use settings::{is_same_place, problems};

/// How Kafka sinks are made and fed.
pub(super) fn kind(
    config: &KafkaConfig,
    cluster: &str,
    now_ms: NowMs,
    metrics: &Metrics,
) -> SinkKind {
    let limit = Limit {
        count_max: config.batch_records_max,
        bytes_max: config.batch_bytes_max,
    };
    let house = setup::House {
        config: config.clone(),
        cluster: cluster.to_owned(),
        now_ms,
        metrics: metrics.clone(),
    };
    SinkKind::new(limit, config.workers_max, move |life, settings, notes| {
        let seed = Seed {
            house: house.clone(),
            life: life.clone(),
            settings: settings.clone(),
            notes: notes.clone(),
        };
        // What is wrong is told when the task begins; the thread reads the files of secrets again.
        seed.setup()?;
        Ok(Box::new(KafkaSink {
            seed,
            thread: None,
            uneasy: watch::Sender::new(None),
        }))
    })
    .with_one_lane()
    .reading_ahead()
}

/// What a thread's things are made of.
struct Seed {
    house: setup::House,
    life: Life,
    settings: serde_json::Value,
    notes: Notes,
}

impl Seed {
    fn setup(&self) -> Result<Setup, String> {
        Setup::new(&self.house, &self.life, &self.settings, &self.notes)
    }
}

struct KafkaSink {
    seed: Seed,
    /// `None` until it is opened, and after its thread was lost.
    thread: Option<SyncSender<Job>>,
    uneasy: watch::Sender<Option<Trouble>>,
}

/// Jobs come one at a time; a `Close` may stand before an `Open`.
const JOBS_MAX: usize = 4;

impl KafkaSink {
    /// The thread; it begins with the first opening, so a node that never leads has none.
    fn thread(&mut self) -> Result<&SyncSender<Job>, Trouble> {
        let place = |why: String| Trouble::new(Cause::Place, why);
        if self.thread.is_none() {
            let setup = self.seed.setup().map_err(place)?;
            let (jobs, inbox) = sync_channel(JOBS_MAX);
            let worker = Worker::new(setup, self.uneasy.clone());
            std::thread::Builder::new()
                .name("kafka".to_owned())
                .spawn(move || worker.run(&inbox))
                .map_err(|error| place(format!("cannot begin a thread for Kafka: {error}")))?;
            self.thread = Some(jobs);
        }
        self.thread.as_ref().ok_or_else(lost)
    }

    /// Gives the thread something to do and waits for its answer.
    async fn ask<T>(&mut self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, Trouble> {
        let (reply, answer) = oneshot::channel();
        let sent = self.thread()?.try_send(job(reply));
        let answer = match sent {
            Ok(()) => answer.await.ok(),
            Err(_) => None,
        };
        if answer.is_none() {
            self.thread = None;
        }
        answer.ok_or_else(lost)
    }
}

fn lost() -> Trouble {
    Trouble::new(Cause::Place, "the thread for Kafka was lost")
}

impl Sink for KafkaSink {
    fn is_local(&self) -> bool {
        false
    }

    fn open(&mut self, opening: Opening) -> BoxFuture<'_, Result<Option<Cursor>, SinkError>> {
        async move {
            match self.ask(|reply| Job::Open(opening, reply)).await {
                // A password may have been changed: the next thread reads its file again.
                Ok(Err(SinkError::Again(trouble))) if trouble.cause == Cause::Auth => {
                    self.thread = None;
                    Err(SinkError::Again(trouble))
                }
                Ok(opened) => opened,
                Err(trouble) => Err(SinkError::Again(trouble)),
            }
        }
        .boxed()
    }

    fn close(&mut self) {
        // A thread that is gone has nothing open.
        if let Some(thread) = &self.thread {
            drop(thread.try_send(Job::Close));
        }
    }

    fn uneasy(&mut self) -> BoxFuture<'_, Trouble> {
        let mut uneasy = self.uneasy.subscribe();
        async move {
            let told = uneasy.wait_for(Option::is_some).await;
            let told = told.ok().and_then(|trouble| trouble.clone());
            match told {
                Some(trouble) => trouble,
                // Cannot be: the sink itself holds the sender.
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn deliver(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Delivery> {
        async move {
            match self.ask(|reply| Job::Deliver(batch, reply)).await {
                Ok(delivery) => delivery,
                Err(trouble) => Delivery::Reopen(trouble),
            }
        }
        .boxed()
    }
}
