//! `formspool tasks list`: what moves forms to their destinations, and how far each is.

use serde_json::Value;

use super::client::Client;
use super::error::Error;
use super::out::{Out, plain, span_in_words, table};

/// Prints them.
pub(super) async fn list(out: Out, client: &Client) -> Result<(), Error> {
    let status = client.get("/v1/status").await?;
    let tasks = status.get("tasks").cloned().unwrap_or_default();
    Ok(out.either(&tasks, &in_words(&tasks))?)
}

/// A line a task and form: state, how far behind, what is wrong.
pub(super) fn in_words(tasks: &Value) -> String {
    let heading = [
        "task",
        "form",
        "sink",
        "state",
        "delivered",
        "behind",
        "oldest waits",
        "trouble",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for task in tasks.as_array().into_iter().flatten() {
        let word = |name: &str| {
            task.get(name)
                .and_then(Value::as_str)
                .unwrap_or("-")
                .to_owned()
        };
        let lanes = task.get("lanes").and_then(Value::as_array);
        for lane in lanes.into_iter().flatten() {
            let number = |name: &str| lane.get(name).and_then(Value::as_u64);
            let text = |name: &str| {
                lane.get(name)
                    .and_then(Value::as_str)
                    .unwrap_or("-")
                    .to_owned()
            };
            let trouble = lane.pointer("/last_error/why").and_then(Value::as_str);
            rows.push(vec![
                word("name"),
                text("form"),
                word("sink"),
                text("state"),
                number("seq").map_or_else(|| "-".to_owned(), |seq| format!("#{seq}")),
                number("lag_records").unwrap_or_default().to_string(),
                number("oldest_age_ms").map_or_else(|| "-".to_owned(), span_in_words),
                plain(trouble.unwrap_or("-")),
            ]);
        }
    }
    table(&rows)
}
