//! Tasks over HTTP: defined, paused, sought, and how each is doing.

use anyhow::ensure;
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::client::api::JSON;
use crate::client::{Answer, Call, Client, cluster};

const COUNTS: [&str; 4] = ["transactions", "transaction_ms", "aborts", "fences"];

/// How a task is doing, as far as it is looked at.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) lag_records: u64,
    pub(crate) last_error: Option<Trouble>,
    #[serde(default)]
    pub(crate) lanes: Vec<Lane>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Trouble {
    pub(crate) why: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Lane {
    pub(crate) state: String,
    pub(crate) lag_records: u64,
    /// Whatever its sink tells about itself.
    #[serde(default)]
    pub(crate) sink: Value,
}

impl Task {
    /// Running, with nothing left to deliver.
    pub(crate) fn is_done(&self) -> bool {
        let lanes = self.lanes.iter();
        let mut lanes = lanes.map(|lane| (lane.state.as_str(), lane.lag_records));
        self.lag_records == 0
            && self.state == "running"
            && !self.lanes.is_empty()
            && lanes.all(|lane| lane == ("running", 0))
    }

    /// What its sink counts, since the node's start.
    pub(crate) fn counts(&self) -> Value {
        let lanes = self.lanes.iter().filter_map(|lane| lane.sink.as_object());
        let counts = lanes
            .flatten()
            .filter(|(name, _)| COUNTS.contains(&name.as_str()));
        let counts = counts.map(|(name, value)| (name.clone(), value.clone()));
        Value::Object(counts.collect())
    }

    /// For people.
    pub(crate) fn words(&self) -> String {
        let (state, lag) = (&self.state, self.lag_records);
        let why = self
            .last_error
            .as_ref()
            .map_or("", |trouble| trouble.why.as_str());
        format!("{state}, lag {lag} {why}")
    }
}

#[derive(Debug, Deserialize)]
struct Status {
    tasks: Vec<Task>,
}

/// What one node says of a task; `None`: it says nothing.
pub(crate) async fn task(
    client: &mut Client,
    token: &str,
    name: &str,
) -> anyhow::Result<Option<Task>> {
    let tasks = all(client, token).await?;
    Ok(tasks.into_iter().find(|task| task.name == name))
}

/// What one node says of all tasks.
pub(crate) async fn all(client: &mut Client, token: &str) -> anyhow::Result<Vec<Task>> {
    let status: Status = cluster::get(client, token, "/v1/status").await?;
    Ok(status.tasks)
}

/// Defines it; the answer tells whether that was taken.
pub(crate) async fn put(
    client: &mut Client,
    token: &str,
    name: &str,
    definition: &Value,
) -> anyhow::Result<Answer> {
    let call = Call::new(Method::PUT, format!("/v1/tasks/{name}"));
    let call = call
        .header("content-type", JSON)
        .body(definition.to_string());
    Ok(client.call(&call.bearer(token)).await?)
}

/// `pause`, `resume`, `seek`, `replay`.
pub(crate) async fn ask(
    client: &mut Client,
    token: &str,
    (name, what): (&str, &str),
    body: &Value,
) -> anyhow::Result<()> {
    let call = Call::post(format!("/v1/tasks/{name}/{what}"), JSON, body.to_string());
    done(what, &client.call(&call.bearer(token)).await?)
}

/// Whatever it has not delivered is given up.
pub(crate) async fn delete(client: &mut Client, token: &str, name: &str) -> anyhow::Result<()> {
    let call = Call::new(Method::DELETE, format!("/v1/tasks/{name}?abandon=true"));
    done("delete", &client.call(&call.bearer(token)).await?)
}

#[derive(Debug, Deserialize)]
struct Parkeds {
    parked: Vec<Parked>,
    next: String,
}

/// One that was set aside.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Parked {
    pub(crate) data: Value,
    pub(crate) reason: String,
}

/// All that a task has set aside.
pub(crate) async fn parked(
    client: &mut Client,
    token: &str,
    name: &str,
) -> anyhow::Result<Vec<Parked>> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let mut path = format!("/v1/tasks/{name}/parked?limit=100");
        if !after.is_empty() {
            path = format!("{path}&after={after}");
        }
        let page: Parkeds = cluster::get(client, token, &path).await?;
        if page.parked.is_empty() {
            return Ok(all);
        }
        all.extend(page.parked);
        after = page.next;
    }
}

fn done(what: &str, answer: &Answer) -> anyhow::Result<()> {
    let (status, text) = (answer.status, answer.text());
    ensure!(answer.is_success(), "{what}: {status} {text}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn a_task_is_done_when_it_runs_and_nothing_is_left() {
        let text = r#"{"node":1,"tasks":[{"name":"a","incarnation":3,"sink":"kafka","state":"running",
            "lag_records":0,"oldest_age_ms":null,"last_error":null,"lanes":[{"form":"*",
            "state":"running","position":null,"seq":3,"lag_records":0,"last_error":null,
            "sink":{"fences":1,"audit":{}}}]}]}"#;
        let status = |text: &str| serde_json::from_str::<Status>(text).unwrap();
        let task = &status(text).tasks[0];
        assert!(task.is_done());
        assert_eq!(task.counts(), serde_json::json!({"fences": 1}));
        for (from, to) in [
            (
                r#""state":"running","position""#,
                r#""state":"starting","position""#,
            ),
            (r#""lag_records":0,"oldest"#, r#""lag_records":1,"oldest"#),
            (r#""seq":3,"lag_records":0"#, r#""seq":3,"lag_records":2"#),
        ] {
            assert!(!status(&text.replace(from, to)).tasks[0].is_done(), "{to}");
        }
    }
}
