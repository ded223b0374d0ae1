//! The network between the places: streams that are slow, stand still, and break.
//!
//! Holds: what is written to a stream comes out at its other end in order, later; or not at all,
//! once the stream is broken. A cut stream stands still, as TCP does, and what was written meanwhile
//! comes out when the cut is healed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use raft::{Listener, Pipe, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, Sleep};

use crate::dice::Dice;
use crate::trace::Trace;

/// A clone is the same one.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
    trace: Trace,
}

struct Inner {
    dice: Dice,
    /// Milliseconds that anything takes.
    latency: (u64, u64),
    /// What leaves the first does not reach the second.
    cut: BTreeSet<(usize, usize)>,
    doors: BTreeMap<usize, mpsc::Sender<End>>,
    wires: Vec<Weak<Mutex<Wire>>>,
}

/// Milliseconds within one house.
pub const NEAR: (u64, u64) = (1, 4);
/// What waits on one stream; then its writer does.
const WIRE_BYTES_MAX: usize = 512 << 10;

impl Net {
    pub fn new(dice: Dice, trace: Trace) -> Self {
        let inner = Inner {
            dice,
            latency: NEAR,
            cut: BTreeSet::new(),
            doors: BTreeMap::new(),
            wires: Vec::new(),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            changed: Arc::default(),
            trace,
        }
    }

    /// The way out for one life at a place.
    pub fn phone(&self, at: usize, is_dead: Arc<AtomicBool>) -> Phone {
        Phone {
            net: self.clone(),
            at,
            is_dead,
        }
    }

    pub fn set_latency(&self, latency: (u64, u64)) {
        self.inner.lock().unwrap().latency = latency;
    }

    /// Nothing gets from the one to the other.
    pub fn cut(&self, from: usize, to: usize) {
        self.inner.lock().unwrap().cut.insert((from, to));
    }

    /// Both ways between the two are free again.
    pub fn mend(&self, one: usize, two: usize) {
        let mut inner = self.inner.lock().unwrap();
        inner
            .cut
            .retain(|cut| *cut != (one, two) && *cut != (two, one));
        drop(inner);
        for wire in self.wires() {
            wire.lock().unwrap().wake();
        }
        self.changed.notify_waiters();
    }

    /// All cuts are healed; what stood still may also be broken.
    pub fn heal(&self, breaks: bool) {
        let cut = std::mem::take(&mut self.inner.lock().unwrap().cut);
        for wire in self.wires() {
            let mut wire = wire.lock().unwrap();
            wire.is_broken |= breaks && cut.contains(&(wire.from, wire.to));
            wire.wake();
        }
        self.changed.notify_waiters();
    }

    /// All streams of a place break, and nobody answers there.
    pub fn unplug(&self, at: usize) {
        self.inner.lock().unwrap().doors.remove(&at);
        self.break_streams(at);
    }

    pub fn break_streams(&self, at: usize) {
        for wire in self.wires() {
            let mut wire = wire.lock().unwrap();
            if wire.from == at || wire.to == at {
                wire.is_broken = true;
                wire.wake();
            }
        }
    }

    fn wires(&self) -> Vec<Arc<Mutex<Wire>>> {
        let inner = self.inner.lock().unwrap();
        inner.wires.iter().filter_map(Weak::upgrade).collect()
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.inner.lock().unwrap().cut.contains(&(from, to))
    }

    fn delay(&self) -> Duration {
        let inner = &mut *self.inner.lock().unwrap();
        inner.dice.ms(inner.latency.0, inner.latency.1)
    }

    /// Waits until both ways are free.
    async fn free(&self, one: usize, two: usize) {
        loop {
            let changed = self.changed.notified();
            if !self.is_cut(one, two) && !self.is_cut(two, one) {
                return;
            }
            changed.await;
        }
    }

    fn wire(&self, from: usize, to: usize) -> Arc<Mutex<Wire>> {
        let wire = Arc::new(Mutex::new(Wire {
            from,
            to,
            pieces: VecDeque::new(),
            bytes: 0,
            last_at: Instant::now(),
            ends_at: None,
            is_broken: false,
            wakers: [None, None],
        }));
        let mut inner = self.inner.lock().unwrap();
        inner.wires.retain(|wire| wire.strong_count() > 0);
        inner.wires.push(Arc::downgrade(&wire));
        wire
    }
}

