//! Gates: what stands between the product and each broker, passes everything on, and can catch a
//! request or a reply of a transaction at the very moment that a fault needs.
//!
//! ```text
//!   product ──► gate ──► broker       a trap holds what fits its bait, until it is
//!           ◄──      ◄──              let go (goes on), dropped, or the trap itself is
//! ```
//! Holds: frames are passed whole and unchanged, in order on each connection. What is held back is
//! sent also when the product has closed that connection meanwhile, as by a slow network: the
//! broker's side stays open until it has answered. A dropped frame ends its connection.
//! Why: a signal sent at a random moment seldom falls between a commit and its reply. Here the
//! moment is seen, so a run that did not hit it can say so.

mod pass;
mod wire;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(crate) use wire::{Api, Request};

/// One before each broker. Dropped, all connections end.
#[derive(Debug)]
pub(crate) struct Gates {
    board: Arc<Board>,
    addresses: Vec<SocketAddr>,
    _doors: JoinSet<()>,
}

/// What the traps are, for all connections.
#[derive(Debug, Default)]
struct Board {
    traps: Mutex<Vec<Arc<Caught>>>,
    /// By transactional id.
    transactions: Mutex<HashMap<String, Transaction>>,
}

/// The last transaction of an id, as far as it went by.
#[derive(Clone, Copy, Debug, Default)]
struct Transaction {
    has_records: bool,
    is_ended: bool,
}

/// Which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Request,
    Reply,
}

/// What a trap takes.
#[derive(Clone, Debug)]
pub(crate) struct Bait {
    pub(crate) way: Way,
    pub(crate) api: Api,
    /// The transactional id.
    pub(crate) id: String,
    /// So many that fit are passed on first.
    pub(crate) skip: u32,
    /// So many are taken, one behind the other.
    pub(crate) take: u32,
    /// Only seen: passed on at once.
    pub(crate) is_seen_only: bool,
    /// Also a transaction that holds nothing but the product's cursor.
    pub(crate) is_any: bool,
}

impl Bait {
    /// The first that fits, of a transaction with records. An `EndTxn` must commit.
    pub(crate) fn first(way: Way, api: Api, id: &str) -> Self {
        Self {
            way,
            api,
            id: id.to_owned(),
            skip: 0,
            take: 1,
            is_seen_only: false,
            is_any: false,
        }
    }

    /// A producer of that name has begun anew: what the one before left open is aborted. Only seen.
    pub(crate) fn successor(id: &str) -> Self {
        Self::first(Way::Reply, Api::InitProducerId, id).seen_only()
    }

    pub(crate) fn any(self) -> Self {
        Self {
            is_any: true,
            ..self
        }
    }

    pub(crate) fn behind(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    pub(crate) fn every(self) -> Self {
        Self {
            take: u32::MAX,
            ..self
        }
    }

    pub(crate) fn seen_only(self) -> Self {
        Self {
            is_seen_only: true,
            ..self
        }
    }

    fn fits(&self, way: Way, request: &Request) -> bool {
        self.way == way
            && self.api == request.api
            && request.id.as_deref() == Some(self.id.as_str())
            && (request.api != Api::EndTxn || request.is_commit)
            && (self.is_any || request.api == Api::InitProducerId || request.has_records)
    }
}

/// What happens to the frames in a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Hold,
    /// Held on; the product's side of the connection ends.
    Cut,
    Pass,
    Drop,
}

/// A trap's state, shared with the connections.
#[derive(Debug)]
struct Caught {
    bait: Mutex<Bait>,
    /// How many are or were in it.
    count: watch::Sender<u32>,
    fate: watch::Sender<Fate>,
    /// The error code of the first answer to an `EndTxn` that was in it.
    answer: watch::Sender<Option<i16>>,
}

/// Set by a tester. Dropped, it lets go what it holds and takes nothing any more.
#[derive(Debug)]
pub(crate) struct Trap {
    board: Arc<Board>,
    caught: Arc<Caught>,
}

