//! The thread of one task: it alone calls librdkafka, and does one thing after another.
//!
//! ```text
//!            open                  deliver                     fault
//! closed ───────────► session ───────────────► session   ┌─► aborted: producer kept, opened anew
//!    ▲                   │  idle: keep alive,            │
//!    └──── close ────────┘  look around       ──────────►└─► gone: producer dropped, opened anew
//! ```
//! Holds: a producer is made, used and dropped here, so nothing of the runtime ever waits for a
//! broker. After any fault the task is opened again, and its cursor read again, before anything else is
//! sent. The thread ends when its sink is dropped.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::auditor::{Audited, Auditor};
use super::brokers::Brokers;
use super::control::Tail;
use super::fault::{Fault, Kind};
use super::loss;
use super::open::{self, Opened};
use super::producer::Manner;
use super::session::{Rest, Session};
use super::setup::Setup;
use super::shape::Shaper;
use super::telling::Telling;
use crate::error::{Cause, SinkError, Trouble};
use crate::mutants::{self, Mutant};
use crate::record::{Position, Record};
use crate::sink::{Batch, Cursor, Delivery, Opening};

/// What the sink asks of its thread.
pub(super) enum Job {
    Open(Opening, oneshot::Sender<Result<Option<Cursor>, SinkError>>),
    Deliver(Arc<Batch>, oneshot::Sender<Delivery>),
    Close,
}

/// Between two looks at what librdkafka tells while nothing is to do.
const LOOK: Duration = Duration::from_secs(1);

/// The thread's own things.
pub(super) struct Worker {
    setup: Setup,
    shaper: Shaper,
    session: Option<Session>,
    /// Who was asked at the opening: the first batch asks them of its topics, if it comes at once.
    asked: Option<Brokers>,
    telling: Telling,
    auditor: Auditor,
    uneasy: watch::Sender<Option<Trouble>>,
    /// Since when something looks lost.
    lost_since: Option<Instant>,
    /// Up to here each record goes alone, to learn which one is refused.
    singly_upto: Position,
    /// Up to here records are stamped with the time of their delivery.
    stamped_now_upto: Position,
    /// Where it stood before the last fault. Never used, but by a mutant.
    remembered: Option<Position>,
}

impl Worker {
    pub(super) fn new(setup: Setup, uneasy: watch::Sender<Option<Trouble>>) -> Self {
        Self {
            shaper: Shaper::new(
                setup.key.clone(),
                setup.settings.headers,
                &setup.owner.cluster,
            ),
            telling: Telling::new(&setup),
            auditor: Auditor::new(setup.config.audit_every_ms),
            setup,
            session: None,
            asked: None,
            uneasy,
            lost_since: None,
            singly_upto: Position::default(),
            stamped_now_upto: Position::default(),
            remembered: None,
        }
    }

