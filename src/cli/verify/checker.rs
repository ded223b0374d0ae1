//! Kafka beside the log: gaps, doubles, order, payload, and what is in one of them alone.
//!
//! Holds: a finding names its form, its seq and its place. Records that a person had sent again
//! (`formspool-replay`) may be there twice and out of order; they must be what the log holds all the
//! same. Bodies are kept as digests, so memory is some fifty bytes a record.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use bridge::{KafkaRecord, KafkaSpan};
use serde_json::{Value, json};

/// A record as the log has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logged<'a> {
    pub(super) seq: u64,
    pub(super) id: &'a str,
    pub(super) index: u64,
    pub(super) body: &'a [u8],
    /// It must be in Kafka by now.
    pub(super) is_due: bool,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    kind: &'static str,
    form: String,
    seq: u64,
    words: String,
}

/// Where a record was seen first.
#[derive(Clone, Copy, Debug)]
struct Seen {
    digest: u64,
    topic: u32,
    partition: i32,
    offset: i64,
    is_compared: bool,
}

/// What Kafka has of one form.
#[derive(Debug, Default)]
struct Form {
    seen: BTreeMap<u64, Seen>,
    /// By topic and partition: the last seq, and the first one that is not a replay.
    last: HashMap<(u32, i32), u64>,
    first: HashMap<(u32, i32), u64>,
    log_begins: u64,
}

/// A record that is missing, until it turns out to be parked.
#[derive(Clone, Debug)]
struct Gap {
    form: String,
    seq: u64,
    index: u64,
    body: u64,
}

/// Compares.
#[derive(Debug)]
pub(super) struct Checker {
    cluster: String,
    spans: Vec<KafkaSpan>,
    topics: Vec<String>,
    forms: BTreeMap<String, Form>,
    begins_late: bool,
    gaps: Vec<Gap>,
    differences: Vec<Difference>,
    seen: u64,
    compared: u64,
    replays: u64,
    foreign: u64,
    parked: u64,
    deleted: u64,
}