impl Gates {
    /// One before each of `brokers`, on `host`; answers where they listen, in that order.
    pub(crate) async fn open(host: Ipv4Addr, brokers: &[SocketAddr]) -> anyhow::Result<Self> {
        let board = Arc::<Board>::default();
        let (mut addresses, mut doors) = (Vec::new(), JoinSet::new());
        for broker in brokers {
            let listener = TcpListener::bind((host, 0)).await;
            let listener = listener.context("no port for a gate")?;
            addresses.push(listener.local_addr()?);
            doors.spawn(pass::serve(listener, *broker, Arc::clone(&board)));
        }
        Ok(Self {
            board,
            addresses,
            _doors: doors,
        })
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What the product is told.
    pub(crate) fn bootstrap(&self) -> String {
        let addresses = self.addresses.iter().map(SocketAddr::to_string);
        addresses.collect::<Vec<_>>().join(",")
    }

    pub(crate) fn set(&self, bait: Bait) -> Trap {
        let caught = Arc::new(Caught {
            bait: Mutex::new(bait),
            count: watch::Sender::new(0),
            fate: watch::Sender::new(Fate::Hold),
            answer: watch::Sender::new(None),
        });
        self.board.lock().push(Arc::clone(&caught));
        Trap {
            board: Arc::clone(&self.board),
            caught,
        }
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Caught>>> {
        self.traps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps account of what its transaction holds, and notes it there.
    fn follow(&self, request: &mut Request) {
        let Some(id) = &request.id else { return };
        let all = self.transactions.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        let own = all.entry(id.clone()).or_default();
        match request.api {
            Api::InitProducerId => *own = Transaction::default(),
            Api::AddPartitionsToTxn => {
                if own.is_ended {
                    *own = Transaction::default();
                }
                own.has_records |= request.topics.iter().any(|topic| !is_own(topic));
            }
            // It may be asked for again.
            Api::EndTxn => own.is_ended = true,
            Api::Produce | Api::Other => {}
        }
        request.has_records = own.has_records;
    }

    /// The first trap that takes it.
    fn catch(&self, way: Way, request: &Request) -> Option<Arc<Caught>> {
        self.lock()
            .iter()
            .find(|caught| caught.takes(way, request))
            .cloned()
    }
}

/// A control topic of the product's.
fn is_own(topic: &str) -> bool {
    topic.starts_with("formspool-")
}

impl Caught {
    fn takes(&self, way: Way, request: &Request) -> bool {
        let mut bait = self.bait.lock().unwrap_or_else(PoisonError::into_inner);
        if !bait.fits(way, request) || bait.take == 0 {
            return false;
        }
        if bait.skip > 0 {
            bait.skip -= 1;
            return false;
        }
        bait.take -= 1;
        if bait.is_seen_only {
            self.fate.send_replace(Fate::Pass);
        }
        true
    }

    fn set_off(&self) {
        self.count.send_modify(|count| *count += 1);
    }
}

impl Trap {
    /// Waits until something is in it; answers whether it came within `time`.
    pub(crate) async fn caught(&self, time: Duration) -> bool {
        self.caught_so_many(1, time).await
    }

    pub(crate) async fn caught_so_many(&self, count: u32, time: Duration) -> bool {
        let mut counts = self.caught.count.subscribe();
        let came = counts.wait_for(|caught| *caught >= count);
        matches!(timeout(time, came).await, Ok(Ok(_)))
    }

    pub(crate) fn count(&self) -> u32 {
        *self.caught.count.borrow()
    }

    /// It takes nothing more. What is in it goes on.
    pub(crate) fn let_go(&self) {
        self.close(Fate::Pass);
    }

    /// It takes nothing more. What is in it never arrives, and its connection ends.
    pub(crate) fn drop_it(&self) {
        self.close(Fate::Drop);
    }

    /// It takes nothing more, and goes on holding what is in it; the product's side of that
    /// connection ends.
    pub(crate) fn cut(&self) {
        self.close(Fate::Cut);
    }

    /// The error code that the broker gave to the `EndTxn` that was in it.
    pub(crate) async fn answer(&self, time: Duration) -> Option<i16> {
        let mut answers = self.caught.answer.subscribe();
        let came = timeout(time, answers.wait_for(Option::is_some)).await;
        came.ok()?.ok()?.as_ref().copied()
    }

    fn close(&self, fate: Fate) {
        let mut bait = (self.caught.bait.lock()).unwrap_or_else(PoisonError::into_inner);
        bait.take = 0;
        self.caught.fate.send_replace(fate);
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        let caught = &self.caught;
        self.board
            .lock()
            .retain(|other| !Arc::ptr_eq(other, caught));
        self.caught.fate.send_if_modified(|fate| {
            let is_open = matches!(fate, Fate::Hold | Fate::Cut);
            if is_open {
                *fate = Fate::Pass;
            }
            is_open
        });
    }
}

#[cfg(test)]
mod tests;
