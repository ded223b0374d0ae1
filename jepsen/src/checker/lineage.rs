//! Lineage: a node that was started from a copy of another's disk shows what that other shows:
//! the same records under the same seqs, as far as the copy goes, and all that was in sight
//! before the copy was made.
//!
//! Why: both go on from one log. A record with which they part ways was made up after the cut;
//! one that was in sight before it had been promised to every reader.

use std::collections::{HashMap, HashSet};

use crate::checker::findings::{Findings, Kind};
use crate::checker::sight::Sight;

/// The first `seen` rows of `source` were in sight when `copy` was made. `source` must have come
/// up to the copy's last seq.
pub(crate) fn check(source: &Sight, seen: usize, copy: &Sight, findings: &mut Findings) {
    let form = copy.form.name();
    let own = source
        .rows
        .iter()
        .map(|row| (row.seq, row))
        .collect::<HashMap<_, _>>();
    for row in &copy.rows {
        match own.get(&row.seq) {
            None => findings.add(Kind::Phantom, || {
                format!(
                    "{} {form}: seq {} is not there where it was copied from",
                    copy.reader, row.seq
                )
            }),
            Some(other) if *other != row => findings.add(Kind::Altered, || {
                format!(
                    "{} {form}: {row:?}, but {other:?} where it was copied from",
                    copy.reader
                )
            }),
            Some(_) => {}
        }
    }
    let head = copy.last_seq();
    let shown = copy.rows.iter().map(|row| row.seq).collect::<HashSet<_>>();
    for row in source.rows.iter().take(seen) {
        if !shown.contains(&row.seq) {
            findings.add(Kind::Lost, || {
                format!(
                    "{} {form}: seq {} was in sight before the cut (head {head})",
                    copy.reader, row.seq
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::checker::findings::{Findings, Kind};
    use crate::checker::testing::Story;

    fn kinds(source: &Story, seen: usize, copy: &Story) -> Vec<(Kind, u64)> {
        let mut findings = Findings::default();
        check(&source.sight(), seen, &copy.sight(), &mut findings);
        findings.kinds().collect()
    }

    #[test]
    fn a_copy_may_end_anywhere_behind_what_was_in_sight() {
        let source = Story::good(5);
        assert_eq!(kinds(&source, 3, &Story::good(3)), []);
        assert_eq!(kinds(&source, 3, &Story::good(5)), []);
        assert_eq!(kinds(&source, 0, &Story::good(0)), []);
    }

    #[test]
    fn what_was_in_sight_before_the_cut_and_is_not_in_the_copy_is_lost() {
        let source = Story::good(5);
        assert_eq!(kinds(&source, 5, &Story::good(3)), [(Kind::Lost, 2)]);
        let mut torn = Story::good(5);
        torn.rows.remove(1);
        assert_eq!(kinds(&source, 2, &torn), [(Kind::Lost, 1)]);
    }

    #[test]
    fn another_record_under_the_same_seq_is_altered() {
        let (source, mut copy) = (Story::good(5), Story::good(4));
        copy.rows[3].digest ^= 1;
        assert_eq!(kinds(&source, 3, &copy), [(Kind::Altered, 1)]);
    }

    #[test]
    fn a_record_that_only_the_copy_has_is_a_phantom() {
        assert_eq!(
            kinds(&Story::good(4), 4, &Story::good(5)),
            [(Kind::Phantom, 1)]
        );
    }
}
