//! What a person asks of a task.

use std::path::PathBuf;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::word;
use crate::cli::args;
use crate::cli::client::Client;
use crate::cli::error::Error;
use crate::cli::out::Out;
use crate::definitions::{self, Item};

/// Defines new ones. All files are read before the first is sent.
pub(super) async fn create(out: Out, client: &Client, files: &[PathBuf]) -> Result<(), Error> {
    let found = definitions::read(files).map_err(Error::Problems)?;
    let forms = found.iter().filter_map(|one| match &one.item {
        Item::Form(form) => Some(format!(
            "{}: {} is a form; `formspool apply` defines forms and tasks",
            one.source, form.name
        )),
        Item::Task(_) => None,
    });
    let forms: Vec<String> = forms.collect();
    if !forms.is_empty() {
        return Err(Error::Problems(forms));
    }
    let (mut all, mut lines) = (Vec::new(), Vec::new());
    for one in &found {
        let name = one.item.name();
        let path = format!("/v1/tasks/{name}");
        let answer = match client.put_if(&path, one.item.to_json(), None).await {
            Err(Error::Refused {
                status: status @ 409,
                ..
            }) => {
                let detail = format!(
                    "task {name} is there already, and is another one; `formspool apply` changes it"
                );
                return Err(Error::Refused { status, detail });
            }
            answer => answer?,
        };
        let is_new = answer.get("changed").and_then(Value::as_bool) == Some(true);
        let word = if is_new {
            "created"
        } else {
            "is there already"
        };
        lines.push(format!("task {name}: {word}   ({})\n", one.source));
        all.push(answer);
    }
    Ok(out.either(&all, &lines.concat())?)
}

/// Pauses it.
pub(super) async fn pause(out: Out, client: &Client, task: &str) -> Result<(), Error> {
    let answer = post(client, task, "pause", &json!({})).await?;
    let words =
        format!("task {task} delivers nothing until it is resumed: formspool tasks resume {task}");
    Ok(out.either(&answer, &words)?)
}

/// Lets it go on.
pub(super) async fn resume(out: Out, client: &Client, task: &str) -> Result<(), Error> {
    let answer = post(client, task, "resume", &json!({})).await?;
    let words = format!("task {task} goes on; formspool tasks show {task}");
    Ok(out.either(&answer, &words)?)
}

/// A place as it was given on the command line.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) text: &'a str,
    pub(super) place: args::Place,
}

/// Lets it go on from elsewhere.
pub(super) async fn seek(
    out: Out,
    client: &Client,
    task: &str,
    place: Place<'_>,
) -> Result<(), Error> {
    let to = place.resolve(client, task).await?;
    let answer = post(client, task, "seek", &json!({ "to": to })).await?;
    let words = format!(
        "task {task} goes on behind {} in a new life; formspool tasks show {task}",
        word(&answer, "position")
    );
    Ok(out.either(&answer, &words)?)
}

/// Lets it send again.
pub(super) async fn replay(
    out: Out,
    client: &Client,
    task: &str,
    place: Place<'_>,
) -> Result<(), Error> {
    let from = place.resolve(client, task).await?;
    let answer = post(client, task, "replay", &json!({ "from": from })).await?;
    let words = format!(
        "task {task} sends again what comes behind {}; formspool tasks show {task}",
        word(&answer, "position")
    );
    Ok(out.either(&answer, &words)?)
}

/// Deletes it.
pub(super) async fn delete(
    out: Out,
    client: &Client,
    task: &str,
    abandon: bool,
) -> Result<(), Error> {
    let path = format!("/v1/tasks/{task}?abandon={abandon}");
    let answer = match client.send(Method::DELETE, &path, Bytes::new()).await {
        Err(Error::Refused {
            status: status @ 409,
            detail,
        }) => {
            let detail = detail.replace("?abandon=true", "--abandon");
            return Err(Error::Refused { status, detail });
        }
        answer => answer?,
    };
    let words = format!("task {task} is deleted; what it has delivered stays where it is");
    Ok(out.either(&answer, &words)?)
}

async fn post(client: &Client, task: &str, what: &str, body: &Value) -> Result<Value, Error> {
    let path = format!("/v1/tasks/{task}/{what}");
    client
        .send(Method::POST, &path, Bytes::from(body.to_string()))
        .await
}

impl Place<'_> {
    /// As the node takes it. A number alone is a record of the task's only form.
    async fn resolve(self, client: &Client, task: &str) -> Result<Value, Error> {
        if self.text.parse::<u64>().is_err() || self.place.form.is_some() {
            return place_of(self.text, self.place.form.as_deref());
        }
        let shown = client.get(&format!("/v1/tasks/{task}")).await?;
        place_of(self.text, only_form(&shown))
    }
}

fn only_form(task: &Value) -> Option<&str> {
    let forms = task.pointer("/definition/forms")?.as_array()?;
    match forms.as_slice() {
        [form] => form.as_str().filter(|form| *form != "*"),
        _ => None,
    }
}

fn place_of(text: &str, form: Option<&str>) -> Result<Value, Error> {
    let wrong = |why: String| Err(Error::Problems(vec![why]));
    match (text, text.parse::<u64>(), form) {
        ("beginning" | "now", _, _) => Ok(Value::from(text)),
        (_, Ok(seq), Some(form)) => Ok(json!({ "seq": seq, "form": form })),
        (_, Ok(seq), None) => wrong(format!(
            "record {seq} of which form? The task moves more than one: say --form"
        )),
        (_, Err(_), _) if text.contains(':') => Ok(json!({ "position": text })),
        (_, Err(_), _) => wrong(format!(
            "{text:?} is no place: beginning, now, a record's number, or a cursor such as 4711:3"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_word_a_record_or_a_cursor() {
        let ok = |text, form| place_of(text, form).unwrap();
        assert_eq!(ok("beginning", None), json!("beginning"));
        assert_eq!(ok("now", Some("f")), json!("now"));
        assert_eq!(ok("17", Some("f")), json!({ "seq": 17, "form": "f" }));
        assert_eq!(ok("4711:3", None), json!({ "position": "4711:3" }));
        assert!(place_of("17", None).is_err(), "of which form");
        assert!(place_of("yesterday", None).is_err());
    }

    #[test]
    fn a_number_alone_is_a_record_of_the_only_form() {
        let task = |forms: Value| json!({ "definition": { "forms": forms } });
        assert_eq!(only_form(&task(json!(["f"]))), Some("f"));
        assert_eq!(only_form(&task(json!(["*"]))), None);
        assert_eq!(only_form(&task(json!(["f", "g"]))), None);
    }
}
