//! `raft-engine`: its `write` blocks the caller until the sync, and groups callers of many threads.
//!
//! Holds: one thread of ours takes all that waits, writes it as one `LogBatch` with `sync`, and tells
//! all. Why ours: thousands of blocked threads on two cores would measure the scheduler.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::wal::producer::{Acks, Log, Work};

pub(super) const METHOD: &str = "write+fdatasync, zero-filled";

/// The one raft group of this log.
const GROUP: u64 = 1;

/// An entry as raft's protobuf has it: it carries its index.
#[derive(Clone)]
struct Numbered;

impl MessageExt for Numbered {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        let number = entry.value.first_chunk().copied();
        u64::from_le_bytes(number.unwrap_or_default())
    }
}

/// What waits for the group thread.
#[derive(Default)]
struct Waiting {
    entries: Vec<BytesValue>,
    acks: Option<Arc<Acks>>,
    purge: Option<u64>,
    work: Work,
    is_closing: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The engine and its group thread, which ends when this is dropped.
pub(super) struct RaftEngine {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl RaftEngine {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let engine = Engine::open(Config {
            dir: folder.to_str().context("a readable path")?.to_owned(),
            target_file_size: ReadableSize::mb(64), // as our segments
            purge_threshold: ReadableSize::mb(256), // files beyond it are recycled
            prefill_for_recycle: true,              // zero-filled files from the start
            prefill_limit: Some(ReadableSize::mb(256)),
            batch_compression_threshold: ReadableSize(0), // the same bytes for all
            ..Config::default()
        })?;
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("raft-engine".to_owned())
            .spawn(move || group(&engine, &seen))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }
}

/// The group commit: take what waits, write and sync it, tell all.
fn group(engine: &Engine, shared: &Shared) {
    loop {
        let mut waiting = shared.lock();
        while waiting.entries.is_empty() && waiting.purge.is_none() {
            if waiting.is_closing {
                return;
            }
            let woken = shared.wake.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
        let entries = std::mem::take(&mut waiting.entries);
        let purge = waiting.purge.take();
        let acks = waiting.acks.clone();
        drop(waiting);
        if !entries.is_empty() {
            let written = write(engine, &entries).map(|bytes| {
                let work = &mut shared.lock().work;
                work.syncs += 1;
                work.bytes += bytes;
            });
            if let Some(acks) = acks {
                acks.tell(entries.len() as u64, written);
            }
        }
        if let Some(upto) = purge {
            engine.compact_to(GROUP, upto + 1);
            // It only gives back room; what it could not do now it does the next time.
            drop(engine.purge_expired_files());
        }
    }
}

fn write(engine: &Engine, entries: &[BytesValue]) -> raft_engine::Result<u64> {
    let mut batch = LogBatch::default();
    batch.add_entries::<Numbered>(GROUP, entries)?;
    engine.write(&mut batch, true).map(|bytes| bytes as u64)
}

impl Log for RaftEngine {
    fn append(&mut self, index: u64, payload: Bytes, acks: &Arc<Acks>) -> Result<()> {
        let mut entry = BytesValue::new();
        entry.value.reserve_exact(8 + payload.len());
        entry.value.extend_from_slice(&index.to_le_bytes());
        entry.value.extend_from_slice(&payload);
        let mut waiting = self.shared.lock();
        let was_idle = waiting.entries.is_empty();
        waiting.entries.push(entry);
        if was_idle {
            waiting.acks = Some(Arc::clone(acks));
        }
        drop(waiting);
        if was_idle {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    fn purge(&mut self, upto: u64) -> Result<()> {
        self.shared.lock().purge = Some(upto);
        self.shared.wake.notify_one();
        Ok(())
    }

    fn work(&self) -> Result<Work> {
        Ok(self.shared.lock().work)
    }
}

impl Drop for RaftEngine {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the engine was printed; the run ends here anyway.
            drop(thread.join());
        }
    }
}
