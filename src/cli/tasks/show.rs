//! `formspool tasks show`: one task whole.

use serde_json::{Value, json};

use super::{in_words, members, word};
use crate::cli::client::Client;
use crate::cli::error::Error;
use crate::cli::out::{Out, plain};

/// Prints its definition, its lanes and what its destination tells.
pub(super) async fn run(out: Out, client: &Client, name: &str) -> Result<(), Error> {
    let task = client.get(&format!("/v1/tasks/{name}")).await?;
    let status = client.get("/v1/status").await?;
    let status = members(&status, "/tasks").find(|status| word(status, "name") == name);
    let status = status.cloned().unwrap_or_default();
    let words = in_full(&task, &status);
    Ok(out.either(&json!({ "task": task, "status": status }), &words)?)
}

fn in_full(task: &Value, status: &Value) -> String {
    let definition = task.get("definition").cloned().unwrap_or_default();
    let mut text = format!(
        "task {}: version {}, {}, life {}\n{definition:#}\n\n{}",
        word(task, "name"),
        word(task, "version"),
        word(task, "state"),
        word(task, "incarnation"),
        in_words(&json!([status])),
    );
    for lane in members(status, "/lanes") {
        let position = lane.get("position").filter(|position| !position.is_null());
        if let Some(position) = position {
            let at = format!("{}:{}", word(position, "index"), word(position, "slot"));
            text.extend(["\ncursor of ", &word(lane, "form"), ": ", &at, "\n"]);
        }
        if let Some(sink) = lane.get("sink").filter(|sink| !sink.is_null()) {
            text.push_str(&plain(&format!("{sink:#}\n")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_shown_with_its_cursor_as_it_can_be_given_back() {
        let task = json!({
            "name": "t", "version": 2, "incarnation": 9, "state": "running",
            "definition": { "sink": "csv" },
        });
        let status = json!({
            "name": "t", "sink": "csv",
            "lanes": [{ "form": "f", "position": { "index": 4711, "slot": 3 }, "sink": { "a": 1 } }],
        });
        let text = in_full(&task, &status);
        for part in [
            "task t: version 2, running, life 9",
            "\"sink\": \"csv\"",
            "cursor of f: 4711:3",
            "\"a\": 1",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