fn digest(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The API shows line breaks between the tokens of a document as blanks.
fn body_digest(body: &[u8]) -> u64 {
    let shown = |byte: &u8| {
        if matches!(byte, b'\n' | b'\r') {
            b' '
        } else {
            *byte
        }
    };
    digest(&body.iter().map(shown).collect::<Vec<u8>>())
}

impl Checker {
    pub(super) fn new(cluster: &str, spans: &[KafkaSpan]) -> Self {
        let mut topics: Vec<String> = spans.iter().map(|span| span.topic.clone()).collect();
        topics.dedup();
        Self {
            cluster: cluster.to_owned(),
            spans: spans.to_vec(),
            topics,
            forms: BTreeMap::new(),
            begins_late: false,
            gaps: Vec::new(),
            differences: Vec::new(),
            seen: 0,
            compared: 0,
            replays: 0,
            foreign: 0,
            parked: 0,
            deleted: 0,
        }
    }

    /// What came before the first record that Kafka has is not the task's.
    pub(super) fn begins_late(self, begins_late: bool) -> Self {
        Self {
            begins_late,
            ..self
        }
    }

    /// A record of Kafka's, in the order of its partition.
    pub(super) fn see(&mut self, record: &KafkaRecord<'_>) {
        if record.cluster != self.cluster || record.seq == 0 {
            self.foreign += 1;
            return;
        }
        self.seen += 1;
        let topic = self.topics.iter().position(|topic| topic == record.topic);
        let topic = topic
            .and_then(|topic| u32::try_from(topic).ok())
            .unwrap_or(0);
        let place = (topic, record.partition);
        let now = Seen {
            digest: digest(&(record.id, body_digest(record.body))),
            topic,
            partition: record.partition,
            offset: record.offset,
            is_compared: false,
        };
        let form = self.forms.entry(record.form.to_owned()).or_default();
        let known = form.seen.get(&record.seq).copied();
        if record.is_replay {
            self.replays += 1;
        } else {
            form.first.entry(place).or_insert(record.seq);
            let last = form.last.insert(place, record.seq).unwrap_or(0);
            if let Some(known) = known {
                let words = format!("at {} and again at {}", self.place(known), self.place(now));
                self.differs("double", record.form, record.seq, words);
            } else if record.seq < last {
                let words = format!("at {}, behind #{last}", self.place(now));
                self.differs("order", record.form, record.seq, words);
            }
        }
        if let Some(known) = known {
            if known.digest != now.digest {
                let words = format!(
                    "at {} it is another than at {}",
                    self.place(known),
                    self.place(now)
                );
                self.differs("payload", record.form, record.seq, words);
            }
            return;
        }
        if let Some(form) = self.forms.get_mut(record.form) {
            form.seen.insert(record.seq, now);
        }
    }

    /// The first seq that the log still has.
    pub(super) fn log_begins(&mut self, form: &str, seq: u64) {
        self.forms.entry(form.to_owned()).or_default().log_begins = seq;
    }

    /// A record of the log.
    pub(super) fn compare(&mut self, name: &str, logged: &Logged<'_>) {
        let begins = self.kafka_begins(name);
        let form = self.forms.entry(name.to_owned()).or_default();
        if let Some(seen) = form.seen.get_mut(&logged.seq) {
            seen.is_compared = true;
            let (seen, is_same) = (
                *seen,
                seen.digest == digest(&(logged.id, body_digest(logged.body))),
            );
            self.compared += 1;
            if !is_same {
                let words = format!("at {} it is not what the log has", self.place(seen));
                self.differs("payload", name, logged.seq, words);
            }
        } else if logged.seq < begins {
            self.deleted += 1;
        } else if logged.is_due {
            self.gaps.push(Gap {
                form: name.to_owned(),
                seq: logged.seq,
                index: logged.index,
                body: body_digest(logged.body),
            });
        }
    }

    /// Below this seq Kafka may have deleted: partitions that begin late begin with it. Where nothing
    /// was deleted, it is the first.
    fn kafka_begins(&self, name: &str) -> u64 {
        let Some(form) = self.forms.get(name) else {
            return if self.begins_late { u64::MAX } else { 0 };
        };
        if self.begins_late {
            return form.first.values().min().copied().unwrap_or(u64::MAX);
        }
        let is_cut = |(topic, partition): (u32, i32)| {
            self.spans.iter().any(|span| {
                self.topic(topic) == span.topic && partition == span.partition && span.begin > 0
            })
        };
        let cut = form.first.iter().filter(|(place, _)| is_cut(**place));
        let begins = cut.map(|(_, first)| *first).max();
        let is_all_cut = form.first.is_empty() && self.spans.iter().any(|span| span.begin > 0);
        begins.unwrap_or(if is_all_cut { u64::MAX } else { 0 })
    }

    /// A record that was set aside, in words to see, is no gap.
    pub(super) fn is_parked(&mut self, index: u64, body: &Value) {
        let body = body_digest(body.to_string().as_bytes());
        let is_it = |gap: &Gap| gap.index == index && gap.body == body;
        if let Some(at) = self.gaps.iter().position(is_it) {
            self.gaps.remove(at);
            self.parked += 1;
        }
    }

    /// Every difference: the gaps, what was seen, and what the log does not have.
    fn all(&self) -> Vec<Difference> {
        let gaps = self.gaps.iter().map(|gap| Difference {
            kind: "gap",
            form: gap.form.clone(),
            seq: gap.seq,
            words: format!("in the log at entry {}, and not in Kafka", gap.index),
        });
        let strange = self.forms.iter().flat_map(|(name, form)| {
            let unknown = form.seen.iter().filter(|(seq, seen)| {
                form.log_begins > 0 && **seq >= form.log_begins && !seen.is_compared
            });
            unknown.map(|(seq, seen)| Difference {
                kind: "stranger",
                form: name.clone(),
                seq: *seq,
                words: format!("at {}, and not in the log", self.place(*seen)),
            })
        });
        gaps.chain(self.differences.iter().cloned())
            .chain(strange)
            .collect()
    }

    /// How many there are.
    pub(super) fn found(&self) -> usize {
        self.all().len()
    }

    /// For programs.
    pub(super) fn told(&self, task: &str, most: usize) -> Value {
        let all = self.all();
        let shown = all.iter().take(most).map(
            |one| json!({ "kind": one.kind, "form": one.form, "seq": one.seq, "words": one.words }),
        );
        json!({
            "task": task,
            "seen": self.seen,
            "compared": self.compared,
            "replays": self.replays,
            "parked": self.parked,
            "foreign": self.foreign,
            "deleted_by_retention": self.deleted,
            "differences": all.len(),
            "first": shown.collect::<Value>(),
            "partitions": super::spans_told(&self.spans),
        })
    }

    /// For people.
    pub(super) fn in_words(&self, task: &str, most: usize) -> String {
        let all = self.all();
        let mut lines = vec![format!(
            "task {task}: {} records in Kafka, {} compared with the log, {} differences",
            self.seen,
            self.compared,
            all.len()
        )];
        let asides = [
            (self.replays, "were sent again on request"),
            (self.parked, "are parked, and rightly not there"),
            (
                self.deleted,
                "lie before what Kafka keeps, and were not compared",
            ),
            (self.foreign, "in its topics are not of this cluster"),
        ];
        let asides = asides.iter().filter(|(count, _)| *count > 0);
        lines.extend(asides.map(|(count, words)| format!("  {count} {words}")));
        let shown = all.iter().take(most);
        lines.extend(
            shown.map(|one| format!("  {} {} #{}: {}", one.kind, one.form, one.seq, one.words)),
        );
        if all.len() > most {
            lines.push(format!("  and {} more", all.len() - most));
        }
        lines.join("\n")
    }

    fn differs(&mut self, kind: &'static str, form: &str, seq: u64, words: String) {
        self.differences.push(Difference {
            kind,
            form: form.to_owned(),
            seq,
            words,
        });
    }

    fn topic(&self, number: u32) -> &str {
        let topic = usize::try_from(number)
            .ok()
            .and_then(|number| self.topics.get(number));
        topic.map_or("", String::as_str)
    }

    fn place(&self, seen: Seen) -> String {
        format!(
            "{}/{}@{}",
            self.topic(seen.topic),
            seen.partition,
            seen.offset
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(begin: i64) -> KafkaSpan {
        KafkaSpan {
            topic: "t".to_owned(),
            partition: 0,
            begin,
            end: 100,
        }
    }

    /// Kafka has these seqs, in this order, from this offset on; the log has 1 to `head`.
    fn checked(begin: i64, seqs: &[u64], head: u64) -> Checker {
        let mut checker = Checker::new("c", &[span(begin)]);
        for (offset, seq) in (begin..).zip(seqs) {
            checker.see(&record(offset, *seq, b"{}"));
        }
        log(&mut checker, head);
        checker
    }

    fn record(offset: i64, seq: u64, body: &'static [u8]) -> KafkaRecord<'static> {
        KafkaRecord {
            topic: "t",
            partition: 0,
            offset,
            cluster: "c",
            form: "f",
            seq,
            id: "id",
            is_replay: false,
            body,
        }
    }

    fn log(checker: &mut Checker, head: u64) {
        checker.log_begins("f", 1);
        for seq in 1..=head {
            let logged = Logged {
                seq,
                id: "id",
                index: seq,
                body: b"{}",
                is_due: seq <= 5,
            };
            checker.compare("f", &logged);
        }
    }

    fn kinds(checker: &Checker) -> Vec<(&'static str, u64)> {
        checker
            .all()
            .iter()
            .map(|one| (one.kind, one.seq))
            .collect()
    }

    #[test]
    fn what_is_there_once_and_in_order_is_fine_and_what_is_not_due_may_be_missing() {
        assert_eq!(kinds(&checked(0, &[1, 2, 3, 4, 5], 5)), []);
        assert_eq!(kinds(&checked(0, &[1, 2, 3, 4, 5], 9)), []);
        assert_eq!(kinds(&checked(0, &[1, 2, 3, 4, 5, 6], 9)), []);
    }

    #[test]
    fn every_fault_is_named() {
        assert_eq!(kinds(&checked(0, &[1, 2, 4, 5], 5)), [("gap", 3)]);
        assert_eq!(kinds(&checked(0, &[1, 2, 3, 3, 4, 5], 5)), [("double", 3)]);
        assert_eq!(kinds(&checked(0, &[1, 3, 2, 4, 5], 5)), [("order", 2)]);
        assert_eq!(
            kinds(&checked(0, &[1, 2, 3, 4, 5, 6], 5)),
            [("stranger", 6)]
        );
        let mut other = Checker::new("c", &[span(0)]);
        for seq in 1..=5u8 {
            let body: &[u8] = if seq == 4 { b"[]" } else { b"{}" };
            other.see(&record(i64::from(seq), u64::from(seq), body));
        }
        log(&mut other, 5);
        assert_eq!(kinds(&other), [("payload", 4)]);
    }

    #[test]
    fn what_retention_deleted_is_no_gap_and_what_lies_behind_it_is() {
        let checker = checked(40, &[3, 5], 5);
        assert_eq!(kinds(&checker), [("gap", 4)]);
        assert_eq!(checker.deleted, 2);
    }

    #[test]
    fn what_is_parked_or_sent_again_is_no_fault() {
        let mut checker = checked(0, &[1, 2, 4, 5], 5);
        checker.is_parked(3, &json!({}));
        assert_eq!(kinds(&checker), []);
        let again = KafkaRecord {
            is_replay: true,
            ..record(9, 2, b"{}")
        };
        checker.see(&again);
        assert_eq!(kinds(&checker), []);
        checker.see(&KafkaRecord {
            body: b"[]",
            ..again
        });
        assert_eq!(kinds(&checker), [("payload", 2)]);
        checker.see(&KafkaRecord {
            cluster: "another",
            ..record(10, 9, b"{}")
        });
        assert_eq!(checker.foreign, 1);
    }
}
