//! A request's body, read as a whole within its bounds of size and time.
//!
//! Holds: the bodies of all requests together take at most the room that [`HttpConfig`] gives them:
//! each takes room as it arrives, and one for which there is none is refused (503), not kept
//! waiting: twenty thousand slow clients cannot fill a node's memory.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Hall;
use super::config::HttpConfig;
use super::error::{MALFORMED, MEDIA_TYPE, Problem};

/// A body below it leaves hyper's buffer: as a slice it would hold all 8 KiB of that for as long as it waits,
/// and make hyper take another for what comes next on its connection.
const COPIED_BYTES_MAX: usize = 4096;

/// Room in memory that one body holds; given back on drop.
#[derive(Debug)]
pub(super) struct Room {
    all: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn new(all: &Arc<Semaphore>) -> Self {
        Self {
            all: Arc::clone(all),
            held: None,
        }
    }

    fn take(&mut self, bytes: usize) -> Result<(), Problem> {
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.all).try_acquire_many_owned(count);
        let more =
            more.map_err(|_| Problem::no_room("too many submissions are arriving").closing())?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }
}

/// What an operator says fits well into this.
const SMALL_BYTES_MAX: usize = 1 << 10;

/// A small JSON document of the given shape; nothing at all stands for `{}`.
pub(super) async fn small<T: DeserializeOwned>(
    doors: &Hall,
    request: Request,
    shape: &str,
) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    let mut room = Room::new(&doors.body_room);
    let (headers, config) = (&parts.headers, &doors.config);
    let bytes = read(headers, body, SMALL_BYTES_MAX, config, &mut room).await?;
    let text = if bytes.is_empty() { b"{}" } else { &*bytes };
    serde_json::from_slice(text)
        .map_err(|error| Problem::new(MALFORMED, format!("not {shape}: {error}")))
}

/// Reads all of it: 413 above `bytes_max` (at once where the header admits it), 408 when it takes
/// longer than the limit.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    limits: &HttpConfig,
    room: &mut Room,
) -> Result<Bytes, Problem> {
    check_coding(headers)?;
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(Problem::too_large(bytes_max as u64).closing());
    }
    match timeout(limits.body_time(), collect(body, bytes_max, room)).await {
        Ok(read) => read,
        Err(_late) => Err(Problem::too_slow()),
    }
}

async fn collect(mut body: Body, bytes_max: usize, room: &mut Room) -> Result<Bytes, Problem> {
    let mut first = Bytes::new(); // most bodies are one frame
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| broken_off())?.into_data() else {
            continue; // trailers: nobody reads them
        };
        if first.len() + all.len() + data.len() > bytes_max {
            return Err(Problem::too_large(bytes_max as u64).closing());
        }
        room.take(data.len())?;
        if first.is_empty() && all.is_empty() {
            first = if data.len() < COPIED_BYTES_MAX {
                Bytes::copy_from_slice(&data)
            } else {
                data
            };
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// A body that was squeezed could be any size when it is unpacked: none is taken.
pub(super) fn check_coding(headers: &HeaderMap) -> Result<(), Problem> {
    match headers
        .get(header::CONTENT_ENCODING)
        .map(HeaderValue::as_bytes)
    {
        None | Some(b"identity") => Ok(()),
        Some(_) => Err(Problem::new(MEDIA_TYPE, "no Content-Encoding is taken").closing()),
    }
}

/// The client went away in the middle, or its chunks are not chunks.
pub(super) fn broken_off() -> Problem {
    Problem::new(MALFORMED, "the body broke off").closing()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use futures::stream;

    fn chunks(all: Vec<&'static str>) -> Body {
        Body::from_stream(stream::iter(all.into_iter().map(Ok::<_, std::io::Error>)))
    }

    async fn read_all(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
        let mut room = Room::new(&Arc::new(Semaphore::new(8)));
        read(
            &HeaderMap::new(),
            body,
            bytes_max,
            &HttpConfig::default(),
            &mut room,
        )
        .await
    }

    #[tokio::test]
    async fn a_body_without_room_is_refused_and_room_comes_back() {
        let all = Arc::new(Semaphore::new(8));
        let mut first = Room::new(&all);
        first.take(3).unwrap();
        first.take(3).unwrap();
        let problem = Room::new(&all).take(3).unwrap_err();
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(first);
        Room::new(&all).take(8).unwrap();
    }

    #[tokio::test]
    async fn chunks_become_one_body() {
        assert_eq!(
            read_all(chunks(vec!["a", "", "bc", "d"]), 4).await.unwrap(),
            "abcd"
        );
        assert_eq!(read_all(chunks(vec![]), 4).await.unwrap(), "");
        assert_eq!(read_all(Body::from("abcd"), 4).await.unwrap(), "abcd");
    }

    #[tokio::test]
    async fn too_much_is_refused_whether_announced_or_not() {
        for body in [Body::from("abcde"), chunks(vec!["abc", "de"])] {
            let problem = read_all(body, 4).await.unwrap_err();
            assert_eq!(problem.status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_given_up() {
        let endless = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let problem = read_all(endless, 4).await.unwrap_err();
        assert_eq!(problem.status(), StatusCode::REQUEST_TIMEOUT);
    }
}
