//! What the log's tests share: entries out of numbers, calls that wait, and a model of the log.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use storage::{
    Done, Entry, EntryKind, Error, FaultDisk, Index, LogId, NodeId, Policy, Recovered, Term, Vote,
    Wal, WalConfig,
};

/// Small numbers, so that a few entries already rotate, evict and split; and nothing that happens
/// by itself in the background, so that a seed means one order of things.
pub(crate) fn small_config() -> WalConfig {
    WalConfig {
        fsync: Policy::Always,
        segment_bytes: 32 << 10,
        batch_bytes_max: 8 << 10,
        queue_bytes_max: 64 << 10,
        tail_cache_bytes_max: 6 << 10,
        ..WalConfig::simulated()
    }
}

pub(crate) fn dir() -> &'static Path {
    Path::new("/data/wal")
}

pub(crate) fn open(disk: &FaultDisk, config: &WalConfig) -> Result<(Wal, Recovered), Error> {
    Wal::open(Arc::new(disk.clone()), dir(), config)
}

pub(crate) fn id(term: u64, index: u64) -> LogId {
    LogId {
        term: Term(term),
        node: NodeId(1),
        index: Index(index),
    }
}

/// An entry whose payload says which it is.
pub(crate) fn entry(id: LogId, len: usize) -> Entry {
    let kind = match id.index.0 % 7 {
        0 => EntryKind::Blank,
        1 => EntryKind::Membership,
        _ => EntryKind::Command,
    };
    let mut payload = format!("{id}/{len}:").into_bytes();
    payload.resize(payload.len().max(len), b'x');
    Entry {
        id,
        kind,
        payload: Bytes::from(payload),
    }
}

/// Collects the answers, in the order in which they come.
pub(crate) struct Answers {
    tx: SyncSender<(usize, Result<(), Error>)>,
    rx: Receiver<(usize, Result<(), Error>)>,
    pub(crate) asked: usize,
    pub(crate) heard: Vec<Result<(), Error>>,
}

impl Answers {
    pub(crate) fn new() -> Self {
        let (tx, rx) = sync_channel(100_000);
        Self {
            tx,
            rx,
            asked: 0,
            heard: Vec::new(),
        }
    }

    /// A `done` for the next call.
    pub(crate) fn done(&mut self) -> Done {
        let (tx, number) = (self.tx.clone(), self.asked);
        self.asked += 1;
        Box::new(move |result| tx.send((number, result)).unwrap())
    }

    /// Waits until every call is answered, and checks that it was once and in order.
    pub(crate) fn wait(&mut self) -> &[Result<(), Error>] {
        while !self.are_heard() {
            let next = self.rx.recv().unwrap();
            self.hear(next);
        }
        assert!(self.rx.try_recv().is_err(), "nobody is answered twice");
        &self.heard
    }

    fn hear(&mut self, (number, result): (usize, Result<(), Error>)) {
        let expected = self.heard.len();
        assert_eq!(expected, number, "answers come in the order of the calls");
        self.heard.push(result);
    }

    /// Whether every call is answered by now.
    pub(crate) fn are_heard(&mut self) -> bool {
        while let Ok(next) = self.rx.try_recv() {
            self.hear(next);
        }
        self.heard.len() == self.asked
    }

    /// How many calls in a row were told "durable".
    pub(crate) fn kept(&mut self) -> usize {
        self.wait()
            .iter()
            .take_while(|result| result.is_ok())
            .count()
    }
}

/// What a log should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) entries: BTreeMap<Index, Entry>,
    pub(crate) vote: Option<Vote>,
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
}

impl Model {
    pub(crate) fn append(&mut self, entry: Entry) {
        self.last = Some(entry.id);
        self.entries.insert(entry.id.index, entry);
    }

    pub(crate) fn truncate_after(&mut self, keep: Option<LogId>) {
        self.entries
            .retain(|index, _| keep.is_some_and(|keep| *index <= keep.index));
        self.last = self
            .entries
            .values()
            .next_back()
            .map(|entry| entry.id)
            .or(self.purged);
    }

    pub(crate) fn purge(&mut self, upto: LogId) {
        if self.purged.is_some_and(|purged| upto.index <= purged.index) {
            return;
        }
        self.purged = Some(upto);
        self.entries.retain(|index, _| *index > upto.index);
        self.last = self
            .entries
            .values()
            .next_back()
            .map_or(Some(upto), |entry| Some(entry.id));
    }

    pub(crate) fn next(&self) -> Index {
        self.last.map_or(Index(1), |last| last.index.next())
    }

    /// What an opened log says, put into the same shape. Reads every entry.
    pub(crate) fn of(wal: &Wal) -> Self {
        Self::try_of(wal).unwrap()
    }

    /// The same of a log that may be damaged.
    pub(crate) fn try_of(wal: &Wal) -> Result<Self, Error> {
        let mut entries = BTreeMap::new();
        let mut at = wal.first().unwrap_or_default();
        let end = wal.last().map_or(at, |last| last.index.next());
        while wal.first().is_some() && at < end {
            for entry in wal.read(at..end, 3000)? {
                assert_eq!(at, entry.id.index, "no holes");
                at = at.next();
                entries.insert(entry.id.index, entry);
            }
        }
        Ok(Self {
            entries,
            vote: wal.vote(),
            purged: wal.purged(),
            last: wal.last(),
        })
    }
}
