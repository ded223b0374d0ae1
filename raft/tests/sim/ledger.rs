//! What the clients know: what they sent, what they were told. And everything that must not be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use storage::{Digests, FormId, Index, LogId, NodeId, Seq, Slot, Term};

use crate::trace::Trace;

pub type Id = [u8; 16];

/// A clone is the same one.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Mutex<Inner>>,
    trace: Trace,
}

#[derive(Default)]
pub struct Inner {
    /// Bodies of all that was ever sent.
    pub offered: BTreeMap<Id, (FormId, bytes::Bytes)>,
    /// What was acknowledged, and where it was said to be.
    pub acked: BTreeMap<Id, Receipt>,
    /// Who has a seq of a form.
    seqs: BTreeMap<(FormId, Seq), Id>,
    /// Said to be in no log.
    pub refused: BTreeSet<Id>,
    /// When, and at which place, packs were acknowledged.
    pub acks: Vec<(Duration, usize)>,
    digests: BTreeMap<Index, Digests>,
    applied: BTreeMap<Index, LogId>,
    /// The newest term that a place has shown.
    terms: BTreeMap<usize, Term>,
    leaders: BTreeMap<(Term, NodeId), (usize, u64)>,
    wrong: Vec<String>,
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub form: FormId,
    pub seq: Seq,
    pub index: Index,
    pub slot: Slot,
}

impl Ledger {
    pub fn new(trace: Trace) -> Self {
        Self {
            inner: Arc::default(),
            trace,
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Something that must not be.
    pub fn wrong(&self, what: String) {
        self.trace.say(format_args!("WRONG: {what}"));
        self.lock().wrong.push(what);
    }

    pub fn is_wrong(&self) -> bool {
        !self.lock().wrong.is_empty()
    }

    pub fn all_wrong(&self) -> Vec<String> {
        self.lock().wrong.clone()
    }

    pub fn offer(&self, id: Id, form: FormId, body: bytes::Bytes) {
        self.lock().offered.insert(id, (form, body));
    }

    /// A pack was answered.
    pub fn ack(&self, at: usize, told: &[(Id, Receipt)]) {
        let mut wrong = Vec::new();
        {
            let mut inner = self.lock();
            inner.acks.push((self.trace.elapsed(), at));
            for (id, receipt) in told {
                if let Some(other) = inner.seqs.insert((receipt.form, receipt.seq), *id)
                    && other != *id
                {
                    wrong.push(format!(
                        "seq {} of form {} was given twice",
                        receipt.seq, receipt.form
                    ));
                }
                if let Some(other) = inner.acked.insert(*id, *receipt)
                    && other != *receipt
                {
                    wrong.push(format!("one submission is at {receipt:?} and at {other:?}"));
                }
            }
        }
        for what in wrong {
            self.wrong(what);
        }
    }

    pub fn refuse(&self, ids: impl IntoIterator<Item = Id>) {
        self.lock().refused.extend(ids);
    }

    /// Acknowledgements at or after `since`, at places that `counts`.
    pub fn first_ack(&self, since: Duration, counts: impl Fn(usize) -> bool) -> Option<Duration> {
        let inner = self.lock();
        let late = inner.acks.iter().rev().take_while(|ack| since <= ack.0);
        late.filter(|ack| counts(ack.1)).last().map(|ack| ack.0)
    }

    /// A place shows its state as of some entry.
    pub fn show(&self, at: usize, id: LogId, digests: Digests) {
        let mut inner = self.lock();
        let known = *inner.digests.entry(digests.index).or_insert(digests);
        let entry = *inner.applied.entry(id.index).or_insert(id);
        drop(inner);
        if known != digests {
            self.wrong(format!(
                "the state of place {at} differs at index {}",
                digests.index
            ));
        }
        if entry != id {
            self.wrong(format!(
                "place {at} applied {id} where another applied {entry}"
            ));
        }
    }

    /// A place says in which term it is: it has voted in it, or was told of it by who leads.
    pub fn show_term(&self, at: usize, term: Term) {
        let mut inner = self.lock();
        let newest = inner.terms.entry(at).or_default();
        let is_older = term < *newest;
        let before = *newest;
        *newest = term.max(before);
        drop(inner);
        if is_older {
            self.wrong(format!("place {at} is in term {term} and was in {before}"));
        }
    }

    /// A disk was replaced: whoever comes up there is somebody else.
    pub fn forget_place(&self, at: usize) {
        self.lock().terms.remove(&at);
    }

    /// A node says that it leads.
    pub fn lead(&self, at: usize, life: u64, term: Term, node: NodeId) {
        let before = self.lock().leaders.insert((term, node), (at, life));
        if let Some(before) = before.filter(|before| *before != (at, life)) {
            self.wrong(format!(
                "term {term} is led by {node} twice: {before:?}, {:?}",
                (at, life)
            ));
        }
    }
}
