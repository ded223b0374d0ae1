//! Agreement: what two readers of a form both show is the same record under the same seq, also
//! where nobody got a receipt; and where one reader shows what another does not, it is lost there.
//!
//! Why: a record that was in sight before a crash had been committed, so it must be in sight
//! after it, answered or not. A reader that was told that a seq is forgotten neither agrees nor
//! disagrees about it.

use std::collections::{BTreeMap, HashMap};

use crate::checker::findings::{Findings, Kind};
use crate::checker::sight::Sight;

/// Compares each sight with the first of its form, and where that one has forgotten some, with
/// the next ones too, until one speaks of all.
pub(crate) fn check(sights: &[Sight], findings: &mut Findings) {
    let mut forms = BTreeMap::<_, Vec<_>>::new();
    for sight in sights {
        forms.entry(sight.form).or_default().push(sight);
    }
    for mut left in forms.into_values().map(Vec::into_iter) {
        while let Some(model) = left.next() {
            for sight in left.as_slice() {
                compare(model, sight, findings);
            }
            if model.oldest().is_none() {
                break;
            }
        }
    }
}

fn compare(model: &Sight, sight: &Sight, findings: &mut Findings) {
    let form = sight.form.name();
    let mut left = model
        .rows
        .iter()
        .map(|row| (row.seq, *row))
        .collect::<HashMap<_, _>>();
    for row in &sight.rows {
        let Some(other) = left.remove(&row.seq) else {
            if !model.speaks_of(row.seq) {
                continue;
            }
            findings.add(Kind::Lost, || {
                let (reader, seq) = (sight.reader, row.seq);
                format!(
                    "{} {form}: seq {seq}, which {reader} shows, is not there",
                    model.reader
                )
            });
            continue;
        };
        let is_same = (row.id, row.received_at, row.marker)
            == (other.id, other.received_at, other.marker)
            && (sight.shape != model.shape || row.digest == other.digest);
        if !is_same {
            findings.add(Kind::Altered, || {
                format!(
                    "{} and {} {form} differ: {other:?}, {row:?}",
                    model.reader, sight.reader
                )
            });
        }
    }
    for seq in left.keys().filter(|seq| sight.speaks_of(**seq)) {
        findings.add(Kind::Lost, || {
            format!(
                "{} {form}: seq {seq}, which {} shows, is not there",
                sight.reader, model.reader
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::checker::findings::{Findings, Kind};
    use crate::checker::testing::Story;

    fn kinds(a: &Story, b: &Story) -> Vec<(Kind, u64)> {
        judged(&[a, b])
    }

    fn judged(stories: &[&Story]) -> Vec<(Kind, u64)> {
        let sights = stories.iter().map(|story| story.sight());
        let mut findings = Findings::default();
        check(&sights.collect::<Vec<_>>(), &mut findings);
        findings.kinds().collect()
    }

    #[test]
    fn equal_sights_agree() {
        assert_eq!(kinds(&Story::good(5), &Story::good(5)), []);
    }

    #[test]
    fn what_one_reader_has_shown_and_another_does_not_is_lost() {
        let (whole, mut cut) = (Story::good(5), Story::good(5));
        cut.rows.pop();
        assert_eq!(kinds(&whole, &cut), [(Kind::Lost, 1)]);
        assert_eq!(kinds(&cut, &whole), [(Kind::Lost, 1)]);
    }

    #[test]
    fn of_what_is_forgotten_a_reader_says_nothing_but_the_others_must_agree_about_it() {
        let (mut early, mut late) = (Story::good(9), Story::good(9));
        early.forget(3, 5);
        late.forget(0, 7);
        let mut sheet = Story::good(9);
        assert_eq!(judged(&[&early, &late, &sheet]), []);
        // Seen before it was forgotten, and not in the sheet.
        sheet.rows.remove(1);
        assert_eq!(judged(&[&early, &late, &sheet]), [(Kind::Lost, 1)]);
        // Not forgotten, and not shown.
        late.rows.remove(1);
        let lost = judged(&[&early, &late, &Story::good(9)]);
        assert_eq!(lost, [(Kind::Lost, 2)]);
    }

    #[test]
    fn the_first_reader_is_no_measure_for_what_it_has_forgotten() {
        let (mut blind, whole, mut other) = (Story::good(5), Story::good(5), Story::good(5));
        blind.forget(0, 4);
        other.rows[1].id ^= 1;
        assert_eq!(judged(&[&blind, &whole, &other]), [(Kind::Altered, 1)]);
    }

    #[test]
    fn one_seq_with_two_records_is_altered() {
        let (a, mut b) = (Story::good(5), Story::good(5));
        b.rows[1].id ^= 1;
        assert_eq!(kinds(&a, &b), [(Kind::Altered, 1)]);
    }
}
