//! Reading topics by clients that the product does not use: kcat, and Kafka's own consumer.
//!
//! Holds: a topic is always read whole, from its first offset; rows stand by partition and offset.
//! Values are the bytes as they are: kcat shows them as a JSON string, which is undone here.
//! What a transaction aborted is seen by `Uncommitted` alone.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::checker::digest;
use crate::checker::kafka::{Shown, Topic};
use crate::checker::sight::{Row, Shape, Sight};
use crate::client::api;
use crate::form::{Bodies, Form};
use crate::process::kafka::Brokers;
use crate::process::kafka::tools::kcat;

/// That Kafka's own consumer waits for a record before it ends.
const PATIENCES: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(8),
    Duration::from_secs(16),
];

const NO_TOPIC: &str = "Unknown topic or partition";
const READ_TIME: Duration = Duration::from_mins(1);

/// Partition and offset.
type Place = (i32, i64);
/// The key and the value.
type Record = (String, Vec<u8>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    Committed,
    Uncommitted,
}

impl Isolation {
    fn name(self) -> &'static str {
        match self {
            Self::Committed => "read_committed",
            Self::Uncommitted => "read_uncommitted",
        }
    }
}

#[derive(Debug, Deserialize)]
struct WireRow {
    partition: i32,
    offset: i64,
    ts: i64,
    #[serde(default)]
    headers: Vec<String>,
    key: Option<String>,
    payload: Option<String>,
}

/// All that kcat shows. A topic that is not there shows nothing.
pub(crate) async fn read(
    bootstrap: &str,
    topic: &str,
    isolation: Isolation,
) -> anyhow::Result<Topic> {
    let level = format!("isolation.level={}", isolation.name());
    let args = [
        "-C",
        "-J",
        "-q",
        "-e",
        "-o",
        "beginning",
        "-b",
        bootstrap,
        "-t",
        topic,
        "-X",
        &level,
        // A read must not begin before it knows who leads.
        "-X",
        "topic.metadata.refresh.interval.ms=1000",
    ];
    let output = match kcat(&args, None, READ_TIME).await {
        Ok(output) => output.stdout,
        Err(error) if error.to_string().contains(NO_TOPIC) => Vec::new(),
        Err(error) => return Err(error.context(format!("reading {topic}"))),
    };
    parse(topic, &output)
}

fn parse(topic: &str, printed: &[u8]) -> anyhow::Result<Topic> {
    let mut rows = Vec::new();
    let lines = printed.split(|byte| *byte == b'\n');
    for line in lines.filter(|line| !line.is_empty()) {
        let wire = serde_json::from_slice::<WireRow>(line);
        let wire = wire.with_context(|| String::from_utf8_lossy(line).into_owned())?;
        rows.push(shown(wire)?);
    }
    rows.sort_by_key(|row| (row.partition, row.offset));
    let name = topic.to_owned();
    Ok(Topic { name, rows })
}

fn shown(wire: WireRow) -> anyhow::Result<Shown> {
    let mut headers = Vec::new();
    let mut flat = wire.headers.into_iter();
    while let Some(name) = flat.next() {
        headers.push((name, flat.next().context("a header without a value")?));
    }
    Ok(Shown {
        partition: wire.partition,
        offset: wire.offset,
        timestamp_ms: wire.ts,
        key: wire.key,
        headers,
        value: wire.payload.map(String::into_bytes).unwrap_or_default(),
    })
}

/// Fails if Kafka's own consumer shows something else than kcat did. On a busy machine it may end before
/// it has begun: then it is given more time.
pub(crate) async fn agreed(brokers: &Brokers, topic: &Topic) -> anyhow::Result<()> {
    let mut agreed = Ok(());
    for patience in PATIENCES {
        let consumed = consumed(brokers, &topic.name, patience).await?;
        agreed = must_agree(topic, &consumed);
        if agreed.is_ok() {
            break;
        }
    }
    agreed
}

/// What Kafka's own consumer shows, read committed.
async fn consumed(
    brokers: &Brokers,
    topic: &str,
    patience: Duration,
) -> anyhow::Result<BTreeMap<Place, Record>> {
    let how = (Isolation::Committed.name(), patience);
    let printed = brokers.consume(topic, how).await?;
    let lines = printed.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    lines.map(consumed_line).collect()
}

/// `Partition:1 TAB Offset:7 TAB headers TAB key TAB value`
fn consumed_line(line: &[u8]) -> anyhow::Result<(Place, Record)> {
    let text = String::from_utf8_lossy(line).into_owned();
    let parts = line.splitn(5, |byte| *byte == b'\t').collect::<Vec<_>>();
    let [partition, offset, _, key, value] = parts[..] else {
        anyhow::bail!("not a line of a record: {text}");
    };
    let number = |part: &[u8], name: &str| {
        let part = String::from_utf8_lossy(part).into_owned();
        let number = part.strip_prefix(name).map(str::to_owned);
        number.with_context(|| format!("no {name} in {text}"))
    };
    let place = (
        number(partition, "Partition:")?.parse()?,
        number(offset, "Offset:")?.parse()?,
    );
    Ok((
        place,
        (String::from_utf8_lossy(key).into_owned(), value.to_vec()),
    ))
}

