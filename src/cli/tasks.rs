//! `formspool tasks`: what moves forms to their destinations, how far each is, and what a person asks
//! of them.
//!
//! Holds: whatever is wrong stands with what to do about it.

mod act;
mod parked;
mod show;

use serde_json::Value;

use super::args::Tasks;
use super::client::Client;
use super::error::Error;
use super::out::{Out, plain, span_in_words, table};

/// Asks, and tells what came of it.
pub(super) async fn run(out: Out, client: &Client, asked: Tasks) -> Result<(), Error> {
    match asked {
        Tasks::List => list(out, client).await,
        Tasks::Show { task } => show::run(out, client, &task).await,
        Tasks::Create { files } => act::create(out, client, &files).await,
        Tasks::Pause { task } => act::pause(out, client, &task).await,
        Tasks::Resume { task } => act::resume(out, client, &task).await,
        Tasks::Seek { task, to, place } => {
            let place = act::Place { text: &to, place };
            act::seek(out, client, &task, place).await
        }
        Tasks::Replay { task, from, place } => {
            let place = act::Place { text: &from, place };
            act::replay(out, client, &task, place).await
        }
        Tasks::Delete { task, abandon } => act::delete(out, client, &task, abandon).await,
        Tasks::Parked { task } => parked::list(out, client, &task).await,
        Tasks::ReplayParked {
            task, positions, ..
        } => parked::replay(out, client, &task, &positions).await,
    }
}

async fn list(out: Out, client: &Client) -> Result<(), Error> {
    let status = client.get("/v1/status").await?;
    let tasks = status.get("tasks").cloned().unwrap_or_default();
    Ok(out.either(&tasks, &in_words(&tasks))?)
}

/// A line a task and form: state, how far behind; then what is wrong, and what to do.
pub(super) fn in_words(tasks: &Value) -> String {
    let heading = [
        "task",
        "form",
        "sink",
        "state",
        "delivered",
        "behind",
        "bytes",
        "oldest waits",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut troubles = Vec::new();
    for task in members(tasks, "") {
        for lane in members(task, "/lanes") {
            rows.push(row(task, lane));
            troubles.extend(trouble(task, lane));
        }
    }
    let mut text = table(&rows);
    for trouble in troubles {
        text.extend(["\n", &trouble, "\n"]);
    }
    text
}

/// The members of a list somewhere in a document; none where there is no list.
fn members<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten()
}

/// A member of an object as people read it.
fn word(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => plain(text),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn row(task: &Value, lane: &Value) -> Vec<String> {
    let number = |name: &str| lane.get(name).and_then(Value::as_u64);
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        word(task, "name"),
        word(lane, "form"),
        word(task, "sink"),
        word(lane, "state"),
        or_none(number("seq").map(|seq| format!("#{seq}"))),
        number("lag_records").unwrap_or_default().to_string(),
        or_none(number("lag_bytes").map(|bytes| bytes.to_string())),
        or_none(number("oldest_age_ms").map(span_in_words)),
    ]
}

/// What is the matter with a lane and what to do about it; nothing where all is well.
fn trouble(task: &Value, lane: &Value) -> Option<String> {
    let (name, form) = (word(task, "name"), word(lane, "form"));
    let whose = if form == "*" {
        format!("task {name}")
    } else {
        format!("task {name}, form {form},")
    };
    let why = lane.pointer("/last_error/why").and_then(Value::as_str);
    let count = lane.pointer("/last_error/count").and_then(Value::as_u64);
    let times = match count {
        Some(count) if count > 1 => format!(" ({count} times)"),
        Some(_) | None => String::new(),
    };
    let why = plain(why.unwrap_or("it does not say why"));
    match word(lane, "state").as_str() {
        "retrying" => Some(format!(
            "{whose} is in trouble{times}: {why}\n  It tries again by itself, and nothing is lost."
        )),
        "stopped" => Some(format!(
            "{whose} has stopped: {why}\n  It waits for a person. Once that is mended: formspool tasks \
             pause {name}; formspool tasks resume {name}"
        )),
        "paused" => Some(format!(
            "{whose} is paused. To let it go on: formspool tasks resume {name}"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lane(state: &str, why: Option<&str>) -> Value {
        json!({
            "form": "*", "state": state, "seq": 17, "lag_records": 3, "lag_bytes": null,
            "oldest_age_ms": 61_000,
            "last_error": why.map(|why| json!({ "why": why, "since_ms": 1, "count": 4 })),
        })
    }

    fn told(state: &str, why: Option<&str>) -> String {
        let task = json!({ "name": "mirror", "sink": "kafka", "lanes": [lane(state, why)] });
        in_words(&json!([task]))
    }

    #[test]
    fn a_task_has_a_line_with_how_far_it_is() {
        let text = told("running", None);
        let line = "mirror  *     kafka  running  #17        3       -      1 min";
        assert!(text.ends_with(&format!("{line}\n")), "{text}");
    }

    #[test]
    fn what_is_wrong_stands_with_what_to_do() {
        let cases = [
            ("retrying", "tries again by itself"),
            (
                "stopped",
                "formspool tasks pause mirror; formspool tasks resume mirror",
            ),
            ("paused", "formspool tasks resume mirror"),
        ];
        for (state, advice) in cases {
            let text = told(state, Some("topic\u{1b} gone"));
            assert!(text.contains(advice), "{state}: {text}");
            let is_told = text.contains("topic\u{fffd} gone");
            assert_eq!(is_told, state != "paused", "{text}");
        }
    }
}
