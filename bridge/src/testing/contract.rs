//! The suite that every exactly-once sink passes: [`crate::Sink`]'s contract, in code.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::record;
use crate::error::SinkError;
use crate::record::{Position, Record};
use crate::sink::{Batch, Cursor, Delivery, Opening, Sink};

/// Failures in a row after which the suite gives a destination up.
const FAILURES_MAX: u32 = 100;

/// A destination that the suite can look into.
pub trait Destination: Sync {
    /// A new sink that leads there, in this life of the task.
    fn sink(&self, incarnation: u64) -> Box<dyn Sink>;
    /// Seqs and ids of the rows that are there for the present life, in order.
    fn rows(&self) -> BoxFuture<'_, Vec<(u64, String)>>;
}

/// Opens `sink` and delivers what of `records` it lacks, `size` at a time, as a pump would.
/// Returns the cursor that it opened with at first.
///
/// # Panics
/// If it does not get through.
pub async fn drive(sink: &mut dyn Sink, records: &[Record], size: usize) -> Option<Cursor> {
    let mut failures = 0;
    let mut opened_with = None;
    let mut at: Option<Position> = None;
    loop {
        assert!(
            failures <= FAILURES_MAX,
            "the destination never takes what comes after {at:?}"
        );
        let Some(after) = at else {
            match sink.open(Opening::default()).await {
                Ok(cursor) => {
                    opened_with.get_or_insert(cursor.clone());
                    at = Some(cursor.map(|cursor| cursor.position).unwrap_or_default());
                }
                Err(SinkError::Again(_)) => failures += 1,
                Err(SinkError::Stop(why)) => panic!("the sink stopped: {why}"),
            }
            continue;
        };
        let batch: Vec<Record> = records
            .iter()
            .filter(|record| after < record.position)
            .take(size)
            .cloned()
            .collect();
        if batch.is_empty() {
            return opened_with.flatten();
        }
        let batch = Arc::new(Batch::new(batch, Arc::from(["n".to_owned()])));
        match sink.deliver(batch).await {
            Delivery::Taken { upto } => {
                assert!(after < upto, "a delivery moves the cursor forward");
                failures = 0;
                at = Some(upto);
            }
            Delivery::Again(_) => failures += 1,
            Delivery::Reopen(_) => {
                failures += 1;
                at = None;
            }
            Delivery::Never { why, .. } => panic!("the suite's records are all good: {why}"),
        }
    }
}

fn records(count: u64) -> Vec<Record> {
    (1..=count)
        .map(|seq| record("f", seq, &format!("{{\"n\":{seq}}}")))
        .collect()
}

fn expected(records: &[Record]) -> Vec<(u64, String)> {
    records
        .iter()
        .map(|record| (record.seq, record.id.clone()))
        .collect()
}

/// What a local destination does whose rows the log lost.
async fn begin_anew(sink: &mut dyn Sink, destination: &dyn Destination, records: &[Record]) {
    let opened = sink.open(Opening::default()).await;
    assert!(
        matches!(&opened, Ok(Some(cursor)) if cursor.id.is_some()),
        "a local destination keeps the id, but it opened: {opened:?}"
    );
    let begun = sink.begin_anew("the suite says so".to_owned()).await;
    assert_eq!(begun, Ok(()), "it begins anew");
    let opened = drive(sink, records, 1000).await;
    assert_eq!(opened, None, "what begins anew has no cursor");
    assert_eq!(
        destination.rows().await,
        expected(records),
        "nothing of before stands there"
    );
}

/// Runs the suite on a destination that is new.
///
/// # Panics
/// At the first promise that it breaks.
pub async fn contract(destination: &dyn Destination) {
    let all = records(120);
    let (first, _) = all.split_at(25);

    let opened = drive(&mut *destination.sink(5), first, 1).await;
    assert_eq!(opened, None, "a new destination has no cursor");
    assert_eq!(
        destination.rows().await,
        expected(first),
        "each record once, in order"
    );

    let opened = drive(&mut *destination.sink(5), &all, 7).await;
    let last = first.last();
    let (cursor, id) = opened
        .map(|cursor| ((cursor.incarnation, cursor.position), cursor.id))
        .unzip();
    assert_eq!(
        cursor,
        last.map(|last| (5, last.position)),
        "the cursor is kept with the data"
    );
    let id = id.flatten();
    assert!(
        id.is_none() || id.as_ref() == last.map(|last| &last.id),
        "an id that it keeps is the last record's, not {id:?}"
    );
    assert_eq!(
        destination.rows().await,
        expected(&all),
        "a new sink goes on where the last was"
    );

    let opened = drive(&mut *destination.sink(5), &all, 1000).await;
    assert!(opened.is_some(), "the cursor stays");
    assert_eq!(
        destination.rows().await,
        expected(&all),
        "what is there does not come again"
    );

    let mut sink = destination.sink(5);
    if sink.is_local() {
        begin_anew(&mut *sink, destination, first).await;
    }
    drop(sink);

    let (replayed, _) = all.split_at(40);
    let opened = drive(&mut *destination.sink(6), replayed, 1000).await;
    assert_eq!(opened, None, "a later life begins anew");
    assert_eq!(
        destination.rows().await,
        expected(replayed),
        "a later life has its own rows"
    );

    let fenced = destination.sink(5).open(Opening::default()).await;
    assert!(
        matches!(fenced, Err(SinkError::Stop(_))),
        "an earlier life is fenced, but it opened: {fenced:?}"
    );
    assert_eq!(
        destination.rows().await,
        expected(replayed),
        "an earlier life changes nothing"
    );
}