    /// Works until the sink is dropped.
    pub(super) fn run(mut self, inbox: &Receiver<Job>) {
        loop {
            match inbox.recv_timeout(LOOK) {
                // Nobody waits for an answer that cannot be given: its sink is gone.
                Ok(Job::Open(opening, reply)) => drop(reply.send(self.open(opening))),
                Ok(Job::Deliver(batch, reply)) => drop(reply.send(self.deliver(&batch))),
                Ok(Job::Close) => self.close(),
                Err(RecvTimeoutError::Timeout) => self.idle(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn close(&mut self) {
        self.session = None;
        self.asked = None;
        self.telling
            .state("closed: another node delivers, or the task is paused");
    }

    fn open(&mut self, opening: Opening) -> Result<Option<Cursor>, SinkError> {
        self.uneasy.send_replace(None);
        self.telling.state("opening");
        self.session = None;
        let opened = open::open(&self.setup, opening).and_then(|opened| self.check_loss(opened));
        let Opened {
            mut session,
            was_there,
            brokers,
        } = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.telling.state(&format!("not open: {error}"));
                return Err(error);
            }
        };
        if mutants::is(Mutant::CursorNotReread)
            && let Some(remembered) = self.remembered.take()
        {
            session.rest.at = remembered;
        }
        self.asked = Some(brokers);
        self.telling.fenced();
        self.telling.at(&session);
        self.telling.state("open");
        self.auditor.hurry();
        let cursor = was_there.then_some(Cursor {
            incarnation: self.setup.owner.incarnation,
            position: session.rest.at,
            id: None,
        });
        self.session = Some(session);
        self.look_around();
        Ok(cursor)
    }

    /// What is missing of what the cursor names must be missing for a while: a broker that was left
    /// behind answers, too, until it notices.
    fn check_loss(&mut self, opened: Opened) -> Result<Opened, SinkError> {
        let marks = &opened.session.rest.marks;
        let (cluster, seen) = (&self.setup.owner.cluster, self.auditor.seen());
        let missing = loss::look(&self.setup.access, &opened.brokers, cluster, [marks, seen])
            .map_err(|fault| SinkError::Again(fault.trouble()))?;
        if missing.is_empty() {
            self.lost_since = None;
            return Ok(opened);
        }
        let words = loss::words(&self.setup.owner.task, &missing);
        let since = *self.lost_since.get_or_insert_with(Instant::now);
        if Duration::from_millis(self.setup.config.loss_confirm_ms) <= since.elapsed() {
            self.telling.alarm(&words);
            return Err(SinkError::Stop(words));
        }
        let why = format!("it looks as if {words} (looking again before this is believed)");
        Err(SinkError::Again(Trouble::new(Cause::Place, why)))
    }

    fn deliver(&mut self, batch: &Batch) -> Delivery {
        let Some(mut session) = self.session.take() else {
            let why = self.uneasy.borrow().clone();
            let closed = || Trouble::new(Cause::Place, "Kafka is not open");
            return Delivery::Reopen(why.unwrap_or_else(closed));
        };
        match session.prepare(&self.setup, batch, self.asked.take()) {
            // What is new there is looked at soon, not in ten minutes.
            Ok(true) => {
                self.auditor.hurry();
                if let Some(words) = session.grown() {
                    self.telling.alarm(&words);
                }
            }
            Ok(false) => {}
            Err(fault) => {
                self.session = Some(session);
                return Delivery::Again(fault.trouble());
            }
        }
        let mut session = match self.fit(session, batch) {
            Ok(session) => session,
            Err(trouble) => return Delivery::Reopen(trouble),
        };
        if let Some((record, most)) = session.too_large(&self.setup, batch) {
            let refused = too_large(record, most);
            self.session = Some(session);
            return refused;
        }
        self.telling.state("delivering");
        let oldest = batch
            .records
            .iter()
            .map(|record| record.received_at_ms)
            .min();
        let now_ms = (self.setup.now_ms)();
        self.auditor
            .delivers(oldest.map_or(0, |oldest| now_ms.saturating_sub(oldest)));
        let is_stamped_now = batch.upto <= self.stamped_now_upto;
        let began = Instant::now();
        match session.transact(&self.setup, &mut self.shaper, batch, is_stamped_now) {
            Ok(()) => {
                self.telling.committed(began.elapsed());
                self.telling.at(&session);
                self.telling.state("open");
                self.session = Some(session);
                self.look_around();
                Delivery::Taken { upto: batch.upto }
            }
            Err(fault) => self.recover(session, batch, &fault),
        }
    }

    /// A producer that is worn, or that sends in another manner than this batch needs, is made anew.
    fn fit(&mut self, session: Session, batch: &Batch) -> Result<Session, Trouble> {
        session.producer.listen();
        let first = batch.records.first().map(|record| record.position);
        let is_singly = first.is_some_and(|first| first <= self.singly_upto);
        let manner = self
            .setup
            .manner(session.rest.topics.bytes_max(), is_singly);
        if !session.producer.is_worn() && session.manner == manner {
            return Ok(session);
        }
        let Session { producer, rest, .. } = session;
        // The old one goes first: at most one transaction is in memory.
        drop(producer);
        self.renew(rest, manner)
    }

    /// The same session with a new producer; its cursor must stand where it did.
    fn renew(&mut self, rest: Rest, manner: Manner) -> Result<Session, Trouble> {
        let fenced = open::fence_and_read(&self.setup, &manner, rest.term);
        let (producer, tail) = fenced.map_err(|fault| fault.trouble())?;
        self.telling.fenced();
        self.stands_at(&tail, rest.at)?;
        Ok(Session {
            producer,
            manner,
            rest,
        })
    }

    /// True to what this session knew: nothing came in between.
    fn stands_at(&self, tail: &Tail, at: Position) -> Result<(), Trouble> {
        let is_there = match tail {
            Tail::Cursor(Some(cursor)) => {
                cursor.position() == at && cursor.incarnation == self.setup.owner.incarnation
            }
            Tail::Cursor(None) | Tail::Wrong(_) => false,
        };
        if is_there {
            return Ok(());
        }
        Err(Trouble::new(
            Cause::Place,
            format!(
                "the cursor in topic {} was moved meanwhile",
                self.setup.control
            ),
        ))
    }

    /// What follows a transaction that failed. Its producer is over in any case.
    fn recover(&mut self, session: Session, batch: &Batch, fault: &Fault) -> Delivery {
        self.telling.failed(fault.kind);
        tracing::debug!(task = %self.setup.owner.task, %fault, "transaction failed");
        let Session {
            producer,
            manner,
            rest,
        } = session;
        self.remembered = Some(rest.at);
        if fault.is_abortable {
            producer.abort();
        } else {
            drop(producer);
        }
        match fault.kind {
            Kind::Size | Kind::Record => {
                let alone = match &*batch.records {
                    [record] => Some(record),
                    many if manner.is_singly => fault.record.and_then(|number| many.get(number)),
                    _ => None,
                };
                if let Some(record) = alone {
                    return self.never(rest, manner, record, fault);
                }
                self.singly_upto = batch.upto;
            }
            Kind::Time if self.stamped_now_upto < batch.upto => self.stamped_now_upto = batch.upto,
            Kind::Time
            | Kind::Away
            | Kind::Auth
            | Kind::Fenced
            | Kind::Topic
            | Kind::Timeout
            | Kind::Replication
            | Kind::Forgotten
            | Kind::Other => {}
        }
        let trouble = fault.trouble();
        self.telling.state(&format!("not open: {}", trouble.why));
        Delivery::Reopen(trouble)
    }

    /// Parking passes a record: only if the cursor, read again, says that nothing of the batch is
    /// there.
    fn never(&mut self, rest: Rest, manner: Manner, record: &Record, fault: &Fault) -> Delivery {
        match self.renew(rest, manner) {
            Ok(session) => self.session = Some(session),
            Err(trouble) => return Delivery::Reopen(trouble),
        }
        let why = if fault.kind == Kind::Size {
            "Kafka takes no record of this size in its topic"
        } else {
            "a rule of its topic refuses it"
        };
        Delivery::Never {
            which: record.position,
            why: why.to_owned(),
            answer: fault.words.clone(),
        }
    }

    /// Nothing is to do: shows the broker that we live, and hears what librdkafka says.
    fn idle(&mut self) {
        self.telling.rest();
        self.asked = None;
        let Some(session) = &mut self.session else {
            return;
        };
        session.producer.listen();
        self.look_around();
        let Some(session) = &mut self.session else {
            return;
        };
        if session.rest.written.elapsed() < Duration::from_millis(self.setup.config.keepalive_ms) {
            return;
        }
        if session.producer.is_worn() {
            let why = "a connection broke while nothing was to do";
            return self.be_uneasy(Trouble::new(Cause::Place, why));
        }
        let Err(fault) = session.keep_alive(&self.setup) else {
            return;
        };
        self.telling.failed(fault.kind);
        if let Some(session) = self.session.take().filter(|_| fault.is_abortable) {
            session.producer.abort();
        }
        self.be_uneasy(fault.trouble());
    }

    /// Begins an audit that is due, and hears what one has found. What looks lost is looked at again by
    /// an opening, which decides.
    fn look_around(&mut self) {
        let Some(session) = &self.session else {
            return;
        };
        match self.auditor.step(&self.setup, &session.rest.marks) {
            None => {}
            Some(Err(fault)) => self.telling.not_audited(&fault.to_string()),
            Some(Ok(Audited { findings, missing })) => {
                self.telling.audited(&findings);
                if !missing.is_empty() {
                    let words = loss::words(&self.setup.owner.task, &missing);
                    let why = format!("it looks as if {words}");
                    self.be_uneasy(Trouble::new(Cause::Place, why));
                }
            }
        }
    }

    fn be_uneasy(&mut self, trouble: Trouble) {
        self.session = None;
        self.telling.state(&format!("not open: {}", trouble.why));
        self.uneasy.send_replace(Some(trouble));
    }
}

fn too_large(record: &Record, most: usize) -> Delivery {
    Delivery::Never {
        which: record.position,
        why: "it is larger than its topic takes".to_owned(),
        answer: format!("max.message.bytes of the topic is {most}"),
    }
}
