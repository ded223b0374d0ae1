//! Phantom: a reader shows what was never sent, was refused, or is withheld.

use crate::checker::Span;
use crate::checker::accounts::Duty;
use crate::checker::findings::{Findings, Kind};

pub(crate) fn check(span: &Span<'_>, findings: &mut Findings) {
    for row in span.rows() {
        let account = row.marker.and_then(|marker| span.accounts.get(marker));
        let why = match account.map(|account| (account, account.duty())) {
            None => "was never sent",
            Some((account, Duty::Never)) if account.receipt.is_some() => "is withheld",
            Some((_, Duty::Never)) => "was refused",
            Some((_, Duty::Must | Duty::May)) => continue,
        };
        findings.add(Kind::Phantom, || {
            format!(
                "{} {}: {:?} at seq {} {why}",
                span.sight.reader,
                span.sight.form.name(),
                row.marker,
                row.seq
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::checker::findings::Kind;
    use crate::checker::testing::Story;

    #[test]
    fn a_record_that_nobody_sent_is_a_phantom() {
        let mut story = Story::good(5);
        story.show(77, 6);
        assert_eq!(story.kinds(), [(Kind::Phantom, 1)]);
    }

    #[test]
    fn a_refused_one_in_sight_is_a_phantom() {
        let mut story = Story::good(5);
        story.refused(5, 10);
        assert_eq!(story.kinds(), []);
        story.show(5, 6);
        assert_eq!(story.kinds(), [(Kind::Phantom, 1)]);
    }

    #[test]
    fn a_withheld_one_in_sight_is_a_phantom() {
        let mut story = Story::good(5);
        story.withheld(5, 10);
        assert_eq!(story.kinds(), []);
        story.show(5, 6);
        assert_eq!(story.kinds(), [(Kind::Phantom, 1)]);
    }
}
