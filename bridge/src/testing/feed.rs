//! A queue in a vector.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::record;
use crate::error::FeedError;
use crate::feed::{Behind, Feed, Held, Limit, Standing};
use crate::record::{Lane, Parked, Position, Record};

/// A queue in memory. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct VecFeed {
    inner: Arc<Mutex<Inner>>,
    pushed: watch::Sender<u64>,
    lease: watch::Sender<Option<u64>>,
}

#[derive(Debug, Default)]
struct Inner {
    forms: BTreeMap<String, Vec<Record>>,
    fields: BTreeMap<String, Arc<[String]>>,
    index: u64,
    /// How often it lost its tail: what comes after has other ids.
    losses: u64,
    cursors: BTreeMap<Lane, Position>,
    starts: BTreeMap<Lane, Position>,
    sendings: BTreeMap<Lane, Position>,
    /// The life of each task that is not 1.
    incarnations: BTreeMap<String, u64>,
    /// Each with the life that parked it.
    parked: BTreeMap<Lane, Vec<(u64, Parked)>>,
    /// What comes once more.
    again: Vec<Record>,
    /// Calls that fail, one each.
    read_troubles: Vec<FeedError>,
    advance_troubles: Vec<FeedError>,
    send_troubles: Vec<FeedError>,
    loses_advance: bool,
    /// Whether `behind` fails.
    is_unread: bool,
    reads: u64,
    forgotten: u64,
}

impl Default for VecFeed {
    fn default() -> Self {
        Self {
            inner: Arc::default(),
            pushed: watch::Sender::new(0),
            lease: watch::Sender::new(Some(1)),
        }
    }
}

impl VecFeed {
    /// An empty queue whose lease is held in term 1.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts one more record of `form`.
    pub fn push(&self, form: &str, body: &str) -> Record {
        let mut inner = self.lock();
        inner.index += 1;
        let (index, losses) = (inner.index, inner.losses);
        let records = inner.forms.entry(form.to_owned()).or_default();
        let seq = u64::try_from(records.len()).unwrap_or(u64::MAX) + 1;
        let record = Record {
            position: Position { index, slot: 0 },
            id: format!("{losses:08}-0000-7000-8000-{seq:012}"),
            ..record(form, seq, body)
        };
        records.push(record.clone());
        drop(inner);
        self.pushed.send_modify(|pushed| *pushed += 1);
        record
    }

    /// Forgets what was accepted after entry `index`, as a log does that was not synced; the next
    /// record stands right behind it.
    pub fn lose_after(&self, index: u64) {
        let mut inner = self.lock();
        inner.losses += 1;
        inner.index = index;
        for records in inner.forms.values_mut() {
            records.retain(|record| record.position.index <= index);
        }
    }

    /// Lets all up to entry `index` go.
    pub fn forget_upto(&self, index: u64) {
        let mut inner = self.lock();
        inner.forgotten = index;
        for records in inner.forms.values_mut() {
            records.retain(|record| index < record.position.index);
        }
    }

    /// Gives `form` these fields.
    pub fn set_fields(&self, form: &str, fields: &[&str]) {
        let fields = fields.iter().map(|&field| field.to_owned()).collect();
        self.lock().fields.insert(form.to_owned(), fields);
    }

    /// Gives the lease of a term, or takes it away.
    pub fn set_lease(&self, term: Option<u64>) {
        self.lease.send_replace(term);
    }

    /// Begins another life of a task: what the older ones still say is fenced.
    pub fn set_incarnation(&self, task: &str, incarnation: u64) {
        self.lock()
            .incarnations
            .insert(task.to_owned(), incarnation);
    }

    /// Sets the replicated cursor, as if all up to it had been delivered.
    pub fn set_cursor(&self, lane: &Lane, position: Position) {
        self.lock().cursors.insert(lane.clone(), position);
    }

    /// Lets the lane's present life begin behind `position`, as a seek does.
    pub fn set_start(&self, lane: &Lane, position: Position) {
        let mut inner = self.lock();
        inner.starts.insert(lane.clone(), position);
        inner.cursors.insert(lane.clone(), position);
    }

    /// The send that was begun and not answered.
    pub fn sending(&self, lane: &Lane) -> Option<Position> {
        self.lock().sendings.get(lane).copied()
    }

    /// Where the replicated cursor stands.
    pub fn cursor_of(&self, lane: &Lane) -> Position {
        self.lock().cursors.get(lane).copied().unwrap_or_default()
    }

    /// What was parked, in the order of parking.
    pub fn parked(&self, lane: &Lane) -> Vec<Parked> {
        let inner = self.lock();
        let parked = inner.parked.get(lane).into_iter().flatten();
        parked.map(|(_, parked)| parked.clone()).collect()
    }

