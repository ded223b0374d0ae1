//! The one thread that appends: a closed loop, at most `window` records under way.
//!
//! Holds: a record is under way from its append until this thread has seen that it is durable; one
//! that failed ends the run. A latency is that whole time. Why no runtime: a task's wake-up would be
//! measured with the log.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use hdrhistogram::Histogram;

/// The length of a record's payload.
pub(crate) const RECORD_BYTES: usize = 300;

/// Appended in one go before the clock and the acknowledgements are looked at again.
const BURST_MAX: u64 = 32;

/// The log is purged each time so many records are durable: 128 MiB of payload.
const PURGE_EVERY: u64 = (128 << 20) / RECORD_BYTES as u64;

/// A log that is measured.
pub(crate) trait Log {
    /// Takes one record; `acks` are told once, when it is durable, in the order of the calls.
    fn append(&mut self, index: u64, payload: Bytes, acks: &Arc<Acks>) -> Result<()>;

    /// Takes records that gathered, from `first` on, as raft hands them over: in one call where the
    /// log has one.
    fn append_many(&mut self, first: u64, payloads: Vec<Bytes>, acks: &Arc<Acks>) -> Result<()> {
        for (index, payload) in (first..).zip(payloads) {
            self.append(index, payload, acks)?;
        }
        Ok(())
    }

    /// Records up to this one are not needed any more.
    fn purge(&mut self, upto: u64) -> Result<()>;

    /// What it says it has done since it was opened.
    fn work(&self) -> Result<Work>;
}

/// What a log counts itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Syncs: one a batch.
    pub(crate) syncs: u64,
    /// Bytes in those batches, as written to the file.
    pub(crate) bytes: u64,
}

/// How many records are durable, told by the log's thread to the producer.
#[derive(Debug)]
pub(crate) struct Acks {
    durable: AtomicU64,
    /// The producer sleeps: only then is a wake-up worth a system call.
    is_asleep: AtomicBool,
    producer: Thread,
    failure: OnceLock<String>,
}

impl Acks {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            durable: AtomicU64::new(0),
            is_asleep: AtomicBool::new(false),
            producer: std::thread::current(),
            failure: OnceLock::new(),
        })
    }

    /// So many more records are durable, or are not.
    pub(crate) fn tell<E: std::fmt::Display>(&self, records: u64, result: Result<(), E>) {
        if let Err(error) = result {
            // The first failure is the one to tell; the others follow from it.
            drop(self.failure.set(error.to_string()));
        }
        self.durable.fetch_add(records, Ordering::SeqCst);
        if self.is_asleep.load(Ordering::SeqCst) && self.is_asleep.swap(false, Ordering::SeqCst) {
            self.producer.unpark();
        }
    }

    fn durable(&self) -> Result<u64> {
        let durable = self.durable.load(Ordering::SeqCst);
        match self.failure.get() {
            Some(failure) => bail!("a record was not made durable: {failure}"),
            None => Ok(durable),
        }
    }

    /// Sleeps until more than `seen` are durable.
    fn wait_beyond(&self, seen: u64) {
        loop {
            self.is_asleep.store(true, Ordering::SeqCst);
            if self.durable.load(Ordering::SeqCst) > seen {
                self.is_asleep.store(false, Ordering::SeqCst);
                return;
            }
            std::thread::park();
        }
    }
}

/// What the producer saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Durable records a second, after the warm-up.
    pub(crate) rate: f64,
    /// From append to acknowledgement, in nanoseconds, after the warm-up.
    pub(crate) latencies: Histogram<u64>,
    /// All durable records, the warm-up's too.
    pub(crate) records: u64,
}

/// One producer; it counts its records on from run to run, as a log does.
#[derive(Debug)]
pub(crate) struct Producer {
    next: u64,
    payloads: Vec<Bytes>,
}

impl Producer {
    pub(crate) fn new() -> Self {
        Self {
            next: 1,
            payloads: payloads(),
        }
    }

