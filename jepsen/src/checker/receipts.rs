//! Receipts: they say what the record says, all for one document say the same, and at most
//! one of them claims to be the first. A keyless document gets no second one.

use crate::checker::Span;
use crate::checker::accounts::Account;
use crate::checker::findings::{Findings, Kind};

pub(crate) fn check(span: &Span<'_>, findings: &mut Findings) {
    for account in span.accounts() {
        let Some(fault) = fault(span, account) else {
            continue;
        };
        findings.add(Kind::Receipt, || {
            let (reader, form) = (span.sight.reader, span.sight.form.name());
            format!("{reader} {form}: m{} {fault}", account.marker)
        });
    }
}

fn fault(span: &Span<'_>, account: &Account) -> Option<String> {
    let receipt = account.receipt?;
    if let Some(other) = account.contradiction {
        return Some(format!("has two receipts: {receipt:?} and {other:?}"));
    }
    if account.fresh > 1 {
        return Some(format!(
            "has {} receipts that are not duplicates",
            account.fresh
        ));
    }
    // The first receipt may have got lost on the way, but only with an attempt of that kind.
    if account.fresh == 0 && account.unknown == 0 {
        return Some("has only duplicate receipts and no attempt without answer".to_owned());
    }
    let row = span.sight.find(account.marker)?;
    let is_same = receipt.seq == Some(row.seq)
        && receipt.id == row.id
        && receipt.received_at == row.received_at
        && row.index.is_none_or(|index| index == receipt.index);
    (!is_same && receipt.seq.is_some()).then(|| format!("has {receipt:?} but is {row:?}"))
}

#[cfg(test)]
mod tests {
    use crate::checker::findings::Kind;
    use crate::checker::testing::Story;

    #[test]
    fn a_receipt_of_another_seq_than_the_records_is_wrong() {
        let mut story = Story::good(0);
        story.ack(0, 2, (10, 20));
        story.show(0, 1);
        assert_eq!(story.kinds(), [(Kind::Receipt, 1)]);
    }

    #[test]
    fn a_second_receipt_says_the_same_and_that_it_is_a_duplicate() {
        let mut story = Story::good(1);
        story.ack_again(0, 1, true);
        assert_eq!(story.kinds(), []);
        story.ack_again(0, 1, false);
        assert_eq!(story.kinds(), [(Kind::Receipt, 1)]);
    }

    #[test]
    fn two_receipts_with_different_facts_are_wrong() {
        let mut story = Story::good(1);
        story.ack_again(0, 9, true);
        assert_eq!(story.kinds(), [(Kind::Receipt, 1)]);
    }

    #[test]
    fn a_first_receipt_that_says_duplicate_needs_an_attempt_without_answer() {
        let mut story = Story::good(0);
        story.ack_again(0, 1, true);
        story.show(0, 1);
        assert_eq!(story.kinds(), [(Kind::Receipt, 1)]);
        story.unknown(0, 5);
        assert_eq!(story.kinds(), []);
    }
}
