//! Rows in fjall: one database, one keyspace.
//!
//! Holds: everything is in one keyspace, so one journal entry carries a whole apply and a flush
//! moves it to a table as a whole: what a crash leaves is exactly the state after some entry.
//! Why no sync in `write`: the log is the truth; what fjall loses is applied again. Why small
//! caches: the working set is a few heads and sessions, and memory is promised to be bounded.

use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use fjall::{
    CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable,
    Snapshot, config,
};

use super::{Change, Each, KeyRange, Read, Rows, Side};
use crate::error::Error;
use crate::state::StateConfig;

/// The one keyspace; its name is on disk.
const KEYSPACE: &str = "state";

/// A database under one directory.
pub(crate) struct FjallRows {
    database: Database,
    keyspace: Keyspace,
}

impl FjallRows {
    /// Opens the database in `dir`, or makes one.
    pub(crate) fn open(dir: &Path, config: &StateConfig) -> Result<Self, Error> {
        let database = Database::builder(dir)
            .cache_size(config.cache_bytes)
            .max_journaling_size(config.journal_bytes_max)
            .worker_threads(1)
            .open()
            .map_err(|error| {
                if matches!(error, fjall::Error::Locked) {
                    return Error::Locked {
                        path: dir.to_owned(),
                    };
                }
                rows_error("open")(error)
            })?;
        let memtable_bytes = config.memtable_bytes;
        let keyspace = database
            .keyspace(KEYSPACE, || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(memtable_bytes)
                    .data_block_compression_policy(config::CompressionPolicy::all(
                        CompressionType::None,
                    ))
            })
            .map_err(rows_error("open"))?;
        Ok(Self { database, keyspace })
    }
}

impl Read for FjallRows {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let value = self.keyspace.get(key).map_err(rows_error("read"))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, range: &KeyRange, from: Side, each: &mut Each<'_>) -> Result<(), Error> {
        if range.is_empty() {
            return Ok(());
        }
        run(
            self.keyspace
                .range(range.start.as_slice()..range.end.as_slice()),
            from,
            each,
        )
    }
}

impl Rows for FjallRows {
    fn write(&self, changes: &mut dyn Iterator<Item = Change<'_>>) -> Result<(), Error> {
        let mut batch = self.database.batch();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.keyspace, key, &value[..]),
                None => batch.remove(&self.keyspace, key),
            }
        }
        batch.commit().map_err(rows_error("write"))
    }

    fn snapshot(&self) -> Box<dyn Read> {
        Box::new(Frozen {
            snapshot: self.database.snapshot(),
            keyspace: self.keyspace.clone(),
        })
    }

    fn sync(&self) -> Result<(), Error> {
        self.database
            .persist(PersistMode::SyncAll)
            .map_err(rows_error("sync"))
    }

    fn disk_bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or(0)
    }
}

struct Frozen {
    snapshot: Snapshot,
    keyspace: Keyspace,
}

impl Read for Frozen {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let value = self
            .snapshot
            .get(&self.keyspace, key)
            .map_err(rows_error("read"))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, range: &KeyRange, from: Side, each: &mut Each<'_>) -> Result<(), Error> {
        if range.is_empty() {
            return Ok(());
        }
        let rows = range.start.as_slice()..range.end.as_slice();
        run(self.snapshot.range(&self.keyspace, rows), from, each)
    }
}

fn run(
    mut rows: impl DoubleEndedIterator<Item = Guard>,
    from: Side,
    each: &mut Each<'_>,
) -> Result<(), Error> {
    while let Some(row) = match from {
        Side::First => rows.next(),
        Side::Last => rows.next_back(),
    } {
        let (key, value) = row.into_inner().map_err(rows_error("read"))?;
        if let ControlFlow::Break(()) = each(&key, &value)? {
            break;
        }
    }
    Ok(())
}

fn rows_error(op: &'static str) -> impl FnOnce(fjall::Error) -> Error {
    move |error| Error::Rows {
        op,
        reason: format!("{error:?}"),
    }
}
