//! Asks a running node, by HTTP.
//!
//! Holds: one request a connection, each answer read to its end or streamed. A refusal becomes one
//! line with the node's own reason. Only `http://`: a node behind TLS is asked from beside it.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::error::Error;
use crate::stage::Stage;

/// A node's address and the right to ask it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    url: String,
    authority: String,
    token: Option<String>,
    stage: Stage,
}

impl Client {
    /// A client of the node at `url`.
    pub(super) fn new(url: &str, token: Option<String>) -> Result<Self, Error> {
        let wrong = |what| Error::Url {
            url: url.to_owned(),
            what,
        };
        let rest = url.trim_end_matches('/').strip_prefix("http://");
        let authority = rest.ok_or_else(|| wrong("must begin with http://"))?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if authority.is_empty() || !authority.chars().all(is_plain) {
            return Err(wrong("must be http://host:port, without a path"));
        }
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        let url = format!("http://{authority}");
        Ok(Self {
            url,
            authority,
            token,
            stage: Stage::new(),
        })
    }

    /// Where it asks.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Reads a JSON document.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Error> {
        let request = self.request(Method::GET, path, "application/json");
        self.document(request.body(Full::default())).await
    }

    /// Sends a JSON document, reads one.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Value, Error> {
        let request = self.request(method, path, "application/json");
        self.document(
            request
                .header(CONTENT_TYPE, "application/json")
                .body(Full::new(body)),
        )
        .await
    }

    /// Sends a JSON document if the version is still this one (`None`: if there is none).
    pub(super) async fn put_if(
        &self,
        path: &str,
        body: Bytes,
        version: Option<u64>,
    ) -> Result<Value, Error> {
        let request = self.request(Method::PUT, path, "application/json");
        let request = match version {
            Some(version) => request.header("if-match", format!("\"{version}\"")),
            None => request.header("if-none-match", "*"),
        };
        self.document(
            request
                .header(CONTENT_TYPE, "application/json")
                .body(Full::new(body)),
        )
        .await
    }

    /// Reads whatever is there, piece by piece.
    pub(super) async fn stream(&self, path: &str, accept: &str) -> Result<Pieces<'_>, Error> {
        let request = self
            .request(Method::GET, path, accept)
            .body(Full::default());
        Ok(Pieces {
            client: self,
            response: self.answer(request).await?,
        })
    }

    fn request(&self, method: Method, path: &str, accept: &str) -> hyper::http::request::Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.authority)
            .header(ACCEPT, accept);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request
    }

    async fn document(
        &self,
        request: hyper::http::Result<Request<Full<Bytes>>>,
    ) -> Result<Value, Error> {
        let response = self.answer(request).await?;
        let bytes = self.whole(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.strange(&error.to_string()))
    }

    /// A 2xx answer, or the node's reason for another one.
    async fn answer(
        &self,
        request: hyper::http::Result<Request<Full<Bytes>>>,
    ) -> Result<Response<Incoming>, Error> {
        let request = request.map_err(|error| self.strange(&error.to_string()))?;
        let connect = |source| Error::Connect {
            url: self.url.clone(),
            source,
        };
        let socket = TcpStream::connect(&self.authority).await.map_err(connect)?;
        let broken = |source| Error::Broken {
            url: self.url.clone(),
            source,
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket))
            .await
            .map_err(broken)?;
        self.stage.spawn(async move {
            // What goes wrong here also fails the request, which tells it.
            drop(connection.await);
        });
        let response = sender.send_request(request).await.map_err(broken)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = self.whole(response).await?;
        Err(Error::Refused {
            status: status.as_u16(),
            detail: reason(status, &bytes),
        })
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Bytes, Error> {
        let body = response.into_body().collect().await;
        Ok(body
            .map_err(|source| Error::Broken {
                url: self.url.clone(),
                source,
            })?
            .to_bytes())
    }

    fn strange(&self, what: &str) -> Error {
        Error::Strange {
            url: self.url.clone(),
            what: what.to_owned(),
        }
    }
}

/// An answer that arrives piece by piece.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    client: &'a Client,
    response: Response<Incoming>,
}

impl Pieces<'_> {
    /// The next piece; `None`: the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.response.body_mut().frame().await {
            let broken = |source| Error::Broken {
                url: self.client.url.clone(),
                source,
            };
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// The problem document's own words: its detail, and each fault with its place.
fn reason(status: StatusCode, bytes: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let word = |name: &str| problem.get(name).and_then(Value::as_str);
    let mut text = word("detail")
        .or_else(|| word("title"))
        .unwrap_or_else(|| status.canonical_reason().unwrap_or("refused"))
        .to_owned();
    for fault in problem
        .get("errors")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let part = |name: &str| fault.get(name).and_then(Value::as_str).unwrap_or_default();
        text.extend(["\n  ", part("pointer"), " ", part("detail")]);
    }
    if status == StatusCode::UNAUTHORIZED {
        text.push_str("\n  the admin token: --token, FORMSPOOL_TOKEN, or --data-dir of the node");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_plain_http_with_or_without_a_port() {
        assert_eq!(
            Client::new("http://localhost", None).unwrap().url(),
            "http://localhost:80"
        );
        assert_eq!(
            Client::new("http://[::1]:81/", None).unwrap().url(),
            "http://[::1]:81"
        );
        for wrong in [
            "https://a",
            "localhost:1",
            "http://",
            "http://a/b",
            "http://u@a",
        ] {
            assert!(Client::new(wrong, None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_refusal_is_told_with_each_fault() {
        let problem = br#"{"title":"t","detail":"d","errors":[{"pointer":"/a","detail":"no"}]}"#;
        assert_eq!(
            reason(StatusCode::UNPROCESSABLE_ENTITY, problem),
            "d\n  /a no"
        );
        assert_eq!(reason(StatusCode::NOT_FOUND, b"<html>"), "Not Found");
    }
}
