//! As much of Kafka's protocol as a producer needs: metadata, a topic's settings, produce.
//!
//! ```text
//! 0     4     6         8               12
//! ├ len ┼ key ┼ version ┼ correlation ──┼ client id, body        an answer: len, correlation, body
//!
//! record batch: 0            8     12          16      17    21
//!               ├ offset 0 ──┼ len ┼ leader -1 ┼ magic ┼ crc ┼ attributes … records
//! ```
//! Holds: a batch is acknowledged by error 0 of its partition; `crc` is CRC-32C of what is behind it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::load::{Waiting, Wire};
use super::super::peer::connect;

const PRODUCE: (i16, i16) = (0, 8);
const METADATA: (i16, i16) = (3, 5);
const DESCRIBE_CONFIGS: (i16, i16) = (32, 1);
const CLIENT: &str = "bench";
const ACKS_ALL: i16 = -1;
const TIMEOUT_MS: i32 = 10_000;
const TOPIC_KIND: i8 = 2;
/// From the batch's length to the crc, both excluded: leader's epoch, magic.
const BATCH_HEAD: &[u8] = &[0xff, 0xff, 0xff, 0xff, 2];
/// A producer without an id: -1 in 8, 2 and 4 bytes.
const NO_PRODUCER: [u8; 14] = [0xff; 14];

/// One partition as the cluster sees it.
pub(super) struct Partition {
    pub(super) leader: SocketAddr,
    pub(super) in_sync: usize,
}

/// The partitions of a topic, in their order; a topic that is not there is made.
pub(super) async fn partitions(broker: SocketAddr, topic: &str) -> Result<Vec<Partition>> {
    let mut body = Vec::new();
    body.extend_from_slice(&1_i32.to_be_bytes());
    text(&mut body, topic);
    body.push(1);
    let answer = ask(broker, METADATA, &body).await?;
    let mut fields = Fields(&answer);
    fields.i32()?; // throttled for
    let mut brokers = Vec::new();
    for _ in 0..fields.i32()? {
        let id = fields.i32()?;
        let host = fields.text()?.to_owned();
        brokers.push((id, format!("{host}:{}", fields.i32()?)));
        fields.text()?; // rack
    }
    fields.text()?; // cluster
    fields.i32()?; // controller
    ensure!(fields.i32()? == 1, "one topic was asked for");
    let error = fields.i16()?;
    ensure!(error == 0, "{topic}: error {error}");
    fields.text()?;
    fields.take(1)?; // is it internal
    let mut partitions = Vec::new();
    for _ in 0..fields.i32()? {
        let (error, index, leader) = (fields.i16()?, fields.i32()?, fields.i32()?);
        ensure!(error == 0, "partition {index}: error {error}");
        fields.ids()?;
        let in_sync = fields.ids()?;
        fields.ids()?;
        let leader = brokers.iter().find(|(id, _)| *id == leader);
        let (_, leader) = leader.context("a leader that is no broker")?;
        let leader = leader.parse()?;
        partitions.push((index, Partition { leader, in_sync }));
    }
    partitions.sort_by_key(|(index, _)| *index);
    Ok(partitions
        .into_iter()
        .map(|(_, partition)| partition)
        .collect())
}

/// The broker says that the topic is set so.
pub(super) async fn check_settings(
    broker: SocketAddr,
    topic: &str,
    wanted: &[(&str, &str)],
) -> Result<()> {
    let mut body = Vec::new();
    body.extend_from_slice(&1_i32.to_be_bytes());
    body.extend_from_slice(&TOPIC_KIND.to_be_bytes());
    text(&mut body, topic);
    body.extend_from_slice(&(-1_i32).to_be_bytes()); // all of its settings
    body.push(0);
    let answer = ask(broker, DESCRIBE_CONFIGS, &body).await?;
    for (name, value) in wanted {
        // A setting is its name and at once its value.
        let mut pair = Vec::new();
        text(&mut pair, name);
        text(&mut pair, value);
        let is_there = answer.windows(pair.len()).any(|some| some == pair);
        ensure!(is_there, "{name} of the topic is not {value}");
    }
    Ok(())
}

