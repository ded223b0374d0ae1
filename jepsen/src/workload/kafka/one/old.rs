//! A backlog that was accepted long before the topic's retention, and brokers that look each second
//! for what is too old.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::checker::findings::Kind;
use crate::checker::kafka::Topic;
use crate::form::Form;
use crate::process::kafka::tools::produce;
use crate::reader::kafka::{Isolation, read};
use crate::workload::kafka::one::One;

const MONTH_MS: i64 = 30 * 24 * 60 * 60 * 1000;
const HOUR_MS: i64 = 60 * 60 * 1000;
const OLD: u32 = 60;
const FRESH: u32 = 5;
/// Brokers must have looked several times.
const LOOKS: Duration = Duration::from_secs(3);
const CANARY_TIME: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(200);

pub(super) async fn run(one: &mut One<'_>) -> anyhow::Result<String> {
    one.fleet.quiet("old", &mut one.run.report.findings).await;
    // That brokers do delete here, seen on a record that is soon too old for its topic.
    let canary = format!("{}-retention", one.prefix);
    let brief = [("retention.ms", "1000")];
    one.lab.brokers.create_topic(&canary, &brief).await?;
    let bootstrap = one.lab.brokers.bootstrap();
    produce(&bootstrap, &canary, None, "soon gone\n").await?;

    let offset = Some((-MONTH_MS).to_string());
    one.run.site.set("CLOCK__OFFSET_MS", offset);
    one.restart().await?;
    one.post(OLD).await?;
    one.run.site.set("CLOCK__OFFSET_MS", None);
    one.restart().await?;
    one.post(FRESH).await?;

    let none = BTreeSet::new();
    let mut mirror = one.other("old").await?;
    let hour = HOUR_MS.to_string();
    let settings = [("retention.ms", hour.as_str())];
    let topic = mirror.topic(Form::Quiet);
    one.lab.brokers.create_topic(&topic, &settings).await?;
    mirror.define(&mut one.desk()?).await?;
    one.judge_other(&mut mirror, "old", &none).await?;
    sleep(LOOKS).await;
    let what = "old, when brokers had looked";
    let good = one.judge_other(&mut mirror, what, &none).await?;
    let topic = mirror.committed(one.lab, Form::Quiet).await?;
    ages(one, &topic);

    let end = Instant::now() + CANARY_TIME;
    while !read(&bootstrap, &canary, Isolation::Committed)
        .await?
        .rows
        .is_empty()
    {
        if Instant::now() > end {
            let why = "brokers delete nothing that is too old".to_owned();
            one.run.report.vacuous.push(why);
            break;
        }
        sleep(LOOK).await;
    }
    one.forget(&mirror).await?;
    Ok(format!("{good} are there, of a month ago and of today"))
}

/// Some must have been accepted long ago, and none may be stamped so.
fn ages(one: &mut One<'_>, topic: &Topic) {
    let received = topic.rows.iter();
    let received = received.filter_map(|row| row.header("formspool-received-at"));
    let days = received.filter_map(|text| text.get(..10));
    let days = days.collect::<BTreeSet<_>>();
    let count = u64::try_from(days.len()).unwrap_or(0);
    let report = &mut one.run.report;
    report.demand("days on which a topic's records were accepted", count, 2);
    let stamps = topic.rows.iter().map(|row| row.timestamp_ms);
    let (Some(first), Some(last)) = (stamps.clone().min(), stamps.max()) else {
        return;
    };
    if last - first > HOUR_MS {
        report.findings.add(Kind::Lost, || {
            let name = &topic.name;
            format!("{name}: a record is stamped {first}, so Kafka deletes it as too old")
        });
    }
}
