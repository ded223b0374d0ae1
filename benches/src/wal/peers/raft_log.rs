//! `raft-log`: a thread of its own takes flush requests, syncs them together and calls back.
//!
//! Holds: one append and one synced flush with a callback a record, as raft would.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use raft_log::api::raft_log_writer::RaftLogWriter as _;
use raft_log::codeq::{Decode, Encode};
use raft_log::{Callback, Config, Types};

use crate::wal::producer::{Acks, Log, Work};

pub(super) const METHOD: &str = "write+fdatasync, growing";

/// Shares its bytes when it is cloned into the log's cache, as an entry of ours does.
#[derive(Clone, Debug)]
pub(super) struct Payload(Bytes);

impl Encode for Payload {
    fn encode<W: Write>(&self, mut w: W) -> std::io::Result<usize> {
        let len = u32::try_from(self.0.len()).map_err(std::io::Error::other)?;
        w.write_all(&len.to_be_bytes())?;
        w.write_all(&self.0)?;
        Ok(4 + self.0.len())
    }
}

impl Decode for Payload {
    fn decode<R: Read>(r: R) -> std::io::Result<Self> {
        Vec::<u8>::decode(r).map(|bytes| Self(bytes.into()))
    }
}

/// Told once a flush, for so many records.
pub(super) struct Told(Arc<Acks>, u64);

impl Callback for Told {
    fn send(self, result: std::io::Result<()>) {
        self.0.tell(self.1, result);
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ours;

impl Types for Ours {
    type LogId = (u64, u64);
    type LogPayload = Payload;
    type Vote = (u64, u64);
    type Callback = Told;
    type UserData = String;

    fn log_index(id: &(u64, u64)) -> u64 {
        id.1
    }

    fn payload_size(payload: &Payload) -> u64 {
        payload.0.len() as u64
    }
}

/// The log; it begins at index 0.
pub(super) struct RaftLog(raft_log::RaftLog<Ours>);

impl RaftLog {
    pub(super) fn open(folder: &Path, window: u64) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut config = Config::new(folder.display());
        config.wal.chunk_max_size = Some(64 << 20); // as our segments
        config.log_cache_capacity = Some(16 << 20); // as our cache
        // It waits so long for company, or until the batch is full: the whole window is full.
        config.wal.flush_batch_wait = Some(Duration::from_millis(1));
        config.wal.flush_batch_max_items = Some(usize::try_from(window)?);
        Ok(Self(raft_log::RaftLog::open(Arc::new(config))?))
    }
}

impl Log for RaftLog {
    fn append(&mut self, index: u64, payload: Bytes, acks: &Arc<Acks>) -> Result<()> {
        self.0.append([((1, index - 1), Payload(payload))])?;
        Ok(self.0.flush(true, Some(Told(Arc::clone(acks), 1)))?)
    }

    fn append_many(&mut self, first: u64, payloads: Vec<Bytes>, acks: &Arc<Acks>) -> Result<()> {
        let count = payloads.len() as u64;
        let entries = (first - 1..).zip(payloads);
        self.0
            .append(entries.map(|(index, payload)| ((1, index), Payload(payload))))?;
        Ok(self.0.flush(true, Some(Told(Arc::clone(acks), count)))?)
    }

    fn purge(&mut self, upto: u64) -> Result<()> {
        self.0.purge((1, upto - 1))?;
        Ok(())
    }

    fn work(&self) -> Result<Work> {
        let metrics = self.0.stat().flush_metrics;
        Ok(Work {
            syncs: metrics.sync_batch_count,
            bytes: metrics.write_bytes,
        })
    }
}
