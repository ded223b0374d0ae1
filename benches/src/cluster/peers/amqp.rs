//! AMQP 0-9-1 as a publisher speaks it: one channel, confirms, persistent messages to one queue.
//!
//! ```text
//! 0      1         3     7              7+len
//! ├ type ┼ channel ┼ len ┼ payload ─────┼ 0xce      type 1 method, 2 header, 3 body, 8 heartbeat
//! ```
//! Holds: a submission is acknowledged by the broker's `basic.ack` of its tag; a nack, a return or a
//! close ends the run with what was said.

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::load::{Waiting, Wire};

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_HEAD: usize = 7;
const FRAME_END: u8 = 0xce;

/// Class and method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Method(u16, u16);

impl Method {
    fn bytes(self) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.0.to_be_bytes(), self.1.to_be_bytes());
        [a, b, c, d]
    }
}

const START: Method = Method(10, 10);
const START_OK: Method = Method(10, 11);
const TUNE: Method = Method(10, 30);
const TUNE_OK: Method = Method(10, 31);
const OPEN: Method = Method(10, 40);
const OPEN_OK: Method = Method(10, 41);
const CHANNEL_OPEN: Method = Method(20, 10);
const CHANNEL_OPEN_OK: Method = Method(20, 11);
const DECLARE: Method = Method(50, 10);
const DECLARE_OK: Method = Method(50, 11);
const PUBLISH: Method = Method(60, 40);
const BASIC_ACK: Method = Method(60, 80);
const SELECT: Method = Method(85, 10);
const SELECT_OK: Method = Method(85, 11);

/// A method's arguments, as they are written.
#[derive(Default)]
struct Arguments(Vec<u8>);

impl Arguments {
    fn short(mut self, text: &str) -> Self {
        self.0.push(u8::try_from(text.len()).unwrap_or_default());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn long(mut self, text: &[u8]) -> Self {
        let len = u32::try_from(text.len()).unwrap_or_default();
        self.0.extend_from_slice(&len.to_be_bytes());
        self.0.extend_from_slice(text);
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// Opens a channel on `stream`, declares the quorum queue of three and asks for confirms.
pub(super) async fn open(stream: &mut TcpStream, queue: &str) -> Result<()> {
    stream.write_all(b"AMQP\0\0\x09\x01").await?;
    let mut talk = Talk {
        stream,
        bytes: Vec::new(),
    };
    talk.hear(START).await?;
    let properties = Arguments::default().long(b"").short("PLAIN");
    let start_ok = properties.long(b"\0guest\0guest").short("en_US");
    talk.say(0, START_OK, start_ok).await?;
    // Channels and frame size as the broker has them; no heartbeats.
    let tune = talk.hear(TUNE).await?;
    let limits = tune.get(..6).context("a short tune")?;
    let tune_ok = Arguments::default().bytes(limits).bytes(&[0, 0]);
    talk.say(0, TUNE_OK, tune_ok).await?;
    let vhost = Arguments::default().short("/").short("").bytes(&[0]);
    talk.say(0, OPEN, vhost).await?;
    talk.hear(OPEN_OK).await?;
    let channel = Arguments::default().short("");
    talk.say(1, CHANNEL_OPEN, channel).await?;
    talk.hear(CHANNEL_OPEN_OK).await?;
    let kind = Arguments::default()
        .short("x-queue-type")
        .bytes(b"S")
        .long(b"quorum");
    let size = kind
        .short("x-quorum-initial-group-size")
        .bytes(b"I\0\0\0\x03");
    let declare = Arguments::default().bytes(&[0, 0]).short(queue);
    let declare = declare.bytes(&[2]).long(&size.0); // 2: durable
    talk.say(1, DECLARE, declare).await?;
    talk.hear(DECLARE_OK).await?;
    talk.say(1, SELECT, Arguments::default().bytes(&[0]))
        .await?;
    talk.hear(SELECT_OK).await?;
    ensure!(talk.bytes.is_empty(), "said more than was asked");
    Ok(())
}

/// Question and answer, before the first submission.
struct Talk<'a> {
    stream: &'a mut TcpStream,
    bytes: Vec<u8>,
}

impl Talk<'_> {
    async fn say(&mut self, channel: u16, method: Method, arguments: Arguments) -> Result<()> {
        let mut out = Vec::new();
        frame(&mut out, METHOD, channel, &[&method.bytes(), &arguments.0]);
        Ok(self.stream.write_all(&out).await?)
    }

    /// The arguments of the next method, which must be this one.
    async fn hear(&mut self, method: Method) -> Result<Vec<u8>> {
        loop {
            if let Some((frame, len)) = Frame::first(&self.bytes)? {
                let arguments = frame.method(method)?.to_vec();
                self.bytes.drain(..len);
                return Ok(arguments);
            }
            let read = self.stream.read_buf(&mut self.bytes).await?;
            ensure!(read > 0, "the broker closed the connection");
        }
    }
}

/// Publishes to the default exchange, which routes by the queue's name.
pub(super) struct Publisher {
    publish: Vec<u8>,
}

impl Publisher {
    pub(super) fn new(queue: &str) -> Self {
        // 1: mandatory, so that what reaches no queue is returned instead of confirmed.
        let publish = Arguments::default().bytes(&PUBLISH.bytes());
        let publish = publish.bytes(&[0, 0]).short("").short(queue).bytes(&[1]);
        Self { publish: publish.0 }
    }
}

impl Wire for Publisher {
    fn submit(&mut self, _number: u64, document: &[u8], out: &mut Vec<u8>) {
        frame(out, METHOD, 1, &[&self.publish]);
        let len = document.len() as u64;
        // Class basic; only the delivery mode is set, to persistent.
        frame(
            out,
            HEADER,
            1,
            &[&[0, 60, 0, 0], &len.to_be_bytes(), &[0x10, 0, 2]],
        );
        frame(out, BODY, 1, &[document]);
    }

