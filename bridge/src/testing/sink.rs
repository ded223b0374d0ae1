//! A destination in memory that does what destinations do: go away, lose replies, refuse.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, watch};

use crate::error::{Cause, SinkError, Trouble};
use crate::record::{Position, Record};
use crate::sink::{Batch, Cursor, Delivery, Leave, Opening, Sink};

/// What the destination does with the next delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Takes it all.
    Take,
    /// Takes the first this many.
    TakeFirst(usize),
    /// Fails, and nothing is there.
    Fail(Cause),
    /// Takes it all, and the reply is lost.
    LoseReply,
    /// Does not come back until [`Place::release`].
    Hang,
}

/// A destination. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Place {
    inner: Arc<Mutex<Inner>>,
    is_released: watch::Sender<bool>,
    deliveries: watch::Sender<u64>,
    unease: watch::Sender<u64>,
    is_local: bool,
}

#[derive(Debug, Default)]
struct Inner {
    rows: Vec<Record>,
    cursor: Option<Cursor>,
    steps: VecDeque<Step>,
    refused: BTreeSet<u64>,
    moody: BTreeSet<u64>,
    opens: u64,
    beginnings: u64,
    biggest_batch: usize,
    batches: Vec<(Vec<u64>, Position)>,
    closes: u64,
    last_opening: Opening,
    seats: Option<Arc<Semaphore>>,
}

impl Place {
    /// An empty destination that keeps our cursor with the data. A local one belongs to its node.
    pub fn new(is_local: bool) -> Self {
        Self {
            inner: Arc::default(),
            is_released: watch::Sender::new(false),
            deliveries: watch::Sender::new(0),
            unease: watch::Sender::new(0),
            is_local,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sink that leads here.
    pub fn sink(&self, incarnation: u64) -> FlakySink {
        FlakySink {
            place: self.clone(),
            incarnation,
            unease: self.unease.subscribe(),
        }
    }

    /// What the next deliveries come to; after them, everything is taken.
    pub fn script(&self, steps: &[Step]) {
        self.lock().steps.extend(steps);
    }

    /// It is used by as many at a time as there are `seats`, which other places may share.
    pub fn share(&self, seats: &Arc<Semaphore>) {
        self.lock().seats = Some(Arc::clone(seats));
    }

    /// Forgets what was asked of the next deliveries.
    pub fn mend(&self) {
        self.lock().steps.clear();
    }

    /// Refuses the records with these seqs for good.
    pub fn refuse(&self, seqs: &[u64]) {
        self.lock().refused.extend(seqs);
    }

    /// Takes from now on whatever it refused.
    pub fn pardon(&self) {
        self.lock().refused.clear();
    }

    /// Answers batches that hold one of these seqs with something that may be a mood.
    pub fn grumble_at(&self, seqs: &[u64]) {
        self.lock().moody.extend(seqs);
    }

    /// Lets deliveries that hang go on.
    pub fn release(&self) {
        self.is_released.send_replace(true);
    }

    /// What it holds, in the order of arrival.
    pub fn rows(&self) -> Vec<Record> {
        self.lock().rows.clone()
    }

    /// The seqs that it holds, in the order of arrival.
    pub fn seqs(&self) -> Vec<u64> {
        self.lock().rows.iter().map(|row| row.seq).collect()
    }

    /// How often it was opened.
    pub fn opens(&self) -> u64 {
        self.lock().opens
    }

    /// How often it was told to begin anew.
    pub fn beginnings(&self) -> u64 {
        self.lock().beginnings
    }

    /// Every batch that was taken whole: its seqs, and where the cursor stood behind it.
    pub fn batches(&self) -> Vec<(Vec<u64>, Position)> {
        self.lock().batches.clone()
    }

    /// How often its sink let go of it.
    pub fn closes(&self) -> u64 {
        self.lock().closes
    }

    /// What the log knew when it was opened last.
    pub fn last_opening(&self) -> Opening {
        self.lock().last_opening
    }

    /// The cursor that it holds.
    pub fn cursor(&self) -> Option<Position> {
        self.lock().cursor.as_ref().map(|cursor| cursor.position)
    }

    /// Puts its cursor elsewhere, as a restored backup does.
    pub fn set_cursor(&self, incarnation: u64, position: Position) {
        self.lock().cursor = Some(Cursor {
            incarnation,
            position,
            id: None,
        });
    }

    /// Its sink finds out by itself that it must be opened again.
    pub fn disturb(&self) {
        self.unease.send_modify(|count| *count += 1);
    }

    /// The most records that came at once.
    pub fn biggest_batch(&self) -> usize {
        self.lock().biggest_batch
    }

    /// Counts deliveries that were begun.
    pub fn deliveries(&self) -> watch::Receiver<u64> {
        self.deliveries.subscribe()
    }

    fn take(&self, incarnation: u64, batch: &Batch, count: usize) -> Delivery {
        let mut inner = self.lock();
        let last = batch.records.iter().take(count).last();
        let upto = if count < batch.records.len() {
            let Some(last) = last else {
                return Delivery::Again(Trouble::new(Cause::Away, "took none"));
            };
            last.position
        } else {
            batch.upto
        };
        let id = last.map(|last| last.id.clone());
        inner.rows.extend(batch.records.iter().take(count).cloned());
        inner.cursor = Some(Cursor {
            incarnation,
            position: upto,
            id,
        });
        let seqs = batch.records.iter().take(count).map(|record| record.seq);
        inner.batches.push((seqs.collect(), upto));
        Delivery::Taken { upto }
    }
}

/// A sink that leads to a [`Place`].
#[derive(Debug)]
pub struct FlakySink {
    place: Place,
    incarnation: u64,
    unease: watch::Receiver<u64>,
}

impl Sink for FlakySink {
    fn is_local(&self) -> bool {
        self.place.is_local
    }

    fn leave(&mut self) -> BoxFuture<'_, Leave> {
        let seats = self.place.lock().seats.clone();
        async move {
            let seat = match seats {
                Some(seats) => seats.acquire_owned().await.ok(),
                None => None,
            };
            Box::new(seat) as Leave
        }
        .boxed()
    }

    fn open(&mut self, opening: Opening) -> BoxFuture<'_, Result<Option<Cursor>, SinkError>> {
        async move {
            let mut inner = self.place.lock();
            inner.opens += 1;
            inner.last_opening = opening;
            match inner.cursor.clone() {
                Some(cursor) if cursor.incarnation > self.incarnation => Err(SinkError::Stop(
                    "the destination belongs to a later life".to_owned(),
                )),
                Some(cursor) if cursor.incarnation < self.incarnation => {
                    // One atomic step: the old life's cursor goes, and its rows stay where they
                    // can be told apart; here they just go.
                    inner.cursor = None;
                    inner.rows.clear();
                    Ok(None)
                }
                cursor => Ok(cursor),
            }
        }
        .boxed()
    }

