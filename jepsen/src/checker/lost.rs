//! Lost: a receipt was given, and the reader does not show the record.
//!
//! The words say where in the form it should have stood: a hole in the middle is another bug
//! than an end that is missing. Of what it was told is forgotten, a reader says nothing; then another
//! must show it: see `check_shown`.

use crate::checker::Span;
use crate::checker::accounts::{Accounts, Duty};
use crate::checker::findings::{Findings, Kind};
use crate::checker::sight::Sight;

pub(crate) fn check(span: &Span<'_>, findings: &mut Findings) {
    let head = span.sight.last_seq();
    for account in span.accounts() {
        if account.duty() != Duty::Must || span.sight.find(account.marker).is_some() {
            continue;
        }
        let seq = account.receipt.and_then(|receipt| receipt.seq).unwrap_or(0);
        if !span.sight.speaks_of(seq) {
            continue;
        }
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

/// What every reader was told is forgotten is lost all the same. Answers how many of the
/// acknowledged are shown by each reader of their form that speaks of them, and by one at least.
pub(crate) fn check_shown(accounts: &Accounts, sights: &[Sight], findings: &mut Findings) -> u64 {
    let mut found = 0;
    for account in accounts.iter() {
        if account.duty() != Duty::Must {
            continue;
        }
        let seq = account.receipt.and_then(|receipt| receipt.seq).unwrap_or(0);
        let (mut readers, mut shown, mut silent) = (0, 0, 0);
        for sight in sights.iter().filter(|sight| sight.form == account.form) {
            readers += 1;
            if sight.find(account.marker).is_some() {
                shown += 1;
            } else if !sight.speaks_of(seq) {
                silent += 1;
            }
        }
        found += u64::from(shown > 0 && shown + silent == readers);
        if readers > 0 && silent == readers {
            findings.add(Kind::Lost, || {
                let (form, marker) = (account.form.name(), account.marker);
                format!(
                    "{form}: m{marker} was acknowledged as seq {seq}, and is forgotten everywhere"
                )
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::check_shown;
    use crate::checker::accounts::Accounts;
    use crate::checker::findings::{Findings, Kind};
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
    fn what_is_forgotten_is_not_lost_there_but_all_behind_it_must_be_shown() {
        let mut story = Story::good(9);
        story.forget(0, 4);
        assert_eq!(story.kinds(), []);
        // It claims 4 as the oldest, and does not show it; then one in the middle.
        story.rows.remove(0);
        assert_eq!(story.kinds(), [(Kind::Lost, 1), (Kind::Hole, 1)]);
        story.rows.remove(2);
        assert_eq!(story.kinds(), [(Kind::Lost, 2), (Kind::Hole, 2)]);
        story.rows.pop();
        assert_eq!(story.count(Kind::Lost), 3);
    }

    #[test]
    fn one_that_was_overtaken_by_the_horizon_still_speaks_of_what_it_had_read() {
        let mut story = Story::good(9);
        story.forget(3, 7);
        assert_eq!(story.kinds(), []);
        story.rows.remove(1);
        assert_eq!(story.kinds(), [(Kind::Lost, 1), (Kind::Hole, 1)]);
    }

    #[test]
    fn what_is_forgotten_and_shown_by_nobody_is_lost() {
        let judge = |readers: &[&Story]| {
            let accounts = Accounts::of(&Story::good(5).events);
            let sights = readers.iter().map(|story| story.sight());
            let mut findings = Findings::default();
            let found = check_shown(&accounts, &sights.collect::<Vec<_>>(), &mut findings);
            (found, findings.count(Kind::Lost))
        };
        let (whole, mut cut) = (Story::good(5), Story::good(5));
        cut.forget(0, 4);
        assert_eq!(judge(&[&whole, &cut]), (5, 0));
        assert_eq!(judge(&[&cut, &cut]), (2, 3));
        let mut torn = Story::good(5);
        torn.rows.remove(1);
        // `check` says that the torn one has lost it.
        assert_eq!(judge(&[&torn, &cut]), (4, 0));
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
