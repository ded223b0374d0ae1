//! What a start puts into the log where it is not there yet: policy, token, definitions.
//!
//! Holds: nothing that is there is changed, so an old binary or a stale directory never undoes what
//! was done through the API; a start that was cut short anywhere is finished by the next one. A
//! form that was retired stays retired.
//!
//! Of several nodes the one that leads does it, once it has applied all that was acknowledged before
//! it led; the others wait to see it done, and take over where that one is lost half-way.

use std::path::Path;
use std::time::Duration;

use storage::{Command, Disk, Expect, Policy, SetPolicy, SetToken, StateView, encode_command};
use tracing::{info, warn};

use super::error::Error;
use super::propose::is_applied_here;
use super::ready::Readiness;
use crate::config::{Config, Loaded};
use crate::definitions::{self, Found, Item};
use crate::token;

/// Looked at again after this, whatever was heard meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

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

/// Policy and token are there when this returns; gives the token if it was made just now.
///
/// Waits as long as it takes: without them nobody may be let in. `ready` says what for.
pub(super) async fn settle(
    node: &raft::Node,
    disk: &dyn Disk,
    config: &Config,
    ready: &Readiness,
) -> Result<Option<String>, Error> {
    let view = node.view();
    let mut made = None;
    while !(view.has_policy()? && view.token_hash(token::ADMIN)?.is_some()) {
        if !leads(node).await {
            ready.starting(waited_for(
                node,
                "to set the durability policy and the admin token",
            ));
            news(node).await;
            continue;
        }
        if !view.has_policy()? {
            let policy: Policy = config.wal.fsync;
            let command = Command::SetPolicy(SetPolicy { policy });
            propose(node, "set the durability policy", command).await?;
        }
        if view.token_hash(token::ADMIN)?.is_none() {
            let (token, is_fresh) = token_of(disk, config)?;
            let set = SetToken {
                name: token::ADMIN.to_owned(),
                hash: token::hash(&token),
                only_if_absent: true,
            };
            made = is_fresh.then_some(token).or(made);
            propose(node, "set the admin token", Command::SetToken(set)).await?;
        }
    }
    let hash = view.token_hash(token::ADMIN)?;
    let is_ours = |token: &String| hash == Some(token::hash(token));
    if made.as_ref().is_some_and(|token| !is_ours(token)) {
        warn!(
            file = %config.token_file().display(),
            "this file's token is not the cluster's: the node that led next made another one"
        );
    }
    Ok(made.filter(is_ours))
}

/// The token to begin with, and whether it is for this start to show.
fn token_of(disk: &dyn Disk, config: &Config) -> Result<(String, bool), Error> {
    let path = config.token_file();
    let io = |op| {
        let path = path.clone();
        move |source| Error::Io { op, path, source }
    };
    // A file that is there was put there by the owner, or by a first start that was cut short.
    if let Some(token) = token::read(&path).map_err(io("read"))? {
        return Ok((token, config.admin.token_file.as_os_str().is_empty()));
    }
    let fresh = token::make().map_err(io("make a token for"))?;
    token::write(disk, &path, &fresh).map_err(io("write"))?;
    Ok((fresh, true))
}

/// A setting that says otherwise than the cluster decided is told once, and changes nothing.
pub(super) fn compare_policy(view: &StateView, loaded: &Loaded) -> Result<(), Error> {
    let (present, wanted) = (view.policy()?, loaded.config.wal.fsync);
    if loaded.set.contains_key("wal.fsync") && present != wanted {
        warn!(
            policy = %present,
            setting = %wanted,
            "wal.fsync counts at the first start only: the cluster's policy stays; \
             `formspool cluster policy` changes it"
        );
    }
    Ok(())
}

/// What is configured and not there yet is created when this returns, by this node while it leads
/// or by another one.
pub(super) async fn define(node: &raft::Node, found: &[Found]) -> Result<(), Error> {
    let view = node.view();
    for Found { source, item } in found {
        while !is_there(&view, item)? {
            if !leads(node).await {
                news(node).await;
            } else if !is_there(&view, item)? {
                let command = item.command(Expect::Absent);
                if propose(node, "create a definition", command).await? {
                    info!(kind = item.kind(), name = item.name(), source, "created");
                }
            }
        }
    }
    Ok(())
}

fn is_there(view: &StateView, item: &Item) -> Result<bool, Error> {
    Ok(match item {
        Item::Form(form) => view.form(&form.name)?.is_some(),
        Item::Task(task) => view.task(&task.name)?.is_some(),
    })
}

/// Whether this node leads and has applied all that was acknowledged before it did.
async fn leads(node: &raft::Node) -> bool {
    node.leadership().borrow().is_some() && node.read_index().await.is_ok()
}

/// Returns when something may have changed.
async fn news(node: &raft::Node) {
    let (mut leadership, mut applied) = (node.leadership(), node.applied());
    leadership.mark_unchanged();
    applied.mark_unchanged();
    // A node that ends is noticed by whoever waits for this.
    tokio::select! {
        _ = leadership.changed() => {}
        _ = applied.changed() => {}
        () = tokio::time::sleep(LOOK_AGAIN) => {}
    }
}

fn waited_for(node: &raft::Node, what: &str) -> String {
    match *node.leader().borrow() {
        Some(leader) => format!("waiting for node {leader}, which leads, {what}"),
        None => format!("waiting for a leader {what}"),
    }
}

/// True: it is in the log. False: ask again, since whoever leads now may have done it already.
async fn propose(node: &raft::Node, op: &'static str, command: Command) -> Result<bool, Error> {
    match node.propose(encode_command(&command)).await {
        Ok(applied) => {
            // Forwarded after all: then it is applied here a moment later.
            is_applied_here(node, applied.log_id.index, LOOK_AGAIN).await;
            Ok(true)
        }
        Err(raft::Error::NotLeader { .. } | raft::Error::Unknown) => {
            news(node).await;
            Ok(false)
        }
        Err(error) => Err(Error::Genesis {
            op,
            why: error.to_string(),
        }),
    }
}
