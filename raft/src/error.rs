//! What can go wrong here, by what the caller does about it.
//!
//! Holds: [`Error::NotLeader`], [`Error::Stopping`] and [`Error::Fatal`] from
//! [`submit`](crate::Node::submit) mean that the command is *not* in the log. Once it is queued, only
//! `NotLeader` says so; everything else is [`Error::Unknown`]: it may be applied yet.

use std::path::PathBuf;

use storage::{NodeId, Reaction};

/// Everything that this room refuses or fails at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another node leads, or none does. The command is in no log.
    #[error("this node does not lead{}", leader.map(|node| format!(", node {node} does")).unwrap_or_default())]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// The command may or may not be applied. The same pack may be sent again.
    #[error("the outcome is unknown")]
    Unknown,
    /// This node was closed. The command is in no log.
    #[error("this node is stopping")]
    Stopping,
    /// This node has stopped for good. The command is in no log.
    #[error("this node has stopped: {why}")]
    Fatal {
        /// The first reason.
        why: String,
    },
    /// Settings that cannot work.
    #[error("bad settings: {}", problems.join("; "))]
    Config {
        /// All of them.
        problems: Vec<String>,
    },
    /// The data directory does not fit together; nothing that lies in it was changed.
    #[error("cannot use {}: {what}", path.display())]
    Identity {
        /// What was looked at.
        path: PathBuf,
        /// Why not.
        what: String,
    },
    /// What was asked of the cluster cannot be done.
    #[error("{what}")]
    Cluster {
        /// Why not, in words.
        what: String,
    },
    /// No leader, or the log not applied, within `start_ms_max`.
    #[error("cannot start: {what}")]
    Start {
        /// What was waited for.
        what: String,
    },
    /// A file of this room.
    #[error("cannot {op} {}", path.display())]
    Io {
        /// The verb.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The log or the state.
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

impl Error {
    /// What whoever meets this should do.
    pub fn reaction(&self) -> Reaction {
        match self {
            Self::NotLeader { .. } | Self::Unknown | Self::Stopping => Reaction::Retry,
            Self::Cluster { .. } => Reaction::Reject,
            Self::Fatal { .. }
            | Self::Config { .. }
            | Self::Identity { .. }
            | Self::Start { .. }
            | Self::Io { .. } => Reaction::Stop,
            Self::Storage(error) => error.reaction(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_leader_is_not_named() {
        let text = |leader| Error::NotLeader { leader }.to_string();
        assert_eq!(text(None), "this node does not lead");
        assert_eq!(
            text(Some(NodeId(2))),
            "this node does not lead, node 2 does"
        );
    }
}
