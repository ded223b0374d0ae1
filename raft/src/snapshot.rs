//! A snapshot for a peer: the exported state, under the last entry and membership that it holds.
//!
//! Holds: it is cut between two entries by the one thread that applies, so it is the state at
//! exactly `meta.last_log_id`. openraft asks for one only when something was purged or a peer needs
//! it; neither happens while the whole log is kept, so the copy in memory is rare and short.

use std::io;

use bytes::Bytes;
use openraft::RaftSnapshotBuilder;
use openraft::alias::{SnapshotMetaOf, SnapshotOf};

use crate::machine::Machine;
use crate::types::Types;

/// The state's own export; it carries its version and checksum itself.
#[derive(Clone, Debug)]
pub struct SnapshotData(pub Bytes);

/// The newest one that was built or installed.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) meta: SnapshotMetaOf<Types>,
    pub(crate) data: SnapshotData,
}

impl Stored {
    pub(crate) fn into_openraft(self) -> SnapshotOf<Types, SnapshotData> {
        SnapshotOf::<Types, SnapshotData> {
            meta: self.meta,
            snapshot: self.data,
        }
    }
}

/// Asks the applying thread for a snapshot of what is applied by then.
#[derive(Debug)]
pub struct Builder(pub(crate) Machine);

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, SnapshotData>> {
        self.0.export().await.map(Stored::into_openraft)
    }
}
