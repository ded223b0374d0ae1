//! One round of the pump: open the sink, or bring it one batch and move the cursors past it.
//!
//! Holds: a cursor passes a record after `Taken` or after its `park`, never before. What a failure
//! leaves undone, the next round does first: a replicated cursor that lags behind the destination
//! is brought up before more is delivered.
//!
//! A local destination's cursor is believed only if the feed holds, at its position, the record with
//! the id that the destination kept. One comparison covers both ends of a log that lost its tail:
//! nothing is there yet, or something else is by now, however long before the lane was opened.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Ahead, At, Pump, Read, Turn};
use crate::error::{Cause, FeedError, SinkError, Trouble};
use crate::feed::{Feed, Held, Limit};
use crate::mutants::{self, Mutant};
use crate::record::{Lane, Parked, Position, Record};
use crate::sink::{Batch, Cursor, Delivery, OnPoison, Opening};
use crate::sinks::Life;

/// Answers of the destination that may be about a record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answers {
    /// First of the batch that was answered last.
    first: Position,
    count: u32,
    /// Records up to here go one by one, to find the one that is refused.
    one_by_one_upto: Position,
}

/// So many are parked in one turn behind one that was refused, at the most.
const HELD_BACK_MAX: usize = 256;

struct Refused {
    which: Position,
    why: String,
    answer: String,
}

impl Pump {
    /// Opens the sink, and learns where it stands.
    pub(super) async fn open(&mut self) -> Turn {
        let standing = match self.shared.feed.standing(&self.life.lane).await {
            Ok(standing) => standing,
            Err(error) => return of_feed(error),
        };
        let replicated = standing.position;
        let opening = Opening {
            standing,
            term: self.term.unwrap_or_default(),
        };
        let cursor = match self.sink.open(opening).await {
            Ok(cursor) => cursor,
            Err(SinkError::Again(trouble)) => return Turn::Again(trouble),
            Err(SinkError::Stop(why)) => return Turn::Stop(why),
        };
        let delivered = match cursor {
            Some(cursor) if cursor.incarnation != self.life.incarnation => {
                return Turn::Stop(format!(
                    "the destination belongs to another life of this task ({}; this one is {})",
                    cursor.incarnation, self.life.incarnation
                ));
            }
            Some(cursor) if self.sink.is_local() => match self.is_in_feed(&cursor).await {
                Ok(true) => cursor.position,
                Ok(false) => match self.sink.begin_anew(lost(&cursor)).await {
                    Ok(()) => replicated,
                    Err(SinkError::Again(trouble)) => return Turn::Again(trouble),
                    Err(SinkError::Stop(why)) => return Turn::Stop(why),
                },
                Err(error) => return of_feed(error),
            },
            Some(_) if mutants::is(Mutant::OwnCursor) => replicated,
            Some(cursor) => match self.believe(cursor.position, replicated) {
                Ok(position) => position,
                Err(why) => return Turn::Stop(why),
            },
            None => replicated,
        };
        self.at = Some(At {
            delivered,
            replicated,
        });
        self.outside.cell.set_position(delivered, 0);
        Turn::Opened
    }

    /// The cursor of a destination that keeps it with the data is the truth, between what the log
    /// knows to be delivered and what the log holds. Anything else is loss, there or here.
    fn believe(&self, there: Position, replicated: Position) -> Result<Position, String> {
        let applied = self.shared.feed.applied_upto();
        if there < replicated {
            return Err(format!(
                "the destination stands at {there}, and had everything up to {replicated}: it has \
                 lost what lies between. Look at it, then send it again with `formspool tasks \
                 replay {} --from {there}`",
                self.life.lane.task
            ));
        }
        if applied < there.index {
            return Err(format!(
                "the destination stands at {there}, and the log ends at {applied}: it belongs to \
                 another log, or this one has lost its tail"
            ));
        }
        Ok(there)
    }

    /// Whether the record that the destination took last is the one that the log holds there, or held
    /// before it let it go.
    async fn is_in_feed(&mut self, cursor: &Cursor) -> Result<bool, FeedError> {
        let (lane, one) = (
            &self.life.lane,
            Limit {
                count_max: 1,
                bytes_max: 1,
            },
        );
        let found = self.shared.feed.read(lane, cursor.position.before(), one);
        let is_there = found.await?.first().is_some_and(|record| {
            let is_same = |id: &String| *id == record.id;
            record.position == cursor.position && cursor.id.as_ref().is_none_or(is_same)
        });
        // Asked last: it may have been let go while it was looked for. What was is committed for ever.
        Ok(is_there || cursor.position.index <= self.shared.feed.forgotten_upto()?)
    }

