//! One unary call of gRPC, again and again: as much of HTTP/2 as that takes.
//!
//! ```text
//! 0        3      4       5           9
//! ├ len ───┼ type ┼ flags ┼ stream id ┼ payload     stream ids are odd: 1, 3, 5, …
//! ```
//! Holds: a call is acknowledged when its stream has ended after a message; a server sends a message
//! only with status OK, and a call that failed has none. Connection flow control is kept both ways.
//! Why no library: one that is complete costs this client ten times as much a call.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};

use super::super::load::{Waiting, Wire};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// On SETTINGS and PING.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;
/// What both sides may send before they are told more, by the protocol.
const WINDOW_BYTES: u32 = 65_535;
/// We give back what we have read when it is so much.
const GIVE_BACK_BYTES: u32 = 16 << 10;

/// Makes the message of a call, given its number and document.
pub(super) type Message = fn(client: u16, number: u64, document: &[u8], out: &mut Vec<u8>);

pub(super) struct Calls {
    client: u16,
    message: Message,
    /// The same for each call: nothing of it is kept by the compression.
    head: Vec<u8>,
    /// What is sent before all else, and only once.
    preface: Vec<u8>,
    scratch: Vec<u8>,
    /// Bytes that the server takes before it tells more.
    window: u32,
    streams_max: usize,
    under_way: usize,
    /// A call's cost; the first one teaches it.
    call_bytes: u32,
    /// Read and not given back.
    read_bytes: u32,
    /// Streams that have had their message.
    answered: BTreeSet<u32>,
}

impl Calls {
    pub(super) fn new(client: u16, path: &str, authority: &str, message: Message) -> Self {
        let mut head = vec![0x83, 0x86]; // :method POST, :scheme http
        for (name, value) in [
            (&[0x04][..], path),                     // :path
            (&[0x01][..], authority),                // :authority
            (&[0x0f, 0x10][..], "application/grpc"), // content-type
            (&[0x00, 0x02, b't', b'e'][..], "trailers"),
        ] {
            head.extend_from_slice(name);
            head.push(u8::try_from(value.len()).unwrap_or_default() & 0x7f);
            head.extend_from_slice(value.as_bytes());
        }
        let mut preface = PREFACE.to_vec();
        // No table for compressed headers, nothing pushed.
        frame(
            &mut preface,
            SETTINGS,
            0,
            0,
            &[0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0],
        );
        Self {
            client,
            message,
            head,
            preface,
            scratch: Vec::new(),
            window: WINDOW_BYTES,
            streams_max: usize::MAX,
            under_way: 0,
            call_bytes: 1024,
            read_bytes: 0,
            answered: BTreeSet::new(),
        }
    }

    fn take(
        &mut self,
        frame_of: &Frame<'_>,
        waiting: &mut Waiting,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let Frame {
            kind,
            flags,
            stream,
            payload,
        } = *frame_of;
        let is_last = flags & END_STREAM != 0;
        match kind {
            DATA => {
                self.read_bytes += u32::try_from(payload.len())?;
                self.answered.insert(stream);
                if is_last {
                    self.end(stream, payload, waiting)?;
                }
            }
            HEADERS if is_last => self.end(stream, payload, waiting)?,
            SETTINGS if flags & ACK == 0 => {
                self.settings(payload)?;
                frame(out, SETTINGS, ACK, 0, &[]);
            }
            PING if flags & ACK == 0 => frame(out, PING, ACK, 0, payload),
            WINDOW_UPDATE if stream == 0 => self.window += number(payload)?,
            RST_STREAM | GOAWAY => bail!("refused: {}", String::from_utf8_lossy(payload)),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, stream: u32, payload: &[u8], waiting: &mut Waiting) -> Result<()> {
        let is_answered = self.answered.remove(&stream);
        let words = || format!("a call failed: {}", String::from_utf8_lossy(payload));
        ensure!(is_answered, words());
        self.under_way -= 1;
        waiting.settle(u64::from(stream / 2))
    }

    fn settings(&mut self, payload: &[u8]) -> Result<()> {
        for setting in payload.chunks_exact(6) {
            let (name, value) = setting.split_at(2);
            if name == MAX_CONCURRENT_STREAMS.to_be_bytes() {
                self.streams_max = usize::try_from(number(value)?)?;
            }
        }
        Ok(())
    }
}

impl Wire for Calls {
    fn submit(&mut self, number: u64, document: &[u8], out: &mut Vec<u8>) {
        out.append(&mut self.preface);
        // A connection that has used up its streams is refused by the server, and told.
        let stream = u32::try_from(number * 2 + 1).unwrap_or_default();
        frame(out, HEADERS, END_HEADERS, stream, &self.head);
        self.scratch.clear();
        self.scratch.extend_from_slice(&[0; 5]);
        (self.message)(self.client, number, document, &mut self.scratch);
        let len = u32::try_from(self.scratch.len()).unwrap_or_default();
        if let Some(place) = self.scratch.get_mut(1..5) {
            place.copy_from_slice(&(len - 5).to_be_bytes());
        }
        frame(out, DATA, END_STREAM, stream, &self.scratch);
        self.call_bytes = len + 16; // a longer number may follow
        self.window = self.window.saturating_sub(len);
        self.under_way += 1;
    }

