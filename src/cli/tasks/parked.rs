//! `formspool tasks parked` and `replay-parked`: what was set aside, and another try.

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::{members, word};
use crate::cli::client::Client;
use crate::cli::error::Error;
use crate::cli::out::{self, Out, plain};

/// Each with why and what it says.
pub(super) async fn list(out: Out, client: &Client, task: &str) -> Result<(), Error> {
    let mut after = "0:0".to_owned();
    let mut count = 0_usize;
    loop {
        let path = format!("/v1/tasks/{task}/parked?limit=100&after={after}");
        let page = client.get(&path).await?;
        let rows: Vec<&Value> = members(&page, "/parked").collect();
        if rows.is_empty() {
            break;
        }
        count += rows.len();
        for row in rows {
            if out.is_json {
                out::json(row)?;
            } else {
                out::text(&in_words(row))?;
            }
        }
        after = word(&page, "next");
    }
    if !out.is_json {
        let hint = match count {
            0 => "nothing is set aside".to_owned(),
            _ => format!(
                "{count} set aside; to send them once more: formspool tasks replay-parked {task} --all"
            ),
        };
        out::text(&hint)?;
    }
    Ok(())
}

fn in_words(row: &Value) -> String {
    let data = row.get("data").cloned().unwrap_or_default();
    let answer = match word(row, "answer").as_str() {
        "" | "-" => String::new(),
        answer => format!("\n  answer: {answer}"),
    };
    format!(
        "{}  {} #{}  {}\n  {}{answer}\n  {}\n",
        word(row, "position"),
        word(row, "form"),
        word(row, "seq"),
        word(row, "id"),
        word(row, "reason"),
        plain(&data.to_string()),
    )
}

/// These, or all.
pub(super) async fn replay(
    out: Out,
    client: &Client,
    task: &str,
    positions: &[String],
) -> Result<(), Error> {
    let mut replayed = 0;
    for position in positions {
        let path = format!("/v1/tasks/{task}/parked/{position}/replay");
        replayed += one(client, &path).await?.0;
    }
    while positions.is_empty() {
        let (count, is_more) = one(client, &format!("/v1/tasks/{task}/parked/replay")).await?;
        replayed += count;
        if !is_more {
            break;
        }
    }
    let told = json!({ "task": task, "replayed": replayed });
    let words = format!("{replayed} on their way once more; formspool tasks show {task}");
    Ok(out.either(&told, &words)?)
}

/// How many were sent, and whether there are more.
async fn one(client: &Client, path: &str) -> Result<(u64, bool), Error> {
    let answer = client.send(Method::POST, path, Bytes::new()).await?;
    let count = answer.get("replayed").and_then(Value::as_u64);
    let is_more = answer.get("more").and_then(Value::as_bool);
    Ok((count.unwrap_or_default(), is_more == Some(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_aside_is_shown_with_why_and_what_it_says() {
        let row = json!({
            "position": "4711:3", "form": "f", "seq": 17, "id": "x", "reason": "too large",
            "answer": "", "data": { "a": "b\u{1b}" },
        });
        let text = in_words(&row);
        assert!(
            text.starts_with("4711:3  f #17  x\n  too large\n"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
