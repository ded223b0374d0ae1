//! Equal logs make equal states: digests of the same entry are compared, and who differs is named.
//!
//! Holds: only digests of one index are compared. Of three or more the minority is wrong, and stops;
//! where there is no majority, nobody stops and everybody says so.

use std::collections::BTreeMap;

use storage::{Index, NodeId};

use crate::peer::wire::Facts;

/// What a comparison came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All that can be compared is equal.
    Equal,
    /// This node is the one that is wrong, in words.
    Minority(String),
    /// Others differ from this node, and this node is not the minority.
    Suspects(BTreeMap<NodeId, Index>),
}

/// Compares the digests of all, at the newest index that most of them have.
pub(crate) fn verdict(me: NodeId, all: &[Facts]) -> Verdict {
    type Digest = ([u8; 16], u128);
    let mut at: BTreeMap<Index, BTreeMap<NodeId, Digest>> = BTreeMap::new();
    for facts in all {
        for (index, log, rows) in &facts.digests {
            if let Some(node) = facts.node {
                at.entry(*index).or_default().insert(node, (*log, *rows));
            }
        }
    }
    let most = at.values().map(BTreeMap::len).max().unwrap_or(0);
    let newest = at.iter().rev().find(|(_, reports)| reports.len() == most);
    let Some((index, reports)) = newest.filter(|_| 2 <= most) else {
        return Verdict::Equal;
    };
    let Some(mine) = reports.get(&me) else {
        return Verdict::Equal;
    };
    let agree = reports.values().filter(|digest| *digest == mine).count();
    let others = reports.iter().filter(|(_, digest)| *digest != mine);
    let others: BTreeMap<_, _> = others.map(|(node, _)| (*node, *index)).collect();
    if others.is_empty() {
        return Verdict::Equal;
    }
    // The others must agree among themselves: three that all differ tell nothing.
    let rival = others.keys().filter_map(|node| reports.get(node));
    let mut votes: BTreeMap<Digest, usize> = BTreeMap::new();
    for digest in rival {
        *votes.entry(*digest).or_default() += 1;
    }
    let strongest = votes.values().max().copied().unwrap_or(0);
    if 3 <= reports.len() && agree < strongest && reports.len() < 2 * strongest {
        let names: Vec<_> = others.keys().map(ToString::to_string).collect();
        return Verdict::Minority(format!(
            "the state of this node differs from that of nodes {} after entry {index}: its files were changed or \
             its memory failed; move its `state` directory away, and it is built anew",
            names.join(" and ")
        ));
    }
    Verdict::Suspects(others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts;

    fn facts(node: u32, digests: &[(u64, u8)]) -> Facts {
        Facts {
            node: Some(NodeId(node)),
            digests: digests
                .iter()
                .map(|(index, digest)| (Index(*index), [*digest; 16], 0))
                .collect(),
            ..facts::still(String::new(), None, None)
        }
    }

    #[test]
    fn only_equal_indexes_are_compared_and_the_minority_stops() {
        let one = facts(1, &[(1024, 7), (2048, 8)]);
        let two = facts(2, &[(2048, 8), (3072, 9)]);
        let far = facts(3, &[(1024, 7)]);
        assert_eq!(
            verdict(NodeId(1), &[one.clone(), two.clone(), far]),
            Verdict::Equal
        );
        let wrong = facts(3, &[(2048, 1)]);
        let all = [one, two, wrong];
        let Verdict::Minority(why) = verdict(NodeId(3), &all) else {
            panic!("the third is alone");
        };
        assert!(why.contains("nodes 1 and 2 after entry 2048"), "{why}");
        let suspects = BTreeMap::from([(NodeId(3), Index(2048))]);
        assert_eq!(verdict(NodeId(1), &all), Verdict::Suspects(suspects));
    }

    #[test]
    fn a_tie_and_three_that_all_differ_stop_nobody() {
        let pair = [facts(1, &[(1024, 1)]), facts(2, &[(1024, 2)])];
        assert!(matches!(verdict(NodeId(1), &pair), Verdict::Suspects(_)));
        assert!(matches!(verdict(NodeId(2), &pair), Verdict::Suspects(_)));
        let three = [pair[0].clone(), pair[1].clone(), facts(3, &[(1024, 3)])];
        for node in 1..=3 {
            assert!(matches!(
                verdict(NodeId(node), &three),
                Verdict::Suspects(_)
            ));
        }
    }
}
