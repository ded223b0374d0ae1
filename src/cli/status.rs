//! `formspool status`: what the node is, holds and delivers.

use serde_json::Value;

use super::client::Client;
use super::error::Error;
use super::out::{Out, plain, table};
use super::tasks;

/// Asks and prints.
pub(super) async fn run(out: Out, client: &Client) -> Result<(), Error> {
    let status = client.get("/v1/status").await?;
    Ok(out.either(&status, &in_words(&status))?)
}

fn in_words(status: &Value) -> String {
    let show = |pointer: &str| match status.pointer(pointer) {
        Some(Value::String(text)) => plain(text),
        Some(value) => value.to_string(),
        None => "-".to_owned(),
    };
    let mut rows = vec![vec![
        "form".to_owned(),
        "version".to_owned(),
        "records".to_owned(),
    ]];
    for form in status
        .get("forms")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let part = |name: &str| form.get(name).cloned().unwrap_or_default();
        let name = part("name").as_str().unwrap_or_default().to_owned();
        let is_retired = part("is_retired").as_bool() == Some(true);
        rows.push(vec![
            if is_retired {
                format!("{name} (retired)")
            } else {
                name
            },
            part("version").to_string(),
            part("head").to_string(),
        ]);
    }
    format!(
        "formspool {}: node {} of cluster {}, {} of term {}\n\
         durability: {}\n\
         log: {}, entries {} to {}, applied {}, written {}{}\n\n{}\n{}",
        show("/version"),
        show("/node/node"),
        show("/node/cluster"),
        show("/node/role"),
        show("/node/term"),
        show("/durability/words"),
        show("/wal/health"),
        show("/wal/first"),
        show("/wal/last"),
        show("/node/applied"),
        show("/wal/write_mode"),
        damage_in_words(status),
        table(&rows),
        tasks::in_words(status.get("tasks").unwrap_or(&Value::Null)),
    )
}

/// Each finding on a line of its own; nothing where there is none.
fn damage_in_words(status: &Value) -> String {
    let findings = status.pointer("/wal/damage").and_then(Value::as_array);
    let lines = findings.into_iter().flatten().filter_map(Value::as_str);
    lines.fold(String::new(), |all, line| all + "\nDAMAGE: " + &plain(line))
}
