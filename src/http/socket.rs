//! The bytes of one connection, watched: when a request begins to arrive, whether the client takes
//! its answer, and what the HTTP library says by itself.
//!
//! Holds: every byte passes unchanged, but for one case. To bytes that are not HTTP, or to a header
//! that is too large, hyper answers on its own with an empty document; here it gets the problem
//! document that every other refusal has.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::Problem;

/// What is known of a connection from moment to moment. Written and read by the connection's one
/// task; atomic only because a task may move between threads.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    requests: AtomicU64,
    busy: AtomicBool,
    head_begun: AtomicBool,
    written: AtomicU64,
    write_waits: AtomicBool,
}

impl Pulse {
    /// A request's header was read; it is under way until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_begun.store(false, Ordering::Relaxed);
        self.busy.store(true, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    pub(super) fn has_head_begun(&self) -> bool {
        self.head_begun.load(Ordering::Relaxed)
    }

    /// `Some(bytes written so far)` while the client does not take more.
    pub(super) fn stalled_at(&self) -> Option<u64> {
        self.write_waits
            .load(Ordering::Relaxed)
            .then(|| self.written.load(Ordering::Relaxed))
    }
}

/// A request under way, answer included.
#[derive(Debug)]
pub(super) struct Busy(Arc<Pulse>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

/// A connection's stream and its pulse.
#[derive(Debug)]
pub(super) struct Socket<S> {
    stream: S,
    pulse: Arc<Pulse>,
    /// Our words in the place of the library's, as far as they are not written yet.
    instead: Bytes,
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S, pulse: Arc<Pulse>) -> Self {
        Self {
            stream,
            pulse,
            instead: Bytes::new(),
        }
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        self.pulse
            .write_waits
            .store(written.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(len)) = written {
            self.pulse.written.fetch_add(*len as u64, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncWrite + Unpin> Socket<S> {
    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &self.instead);
            self.note(&written);
            let len = ready!(written)?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(len);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before && !self.pulse.is_busy() {
            self.pulse.head_begun.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(cx))?;
        if !self.pulse.is_busy()
            && let Some(status) = library_answer(buf)
        {
            self.instead = Problem::not_http(status).to_response_bytes();
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        ready!(self.poll_instead(cx))?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The status of a whole, empty answer of class 4xx that no request of ours can have caused.
fn library_answer(bytes: &[u8]) -> Option<u16> {
    // The prefix tells nearly every answer of ours: most bytes are not looked at.
    let head = bytes
        .strip_prefix(b"HTTP/1.1 4")?
        .strip_suffix(b"\r\n\r\n")?;
    let head = std::str::from_utf8(head).ok()?;
    if !head.contains("\r\ncontent-length: 0") || head.contains("\r\n\r\n") {
        return None;
    }
    match head.get(..2)? {
        "00" => Some(400),
        "14" => Some(414),
        "31" => Some(431),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_answer_to_a_broken_head_is_the_librarys() {
        let own = b"HTTP/1.1 431 Request Header Fields Too Large\r\n\
            connection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        assert_eq!(library_answer(own), Some(431));
        assert_eq!(
            library_answer(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"),
            None
        );
        assert_eq!(
            library_answer(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 9\r\n\r\n"),
            None
        );
        assert_eq!(library_answer(b"GET / HTTP/1.1\r\n\r\n"), None);
        assert_eq!(library_answer(b""), None);
    }
}
