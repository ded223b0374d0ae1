//! The fake as one of several nodes. Their cluster is a directory that all share: one log under
//! one lock, a list of members, and a locked file for each that lives. The first that lives leads.
//!
//! So no fault of the network touches it: one that cuts nothing must be found to prove nothing.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::queue::Queue;

/// In the order in which they show in a data directory that is new.
const STEPS: [&str; 4] = ["boot", "peers", "vote", "node.id"];

pub(crate) struct Cluster {
    shared: PathBuf,
    pub(crate) id: u64,
    nodes: usize,
    /// Locked while this process lives.
    _alive: File,
}

/// What all share: where the token is.
pub(crate) fn shared(token: &Path) -> PathBuf {
    token.parent().unwrap().join("shared")
}

impl Cluster {
    pub(crate) fn join(shared: PathBuf, data: &Path, address: &str, nodes: usize) -> Self {
        std::fs::create_dir_all(&shared).unwrap();
        std::fs::create_dir_all(data).unwrap();
        // A file of its own: the list itself is replaced, and its lock with it.
        let lock = open(&shared.join("lock"));
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        let mut all = listed(&shared);
        let kept = std::fs::read_to_string(data.join("node.id"));
        let id = kept.map_or_else(|_| named(&shared, data), |id| id.parse().unwrap());
        all.insert(address.to_owned(), id);
        let text = serde_json::to_string(&all).unwrap();
        put(&shared, &shared.join("members"), &text);
        let alive = open(&shared.join(format!("alive-{id}")));
        flock(&alive, FlockOperation::LockExclusive).unwrap();
        Self {
            shared,
            id,
            nodes,
            _alive: alive,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        listed(&self.shared).len() == self.nodes
    }

    pub(crate) fn prefer(&self, body: &[u8]) {
        let body = serde_json::from_slice::<Value>(body).unwrap();
        put(
            &self.shared,
            &self.shared.join("prefer"),
            &body["to"].to_string(),
        );
    }

    pub(crate) fn view(&self, queue: &Queue) -> Value {
        let members = listed(&self.shared);
        let leader = self.leader(&members);
        let applied = queue.applied();
        let each = members.iter().map(|(address, id)| {
            json!({"node": id, "address": address, "is_voter": true, "is_self": *id == self.id,
                "state": "ok", "since_ms": 0, "words": ""})
        });
        json!({
            "cluster": "one", "node": self.id, "term": 1, "leader": leader,
            "role": if leader == Some(self.id) { "leader" } else { "follower" },
            "applied": applied, "committed": applied, "last": applied,
            "voters": {"quorum": members.len() / 2 + 1, "voters": members.len()},
            "members": each.collect::<Vec<_>>(),
        })
    }

    pub(crate) fn status(&self, queue: &Queue, fault: &str) -> Value {
        let mut digest = DefaultHasher::new();
        for (form, records) in &queue.records {
            (
                form,
                records.iter().map(Value::to_string).collect::<Vec<_>>(),
            )
                .hash(&mut digest);
        }
        let mut rows = digest.finish();
        if fault == "digest" && self.id == 2 {
            rows ^= 1;
        }
        json!({"state": {
            "applied": queue.applied(), "rows_digest": rows.to_string(), "log_digest": "same",
        }})
    }

    fn leader(&self, members: &BTreeMap<String, u64>) -> Option<u64> {
        let mut alive = members
            .values()
            .copied()
            .filter(|id| self.lives(*id))
            .collect::<Vec<_>>();
        alive.sort_unstable();
        let preferred = std::fs::read_to_string(self.shared.join("prefer"));
        let preferred = preferred.ok().and_then(|id| id.parse().ok());
        let preferred = preferred.filter(|id| alive.contains(id));
        preferred.or(alive.first().copied())
    }

    fn lives(&self, id: u64) -> bool {
        let file = open(&self.shared.join(format!("alive-{id}")));
        id == self.id || flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
    }
}

/// A name that nobody ever had.
fn named(shared: &Path, data: &Path) -> u64 {
    let last = std::fs::read_to_string(shared.join("last")).unwrap_or_default();
    let id = last.parse::<u64>().unwrap_or(0) + 1;
    put(shared, &shared.join("last"), &id.to_string());
    for step in STEPS {
        put(shared, &data.join(step), &id.to_string());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    id
}

/// Whole or not at all: a birth is broken off at the moment at which a file shows.
fn put(shared: &Path, path: &Path, text: &str) {
    let fresh = shared.join(format!("new-{}", std::process::id()));
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(&fresh, path).unwrap();
}

fn listed(shared: &Path) -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(shared.join("members")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn open(path: &Path) -> File {
    let mut open = OpenOptions::new();
    let open = open.create(true).append(true).read(true);
    open.open(path).unwrap()
}