/// One direction of a stream.
struct Wire {
    from: usize,
    to: usize,
    /// When each comes out, and how much of it has.
    pieces: VecDeque<(Instant, Vec<u8>, usize)>,
    bytes: usize,
    last_at: Instant,
    /// The writer is gone.
    ends_at: Option<Instant>,
    is_broken: bool,
    /// Of reader and writer.
    wakers: [Option<Waker>; 2],
}

impl Wire {
    fn wake(&mut self) {
        self.wake_one(0);
        self.wake_one(1);
    }

    fn wake_one(&mut self, which: usize) {
        if let Some(waker) = self.wakers[which].take() {
            waker.wake();
        }
    }
}

/// One end of a stream.
struct End {
    incoming: Arc<Mutex<Wire>>,
    outgoing: Arc<Mutex<Wire>>,
    net: Net,
    timer: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let at = {
                let mut wire = this.incoming.lock().unwrap();
                if wire.is_broken {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                let next = wire.pieces.front().map(|piece| piece.0).or(wire.ends_at);
                let is_cut = this.net.is_cut(wire.from, wire.to);
                let Some(at) = next.filter(|_| !is_cut) else {
                    wire.wakers[0] = Some(context.waker().clone());
                    return Poll::Pending;
                };
                if at <= Instant::now() {
                    let Some((_, piece, taken)) = wire.pieces.front_mut() else {
                        return Poll::Ready(Ok(()));
                    };
                    let rest = &piece[*taken..];
                    let count = rest.len().min(buf.remaining());
                    buf.put_slice(&rest[..count]);
                    *taken += count;
                    if *taken == piece.len() {
                        wire.pieces.pop_front();
                    }
                    wire.bytes -= count;
                    wire.wake_one(1);
                    return Poll::Ready(Ok(()));
                }
                wire.wakers[0] = Some(context.waker().clone());
                at
            };
            let timer = this.timer.insert(Box::pin(tokio::time::sleep_until(at)));
            ready!(timer.as_mut().poll(context));
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.outgoing.lock().unwrap();
        if wire.is_broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if WIRE_BYTES_MAX <= wire.bytes {
            wire.wakers[1] = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.net.trace.mix(&(wire.from, wire.to, bytes));
        let at = wire.last_at.max(Instant::now() + self.net.delay());
        wire.last_at = at;
        wire.bytes += bytes.len();
        wire.pieces.push_back((at, bytes.to_vec(), 0));
        wire.wake_one(0);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl End {
    fn end(&self) {
        let mut wire = self.outgoing.lock().unwrap();
        if wire.ends_at.is_none() {
            wire.ends_at = Some(wire.last_at.max(Instant::now() + Duration::from_millis(1)));
            wire.wake_one(0);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.end();
        let mut wire = self.incoming.lock().unwrap();
        wire.is_broken = true;
        wire.wake();
    }
}

/// The way out for one life at a place.
pub struct Phone {
    net: Net,
    at: usize,
    is_dead: Arc<AtomicBool>,
}

/// The address of a place.
pub fn address(at: usize) -> String {
    format!("n{at}:7080")
}

impl Transport for Phone {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Pipe>>> {
        Box::pin(async move {
            let (host, _) = address.split_once(':').unwrap();
            let to: usize = host.trim_start_matches('n').parse().unwrap();
            self.net.free(self.at, to).await;
            tokio::time::sleep(self.net.delay()).await;
            let door = self.net.inner.lock().unwrap().doors.get(&to).cloned();
            let is_dead = self.is_dead.load(Ordering::Relaxed);
            let door = door.filter(|_| !is_dead);
            let door = door.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (there, back) = (self.net.wire(self.at, to), self.net.wire(to, self.at));
            let end = |incoming, outgoing| End {
                incoming,
                outgoing,
                net: self.net.clone(),
                timer: None,
            };
            let theirs = end(Arc::clone(&there), Arc::clone(&back));
            let sent = door.try_send(theirs);
            sent.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(end(back, there)) as Box<dyn Pipe>)
        })
    }

    fn listen(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            if self.is_dead.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Other.into());
            }
            let (sender, receiver) = mpsc::channel(64);
            self.net.inner.lock().unwrap().doors.insert(self.at, sender);
            Ok(Box::new(Door(receiver)) as Box<dyn Listener>)
        })
    }
}

struct Door(mpsc::Receiver<End>);

impl Listener for Door {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Pipe>>> {
        Box::pin(async move {
            match self.0.recv().await {
                Some(end) => Ok(Box::new(end) as Box<dyn Pipe>),
                // The place was unplugged: nobody will ever come.
                None => std::future::pending().await,
            }
        })
    }
}
