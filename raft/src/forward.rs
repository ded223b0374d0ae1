//! Commands of a node that does not lead, on their way to the one that does.
//!
//! Holds: commands of one node reach the leader in the order in which they were submitted, over one
//! connection; one that was sent and not answered is *unknown*, one that could not be sent is in no
//! log. A command is forwarded once: whoever gets it and does not lead says so.

use std::time::Duration;

use bytes::Bytes;
use storage::NodeId;
use tokio::sync::oneshot;

use crate::error::Error;
use crate::node::Node;
use crate::peer::hello::Lane;
use crate::peer::link::LinkError;
use crate::peer::wire::{Proposed, Reply, Request};
use crate::pending::{Applied, Pending};

/// A leader that is reached at all is reached in this time.
const DIAL_MAX: Duration = Duration::from_secs(1);
/// An answer to a talk that costs no wait.
const ANSWER_MAX: Duration = Duration::from_secs(3);

impl Node {
    /// Sends a command to the leader.
    pub(crate) async fn forward(&self, leader: NodeId, command: Bytes) -> Result<Pending, Error> {
        let nobody = || Error::NotLeader {
            leader: Some(leader),
        };
        let address = self.members().get(&leader).cloned().ok_or_else(nobody)?;
        let link = self.inner.rounds.link(leader, &address, Lane::Forward);
        let line = link.line(DIAL_MAX).await.map_err(|_| nobody())?;
        let answer = line.send(&Request::Propose(command)).await;
        let answer = answer.map_err(|_| nobody())?;
        Ok(Pending::remote(self.inner.metrics.clone(), answer, line))
    }

    /// Proposes what a peer has sent, if this node leads.
    pub(crate) async fn propose_for_peer(&self, command: Bytes) -> Proposed {
        let pending = match self.submit_here(command).await {
            Ok(pending) => pending,
            Err(error) => return proposed(Err(error)),
        };
        proposed(pending.await)
    }

    /// Asks the leader for something that only it can do.
    pub(crate) async fn ask_leader(
        &self,
        request: Request,
        limit: Duration,
    ) -> Result<Reply, Error> {
        let leader = *self.inner.leader.borrow();
        let nobody = || Error::NotLeader { leader };
        let leader = leader.ok_or_else(nobody)?;
        if leader == self.inner.identity.node {
            return Ok(self.serve_peer(request).await);
        }
        let address = self.members().get(&leader).cloned().ok_or_else(nobody)?;
        let link = self.inner.rounds.link(leader, &address, Lane::Talk);
        match link.call(&request, limit.max(ANSWER_MAX)).await {
            Ok(reply) => Ok(reply),
            Err(LinkError::Unreachable(_) | LinkError::Refused(_)) => Err(nobody()),
            Err(LinkError::Lost(_)) => Err(Error::Unknown),
        }
    }
}

fn proposed(result: Result<Applied, Error>) -> Proposed {
    match result {
        Ok(applied) => Proposed::Applied(applied.log_id, applied.outcome),
        Err(Error::NotLeader { leader }) => Proposed::NotLeader(leader),
        Err(Error::Stopping | Error::Fatal { .. }) => Proposed::Stopping,
        Err(
            Error::Unknown
            | Error::Config { .. }
            | Error::Identity { .. }
            | Error::Cluster { .. }
            | Error::Start { .. }
            | Error::Io { .. }
            | Error::Storage(_),
        ) => Proposed::Unknown,
    }
}

/// What a leader's answer means for whoever forwarded; `None`: it was lost.
pub(crate) fn outcome_of(reply: Option<Reply>) -> Result<Applied, Error> {
    match reply {
        Some(Reply::Proposed(Proposed::Applied(log_id, outcome))) => {
            Ok(Applied { log_id, outcome })
        }
        Some(Reply::Proposed(Proposed::NotLeader(leader))) => Err(Error::NotLeader { leader }),
        Some(Reply::Proposed(Proposed::Stopping)) => Err(Error::NotLeader { leader: None }),
        _ => Err(Error::Unknown),
    }
}

/// Where the leader's answer to a forwarded command comes in.
pub(crate) type Forwarded = oneshot::Receiver<Reply>;
