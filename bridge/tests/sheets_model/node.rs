//! A node: what the pump does, over a log that three of them share.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bridge::mutants::Mutant;
use bridge::testing::{record, sheets, sink_of};
use bridge::{
    Batch, Delivery, Lane, Life, Opening, Position, Record, SheetsConfig, Sink, SinkError,
    SinkSpec, Sinks, Standing,
};
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::net::Net;

/// The log: what is committed.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) term: u64,
    pub(crate) life: u64,
    pub(crate) start: u64,
    pub(crate) cursor: u64,
    sending: Option<u64>,
    pub(crate) parked: BTreeSet<u64>,
    pub(crate) records: u64,
    pub(crate) faults: Vec<String>,
}

#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Log>>);

fn position(seq: u64) -> Position {
    Position {
        index: seq,
        slot: 0,
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn standing(&self) -> Standing {
        Standing {
            start: position(self.start),
            position: position(self.cursor),
            sending: self.sending.map(position),
        }
    }

    /// Whether a proposal of this node is committed: an old leader's is not.
    const fn takes(&self, term: u64, life: u64) -> bool {
        self.term == term && self.life == life
    }

    fn advance(&mut self, (term, life): (u64, u64), from: u64, to: u64) -> bool {
        let is_taken = self.takes(term, life) && self.cursor == from;
        if is_taken && from < to {
            self.cursor = to;
            self.sending = None;
        }
        is_taken
    }

    fn send_started(&mut self, (term, life): (u64, u64), from: u64, to: u64) -> bool {
        let is_taken = self.takes(term, life) && self.cursor == from;
        if is_taken {
            self.sending = Some(to);
        }
        is_taken
    }

    fn park(&mut self, (term, life): (u64, u64), seq: u64) -> bool {
        let is_taken = self.takes(term, life);
        if is_taken {
            self.parked.insert(seq);
        }
        is_taken
    }

    /// A person begins again from here.
    pub(crate) fn seek(&mut self, start: u64) {
        self.life += 1;
        self.start = start;
        self.cursor = start;
        self.sending = None;
    }
}

/// How a turn ended.
pub(crate) struct Ended {
    term: u64,
    sink: Box<dyn Sink>,
    at: Option<u64>,
    wait: Option<Duration>,
    is_stopped: bool,
}

pub(crate) struct Node {
    sinks: Sinks,
    spec: SinkSpec,
    pub(crate) term: Option<u64>,
    life: u64,
    sink: Option<Box<dyn Sink>>,
    at: Option<u64>,
    wait_until: Option<Instant>,
    pub(crate) op: Option<BoxFuture<'static, Ended>>,
    pub(crate) is_paused: bool,
}

fn sinks(config: &SheetsConfig, net: &Net, flaw: Option<Mutant>) -> Sinks {
    let mut sinks = Sinks::default();
    let kind = sheets::kind(config, "cluster", Arc::new(net.clone()), flaw);
    sinks.add("sheets", kind);
    sinks
}

impl Node {
    pub(crate) fn new(
        config: &SheetsConfig,
        settings: &serde_json::Value,
        net: &Net,
        flaw: Option<Mutant>,
    ) -> Self {
        Self {
            sinks: sinks(config, net, flaw),
            spec: SinkSpec {
                name: Arc::from("sheets"),
                settings: settings.clone(),
            },
            term: None,
            life: 0,
            sink: None,
            at: None,
            wait_until: None,
            op: None,
            is_paused: false,
        }
    }

    /// Becomes the leader.
    pub(crate) fn lead(&mut self, term: u64) {
        self.term = Some(term);
        self.at = None;
        self.wait_until = None;
    }

    /// Begins a turn, if it has reason to.
    pub(crate) fn begin(&mut self, log: &Shared, batch: usize) {
        let waits = self.wait_until.is_some_and(|until| Instant::now() < until);
        let Some(term) = self.term else {
            return;
        };
        if self.op.is_some() || waits || self.is_paused {
            return;
        }
        let life = log.lock().life;
        if self.life != life {
            self.life = life;
            self.sink = None;
            self.at = None;
        }
        let sink = self.sink.take().unwrap_or_else(|| {
            let lane = Lane::new("t", "f");
            sink_of(
                &self.sinks,
                &self.spec,
                &Life {
                    lane,
                    incarnation: life,
                },
            )
        });
        let (log, at) = (log.clone(), self.at);
        self.op = Some(Box::pin(turn((sink, at), log, (term, life), batch)));
    }

    /// Lets it run until it waits for something.
    pub(crate) fn step(&mut self) {
        if self.is_paused {
            return;
        }
        let Some(op) = &mut self.op else {
            return;
        };
        let waker = futures::task::noop_waker_ref();
        let mut context = std::task::Context::from_waker(waker);
        if let std::task::Poll::Ready(ended) = op.as_mut().poll(&mut context) {
            self.op = None;
            self.sink = Some(ended.sink);
            // What an earlier term has opened is opened anew.
            self.at = ended.at.filter(|_| self.term == Some(ended.term));
            self.wait_until = ended.wait.map(|wait| Instant::now() + wait);
            if ended.is_stopped {
                self.wait_until = Some(Instant::now() + Duration::from_secs(30));
            }
        }
    }
}

/// Something else runs first.
async fn pause() {
    let mut is_first = true;
    std::future::poll_fn(|_| {
        if std::mem::take(&mut is_first) {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
}

fn read(log: &Shared, after: u64, count: usize) -> Vec<Record> {
    let log = log.lock();
    let seqs = (after + 1..=log.records).filter(|seq| !log.parked.contains(seq));
    let taken = seqs.take(count);
    taken
        .map(|seq| record("f", seq, &super::body_of(seq)))
        .collect()
}

async fn open(
    sink: &mut dyn Sink,
    log: &Shared,
    (term, life): (u64, u64),
) -> Result<u64, Option<Duration>> {
    let (standing, is_present) = {
        let log = log.lock();
        (log.standing(), log.life == life)
    };
    match sink.open(Opening { standing, term }).await {
        Ok(Some(cursor)) => {
            assert_eq!(cursor.incarnation, life);
            if is_present && cursor.position < standing.position {
                let fault = format!("rolled back: {cursor:?} of {standing:?}");
                log.lock().faults.push(fault);
            }
            Ok(cursor.position.index)
        }
        Ok(None) => Ok(standing.position.index),
        Err(SinkError::Again(trouble)) => {
            Err(Some(trouble.after.unwrap_or(Duration::from_millis(200))))
        }
        Err(SinkError::Stop(_)) => Err(None),
    }
}

async fn turn(
    (mut sink, at): (Box<dyn Sink>, Option<u64>),
    log: Shared,
    (term, life): (u64, u64),
    batch: usize,
) -> Ended {
    let leave = sink.leave().await;
    let opened = match at {
        Some(at) => Ok(at),
        None => open(&mut *sink, &log, (term, life)).await,
    };
    let (mut at, mut wait, mut is_stopped) = (None, None, false);
    match opened {
        Ok(opened) => {
            pause().await;
            (at, wait) = deliver(&mut *sink, &log, ((term, life), opened), batch).await;
        }
        Err(Some(after)) => wait = Some(after),
        Err(None) => is_stopped = true,
    }
    drop(leave);
    Ended {
        term,
        sink,
        at,
        wait,
        is_stopped,
    }
}

async fn deliver(
    sink: &mut dyn Sink,
    log: &Shared,
    (who, at): ((u64, u64), u64),
    count: usize,
) -> (Option<u64>, Option<Duration>) {
    let cursor = log.lock().cursor;
    if !log.lock().advance(who, cursor.min(at), at) {
        return (None, None);
    }
    pause().await;
    let mut records = read(log, at, count);
    let Some(upto) = records.last().map(|last| last.position) else {
        return (Some(at), Some(Duration::from_secs(1)));
    };
    loop {
        if !log.lock().send_started(who, at, upto.index) {
            return (None, None);
        }
        pause().await;
        let batch = Arc::new(Batch {
            records: records.clone(),
            upto,
            fields: Arc::from(["a".to_owned(), "b".to_owned()]),
        });
        match sink.deliver(batch).await {
            Delivery::Taken { upto } => {
                pause().await;
                log.lock().advance(who, at, upto.index);
                return (Some(upto.index), None);
            }
            Delivery::Again(trouble) => {
                let after = trouble.after.unwrap_or(Duration::from_millis(200));
                return (Some(at), Some(after));
            }
            Delivery::Reopen(_) => return (None, Some(Duration::from_millis(200))),
            Delivery::Never { which, .. } => {
                records.retain(|record| record.position != which);
                if !log.lock().park(who, which.index) {
                    return (None, None);
                }
            }
        }
    }
}
