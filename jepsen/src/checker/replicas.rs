//! Replicas: every node holds the same, record by record, and where two are at one index their
//! digests are the same.
//!
//! Holds: a finding names the node, the form and the seq. Which of two is right cannot be told
//! here; `lost` and `altered` say it of each by itself, from what was promised.

use std::collections::BTreeMap;

use crate::checker::findings::{Findings, Kind};
use crate::checker::sight::{Row, Sight};
use crate::client::cluster::State;

/// What each node shows of one form, all at the same index. The readers' names say which node.
pub(crate) fn check(copies: &[&Sight], findings: &mut Findings) {
    let Some((model, others)) = copies.split_first() else {
        return;
    };
    let (first, form) = (model.reader, model.form.name());
    let expected = by_seq(model);
    for sight in others {
        let (name, shown) = (sight.reader, by_seq(sight));
        for (seq, row) in &shown {
            let words = match expected.get(seq) {
                None => format!("is there, and not at {first}"),
                Some(other) if !is_same(other, row, model.shape == sight.shape) => {
                    format!("{row:?}, but {other:?} at {first}")
                }
                Some(_) => continue,
            };
            findings.add(Kind::Divergent, || {
                format!("{name}, {form} seq {seq}: {words}")
            });
        }
        for seq in expected.keys().filter(|seq| !shown.contains_key(seq)) {
            findings.add(Kind::Divergent, || {
                format!("{name}, {form} seq {seq}: is not there, but at {first}")
            });
        }
    }
}

/// What each node says of its own state; only those at one index can be compared.
pub(crate) fn check_digests(states: &[(usize, State)], findings: &mut Findings) {
    let mut by_index = BTreeMap::new();
    for (node, state) in states {
        let (first, model) = *by_index.entry(state.applied).or_insert((node, state));
        let pairs = [
            ("log", &model.log_digest, &state.log_digest),
            ("rows", &model.rows_digest, &state.rows_digest),
        ];
        for (what, expected, found) in pairs.into_iter().filter(|(_, a, b)| a != b) {
            findings.add(Kind::Divergent, || {
                let index = state.applied;
                format!(
                    "node {node} at index {index}: digest of the {what} is {found}, but \
                     {expected} at node {first}"
                )
            });
        }
    }
}

fn by_seq(sight: &Sight) -> BTreeMap<u64, &Row> {
    sight.rows.iter().map(|row| (row.seq, row)).collect()
}

/// A sheet shows no index, and its cells have another digest.
fn is_same(a: &Row, b: &Row, is_one_shape: bool) -> bool {
    (a.id, a.received_at, a.marker) == (b.id, b.received_at, b.marker)
        && (!is_one_shape || (a.index, a.digest) == (b.index, b.digest))
}

#[cfg(test)]
mod tests {
    use super::{check, check_digests};
    use crate::checker::findings::{Findings, Kind};
    use crate::checker::testing::Story;
    use crate::client::cluster::State;
    use crate::dice::Dice;

    fn examples(stories: &[&Story]) -> Vec<String> {
        let mut sights = stories
            .iter()
            .map(|story| story.sight())
            .collect::<Vec<_>>();
        for (sight, name) in sights.iter_mut().zip(["node 1", "node 2", "node 3"]) {
            sight.reader = name;
        }
        let mut findings = Findings::default();
        check(&sights.iter().collect::<Vec<_>>(), &mut findings);
        findings
            .examples()
            .map(|(_, words)| words.clone())
            .collect()
    }

    #[test]
    fn nodes_that_hold_the_same_please() {
        let story = Story::good(9);
        assert!(examples(&[&story, &story, &story]).is_empty());
        assert!(examples(&[&story]).is_empty());
        assert!(examples(&[]).is_empty());
    }

    #[test]
    fn whatever_is_spoiled_on_one_node_is_named_with_node_and_seq() {
        let mut dice = Dice::new(11);
        for trial in 0..200 {
            let (good, mut bad) = (Story::good(20), Story::good(20));
            let place = usize::try_from(dice.below(20)).unwrap();
            let row = &mut bad.rows[place];
            match trial % 6 {
                0 => row.digest ^= 1,
                1 => row.id ^= 1,
                2 => row.index = Some(99),
                3 => row.received_at ^= 1,
                4 => row.marker = Some(77),
                _ => drop(bad.rows.remove(place)),
            }
            let found = examples(&[&good, &good, &bad]);
            let named = format!("node 3, jepsen seq {}:", place + 1);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(&named), "{found:?}, not {named}");
        }
    }

    #[test]
    fn a_row_too_many_is_named_too() {
        let found = examples(&[&Story::good(4), &Story::good(5), &Story::good(4)]);
        assert_eq!(found, ["node 2, jepsen seq 5: is there, and not at node 1"]);
    }

    #[test]
    fn digests_are_compared_at_one_index_only() {
        let state = |applied, rows: &str, log: &str| State {
            applied,
            rows_digest: rows.to_owned(),
            log_digest: log.to_owned(),
        };
        let count = |states: &[State]| {
            let mut findings = Findings::default();
            let states = (1..).zip(states.iter().cloned()).collect::<Vec<_>>();
            check_digests(&states, &mut findings);
            findings.count(Kind::Divergent)
        };
        assert_eq!(count(&[state(5, "a", "b"), state(5, "a", "b")]), 0);
        assert_eq!(count(&[state(5, "a", "b"), state(6, "x", "y")]), 0);
        assert_eq!(
            count(&[state(5, "a", "b"), state(6, "x", "y"), state(5, "x", "b")]),
            1
        );
        assert_eq!(count(&[state(5, "a", "b"), state(5, "x", "y")]), 2);
    }
}