async fn ask(broker: SocketAddr, api: (i16, i16), body: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    request(&mut out, api, 0, &[body]);
    let mut stream = connect(broker).await?;
    stream.write_all(&out).await?;
    let len = usize::try_from(stream.read_i32().await?)?;
    stream.read_i32().await?; // the correlation
    let mut answer = vec![0; len.checked_sub(4).context("a short answer")?];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn request(out: &mut Vec<u8>, (key, version): (i16, i16), correlation: i32, parts: &[&[u8]]) {
    let mut head = Vec::with_capacity(16);
    head.extend_from_slice(&key.to_be_bytes());
    head.extend_from_slice(&version.to_be_bytes());
    head.extend_from_slice(&correlation.to_be_bytes());
    text(&mut head, CLIENT);
    let len = head.len() + parts.iter().map(|part| part.len()).sum::<usize>();
    out.extend_from_slice(&len_of(len));
    out.extend_from_slice(&head);
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    let len = i16::try_from(text.len()).unwrap_or_default();
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn len_of(len: usize) -> [u8; 4] {
    i32::try_from(len).unwrap_or_default().to_be_bytes()
}

/// An answer's fields, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).context("a short answer")?;
        self.0 = rest;
        Ok(taken)
    }

    fn i16(&mut self) -> Result<i16> {
        let bytes = self.take(2)?.first_chunk().context("two bytes")?;
        Ok(i16::from_be_bytes(*bytes))
    }

    fn i32(&mut self) -> Result<i32> {
        let bytes = self.take(4)?.first_chunk().context("four bytes")?;
        Ok(i32::from_be_bytes(*bytes))
    }

    /// Empty if it is null.
    fn text(&mut self) -> Result<&'a str> {
        let len = usize::try_from(self.i16()?).unwrap_or_default();
        Ok(std::str::from_utf8(self.take(len)?)?)
    }

    /// How many of them there are.
    fn ids(&mut self) -> Result<usize> {
        let count = usize::try_from(self.i32()?)?;
        self.take(count * 4)?;
        Ok(count)
    }
}

/// Produces to one partition: all that can be sent at once is one batch.
pub(super) struct Producer {
    /// A request's body up to the length of the batch.
    body: Vec<u8>,
    table: [u32; 256],
    records: Vec<u8>,
    count: i32,
    /// What each request under way carries, and its correlation.
    sent: std::collections::VecDeque<(i32, usize)>,
    requests: i32,
}

impl Producer {
    pub(super) fn new(topic: &str, partition: i32) -> Self {
        let mut body = Vec::new();
        body.extend_from_slice(&(-1_i16).to_be_bytes()); // no transaction
        body.extend_from_slice(&ACKS_ALL.to_be_bytes());
        body.extend_from_slice(&TIMEOUT_MS.to_be_bytes());
        body.extend_from_slice(&1_i32.to_be_bytes());
        text(&mut body, topic);
        body.extend_from_slice(&1_i32.to_be_bytes());
        body.extend_from_slice(&partition.to_be_bytes());
        Self {
            body,
            table: crc_table(),
            records: Vec::new(),
            count: 0,
            sent: std::collections::VecDeque::new(),
            requests: 0,
        }
    }

    /// What the crc covers: attributes, the last delta, two times, no producer, the records.
    fn covered(&self) -> Vec<u8> {
        let mut covered = vec![0; 2];
        covered.extend_from_slice(&(self.count - 1).to_be_bytes());
        covered.extend_from_slice(&[0; 16]);
        covered.extend_from_slice(&NO_PRODUCER);
        covered.extend_from_slice(&self.count.to_be_bytes());
        covered.extend_from_slice(&self.records);
        covered
    }
}

impl Wire for Producer {
    fn submit(&mut self, _number: u64, document: &[u8], _out: &mut Vec<u8>) {
        let mut record = vec![0, 0]; // attributes, the time's delta
        zigzag(i64::from(self.count), &mut record);
        zigzag(-1, &mut record); // no key
        zigzag(
            i64::try_from(document.len()).unwrap_or_default(),
            &mut record,
        );
        record.extend_from_slice(document);
        record.push(0); // no headers
        zigzag(
            i64::try_from(record.len()).unwrap_or_default(),
            &mut self.records,
        );
        self.records.extend_from_slice(&record);
        self.count += 1;
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let covered = self.covered();
        let crc = crc(&self.table, &covered);
        let len = BATCH_HEAD.len() + 4 + covered.len();
        let parts: [&[u8]; 7] = [
            &self.body,
            &len_of(12 + len),
            &[0; 8],
            &len_of(len),
            BATCH_HEAD,
            &crc.to_be_bytes(),
            &covered,
        ];
        request(out, PRODUCE, self.requests, &parts);
        let count = usize::try_from(self.count).unwrap_or_default();
        self.sent.push_back((self.requests, count));
        self.requests = self.requests.wrapping_add(1);
        self.records.clear();
        self.count = 0;
    }

