//! One HTTP/1.1 connection, as a program of a user would hold it.
//!
//! Holds: at most one request is under way on it; every call ends within the client's patience; a failure
//! says whether the request can have reached the other side. No pool and no hidden retry: a
//! tester must know what it sent. Only a kept connection that was closed before the first byte is
//! replaced.

pub(crate) mod api;
pub(crate) mod cluster;
pub(crate) mod raw;
pub(crate) mod tasks;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

const CALL_TIME: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: usize = 256 << 20; // a page of records, however large

#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    /// The longest that it waits for an answer.
    patience: Duration,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// Holds the task that moves the bytes; dropped, it ends.
    _driver: JoinSet<()>,
}

/// A request without its connection.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// Not one byte of it can have reached the other side.
    NotSent(String),
    /// It may have been taken.
    Unknown(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(why) => write!(f, "not sent: {why}"),
            Self::Unknown(why) => write!(f, "no answer: {why}"),
        }
    }
}

impl std::error::Error for Failure {}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: impl Into<String>, kind: &str, body: impl Into<Bytes>) -> Self {
        let call = Self::new(Method::POST, path).header(CONTENT_TYPE.as_str(), kind);
        Self {
            body: body.into(),
            ..call
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    pub(crate) fn body(self, body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Client {
    /// Connects at the first call.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            patience: CALL_TIME,
            open: None,
        }
    }

    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub(crate) async fn call(&mut self, call: &Call) -> Result<Answer, Failure> {
        self.call_within(call, self.patience).await
    }

    pub(crate) async fn call_within(
        &mut self,
        call: &Call,
        time: Duration,
    ) -> Result<Answer, Failure> {
        let mut body = BytesMut::new();
        let (status, headers) = self.stream(call, time, &mut body, &mut |_| ()).await?;
        Ok(Answer {
            status,
            headers,
            body: body.freeze(),
        })
    }

    /// What arrives is in `body` also when the call fails; `arrived` is told how much that is.
    pub(crate) async fn stream(
        &mut self,
        call: &Call,
        time: Duration,
        body: &mut BytesMut,
        arrived: &mut (dyn FnMut(usize) + Send),
    ) -> Result<(u16, HeaderMap), Failure> {
        let answer = match timeout(time, self.exchange(call, body, arrived)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::Unknown(format!(
                "nothing within {} s",
                time.as_secs()
            ))),
        };
        if answer.is_err() {
            self.open = None;
        }
        answer
    }

    async fn exchange(
        &mut self,
        call: &Call,
        body: &mut BytesMut,
        arrived: &mut (dyn FnMut(usize) + Send),
    ) -> Result<(u16, HeaderMap), Failure> {
        let request = self
            .request(call)
            .map_err(|error| Failure::NotSent(error.to_string()))?;
        let answer = self.send(request).await?;
        let (head, mut frames) = answer.into_parts();
        while let Some(frame) = frames.frame().await {
            let frame = frame.map_err(|error| Failure::Unknown(error.to_string()))?;
            body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
            arrived(body.len());
            if body.len() > ANSWER_BYTES_MAX {
                return Err(Failure::Unknown("an answer without end".to_owned()));
            }
        }
        Ok((head.status.as_u16(), head.headers))
    }

    /// On the kept connection, or on a new one where the server has closed that meanwhile: known
    /// only where not one byte of the request was put on the wire.
    async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        loop {
            let kept = self.open.take();
            let is_kept = kept.is_some();
            let open = match kept {
                Some(open) => open,
                None => connect(self.address).await.map_err(Failure::NotSent)?,
            };
            let open = self.open.insert(open);
            let why = match open.sender.ready().await {
                Err(error) => error.to_string(),
                Ok(()) => match open.sender.try_send_request(request).await {
                    Ok(answer) => return Ok(answer),
                    Err(mut failed) => {
                        // hyper gives the request back where it was never put on the wire.
                        let back = failed.take_message();
                        let why = failed.into_error().to_string();
                        request = back.ok_or_else(|| Failure::Unknown(why.clone()))?;
                        why
                    }
                },
            };
            self.open = None;
            if !is_kept {
                return Err(Failure::NotSent(why));
            }
        }
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(call.path.as_str())
            .header(HOST, self.address.to_string());
        for (name, value) in &call.headers {
            request = request.header(*name, value.as_str());
        }
        request.body(Full::new(call.body.clone()))
    }
}

async fn connect(address: SocketAddr) -> Result<Open, String> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Its failure reaches the caller through the request.
        connection.await.ok();
    });
    Ok(Open {
        sender,
        _driver: driver,
    })
}