    fn close(&mut self) {
        self.place.lock().closes += 1;
    }

    fn uneasy(&mut self) -> BoxFuture<'_, Trouble> {
        async move {
            // The sender lives in `self`.
            drop(self.unease.changed().await);
            Trouble::new(Cause::Away, "disturbed")
        }
        .boxed()
    }

    fn begin_anew(&mut self, _why: String) -> BoxFuture<'_, Result<(), SinkError>> {
        async move {
            let mut inner = self.place.lock();
            inner.beginnings += 1;
            inner.cursor = None;
            inner.rows.clear();
            Ok(())
        }
        .boxed()
    }

    fn deliver(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Delivery> {
        async move {
            self.place.deliveries.send_modify(|count| *count += 1);
            let step = {
                let mut inner = self.place.lock();
                inner.biggest_batch = inner.biggest_batch.max(batch.records.len());
                if let Some(record) = batch
                    .records
                    .iter()
                    .find(|record| inner.refused.contains(&record.seq))
                {
                    return Delivery::Never {
                        which: record.position,
                        why: "refused".to_owned(),
                        answer: "400 bad record".to_owned(),
                    };
                }
                if batch
                    .records
                    .iter()
                    .any(|record| inner.moody.contains(&record.seq))
                {
                    return Delivery::Again(Trouble::new(Cause::Answer, "500 of some kind"));
                }
                inner.steps.pop_front().unwrap_or(Step::Take)
            };
            let all = batch.records.len();
            match step {
                Step::Take => self.place.take(self.incarnation, &batch, all),
                Step::TakeFirst(count) => self.place.take(self.incarnation, &batch, count),
                Step::Fail(cause) => Delivery::Again(Trouble::new(cause, "failed as told")),
                Step::LoseReply => {
                    self.place.take(self.incarnation, &batch, all);
                    Delivery::Reopen(Trouble::new(Cause::Away, "the reply was lost"))
                }
                Step::Hang => {
                    let mut released = self.place.is_released.subscribe();
                    // The sender lives in `self`.
                    drop(released.wait_for(|is_released| *is_released).await);
                    self.place.take(self.incarnation, &batch, all)
                }
            }
        }
        .boxed()
    }
}
