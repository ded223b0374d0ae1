//! The checkers: each a pure function of accounts and one sight, linear in both.
//!
//! Holds: a checker never blames lag or silence: what has no answer may be there or not.
//! Why linear time is enough: markers are unique and a receipt names its seq, so the order is
//! given and needs no search.

pub(crate) mod accounts;
pub(crate) mod agree;
pub(crate) mod altered;
pub(crate) mod back;
pub(crate) mod digest;
pub(crate) mod doubled;
pub(crate) mod findings;
pub(crate) mod full;
pub(crate) mod kafka;
pub(crate) mod line;
pub(crate) mod lineage;
pub(crate) mod lost;
pub(crate) mod order;
pub(crate) mod outage;
pub(crate) mod phantom;
pub(crate) mod receipts;
pub(crate) mod replicas;
pub(crate) mod sheets;
pub(crate) mod sight;
#[cfg(test)]
mod testing;

use std::collections::BTreeSet;

use accounts::Accounts;
use findings::Findings;
use sight::Sight;

/// What is under check: accounts against one sight, the whole or what is new.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span<'a> {
    pub(crate) accounts: &'a Accounts,
    /// Markers to look at; `None`: all.
    pub(crate) touched: Option<&'a [u64]>,
    pub(crate) sight: &'a Sight,
    /// The first row to look at.
    pub(crate) from: usize,
}

impl<'a> Span<'a> {
    pub(crate) fn whole(accounts: &'a Accounts, sight: &'a Sight) -> Self {
        Self {
            accounts,
            touched: None,
            sight,
            from: 0,
        }
    }

    /// The accounts of the sight's form.
    fn accounts(&self) -> Box<dyn Iterator<Item = &'a accounts::Account> + 'a> {
        let form = self.sight.form;
        let accounts = self.accounts;
        match self.touched {
            None => Box::new(accounts.iter().filter(move |account| account.form == form)),
            Some(touched) => {
                let found = touched.iter().filter_map(|marker| accounts.get(*marker));
                Box::new(found.filter(move |account| account.form == form))
            }
        }
    }

    fn rows(&self) -> &'a [sight::Row] {
        self.sight.rows.get(self.from..).unwrap_or_default()
    }
}

/// Every checker that looks at one sight.
pub(crate) fn check(span: &Span<'_>, findings: &mut Findings) {
    lost::check(span, findings);
    doubled::check(span, findings);
    order::check(span, findings);
    altered::check(span, findings);
    phantom::check(span, findings);
    receipts::check(span, findings);
}

/// Everything: each sight by itself, then all against each other. Answers how many of the
/// acknowledged are in every sight of their form that speaks of them.
pub(crate) fn check_all(accounts: &Accounts, sights: &[Sight], findings: &mut Findings) -> u64 {
    for sight in sights {
        check(&Span::whole(accounts, sight), findings);
    }
    let forms = sights.iter().map(|sight| sight.form);
    for form in forms.collect::<BTreeSet<_>>() {
        order::check_receipts(accounts, form, findings);
    }
    agree::check(sights, findings);
    lost::check_shown(accounts, sights, findings)
}
