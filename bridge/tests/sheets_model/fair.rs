//! Three hundred forms on one credential.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bridge::testing::{VecFeed, sheets};
use bridge::{Bridge, Config, Metrics, OnPoison, Parts, SheetsConfig, SinkSpec, Sinks, TaskSpec};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::calm::Calm;

const FORMS: usize = 300;
const MINUTE: Duration = Duration::from_mins(1);

fn form(number: usize) -> String {
    format!("f{number:03}")
}

fn bridge(calm: &Calm, feed: &VecFeed, forms: &[String], token: &CancellationToken) -> Bridge {
    let config = SheetsConfig {
        batch_records_max: 1,
        ..SheetsConfig::default()
    };
    let mut sinks = Sinks::default();
    let kind = sheets::kind(&config, "c", Arc::new(calm.clone()), None);
    sinks.add("sheets", kind);
    let spec = TaskSpec {
        name: Arc::from("t"),
        incarnation: 1,
        forms: forms.iter().map(|form| Arc::from(form.as_str())).collect(),
        sink: SinkSpec {
            name: Arc::from("sheets"),
            settings: serde_json::json!({ "spreadsheet": "s", "received_at": "text" }),
        },
        on_poison: OnPoison::Park,
        is_paused: false,
        unfit: None,
    };
    let parts = Parts {
        feed: Arc::new(feed.clone()),
        sinks,
        metrics: Metrics::default(),
        now_ms: Arc::new(|| 1_764_000_060_000),
        seed: 7,
    };
    let tracker = TaskTracker::new();
    Bridge::spawn(Config::default(), parts, vec![spec], tracker, token.clone())
}

#[tokio::test(start_paused = true)]
async fn three_hundred_forms_get_their_turn_and_the_quota_is_kept() {
    let calm = Calm::new(&["s"]);
    calm.lock().takes = Duration::from_millis(400);
    let feed = VecFeed::new();
    let forms: Vec<String> = (0..FORMS).map(form).collect();
    for form in &forms {
        feed.push(form, "{\"a\":\"1\"}");
    }
    let token = CancellationToken::new();
    let _bridge = bridge(&calm, &feed, &forms, &token);

    // A form's first request makes its tab. Once all have theirs, each has more than it can send.
    let fair = MINUTE.mul_f64(300.0 / 55.0);
    tokio::time::sleep(fair * 5 / 2).await;
    let began = Instant::now();
    for _ in 0..4 {
        for form in &forms {
            feed.push(form, "{\"a\":\"1\"}");
        }
    }
    tokio::time::sleep(fair * 3).await;
    let end = Instant::now();

    let place = calm.lock();
    let mut last: BTreeMap<&str, Instant> = BTreeMap::new();
    for form in &forms {
        last.insert(form, began);
    }
    let sends = place.sends.iter().filter(|(sent, ..)| began <= *sent);
    let sends: Vec<_> = sends.collect();
    for (sent, _, form) in &sends {
        let waited = *sent - last.insert(form, *sent).unwrap();
        assert!(waited <= fair * 2, "{form} waited {waited:?} of {fair:?}");
    }
    for (form, sent) in last {
        assert!(end - sent <= fair * 2, "{form} waits {:?}", end - sent);
    }
    for (from, ..) in &place.sends {
        let until = *from + MINUTE;
        let seen = place.sends.iter();
        let seen = seen.filter(|(began, ended, _)| *from < *ended && *began <= until);
        assert!(
            seen.count() <= 55,
            "Google may have seen more than 55 a minute"
        );
    }
    // What is allowed is used: a request a turn, and none for nothing.
    let minutes = (end - began).as_secs_f64() / 60.0;
    #[expect(clippy::cast_precision_loss, reason = "hundreds")]
    let rate = sends.len() as f64 / minutes;
    println!("{rate:.1} requests a minute, {} reads", place.reads);
    assert!(rate > 50.0, "{rate} a minute");
    token.cancel();
}
