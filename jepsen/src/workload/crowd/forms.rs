//! The forms of a crowd: defined with a task each, and posted to.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::api::JSON;
use crate::client::{Call, Client, tasks};
use crate::process::sheets::Google;
use crate::workload::crowd::BOOKS;

const PREFIX: &str = "crowd-";

/// Of a form, its task and its tab.
pub(super) fn name(form: u64) -> String {
    format!("{PREFIX}{form:03}")
}

pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The spreadsheet of that number; a form's is that of its number.
pub(super) fn book(number: u64) -> String {
    format!("{PREFIX}{}", number % BOOKS)
}

/// One document that was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) form: u64,
    pub(super) seq: u64,
    pub(super) marker: String,
    /// Before it was sent, by the clock of the Google Sheets.
    pub(super) at_ms: u64,
}

/// The clock by which the Google Sheets of the tests write down what arrives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    ms: u64,
    at: Instant,
}

impl Clock {
    /// What it says is a moment old by now, so that a wait is never taken for shorter than it was.
    pub(super) async fn read(google: &mut Google) -> anyhow::Result<Self> {
        let said = google.get("/clock").await?;
        let ms = said.get("now_ms").and_then(Value::as_u64);
        let ms = ms.context("the clock says nothing")?;
        let at = Instant::now();
        Ok(Self { ms, at })
    }

    fn now_ms(&self) -> u64 {
        let since = u64::try_from(self.at.elapsed().as_millis());
        self.ms + since.unwrap_or(u64::MAX)
    }
}

/// A form, a tab and a task for each number, by so many connections at once.
pub(super) async fn define_all(
    (node, token): (SocketAddr, &str),
    forms: u64,
    connections: u64,
) -> anyhow::Result<()> {
    let mut senders = JoinSet::new();
    for sender in 0..connections {
        let token = token.to_owned();
        senders.spawn(async move {
            let mut client = Client::new(node);
            for form in (0..forms).filter(|form| form % connections == sender) {
                define(&mut client, &token, form).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender.context("a sender died")??;
    }
    Ok(())
}

async fn define(client: &mut Client, token: &str, form: u64) -> anyhow::Result<()> {
    let name = name(form);
    let definition = json!({
        "name": name,
        "schema": {
            "type": "object",
            "required": ["marker"],
            "properties": {"marker": {"type": "string", "maxLength": 100}},
        },
    });
    let call = Call::new(Method::PUT, format!("/v1/forms/{name}"));
    let call = call.header("content-type", JSON).bearer(token);
    let answer = client.call(&call.body(definition.to_string())).await?;
    let (status, said) = (answer.status, answer.text());
    ensure!(answer.is_success(), "form {name}: {status} {said}");
    let task = json!({
        "name": name,
        "forms": [name],
        "sink": "sheets",
        "start": "beginning",
        "on_poison": "stop",
        "sheets": {"spreadsheet": book(form), "received_at": "text"},
    });
    let answer = tasks::put(client, token, &name, &task).await?;
    let (status, said) = (answer.status, answer.text());
    ensure!(answer.is_success(), "task {name}: {status} {said}");
    Ok(())
}

#[derive(Debug, Deserialize)]
struct Receipt {
    id: String,
    seq: u64,
}

/// Where and by which clock it is posted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Post {
    pub(super) node: SocketAddr,
    pub(super) clock: Clock,
}

impl Post {
    /// One document to each form, at once.
    pub(super) async fn all(self, forms: u64, connections: u64) -> anyhow::Result<Vec<Asked>> {
        let mut senders = JoinSet::new();
        for sender in 0..connections {
            senders.spawn(async move {
                let (mut client, mut asked) = (Client::new(self.node), Vec::new());
                for form in (0..forms).filter(|form| form % connections == sender) {
                    asked.push(self.one(&mut client, form).await?);
                }
                anyhow::Ok(asked)
            });
        }
        let mut all = Vec::new();
        while let Some(asked) = senders.join_next().await {
            all.extend(asked.context("a sender died")??);
        }
        Ok(all)
    }

    /// The first `forms` in turn, again and again, until it is told to stop.
    pub(super) async fn busily(
        self,
        forms: u64,
        rest: Duration,
        stopped: watch::Receiver<bool>,
    ) -> anyhow::Result<Vec<Asked>> {
        let (mut client, mut asked) = (Client::new(self.node), Vec::new());
        for form in (0..forms).cycle() {
            if *stopped.borrow() {
                break;
            }
            asked.push(self.one(&mut client, form).await?);
            sleep(rest).await;
        }
        Ok(asked)
    }

    async fn one(self, client: &mut Client, form: u64) -> anyhow::Result<Asked> {
        let at_ms = self.clock.now_ms();
        let marker = format!("m{form}x{:016x}", getrandom::u64().context("no dice")?);
        let path = format!("/v1/forms/{}/submissions", name(form));
        let body = json!({"marker": marker}).to_string();
        let call = Call::post(path, JSON, body).header("accept", JSON);
        let answer = client.call(&call).await?;
        let said = || answer.text();
        ensure!(answer.is_success(), "{}: {}", answer.status, said());
        let receipt: Receipt = serde_json::from_slice(&answer.body).with_context(said)?;
        ensure!(!receipt.id.is_empty(), "a receipt without an id");
        Ok(Asked {
            form,
            seq: receipt.seq,
            marker,
            at_ms,
        })
    }
}
