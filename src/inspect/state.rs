//! The state of a data directory as text: what applying the log has made.
//!
//! Holds: reads a copy in a directory of its own, so a running node is not disturbed and nothing in
//! the data directory changes. Beside a running node the copy is as a crash would leave the rows:
//! the state after some entry, not always the last one.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;
use storage::{Position, State, StateConfig, StateView};

use super::{Error, Item, id_in_words};

/// More than this is told as "at least".
const COUNT_MAX: usize = 1000;

/// Tells what is in `dir`, if there is anything.
pub(super) fn walk(dir: &Path, each: &mut dyn FnMut(Item) -> io::Result<()>) -> Result<(), Error> {
    if !dir.is_dir() {
        return Ok(each(Item {
            text: "state: none, it is built from the log at the next start".to_owned(),
            json: json!({ "item": "state", "is_there": false }),
        })?);
    }
    let copy = tempfile::tempdir()?;
    copy_all(dir, copy.path())?;
    let view = State::peek(copy.path(), &StateConfig::default())?;
    each(about(&view)?)?;
    for form in view.forms()? {
        let withheld = view
            .withheld(form.id, Position::default(), COUNT_MAX)?
            .len();
        let retired = if form.is_retired { ", retired" } else { "" };
        each(Item {
            text: format!(
                "  form {} {}: version {}, {} records, {} withheld{retired}",
                form.id,
                form.name,
                form.version,
                form.head,
                counted(withheld)
            ),
            json: json!({ "item": "form", "id": form.id, "name": form.name,
                          "version": form.version, "head": form.head, "withheld": withheld,
                          "is_retired": form.is_retired }),
        })?;
    }
    for task in view.tasks()? {
        let parked = view
            .parked(&task.name, Position::default(), COUNT_MAX)?
            .len();
        each(Item {
            text: format!(
                "  task {}: version {}, incarnation {}, {:?}, {} parked",
                task.name,
                task.version,
                task.incarnation,
                task.state,
                counted(parked)
            ),
            json: json!({ "item": "task", "name": task.name, "version": task.version,
                          "incarnation": task.incarnation, "state": task.state,
                          "parked": parked }),
        })?;
    }
    Ok(())
}

fn about(view: &StateView) -> Result<Item, Error> {
    let digests = view.digests();
    let log = format!("{:032x}", u128::from_be_bytes(digests.log));
    let rows = format!("{:032x}", digests.rows);
    let (time_ms, policy, level) = (view.state_time()?, view.policy()?, view.level()?);
    let (count, key_bytes, horizon) = (view.row_count(), view.keys_bytes()?, view.horizon()?);
    Ok(Item {
        text: format!(
            "state: applied {}, {count} rows, state time {time_ms} ms, policy {policy}, \
             level {level}, horizon {horizon}, keys {key_bytes} bytes\n  \
             digest of the rows {rows}, of the log {log}",
            id_in_words(view.applied())
        ),
        json: json!({ "item": "state", "is_there": true, "applied": view.applied(),
                      "rows": count, "time_ms": time_ms, "policy": policy.to_string(),
                      "level": level, "horizon": horizon, "key_bytes": key_bytes,
                      "digest_rows": rows, "digest_log": log }),
    })
}

fn counted(count: usize) -> String {
    if count < COUNT_MAX {
        count.to_string()
    } else {
        format!("at least {count}")
    }
}

/// A file that goes away meanwhile belonged to a compaction: what it held is in another one.
fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy_all(&entry.path(), &target)?;
        } else if let Err(error) = fs::copy(entry.path(), &target)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
    }
    Ok(())
}