    /// Lets the record that is parked at `position` come once more.
    pub fn unpark(&self, lane: &Lane, position: Position) {
        let mut inner = self.lock();
        inner.index += 1;
        let index = inner.index;
        let parked = inner.parked.entry(lane.clone()).or_default();
        if let Some(at) = parked
            .iter()
            .position(|(_, parked)| parked.record.position == position)
        {
            let (_, Parked { record, .. }) = parked.remove(at);
            inner.again.push(Record {
                position: Position { index, slot: 0 },
                is_replay: true,
                ..record
            });
        }
        drop(inner);
        self.pushed.send_modify(|pushed| *pushed += 1);
    }

    /// Lets one more read fail.
    pub fn fail_read(&self, error: FeedError) {
        self.lock().read_troubles.push(error);
    }

    /// Nobody can be told what is behind, until it is set back.
    pub fn set_unread(&self, is_unread: bool) {
        self.lock().is_unread = is_unread;
    }

    /// Lets one more advance fail.
    pub fn fail_advance(&self, error: FeedError) {
        self.lock().advance_troubles.push(error);
    }

    /// The next move of a cursor is made, and nobody hears of it.
    pub fn lose_advance(&self) {
        self.lock().loses_advance = true;
    }

    /// Lets one more announcement of a send fail.
    pub fn fail_send(&self, error: FeedError) {
        self.lock().send_troubles.push(error);
    }

    /// How often it was read.
    pub fn reads(&self) -> u64 {
        self.lock().reads
    }

    fn after(inner: &Inner, lane: &Lane, after: Position) -> impl Iterator<Item = Record> {
        let forms = inner.forms.iter();
        let covered =
            forms.filter(|(form, _)| lane.form.as_ref().is_none_or(|one| **one == ***form));
        let mut found: Vec<Record> = covered
            .flat_map(|(_, records)| {
                let from = records.partition_point(|record| record.position <= after);
                records.get(from..).unwrap_or_default().to_vec()
            })
            .collect();
        let again = Self::again(inner, lane, after);
        found.extend(again.cloned());
        found.sort_by_key(|record| record.position);
        found.into_iter()
    }

    fn again<'a>(
        inner: &'a Inner,
        lane: &'a Lane,
        after: Position,
    ) -> impl Iterator<Item = &'a Record> {
        let again = inner.again.iter();
        again.filter(move |record| {
            let is_covered = lane.form.as_ref().is_none_or(|form| *form == record.form);
            is_covered && after < record.position
        })
    }

    fn check(inner: &Inner, lane: &Lane, incarnation: u64) -> Result<(), FeedError> {
        let present = inner.incarnations.get(&*lane.task).copied().unwrap_or(1);
        if present == incarnation {
            Ok(())
        } else {
            Err(FeedError::Fenced)
        }
    }
}