    fn answers(&mut self, bytes: &[u8], waiting: &mut Waiting, out: &mut Vec<u8>) -> Result<usize> {
        let mut taken = 0;
        while let Some((frame_of, len)) = Frame::first(bytes.get(taken..).unwrap_or_default())? {
            self.take(&frame_of, waiting, out)?;
            taken += len;
        }
        if self.read_bytes >= GIVE_BACK_BYTES {
            frame(out, WINDOW_UPDATE, 0, 0, &self.read_bytes.to_be_bytes());
            self.read_bytes = 0;
        }
        Ok(taken)
    }

    fn room(&self) -> usize {
        let by_window = usize::try_from(self.window / self.call_bytes).unwrap_or_default();
        by_window.min(self.streams_max.saturating_sub(self.under_way))
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let len = u32::try_from(payload.len()).unwrap_or_default();
    out.extend_from_slice(len.to_be_bytes().get(1..).unwrap_or_default());
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

fn number(bytes: &[u8]) -> Result<u32> {
    let four = bytes.first_chunk().context("four bytes are missing")?;
    Ok(u32::from_be_bytes(*four))
}

#[derive(Clone, Copy)]
struct Frame<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    fn first(bytes: &'a [u8]) -> Result<Option<(Self, usize)>> {
        let Some(&[a, b, c, kind, flags, ref stream @ ..]) = bytes.first_chunk::<FRAME_HEAD>()
        else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_be_bytes([0, a, b, c]))?;
        let payload = bytes.get(FRAME_HEAD..FRAME_HEAD + len);
        let stream = number(stream)?;
        let frame = payload.map(|payload| Self {
            kind,
            flags,
            stream,
            payload,
        });
        Ok(frame.map(|frame| (frame, FRAME_HEAD + len)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn calls(count: u64) -> (Calls, Waiting) {
        let message: Message = |_, _, document, out| out.extend_from_slice(document);
        let mut calls = Calls::new(0, "/kv/Put", "bench", message);
        let mut waiting = Waiting::new(Instant::now());
        for number in 0..count {
            assert!(0 < calls.room());
            waiting.push(Instant::now());
            calls.submit(number, &[b'x'; 300], &mut Vec::new());
        }
        (calls, waiting)
    }

    fn answer(stream: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame(&mut bytes, HEADERS, END_HEADERS, stream, &[0x88]);
        frame(&mut bytes, DATA, 0, stream, &[0, 0, 0, 0, 0]);
        frame(&mut bytes, HEADERS, END_HEADERS | END_STREAM, stream, &[]);
        bytes
    }

    #[test]
    fn a_call_is_acknowledged_by_its_message_and_end() {
        let (mut calls, mut waiting) = calls(2);
        let bytes = answer(3);
        let mut out = Vec::new();
        let cut = bytes.len() - 1;
        let taken = calls
            .answers(&bytes[..cut], &mut waiting, &mut out)
            .unwrap();
        assert_eq!(2, waiting.len());
        let rest = calls
            .answers(&bytes[taken..], &mut waiting, &mut out)
            .unwrap();
        assert_eq!((bytes.len(), 1), (taken + rest, waiting.len()));
    }

    #[test]
    fn a_call_without_a_message_has_failed() {
        let (mut calls, mut waiting) = calls(1);
        let mut bytes = Vec::new();
        frame(
            &mut bytes,
            HEADERS,
            END_HEADERS | END_STREAM,
            1,
            b"grpc-message too large",
        );
        let error = calls.answers(&bytes, &mut waiting, &mut Vec::new());
        assert!(error.unwrap_err().to_string().contains("too large"));
    }

    #[test]
    fn no_more_is_sent_than_the_server_takes() {
        let (mut calls, mut waiting) = calls(100);
        let before = calls.room();
        assert!((90..120).contains(&before), "{before}");
        let mut bytes = Vec::new();
        frame(&mut bytes, WINDOW_UPDATE, 0, 0, &32_100_u32.to_be_bytes());
        frame(&mut bytes, SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 150]);
        let mut out = Vec::new();
        calls.answers(&bytes, &mut waiting, &mut out).unwrap();
        assert_eq!(50, calls.room(), "150 streams, 100 under way");
        assert_eq!(&[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0], &out[..]);
    }
}
