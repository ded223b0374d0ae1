//! `formspool verify kafka`: compares what Kafka holds with the log.
//!
//! Holds: it reads as every `read_committed` consumer does, and asks the node by HTTP as every client
//! does; it changes nothing. What retention has deleted at either end is not compared, and said.
//! Exit code 1 if anything is found.

mod checker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bridge::{KafkaConfig, KafkaSpan, kafka_read, kafka_spans};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::checker::{Checker, Logged};
use super::client::Client;
use super::error::Error;
use super::mirrors::{self, Mirror};
use super::out::{self, Out};
use super::tail::{oldest, page};

/// Records a page.
const PAGE_RECORDS: u64 = 1000;

/// Between two words of progress.
const PROGRESS: Duration = Duration::from_secs(2);

/// Verifies every task that leads to Kafka, or one; names at most `findings_max` findings of a task.
pub(super) async fn run(
    out: Out,
    client: &Client,
    config: &KafkaConfig,
    (task, findings_max): (Option<&str>, usize),
) -> Result<(), Error> {
    let mut found = 0;
    for mirror in mirrors::find(client, task).await? {
        let checker = verify(out, client, config, &mirror).await?;
        found += checker.found();
        let name = &mirror.task.name;
        out.either(
            &checker.told(name, findings_max),
            &checker.in_words(name, findings_max),
        )?;
    }
    if found > 0 {
        return Err(Error::ToldProblems(found));
    }
    Ok(())
}

async fn verify(
    out: Out,
    client: &Client,
    config: &KafkaConfig,
    mirror: &Mirror,
) -> Result<Checker, Error> {
    let Some(index) = mirror.index else {
        return Err(Error::Problems(vec![format!(
            "this node does not deliver task {}: ask the one that leads (--url), or wait until it \
             delivers",
            mirror.task.name
        )]));
    };
    let checker = read_kafka(out, config, mirror).await?;
    let mut checker = checker.begins_late(mirror.begins_late);
    for form in &mirror.task.forms {
        let due = Due {
            index,
            is_caught_up: mirror.is_caught_up,
        };
        read_log(out, client, form, due, &mut checker).await?;
    }
    let parked = client
        .get(&format!("/v1/tasks/{}/parked", mirror.task.name))
        .await?;
    let parked = parked.get("parked").and_then(Value::as_array);
    for parked in parked.into_iter().flatten() {
        let position = parked.get("position").and_then(Value::as_str);
        let entry = position.and_then(|position| position.split(':').next()?.parse().ok());
        if let (Some(entry), Some(body)) = (entry, parked.get("data")) {
            checker.is_parked(entry, body);
        }
    }
    Ok(checker)
}

/// What must be there by now.
#[derive(Clone, Copy, Debug)]
struct Due {
    index: u64,
    is_caught_up: bool,
}

impl Due {
    /// Of the entry that the cursor stands in it is known only if nothing waits.
    fn covers(self, index: u64) -> bool {
        index < self.index || (index == self.index && self.is_caught_up)
    }
}

async fn read_kafka(out: Out, config: &KafkaConfig, mirror: &Mirror) -> Result<Checker, Error> {
    let (config, task) = (config.clone(), mirror.task.clone());
    let read = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&read);
    let reading = tokio::task::spawn_blocking(move || -> Result<Checker, String> {
        let spans = kafka_spans(&config, &task)?;
        let mut checker = Checker::new(&task.cluster, &spans);
        kafka_read(&config, &task, &spans, |record| {
            counted.fetch_add(1, Ordering::Relaxed);
            checker.see(record);
        })?;
        Ok(checker)
    });
    let mut reading = std::pin::pin!(reading);
    loop {
        let Ok(checker) = tokio::time::timeout(PROGRESS, &mut reading).await else {
            say(
                out,
                &format!("{} records read from Kafka", read.load(Ordering::Relaxed)),
            );
            continue;
        };
        return checker
            .map_err(|lost| Error::Problems(vec![lost.to_string()]))?
            .map_err(|why| Error::Problems(vec![why]));
    }
}

/// One record of the log, as the API shows it.
#[derive(Deserialize)]
struct Line<'a> {
    seq: u64,
    id: &'a str,
    index: u64,
    #[serde(borrow)]
    data: &'a RawValue,
}

async fn read_log(
    out: Out,
    client: &Client,
    form: &str,
    due: Due,
    checker: &mut Checker,
) -> Result<(), Error> {
    let mut after = oldest(client, form).await?;
    checker.log_begins(form, after + 1);
    let mut said = std::time::Instant::now();
    loop {
        let path = format!("/v1/forms/{form}/submissions?after={after}&limit={PAGE_RECORDS}");
        let page = page(client, &path).await?;
        for record in &page.records {
            let line: Line<'_> =
                serde_json::from_str(record.get()).map_err(|error| Error::Strange {
                    url: client.url().to_owned(),
                    what: error.to_string(),
                })?;
            checker.compare(
                form,
                &Logged {
                    seq: line.seq,
                    id: line.id,
                    index: line.index,
                    body: line.data.get().as_bytes(),
                    is_due: due.covers(line.index),
                },
            );
        }
        if page.records.is_empty() || page.next <= after {
            return Ok(());
        }
        after = page.next;
        if said.elapsed() >= PROGRESS {
            say(out, &format!("{form}: compared up to #{after}"));
            said = std::time::Instant::now();
        }
    }
}

/// A word of progress, for people.
fn say(out: Out, words: &str) {
    if !out.is_json {
        out::complain(words);
    }
}

/// Where a partition's records begin and end.
fn spans_told(spans: &[KafkaSpan]) -> Value {
    let told = spans.iter().map(|span| {
        json!({ "topic": span.topic, "partition": span.partition, "begin": span.begin, "end": span.end })
    });
    told.collect()
}