    /// Appends for `warm_up` and then for `duration`, and waits for what is under way at the end.
    pub(crate) fn run(
        &mut self,
        log: &mut dyn Log,
        window: u64,
        warm_up: Duration,
        duration: Duration,
    ) -> Result<Seen> {
        let acks = Acks::new();
        let first = self.next;
        let mut under_way = UnderWay::default();
        let mut latencies = Histogram::new(3)?;
        let mut purged = 0;
        let mut began = None;
        let start = Instant::now();
        let rate = loop {
            let durable = acks.durable()?;
            let now = Instant::now();
            let warm = began.is_some();
            under_way.settle(durable, |sent, count| {
                let nanos = u64::try_from(now.duration_since(sent).as_nanos())?;
                if warm {
                    latencies.record_n(nanos, count)?;
                }
                Ok(())
            })?;
            match began {
                None if now.duration_since(start) >= warm_up => began = Some((now, durable)),
                Some((at, before)) if now.duration_since(at) >= duration => {
                    break (durable - before) as f64 / now.duration_since(at).as_secs_f64();
                }
                None | Some(_) => {}
            }
            if durable - purged >= PURGE_EVERY {
                log.purge(first + durable - 1)?;
                purged = durable;
            }
            let room = window - under_way.count;
            if room == 0 {
                acks.wait_beyond(durable);
                continue;
            }
            let burst = room.min(BURST_MAX);
            under_way.push(now, burst);
            self.append(log, burst, &acks)?;
        };
        let records = self.next - first;
        let mut durable = acks.durable()?;
        while durable < records {
            acks.wait_beyond(durable);
            durable = acks.durable()?;
        }
        log.purge(self.next - 1)?;
        Ok(Seen {
            rate,
            latencies,
            records,
        })
    }

    fn append(&mut self, log: &mut dyn Log, burst: u64, acks: &Arc<Acks>) -> Result<()> {
        let first = self.next;
        self.next += burst;
        if burst == 1 {
            return log.append(first, self.payload(first)?, acks);
        }
        let payloads = (first..self.next).map(|index| self.payload(index));
        log.append_many(first, payloads.collect::<Result<_>>()?, acks)
    }

    fn payload(&self, index: u64) -> Result<Bytes> {
        let at = usize::try_from(index % self.payloads.len() as u64)?;
        Ok(self.payloads.get(at).cloned().unwrap_or_default())
    }
}

/// Records that are appended and not known to be durable, by the moment of their burst.
#[derive(Default)]
struct UnderWay {
    bursts: VecDeque<(Instant, u64)>,
    count: u64,
    settled: u64,
}

impl UnderWay {
    fn push(&mut self, sent: Instant, count: u64) {
        self.bursts.push_back((sent, count));
        self.count += count;
    }

    /// All up to the `durable`-th are done; `tell` is told when how many of them were sent.
    fn settle(
        &mut self,
        durable: u64,
        mut tell: impl FnMut(Instant, u64) -> Result<()>,
    ) -> Result<()> {
        let mut new = durable - self.settled;
        self.settled = durable;
        self.count -= new;
        while new > 0 {
            let Some((sent, left)) = self.bursts.front_mut() else {
                bail!("{new} more acknowledged than appended");
            };
            let done = new.min(*left);
            tell(*sent, done)?;
            new -= done;
            *left -= done;
            if *left == 0 {
                self.bursts.pop_front();
            }
        }
        Ok(())
    }
}