    pub(super) async fn deliver_after(&mut self, at: At) -> Turn {
        let at = match self.advance(at).await {
            Ok(at) => at,
            Err(turn) => return turn,
        };
        if let Err(turn) = self.park_late().await {
            return turn;
        }
        let (read, mut spent) = self.next(at.delivered).await;
        let (mut records, is_full) = match read {
            Ok(read) => read,
            Err(error) => return of_feed(error),
        };
        let Some(mut upto) = records.last().map(|record| record.position) else {
            return Turn::Idle;
        };
        assert!(
            records.iter().all(|record| at.delivered < record.position)
                && records.is_sorted_by(|one, next| one.position < next.position),
            "the feed of {} is out of order after {}",
            self.life.lane,
            at.delivered,
        );
        if let Err(turn) = self.sift(at, &mut records).await {
            return turn;
        }
        loop {
            // A cursor of its own that others read moves past what was parked, too.
            if records.is_empty() && self.sink.is_local() {
                return self.passed(at, upto, is_full).await;
            }
            let form = self.life.lane.form.as_ref();
            let batch = Arc::new(Batch {
                records,
                upto,
                fields: form.map_or_else(|| Arc::from([]), |form| self.shared.feed.fields(form)),
            });
            if let Err(turn) = self.announce(at, &batch).await {
                return turn;
            }
            let refused = match self.hand_over(&batch, (is_full, spent.take())).await {
                Delivery::Taken { upto: taken } => {
                    return self.passed(at, taken, is_full).await;
                }
                Delivery::Reopen(trouble) => {
                    self.at = None;
                    return Turn::Again(trouble);
                }
                Delivery::Again(trouble) => match self.count_answer(&batch, trouble) {
                    Ok(refused) => refused,
                    Err(trouble) => return Turn::Again(trouble),
                },
                Delivery::Never { which, why, answer } => Refused { which, why, answer },
            };
            records = batch.records.clone();
            if self.keeps_keys() {
                // What follows must not pass it: the next turn sees to that.
                upto = refused.which;
                records.retain(|record| record.position <= upto);
            }
            if let Err(turn) = self.park(&mut records, refused).await {
                return turn;
            }
        }
    }

    /// What a mutant has passed before it was parked.
    async fn park_late(&mut self) -> Result<(), Turn> {
        for parked in std::mem::take(&mut self.late) {
            let Life { lane, incarnation } = &self.life;
            let parking = self.shared.feed.park(lane, *incarnation, parked);
            parking.await.map_err(of_feed)?;
        }
        Ok(())
    }

    /// What comes after `after`: read while the last batch was on its way, or now.
    /// With it the batch that is still to be let go of.
    async fn next(&mut self, after: Position) -> (Result<Read, FeedError>, Option<Arc<Batch>>) {
        match self.ahead.take().filter(|ahead| ahead.after == after) {
            Some(ahead) => (Ok(ahead.read), Some(ahead.spent)),
            None => (self.reading(after).await, None),
        }
    }

    /// Says in the log what is about to be sent, where what is under way outlives its sender.
    async fn announce(&mut self, at: At, batch: &Batch) -> Result<(), Turn> {
        if !self.kind.announces_sends {
            return Ok(());
        }
        let Life { lane, incarnation } = &self.life;
        let started = self
            .shared
            .feed
            .send_started(lane, *incarnation, at.replicated, batch.upto);
        started.await.map_err(of_feed)
    }

    /// Brings a batch there. A sink that takes long over a batch has the next one read meanwhile.
    async fn hand_over(
        &mut self,
        batch: &Arc<Batch>,
        (is_full, spent): (bool, Option<Arc<Batch>>),
    ) -> Delivery {
        let began = Instant::now();
        let delivery = if is_full && self.kind.reads_ahead {
            let (feed, limit) = (&*self.shared.feed, self.kind.limit);
            let next = async {
                drop(spent);
                read(feed, &self.life.lane, batch.upto, limit).await
            };
            let (delivery, next) = futures::join!(self.sink.deliver(Arc::clone(batch)), next);
            // One that failed is read again, and tells its trouble then.
            self.ahead = next.ok().map(|read| Ahead {
                after: batch.upto,
                read,
                spent: Arc::clone(batch),
            });
            delivery
        } else {
            self.sink.deliver(Arc::clone(batch)).await
        };
        if let Delivery::Taken { upto } = &delivery {
            self.note_taken(batch, *upto, began.elapsed());
        }
        delivery
    }

