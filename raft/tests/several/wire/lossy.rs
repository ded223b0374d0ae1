//! TCP that loses connections of one lane, when a test says so.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use raft::{Listener, Pipe, Tcp, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where a hello says its lane: behind the magic, the head of its frame and two versions.
const LANE_AT: usize = 8 + 16 + 2;

/// When connections of a lane are lost. A clone is the same one.
#[derive(Clone, Debug)]
pub(crate) struct Lossy {
    lane: u8,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The next answer is lost, and its connection with it.
    loses_answer: AtomicBool,
    /// After so many more bytes a connection is lost, in mid-frame; 0: none is.
    bytes_left: AtomicU64,
    lost: AtomicU64,
}

impl Lossy {
    pub(crate) fn new(lane: u8) -> Self {
        Self {
            lane,
            state: Arc::default(),
        }
    }

    pub(crate) fn lose_an_answer(&self) {
        self.state.loses_answer.store(true, Ordering::SeqCst);
    }

    pub(crate) fn lose_after(&self, bytes: u64) {
        self.state.bytes_left.store(bytes, Ordering::SeqCst);
    }

    /// Connections lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.state.lost.load(Ordering::SeqCst)
    }
}

impl Transport for Lossy {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Pipe>>> {
        Box::pin(async move {
            let thread = Thread {
                pipe: Tcp.dial(address).await?,
                lossy: self.clone(),
                is_meant: None,
                is_cut: false,
            };
            Ok(Box::new(thread) as Box<dyn Pipe>)
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Tcp.listen(address)
    }
}

struct Thread {
    pipe: Box<dyn Pipe>,
    lossy: Lossy,
    /// Whether it is of the lane that loses; `None`: nothing was said on it yet.
    is_meant: Option<bool>,
    is_cut: bool,
}

impl Thread {
    fn cut(&mut self) -> io::Error {
        self.is_cut = true;
        self.lossy.state.lost.fetch_add(1, Ordering::SeqCst);
        io::ErrorKind::ConnectionReset.into()
    }

    fn check(&self) -> io::Result<()> {
        if self.is_cut {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for Thread {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        let before = into.filled().len();
        ready!(Pin::new(&mut self.pipe).poll_read(context, into))?;
        let came = into.filled().len() > before;
        let is_meant = self.is_meant == Some(true);
        if is_meant && came && self.lossy.state.loses_answer.swap(false, Ordering::SeqCst) {
            into.set_filled(before);
            return Poll::Ready(Err(self.cut()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Thread {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let lane = self.lossy.lane;
        let is_hello = self.is_meant.is_none();
        let is_meant = *self
            .is_meant
            .get_or_insert_with(|| bytes.get(LANE_AT) == Some(&lane));
        let left = self.lossy.state.bytes_left.load(Ordering::SeqCst);
        if !is_meant || is_hello || left == 0 {
            return Pin::new(&mut self.pipe).poll_write(context, bytes);
        }
        let may = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let written = ready!(Pin::new(&mut self.pipe).poll_write(context, &bytes[..may]))?;
        let left = left.saturating_sub(written as u64);
        self.lossy.state.bytes_left.store(left, Ordering::SeqCst);
        if left == 0 {
            return Poll::Ready(Err(self.cut()));
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(context)
    }
}
