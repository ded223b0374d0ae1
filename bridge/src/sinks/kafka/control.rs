//! Reads the task's cursor from the tail of its control topic.
//!
//! ```text
//! … cursor ─ commit ─ mark(old) ─ commit ─ cursor ─ commit ─ mark(ours) ─ commit
//!                                          ▲                 ▲
//!                                          the answer        read up to here, or it is no answer
//! ```
//! Holds: what is read is `read_committed` and reaches up to the mark that this opening has committed
//! itself, behind the fence. So it is the last cursor there ever was: older producers are fenced, and
//! a broker that was left behind and does not know it (its log ends early, and it would say so with
//! confidence) cannot have the mark. An open transaction of somebody else in front of the mark hides
//! what lies behind it; then there is no answer, and the task waits.
//! Why from the end: the topic is compacted, but when is up to the broker; a start must not take an
//! hour because it was not.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Access, Isolation};
use super::cursor::{CursorRecord, Found, Owner};
use super::fault::{Fault, Kind};
use super::fleeting::Fleeting;

/// Offsets that the first look covers.
const TAIL: i64 = 64;

/// Each further look covers so many times more.
const WIDER: i64 = 8;

/// For one question.
const ANSWER: Duration = Duration::from_secs(5);

/// The control topic has one partition.
const PARTITION: i32 = 0;

/// Where reading ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upto {
    /// At this offset, which is ours and committed.
    Mark(i64),
    /// Wherever a `read_committed` reader gets to. Wrong: see the mutants.
    Readable,
}

/// What is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// The last cursor, `None` if there is none or it was deleted by hand.
    Cursor(Option<Box<CursorRecord>>),
    /// A person must look.
    Wrong(String),
}

/// Reads the last cursor of `owner`.
pub(super) fn read(
    access: &Access,
    topic: &str,
    owner: &Owner,
    upto: Upto,
    patience: Duration,
) -> Result<Tail, Fault> {
    let doing = format!("read the cursor in topic {topic}");
    let reader: BaseConsumer = access
        .consumer("formspool-cursor", Isolation::Committed)
        .create()
        .map_err(|error| Fault::of(&doing, &error))?;
    let reader = Fleeting::new(reader);
    let deadline = Instant::now() + patience;
    let (low, stable) = reader
        .fetch_watermarks(topic, PARTITION, ANSWER)
        .map_err(|error| Fault::of(&doing, &error))?;
    let end = match upto {
        Upto::Mark(mark) => mark,
        Upto::Readable => stable - 1,
    };
    let mut width = TAIL;
    loop {
        let from = end.saturating_sub(width).max(low);
        let mut look = Look::new(owner, upto, end);
        if from <= end {
            look.along(&reader, (topic, from), deadline)?;
        }
        if let Some(wrong) = look.wrong(topic) {
            return Ok(Tail::Wrong(wrong));
        }
        if look.is_answer || from <= low {
            return Ok(Tail::Cursor(look.last));
        }
        width = width.saturating_mul(WIDER);
    }
}

/// One look along the tail.
struct Look<'a> {
    owner: &'a Owner,
    upto: Upto,
    end: i64,
    last: Option<Box<CursorRecord>>,
    /// A cursor, or its deletion, was met: what lies before does not matter.
    is_answer: bool,
    foreign: Option<String>,
    unreadable: Option<String>,
}

impl<'a> Look<'a> {
    fn new(owner: &'a Owner, upto: Upto, end: i64) -> Self {
        Self {
            owner,
            upto,
            end,
            last: None,
            is_answer: false,
            foreign: None,
            unreadable: None,
        }
    }

    /// Reads from `from` up to the end.
    fn along(
        &mut self,
        reader: &BaseConsumer,
        (topic, from): (&str, i64),
        deadline: Instant,
    ) -> Result<(), Fault> {
        let doing = format!("read the cursor in topic {topic}");
        let mut place = TopicPartitionList::new();
        place
            .add_partition_offset(topic, PARTITION, Offset::Offset(from))
            .and_then(|()| reader.assign(&place))
            .map_err(|error| Fault::of(&doing, &error))?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match reader.poll(left.min(Duration::from_millis(100))) {
                Some(Ok(message)) => {
                    self.take(&message);
                    if self.end <= message.offset() {
                        return Ok(());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) if self.upto == Upto::Readable => {
                    return Ok(());
                }
                // Whatever it is, it mends itself, or the time runs out.
                Some(Err(error)) => tracing::debug!(%error, topic, "reading the cursor"),
                None => {}
            }
            if left.is_zero() {
                return Err(self.hidden(reader, topic));
            }
        }
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) {
        match self.owner.read(message.key(), message.payload()) {
            Found::Cursor(cursor) => {
                self.last = Some(cursor);
                self.is_answer = true;
                self.unreadable = None;
            }
            Found::Deleted => {
                self.last = None;
                self.is_answer = true;
                self.unreadable = None;
            }
            Found::Mark => {}
            Found::Foreign(key) => self.foreign = Some(key),
            Found::Unreadable(why) => self.unreadable = Some(why),
        }
    }

    /// Why the end was not reached.
    fn hidden(&self, reader: &BaseConsumer, topic: &str) -> Fault {
        let mut fault = Fault::late(&format!("read the cursor in topic {topic}"));
        if let Ok((_, stable)) = reader.fetch_watermarks(topic, PARTITION, ANSWER)
            && stable <= self.end
        {
            fault.kind = Kind::Other;
            fault.words = format!(
                "an open transaction hides the cursor: topic {topic} is readable up to offset \
                 {stable}, and our own mark is at {}. Nobody but this task may write there; see \
                 `kafka-transactions.sh find-hanging`",
                self.end
            );
        }
        fault
    }

    fn wrong(&self, topic: &str) -> Option<String> {
        if let Some(why) = &self.unreadable {
            return Some(format!("cannot read the cursor in topic {topic}: {why}"));
        }
        let key = self
            .foreign
            .as_ref()
            .filter(|_| self.upto != Upto::Readable)?;
        Some(format!(
            "topic {topic} has the cursor of {key:?} too: another's open transaction would hide ours. \
             Give this task a control_topic of its own, or leave it empty"
        ))
    }
}