    /// Reads what comes next, one by one while a refused record is looked for.
    async fn reading(&mut self, after: Position) -> Result<Read, FeedError> {
        let Life { lane, incarnation } = &self.life;
        let count_max = if after < self.answers.one_by_one_upto {
            1
        } else if self.keeps_keys() && !self.shared.feed.held(lane, *incarnation, after)?.is_empty()
        {
            // Each that is parked is an entry of the log.
            self.kind.limit.count_max.min(HELD_BACK_MAX)
        } else {
            self.kind.limit.count_max
        };
        let limit = Limit {
            count_max,
            ..self.kind.limit
        };
        read(&*self.shared.feed, &self.life.lane, after, limit).await
    }

    /// The destination holds everything up to `upto`, or it is parked: moves the cursors.
    async fn passed(&mut self, at: At, upto: Position, is_full: bool) -> Turn {
        assert!(
            at.delivered < upto,
            "{} would go back to {upto}",
            self.life.lane
        );
        let at = At {
            delivered: upto,
            ..at
        };
        self.at = Some(at);
        self.outside.cell.set_position(upto, 0);
        match self.advance(at).await {
            Ok(_) if is_full => Turn::Full,
            Ok(_) => Turn::Delivered,
            Err(turn) => turn,
        }
    }

    /// Brings the replicated cursor up to what is delivered. Where it fails, the next turn tries
    /// again before it delivers more.
    async fn advance(&mut self, at: At) -> Result<At, Turn> {
        if self.sink.is_local() || at.delivered <= at.replicated {
            return Ok(at);
        }
        let Life { lane, incarnation } = &self.life;
        let feed = &self.shared.feed;
        let moved = feed.advance(lane, *incarnation, at.replicated, at.delivered);
        if let Err(error) = moved.await {
            // One whose answer was lost is fenced when it is tried again: it stands there already.
            let standing = match error {
                FeedError::Fenced => feed.standing(lane).await.map_err(of_feed)?,
                FeedError::Again(_) => return Err(of_feed(error)),
            };
            if standing.position != at.delivered {
                return Err(of_feed(error));
            }
        }
        let at = At {
            replicated: at.delivered,
            ..at
        };
        self.at = Some(at);
        Ok(at)
    }

    /// An answer that may be about a record counts against it. `Ok` once one record has had its
    /// attempts alone: it counts as refused.
    fn count_answer(&mut self, batch: &Batch, trouble: Trouble) -> Result<Refused, Trouble> {
        let (Cause::Answer, Some(first)) = (trouble.cause, batch.records.first()) else {
            return Err(trouble);
        };
        let answers = &mut self.answers;
        if answers.first != first.position {
            answers.first = first.position;
            answers.count = 0;
        }
        answers.count += 1;
        if answers.count < self.shared.config.retry.attempts_max {
            return Err(trouble);
        }
        answers.count = 0;
        if batch.records.len() > 1 {
            answers.one_by_one_upto = batch.upto;
            return Err(trouble);
        }
        Ok(Refused {
            which: first.position,
            why: "every attempt failed".to_owned(),
            answer: trouble.why,
        })
    }

    /// Sets the refused record aside and takes it out of `records`.
    async fn park(&mut self, records: &mut Vec<Record>, refused: Refused) -> Result<(), Turn> {
        let Refused { which, why, answer } = refused;
        let Some(at) = records.iter().position(|record| record.position == which) else {
            return Err(Turn::Stop(format!(
                "the sink refuses {which}, which it was not given"
            )));
        };
        let record = records.remove(at);
        if self.outside.on_poison != OnPoison::Park && !self.keeps_keys() {
            return Err(Turn::Stop(format!(
                "record {} is refused: {why}; {answer}",
                record.seq
            )));
        }
        self.set_aside(record, why, answer).await
    }

    /// True where a record that is refused holds back its successors, and nothing else.
    fn keeps_keys(&self) -> bool {
        self.outside.on_poison == OnPoison::ParkKey && !self.sink.is_local()
    }

