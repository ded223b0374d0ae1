//! A snapshot for a peer: a checkpoint that lies on disk, under the last entry and membership that
//! it holds.
//!
//! Holds: none is ever made of the tip. What openraft gets is the newest checkpoint at or below the
//! horizon, so whoever is sent it gets the whole log behind the horizon after it, and can deliver
//! from there. It is durable before it is told of, and the same one (or a newer one) is told of
//! after a restart. Nothing of it is in memory but its name.

use std::fmt;
use std::io;

use openraft::RaftSnapshotBuilder;
use openraft::alias::{SnapshotMetaOf, SnapshotOf};
use storage::{Checkpoint, Checkpoints, Index, StateView};

use crate::mutants::{self, Mutant};
use crate::types::{self, Types};

/// A checkpoint, and where it lies. Reading it is a stream from the disk.
#[derive(Clone)]
pub struct SnapshotData {
    checkpoint: Checkpoint,
    shelf: Checkpoints,
}

impl SnapshotData {
    pub(crate) const fn new(checkpoint: Checkpoint, shelf: Checkpoints) -> Self {
        Self { checkpoint, shelf }
    }

    /// Which one.
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Its bytes, from the beginning.
    pub fn read(&self) -> Result<impl io::Read + Send + use<>, storage::Error> {
        self.shelf.read(&self.checkpoint)
    }

    /// Stores it among `ours`, durably: a peer's is one of this node's own from then on.
    pub(crate) fn store(&self, ours: &Checkpoints) -> Result<Checkpoint, storage::Error> {
        let present = ours.newest(self.checkpoint.id.index);
        if let Some(one) = present.filter(|one| *one == self.checkpoint) {
            return Ok(one);
        }
        let mut incoming = ours.receive()?;
        let copied = io::copy(&mut self.read()?, &mut incoming);
        copied.map_err(|source| storage::Error::Io {
            op: "store",
            path: ours.dir().to_owned(),
            source,
        })?;
        incoming.finish()
    }

    pub(crate) fn into_openraft(self) -> io::Result<SnapshotOf<Types, Self>> {
        let last_membership = types::membership_out(self.checkpoint.members.clone())?;
        Ok(SnapshotOf::<Types, Self> {
            meta: SnapshotMetaOf::<Types> {
                last_log_id: Some(types::log_id_out(self.checkpoint.id)),
                last_membership,
            },
            snapshot: self,
        })
    }
}

impl fmt::Debug for SnapshotData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotData")
            .field("id", &self.checkpoint.id)
            .finish_non_exhaustive()
    }
}

/// Finds the checkpoint that may be told of.
#[derive(Clone, Debug)]
pub struct Builder {
    shelf: Checkpoints,
    view: StateView,
}

impl Builder {
    pub(crate) const fn new(shelf: Checkpoints, view: StateView) -> Self {
        Self { shelf, view }
    }

    pub(crate) const fn shelf(&self) -> &Checkpoints {
        &self.shelf
    }

    /// The one at the horizon, if there is one.
    pub(crate) fn floor(&self) -> Result<Option<Checkpoint>, storage::Error> {
        if mutants::is(Mutant::SnapshotAtTip) {
            return Ok(self.shelf.newest(Index(u64::MAX)));
        }
        Ok(self.shelf.floor(self.view.horizon()?))
    }

    /// As a snapshot.
    pub(crate) fn current(&self) -> io::Result<Option<SnapshotOf<Types, SnapshotData>>> {
        let floor = self.floor().map_err(io::Error::other)?;
        let data = floor.map(|one| SnapshotData::new(one, self.shelf.clone()));
        data.map(SnapshotData::into_openraft).transpose()
    }
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, SnapshotData>> {
        if let Some(current) = self.current()? {
            return Ok(current);
        }
        // A log without its beginning whose checkpoint was lost: a single node has made another.
        let oldest = self.shelf.all().into_iter().next();
        let none = || io::Error::other("there is no checkpoint at or below the horizon");
        SnapshotData::new(oldest.ok_or_else(none)?, self.shelf.clone()).into_openraft()
    }
}