    fn answers(&mut self, bytes: &[u8], waiting: &mut Waiting, _: &mut Vec<u8>) -> Result<usize> {
        let mut taken = 0;
        while let Some((frame, len)) = Frame::first(bytes.get(taken..).unwrap_or_default())? {
            let arguments = frame.method(BASIC_ACK)?;
            let (tag, rest) = arguments.split_first_chunk().context("a short ack")?;
            // Tags begin at 1, numbers at 0.
            let number = u64::from_be_bytes(*tag).checked_sub(1).context("tag 0")?;
            if rest.first().is_some_and(|bits| bits & 1 == 1) {
                waiting.settle_through(number)?;
            } else {
                waiting.settle(number)?;
            }
            taken += len;
        }
        Ok(taken)
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, channel: u16, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    out.push(kind);
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&u32::try_from(len).unwrap_or_default().to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
    out.push(FRAME_END);
}

struct Frame<'a> {
    kind: u8,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    fn first(bytes: &'a [u8]) -> Result<Option<(Self, usize)>> {
        let Some(&[kind, _, _, ref len @ ..]) = bytes.first_chunk::<FRAME_HEAD>() else {
            return Ok(None);
        };
        let len = len.first_chunk().context("a frame's length")?;
        let end = FRAME_HEAD + usize::try_from(u32::from_be_bytes(*len))?;
        let Some(last) = bytes.get(end) else {
            return Ok(None);
        };
        ensure!(*last == FRAME_END, "not a frame");
        let payload = bytes.get(FRAME_HEAD..end).unwrap_or_default();
        Ok(Some((Self { kind, payload }, end + 1)))
    }

    /// The arguments, if it is this method; an error with what was said otherwise.
    fn method(&self, wanted: Method) -> Result<&'a [u8]> {
        if let Some((method, arguments)) = self.payload.split_first_chunk::<4>()
            && self.kind == METHOD
            && *method == wanted.bytes()
        {
            return Ok(arguments);
        }
        bail!("the broker said: {}", String::from_utf8_lossy(self.payload))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn ack(tag: u64, is_multiple: u8) -> Vec<u8> {
        let mut out = Vec::new();
        let parts: [&[u8]; 3] = [&BASIC_ACK.bytes(), &tag.to_be_bytes(), &[is_multiple]];
        frame(&mut out, METHOD, 1, &parts);
        out
    }

    fn waiting(count: usize) -> Waiting {
        let mut waiting = Waiting::new(Instant::now());
        for _ in 0..count {
            waiting.push(Instant::now());
        }
        waiting
    }

    #[test]
    fn acks_of_one_and_of_many_settle() {
        let mut waiting = waiting(5);
        let mut wire = Publisher::new("bench");
        let bytes = [ack(2, 0), ack(4, 1)].concat();
        let cut = bytes.len() - 1;
        let taken = wire.answers(&bytes[..cut], &mut waiting, &mut Vec::new());
        assert_eq!((bytes.len() / 2, 4), (taken.unwrap(), waiting.len()));
        wire.answers(&ack(4, 1), &mut waiting, &mut Vec::new())
            .unwrap();
        assert_eq!(1, waiting.len(), "only the fifth");
    }

    #[test]
    fn a_nack_or_a_close_is_told() {
        let mut bytes = Vec::new();
        let close: [&[u8]; 2] = [&Method(10, 50).bytes(), b"NOT_FOUND"];
        frame(&mut bytes, METHOD, 0, &close);
        let mut wire = Publisher::new("bench");
        let error = wire.answers(&bytes, &mut waiting(1), &mut Vec::new());
        assert!(error.unwrap_err().to_string().contains("NOT_FOUND"));
    }

    #[test]
    fn a_submission_is_three_frames() {
        let mut out = Vec::new();
        Publisher::new("q").submit(0, b"doc", &mut out);
        let mut kinds = Vec::new();
        let mut rest = &out[..];
        while let Some((frame, len)) = Frame::first(rest).unwrap() {
            kinds.push((frame.kind, frame.payload.len()));
            rest = &rest[len..];
        }
        assert_eq!(vec![(METHOD, 10), (HEADER, 15), (BODY, 3)], kinds);
        assert!(rest.is_empty());
    }
}
