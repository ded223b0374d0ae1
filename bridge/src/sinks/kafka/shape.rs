//! A record as Kafka gets it: key, partition, headers, timestamp. The value is the body as it is
//! stored, never encoded again.
//!
//! Holds: the same record gets the same key and partition each time while a topic keeps its partitions,
//! so a transaction that is sent again lands where it did before.
//!
//! The timestamp is the time of acceptance only while that is safely younger than the topic's
//! retention. Kafka deletes a segment by its newest timestamp, so records that are stamped old vanish
//! minutes after they were written, unseen: a backlog, a replay, a backfill. The time of acceptance is
//! in a header always.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use rdkafka::message::{Header, OwnedHeaders};
use serde_json::value::RawValue;

use super::murmur;
use super::settings::{HeaderStyle, Key};
use crate::record::Record;

/// A record may be as old as this part of the topic's retention.
const SAFE_PART: u64 = 4;

/// What Kafka adds to a record's key, value and headers, at most.
const OVERHEAD_BYTES: usize = 70;

/// What brokers do with a topic's timestamps and sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// How long records are kept; `None`: not known.
    pub(super) retention: Option<Retention>,
    /// The largest batch that the topic takes, if it is known.
    pub(super) bytes_max: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retention {
    Forever,
    Ms(u64),
}

/// The timestamp of a record that was accepted at `received_at_ms` and is delivered now: one that
/// loses nothing.
pub(super) fn timestamp_ms(received_at_ms: u64, now_ms: u64, retention: Option<Retention>) -> u64 {
    let is_safe = match retention {
        // A clock that runs ahead of the brokers' is no better than one behind.
        _ if received_at_ms > now_ms => false,
        None => false,
        Some(Retention::Forever) => true,
        Some(Retention::Ms(kept)) => now_ms - received_at_ms < kept / SAFE_PART,
    };
    if is_safe { received_at_ms } else { now_ms }
}

/// Makes keys and headers; its buffers are used again for each record, and what a record has in common
/// with the one before it is not written a second time.
#[derive(Debug)]
pub(super) struct Shaper {
    key: Key,
    style: HeaderStyle,
    cluster: String,
    received_at: Written,
    seq: Written,
    index: Written,
    term: Written,
    schema: Written,
}

/// A number, and how it is written.
#[derive(Debug, Default)]
struct Written {
    number: Option<u64>,
    text: String,
}

impl Shaper {
    pub(super) fn new(key: Key, style: HeaderStyle, cluster: &str) -> Self {
        Self {
            key,
            style,
            cluster: cluster.to_owned(),
            received_at: Written::default(),
            seq: Written::default(),
            index: Written::default(),
            term: Written::default(),
            schema: Written::default(),
        }
    }

    /// The record's key: `None` for none.
    pub(super) fn key<'r>(&self, record: &'r Record) -> Option<Cow<'r, [u8]>> {
        let form = || Cow::Borrowed(record.form.as_bytes());
        match &self.key {
            Key::None => None,
            Key::Form => Some(form()),
            Key::Field(field) => Some(member(&record.body, field).map_or_else(form, Cow::Owned)),
        }
    }

    /// The record's headers: text, so that every tool can show them.
    pub(super) fn headers(&mut self, record: &Record) -> OwnedHeaders {
        let received_at = self.received_at.of(record.received_at_ms, received_at);
        let seq = self.seq.of(record.seq, decimal);
        let index = self.index.of(record.position.index, decimal);
        let term = self.term.of(record.term, decimal);
        let schema = self.schema.of(u64::from(record.form_version), decimal);
        let mut headers = OwnedHeaders::new_with_capacity(9)
            .insert(text("formspool-id", &record.id))
            .insert(text("formspool-form", &record.form))
            .insert(text("formspool-cluster", &self.cluster))
            .insert(text("formspool-received-at", received_at))
            .insert(text("formspool-seq", seq))
            .insert(text("formspool-index", index))
            .insert(text("formspool-term", term))
            .insert(text("formspool-schema", schema));
        if record.is_replay {
            headers = headers.insert(text("formspool-replay", "true"));
        }
        match self.style {
            HeaderStyle::Plain => headers,
            HeaderStyle::CloudEvents => {
                let source = format!("/formspool/{}/{}", self.cluster, record.form);
                headers
                    .insert(text("ce_specversion", "1.0"))
                    .insert(text("ce_id", &record.id))
                    .insert(text("ce_source", &source))
                    .insert(text("ce_type", "formspool.submission"))
                    .insert(text("ce_time", received_at))
                    .insert(text("ce_subject", seq))
                    .insert(text("content-type", "application/json"))
            }
        }
    }
}

