//! The clients: one loop for each connection, whatever protocol it speaks.
//!
//! Holds: a connection has at most `window` submissions that were sent and not yet acknowledged; an
//! answer that is not an acknowledgement ends the run. What was acknowledged counts, and is timed,
//! only within the measured time; what is under way at its end is still waited for. Why one thread
//! and no client libraries: servers and clients share the machine, so a client must cost as little as
//! it can, and each peer shall have its best figures.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::document::Document;

/// What is under way at the end must be answered within this.
const PATIENCE: Duration = Duration::from_secs(20);
const READ_BYTES: usize = 64 << 10;

/// One connection's protocol: submissions to bytes, bytes to acknowledgements.
pub(crate) trait Wire: Send {
    /// Appends one submission; those of a connection are numbered from 0.
    fn submit(&mut self, number: u64, document: &[u8], out: &mut Vec<u8>);

    /// Nothing more can be sent just now: the end of a batch.
    fn close(&mut self, _out: &mut Vec<u8>) {}

    /// Takes the whole answers at the front of `bytes` and tells how long they were. What the
    /// protocol wants said in return goes to `out`.
    fn answers(&mut self, bytes: &[u8], waiting: &mut Waiting, out: &mut Vec<u8>) -> Result<usize>;

    /// Begins a batch only when the one before is answered whole.
    fn is_batched(&self) -> bool {
        false
    }

    /// Submissions that the server would take now.
    fn room(&self) -> usize {
        usize::MAX
    }
}

/// A connection on which the first submission can be sent.
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    /// What was said since the greeting.
    pub(crate) unread: Vec<u8>,
    pub(crate) wire: Box<dyn Wire>,
}

/// When to count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) from: Instant,
    pub(crate) until: Instant,
}

/// What was acknowledged within the measured time; latencies in microseconds.
pub(crate) type Latencies = Histogram<u64>;

/// Submissions of one connection that were sent and not yet acknowledged.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// The number of the front one.
    first: u64,
    /// When each was sent; empty once acknowledged.
    sent: VecDeque<Option<Instant>>,
    open: usize,
    /// When those that are settled now were acknowledged, and how long each had taken.
    now: Instant,
    settled: Vec<Duration>,
}

impl Waiting {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            first: 0,
            sent: VecDeque::new(),
            open: 0,
            now,
            settled: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, now: Instant) -> u64 {
        self.sent.push_back(Some(now));
        self.open += 1;
        self.first + self.sent.len() as u64 - 1
    }

    pub(crate) fn len(&self) -> usize {
        self.open
    }

    /// The submission of this number is acknowledged.
    pub(crate) fn settle(&mut self, number: u64) -> Result<()> {
        let at = number.checked_sub(self.first);
        let slot = at.and_then(|at| self.sent.get_mut(usize::try_from(at).ok()?));
        let sent = slot.and_then(Option::take);
        let sent = sent.with_context(|| format!("{number} was acknowledged out of turn"))?;
        self.settled.push(self.now.saturating_duration_since(sent));
        self.open -= 1;
        while let Some(None) = self.sent.front() {
            self.sent.pop_front();
            self.first += 1;
        }
        Ok(())
    }

    /// So are the `count` oldest ones.
    pub(crate) fn settle_oldest(&mut self, count: usize) -> Result<()> {
        (0..count).try_for_each(|_| self.settle(self.first))
    }

    /// So are all up to and with this number.
    pub(crate) fn settle_through(&mut self, number: u64) -> Result<()> {
        ensure!(
            self.first <= number,
            "{number} was acknowledged out of turn"
        );
        while self.first <= number {
            self.settle(self.first)?;
        }
        Ok(())
    }
}

