//! An open destination: one epoch, and where it stands.
//!
//! Holds: `at` is what Kafka's cursor says, as it was read or committed by this session, and nothing
//! else ever. The cursor goes into the transaction of its records, behind them.

use std::sync::Arc;
use std::time::Instant;

use super::brokers::Brokers;
use super::client::Tag;
use super::cursor::{self, CursorRecord, Last, Marks, Name};
use super::fault::{Fault, Kind};
use super::open::send_cursor;
use super::producer::{Manner, Outgoing, Spans, TxProducer};
use super::setup::Setup;
use super::shape::{self, Shaper};
use super::topics::{self, Topics};
use crate::mutants::{self, Mutant};
use crate::record::{Position, Record};
use crate::sink::Batch;

/// One epoch.
pub(super) struct Session {
    pub(super) producer: TxProducer,
    /// How its producer sends.
    pub(super) manner: Manner,
    pub(super) rest: Rest,
}

/// What outlives a producer.
pub(super) struct Rest {
    /// The term under which it was opened.
    pub(super) term: u64,
    pub(super) at: Position,
    pub(super) marks: Marks,
    pub(super) topics: Topics,
    /// When its cursor was written last.
    pub(super) written: Instant,
}

impl Rest {
    pub(super) fn new(term: u64, at: Position, marks: Marks) -> Self {
        Self {
            term,
            at,
            marks,
            topics: Topics::default(),
            written: Instant::now(),
        }
    }
}

impl Session {
    /// Learns where the records of a batch go, by asking `brokers` if they are at hand. True if there is
    /// a form that it did not know.
    pub(super) fn prepare(
        &mut self,
        setup: &Setup,
        batch: &Batch,
        mut brokers: Option<Brokers>,
    ) -> Result<bool, Fault> {
        let mut is_new = false;
        let forms = batch
            .records
            .chunk_by(|one, next| Arc::ptr_eq(&one.form, &next.form));
        for record in forms.filter_map(<[Record]>::first) {
            if self.rest.topics.of(&record.form).is_some() {
                continue;
            }
            let brokers = match &brokers {
                Some(brokers) => brokers,
                None => brokers.insert(Brokers::new(&setup.access)?),
            };
            let name = setup.settings.topic_of(&record.form);
            let topic = topics::find(brokers, &setup.settings, &name)?;
            self.rest.topics.add(&record.form, topic);
            is_new = true;
        }
        Ok(is_new)
    }

    /// Topics that have more partitions than the cursor knows: their keys have moved, in words.
    pub(super) fn grown(&self) -> Option<String> {
        let grown = self.rest.topics.iter().filter_map(|topic| {
            let known = self.rest.marks.get(&topic.name)?.partitions;
            (known < topic.partitions).then(|| {
                format!(
                    "topic {} had {known} partitions and has {}: keys have moved, and a form's order \
                     holds on either side of the change only",
                    topic.name, topic.partitions
                )
            })
        });
        let grown: Vec<String> = grown.collect();
        (!grown.is_empty()).then(|| grown.join("; "))
    }

