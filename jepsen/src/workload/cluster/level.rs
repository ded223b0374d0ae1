//! Level: all nodes are one cluster again, and hold the same.
//!
//! Holds: decided by what the nodes say of themselves, asked again until it fits and nothing moves
//! any more, or time is over; what does not fit then is told in words.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::checker::findings::{Findings, Kind};
use crate::client::cluster::{State, View};
use crate::process::cluster::Cluster;

/// A node may still take what a client has long given up.
const STILL: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(100);

/// Nothing may be posted meanwhile. Answers the state of each, and how long it took.
pub(super) async fn wait(
    cluster: &Cluster,
    (fault, time): (&str, Duration),
    findings: &mut Findings,
) -> (Vec<(usize, State)>, Duration) {
    let started = Instant::now();
    let mut still = None::<(Vec<(usize, State)>, Instant)>;
    loop {
        let (mut views, mut states, mut silent) = (Vec::new(), Vec::new(), Vec::new());
        for node in cluster.numbers() {
            match (cluster.view(node).await, cluster.state(node).await) {
                (Ok(view), Ok(state)) => {
                    views.push((node + 1, view));
                    states.push((node + 1, state));
                }
                (Err(error), _) | (_, Err(error)) => {
                    silent.push(format!("node {}: {error:#}", node + 1));
                }
            }
        }
        let wrong = silent.into_iter().chain(wrong(&views, &states));
        let wrong = wrong.collect::<Vec<_>>();
        if wrong.is_empty() {
            let (before, since) = still.get_or_insert_with(|| (states.clone(), Instant::now()));
            if *before != states {
                still = None;
            } else if since.elapsed() > STILL {
                return (states, since.duration_since(started));
            }
        }
        if started.elapsed() > time {
            let seconds = time.as_secs();
            findings.add(Kind::Fault, || {
                format!("{fault}: not level {seconds} s later: {}", wrong.join("; "))
            });
            return (states, started.elapsed());
        }
        sleep(LOOK).await;
    }
}

/// In words; nothing: they are level.
fn wrong(views: &[(usize, View)], states: &[(usize, State)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut differ = |what: &str, values: BTreeSet<String>| {
        if values.len() > 1 {
            wrong.push(format!("they differ in {what}: {values:?}"));
        }
    };
    let each = |of: &dyn Fn(&View) -> String| {
        let named = views.iter().map(|(_, view)| of(view));
        named.collect::<BTreeSet<_>>()
    };
    differ("cluster", each(&|view| view.cluster.clone()));
    differ("leader", each(&|view| format!("{:?}", view.leader)));
    let applied = states.iter().map(|(_, state)| state.applied.to_string());
    differ("the index applied", applied.collect());
    for (node, view) in views {
        if view.leader.is_none() {
            wrong.push(format!("node {node} knows no leader"));
        }
        if view.voters.voters != views.len() {
            wrong.push(format!("node {node} counts {} voters", view.voters.voters));
        }
        for member in view.members.iter().filter(|member| member.state != "ok") {
            let (other, state, words) = (member.node, &member.state, &member.words);
            wrong.push(format!(
                "node {node} says of member {other}: {state} ({words})"
            ));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::wrong;
    use crate::client::cluster::{Member, State, View, Voters};

    type Said<T> = Vec<(usize, T)>;

    fn cluster() -> (Said<View>, Said<State>) {
        let view = |node| View {
            cluster: "c".to_owned(),
            node,
            role: "follower".to_owned(),
            leader: Some(1),
            voters: Voters { voters: 3 },
            members: vec![Member {
                node: 1,
                state: "ok".to_owned(),
                words: String::new(),
            }],
        };
        let state = State {
            applied: 9,
            rows_digest: "r".to_owned(),
            log_digest: "l".to_owned(),
        };
        let views = (1..).zip((1..=3).map(view)).collect();
        (views, (1..=3).map(|node| (node, state.clone())).collect())
    }

    type Spoil = fn(&mut View, &mut State);

    #[test]
    fn what_is_not_level_is_named() {
        let (views, states) = cluster();
        assert_eq!(wrong(&views, &states), [""; 0]);
        let spoils: [(Spoil, &str); 6] = [
            (|view, _| view.cluster.push('x'), "cluster"),
            (|view, _| view.leader = Some(2), "leader"),
            (|view, _| view.leader = None, "no leader"),
            (|view, _| view.voters.voters = 2, "2 voters"),
            (
                |view, _| view.members[0].state = "damaged".to_owned(),
                "damaged",
            ),
            (|_, state| state.applied = 8, "applied"),
        ];
        for (spoil, words) in spoils {
            let (mut views, mut states) = cluster();
            spoil(&mut views[2].1, &mut states[2].1);
            let found = wrong(&views, &states).join("; ");
            assert!(found.contains(words), "{found}");
        }
    }
}
