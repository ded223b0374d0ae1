//! Opening: fence, mark, read, compare. What follows is sent only when all four are done.
//!
//! ```text
//! look for brokers ─► control topic ─► fence ─► mark ─► read the cursor up to the mark ─► compare
//! ```
//! | the cursor there | this life has moved already | has not |
//! |---|---|---|
//! | this life's | go on from it | go on from it |
//! | an earlier life's, or none | stop: Kafka has lost it | put ours in its place, by a transaction |
//! | a later life's, or another cluster's | stop | stop |
//!
//! Holds: the cursor is read behind the fence, never before and never from memory; a life's first
//! record is sent only when its cursor stands in Kafka.

use std::time::Duration;

use super::brokers::Brokers;
use super::client::Tag;
use super::control::{self, Tail, Upto};
use super::cursor::{CursorRecord, Marks};
use super::fault::Fault;
use super::loss;
use super::producer::{Manner, Outgoing, TxProducer};
use super::session::{Rest, Session};
use super::setup::Setup;
use super::topics;
use crate::error::{Cause, SinkError, Trouble};
use crate::mutants::{self, Mutant};
use crate::record::Position;
use crate::sink::Opening;

/// For older transactions to end.
const FENCE: Duration = Duration::from_secs(20);

/// For reading the cursor, at most; an open transaction of ours would be over sooner.
const READ: Duration = Duration::from_secs(15);

/// The number of the control topic in tags.
pub(super) const CONTROL: Tag = Tag {
    topic: Tag::OURS,
    record: Tag::OURS,
};

/// What to do about the cursor that is there.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    GoOn(Box<CursorRecord>),
    /// Begin at the replicated cursor.
    Install,
}

/// What was found.
pub(super) struct Opened {
    pub(super) session: Session,
    /// False if the cursor was put there now.
    pub(super) was_there: bool,
    /// Who was asked; for what is asked next.
    pub(super) brokers: Brokers,
}

/// Opens.
pub(super) fn open(setup: &Setup, opening: Opening) -> Result<Opened, SinkError> {
    let again = |fault: Fault| SinkError::Again(fault.trouble());
    let brokers = Brokers::new(&setup.access).map_err(again)?;
    brokers.ids().map_err(again)?;
    make_control(setup, &brokers)?;
    let manner = setup.manner(None, false);
    let fenced = fence_and_read(setup, &manner, opening.term);
    let (mut producer, tail) = fenced.map_err(again)?;
    let verdict = judge(setup, tail, opening)?;
    let (at, marks, was_there) = match verdict {
        Verdict::GoOn(cursor) => (cursor.position(), cursor.topics, true),
        Verdict::Install => {
            let at = opening.standing.position;
            install(setup, &mut producer, at, opening.term).map_err(again)?;
            (at, Marks::new(), false)
        }
    };
    Ok(Opened {
        session: Session {
            producer,
            manner,
            rest: Rest::new(opening.term, at, marks),
        },
        was_there,
        brokers,
    })
}

/// The control topic has one partition: two would have two ends.
fn make_control(setup: &Setup, brokers: &Brokers) -> Result<(), SinkError> {
    let wanted = topics::wanted_control(&setup.settings, &setup.control);
    let (shape, _) = topics::find_strong(brokers, &setup.settings, &wanted)
        .map_err(|fault| SinkError::Again(fault.trouble()))?;
    if shape.count() == 1 {
        return Ok(());
    }
    let why = format!(
        "control topic {} has {} partitions; it must have one: delete it if nothing was delivered \
         yet, or name another control_topic",
        setup.control,
        shape.count()
    );
    Err(SinkError::Again(Trouble::new(Cause::Place, why)))
}

/// A new epoch, and the cursor behind its fence.
pub(super) fn fence_and_read(
    setup: &Setup,
    manner: &Manner,
    term: u64,
) -> Result<(TxProducer, Tail), Fault> {
    let early = if mutants::is(Mutant::CursorBeforeFence) {
        Some(read(setup, Upto::Readable)?)
    } else {
        None
    };
    let mut producer = TxProducer::fence(&setup.access, &setup.config, manner, FENCE)?;
    let tail = match early {
        Some(tail) => tail,
        None => read_behind_mark(setup, &mut producer, term)?,
    };
    Ok((producer, tail))
}

/// Commits a mark of ours and reads the cursor up to it.
fn read_behind_mark(setup: &Setup, producer: &mut TxProducer, term: u64) -> Result<Tail, Fault> {
    if mutants::is(Mutant::SharedControl) {
        return read(setup, Upto::Readable);
    }
    let (key, value) = (setup.owner.mark_key(), setup.owner.mark(term));
    producer.begin()?;
    send_control(setup, producer, &key, value.as_bytes())?;
    let spans = producer.drain()?;
    producer.commit()?;
    let mark = spans.get(&(CONTROL.topic, 0)).map(|span| span.last);
    read(
        setup,
        Upto::Mark(mark.ok_or_else(|| Fault::late("write the mark"))?),
    )
}

fn read(setup: &Setup, upto: Upto) -> Result<Tail, Fault> {
    control::read(&setup.access, &setup.control, &setup.owner, upto, READ)
}

/// Puts this life's cursor there, alone in its transaction.
fn install(setup: &Setup, producer: &mut TxProducer, at: Position, term: u64) -> Result<(), Fault> {
    let cursor = setup.owner.cursor(at, term, Marks::new());
    producer.begin()?;
    send_cursor(setup, producer, &cursor)?;
    producer.drain()?;
    producer.commit()
}

/// Hands the cursor to the transaction that is open.
pub(super) fn send_cursor(
    setup: &Setup,
    producer: &TxProducer,
    cursor: &CursorRecord,
) -> Result<(), Fault> {
    send_control(setup, producer, &setup.owner.task, &cursor.encode())
}

fn send_control(
    setup: &Setup,
    producer: &TxProducer,
    key: &str,
    value: &[u8],
) -> Result<(), Fault> {
    producer.send(Outgoing {
        topic: &setup.control,
        partition: 0,
        key: Some(key.as_bytes()),
        value,
        headers: None,
        timestamp_ms: None,
        tag: CONTROL,
    })
}

/// Compares what Kafka has with what the log knows.
fn judge(setup: &Setup, tail: Tail, opening: Opening) -> Result<Verdict, SinkError> {
    let owner = &setup.owner;
    let cursor = match tail {
        Tail::Wrong(why) => return Err(SinkError::Stop(why)),
        Tail::Cursor(cursor) => cursor,
    };
    match cursor {
        Some(cursor) if cursor.cluster != owner.cluster => Err(SinkError::Stop(format!(
            "topic {} has the cursor of cluster {}, and this is {}: two clusters must not share it; \
             name another control_topic, or delete the topic if that cluster is gone",
            setup.control, cursor.cluster, owner.cluster
        ))),
        Some(cursor) if cursor.incarnation > owner.incarnation => Err(SinkError::Stop(format!(
            "topic {} belongs to a later life of this task ({}; this one is {})",
            setup.control, cursor.incarnation, owner.incarnation
        ))),
        Some(cursor) if cursor.incarnation == owner.incarnation => Ok(Verdict::GoOn(cursor)),
        Some(_) | None if opening.is_first() => Ok(Verdict::Install),
        Some(_) | None => Err(SinkError::Stop(loss::no_cursor(
            &setup.control,
            &owner.task,
            opening.standing,
        ))),
    }
}
