//! The cluster as its operators see it, and what they may ask of it.
//!
//! Holds: telling never decides; what is asked here is decided by whoever leads, and forwarded there.

use serde_json::{Value, json};

use super::propose::refused;
use crate::http::{Declined, Freshness, Operate, Operation};

/// This node's part of `GET /v1/status`: everybody in it as this node sees them.
pub(super) fn node(raft: &raft::Node) -> Value {
    let mut told = json!(raft.status());
    let seats = raft.roster();
    if let Some(members) = told.get_mut("members")
        && !seats.is_empty()
    {
        *members = json!(seats);
    }
    told
}

/// The body of `GET /v1/cluster`.
pub(super) fn document(raft: &raft::Node, freshness: &Freshness) -> Value {
    let mut told = node(raft);
    let voters = raft.status().voters;
    let contact_ms =
        (freshness.age)().map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    if let Some(told) = told.as_object_mut() {
        told.insert("contact_ms".to_owned(), json!(contact_ms));
        let voters = json!({ "quorum": voters.quorum, "voters": voters.count });
        told.insert("voters".to_owned(), voters);
        // Last, as the longest.
        if let Some(members) = told.shift_remove("members") {
            told.insert("members".to_owned(), members);
        }
    }
    told
}

/// Does what an operator asks.
pub(super) fn operate(raft: &raft::Node) -> Operate {
    let raft = raft.clone();
    std::sync::Arc::new(move |operation| {
        let raft = raft.clone();
        Box::pin(async move {
            let done = match operation {
                Operation::Transfer { to } => raft
                    .transfer(to)
                    .await
                    .map(|leader| json!({ "leader": leader })),
                Operation::Remove { node } => {
                    raft.remove(node).await.map(|()| json!({ "removed": node }))
                }
                Operation::AcceptTailLoss => raft
                    .accept_tail_loss()
                    .await
                    .map(|words| json!({ "words": words })),
            };
            done.map_err(|error| {
                if let raft::Error::Cluster { what } = error {
                    Declined::Cannot(what)
                } else {
                    Declined::Refused(refused(&error))
                }
            })
        })
    })
}
