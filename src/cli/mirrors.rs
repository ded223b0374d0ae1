//! The tasks of a running node that lead to Kafka, as its own commands need them.

use bridge::KafkaTask;
use serde_json::Value;

use super::client::Client;
use super::error::Error;

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Mirror {
    pub(super) task: KafkaTask,
    /// The entry that its cursor stands in; `None` where this node does not deliver it.
    pub(super) index: Option<u64>,
    /// Nothing waits for delivery.
    pub(super) is_caught_up: bool,
    /// It begins with what came after its definition, not with the first record.
    pub(super) begins_late: bool,
}

/// All of them, or the one that is named.
pub(super) async fn find(client: &Client, named: Option<&str>) -> Result<Vec<Mirror>, Error> {
    let all = client.get("/v1/tasks").await?;
    let cluster = client.get("/v1/cluster").await?;
    let cluster = text(&cluster, "/cluster");
    let mut mirrors = Vec::new();
    let all = all.get("tasks").and_then(Value::as_array);
    for status in all.into_iter().flatten() {
        let name = text(status, "/name");
        let is_asked_for = named.is_none_or(|named| named == name);
        if text(status, "/sink") == "kafka" && is_asked_for {
            mirrors.push(mirror(client, status, &cluster).await?);
        }
    }
    if mirrors.is_empty() {
        let problem = match named {
            Some(name) => format!("no task {name:?} leads to Kafka: see `formspool tasks list`"),
            None => "no task leads to Kafka: see `formspool tasks list`".to_owned(),
        };
        return Err(Error::Problems(vec![problem]));
    }
    Ok(mirrors)
}

async fn mirror(client: &Client, status: &Value, cluster: &str) -> Result<Mirror, Error> {
    let name = text(status, "/name");
    let task = client.get(&format!("/v1/tasks/{name}")).await?;
    let definition = task.get("definition").cloned().unwrap_or_default();
    let lane = status.pointer("/lanes/0");
    let number = |pointer: &str| lane?.pointer(pointer)?.as_u64();
    Ok(Mirror {
        index: number("/position/index"),
        is_caught_up: number("/lag_records") == Some(0),
        begins_late: text(&definition, "/start") != "beginning",
        task: KafkaTask {
            forms: forms(client, &definition).await?,
            settings: definition.get("kafka").cloned().unwrap_or_default(),
            cluster: cluster.to_owned(),
            name,
        },
    })
}

/// The forms of a definition by name: `*` is all that there are.
async fn forms(client: &Client, definition: &Value) -> Result<Vec<String>, Error> {
    let named = definition.get("forms").and_then(Value::as_array);
    let named: Vec<String> = named
        .into_iter()
        .flatten()
        .map(|form| text(form, ""))
        .collect();
    if !named.iter().any(|form| form == "*") {
        return Ok(named);
    }
    let all = client.get("/v1/forms").await?;
    let all = all.get("forms").and_then(Value::as_array);
    Ok(all
        .into_iter()
        .flatten()
        .map(|form| text(form, "/name"))
        .collect())
}

fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}
