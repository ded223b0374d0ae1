//! Rows in memory, for simulation and as the model that fjall is compared with.
//!
//! Holds: a snapshot shares the tree until the next write, which then copies it; so snapshots are
//! as true as fjall's and cost nothing while nobody keeps one across a write.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::{Change, Each, KeyRange, Read, Rows, Side};
use crate::error::Error;

type Tree = BTreeMap<Vec<u8>, Bytes>;

/// A sorted map that is gone with the process.
#[derive(Default)]
pub(crate) struct MemoryRows {
    tree: RwLock<Arc<Tree>>,
}

impl MemoryRows {
    fn tree(&self) -> Arc<Tree> {
        Arc::clone(&self.tree.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Read for MemoryRows {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.tree().get(key).cloned())
    }

    fn scan(&self, range: &KeyRange, from: Side, each: &mut Each<'_>) -> Result<(), Error> {
        scan(&self.tree(), range, from, each)
    }
}

impl Rows for MemoryRows {
    fn write(&self, changes: &mut dyn Iterator<Item = Change<'_>>) -> Result<(), Error> {
        let mut tree = self.tree.write().unwrap_or_else(PoisonError::into_inner);
        let tree = Arc::make_mut(&mut tree);
        for (key, value) in changes {
            match value {
                Some(value) => tree.insert(key.to_vec(), value.clone()),
                None => tree.remove(key),
            };
        }
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn Read> {
        Box::new(Frozen(self.tree()))
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

struct Frozen(Arc<Tree>);

impl Read for Frozen {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, range: &KeyRange, from: Side, each: &mut Each<'_>) -> Result<(), Error> {
        scan(&self.0, range, from, each)
    }
}

fn scan(tree: &Tree, range: &KeyRange, from: Side, each: &mut Each<'_>) -> Result<(), Error> {
    if range.is_empty() {
        return Ok(());
    }
    let mut rows = tree.range(range.start.clone()..range.end.clone());
    while let Some((key, value)) = match from {
        Side::First => rows.next(),
        Side::Last => rows.next_back(),
    } {
        if let ControlFlow::Break(()) = each(key, value)? {
            break;
        }
    }
    Ok(())
}
