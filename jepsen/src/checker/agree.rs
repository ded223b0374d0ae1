//! Agreement: what two readers of a form both show is the same record under the same seq, also
//! where nobody got a receipt; and where one reader shows what another does not, it is lost there.
//!
//! Why: a record that was in sight before a crash had been committed, so it must be in sight
//! after it, answered or not.

use std::collections::HashMap;

use crate::checker::findings::{Findings, Kind};
use crate::checker::sight::Sight;

/// Compares each sight with the first of its form.
pub(crate) fn check(sights: &[Sight], findings: &mut Findings) {
    let mut first = HashMap::new();
    for sight in sights {
        match first.get(&sight.form) {
            None => {
                first.insert(sight.form, sight);
            }
            Some(model) => compare(model, sight, findings),
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
    for seq in left.keys() {
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
        let mut findings = Findings::default();
        check(&[a.sight(), b.sight()], &mut findings);
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
    fn one_seq_with_two_records_is_altered() {
        let (a, mut b) = (Story::good(5), Story::good(5));
        b.rows[1].id ^= 1;
        assert_eq!(kinds(&a, &b), [(Kind::Altered, 1)]);
    }
}
