//! What a start puts into the log where it is not there yet: policy, token, definitions.
//!
//! Holds: nothing that is there is changed, so an old binary or a stale directory never undoes what
//! was done through the API; a start that was cut short anywhere is finished by the next one. A
//! form that was retired stays retired.

use std::path::Path;

use storage::{
    Command, Disk, Expect, Outcome, Policy, SetPolicy, SetToken, StateView, encode_command,
};
use tracing::info;

use super::error::Error;
use crate::config::{Config, Loaded};
use crate::definitions::{self, Found, Item};
use crate::token;

/// The definitions that a start with these settings looks at.
///
/// The usual directories need not be there: then the shipped definitions are taken. A directory
/// that somebody named must be there.
pub fn definitions_of(loaded: &Loaded) -> Result<Vec<Found>, Vec<String>> {
    let directories = &loaded.config.definitions;
    let is_named = loaded.set.contains_key("definitions");
    let there: Vec<_> = directories
        .iter()
        .filter(|path| path.exists())
        .cloned()
        .collect();
    match (is_named, there.is_empty()) {
        (true, _) => definitions::read(directories),
        (false, true) => definitions::shipped(),
        (false, false) => definitions::read(&there),
    }
}

/// Refuses a data directory that another process has.
///
/// Only a message: the lock itself is taken by the room that writes there, and held for as long as
/// it does.
pub(super) fn nobody_else(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    match disk.lock(&lock_path(dir)) {
        Ok(_freed_at_once) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            let text = std::fs::read_to_string(lock_path(dir)).unwrap_or_default();
            Err(Error::InUse {
                dir: dir.to_owned(),
                pid: text.trim().parse().ok(),
            })
        }
        Err(source) => Err(Error::Io {
            op: "lock",
            path: lock_path(dir),
            source,
        }),
    }
}

/// Leaves this process's number in the lock file, for the next one who finds it locked.
pub(super) fn sign(dir: &Path) -> Result<(), Error> {
    let path = lock_path(dir);
    std::fs::write(&path, format!("{}\n", std::process::id())).map_err(|source| Error::Io {
        op: "sign",
        path,
        source,
    })
}

fn lock_path(dir: &Path) -> std::path::PathBuf {
    dir.join("LOCK")
}

/// Policy and token; returns the token if it was made just now.
pub(super) async fn settle(
    node: &raft::Node,
    disk: &dyn Disk,
    config: &Config,
) -> Result<Option<String>, Error> {
    let view = node.view();
    if !view.has_policy()? {
        let policy: Policy = config.wal.fsync;
        propose(
            node,
            "set the durability policy",
            Command::SetPolicy(SetPolicy { policy }),
        )
        .await?;
    }
    if view.token_hash(token::ADMIN)?.is_some() {
        return Ok(None);
    }
    let path = config.token_file();
    let io = |op| {
        let path = path.clone();
        move |source| Error::Io { op, path, source }
    };
    // A file that is there was put there by the owner, or by a first start that was cut short.
    let given = token::read(&path).map_err(io("read"))?;
    let is_given = given.is_some() && !config.admin.token_file.as_os_str().is_empty();
    let token = if let Some(token) = given {
        token
    } else {
        let fresh = token::make().map_err(io("make a token for"))?;
        token::write(disk, &path, &fresh).map_err(io("write"))?;
        fresh
    };
    let set = SetToken {
        name: token::ADMIN.to_owned(),
        hash: token::hash(&token),
        only_if_absent: true,
    };
    propose(node, "set the admin token", Command::SetToken(set)).await?;
    Ok(Some(token).filter(|_| !is_given))
}

/// Creates what does not exist yet.
pub(super) async fn define(node: &raft::Node, found: &[Found]) -> Result<(), Error> {
    let view = node.view();
    for Found { source, item } in found {
        if is_there(&view, item)? {
            continue;
        }
        let op = "create a definition";
        let command = item.command(Expect::Absent);
        propose(node, op, command).await?;
        info!(kind = item.kind(), name = item.name(), source, "created");
    }
    Ok(())
}

fn is_there(view: &StateView, item: &Item) -> Result<bool, Error> {
    Ok(match item {
        Item::Form(form) => view.form(&form.name)?.is_some(),
        Item::Task(task) => view.task(&task.name)?.is_some(),
    })
}

async fn propose(node: &raft::Node, op: &'static str, command: Command) -> Result<Outcome, Error> {
    match node.propose(encode_command(&command)).await {
        Ok(applied) => Ok(applied.outcome),
        Err(error) => Err(Error::Genesis {
            op,
            why: error.to_string(),
        }),
    }
}
