//! TCP that can be cut or stopped in the middle of a long message.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;
use raft::{Listener, Pipe, Tcp, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What happens to the first connection on which a caller has sent so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It breaks, once.
    Cut(usize),
    /// It takes no more until it is released.
    Stop(usize),
}

/// A clone is the same one.
#[derive(Clone, Default)]
pub(crate) struct Tap(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    planned: Option<Trouble>,
    to: String,
    came: usize,
    waiting: Vec<Waker>,
}

impl Tap {
    /// To whoever listens at `to`.
    pub(crate) fn plan(&self, to: &str, trouble: Trouble) {
        let mut inside = self.0.lock().unwrap();
        inside.planned = Some(trouble);
        to.clone_into(&mut inside.to);
    }

    /// How often what was planned has happened.
    pub(crate) fn came(&self) -> usize {
        self.0.lock().unwrap().came
    }

    pub(crate) fn release(&self) {
        let mut inside = self.0.lock().unwrap();
        inside.planned = None;
        for waker in inside.waiting.drain(..) {
            waker.wake();
        }
    }
}

impl Transport for Tap {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Pipe>>> {
        Box::pin(async move {
            let pipe = Tcp.dial(address).await?;
            let tap = self.clone();
            let (sent, to) = (0, address.to_owned());
            let tapped = Tapped {
                pipe,
                to,
                sent,
                tap,
            };
            Ok(Box::new(tapped) as Box<dyn Pipe>)
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { Tcp.listen(address).await })
    }
}

struct Tapped {
    pipe: Box<dyn Pipe>,
    to: String,
    sent: usize,
    tap: Tap,
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self {
            pipe,
            to,
            sent,
            tap,
        } = &mut *self;
        let mut upto = bytes.len();
        let mut inside = tap.0.lock().unwrap();
        let planned = inside.planned.filter(|_| inside.to == *to);
        match planned {
            Some(Trouble::Cut(limit)) if limit <= *sent => {
                inside.planned = None;
                inside.came += 1;
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            Some(Trouble::Stop(limit)) if limit <= *sent => {
                inside.came += 1;
                inside.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            Some(Trouble::Cut(limit) | Trouble::Stop(limit)) => upto = upto.min(limit - *sent),
            None => {}
        }
        drop(inside);
        let written = Pin::new(pipe).poll_write(cx, bytes.get(..upto).unwrap_or(bytes));
        if let Poll::Ready(Ok(count)) = &written {
            *sent += count;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