    fn answers(&mut self, bytes: &[u8], waiting: &mut Waiting, _: &mut Vec<u8>) -> Result<usize> {
        let mut taken = 0;
        loop {
            let mut fields = Fields(bytes.get(taken..).unwrap_or_default());
            if fields.0.len() < 4 {
                return Ok(taken);
            }
            let len = usize::try_from(fields.i32()?)?;
            if fields.0.len() < len {
                return Ok(taken);
            }
            taken += 4 + len;
            let (correlation, count) = self.sent.pop_front().context("an answer to nothing")?;
            ensure!(fields.i32()? == correlation, "answered out of turn");
            ensure!(fields.i32()? == 1, "one topic was sent");
            fields.text()?;
            ensure!(fields.i32()? == 1, "one partition was sent");
            fields.i32()?;
            let error = fields.i16()?;
            if error != 0 {
                bail!("a batch was refused with error {error}");
            }
            waiting.settle_oldest(count)?;
        }
    }
}

fn zigzag(value: i64, out: &mut Vec<u8>) {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap_or_default() | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap_or_default());
}

/// Castagnoli's polynomial, reflected.
fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    for (byte, entry) in (0_u32..).zip(table.iter_mut()) {
        *entry = (0..8).fold(byte, |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        });
    }
    table
}

fn crc(table: &[u32; 256], bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        let entry = table.get(usize::from(low ^ byte)).copied();
        crc >> 8 ^ entry.unwrap_or_default()
    });
    !crc
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(0xe306_9283, crc(&crc_table(), b"123456789"));
    }

    #[test]
    fn numbers_are_zigzagged() {
        for (value, bytes) in [(0, &[0][..]), (-1, &[1]), (1, &[2]), (300, &[0xd8, 4])] {
            let mut out = Vec::new();
            zigzag(value, &mut out);
            assert_eq!(bytes, out, "{value}");
        }
    }

    fn answer(correlation: i32, error: i16) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&correlation.to_be_bytes());
        body.extend_from_slice(&1_i32.to_be_bytes());
        text(&mut body, "t");
        body.extend_from_slice(&1_i32.to_be_bytes());
        body.extend_from_slice(&0_i32.to_be_bytes());
        body.extend_from_slice(&error.to_be_bytes());
        let mut out = len_of(body.len()).to_vec();
        out.extend_from_slice(&body);
        out
    }

    fn sent(batches: &[usize]) -> (Producer, Waiting) {
        let (mut producer, mut waiting) = (Producer::new("t", 0), Waiting::new(Instant::now()));
        for count in batches {
            for _ in 0..*count {
                let number = waiting.push(Instant::now());
                producer.submit(number, b"{}", &mut Vec::new());
            }
            producer.close(&mut Vec::new());
        }
        (producer, waiting)
    }

    #[test]
    fn a_batch_is_acknowledged_whole() {
        let (mut producer, mut waiting) = sent(&[3, 2]);
        let bytes = [answer(0, 0), answer(1, 0)].concat();
        let cut = bytes.len() - 1;
        let taken = producer.answers(&bytes[..cut], &mut waiting, &mut Vec::new());
        assert_eq!((bytes.len() / 2, 2), (taken.unwrap(), waiting.len()));
    }

    #[test]
    fn a_refusal_or_an_answer_out_of_turn_is_an_error() {
        for bytes in [answer(0, 19), answer(1, 0)] {
            let (mut producer, mut waiting) = sent(&[1]);
            let taken = producer.answers(&bytes, &mut waiting, &mut Vec::new());
            assert!(taken.is_err());
        }
    }

    #[test]
    fn a_batch_says_how_long_it_is() {
        let (mut producer, mut out) = (Producer::new("t", 0), Vec::new());
        producer.submit(0, b"{}", &mut out);
        producer.close(&mut out);
        let len = i32::from_be_bytes(*out.first_chunk().unwrap());
        assert_eq!(out.len(), 4 + usize::try_from(len).unwrap());
        // 61 bytes of a batch's head, a length, 9 bytes of a record.
        let body = producer.body.len();
        assert_eq!(out.len(), 4 + 8 + 2 + CLIENT.len() + body + 4 + 61 + 1 + 8);
    }
}
