//! Log == topic: what Kafka shows of a form is what the node shows, record by record, byte by byte.
//!
//! Holds: a pure function of both. `read_committed` shows each seq once, in order of offsets, all in
//! the partition that Java's clients would choose, with the headers of its receipt and the value's
//! bytes as `GET` shows them. What the destination was said not to take (parked) is not there.
//! What the history promised is judged by the other checkers, on the same rows as a `Sight`.
//! Why bytes here and digests there: a consumer's signature over the value holds only for bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::checker::findings::{Findings, Kind};
use crate::form::Form;

/// What a record says that is sent once more.
const REPLAY: (&str, &str) = ("formspool-replay", "true");

/// One record as a consumer shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) value: Vec<u8>,
}

impl Shown {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(own, _)| own == name);
        named.next().map(|(_, value)| value.as_str())
    }

    /// For people.
    pub(crate) fn place(&self) -> String {
        format!("partition {} offset {}", self.partition, self.offset)
    }
}

/// All that a consumer shows of a topic, by partition and offset.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) rows: Vec<Shown>,
}

impl Topic {
    /// What stands behind `ends`, the number of rows by partition that another reading showed.
    pub(crate) fn behind(&self, ends: &BTreeMap<i32, i64>) -> Self {
        let is_new = |row: &&Shown| ends.get(&row.partition).is_none_or(|end| row.offset > *end);
        Self {
            name: self.name.clone(),
            rows: self.rows.iter().filter(is_new).cloned().collect(),
        }
    }

    /// The last offset shown, by partition.
    pub(crate) fn ends(&self) -> BTreeMap<i32, i64> {
        let rows = self.rows.iter();
        rows.map(|row| (row.partition, row.offset)).collect()
    }
}

/// One record as the node shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Original {
    pub(crate) id: String,
    pub(crate) received_at: String,
    pub(crate) index: u64,
    pub(crate) data: Vec<u8>,
}

/// What the node shows of a form, by seq.
pub(crate) type Log = BTreeMap<u64, Original>;

/// What a topic must hold.
#[derive(Clone, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) form: Form,
    pub(crate) log: &'a Log,
    pub(crate) cluster: &'a str,
    pub(crate) partitions: u32,
    /// Seqs that the destination does not take.
    pub(crate) parked: &'a BTreeSet<u64>,
    /// Up to this seq all had been there, and was sent once more because somebody asked for it.
    pub(crate) replayed: u64,
}

/// Answers how many of the log's records the topic shows as it must.
pub(crate) fn check(topic: &Topic, expected: &Expected<'_>, findings: &mut Findings) -> u64 {
    let mut last = 0;
    let mut seen = HashMap::new();
    let mut good = 0;
    for row in &topic.rows {
        let at = || format!("{} {}", topic.name, row.place());
        let seq = row
            .header("formspool-seq")
            .and_then(|text| text.parse().ok());
        let Some(seq) = seq else {
            findings.add(Kind::Phantom, || {
                format!("{}: no seq: {:?}", at(), row.headers)
            });
            continue;
        };
        if let Some(first) = seen.insert(seq, row.place()) {
            findings.add(Kind::Doubled, || {
                format!("{}: seq {seq} again, after {first}", at())
            });
        } else if seq < last {
            findings.add(Kind::Reordered, || {
                format!("{}: seq {seq} after seq {last}", at())
            });
        }
        last = last.max(seq);
        let Some(original) = expected.log.get(&seq) else {
            findings.add(Kind::Phantom, || {
                format!("{}: the log has no seq {seq}", at())
            });
            continue;
        };
        if expected.parked.contains(&seq) {
            findings.add(Kind::Phantom, || {
                format!("{}: seq {seq} is parked, and there", at())
            });
        }
        let wrong = wrong(row, (seq, original), expected);
        good += u64::from(wrong.is_empty());
        for words in wrong {
            findings.add(Kind::Altered, || format!("{}: seq {seq}: {words}", at()));
        }
    }
    for (seq, original) in expected.log {
        if !seen.contains_key(seq) && !expected.parked.contains(seq) {
            findings.add(Kind::Lost, || {
                let (name, id) = (&topic.name, &original.id);
                let part = if *seq > last {
                    "beyond the end"
                } else {
                    "in the middle"
                };
                format!("{name}: seq {seq} ({id}) is in the log and not there ({part}, {last})")
            });
        }
    }
    good
}

/// What is wrong with one record but its place, in words.
fn wrong(row: &Shown, (seq, original): (u64, &Original), expected: &Expected<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let form = expected.form.name();
    let index = original.index.to_string();
    let mut headers = vec![
        ("formspool-id", original.id.as_str()),
        ("formspool-form", form),
        ("formspool-index", index.as_str()),
        ("formspool-cluster", expected.cluster),
        ("formspool-received-at", original.received_at.as_str()),
    ];
    if seq <= expected.replayed {
        headers.push(REPLAY);
    } else if let Some(value) = row.header(REPLAY.0) {
        wrong.push(format!(
            "formspool-replay is {value}, and nobody asked for one"
        ));
    }
    for (name, value) in headers {
        let found = row.header(name);
        if found != Some(value) {
            wrong.push(format!("{name} is {found:?}, not {value}"));
        }
    }
    let names = row.headers.iter().map(|(name, _)| name);
    if names.collect::<BTreeSet<_>>().len() != row.headers.len() {
        wrong.push(format!("a header twice: {:?}", row.headers));
    }
    if row.key.as_deref() != Some(form) {
        wrong.push(format!("the key is {:?}, not {form}", row.key));
    }
    let place = partition(form, expected.partitions);
    if row.partition != place {
        wrong.push(format!("not in partition {place}, where its key belongs"));
    }
    if row.value != original.data {
        let (here, there) = (text(&row.value), text(&original.data));
        wrong.push(format!(
            "the value is {here:.200}, and {there:.200} in the log"
        ));
    }
    wrong
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What only the uncommitted reading shows was aborted, or is open. All that is committed must be in
/// both; answers how many were aborted.
pub(crate) fn aborted(committed: &Topic, uncommitted: &Topic, findings: &mut Findings) -> u64 {
    let place = |row: &Shown| (row.partition, row.offset);
    let all = uncommitted.rows.iter().map(|row| (place(row), row));
    let mut all = all.collect::<BTreeMap<_, _>>();
    for row in &committed.rows {
        if all.remove(&place(row)) != Some(row) {
            findings.add(Kind::Altered, || {
                let name = &committed.name;
                format!("{name} {}: two readings differ", row.place())
            });
        }
    }
    u64::try_from(all.len()).unwrap_or(u64::MAX)
}

/// Where Java's clients put a key: murmur2, without the sign.
pub(crate) fn partition(key: &str, partitions: u32) -> i32 {
    let place = murmur2(key.as_bytes()) & 0x7fff_ffff;
    let place = place.checked_rem(partitions).unwrap_or(0);
    i32::try_from(place).unwrap_or(0)
}

fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ len;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let bytes = rest.iter().zip([0, 8, 16]);
        let tail = bytes.fold(0, |tail, (byte, shift)| tail | (u32::from(*byte) << shift));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests;