    /// Takes out of `records` what is not sent: what this life has parked already, and got no further;
    /// and what must not pass a record that is parked, which is parked behind it.
    async fn sift(&mut self, at: At, records: &mut Vec<Record>) -> Result<(), Turn> {
        let Some(last) = records.last().filter(|_| !self.sink.is_local()) else {
            return Ok(());
        };
        let (feed, Life { lane, incarnation }) = (&self.shared.feed, &self.life);
        let parked = feed.parked_within(lane, *incarnation, at.delivered, last.position);
        let parked = parked.map_err(of_feed)?;
        records.retain(|record| !parked.contains(&record.position));
        if !self.keeps_keys() {
            return Ok(());
        }
        let held = feed.held(lane, *incarnation, at.delivered);
        let held = held.map_err(of_feed)?;
        let (back, rest): (Vec<_>, Vec<_>) = std::mem::take(records)
            .into_iter()
            .map(|record| (before_it(&held, &record), record))
            .partition(|(before, _)| before.is_some());
        *records = rest.into_iter().map(|(_, record)| record).collect();
        for (before, record) in back {
            let seq = before.unwrap_or_default();
            let why = format!("record {seq} of its form is set aside, and it must not pass it");
            self.set_aside(record, why, String::new()).await?;
        }
        Ok(())
    }

    /// When it returns `Ok`, the record is parked for good.
    async fn set_aside(&mut self, record: Record, why: String, answer: String) -> Result<(), Turn> {
        let which = record.position;
        let (seq, lane) = (record.seq, &self.life.lane);
        tracing::warn!(%lane, seq, position = %which, error = %why, "record parked");
        let parked = Parked {
            record,
            why,
            answer,
        };
        if mutants::is(Mutant::ParkLate) {
            self.late.push(parked);
            return Ok(());
        }
        self.shared
            .feed
            .park(lane, self.life.incarnation, parked)
            .await
            .map_err(of_feed)?;
        self.outside.cell.add_parked();
        self.shared.metrics.parked(&lane.task);
        Ok(())
    }

    fn note_taken(&mut self, batch: &Batch, taken: Position, took: Duration) {
        let is_of_batch =
            taken == batch.upto || batch.records.iter().any(|record| record.position == taken);
        assert!(
            is_of_batch,
            "{}: the sink took {taken}, which it was not given",
            self.life.lane
        );
        let there = batch
            .records
            .iter()
            .take_while(|record| record.position <= taken);
        let (records, bytes) = there.fold((0u64, 0u64), |(records, bytes), record| {
            (
                records + 1,
                bytes + u64::try_from(record.body.len()).unwrap_or(u64::MAX),
            )
        });
        self.outside.cell.set_position(taken, records);
        self.shared
            .metrics
            .delivered(&self.life.lane.task, records, bytes, took.as_secs_f64());
        tracing::trace!(lane = %self.life.lane, records, bytes, position = %taken, "delivered");
    }
}

/// Reads until the batch is whole or nothing more is there.
async fn read(
    feed: &dyn Feed,
    lane: &Lane,
    after: Position,
    limit: Limit,
) -> Result<Read, FeedError> {
    let mut records: Vec<Record> = Vec::new();
    let mut bytes = 0;
    while records.len() < limit.count_max && bytes < limit.bytes_max {
        let room = Limit {
            count_max: limit.count_max - records.len(),
            bytes_max: limit.bytes_max - bytes,
        };
        let from = records.last().map_or(after, |record| record.position);
        let more = feed.read(lane, from, room).await?;
        if more.is_empty() {
            return Ok((records, false));
        }
        bytes += more.iter().map(|record| record.body.len()).sum::<usize>();
        records.extend(more);
    }
    Ok((records, true))
}

/// The first one of its form that `record` must not pass.
fn before_it(held: &[Held], record: &Record) -> Option<u64> {
    let before = held.iter().filter(|held| {
        held.form == record.form
            && held.seq < record.seq
            && held.until.is_none_or(|until| record.position < until)
    });
    before.map(|held| held.seq).min()
}

fn lost(cursor: &Cursor) -> String {
    let id = cursor.id.as_deref().unwrap_or("unknown");
    format!(
        "its last row (id {id}, position {}) is not in the log, which lost what was not synced",
        cursor.position
    )
}

fn of_feed(error: FeedError) -> Turn {
    match error {
        FeedError::Again(why) => Turn::Again(Trouble::new(Cause::Place, why)),
        FeedError::Fenced => Turn::Over,
    }
}
