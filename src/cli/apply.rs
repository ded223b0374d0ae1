//! `formspool apply`: forms and tasks from files onto the running node.
//!
//! Holds: compare-and-set on the version that was read a moment before, so two people who apply at
//! once cannot undo each other unseen: the second one is told.

use serde_json::{Value, json};

use super::client::Client;
use super::error::Error;
use super::out::{self, Out};
use crate::definitions::{Found, Item};

/// Defines what differs; says of each what became of it.
pub(super) async fn run(out: Out, client: &Client, found: &[Found]) -> Result<(), Error> {
    let mut done = Vec::new();
    for Found { source, item } in found {
        let path = match item {
            Item::Form(form) => format!("/v1/forms/{}", form.name),
            Item::Task(task) => format!("/v1/tasks/{}", task.name),
        };
        let version = match client.get(&path).await {
            Ok(present) => version_of(&present),
            Err(Error::Refused { status: 404, .. }) => None,
            Err(error) => return Err(error),
        };
        let answer = client.put_if(&path, item.to_json(), version).await?;
        let is_changed = answer
            .get("changed")
            .and_then(Value::as_bool)
            .unwrap_or(true);
        let now = answer
            .get("version")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let word = match (is_changed, version) {
            (false, _) => "unchanged",
            (true, None) => "created",
            (true, Some(_)) => "changed",
        };
        let (kind, name) = (item.kind(), item.name());
        if !out.is_json {
            out::text(&format!(
                "{kind} {name}: {word}, version {now}   ({source})"
            ))?;
        }
        done.push(json!({ "kind": kind, "name": name, "outcome": word, "version": now }));
    }
    if out.is_json {
        Ok(out::json(&done)?)
    } else {
        Ok(())
    }
}

/// The version to compare with; a retired one counts as absent.
fn version_of(present: &Value) -> Option<u64> {
    if present.get("is_retired").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    present.get("version").and_then(Value::as_u64)
}
