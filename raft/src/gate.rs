//! Which life of which member may be sent entries.
//!
//! Holds:
//! - Nothing is sent on a connection before its other end was asked how its log ends, after the
//!   connection was begun: so what was heard is of the life that listens there, or of a later one that
//!   the connection does not survive. openraft takes for granted that a log never gets shorter; one that
//!   did must be let back by hand, or kept out.
//! - What an earlier life acknowledged is not believed once a later one was let in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use storage::NodeId;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::peer::link::Line;

/// A life is judged within one question and its answer.
const JUDGED_MAX: Duration = Duration::from_secs(1);

/// What is known of each. A clone is the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    lives: Arc<Mutex<BTreeMap<NodeId, Life>>>,
    /// Somebody waits for a life to be judged.
    pub(crate) asked: Arc<Notify>,
    /// One was.
    judged: Arc<Notify>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Life {
    boot: u64,
    /// When it was asked what it was judged by.
    asked: Instant,
    /// Why it is kept out.
    why_not: Option<String>,
}

/// What the gate says about a connection.
enum Pass {
    Open,
    Shut(String),
    NotYet,
}

impl Gate {
    /// From here on this life of `node` is let through, or kept out.
    pub(crate) fn judge(&self, node: NodeId, boot: u64, asked: Instant, why_not: Option<String>) {
        let life = Life {
            boot,
            asked,
            why_not,
        };
        self.lives().insert(node, life);
        self.judged.notify_waiters();
    }

    /// Whether this life was judged.
    pub(crate) fn knows(&self, node: NodeId, boot: u64) -> bool {
        self.lives()
            .get(&node)
            .is_some_and(|life| life.boot == boot)
    }

    /// Why `node` is kept out, if it is.
    pub(crate) fn why_not(&self, node: NodeId) -> Option<String> {
        self.lives()
            .get(&node)
            .and_then(|life| life.why_not.clone())
    }

    /// Whoever is no member any more is forgotten.
    pub(crate) fn keep_only(&self, is_member: impl Fn(NodeId) -> bool) {
        self.lives().retain(|node, _| is_member(*node));
    }

    /// Waits until it is known whether the other end of `line` may be sent entries.
    pub(crate) async fn pass(&self, node: NodeId, line: &Line) -> Result<(), String> {
        let judged = async {
            let mut has_asked = false;
            loop {
                let mut judged = std::pin::pin!(self.judged.notified());
                judged.as_mut().enable();
                match self.look(node, line) {
                    Pass::Open => return Ok(()),
                    Pass::Shut(why) => return Err(why),
                    Pass::NotYet if !has_asked => self.asked.notify_one(),
                    Pass::NotYet => {}
                }
                has_asked = true;
                judged.await;
            }
        };
        let not_yet = || "was started anew and has not said yet how its log ends".to_owned();
        let judged = tokio::time::timeout(JUDGED_MAX, judged).await;
        judged.unwrap_or_else(|_| Err(not_yet()))
    }

    fn look(&self, node: NodeId, line: &Line) -> Pass {
        let lives = self.lives();
        let life = lives.get(&node);
        match life.filter(|life| life.boot == line.boot() && line.dialed() <= life.asked) {
            Some(Life { why_not: None, .. }) => Pass::Open,
            Some(Life {
                why_not: Some(why), ..
            }) => Pass::Shut(why.clone()),
            None => Pass::NotYet,
        }
    }

    /// Whether what comes on `line` is still worth anything.
    pub(crate) fn is_open(&self, node: NodeId, line: &Line) -> bool {
        matches!(self.look(node, line), Pass::Open)
    }

    fn lives(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Life>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
