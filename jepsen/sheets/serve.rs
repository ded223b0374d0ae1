//! Two doors: the API as Google has it, and the control port for tests and people.
//!
//! Holds: a call goes on when its client has left. A connection that a fault closes closes without one
//! byte, and an answer that a fault breaks off has told a length that it does not keep.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::api::{self, Call};
use crate::control;
use crate::error::{self, Answer};
use crate::world::Fake;

const BODY_BYTES_MAX: usize = 64 << 20; // Google has no documented limit and advises 2 MB
const CONNECTIONS_MAX: usize = 10_000;

/// A body, whole or broken off.
#[derive(Debug)]
pub(crate) struct Reply {
    text: Option<Bytes>,
    /// Told, and kept only where nothing is broken off.
    len: u64,
    has_rested: bool,
}

#[derive(Debug)]
pub(crate) struct BrokenOff;

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off, as asked")
    }
}

impl std::error::Error for BrokenOff {}

impl Reply {
    fn whole(text: Vec<u8>) -> Self {
        let len = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let (text, has_rested) = (Some(text.into()), false);
        Self {
            text,
            len,
            has_rested,
        }
    }

    fn cut(mut text: Vec<u8>) -> Self {
        let whole = text.len();
        text.truncate(whole / 2);
        let len = u64::try_from(whole.max(1)).unwrap_or(u64::MAX);
        let (text, has_rested) = (Some(text.into()), false);
        Self {
            text,
            len,
            has_rested,
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        // What was handed over goes out only while nothing more is there.
        if self.text.is_none() && self.len > 0 && !self.has_rested {
            self.has_rested = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(match self.text.take() {
            Some(text) => {
                let sent = u64::try_from(text.len()).unwrap_or(u64::MAX);
                self.len = self.len.saturating_sub(sent);
                Some(Ok(Frame::data(text)))
            }
            None if self.len > 0 => Some(Err(BrokenOff)),
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len)
    }
}

/// Which door a connection came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Api,
    Control,
}

/// Serves both doors until `stop` is done.
pub(crate) async fn run(
    fake: Arc<Fake>,
    (api, control): (TcpListener, TcpListener),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let address = api.local_addr()?;
    let (mut api, mut open) = (Some(api), fake.is_open.subscribe());
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        while connections.try_join_next().is_some() {}
        tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            changed = open.changed() => {
                changed?;
                let is_open = *open.borrow_and_update();
                api = reopened(api, is_open, address).await?;
            }
            stream = accepted(api.as_ref()) => {
                if connections.len() < CONNECTIONS_MAX {
                    connections.spawn(serve(Arc::clone(&fake), stream, Door::Api, open.clone()));
                }
            }
            stream = accepted(Some(&control)) => {
                connections.spawn(serve(Arc::clone(&fake), stream, Door::Control, open.clone()));
            }
        }
    }
}

/// Never, where the door is shut. A connection that fails as it comes is not there.
async fn accepted(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            return stream;
        }
        tokio::task::yield_now().await;
    }
}

async fn reopened(
    listener: Option<TcpListener>,
    is_open: bool,
    address: SocketAddr,
) -> anyhow::Result<Option<TcpListener>> {
    Ok(match (is_open, listener) {
        (false, _) => None,
        (true, None) => Some(TcpListener::bind(address).await?),
        (true, open) => open,
    })
}

async fn serve(
    fake: Arc<Fake>,
    stream: TcpStream,
    door: Door,
    mut open: tokio::sync::watch::Receiver<bool>,
) {
    stream.set_nodelay(true).ok();
    let service = service_fn(|request| {
        let fake = Arc::clone(&fake);
        async move {
            match door {
                Door::Api => at_api(fake, request).await,
                Door::Control => at_control(fake, request).await,
            }
        }
    });
    let http = hyper::server::conn::http1::Builder::new();
    let connection = http.serve_connection(TokioIo::new(stream), service);
    // A shut door cuts off those who are inside, too.
    let shut = async {
        if door == Door::Control || open.wait_for(|is_open| !is_open).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        // What fails here the client sees by itself.
        served = connection => { served.ok(); }
        () = shut => {}
    }
}

async fn body(request: Incoming) -> Option<Bytes> {
    let body = Limited::new(request, BODY_BYTES_MAX).collect().await;
    Some(body.ok()?.to_bytes())
}

fn query(request: &Request<Incoming>) -> Vec<(String, String)> {
    let query = request.uri().query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

async fn at_api(fake: Arc<Fake>, request: Request<Incoming>) -> Result<Response<Reply>, BrokenOff> {
    let query = query(&request);
    let (head, incoming) = request.into_parts();
    let bearer = head
        .headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
    let bearer = bearer.map(str::to_owned);
    let Some(body) = body(incoming).await else {
        return respond(error::page(
            413,
            "Your client issued a request that was too large.",
        ));
    };
    let call = Call {
        verb: head.method.as_str().to_owned(),
        path: decoded(head.uri.path()),
        query,
        bearer,
        body,
    };
    let (to, from) = oneshot::channel();
    let own = Arc::clone(&fake);
    api::spawn(&fake, async move {
        // A client that has left does not want it; what was done is done.
        to.send(api::answer(own, call).await).ok();
    });
    let answer = from.await.unwrap_or(Answer::Gone);
    if matches!(answer, Answer::Never) {
        return std::future::pending().await;
    }
    respond(answer)
}

async fn at_control(
    fake: Arc<Fake>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, BrokenOff> {
    let query = query(&request).into_iter().collect();
    let (head, incoming) = request.into_parts();
    let Some(body) = body(incoming).await else {
        return respond(error::page(413, "The body is too large."));
    };
    let path = decoded(head.uri.path()).replace('\u{1}', "/");
    let asked = control::Asked {
        verb: head.method.as_str().to_owned(),
        path,
        query,
        body,
    };
    respond(control::answer(&fake, &asked).await)
}

fn respond(answer: Answer) -> Result<Response<Reply>, BrokenOff> {
    let json = "application/json; charset=UTF-8";
    let (status, kind, reply, retry_after_s) = match answer {
        Answer::Json {
            status,
            body,
            retry_after_s,
        } => (
            status,
            json,
            Reply::whole(body.to_string().into_bytes()),
            retry_after_s,
        ),
        Answer::Html { status, body } => (
            status,
            "text/html; charset=UTF-8",
            Reply::whole(body.into_bytes()),
            None,
        ),
        Answer::Cut(body) => (200, json, Reply::cut(body.to_string().into_bytes()), None),
        Answer::Gone | Answer::Never => return Err(BrokenOff),
    };
    let mut response = Response::builder()
        .status(status)
        .header("content-type", kind);
    if let Some(seconds) = retry_after_s {
        response = response.header("retry-after", seconds);
    }
    response.body(reply).map_err(|_| BrokenOff)
}

/// `%2F` does not part a path: it comes out as `\u{1}`.
fn decoded(path: &str) -> String {
    let path = path.replace("%2F", "%01").replace("%2f", "%01");
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (*first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (byte, _) => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
