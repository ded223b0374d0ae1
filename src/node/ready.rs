//! Whether a load balancer may send clients here: what `/readyz` says, as it changes.
//!
//! Holds: ready means that a leader is known, that a majority answered it a moment ago, and that this
//! node had applied by then what was committed: a client sent here is served. The last word of a node
//! (draining, stopped) stays: nothing that is found out later replaces it.
//! Why it asks and does not only listen: a node that is cut off hears of no new leader, and one that
//! leads alone hears of nobody at all.

use std::mem::discriminant;
use std::time::Duration;

use storage::NodeId;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::http::Ready;
use crate::stage::Stage;

/// Between two looks in peace.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// While it is not ready: clients wait for it.
const LOOK_SOON: Duration = Duration::from_millis(100);

/// The sign at the operators' door. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Readiness {
    sign: watch::Sender<Ready>,
    /// Its end makes the word that is said then the last one.
    own: Stage,
}

impl Readiness {
    pub(super) fn new() -> (Self, watch::Receiver<Ready>) {
        let (sign, seen) = watch::channel(Ready::Starting(String::new()));
        let own = Stage::new();
        (Self { sign, own }, seen)
    }

    /// What the start waits for.
    pub(super) fn starting(&self, words: impl Into<String>) {
        self.say(Ready::Starting(words.into()));
    }

    /// Says it, unless the last word was said.
    pub(super) fn say(&self, word: Ready) {
        // Looked at under the sign's lock: `last` sets the one before it takes the other.
        self.sign.send_if_modified(|shown| {
            let is_news = !self.own.is_stopping() && *shown != word;
            if is_news {
                *shown = word;
            }
            is_news
        });
    }

    /// Says the last word.
    pub(super) fn last(&self, word: Ready) {
        self.own.token.cancel();
        self.sign.send_replace(word);
    }

    /// Waits until the node is ready, at most this long.
    pub(super) async fn wait(&self, time_max: Duration) -> bool {
        let mut shown = self.sign.subscribe();
        let ready = shown.wait_for(|shown| *shown == Ready::Yes);
        matches!(tokio::time::timeout(time_max, ready).await, Ok(Ok(_)))
    }

    /// Keeps the sign true until the last word, or until the stage stops. `patience`: a leader that
    /// says nothing for longer is none.
    pub(super) fn follow(&self, node: &raft::Node, patience: Duration, stage: &Stage) {
        let (this, node, own) = (self.clone(), node.clone(), stage.clone());
        stage.spawn(async move {
            let mut leader = node.leader();
            loop {
                leader.borrow_and_update();
                let word = tokio::select! {
                    biased;
                    () = own.stopping() => return,
                    () = this.own.stopping() => return,
                    changed = leader.changed() => {
                        if changed.is_err() { return }
                        judge(*leader.borrow(), node.contact(), patience)
                    }
                    word = look(&node, patience) => word,
                };
                let pause = if word == Ready::Yes {
                    LOOK_AGAIN
                } else {
                    LOOK_SOON
                };
                this.tell(word);
                tokio::select! {
                    biased;
                    () = own.stopping() => return,
                    () = this.own.stopping() => return,
                    changed = leader.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(pause) => {}
                }
            }
        });
    }

    fn tell(&self, word: Ready) {
        // Words may change each second; that it is not ready is told once.
        let is_news = discriminant(&*self.sign.borrow()) != discriminant(&word);
        if is_news && !self.own.is_stopping() {
            if word == Ready::Yes {
                info!("ready");
            } else {
                warn!(words = word.in_words(), "not ready");
            }
        }
        self.say(word);
    }
}

/// All that there is to find out, at once.
async fn look(node: &raft::Node, patience: Duration) -> Ready {
    if let Some(words) = refused(node) {
        return Ready::No(words);
    }
    let word = judge(*node.leader().borrow(), node.contact(), patience);
    if word != Ready::Yes {
        return word;
    }
    match tokio::time::timeout(patience, node.read_index()).await {
        Ok(Ok(_)) => Ready::Yes,
        Ok(Err(_)) | Err(_) => Ready::No(
            "no majority of the nodes answers, or this one has yet to apply what they have"
                .to_owned(),
        ),
    }
}

/// Why this node has no place in its cluster any more, if so.
fn refused(node: &raft::Node) -> Option<String> {
    let own = node.roster().into_iter().find(|seat| seat.is_self)?;
    let is_out = own.state == raft::Standing::Refused;
    is_out.then(|| format!("this node is no member any more: {}", own.words))
}

/// What can be told without asking anybody.
fn judge(leader: Option<NodeId>, contact: Option<Duration>, patience: Duration) -> Ready {
    match (leader, contact) {
        (Some(_), Some(age)) if age <= patience => Ready::Yes,
        (Some(leader), Some(age)) => Ready::No(format!(
            "no leader: node {leader} was last heard of {} s ago",
            age.as_secs()
        )),
        (None, _) | (_, None) => Ready::No("no leader".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_who_has_heard_of_a_leader_lately() {
        let patience = Duration::from_secs(3);
        let judge = |leader: Option<u32>, age_ms: Option<u64>| {
            judge(
                leader.map(NodeId),
                age_ms.map(Duration::from_millis),
                patience,
            )
        };
        assert_eq!(judge(Some(2), Some(0)), Ready::Yes);
        assert_eq!(judge(Some(2), Some(3_000)), Ready::Yes);
        let silent = judge(Some(2), Some(9_900));
        assert_eq!(
            silent.in_words(),
            "no leader: node 2 was last heard of 9 s ago"
        );
        for none in [
            judge(None, Some(0)),
            judge(None, None),
            judge(Some(2), None),
        ] {
            assert_eq!(none, Ready::No("no leader".to_owned()));
        }
    }

    #[tokio::test]
    async fn the_last_word_stays() {
        let (sign, shown) = Readiness::new();
        assert_eq!(shown.borrow().in_words(), "starting");
        sign.starting("waiting for peers");
        assert_eq!(shown.borrow().in_words(), "waiting for peers");
        assert!(!sign.wait(Duration::ZERO).await);
        sign.say(Ready::Yes);
        assert!(sign.wait(Duration::ZERO).await);
        sign.last(Ready::Draining);
        sign.say(Ready::Yes);
        sign.starting("again");
        assert_eq!(*shown.borrow(), Ready::Draining);
    }
}
