//! Why a node does not start, or had to end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Each ends the process with one clear line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Definitions with faults; nothing was started.
    #[error("{} problem(s) in definitions:\n  - {}", .0.len(), .0.join("\n  - "))]
    Definitions(Vec<String>),
    /// Another process has the data directory.
    #[error(
        "{} is in use by {}; one data directory, one process",
        dir.display(),
        pid.map_or("another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// Who, as far as that is known.
        pid: Option<u32>,
    },
    /// An address is taken, or is not ours.
    #[error("cannot listen on {address} (setting {setting})")]
    Listen {
        /// Which setting names it.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A file or directory.
    #[error("cannot {op} {}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Signals or threads.
    #[error("cannot {op}")]
    System {
        /// What was tried.
        op: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The log, the state or agreement.
    #[error(transparent)]
    Raft(#[from] raft::Error),
    /// The state cannot be read.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// What the first start has to put into the log was refused.
    #[error("cannot {op} at the first start: {why}")]
    Genesis {
        /// What.
        op: &'static str,
        /// Why not.
        why: String,
    },
    /// The node stopped for good while it ran. Acknowledged submissions are safe.
    #[error("the node stopped for good: {0}")]
    Fatal(String),
    /// A signal while it started: no submission was taken in yet.
    #[error("ended by {0} while it started")]
    Interrupted(&'static str),
    /// A second signal: acknowledged submissions are safe, those under way are unknown.
    #[error("ended at once by a second signal")]
    Cut,
}
