//! One TCP connection, from its first byte to its close.
//!
//! ```text
//!  fresh ──first byte──► header ──whole──► busy ──answer taken──► idle ──first byte──► header
//!    └─header_time─► close  └─header_time─► 408   └─write_time─► close   └─idle_time─► close
//! ```
//! Holds: at every moment one of the limits above runs, or a handler's own (the body's time); so no
//! connection lasts for ever without somebody at work on it.
//! Why a lingering close: a server that closes while the client still sends makes the client's
//! kernel throw away the answer unread.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use axum::routing::future::RouteFuture;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::config::HttpConfig;
use super::error::Problem;
use super::socket::{Busy, Pulse, Socket};

/// How long, and for how many bytes, a client may go on sending after its answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1 << 20;

/// Serves requests on `stream`, open since `since`, until it ends, is late, or `stopping` lets the last one finish.
pub(super) async fn run<S>(
    stream: S,
    since: Instant,
    router: Router,
    limits: Arc<HttpConfig>,
    stopping: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pulse = Arc::new(Pulse::default());
    let socket = Socket::new(stream, Arc::clone(&pulse));
    let handler = Handler {
        router,
        pulse: Arc::clone(&pulse),
    };
    let mut connection = http1::Builder::new()
        .header_read_timeout(None) // ours knows idle from slow
        // Who says that he sends no more still gets his answer. And looking for that while a
        // request is at work would take a buffer of 8 KiB for each.
        .half_close(true)
        .max_buf_size(limits.header_bytes_max)
        .max_header_size(limits.header_bytes_max)
        .serve_connection(TokioIo::new(socket), handler);
    let mut patience = Patience::new(since, limits, pulse);
    let mut is_told = false;
    let end = loop {
        let step = poll_fn(|cx| {
            if connection.poll_without_shutdown(cx).is_ready() {
                return Poll::Ready(End::Done);
            }
            patience.poll(cx)
        });
        tokio::select! {
            biased;
            () = stopping.cancelled(), if !is_told => is_told = true,
            end = step => break end,
        }
        Pin::new(&mut connection).graceful_shutdown();
        patience.hurry();
    };
    let socket = connection.into_parts().io.into_inner();
    match end {
        End::Stalled => drop(socket),
        End::Late => say_and_close(socket, &Problem::slow_header()).await,
        End::Done | End::Idle => close(socket).await,
    }
}

/// Writes one answer to whoever is there and closes.
pub(super) async fn say_and_close<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    what: &Problem,
) {
    let answer = what.to_response_bytes();
    if let Ok(Ok(())) = tokio::time::timeout(LINGER, stream.write_all(&answer)).await {
        close(stream).await;
    }
}

/// Says that no more comes, then reads and drops what the client still sends, within limits.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let linger = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut scratch = vec![0; 4096]; // not a part of every connection's task
        let mut dropped = 0;
        while dropped < LINGER_BYTES_MAX {
            match stream.read(&mut scratch).await {
                Ok(len) if len > 0 => dropped += len,
                Ok(_) | Err(_) => return,
            }
        }
    };
    // Either way the stream is dropped next: there is nobody left to tell.
    drop(tokio::time::timeout(LINGER, linger).await);
}

/// Why a connection ended.
enum End {
    /// The client, the library, or a graceful stop.
    Done,
    /// No byte of a request within the limit.
    Idle,
    /// Some bytes of a header, but not all within the limit.
    Late,
    /// The client takes nothing of its answer.
    Stalled,
}

/// The clock of one connection: which limit runs now, and since when.
struct Patience {
    limits: Arc<HttpConfig>,
    pulse: Arc<Pulse>,
    /// (requests so far, busy, header begun) and when that became so.
    phase: (u64, bool, bool),
    phase_since: Instant,
    /// (bytes written when the client stopped taking) and since when.
    stall: Option<(u64, Instant)>,
    /// At a stop: until when a header that is on its way may still arrive.
    latest: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
}

impl Patience {
    fn new(since: Instant, limits: Arc<HttpConfig>, pulse: Arc<Pulse>) -> Self {
        let sleep = Box::pin(sleep_until(since + limits.header_time()));
        Self {
            limits,
            pulse,
            phase: (0, false, false),
            phase_since: since,
            stall: None,
            latest: None,
            sleep,
        }
    }

    /// Called after each look at the connection, so that a change is seen when it happens.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Some((deadline, end)) = self.limit() else {
            return Poll::Pending;
        };
        if self.sleep.deadline() != deadline {
            self.sleep.as_mut().reset(deadline);
        }
        self.sleep.as_mut().poll(cx).map(|()| end)
    }

    /// The node is about to stop.
    fn hurry(&mut self) {
        self.latest = Some(Instant::now() + LINGER);
    }

    fn limit(&mut self) -> Option<(Instant, End)> {
        let phase = (
            self.pulse.requests(),
            self.pulse.is_busy(),
            self.pulse.has_head_begun(),
        );
        if phase != self.phase {
            let is_still_first = phase.0 == 0; // a first header's time runs from the connection's start
            self.phase = phase;
            if !is_still_first {
                self.phase_since = Instant::now();
            }
        }
        if let Some(written) = self.pulse.stalled_at() {
            let since = match self.stall {
                Some((at, since)) if at == written => since,
                Some(_) | None => Instant::now(),
            };
            self.stall = Some((written, since));
            return Some((since + self.limits.write_time(), End::Stalled));
        }
        self.stall = None;
        let (time, end) = match phase {
            (_, true, _) => return None,
            (_, false, true) => (self.limits.header_time(), End::Late),
            (0, false, false) => (self.limits.header_time(), End::Idle),
            (_, false, false) => (self.limits.idle_time(), End::Idle),
        };
        let deadline = self.phase_since + time;
        Some((
            self.latest.map_or(deadline, |latest| deadline.min(latest)),
            end,
        ))
    }
}

/// Hands requests to the router and keeps count of the one under way.
struct Handler {
    router: Router,
    pulse: Arc<Pulse>,
}

impl hyper::service::Service<Request<Incoming>> for Handler {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Answering {
            busy: Some(self.pulse.begin()),
            // A router is always ready: `poll_ready` is not asked for.
            answer: self.router.clone().call(request.map(Body::new)),
        }
    }
}

/// The router at work on a request. Why no `async` block: the connection has room for this one, a
/// block would be boxed for each request.
struct Answering {
    answer: RouteFuture<Infallible>,
    busy: Option<Busy>,
}

impl Future for Answering {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        let busy = self.busy.take();
        Poll::Ready(answer.map(|response| response.map(|body| Answer { body, _busy: busy })))
    }
}

/// An answer's body; the request is under way as long as this lives.
struct Answer {
    body: Body,
    _busy: Option<Busy>,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
