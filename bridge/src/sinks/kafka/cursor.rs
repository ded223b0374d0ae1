//! The cursor as it lies in Kafka: the value of the record under the task's key in its control topic.
//!
//! ```text
//! key    student-mirror
//! value  {"version":1,"cluster":"01ar…","task":"student-mirror","incarnation":17,"index":4711,
//!         "slot":3,"term":7,"topics":{"student-data":{"partitions":3,"last":{"1":90210},
//!         "records":{"1":[4711,17]}}}}
//! key    student-mirror/opened
//! value  {"version":1,"cluster":"01ar…","task":"student-mirror","incarnation":17,"term":7}
//! ```
//! Holds: it is written in the transaction of the records that it speaks of, as its last record. The
//! second key is a mark that each opening writes, to know where reading may end; the topic is
//! compacted, so both stay as one each. Why `topics`: if the log of a partition ends below the offset
//! that stands here, or holds another record there than the one of this index and seq, Kafka has lost
//! what it had acknowledged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::Position;

/// The shape that this release writes, and the newest that it reads.
const VERSION: u32 = 1;

/// More partitions than these are not watched for losses: a record stays below 256 KiB.
const PARTITIONS_MAX: usize = 2000;

/// Behind the task's name: the key of the mark.
const OPENED: &str = "/opened";

/// What the destination knows of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CursorRecord {
    version: u32,
    pub(super) cluster: String,
    pub(super) task: String,
    pub(super) incarnation: u64,
    index: u64,
    slot: u32,
    /// Who wrote it: the leader of this term.
    pub(super) term: u64,
    /// Where each topic stood then.
    #[serde(default)]
    pub(super) topics: Marks,
}

/// Topics by name.
pub(super) type Marks = BTreeMap<String, TopicMark>;

/// Where one topic stood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TopicMark {
    /// How many partitions it had.
    pub(super) partitions: i32,
    /// The last offset that we wrote, by partition.
    pub(super) last: BTreeMap<i32, i64>,
    /// Which record lies there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) records: BTreeMap<i32, Name>,
}

/// A record's index and seq, as its headers have them. No two records of one life have both in
/// common; an id would not do in place of them only because it is long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Name(pub(super) u64, pub(super) u64);

/// The last record that we wrote to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) offset: i64,
    pub(super) name: Name,
}

/// Whose cursor it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) cluster: String,
    pub(super) task: String,
    pub(super) incarnation: u64,
}

/// What a record of the control topic is to its task.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Cursor(Box<CursorRecord>),
    /// Somebody has opened the task.
    Mark,
    /// The cursor was deleted by hand.
    Deleted,
    /// Another task's, or not ours at all.
    Foreign(String),
    /// Under our key, and we cannot read it.
    Unreadable(String),
}

impl Owner {
    /// The cursor at `position`.
    pub(super) fn cursor(&self, position: Position, term: u64, topics: Marks) -> CursorRecord {
        CursorRecord {
            version: VERSION,
            cluster: self.cluster.clone(),
            task: self.task.clone(),
            incarnation: self.incarnation,
            index: position.index,
            slot: position.slot,
            term,
            topics,
        }
    }

    /// The key of the mark that an opening writes.
    pub(super) fn mark_key(&self) -> String {
        format!("{}{OPENED}", self.task)
    }

    /// The mark that an opening writes.
    pub(super) fn mark(&self, term: u64) -> String {
        serde_json::json!({
            "version": VERSION, "cluster": self.cluster, "task": self.task,
            "incarnation": self.incarnation, "term": term,
        })
        .to_string()
    }

    /// Reads one record of the control topic.
    pub(super) fn read(&self, key: Option<&[u8]>, value: Option<&[u8]>) -> Found {
        let key = String::from_utf8_lossy(key.unwrap_or_default());
        match key.strip_prefix(self.task.as_str()) {
            Some("") => {}
            Some(OPENED) => return Found::Mark,
            Some(_) | None => return Found::Foreign(key.into_owned()),
        }
        let Some(value) = value else {
            return Found::Deleted;
        };
        match serde_json::from_slice::<CursorRecord>(value) {
            Ok(cursor) if cursor.version > VERSION => Found::Unreadable(format!(
                "its version is {}; this release reads {VERSION}",
                cursor.version
            )),
            Ok(cursor) => Found::Cursor(Box::new(cursor)),
            Err(error) => Found::Unreadable(error.to_string()),
        }
    }
}

