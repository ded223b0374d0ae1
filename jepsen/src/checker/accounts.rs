//! Accounts: the history folded, one account a document.
//!
//! Holds: folding is linear, and absorbing the history in pieces gives the same accounts as
//! absorbing it whole.

use crate::checker::digest::Digests;
use crate::form::Form;
use crate::history::{Event, Receipt, What};

/// What the history says about one document, over all attempts to post it.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) marker: u64,
    pub(crate) form: Form,
    pub(crate) process: u32,
    pub(crate) is_keyed: bool,
    pub(crate) digests: Digests,
    /// First attempt.
    pub(crate) invoked: u64,
    /// First receipt: the moment of the promise.
    pub(crate) acked: u64,
    pub(crate) receipt: Option<Receipt>,
    pub(crate) receipts: u32,
    /// Receipts that did not say `duplicate`.
    pub(crate) fresh: u32,
    /// A receipt that says something else than the first.
    pub(crate) contradiction: Option<Receipt>,
    pub(crate) refused: u32,
    pub(crate) unknown: u32,
}

/// What a document's answers oblige the product to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Exactly once.
    Must,
    /// Once or not at all.
    May,
    /// In no reader's sight.
    Never,
}

impl Account {
    pub(crate) fn duty(&self) -> Duty {
        match (self.receipt, self.unknown) {
            (Some(Receipt { seq: Some(_), .. }), _) => Duty::Must,
            // Withheld: not shown until a person releases it.
            (Some(Receipt { seq: None, .. }), _) | (None, 0) => Duty::Never,
            (None, _) => Duty::May,
        }
    }

    fn note(&mut self, at: u64, what: What) {
        match what {
            What::Ok(receipt) => {
                self.receipts += 1;
                self.fresh += u32::from(!receipt.is_duplicate);
                match self.receipt {
                    None => (self.receipt, self.acked) = (Some(receipt), at),
                    Some(first) if !first.says_the_same_as(&receipt) => {
                        self.contradiction = Some(receipt);
                    }
                    Some(_) => {}
                }
            }
            What::Refused(_) => self.refused += 1,
            What::Unknown => self.unknown += 1,
            What::Destroyed => {
                (self.receipt, self.contradiction, self.acked) = (None, None, u64::MAX);
                (self.receipts, self.fresh) = (0, 0);
                self.unknown += 1;
            }
            What::NotSent | What::Invoke { .. } => {}
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    /// By marker; markers count up from 0, so this is dense.
    by_marker: Vec<Option<Account>>,
}

impl Accounts {
    /// Takes in `events`; answers the markers that they touch.
    pub(crate) fn absorb(&mut self, events: &[Event]) -> Vec<u64> {
        let mut touched = Vec::new();
        for Event { at, marker, what } in events {
            let Ok(place) = usize::try_from(*marker) else {
                continue;
            };
            if place >= self.by_marker.len() {
                self.by_marker.resize(place + 1, None);
            }
            let Some(slot) = self.by_marker.get_mut(place) else {
                continue;
            };
            if let What::Invoke {
                process,
                form,
                is_keyed,
                digests,
            } = *what
            {
                touched.push(*marker);
                slot.get_or_insert(Account {
                    marker: *marker,
                    form,
                    process,
                    is_keyed,
                    digests,
                    invoked: *at,
                    acked: u64::MAX,
                    receipt: None,
                    receipts: 0,
                    fresh: 0,
                    contradiction: None,
                    refused: 0,
                    unknown: 0,
                });
            } else if let Some(account) = slot {
                touched.push(*marker);
                account.note(*at, *what);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        touched
    }

    pub(crate) fn of(events: &[Event]) -> Self {
        let mut accounts = Self::default();
        accounts.absorb(events);
        accounts
    }

    pub(crate) fn get(&self, marker: u64) -> Option<&Account> {
        self.by_marker.get(usize::try_from(marker).ok()?)?.as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Account> {
        self.by_marker.iter().flatten()
    }

    /// How many may be there or not.
    pub(crate) fn in_doubt(&self) -> usize {
        let doubted = self.iter().filter(|account| account.duty() == Duty::May);
        doubted.count()
    }

    /// How many must be there.
    pub(crate) fn acked(&self) -> u64 {
        self.iter()
            .filter(|account| account.duty() == Duty::Must)
            .map(|_| 1)
            .sum()
    }
}
