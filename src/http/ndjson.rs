//! Many submissions in one request: a document a line in, a receipt or a problem a line out.
//!
//! ```text
//!  body ─► Lines (one line being read) ─► chunk ─► ingest ─► answers, in order
//!              └── reads the next chunk while this one is under way ──┘
//! ```
//! Holds: a request keeps in memory the piece that arrived last, one chunk under way, one being
//! read, and the answers to one; a chunk is given to `ingest` only when the one before it is
//! answered. The answer to a line is written as soon as its chunk is known, while later lines are
//! still arriving; a line without an answer is unknown. Empty lines are not counted: the n-th answer is that of the n-th document.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Buf, BytesMut};
use futures::stream;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use storage::{PACK_BYTES_MAX, PACK_SUBMISSIONS_MAX};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::body::{broken_off, check_coding};
use super::cors::Consent;
use super::error::{DRAINING, Problem};
use super::{Hall, auth, submit};
use crate::forms::Form;
use crate::ingest::{Line, Receipt, Refused};

/// What a program may send.
pub(super) const TAKES: &[&str] = &[
    "application/json",
    "application/x-ndjson",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
];

/// Takes a request of many lines.
pub(super) fn submit(
    doors: Arc<Hall>,
    form: Arc<Form>,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let consent = match Consent::of(&doors, &form, headers) {
        Ok(consent) => consent,
        Err(problem) => return problem.into_response(),
    };
    let answer = match Exchange::begin(doors, form, headers, body) {
        Ok(exchange) => {
            let kind = [(
                header::CONTENT_TYPE,
                HeaderValue::from_static(submit::NDJSON),
            )];
            let answers = stream::unfold(exchange, Exchange::step);
            (StatusCode::OK, kind, Body::from_stream(answers)).into_response()
        }
        Err(problem) => problem.into_response(),
    };
    consent.tell(answer)
}

/// One request under way.
struct Exchange {
    doors: Arc<Hall>,
    form: Arc<Form>,
    /// The header's key: line n has the key `<header>#n` unless it has its own.
    key: Option<String>,
    lines: Lines,
    _room: OwnedSemaphorePermit,
}

impl Exchange {
    fn begin(
        doors: Arc<Hall>,
        form: Arc<Form>,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Self, Problem> {
        auth::may_submit(&doors, &form, headers, None)?;
        check_coding(headers)?;
        let key = submit::idempotency_key(headers)?;
        let bytes_max = doors.config.ndjson_bytes_max;
        if body.size_hint().lower() > bytes_max {
            return Err(Problem::too_large(bytes_max).closing());
        }
        let room = Arc::clone(&doors.stream_room).try_acquire_owned();
        let room =
            room.map_err(|_| Problem::no_room("too many requests of many lines").closing())?;
        let lines = Lines {
            body,
            rest: Bytes::new(),
            partial: BytesMut::new(),
            chunk: Vec::new(),
            chunk_bytes: 0,
            line_bytes_max: doors.submission_bytes_max,
            number: 0,
            bytes_max,
            bytes: 0,
            silence_max: doors.config.body_time(),
            deadline: Instant::now() + doors.config.ndjson_time_max(),
            stopping: doors.stopping.clone(),
            end: None,
        };
        Ok(Self {
            doors,
            form,
            key,
            lines,
            _room: room,
        })
    }

    /// The answers to the next chunk.
    async fn step(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        while self.lines.chunk.is_empty() && self.lines.end.is_none() {
            self.lines.read_more().await;
        }
        let chunk = self.lines.take_chunk();
        let Some(first) = chunk.first().map(|line| line.number) else {
            return self.lines.last_word().map(|word| (Ok(word), self));
        };
        let Self {
            doors,
            form,
            key,
            lines,
            ..
        } = &mut self;
        let answers = {
            let mut under_way =
                std::pin::pin!(doors.ingest.submit_lines(form, chunk, key.as_deref()));
            loop {
                tokio::select! {
                    biased;
                    answers = &mut under_way => break answers,
                    () = lines.read_more(), if lines.wants_more() => {}
                }
            }
        };
        Some((Ok(write(first, answers)), self))
    }
}

/// One line an answer; lines of a chunk are numbered without gaps.
fn write(first: u32, answers: Vec<Result<Receipt, Refused>>) -> Bytes {
    let mut out = Vec::with_capacity(answers.len() * 256);
    for (number, answer) in (first..).zip(answers) {
        match answer {
            // A receipt is strings and numbers: it has no way to fail.
            Ok(receipt) => out.extend(serde_json::to_vec(&receipt).unwrap_or_default()),
            Err(refused) => out.extend(Problem::from(refused).at_line(number).to_json()),
        }
        out.push(b'\n');
    }
    out.into()
}

/// The lines of a body, as they arrive.
struct Lines {
    body: Body,
    /// What arrived and was not looked at yet.
    rest: Bytes,
    /// The beginning of a line whose end has not arrived; at most one byte above the limit.
    partial: BytesMut,
    /// Whole lines that wait to be taken.
    chunk: Vec<Line>,
    chunk_bytes: usize,
    line_bytes_max: usize,
    number: u32,
    bytes_max: u64,
    bytes: u64,
    silence_max: Duration,
    deadline: Instant,
    stopping: CancellationToken,
    end: Option<End>,
}

/// Why no more lines come.
enum End {
    /// All are there, or what is wrong was said.
    Whole,
    /// To be said after the answers.
    Broken(Problem),
}

impl Lines {
    fn is_full(&self) -> bool {
        self.chunk.len() >= PACK_SUBMISSIONS_MAX || self.chunk_bytes >= PACK_BYTES_MAX
    }