impl Written {
    fn of(&mut self, number: u64, write: impl FnOnce(u64, &mut String)) -> &str {
        if self.number != Some(number) {
            self.number = Some(number);
            self.text.clear();
            write(number, &mut self.text);
        }
        &self.text
    }
}

/// The partition of a record: by its key, else round and round.
pub(super) fn partition(record: &Record, key: Option<&[u8]>, count: i32) -> i32 {
    if let Some(key) = key {
        return murmur::partition(key, count);
    }
    let count = u64::try_from(count).unwrap_or(1).max(1);
    i32::try_from(record.seq % count).unwrap_or(0)
}

/// What the record takes on its way, uncompressed; at most.
pub(super) fn bytes(record: &Record, key: Option<&[u8]>, style: HeaderStyle) -> usize {
    let headers = match style {
        HeaderStyle::Plain => 400,
        HeaderStyle::CloudEvents => 800,
    };
    let names = 3 * record.form.len();
    record.body.len() + key.map_or(0, <[u8]>::len) + headers + names + OVERHEAD_BYTES
}

fn text<'a>(key: &'a str, value: &'a str) -> Header<'a, &'a str> {
    Header {
        key,
        value: Some(value),
    }
}

/// As receipts show it; empty for a time that no calendar has.
fn received_at(ms: u64, text: &mut String) {
    let time = i64::try_from(ms).map(Timestamp::from_millisecond);
    if let Ok(Ok(time)) = time {
        // Writing to a String cannot fail.
        write!(text, "{time:.3}").ok();
    }
}

fn decimal(number: u64, text: &mut String) {
    // As above.
    write!(text, "{number}").ok();
}

