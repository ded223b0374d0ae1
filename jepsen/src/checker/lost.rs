//! Lost: a receipt was given, and the reader does not show the record.
//!
//! The words say where in the form it should have stood: a hole in the middle is another bug
//! than an end that is missing.

use crate::checker::Span;
use crate::checker::accounts::Duty;
use crate::checker::findings::{Findings, Kind};

pub(crate) fn check(span: &Span<'_>, findings: &mut Findings) {
    let head = span.sight.last_seq();
    for account in span.accounts() {
        if account.duty() != Duty::Must || span.sight.find(account.marker).is_some() {
            continue;
        }
        let seq = account.receipt.and_then(|receipt| receipt.seq).unwrap_or(0);
        let part = if seq > head {
            "beyond the end"
        } else {
            "in the middle"
        };
        findings.add(Kind::Lost, || {
            format!(
                "{} {}: m{} was acknowledged as seq {seq} ({part}, head {head}) to connection {}",
                span.sight.reader,
                span.sight.form.name(),
                account.marker,
                account.process
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::checker::findings::Kind;
    use crate::checker::testing::Story;

    #[test]
    fn an_acknowledged_record_that_is_not_shown_is_lost() {
        let mut story = Story::good(5);
        story.rows.remove(2);
        assert_eq!(story.count(Kind::Lost), 1);
    }

    #[test]
    fn an_end_that_is_missing_is_lost() {
        let mut story = Story::good(5);
        story.rows.truncate(3);
        assert_eq!(story.kinds(), [(Kind::Lost, 2)]);
    }

    #[test]
    fn what_has_no_answer_may_be_absent_or_present() {
        let mut story = Story::good(5);
        story.unknown(5, 10);
        assert_eq!(story.kinds(), []);
        story.show(5, 6);
        assert_eq!(story.kinds(), []);
    }
}
