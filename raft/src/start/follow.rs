//! What openraft shows of itself, told on.

use openraft::ServerState;
use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::metrics::{RaftMetrics, RaftServerMetrics};
use storage::{NodeId, Term};
use tokio::sync::watch;

use crate::halt::Halt;
use crate::metrics::Metrics;
use crate::rounds::Rounds;
use crate::types::{self, Types};

/// Turns what openraft shows into what this room promises to tell.
pub(super) struct Follow {
    pub(super) me: NodeId,
    pub(super) rounds: Rounds,
    pub(super) publish: watch::Sender<Option<Term>>,
    pub(super) publish_leader: watch::Sender<Option<NodeId>>,
    pub(super) halt: Halt,
    pub(super) metrics: Metrics,
}

impl Follow {
    /// Until raft's task ends.
    pub(super) async fn run(
        self,
        mut server: WatchReceiverOf<Types, RaftServerMetrics<Types>>,
        all: WatchReceiverOf<Types, RaftMetrics<Types>>,
    ) {
        loop {
            let (term, leads, leader) = {
                let now = server.borrow_watched();
                (
                    Term(now.vote.leader_id.term),
                    now.state == ServerState::Leader,
                    now.current_leader.map(types::node_in),
                )
            };
            // After a restart openraft names this node, by its last vote, before it leads again.
            let leader = leader.filter(|leader| leads || *leader != self.me);
            self.metrics.leads(term, leads);
            self.tell(leads.then_some(term), leader);
            if server.changed().await.is_err() {
                break;
            }
        }
        self.tell(None, None);
        match &all.borrow_watched().running_state {
            Err(Fatal::Stopped) => {}
            Err(fatal) => self.halt.set(&format!("raft stopped: {fatal}")),
            // It ended without a word.
            Ok(()) => self.halt.set("raft panicked"),
        }
    }

    fn tell(&self, leads: Option<Term>, leader: Option<NodeId>) {
        let is_other = self
            .publish_leader
            .send_if_modified(|before| std::mem::replace(before, leader) != leader);
        if is_other {
            self.rounds.give_up_forwarded();
        }
        self.publish
            .send_if_modified(|before| std::mem::replace(before, leads) != leads);
    }
}