/// A member of a JSON object as a key: a string's text, anything else as it is written.
fn member(body: &[u8], name: &str) -> Option<Vec<u8>> {
    type Members<'a> = HashMap<Cow<'a, str>, &'a RawValue>;
    let members: Members<'_> = serde_json::from_slice(body).ok()?;
    let raw = members.get(name)?.get();
    if raw == "null" {
        return None;
    }
    let text = serde_json::from_str::<Cow<'_, str>>(raw);
    Some(text.map_or_else(|_| raw.as_bytes().to_vec(), |text| text.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rdkafka::message::Headers as _;

    use super::*;
    use crate::record::Position;
    use std::sync::Arc;

    const DAY: u64 = 86_400_000;

    fn record(body: &str) -> Record {
        Record {
            form: Arc::from("student-data"),
            seq: 17,
            position: Position {
                index: 4711,
                slot: 3,
            },
            term: 7,
            id: "018f".to_owned(),
            received_at_ms: 1_764_000_000_123,
            form_version: 2,
            body: Bytes::copy_from_slice(body.as_bytes()),
            is_replay: false,
        }
    }

    #[test]
    fn a_record_is_stamped_with_its_acceptance_only_while_that_is_safe() {
        let now = 1_764_000_000_000;
        let stamp = |age, retention| timestamp_ms(now - age, now, retention);
        let week = Some(Retention::Ms(7 * DAY));
        assert_eq!(stamp(DAY, week), now - DAY);
        assert_eq!(stamp(7 * DAY / 4 - 1, week), now - (7 * DAY / 4 - 1));
        assert_eq!(stamp(7 * DAY / 4, week), now, "a quarter is the limit");
        assert_eq!(stamp(400 * DAY, week), now);
        assert_eq!(stamp(400 * DAY, Some(Retention::Forever)), now - 400 * DAY);
        assert_eq!(stamp(1000, None), now, "what is not known is not safe");
        assert_eq!(timestamp_ms(now + 5000, now, Some(Retention::Forever)), now);
    }

    #[test]
    fn headers_are_text_and_name_the_record() {
        let mut shaper = Shaper::new(Key::Form, HeaderStyle::Plain, "c1");
        let told = |headers: &OwnedHeaders| -> Vec<(String, String)> {
            headers
                .iter()
                .map(|header| {
                    let value = String::from_utf8_lossy(header.value.unwrap_or_default());
                    (header.key.to_owned(), value.into_owned())
                })
                .collect()
        };
        let plain = told(&shaper.headers(&record("{}")));
        let expected = [
            ("formspool-id", "018f"),
            ("formspool-form", "student-data"),
            ("formspool-cluster", "c1"),
            ("formspool-received-at", "2025-11-24T16:00:00.123Z"),
            ("formspool-seq", "17"),
            ("formspool-index", "4711"),
            ("formspool-term", "7"),
            ("formspool-schema", "2"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(plain, expected);
        let replayed = Record {
            is_replay: true,
            ..record("{}")
        };
        assert!(
            told(&shaper.headers(&replayed))
                .contains(&("formspool-replay".to_owned(), "true".to_owned()))
        );
        let mut events = Shaper::new(Key::Form, HeaderStyle::CloudEvents, "c1");
        let events = told(&events.headers(&record("{}")));
        for (key, value) in [
            ("ce_id", "018f"),
            ("ce_source", "/formspool/c1/student-data"),
            ("ce_subject", "17"),
            ("formspool-seq", "17"),
        ] {
            assert!(
                events.contains(&(key.to_owned(), value.to_owned())),
                "{key}: {events:?}"
            );
        }
        let bytes: usize = events
            .iter()
            .map(|(key, value)| key.len() + value.len() + 2)
            .sum();
        let record = record("{}");
        assert!(bytes + 2 < super::bytes(&record, None, HeaderStyle::CloudEvents));
    }

    #[test]
    fn a_record_has_its_own_headers_whatever_the_one_before_it_had() {
        let one = record("{}");
        let other = Record {
            seq: 18,
            position: Position {
                index: 4712,
                slot: 0,
            },
            term: 8,
            received_at_ms: one.received_at_ms + 1,
            form_version: 3,
            ..record("{}")
        };
        let mut shaper = Shaper::new(Key::Form, HeaderStyle::CloudEvents, "c1");
        for record in [&one, &other, &other, &one] {
            let mut fresh = Shaper::new(Key::Form, HeaderStyle::CloudEvents, "c1");
            let words = |headers: OwnedHeaders| {
                let words = headers.iter().map(|header| {
                    let value = header.value.unwrap_or_default().to_owned();
                    (header.key.to_owned(), value)
                });
                words.collect::<Vec<_>>()
            };
            assert_eq!(
                words(shaper.headers(record)),
                words(fresh.headers(record)),
                "{}",
                record.seq
            );
        }
    }

    #[test]
    fn a_key_is_the_form_a_member_of_the_body_or_nothing() {
        let key = |key, body: &str| {
            let shaper = Shaper::new(key, HeaderStyle::Plain, "c");
            shaper.key(&record(body)).map(Cow::into_owned)
        };
        let field = || Key::Field("roll".to_owned());
        assert_eq!(key(Key::Form, "{}"), Some(b"student-data".to_vec()));
        assert_eq!(key(Key::None, "{}"), None);
        assert_eq!(key(field(), r#"{"roll":"a\"b"}"#), Some(b"a\"b".to_vec()));
        assert_eq!(
            key(field(), r#"{"ro\u006cl": 17.0}"#),
            Some(b"17.0".to_vec())
        );
        for without in [r#"{"x":1}"#, r#"{"roll":null}"#, "[1]"] {
            assert_eq!(
                key(field(), without),
                Some(b"student-data".to_vec()),
                "{without}"
            );
        }
    }
}
