//! Two published logs at the same work: the same records and window, told durable after a sync.
//!
//! Holds: each is given the settings that are best for it here, and the same segment length as ours;
//! what is set is in this room, with its reason.

mod engine;
mod raft_log;

use std::path::Path;

use anyhow::Result;

use super::producer::Log;

/// Name, how it syncs, and the log, one each.
pub(crate) type Peer = (&'static str, &'static str, Box<dyn Log>);

/// Makes all of them, each in a folder of its own.
pub(crate) fn open(folder: &Path, windows_max: u64) -> Result<Vec<Peer>> {
    let engine = engine::RaftEngine::open(&folder.join("raft-engine"))?;
    let raft_log = raft_log::RaftLog::open(&folder.join("raft-log"), windows_max)?;
    Ok(vec![
        ("raft-engine 0.4", engine::METHOD, Box::new(engine)),
        ("raft-log 0.4", raft_log::METHOD, Box::new(raft_log)),
    ])
}