impl Feed for VecFeed {
    fn read<'a>(
        &'a self,
        lane: &'a Lane,
        after: Position,
        limit: Limit,
    ) -> BoxFuture<'a, Result<Vec<Record>, FeedError>> {
        async move {
            let mut inner = self.lock();
            inner.reads += 1;
            if let Some(error) = inner.read_troubles.pop() {
                return Err(error);
            }
            let mut records: Vec<Record> = Vec::new();
            let mut bytes = 0;
            for record in Self::after(&inner, lane, after).take(limit.count_max) {
                bytes += record.body.len();
                if bytes > limit.bytes_max && !records.is_empty() {
                    break;
                }
                records.push(record);
            }
            Ok(records)
        }
        .boxed()
    }

    fn wait<'a>(&'a self, lane: &'a Lane, after: Position) -> BoxFuture<'a, ()> {
        async move {
            let mut pushed = self.pushed.subscribe();
            loop {
                pushed.borrow_and_update();
                if Self::after(&self.lock(), lane, after).next().is_some() {
                    return;
                }
                // The sender lives in `self`.
                drop(pushed.changed().await);
            }
        }
        .boxed()
    }

    fn forgotten_upto(&self) -> Result<u64, FeedError> {
        Ok(self.lock().forgotten)
    }

    fn applied_upto(&self) -> u64 {
        self.lock().index
    }

    fn standing<'a>(&'a self, lane: &'a Lane) -> BoxFuture<'a, Result<Standing, FeedError>> {
        async move {
            let inner = self.lock();
            Ok(Standing {
                start: inner.starts.get(lane).copied().unwrap_or_default(),
                position: inner.cursors.get(lane).copied().unwrap_or_default(),
                sending: inner.sendings.get(lane).copied(),
            })
        }
        .boxed()
    }

    fn behind<'a>(
        &'a self,
        lane: &'a Lane,
        after: Position,
    ) -> BoxFuture<'a, Result<Behind, FeedError>> {
        async move {
            let inner = self.lock();
            if inner.is_unread {
                return Err(FeedError::Again("the log cannot be read".to_owned()));
            }
            let mut behind = Behind {
                bytes: Some(0),
                ..Behind::default()
            };
            for record in Self::after(&inner, lane, after) {
                behind.records += 1;
                let bytes = u64::try_from(record.body.len()).unwrap_or(u64::MAX);
                behind.bytes = behind.bytes.map(|sum| sum + bytes);
                behind
                    .oldest_received_at_ms
                    .get_or_insert(record.received_at_ms);
            }
            let records = Self::after(&inner, lane, Position::default()).count();
            behind.head_seq = u64::try_from(records).unwrap_or(u64::MAX);
            Ok(behind)
        }
        .boxed()
    }

    fn advance<'a>(
        &'a self,
        lane: &'a Lane,
        incarnation: u64,
        from: Position,
        to: Position,
    ) -> BoxFuture<'a, Result<(), FeedError>> {
        async move {
            let mut inner = self.lock();
            if let Some(error) = inner.advance_troubles.pop() {
                return Err(error);
            }
            Self::check(&inner, lane, incarnation)?;
            let is_lost = std::mem::take(&mut inner.loses_advance);
            let cursor = inner.cursors.entry(lane.clone()).or_default();
            if *cursor == to {
                return Err(FeedError::Fenced);
            }
            assert!(
                *cursor == from && from < to,
                "{lane}: {from} -> {to}, but it is at {cursor}"
            );
            *cursor = to;
            inner.sendings.remove(lane);
            if is_lost {
                return Err(FeedError::Again("the answer was lost".to_owned()));
            }
            Ok(())
        }
        .boxed()
    }

    fn send_started<'a>(
        &'a self,
        lane: &'a Lane,
        incarnation: u64,
        from: Position,
        to: Position,
    ) -> BoxFuture<'a, Result<(), FeedError>> {
        async move {
            let mut inner = self.lock();
            if let Some(error) = inner.send_troubles.pop() {
                return Err(error);
            }
            Self::check(&inner, lane, incarnation)?;
            let cursor = inner.cursors.get(lane).copied().unwrap_or_default();
            assert!(
                cursor == from && from < to,
                "{lane}: {from} -> {to}, at {cursor}"
            );
            inner.sendings.insert(lane.clone(), to);
            Ok(())
        }
        .boxed()
    }

    fn park<'a>(
        &'a self,
        lane: &'a Lane,
        incarnation: u64,
        parked: Parked,
    ) -> BoxFuture<'a, Result<(), FeedError>> {
        async move {
            let mut inner = self.lock();
            Self::check(&inner, lane, incarnation)?;
            let there = inner.parked.entry(lane.clone()).or_default();
            let is_there = there
                .iter()
                .any(|(_, old)| old.record.position == parked.record.position);
            if !is_there {
                there.push((incarnation, parked));
            }
            Ok(())
        }
        .boxed()
    }

    fn parked_within(
        &self,
        lane: &Lane,
        incarnation: u64,
        after: Position,
        upto: Position,
    ) -> Result<Vec<Position>, FeedError> {
        let inner = self.lock();
        let parked = inner.parked.get(lane).into_iter().flatten();
        let within = parked.filter(|(life, parked)| {
            let at = parked.record.position;
            *life == incarnation && after < at && at <= upto
        });
        Ok(within.map(|(_, parked)| parked.record.position).collect())
    }

    fn held(&self, lane: &Lane, incarnation: u64, after: Position) -> Result<Vec<Held>, FeedError> {
        let inner = self.lock();
        let parked = inner.parked.get(lane).into_iter().flatten();
        let parked = parked.filter(|(life, _)| *life == incarnation);
        let held = |record: &Record, until| Held {
            form: Arc::clone(&record.form),
            seq: record.seq,
            until,
        };
        let parked = parked.map(|(_, parked)| held(&parked.record, None));
        let again = Self::again(&inner, lane, after);
        let again = again.map(|record| held(record, Some(record.position)));
        Ok(parked.chain(again).collect())
    }

    fn fields(&self, form: &str) -> Arc<[String]> {
        self.lock()
            .fields
            .get(form)
            .cloned()
            .unwrap_or_else(|| Arc::from([]))
    }

    fn lease(&self) -> watch::Receiver<Option<u64>> {
        self.lease.subscribe()
    }
}