/// Two clients show the same records.
fn must_agree(topic: &Topic, consumed: &BTreeMap<Place, Record>) -> anyhow::Result<()> {
    let own = topic.rows.iter().map(|row| {
        let key = row.key.clone().unwrap_or_else(|| "null".to_owned());
        ((row.partition, row.offset), (key, row.value.clone()))
    });
    let own = own.collect::<BTreeMap<_, _>>();
    let differ = own
        .iter()
        .find(|(place, record)| consumed.get(place) != Some(record))
        .map(|(place, (key, value))| (place, key, String::from_utf8_lossy(value)));
    let name = &topic.name;
    ensure!(
        differ.is_none(),
        "{name}: kcat shows {differ:?}, Kafka's own consumer does not"
    );
    let more = consumed.keys().find(|place| !own.contains_key(place));
    ensure!(
        more.is_none(),
        "{name}: Kafka's own consumer shows {more:?}, kcat does not"
    );
    Ok(())
}

/// The records of one form as any other reader's, in the order of offsets; what is no record of
/// the product is noted.
pub(crate) fn sight(topic: &Topic, (bodies, form): (Bodies, Form)) -> Sight {
    let mut sight = Sight::new("Kafka", form, Shape::Document);
    for row in &topic.rows {
        match self::row(row, (bodies, form)) {
            Ok(row) => sight.push(row),
            Err(error) => sight.unreadable.push(format!("{}: {error:#}", row.place())),
        }
    }
    sight
}

fn row(shown: &Shown, (bodies, form): (Bodies, Form)) -> anyhow::Result<Row> {
    let header = |name: &str| {
        shown
            .header(name)
            .with_context(|| format!("no header {name}"))
    };
    let data: Value = serde_json::from_slice(&shown.value).context("the value is no JSON")?;
    let marker = data.get(form.marker_field()).and_then(Value::as_str);
    Ok(Row {
        seq: header("formspool-seq")?.parse().context("formspool-seq")?,
        id: api::id(header("formspool-id")?)?,
        received_at: api::stamp(header("formspool-received-at")?)?,
        index: Some(
            header("formspool-index")?
                .parse()
                .context("formspool-index")?,
        ),
        marker: marker.and_then(|text| bodies.marker_of(form, text)),
        digest: digest::document(&data),
    })
}

#[cfg(test)]
mod tests {
    use super::{consumed_line, must_agree, parse, sight};
    use crate::form::{Bodies, Form};

    const ID: &str = "0192f0c1-2b3c-7def-8123-456789abcdef";

    /// As kcat prints it.
    fn line(offset: i64, payload: &str) -> String {
        let headers = serde_json::json!([
            "formspool-id",
            ID,
            "formspool-form",
            "jepsen",
            "formspool-seq",
            "3",
            "formspool-index",
            "9",
            "formspool-received-at",
            "2026-11-24T21:57:34.123Z",
        ]);
        let line = serde_json::json!({
            "topic": "jepsen", "partition": 1, "offset": offset, "tstype": "create",
            "ts": 1_795_711_751_218_i64, "broker": 1, "headers": headers, "key": "jepsen",
            "payload": payload,
        });
        format!("{line}\n")
    }

    #[test]
    fn a_record_is_read_with_its_bytes_and_headers_and_led_back_to_what_was_sent() {
        let bodies = Bodies { nonce: 1 };
        let sent = bodies.submission(Form::Free, 3, None);
        let value = sent.data.to_string();
        let printed = line(8, "no JSON") + &line(7, &value);
        let topic = parse("jepsen", printed.as_bytes()).unwrap();
        assert_eq!(topic.rows[0].value, value.as_bytes());
        assert_eq!(topic.rows[0].header("formspool-form"), Some("jepsen"));
        let sight = sight(&topic, (bodies, Form::Free));
        assert_eq!((sight.rows.len(), sight.unreadable.len()), (1, 1));
        let row = sight.rows[0];
        assert_eq!((row.seq, row.index, row.marker), (3, Some(9), Some(3)));
        assert_eq!(row.digest, sent.digests.document);
        assert!(parse("jepsen", b"{\"partition\":1").is_err());
    }

    #[test]
    fn two_clients_that_differ_are_told() {
        let topic = parse("jepsen", line(7, "v\\t1").as_bytes()).unwrap();
        let print = |text: &str| {
            let line = consumed_line(text.as_bytes()).unwrap();
            std::collections::BTreeMap::from([line])
        };
        let good = print("Partition:1\tOffset:7\tformspool-seq:3,x:y\tjepsen\tv\\t1");
        must_agree(&topic, &good).unwrap();
        let other = print("Partition:1\tOffset:7\tformspool-seq:3,x:y\tjepsen\tv\\t2");
        assert!(must_agree(&topic, &other).is_err());
        let mut more = good;
        more.extend(print("Partition:1\tOffset:8\t\tjepsen\tv"));
        assert!(must_agree(&topic, &more).is_err());
        assert!(consumed_line(b"Partition:1\tOffset:7").is_err());
    }
}
