//! A record's body, parted into members: for sinks that write a cell a member.
//!
//! Holds: members keep their order and their values the bytes in which they were sent. Nothing is
//! refused: a body that is no object is one piece.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::record::Record;

/// A body, parted into its members. Borrows the record's bytes.
#[derive(Debug)]
pub(super) enum Row<'a> {
    /// In the order in which they were sent.
    Members(Vec<(Cow<'a, str>, &'a RawValue)>),
    /// Not an object: it goes into `_more` as it is, since a sheet refuses nothing.
    Whole(Cow<'a, str>),
}

impl<'a> Row<'a> {
    pub(super) fn of(record: &'a Record) -> Self {
        match serde_json::from_slice::<Members<'a>>(&record.body) {
            Ok(Members(members)) => Self::Members(members),
            Err(_) => Self::Whole(String::from_utf8_lossy(&record.body)),
        }
    }
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, _>()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The text of a value that is text.
pub(super) fn text_of(value: &RawValue) -> Option<Cow<'_, str>> {
    let json = value.get();
    if !json.starts_with('"') {
        return None;
    }
    serde_json::from_str::<Name<'_>>(json)
        .ok()
        .map(|name| name.0)
}

/// Text that no spreadsheet takes for a formula.
pub(super) fn guarded(text: &str) -> Cow<'_, str> {
    match text.as_bytes().first() {
        Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r') => Cow::Owned(format!("'{text}")),
        _ => Cow::Borrowed(text),
    }
}

pub(super) fn add_member(more: &mut String, name: &str, value: &RawValue) {
    more.push(if more.is_empty() { '{' } else { ',' });
    more.push_str(&serde_json::Value::from(name).to_string());
    more.push(':');
    more.push_str(value.get());
}

/// RFC 3339, UTC, milliseconds.
pub(super) fn time(ms: u64) -> String {
    let stamp = i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(|| ms.to_string(), |stamp| format!("{stamp:.3}"))
}