/// Drives all `links` by `plan`; each gets submissions of its own.
pub(crate) async fn run(links: Vec<Link>, window: usize, plan: Plan) -> Result<Latencies> {
    let latencies = Arc::new(Mutex::new(Histogram::new(3)?));
    let mut clients = JoinSet::new();
    for (nth, link) in links.into_iter().enumerate() {
        let client = Client {
            link,
            window,
            document: Document::of_client(nth),
            waiting: Waiting::new(Instant::now()),
            out: Vec::new(),
        };
        clients.spawn(client.drive(plan, Arc::clone(&latencies)));
    }
    let all = async {
        while let Some(client) = clients.join_next().await {
            client??;
        }
        anyhow::Ok(())
    };
    let left = plan.until.saturating_duration_since(Instant::now()) + PATIENCE;
    let ended = tokio::time::timeout(left, all).await;
    ended.context("answers are missing long after the last submission")??;
    drop(clients);
    let latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(latencies.clone())
}

/// One connection at work.
struct Client {
    link: Link,
    window: usize,
    document: Document,
    waiting: Waiting,
    /// To be sent.
    out: Vec<u8>,
}

impl Client {
    async fn drive(mut self, plan: Plan, latencies: Arc<Mutex<Latencies>>) -> Result<()> {
        let mut unread = std::mem::take(&mut self.link.unread);
        unread.reserve(READ_BYTES);
        loop {
            let now = Instant::now();
            if now < plan.until {
                self.submit(now);
            } else if self.waiting.len() == 0 {
                return Ok(());
            }
            if !self.out.is_empty() {
                self.link.stream.write_all(&self.out).await?;
                self.out.clear();
            }
            let read = self.link.stream.read_buf(&mut unread).await?;
            ensure!(read > 0, "the server closed a connection");
            self.waiting.now = Instant::now();
            let wire = &mut self.link.wire;
            let taken = wire.answers(&unread, &mut self.waiting, &mut self.out)?;
            unread.drain(..taken);
            let is_counted = plan.from <= self.waiting.now && self.waiting.now < plan.until;
            let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
            for took in self.waiting.settled.drain(..) {
                if is_counted {
                    latencies.record(u64::try_from(took.as_micros())?)?;
                }
            }
        }
    }

    /// As many as may be under way.
    fn submit(&mut self, now: Instant) {
        let wire = &mut self.link.wire;
        if wire.is_batched() && self.waiting.len() > 0 {
            return;
        }
        let mut is_any = false;
        while self.waiting.len() < self.window && wire.room() > 0 {
            let number = self.waiting.push(now);
            wire.submit(number, self.document.numbered(number), &mut self.out);
            is_any = true;
        }
        if is_any {
            wire.close(&mut self.out);
        }
    }
}

impl Link {
    pub(crate) fn new(stream: TcpStream, wire: impl Wire + 'static) -> Self {
        Self {
            stream,
            unread: Vec::new(),
            wire: Box::new(wire),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(count: usize) -> Waiting {
        let mut waiting = Waiting::new(Instant::now());
        for number in 0..count {
            assert_eq!(number as u64, waiting.push(Instant::now()));
        }
        waiting
    }

    #[test]
    fn acknowledgements_may_come_in_any_order_and_once() {
        let mut waiting = waiting(4);
        waiting.settle(2).unwrap();
        assert_eq!(3, waiting.len());
        assert!(waiting.settle(2).is_err(), "twice");
        assert!(waiting.settle(4).is_err(), "never sent");
        waiting.settle_through(1).unwrap();
        assert_eq!(1, waiting.len());
        assert_eq!(3, waiting.first);
        assert!(waiting.settle(0).is_err(), "twice, long ago");
        assert_eq!(4, waiting.push(Instant::now()));
        waiting.settle_oldest(2).unwrap();
        assert_eq!((0, 5), (waiting.len(), waiting.settled.len()));
        assert!(waiting.settle_oldest(1).is_err());
    }

    #[test]
    fn settling_through_skips_what_is_settled() {
        let mut waiting = waiting(5);
        waiting.settle(1).unwrap();
        waiting.settle_through(3).unwrap();
        assert_eq!((1, 4), (waiting.len(), waiting.settled.len()));
        assert!(waiting.settle_through(3).is_err());
    }
}
