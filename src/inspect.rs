//! A node's identity, its log and its state as text, for people and for tests that compare it.
//!
//! Holds: reads files only and changes none, so it is safe beside a running node and on a damaged
//! directory. One item a line; the same facts as JSON objects. Payloads only on request: they are
//! people's data.

mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use storage::{
    Command, Disk, EntryKind, Floor, HardInfo, LogId, Marks, Vote, WalItem, decode_command,
    inspect_wal,
};

/// Why a directory cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none.
    #[error("{} is no data directory: there is no log in it", .0.display())]
    NotThere(PathBuf),
    /// The log.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// The node's identity.
    #[error(transparent)]
    Raft(#[from] raft::Error),
    /// Where it was written to.
    #[error("cannot write the output")]
    Out(#[from] io::Error),
}

/// One thing that was found: its line, and the same as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// For people, indented by depth.
    pub text: String,
    /// For programs.
    pub json: Value,
}

/// Walks over a data directory; `each` is told item by item.
pub fn walk(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    has_payloads: bool,
    each: &mut dyn FnMut(Item) -> io::Result<()>,
) -> Result<(), Error> {
    let wal = dir.join("wal");
    if !wal.is_dir() {
        return Err(Error::NotThere(dir.to_owned()));
    }
    if let Some(found) = raft::Identity::load(&**disk, dir)? {
        let (cluster, node, boot) = (found.cluster.to_string(), found.node.0, found.boot);
        each(Item {
            text: format!("node.meta: cluster {cluster}, node {node}, started {boot} times"),
            json: json!({ "item": "node", "cluster": cluster, "node": node, "boot": boot }),
        })?;
    }
    // The walk cannot be broken off, so the first failure to write is kept and told at its end.
    let mut written = Ok(());
    inspect_wal(Arc::clone(disk), &wal, &mut |item| {
        for item in items_of(item, has_payloads) {
            if written.is_ok() {
                written = each(item);
            }
        }
    })?;
    written?;
    state::walk(&dir.join("state"), each)
}

fn items_of(item: WalItem, has_payloads: bool) -> Vec<Item> {
    let one = |text: String, json: Value| vec![Item { text, json }];
    match item {
        WalItem::Segment { .. } | WalItem::Footer { .. } | WalItem::HardState(_) => {
            file_item(&item).into_iter().collect()
        }
        WalItem::Batch {
            seq,
            offset,
            records,
            bytes,
            synced_upto,
        } => one(
            format!(
                "  batch {seq} at {offset}: {records} WAL records, {bytes} bytes, \
                 synced up to batch {synced_upto}"
            ),
            json!({ "item": "batch", "batch": seq, "offset": offset, "records": records,
                    "bytes": bytes, "synced_upto": synced_upto }),
        ),
        WalItem::Entry(entry) => entry_items(&entry, has_payloads),
        WalItem::Repaired(entry) => {
            let mut items = one(
                format!("    repaired entry {}:", entry.id),
                json!({ "item": "repaired", "id": entry.id }),
            );
            items.extend(entry_items(&entry, has_payloads));
            items
        }
        WalItem::Vote(vote) => one(
            format!("    vote {}", vote_in_words(&vote)),
            json!({ "item": "vote", "term": vote.term, "node": vote.node,
                    "is_committed": vote.is_committed }),
        ),
        WalItem::TruncateAfter(last) => one(
            format!("    truncate after {}", id_in_words(last)),
            json!({ "item": "truncate_after", "id": last }),
        ),
        WalItem::Purge(upto) => one(
            format!("    purge up to {upto}"),
            json!({ "item": "purge", "id": upto }),
        ),
        WalItem::Committed(id) => one(
            format!("    committed {id}"),
            json!({ "item": "committed", "id": id }),
        ),
        WalItem::Damage {
            segment,
            offset,
            what,
        } => one(
            format!("  DAMAGE in segment {segment} at {offset}: {what}"),
            json!({ "item": "damage", "segment": segment.0, "offset": offset, "what": what }),
        ),
    }
}

/// What files say beside batches; nothing for the rest.
fn file_item(item: &WalItem) -> Option<Item> {
    let (text, json) = match item {
        WalItem::Segment {
            id,
            uuid,
            first_batch,
            state,
            version,
            is_recycled,
            len,
        } => (
            format!(
                "segment {id}: version {version}, {len} bytes{}, log {}, first batch {first_batch}{}",
                if *is_recycled { ", recycled" } else { "" },
                uuid::Uuid::from_bytes(*uuid),
                marks_in_words(state)
            ),
            json!({ "item": "segment", "segment": id.0, "first_batch": first_batch,
                    "version": version, "bytes": len, "is_recycled": is_recycled }),
        ),
        WalItem::Footer { end, points } => (
            format!("  sealed: batches end at {end}, {points} places charted"),
            json!({ "item": "footer", "end": end, "points": points }),
        ),
        WalItem::HardState(state) => (
            hardstate_in_words(state),
            json!({ "item": "hardstate", "generation": state.generation,
                    "vote": state.vote.map(|vote| json!({ "term": vote.term, "node": vote.node,
                                                          "is_committed": vote.is_committed })),
                    "policy": state.policy.to_string(), "floor": floor_in_words(state.floor),
                    "clean_end": state.clean_end }),
        ),
        WalItem::Batch { .. }
        | WalItem::Entry(_)
        | WalItem::Repaired(_)
        | WalItem::Vote(_)
        | WalItem::TruncateAfter(_)
        | WalItem::Purge(_)
        | WalItem::Committed(_)
        | WalItem::Damage { .. } => return None,
    };
    Some(Item { text, json })
}

