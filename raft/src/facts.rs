//! How this node stands, as it tells the others.
//!
//! Holds: what is read here is a moment old when it arrives, and is only ever an upper or lower bound
//! of what is: a log's end may have grown, a commit may be further on.

use std::sync::atomic::Ordering;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use storage::{Disk, Health, Index, LEVEL_MAX, Wal};

use crate::codec;
use crate::identity::Identity;
use crate::node::Node;
use crate::peer::wire::Facts;
use crate::rounds::{self, SILENCE};
use crate::types;

/// So many of the newest digests are told: nodes that are further apart are compared once they are
/// closer.
const DIGESTS_MAX: usize = 8;

/// Before raft runs.
pub(crate) fn still(address: String, identity: Option<&Identity>, wal: Option<&Wal>) -> Facts {
    let (vote, last) = wal.map_or((None, None), |wal| (wal.vote(), wal.last()));
    Facts {
        address,
        node: identity.map(|identity| identity.node),
        cluster: identity.map(|identity| identity.cluster.0),
        boot: identity.map_or(0, |identity| identity.boot),
        is_pristine: vote.is_none()
            && last.is_none()
            && identity.is_none_or(|identity| identity.is_provisional),
        is_running: false,
        vote: vote.map(Into::into),
        leader: None,
        last,
        committed: None,
        applied: Index(0),
        members: Vec::new(),
        members_at: Index(0),
        floor: wal.and_then(Wal::floor).map(Into::into),
        holes: wal.map_or(0, Wal::holes),
        wal: wal.map_or([0; 16], Wal::uuid),
        free_bytes: 0,
        is_full: false,
        is_sick: false,
        lacks: None,
        digests: Vec::new(),
        level_max: LEVEL_MAX,
        delivered: Index(0),
        acked: Vec::new(),
    }
}

/// While raft runs.
pub(crate) fn of(node: &Node) -> Facts {
    let inner = &*node.inner;
    let metrics = inner.raft.metrics().borrow_watched().clone();
    let still = still(
        inner.address.clone(),
        Some(&inner.identity),
        Some(&inner.wal),
    );
    let membership = metrics.membership_config.membership();
    let address_of = |node| {
        let peer = membership.get_node(&node);
        peer.map_or_else(String::new, |peer| peer.address.clone())
    };
    // After a restart openraft still names the leader of the last vote: only one that was heard counts.
    let leader = metrics.current_leader.filter(|leader| {
        if types::node_in(*leader) == inner.identity.node {
            metrics.state == ServerState::Leader
        } else {
            inner
                .desk
                .heard(types::node_in(*leader))
                .is_some_and(|ago| ago < SILENCE)
        }
    });
    let ring = inner.view.digest_ring().unwrap_or_default();
    let skipped = ring.len().saturating_sub(DIGESTS_MAX);
    Facts {
        is_pristine: still.is_pristine,
        is_running: true,
        leader: leader.map(|leader| (types::node_in(leader), address_of(leader))),
        committed: metrics.local_committed.map(types::log_id_in),
        applied: *inner.applied.borrow(),
        members: codec::members(membership),
        members_at: metrics
            .membership_config
            .log_id()
            .map_or(Index(0), |id| types::index_in(id.index)),
        free_bytes: free_bytes(&*inner.disk, node),
        is_full: matches!(inner.wal.health(), Health::Full(_)),
        is_sick: inner.pulse.is_sick(),
        lacks: inner.lacks(),
        delivered: Index(inner.delivered.load(Ordering::Relaxed)),
        digests: ring
            .into_iter()
            .skip(skipped)
            .map(|one| (one.index, one.log, one.rows))
            .collect(),
        acked: rounds::acked(&metrics).into_iter().collect(),
        ..still
    }
}

/// Where the leader is, by those of them who follow it or are it, in the newest term.
pub(crate) fn leader<'a>(all: impl Iterator<Item = &'a Facts>) -> Option<String> {
    let named = all.filter(|facts| facts.is_running).filter_map(|facts| {
        let vote = storage::Vote::from(facts.vote?);
        Some((vote.term, facts.leader.clone()?))
    });
    let newest = named.max_by_key(|(term, _)| *term);
    newest.map(|(_, (_, address))| address)
}

/// A volume that does not tell is taken for a full one nowhere: only `is_full` decides.
fn free_bytes(disk: &dyn Disk, node: &Node) -> u64 {
    disk.free_bytes(&node.inner.data_dir).unwrap_or(0)
}
