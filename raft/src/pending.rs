//! A command between its proposal and its outcome.
//!
//! Holds: a [`Pending`] always ends, since whoever holds its other end either answers or is dropped.
//! Only [`Error::NotLeader`] says that the command is in no log; openraft's "discarded" and a lost
//! answer both leave it unknown, because another leader may have committed it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use storage::{LogId, Outcome};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::error::Error;
use crate::forward::{self, Forwarded};
use crate::metrics::Metrics;
use crate::peer::link::Line;
use crate::types::{self, Answer, Types};

/// A command that a majority has and that is applied here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The entry that carries it.
    pub log_id: LogId,
    /// What it did.
    pub outcome: Outcome,
}

/// A command that is queued. Dropping this does not take the command back.
#[derive(Debug)]
#[must_use = "a command whose outcome nobody hears may as well have failed"]
pub struct Pending {
    answer: Source,
    since: Instant,
    metrics: Metrics,
}

/// Where its outcome comes from.
#[derive(Debug)]
enum Source {
    /// openraft, here.
    Local(oneshot::Receiver<ClientWriteResult<Types>>),
    /// The leader.
    Remote {
        answer: Forwarded,
        line: Line,
        /// Nothing is heard of a connection that a partition has cut: then it is given up.
        limit: Pin<Box<Sleep>>,
    },
}

/// A leader that leads answers sooner, or has lost its majority.
const ANSWER_MAX: Duration = Duration::from_secs(5);

impl Pending {
    /// A command that the leader was sent.
    pub(crate) fn remote(metrics: Metrics, answer: Forwarded, line: Line) -> Self {
        Self {
            answer: Source::Remote {
                answer,
                line,
                limit: Box::pin(tokio::time::sleep(ANSWER_MAX)),
            },
            since: Instant::now(),
            metrics,
        }
    }

    /// And where openraft puts the answer.
    pub(crate) fn new(metrics: Metrics) -> (Self, Answer<ClientWriteResult<Types>>) {
        let (sender, answer) = Answer::new();
        (
            Self {
                answer: Source::Local(answer),
                since: Instant::now(),
                metrics,
            },
            sender,
        )
    }
}

impl Future for Pending {
    type Output = Result<Applied, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match &mut self.answer {
            Source::Local(answer) => outcome_of(ready!(Pin::new(answer).poll(context)).ok()),
            Source::Remote {
                answer,
                line,
                limit,
            } => match Pin::new(answer).poll(context) {
                Poll::Ready(reply) => forward::outcome_of(reply.ok()),
                Poll::Pending => {
                    ready!(limit.as_mut().poll(context));
                    line.hang_up();
                    Err(Error::Unknown)
                }
            },
        };
        self.metrics.proposed(self.since.elapsed());
        if matches!(result, Err(Error::Unknown)) {
            self.metrics.unknown();
        }
        Poll::Ready(result)
    }
}

/// `None`: the answer was lost.
fn outcome_of(answer: Option<ClientWriteResult<Types>>) -> Result<Applied, Error> {
    match answer {
        Some(Ok(written)) => Ok(Applied {
            log_id: types::log_id_in(written.log_id),
            outcome: written.data,
        }),
        Some(Err(ClientWriteError::ForwardToLeader(to))) => Err(Error::NotLeader {
            leader: to.leader_id.map(types::node_in),
        }),
        Some(Err(ClientWriteError::LogEntryDiscarded(_))) | None => Err(Error::Unknown),
        Some(Err(
            ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_),
        )) => unreachable!("a command changes no member and has no precondition"),
    }
}

#[cfg(test)]
mod tests {
    use openraft::errors::ForwardToLeader;

    use super::*;

    #[test]
    fn only_a_real_forward_says_that_the_command_is_in_no_log() {
        let to = ForwardToLeader::<Types>::new(2, types::Peer::default());
        let forward = outcome_of(Some(Err(ClientWriteError::ForwardToLeader(to.clone()))));
        assert!(matches!(
            forward,
            Err(Error::NotLeader {
                leader: Some(storage::NodeId(2))
            })
        ));
        let discarded = outcome_of(Some(Err(ClientWriteError::LogEntryDiscarded(to))));
        assert!(matches!(discarded, Err(Error::Unknown)));
        assert!(matches!(outcome_of(None), Err(Error::Unknown)));
    }

    #[tokio::test]
    async fn an_answer_dropped_unsent_leaves_the_outcome_unknown() {
        let (pending, answer) = Pending::new(Metrics::default());
        drop(answer);
        assert!(matches!(pending.await, Err(Error::Unknown)));
    }
}