fn entry_items(entry: &storage::Entry, has_payloads: bool) -> Vec<Item> {
    let bytes = entry.payload.len();
    let id = entry.id;
    let item = |words: &str| Item {
        text: format!("    entry {id}: {words}"),
        json: json!({ "item": "entry", "id": id, "is": words, "bytes": bytes }),
    };
    match entry.kind {
        EntryKind::Blank => vec![item("blank")],
        EntryKind::Membership => vec![item(&format!("membership, {bytes} bytes"))],
        EntryKind::Command => match decode_command(&entry.payload) {
            Ok(command) => {
                let mut items = vec![item(&command_in_words(&command))];
                if let Command::Submit(pack) = &command {
                    let slots = pack.submissions.iter().enumerate();
                    items.extend(slots.map(|(slot, one)| slot_item(slot, one, has_payloads)));
                }
                items
            }
            Err(error) => vec![item(&format!("a command of {bytes} bytes: {error}"))],
        },
    }
}

fn slot_item(slot: usize, submission: &storage::Submission, has_payload: bool) -> Item {
    let id = uuid::Uuid::from_bytes(submission.id);
    let (form, version) = (submission.form.0, submission.form_version);
    let bytes = submission.body.len();
    let mut text = format!("      slot {slot}: {id}, form {form} version {version}, {bytes} bytes");
    if submission.is_withheld {
        text.push_str(", withheld");
    }
    let mut json = json!({ "item": "slot", "slot": slot, "id": id.to_string(), "form": form,
                           "version": version, "bytes": bytes,
                           "is_withheld": submission.is_withheld });
    if has_payload {
        let body = String::from_utf8_lossy(&submission.body).into_owned();
        text.extend(["\n        ", &body]);
        if let Value::Object(members) = &mut json {
            members.insert("body".to_owned(), Value::String(body));
        }
    }
    Item { text, json }
}

fn command_in_words(command: &Command) -> String {
    match command {
        Command::Submit(pack) => format!(
            "pack {} of node {} boot {}, {} submissions",
            pack.number,
            pack.sender.node,
            pack.sender.boot,
            pack.submissions.len()
        ),
        Command::DefineForm(define) => {
            format!(
                "define form {}, {} bytes",
                define.name,
                define.definition.len()
            )
        }
        Command::RetireForm(retire) => format!("retire form {}", retire.name),
        Command::DefineTask(define) => {
            format!(
                "define task {}, {} bytes",
                define.name,
                define.definition.len()
            )
        }
        Command::RetireTask(retire) => format!("retire task {}", retire.name),
        Command::Advance(advance) => {
            format!(
                "advance {} from {} to {}",
                advance.task, advance.from, advance.to
            )
        }
        Command::SendStarted(send) => {
            format!(
                "send started by {} from {} to {}",
                send.task, send.from, send.to
            )
        }
        Command::SeekTask(seek) => {
            let replay = if seek.is_replay { ", a replay" } else { "" };
            format!("{} goes on behind {}{replay}", seek.task, seek.to)
        }
        Command::Park(park) => {
            format!("park {} for {}: {}", park.position, park.task, park.reason)
        }
        Command::Unpark(unpark) => format!("unpark {} for {}", unpark.position, unpark.task),
        Command::Release(release) => {
            format!(
                "release {} of form {}",
                release.positions.len(),
                release.form
            )
        }
        Command::SetTaskState(set) => format!("set task {} {:?}", set.task, set.state),
        Command::Tick(tick) => format!("tick {} ms", tick.elapsed_ms),
        Command::Horizon(horizon) => format!("horizon {}", horizon.index),
        Command::SetLevel(set) => format!("set level {}", set.level),
        Command::SetPolicy(set) => format!("set policy {}", set.policy),
        Command::SetToken(set) => format!("set token {}", set.name),
        Command::EndSession(end) => format!("end session of node {}", end.node),
    }
}

fn marks_in_words(marks: &Marks) -> String {
    let marks = [
        marks.last.map(|last| format!(", after entry {last}")),
        marks
            .purged
            .map(|purged| format!(", purged up to {purged}")),
        marks
            .committed
            .map(|committed| format!(", committed {committed}")),
        marks
            .vote
            .map(|vote| format!(", vote {}", vote_in_words(&vote))),
    ];
    marks.into_iter().flatten().collect()
}

fn hardstate_in_words(state: &HardInfo) -> String {
    let vote = state.vote.map(|vote| vote_in_words(&vote));
    let end = state
        .clean_end
        .map(|batch| format!(", ended in order at batch {batch}"));
    format!(
        "hardstate: generation {}, vote {}, policy {}, floor {}{}",
        state.generation,
        vote.unwrap_or_else(|| "none".to_owned()),
        state.policy,
        floor_in_words(state.floor),
        end.unwrap_or_default(),
    )
}

fn floor_in_words(floor: Option<Floor>) -> String {
    match floor {
        None => "none".to_owned(),
        Some(Floor::Unknown) => "unknown".to_owned(),
        Some(Floor::Upto(id)) => format!("entry {} of term {}", id.index, id.term),
    }
}

fn vote_in_words(vote: &Vote) -> String {
    let committed = if vote.is_committed { ", leads" } else { "" };
    format!("term {} node {}{committed}", vote.term, vote.node)
}

fn id_in_words(id: Option<LogId>) -> String {
    id.map_or_else(|| "the beginning".to_owned(), |id| id.to_string())
}
