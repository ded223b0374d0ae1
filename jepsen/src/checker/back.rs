//! Back: what one node shows never goes back while it runs, and a read that asks for the newest
//! shows all that was acknowledged before it was asked.
//!
//! Why only while it runs: what a node has applied need not be on its own disk yet; after
//! `kill -9` it may come up behind, and catches up. That it does is judged by `replicas` and `lost`.

use std::collections::BTreeMap;

use crate::checker::findings::{Findings, Kind};
use crate::form::Form;

/// One answer of a node to a reader, in the order in which one reader got them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glimpse {
    /// As in words: from 1.
    pub(crate) node: usize,
    pub(crate) form: Form,
    /// Which start of it answered.
    pub(crate) boot: u32,
    /// The newest seq of the form there.
    pub(crate) head: u64,
    /// Asked for the newest: the highest seq acknowledged before it was asked.
    pub(crate) least: Option<u64>,
}

/// Answers also how often a node came up behind what it had shown before.
pub(crate) fn check(glimpses: &[Glimpse], findings: &mut Findings) -> u64 {
    let mut last = BTreeMap::<_, Glimpse>::new();
    let mut behind = 0;
    for glimpse in glimpses {
        let Glimpse {
            node,
            form,
            boot,
            head,
            ..
        } = *glimpse;
        if let Some(least) = glimpse.least.filter(|least| head < *least) {
            findings.add(Kind::Stale, || {
                let form = form.name();
                format!("node {node} {form}: the newest is {head}, and {least} was acknowledged")
            });
        }
        // Who asks for the newest may be answered by another node.
        if glimpse.least.is_some() {
            continue;
        }
        let before = last.insert((node, form), *glimpse);
        match before.filter(|before| head < before.head) {
            Some(before) if before.boot == boot => findings.add(Kind::Back, || {
                let (form, was) = (form.name(), before.head);
                format!("node {node} {form}: the newest was {was}, and then {head}")
            }),
            Some(_) => behind += 1,
            None => {}
        }
    }
    behind
}

#[cfg(test)]
mod tests {
    use super::{Glimpse, check};
    use crate::checker::findings::{Findings, Kind};
    use crate::dice::Dice;
    use crate::form::Form;

    fn rising(count: u64) -> Vec<Glimpse> {
        let glimpse = |step| Glimpse {
            node: 1 + usize::try_from(step % 3).unwrap(),
            form: if step % 2 == 0 {
                Form::Free
            } else {
                Form::StudentData
            },
            boot: 1,
            head: 10 + step * 2,
            least: None,
        };
        (0..count).map(glimpse).collect()
    }

    fn judged(glimpses: &[Glimpse]) -> (u64, u64, u64) {
        let mut findings = Findings::default();
        let behind = check(glimpses, &mut findings);
        (
            findings.count(Kind::Back),
            findings.count(Kind::Stale),
            behind,
        )
    }

    #[test]
    fn heads_that_rise_or_stay_please() {
        assert_eq!(judged(&rising(60)), (0, 0, 0));
        let still = rising(60).into_iter().map(|glimpse| Glimpse {
            head: 200,
            ..glimpse
        });
        assert_eq!(judged(&still.collect::<Vec<_>>()), (0, 0, 0));
    }

    #[test]
    fn one_step_back_anywhere_is_found_but_not_over_a_restart() {
        let mut dice = Dice::new(5);
        for _ in 0..100 {
            let mut glimpses = rising(60);
            let place = usize::try_from(12 + dice.below(48)).unwrap();
            // Below what the same node showed of that form six steps before.
            glimpses[place].head = glimpses[place - 6].head - 1;
            assert_eq!(judged(&glimpses), (1, 0, 0));
            for glimpse in &mut glimpses[place..] {
                glimpse.boot = 2;
            }
            assert_eq!(judged(&glimpses), (0, 0, 1));
        }
    }

    #[test]
    fn a_read_of_the_newest_that_lacks_an_acknowledged_one_is_stale() {
        let mut glimpses = rising(60);
        glimpses[30].least = Some(glimpses[30].head);
        assert_eq!(judged(&glimpses), (0, 0, 0));
        glimpses[30].least = Some(glimpses[30].head + 1);
        assert_eq!(judged(&glimpses), (0, 1, 0));
    }
}