/// Records that no log can compress or tell from one another's pattern.
fn payloads() -> Vec<Bytes> {
    let mut dice: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut one = || {
        let bytes = std::iter::repeat_with(|| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice.to_le_bytes()
        });
        bytes.flatten().take(RECORD_BYTES).collect::<Vec<u8>>()
    };
    (0..256).map(|_| Bytes::from(one())).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

    use super::*;

    /// Makes records durable on a thread of its own: each when the next one has come, the last one
    /// when none comes any more. So there is always one under way when the time is over.
    struct Fake {
        inbox: SyncSender<Arc<Acks>>,
        appended: u64,
        durable: Arc<AtomicU64>,
        /// The most that were under way at once.
        most: Arc<AtomicU64>,
        purged: u64,
    }

    impl Fake {
        fn new(fails_at: u64) -> Self {
            let (inbox, outbox) = sync_channel(10_000);
            let (durable, most) = (Arc::default(), Arc::default());
            let (counts, seen) = (Arc::clone(&durable), Arc::clone(&most));
            std::thread::spawn(move || serve(&outbox, fails_at, &counts, &seen));
            Self {
                inbox,
                appended: 0,
                durable,
                most,
                purged: 0,
            }
        }
    }

    fn serve(outbox: &Receiver<Arc<Acks>>, fails_at: u64, durable: &AtomicU64, most: &AtomicU64) {
        let mut held: Option<Arc<Acks>> = None;
        let tell = |acks: &Acks, records| {
            let durable = durable.fetch_add(records, Ordering::SeqCst) + records;
            let result = (durable < fails_at).then_some(()).ok_or("broken");
            acks.tell(records, result);
        };
        loop {
            let next = outbox.recv_timeout(Duration::from_millis(1));
            if matches!(next, Err(RecvTimeoutError::Disconnected)) {
                return;
            }
            let come = next.iter().count() as u64 + outbox.try_iter().count() as u64;
            let waiting = come + u64::from(held.is_some());
            most.fetch_max(waiting, Ordering::SeqCst);
            match (next, held.take()) {
                (Ok(acks), _) => {
                    tell(&acks, waiting - 1);
                    held = Some(acks);
                }
                (Err(_), Some(acks)) => tell(&acks, 1),
                (Err(_), None) => {}
            }
        }
    }

    impl Log for Fake {
        fn append(&mut self, index: u64, payload: Bytes, acks: &Arc<Acks>) -> Result<()> {
            self.appended += 1;
            assert_eq!(self.appended, index);
            assert_eq!(RECORD_BYTES, payload.len());
            Ok(self.inbox.send(Arc::clone(acks))?)
        }

        fn purge(&mut self, upto: u64) -> Result<()> {
            let durable = self.durable.load(Ordering::SeqCst);
            assert!(upto <= durable, "{upto} is purged before it is durable");
            self.purged = upto;
            Ok(())
        }

        fn work(&self) -> Result<Work> {
            Ok(Work::default())
        }
    }

    const SOON: Duration = Duration::from_millis(20);

    #[test]
    fn no_more_than_the_window_is_under_way_and_all_of_it_is_waited_for() {
        for window in [1, 64] {
            let mut log = Fake::new(u64::MAX);
            let mut producer = Producer::new();
            for _ in 0..2 {
                let seen = producer.run(&mut log, window, SOON, SOON).unwrap();
                assert!(0.0 < seen.rate && !seen.latencies.is_empty());
                assert!(
                    seen.latencies.len() < seen.records,
                    "the warm-up is left out"
                );
                assert_eq!(log.appended, log.purged);
            }
            assert!(log.most.load(Ordering::SeqCst) <= window);
        }
    }

    #[test]
    fn a_record_that_is_not_durable_ends_the_run() {
        let run = Producer::new().run(&mut Fake::new(100), 64, SOON, SOON);
        let error = run.unwrap_err().to_string();
        assert_eq!("a record was not made durable: broken", error);
    }

    #[test]
    fn a_latency_belongs_to_the_burst_it_was_sent_in() {
        let (early, late) = (Instant::now(), Instant::now() + SOON);
        let mut under_way = UnderWay::default();
        under_way.push(early, 3);
        under_way.push(late, 2);
        let mut told = Vec::new();
        let mut tell = |sent, count| {
            told.push((sent, count));
            Ok(())
        };
        under_way.settle(1, &mut tell).unwrap();
        under_way.settle(4, &mut tell).unwrap();
        assert_eq!(vec![(early, 1), (early, 2), (late, 1)], told);
        assert_eq!(1, under_way.count);
    }

    #[test]
    fn records_differ_and_have_no_pattern() {
        let payloads = payloads();
        let distinct: std::collections::HashSet<_> = payloads.iter().collect();
        assert_eq!(256, distinct.len());
    }
}