impl CursorRecord {
    pub(super) fn position(&self) -> Position {
        Position {
            index: self.index,
            slot: self.slot,
        }
    }

    /// The value of its record.
    pub(super) fn encode(&self) -> Vec<u8> {
        // A tree of numbers and strings with keys of text has no way to fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Notes where a transaction ended in each partition. Where there are too many to keep, those of
/// topics that come last by name go.
pub(super) fn note(marks: &mut Marks, topic: &str, partitions: i32, last: &BTreeMap<i32, Last>) {
    if last.is_empty() {
        return;
    }
    let mark = match marks.get_mut(topic) {
        Some(mark) => mark,
        None => marks.entry(topic.to_owned()).or_default(),
    };
    mark.partitions = partitions;
    for (partition, last) in last {
        mark.last.insert(*partition, last.offset);
        mark.records.insert(*partition, last.name);
    }
    let mut watched: usize = marks.values().map(|mark| mark.last.len()).sum();
    while watched > PARTITIONS_MAX
        && let Some((_, gone)) = marks.pop_last()
    {
        watched -= gone.last.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            cluster: "c1".to_owned(),
            task: "t".to_owned(),
            incarnation: 5,
        }
    }

    fn last((partition, offset): (i32, i64)) -> (i32, Last) {
        let number = offset.unsigned_abs();
        let name = Name(1000 + number, number + 1);
        (partition, Last { offset, name })
    }

    #[test]
    fn a_cursor_reads_as_it_was_written() {
        let mut topics = Marks::new();
        note(&mut topics, "a", 3, &[(0, 41), (2, 17)].map(last).into());
        note(&mut topics, "a", 3, &[(2, 20)].map(last).into());
        let at = Position { index: 9, slot: 2 };
        let cursor = owner().cursor(at, 7, topics);
        let value = cursor.encode();
        let golden = r#"{"version":1,"cluster":"c1","task":"t","incarnation":5,"index":9,"slot":2,"term":7,"topics":{"a":{"partitions":3,"last":{"0":41,"2":20},"records":{"0":[1041,42],"2":[1020,21]}}}}"#;
        assert_eq!(String::from_utf8_lossy(&value), golden);
        let found = owner().read(Some(b"t"), Some(&value));
        assert_eq!(found, Found::Cursor(Box::new(cursor)));
        // As it was before records had names in it.
        let nameless = golden.replace(r#","records":{"0":[1041,42],"2":[1020,21]}"#, "");
        let found = owner().read(Some(b"t"), Some(nameless.as_bytes()));
        assert!(matches!(found, Found::Cursor(cursor) if cursor.topics["a"].records.is_empty()));
    }

    #[test]
    fn what_is_not_ours_is_told_from_what_is() {
        let owner = owner();
        let mark = owner.mark(3);
        assert_eq!(
            owner.read(Some(owner.mark_key().as_bytes()), Some(mark.as_bytes())),
            Found::Mark
        );
        assert_eq!(owner.read(Some(b"t"), None), Found::Deleted);
        assert_eq!(
            owner.read(Some(b"t2"), Some(b"{}")),
            Found::Foreign("t2".to_owned())
        );
        assert_eq!(owner.read(None, Some(b"{}")), Found::Foreign(String::new()));
        assert!(matches!(
            owner.read(Some(b"t"), Some(b"17")),
            Found::Unreadable(_)
        ));
        let newer = br#"{"version":2,"cluster":"c","task":"t","incarnation":1,"index":1,"slot":0,"term":1}"#;
        assert!(matches!(
            owner.read(Some(b"t"), Some(newer)),
            Found::Unreadable(_)
        ));
    }

    #[test]
    fn a_cursor_stays_small_however_many_topics_there_are() {
        let mut topics = Marks::new();
        let largest = Last {
            offset: i64::MAX,
            name: Name(u64::MAX, u64::MAX),
        };
        let last: BTreeMap<i32, Last> = (0..9).map(|partition| (partition, largest)).collect();
        for topic in 0..1000 {
            note(
                &mut topics,
                &format!("a-form-with-a-name-{topic}"),
                9,
                &last,
            );
        }
        let cursor = owner().cursor(Position::default(), 1, topics);
        assert!(cursor.encode().len() < 256 << 10);
    }
}