    /// The first record that its topic can never take. Only what is sent as it is can be told from
    /// its size; of the rest the broker is the judge.
    pub(super) fn too_large<'b>(
        &self,
        setup: &Setup,
        batch: &'b Batch,
    ) -> Option<(&'b Record, usize)> {
        if setup.settings.compression != super::settings::Compression::None {
            return None;
        }
        batch.records.iter().find_map(|record| {
            let (_, topic) = self.rest.topics.of(&record.form)?;
            let most = topic.rules.bytes_max?;
            let bytes = shape::bytes(record, Some(record.form.as_bytes()), setup.settings.headers);
            (most < bytes).then_some((record, most))
        })
    }

    /// One transaction: the records, the cursor behind them, commit.
    pub(super) fn transact(
        &mut self,
        setup: &Setup,
        shaper: &mut Shaper,
        batch: &Batch,
        is_stamped_now: bool,
    ) -> Result<(), Fault> {
        let now_ms = (setup.now_ms)();
        self.producer.begin()?;
        for (number, record) in batch.records.iter().enumerate() {
            let (topic_number, topic) = self.rest.topics.of(&record.form).ok_or_else(|| Fault {
                kind: Kind::Topic,
                is_abortable: true,
                words: format!("no topic is known for form {}", record.form),
                record: None,
            })?;
            let key = shaper.key(record);
            let stamp = if is_stamped_now {
                now_ms
            } else {
                shape::timestamp_ms(record.received_at_ms, now_ms, topic.rules.retention)
            };
            self.producer.send(Outgoing {
                topic: &topic.name,
                partition: shape::partition(record, key.as_deref(), topic.partitions),
                key: key.as_deref(),
                value: &record.body,
                headers: Some(shaper.headers(record)),
                timestamp_ms: i64::try_from(stamp).ok(),
                tag: Tag {
                    topic: topic_number,
                    record: u32::try_from(number).unwrap_or(Tag::OURS),
                },
            })?;
            if number % 256 == 255 {
                self.producer.listen();
            }
        }
        let spans = self.producer.drain()?;
        self.must_go_on(&spans)?;
        if mutants::is(Mutant::CursorOutside) {
            self.producer.commit()?;
            self.producer.begin()?;
        }
        self.finish(setup, batch.upto, (&spans, &batch.records))
    }

    /// A partition's offsets only grow: one that begins again has lost what we wrote.
    fn must_go_on(&self, spans: &Spans) -> Result<(), Fault> {
        for (number, topic) in (0u32..).zip(self.rest.topics.iter()) {
            let Some(mark) = self.rest.marks.get(&topic.name) else {
                continue;
            };
            for ((_, partition), span) in spans.range((number, i32::MIN)..=(number, i32::MAX)) {
                let last = mark.last.get(partition).copied();
                if last.is_some_and(|last| span.first <= last) {
                    return Err(Fault {
                        kind: Kind::Topic,
                        is_abortable: true,
                        words: format!(
                            "partition {partition} of topic {} gives offset {} once more: it is \
                             another one, or it was cut",
                            topic.name, span.first
                        ),
                        record: None,
                    });
                }
            }
        }
        Ok(())
    }

    /// Writes the cursor again where it stands: the broker must not forget us while nothing comes.
    pub(super) fn keep_alive(&mut self, setup: &Setup) -> Result<(), Fault> {
        self.producer.begin()?;
        self.finish(setup, self.rest.at, (&Spans::new(), &[]))
    }

    /// The cursor, last; then commit.
    fn finish(
        &mut self,
        setup: &Setup,
        upto: Position,
        sent: (&Spans, &[Record]),
    ) -> Result<(), Fault> {
        let cursor = self.cursor(setup, upto, sent);
        send_cursor(setup, &self.producer, &cursor)?;
        self.producer.drain()?;
        self.producer.commit()?;
        self.rest.at = upto;
        self.rest.marks = cursor.topics;
        self.rest.written = Instant::now();
        Ok(())
    }

    fn cursor(
        &self,
        setup: &Setup,
        upto: Position,
        (spans, records): (&Spans, &[Record]),
    ) -> CursorRecord {
        let mut marks = self.rest.marks.clone();
        for (number, topic) in (0u32..).zip(self.rest.topics.iter()) {
            let last = spans.range((number, i32::MIN)..=(number, i32::MAX));
            let last = last.filter_map(|((_, partition), span)| {
                let record = records.get(usize::try_from(span.record).ok()?)?;
                let last = Last {
                    offset: span.last,
                    name: Name(record.position.index, record.seq),
                };
                Some((*partition, last))
            });
            let last = last.collect();
            cursor::note(&mut marks, &topic.name, topic.partitions, &last);
        }
        setup.owner.cursor(upto, self.rest.term, marks)
    }
}
