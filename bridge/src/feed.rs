//! The queue, as this room sees it.
//!
//! Holds: a feed shows only what is committed and applied, in the order of positions, without
//! holes; a record that it has shown never changes. It is implemented over the log by the node,
//! and over a vector by the tests.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::error::FeedError;
use crate::record::{Lane, Parked, Position, Record};

/// How much one read may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// At most this many records.
    pub count_max: usize,
    /// At most this many bytes of bodies; one record comes even if it alone is larger.
    pub bytes_max: usize,
}

/// What a lane has not delivered yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// How many records stand after the cursor.
    pub records: u64,
    /// The form's last seq: the cursor, as a person reads it, is this less `records`.
    pub head_seq: u64,
    /// Their bytes, where the feed can tell without reading them all; of many it may be what lies
    /// there with them, too, never less than they have.
    pub bytes: Option<u64>,
    /// When the first of them was accepted, milliseconds since 1970 UTC; `None` if there is none.
    pub oldest_received_at_ms: Option<u64>,
}

/// Where the log says that a lane stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Where the task's present life begins: everything after it is to be delivered.
    pub start: Position,
    /// The replicated cursor: everything up to here, inclusive, is delivered, parked, or lies before
    /// the start.
    pub position: Position,
    /// A send was begun that would move the cursor here, and its end was never heard of.
    pub sending: Option<Position>,
}

/// A record that its successors must not pass, where a task keeps the order of each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its form.
    pub form: Arc<str>,
    /// Its number.
    pub seq: u64,
    /// Where it is delivered again; `None`: it is parked.
    pub until: Option<Position>,
}

/// The queue: read after a cursor, move it, park, and know who may act.
///
/// Every future may be dropped at any await without harm. None may block a tokio worker.
pub trait Feed: Send + Sync + 'static {
    /// The records of the lane after `after`, exclusive, in the order of positions. Empty means that
    /// there is none yet. A parked record that is to be delivered again comes at the position of the
    /// entry that says so, with `is_replay`; so is one that an earlier life has delivered.
    fn read<'a>(
        &'a self,
        lane: &'a Lane,
        after: Position,
        limit: Limit,
    ) -> BoxFuture<'a, Result<Vec<Record>, FeedError>>;

    /// Resolves when the lane may hold a record after `after`: at once if it does now. May
    /// resolve for nothing, but hundreds of idle lanes stand here at once, so it should look at
    /// the lane's own heads before it wakes a lane.
    fn wait<'a>(&'a self, lane: &'a Lane, after: Position) -> BoxFuture<'a, ()>;

    /// Records of entries up to this one may be gone from the queue: they are committed for ever, and
    /// were let go once whoever had to had delivered them.
    fn forgotten_upto(&self) -> Result<u64, FeedError>;

    /// The last entry that is applied here. While the lease is held, nothing is committed beyond it
    /// that an earlier leader could have delivered.
    fn applied_upto(&self) -> u64;

    /// Where the lane stands. For a sink that is local (its own cursor alone counts) the replicated
    /// cursor is always the task's start.
    fn standing<'a>(&'a self, lane: &'a Lane) -> BoxFuture<'a, Result<Standing, FeedError>>;

    /// What stands after `after`. Asked for when somebody looks, not in the pump's way.
    fn behind<'a>(
        &'a self,
        lane: &'a Lane,
        after: Position,
    ) -> BoxFuture<'a, Result<Behind, FeedError>>;

    /// Moves the replicated cursor from `from` to `to`. When it returns `Ok`, the move is
    /// committed and applied. `Fenced` if the task's life is another one by now. Never called for
    /// a local sink.
    fn advance<'a>(
        &'a self,
        lane: &'a Lane,
        incarnation: u64,
        from: Position,
        to: Position,
    ) -> BoxFuture<'a, Result<(), FeedError>>;

    /// Notes that a send is about to begin that moves the cursor from `from` to `to` if it arrives.
    /// When it returns `Ok`, that is committed and applied; the `advance` that follows clears it.
    fn send_started<'a>(
        &'a self,
        lane: &'a Lane,
        incarnation: u64,
        from: Position,
        to: Position,
    ) -> BoxFuture<'a, Result<(), FeedError>>;

    /// Sets a record aside. When it returns `Ok`, it is committed and applied; parking the same
    /// position twice counts once.
    fn park<'a>(
        &'a self,
        lane: &'a Lane,
        incarnation: u64,
        parked: Parked,
    ) -> BoxFuture<'a, Result<(), FeedError>>;

    /// What of the lane the life `incarnation` has parked after `after`, up to `upto`: a cursor passes it
    /// without its being sent, also where the one that parked it got no further.
    fn parked_within(
        &self,
        lane: &Lane,
        incarnation: u64,
        after: Position,
        upto: Position,
    ) -> Result<Vec<Position>, FeedError>;

    /// What of the lane the life `incarnation` has parked, the first one of each form; and what comes
    /// again behind `after`.
    fn held(&self, lane: &Lane, incarnation: u64, after: Position) -> Result<Vec<Held>, FeedError>;

    /// The form's fields in the order of its present definition: the columns of a sheet. Cheap:
    /// asked for once a batch.
    fn fields(&self, form: &str) -> Arc<[String]>;

    /// `Some(term)` while this node may act for the cluster: it leads, and has applied an entry of
    /// its own term, so all that earlier leaders committed. A sink that is not local is opened
    /// only under a lease, and opened again when the term changes.
    fn lease(&self) -> watch::Receiver<Option<u64>>;
}
