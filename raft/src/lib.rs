//! Agreement: which commands are in the log, and in which order.
//!
//! A command goes in as bytes by [`Node::submit`] and comes back as an outcome once a majority has
//! it on stable storage and it is applied. This room carries commands and never reads them.
//!
//! Holds: openraft's types stop at this crate's edge (the modules named `testing` aside, which
//! openraft's own test suite needs); what is written to disk is our own encoding, never openraft's.

mod aside;
mod blocking;
mod bootstrap;
mod cluster;
mod codec;
mod config;
mod divergence;
mod error;
mod facts;
mod floor;
mod flow;
mod forget;
mod forward;
mod gate;
mod halt;
mod identity;
mod log_store;
mod machine;
mod members;
mod mend;
mod metrics;
pub mod mutants;
mod network;
mod node;
mod opening;
mod peer;
mod pending;
mod pulse;
mod react;
mod receive;
mod roster;
mod rounds;
#[cfg(feature = "testing")]
mod runtime;
mod sending;
mod snapshot;
mod start;
mod status;
mod types;

/// What openraft's own storage suite is run on. Not for use by a node.
#[doc(hidden)]
pub mod testing {
    pub use crate::codec::voters_of;
    pub use crate::halt::Halt;
    pub use crate::log_store::{LogStore, Purging};
    pub use crate::machine::Machine;
    pub use crate::snapshot::{Builder, SnapshotData};
    pub use crate::types::Types;
}

pub use config::{ClusterConfig, Config, PeerConfig, TlsConfig};
pub use error::Error;
pub use forget::Forgotten;
pub use identity::{ClusterId, Identity};
pub use metrics::Metrics;
pub use node::Node;
pub use peer::transport::{Listener, Pipe, Tcp, Transport};
pub use pending::{Applied, Pending};
pub use roster::{DigestAt, Seat, Standing};
pub use start::{Progress, Setup, Started};
pub use status::{Member, Role, Status};
pub use types::Peer;