    fn wants_more(&self) -> bool {
        self.end.is_none() && !self.is_full()
    }

    fn take_chunk(&mut self) -> Vec<Line> {
        let chunk = std::mem::take(&mut self.chunk);
        self.chunk_bytes = 0;
        self.split();
        chunk
    }

    /// Reads one piece of the body. May be dropped while it waits: nothing is lost.
    async fn read_more(&mut self) {
        if !self.rest.is_empty() {
            self.split();
            return;
        }
        let patience = self.deadline.min(Instant::now() + self.silence_max);
        let frame = tokio::select! {
            biased;
            () = self.stopping.cancelled() => {
                self.end = Some(End::Broken(Problem::new(DRAINING, "send the rest again")));
                return;
            }
            frame = timeout_at(patience, self.body.frame()) => frame,
        };
        match frame {
            Err(_late) => self.end = Some(End::Broken(Problem::too_slow())),
            Ok(None) => self.finish(),
            Ok(Some(Err(_))) => self.end = Some(End::Broken(broken_off())),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    self.take_in(data);
                }
            }
        }
    }

    fn take_in(&mut self, data: Bytes) {
        self.bytes += data.len() as u64;
        if self.bytes > self.bytes_max {
            self.end = Some(End::Broken(Problem::too_large(self.bytes_max)));
            return;
        }
        self.rest = data;
        self.split();
    }

    /// Cuts `rest` into lines until the chunk is full.
    fn split(&mut self) {
        while !self.is_full() && !self.rest.is_empty() {
            let Some(len) = self.rest.iter().position(|&byte| byte == b'\n') else {
                let rest = std::mem::take(&mut self.rest);
                self.keep(&rest);
                return;
            };
            let line = self.rest.split_to(len);
            self.rest.advance(1);
            if self.partial.is_empty() {
                self.push(&line);
            } else {
                self.keep(&line);
                self.push_partial();
            }
        }
    }

    /// Of a line above the limit one byte more than the limit is kept: enough to be refused.
    fn keep(&mut self, piece: &[u8]) {
        let room = (self.line_bytes_max + 1).saturating_sub(self.partial.len());
        self.partial
            .extend_from_slice(piece.get(..room).unwrap_or(piece));
    }

    fn push_partial(&mut self) {
        let line = std::mem::take(&mut self.partial);
        self.push(&line);
    }

    /// A line is copied out of what arrived: a slice would keep all that came with it in memory,
    /// blank lines and the ends of lines that are too long, and nothing would count that.
    fn push(&mut self, line: &[u8]) {
        let line = line.get(..=self.line_bytes_max).unwrap_or(line);
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        self.number += 1;
        self.chunk_bytes += line.len();
        self.chunk.push(Line {
            number: self.number,
            bytes: Bytes::copy_from_slice(line),
        });
    }

    /// A last line needs no line feed after it.
    fn finish(&mut self) {
        self.push_partial();
        self.end = Some(End::Whole);
    }

    /// Why the stream ended, if there is something to say. The number is that of the first line
    /// that was not read.
    fn last_word(&mut self) -> Option<Bytes> {
        match self.end.replace(End::Whole)? {
            End::Whole => None,
            End::Broken(problem) => {
                let mut word = problem.at_line(self.number + 1).to_json();
                word.push(b'\n');
                Some(word.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines_of(pieces: Vec<Vec<u8>>, line_bytes_max: usize) -> Lines {
        let pieces = pieces
            .into_iter()
            .map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
        Lines {
            body: Body::from_stream(stream::iter(pieces)),
            rest: Bytes::new(),
            partial: BytesMut::new(),
            chunk: Vec::new(),
            chunk_bytes: 0,
            line_bytes_max,
            number: 0,
            bytes_max: 1 << 20,
            bytes: 0,
            silence_max: Duration::from_secs(30),
            deadline: Instant::now() + Duration::from_mins(10),
            stopping: CancellationToken::new(),
            end: None,
        }
    }

    async fn all(mut lines: Lines) -> Vec<(u32, Vec<u8>)> {
        let mut found = Vec::new();
        while lines.end.is_none() || !lines.chunk.is_empty() {
            let chunk = lines.take_chunk();
            found.extend(
                chunk
                    .into_iter()
                    .map(|line| (line.number, line.bytes.to_vec())),
            );
            if lines.end.is_none() {
                lines.read_more().await;
            }
        }
        found
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_bytes_arrive(
            text in "([a-c \\r]{0,5}\\n?){0,12}",
            cuts in prop::collection::vec(0_usize..60, 0..6),
        ) {
            let mut pieces = vec![text.as_bytes().to_vec()];
            for cut in cuts {
                let last = pieces.pop().unwrap();
                let (front, back) = last.split_at(cut.min(last.len()));
                pieces.push(front.to_vec());
                pieces.push(back.to_vec());
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let found = runtime.block_on(async { all(lines_of(pieces, 4)).await });
            let expected: Vec<(u32, Vec<u8>)> = (1..)
                .zip(
                    text.split('\n')
                        .filter(|line| !line.bytes().take(5).all(|byte| byte.is_ascii_whitespace()))
                        .map(|line| line.bytes().take(5).collect()),
                )
                .collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[tokio::test]
    async fn a_line_that_never_ends_is_not_kept() {
        let mut lines = lines_of(vec![vec![b'x'; 1000]; 100], 10);
        while lines.end.is_none() {
            lines.read_more().await;
            assert!(lines.partial.len() <= 11);
        }
        assert_eq!(lines.chunk.len(), 1);
        assert_eq!(lines.chunk[0].bytes.len(), 11);
    }

    #[tokio::test]
    async fn a_line_keeps_nothing_in_memory_but_itself() {
        let mut piece = vec![b'\n'; 100_000];
        piece.splice(500..510, *b"{}\n{}\n{}\n{");
        let mut lines = lines_of(vec![piece, b"}\n".to_vec()], 10);
        while lines.end.is_none() {
            lines.read_more().await;
        }
        let chunk = lines.take_chunk();
        assert_eq!((chunk.len(), lines.rest.len()), (5, 0));
        for line in chunk {
            assert!(line.bytes.is_unique(), "{}", line.number);
        }
    }

    #[tokio::test]
    async fn a_chunk_is_bounded_though_a_piece_is_not() {
        let mut lines = lines_of(vec![b"{}\n".repeat(10_000)], 10);
        lines.read_more().await;
        assert_eq!(lines.take_chunk().len(), PACK_SUBMISSIONS_MAX);
        assert_eq!(lines.chunk.len(), PACK_SUBMISSIONS_MAX);
    }
}
