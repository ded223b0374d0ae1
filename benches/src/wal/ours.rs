//! The product's log, as the benchmark drives it.
//!
//! Holds: whatever depends on how the log writes, and on how it is opened, is in this file alone.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use storage::{Entry, EntryKind, Index, LogId, NodeId, OsDisk, Term, Wal, WalConfig};

use super::counters::sample;
use super::producer::{Acks, Log, Work};
use super::raw::Method;

/// The log, with the settings that a node has by default, but for two.
#[derive(Debug)]
pub(crate) struct Ours {
    wal: Wal,
    config: WalConfig,
}

impl Ours {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let config = WalConfig {
            // A purge gives a few back at once; made ahead, they cost nothing while it is measured.
            prepared_segments: 8,
            // Reads sealed segments beside the writer; not what is measured.
            scrub_bytes_per_s: 0,
            ..WalConfig::default()
        };
        let (wal, _) = Wal::open(Arc::new(OsDisk), &folder.join("wal"), &config)?;
        Ok(Self { wal, config })
    }

    /// How the log writes: what the raw side must do too.
    pub(crate) fn method(&self) -> Result<Method> {
        Method::of_write_mode(&self.wal.write_mode().to_string())
    }

    /// What a receipt calls its durability.
    pub(crate) fn policy(&self) -> String {
        self.wal.policy().to_string()
    }

    /// The settings that bound its memory and its files, in bytes.
    pub(crate) fn bounds(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("queue_bytes_max", self.config.queue_bytes_max as u64),
            (
                "tail_cache_bytes_max",
                self.config.tail_cache_bytes_max as u64,
            ),
            ("batch_bytes_max", self.config.batch_bytes_max as u64),
            ("segment_bytes", self.config.segment_bytes),
            ("prepared_segments", self.config.prepared_segments as u64),
        ]
    }
}

impl Log for Ours {
    fn append(&mut self, index: u64, payload: Bytes, acks: &Arc<Acks>) -> Result<()> {
        let entry = Entry {
            id: id(index),
            kind: EntryKind::Command,
            payload,
        };
        let acks = Arc::clone(acks);
        self.wal
            .append(vec![entry], Box::new(move |result| acks.tell(1, result)));
        Ok(())
    }

    fn append_many(&mut self, first: u64, payloads: Vec<Bytes>, acks: &Arc<Acks>) -> Result<()> {
        let count = payloads.len() as u64;
        let entries = (first..).zip(payloads).map(|(index, payload)| Entry {
            id: id(index),
            kind: EntryKind::Command,
            payload,
        });
        let acks = Arc::clone(acks);
        self.wal.append(
            entries.collect(),
            Box::new(move |result| acks.tell(count, result)),
        );
        Ok(())
    }

    fn purge(&mut self, upto: u64) -> Result<()> {
        // A failure poisons the log, so the next append tells it.
        self.wal.purge(id(upto), Box::new(drop));
        Ok(())
    }

    fn work(&self) -> Result<Work> {
        let mut registry = prometheus_client::registry::Registry::default();
        self.wal.metrics().register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(Work {
            syncs: sample(&text, "formspool_wal_batches_total")?,
            bytes: sample(&text, "formspool_wal_bytes_total")?,
        })
    }
}

const fn id(index: u64) -> LogId {
    LogId {
        term: Term(1),
        node: NodeId(1),
        index: Index(index),
    }
}
