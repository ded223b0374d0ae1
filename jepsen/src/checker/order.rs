//! Order: seqs rise by one, but for what is forgotten, and nothing stands before what was acknowledged before it was sent.
//!
//! The second rule is real time: when A had its receipt before B was first sent, A's seq is
//! smaller, whoever sent them; so it also keeps each connection's own order. Walking the rows in
//! order and keeping the latest first sending seen, a row whose receipt is older than that
//! has been overtaken.
//!
//! The receipts alone show holes too, also where no reader gets past one: the highest seq given
//! cannot be more than what was given and what may have been taken without an answer.

use std::collections::HashSet;

use crate::checker::Span;
use crate::checker::accounts::{Accounts, Duty};
use crate::checker::findings::{Findings, Kind};
use crate::form::Form;

pub(crate) fn check(span: &Span<'_>, findings: &mut Findings) {
    seqs(span, findings);
    real_time(span, findings);
}

/// Seqs of `form` that no submission can account for.
pub(crate) fn check_receipts(accounts: &Accounts, form: Form, findings: &mut Findings) {
    let (mut given, mut in_doubt) = (HashSet::new(), 0);
    for account in accounts.iter().filter(|account| account.form == form) {
        in_doubt += u64::from(account.duty() == Duty::May);
        given.extend(account.receipt.and_then(|receipt| receipt.seq));
    }
    let highest = given.iter().max().copied().unwrap_or(0);
    let missing = (1..=highest).filter(|seq| !given.contains(seq));
    let count = u64::try_from(missing.clone().count()).unwrap_or(u64::MAX);
    if count > in_doubt {
        findings.add(Kind::Hole, || {
            let first = missing.take(5).collect::<Vec<_>>();
            format!(
                "receipts {}: {count} seqs below {highest} belong to nobody ({in_doubt} are in \
                 doubt): {first:?}",
                form.name()
            )
        });
    }
}

fn seqs(span: &Span<'_>, findings: &mut Findings) {
    let (reader, form) = (span.sight.reader, span.sight.form.name());
    let before = span
        .from
        .checked_sub(1)
        .and_then(|place| span.sight.rows.get(place));
    let mut last = before.map_or(0, |row| row.seq);
    for row in span.rows() {
        if row.seq <= last {
            findings.add(Kind::Reordered, || {
                format!("{reader} {form}: seq {} stands after seq {last}", row.seq)
            });
        } else if row.seq != span.sight.next_after(last) {
            findings.add(Kind::Hole, || {
                format!("{reader} {form}: after seq {last} comes seq {}", row.seq)
            });
        }
        last = last.max(row.seq);
    }
}

fn real_time(span: &Span<'_>, findings: &mut Findings) {
    let mut latest = None::<(u64, u64)>; // (first sending, seq)
    for row in span.rows() {
        let account = row.marker.and_then(|marker| span.accounts.get(marker));
        let Some(account) = account.filter(|account| account.form == span.sight.form) else {
            continue;
        };
        if let Some((invoked, seq)) = latest
            && account.duty() == Duty::Must
            && account.acked < invoked
        {
            findings.add(Kind::Reordered, || {
                format!(
                    "{} {}: m{} at seq {} had its receipt before what stands at seq {seq} was sent",
                    span.sight.reader,
                    span.sight.form.name(),
                    account.marker,
                    row.seq
                )
            });
        }
        if latest.is_none_or(|(invoked, _)| invoked < account.invoked) {
            latest = Some((account.invoked, row.seq));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check_receipts;
    use crate::checker::accounts::Accounts;
    use crate::checker::findings::{Findings, Kind};
    use crate::checker::testing::Story;
    use crate::form::Form;

    #[test]
    fn rows_out_of_the_order_of_seqs_are_reordered() {
        let mut story = Story::good(5);
        story.rows.swap(1, 2);
        assert!(story.count(Kind::Reordered) > 0);
    }

    #[test]
    fn a_missing_seq_is_a_hole() {
        let mut story = Story::good(0);
        story.ack(0, 1, (10, 20));
        story.ack(1, 3, (30, 40));
        story.show(0, 1);
        story.show(1, 3);
        assert_eq!(story.kinds(), [(Kind::Hole, 1)]);
    }

    #[test]
    fn seqs_that_nobody_can_have_are_holes_also_where_no_reader_shows_them() {
        let holes = |story: &Story| {
            let mut findings = Findings::default();
            let accounts = Accounts::of(&story.events);
            check_receipts(&accounts, Form::Free, &mut findings);
            findings.count(Kind::Hole)
        };
        let mut story = Story::good(5);
        assert_eq!(holes(&story), 0);
        story.ack(5, 7, (100, 110));
        assert_eq!(holes(&story), 1);
        // One without an answer may have got it.
        story.unknown(6, 90);
        assert_eq!(holes(&story), 0);
    }

    #[test]
    fn what_was_sent_after_a_receipt_may_not_stand_before_it() {
        let mut story = Story::good(0);
        story.ack(0, 2, (10, 20));
        story.ack(1, 1, (30, 40));
        story.show(1, 1);
        story.show(0, 2);
        assert_eq!(story.kinds(), [(Kind::Reordered, 1)]);
    }

    #[test]
    fn what_was_under_way_together_may_stand_in_any_order() {
        let mut story = Story::good(0);
        story.ack(0, 2, (10, 40));
        story.ack(1, 1, (30, 50));
        story.show(1, 1);
        story.show(0, 2);
        assert_eq!(story.kinds(), []);
    }
}
