//! The one loop: read after the cursor, deliver, move the cursor. `turn.rs` has one round of it.
//!
//! Holds:
//! - the only place that moves a cursor, and it does so after the destination has said `Taken`, or
//!   after the feed has said that the record is parked;
//! - a delivery under way is never dropped: orders and the end of the node are looked at between
//!   turns;
//! - a lane holds records only during a turn, under one of its kind's permits, so memory is bounded
//!   by the kind and not by the number of lanes. Waiting, for records or after a failure, holds
//!   none.

mod turn;

use std::ops::ControlFlow;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::turn::Answers;
use crate::bridge::NowMs;
use crate::config::Config;
use crate::error::{FeedError, Trouble};
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::record::{Parked, Position, Record};
use crate::retry::{Backoff, Circuit, Pass, opens_circuit};
use crate::sink::{Batch, Leave, OnPoison, Sink};
use crate::sinks::{Life, SinkKind};
use crate::status::{Cell, LaneState};

/// What a person, or a new definition, wants of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Run,
    Pause,
    /// End after the batch in hand.
    Drop,
}

/// What all lanes share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) feed: Arc<dyn Feed>,
    pub(crate) metrics: Metrics,
    pub(crate) now_ms: NowMs,
    pub(crate) config: Config,
    pub(crate) token: CancellationToken,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What a lane meets from outside.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) on_poison: OnPoison,
    pub(crate) circuit: Arc<Circuit>,
    pub(crate) backoff: Backoff,
    pub(crate) orders: watch::Sender<Order>,
    pub(crate) cell: Arc<Cell>,
}

/// One lane's loop.
pub(crate) struct Pump {
    shared: Shared,
    life: Life,
    kind: SinkKind,
    sink: Box<dyn Sink>,
    outside: Outside,
    /// Listens to `outside.orders`, whose sender the pump holds too: the bridge's handle may go.
    orders: watch::Receiver<Order>,
    /// `None` until the sink has opened.
    at: Option<At>,
    /// The leader's term under which the sink was opened; unused for a local one.
    term: Option<u64>,
    answers: Answers,
    /// What was read while the last batch was on its way.
    ahead: Option<Ahead>,
    /// Refused, passed, and not set aside yet: only a mutant has any.
    late: Vec<Parked>,
    /// Under which the sink was opened: its first batch goes under both. A lane that has leave never
    /// waits for the circuit: the one that looks may wait for that leave.
    leave: Option<(Leave, Pass)>,
    /// When the node's end was first seen.
    drain_ends_at: Option<Instant>,
}

/// Records in order, and whether a whole batch's worth was there.
type Read = (Vec<Record>, bool);

/// The next batch, read before the last one had arrived.
struct Ahead {
    after: Position,
    read: Read,
    /// The batch that arrived meanwhile. Letting go of 50,000 records takes milliseconds: that is done
    /// while these are on their way, and before more are read.
    spent: Arc<Batch>,
}

/// Where a lane stands.
#[derive(Clone, Copy, Debug)]
struct At {
    /// Everything up to here is at the destination or parked.
    delivered: Position,
    /// The replicated cursor, which follows; unused for a local sink.
    replicated: Position,
}

/// What a turn came to.
enum Turn {
    /// The sink is open.
    Opened,
    /// Delivered; a whole batch waits behind it.
    Full,
    /// Delivered, and nothing more was there.
    Delivered,
    /// Nothing was there.
    Idle,
    /// Not now.
    Again(Trouble),
    /// A person must act.
    Stop(String),
    /// The task has begun another life, or is deleted: this lane is dropped in a moment.
    Over,
}

impl Pump {
    pub(crate) fn new(
        shared: Shared,
        life: Life,
        (kind, sink): (SinkKind, Box<dyn Sink>),
        outside: Outside,
    ) -> Self {
        Self {
            shared,
            life,
            kind,
            sink,
            orders: outside.orders.subscribe(),
            outside,
            at: None,
            term: None,
            answers: Answers::default(),
            ahead: None,
            late: Vec::new(),
            leave: None,
            drain_ends_at: None,
        }
    }

    /// Runs until the lane is dropped, or until the node ends and what was there is delivered.
    pub(crate) async fn run(mut self) {
        while self.may_go().await.is_continue() {
            let began = Instant::now();
            if let Some(turn) = self.turn().await
                && self.rest(turn, began).await.is_break()
            {
                break;
            }
        }
        let left = self.outside.cell.get();
        tracing::debug!(lane = %self.life.lane, position = ?left.position, "lane ended");
    }

    /// Waits out a pause and the lack of a lease. Breaks when the lane is to end.
    async fn may_go(&mut self) -> ControlFlow<()> {
        let mut lease = self.shared.feed.lease();
        loop {
            let order = *self.orders.borrow_and_update();
            if order == Order::Drop {
                return ControlFlow::Break(());
            }
            if self.shared.token.is_cancelled() {
                let end = Instant::now() + self.shared.config.drain();
                if order == Order::Pause || Instant::now() >= *self.drain_ends_at.get_or_insert(end)
                {
                    return ControlFlow::Break(());
                }
            }
            let term = *lease.borrow_and_update();
            if order == Order::Run && (self.sink.is_local() || term.is_some()) {
                if !self.sink.is_local() && self.term != term {
                    self.term = term;
                    self.at = None;
                    self.ahead = None;
                }
                return ControlFlow::Continue(());
            }
            if self.drain_ends_at.is_some() {
                return ControlFlow::Break(());
            }
            self.close();
            self.outside.cell.set_state(match order {
                Order::Pause => LaneState::Paused,
                Order::Run | Order::Drop => LaneState::Standby,
            });
            let waiting = async { drop(lease.changed().await) };
            signals(&mut self.orders, &self.shared.token, waiting).await;
        }
    }

    /// Lets go of a destination that others may write from now on.
    fn close(&mut self) {
        self.leave = None;
        if !self.sink.is_local() && self.at.take().is_some() {
            self.ahead = None;
            // Another node may move it from now on: here only the log's cursor is known.
            self.outside.cell.forget_position();
            self.sink.close();
        }
    }

    /// One batch, from read to cursor, under a permit. `None` if something else is to be looked at
    /// first.
    async fn turn(&mut self) -> Option<Turn> {
        let circuit = Arc::clone(&self.outside.circuit);
        let turns = Arc::clone(&self.kind.turns);
        let (sink, kept) = (&mut self.sink, &mut self.leave);
        let ready = async {
            let (leave, pass) = if let Some(kept) = kept.take() {
                kept
            } else {
                let pass = circuit.pass().await;
                (sink.leave().await, pass)
            };
            // Nobody closes the semaphore, and without a permit a turn would still be correct.
            (pass, leave, turns.acquire_owned().await.ok())
        };
        let end = self.drain_ends_at;
        let patience = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => self.shared.token.cancelled().await,
            }
        };
        let (pass, leave, permit) = tokio::select! {
            biased;
            _ = self.orders.changed() => return None,
            ready = ready => ready,
            () = patience => return None,
        };
        // It may have changed hands, and come back, while this lane waited for leave.
        if !self.sink.is_local() && *self.shared.feed.lease().borrow() != self.term {
            return None;
        }
        let turn = match self.at {
            Some(at) => self.deliver_after(at).await,
            None => self.open().await,
        };
        self.tell(&turn);
        drop(permit);
        if matches!(turn, Turn::Opened) {
            self.leave = Some((leave, pass));
        } else {
            // The pass goes last: a probe has spoken for its destination before another may try.
            drop((leave, pass));
        }
        Some(turn)
    }

    /// Tells the status and the circuit what the turn came to.
    fn tell(&mut self, turn: &Turn) {
        let cell = &self.outside.cell;
        match turn {
            // Says nothing yet about deliveries: a disk that is full opens well.
            Turn::Opened => {}
            Turn::Full | Turn::Delivered | Turn::Idle => {
                if !matches!(turn, Turn::Idle) {
                    self.outside.circuit.close();
                    self.outside.backoff.reset();
                }
                cell.set_state(LaneState::Running);
                if let Some(error) = cell.clear_error() {
                    let elapsed_ms = (self.shared.now_ms)().saturating_sub(error.since_ms);
                    tracing::info!(lane = %self.life.lane, elapsed_ms, "lane goes on");
                }
            }
            Turn::Again(trouble) => {
                self.shared
                    .metrics
                    .trouble(&self.life.lane.task, trouble.cause);
                cell.set_state(LaneState::Retrying);
                if cell.set_error(&trouble.why, (self.shared.now_ms)()) {
                    tracing::warn!(lane = %self.life.lane, error = %trouble.why, "delivery waits");
                }
            }
            Turn::Over => {
                // Nobody has to come: who began the other life, or deleted the task, has dropped this lane.
                cell.set_state(LaneState::Stopped);
                cell.set_error(&FeedError::Fenced.to_string(), (self.shared.now_ms)());
                tracing::debug!(lane = %self.life.lane, "the lane's life is over");
            }
            Turn::Stop(why) => {
                cell.set_state(LaneState::Stopped);
                cell.set_error(why, (self.shared.now_ms)());
                tracing::error!(lane = %self.life.lane, error = %why, "lane stopped");
            }
        }
    }

    /// Waits for what the turn asks for. Breaks when the lane is to end.
    async fn rest(&mut self, turn: Turn, began: Instant) -> ControlFlow<()> {
        let is_draining = self.drain_ends_at.is_some();
        let pause_ends_at = began + self.kind.pause;
        let waiting: BoxFuture<'_, ()> = match turn {
            Turn::Opened | Turn::Full => return ControlFlow::Continue(()),
            Turn::Delivered if is_draining => return ControlFlow::Continue(()),
            Turn::Idle | Turn::Again(_) | Turn::Stop(_) | Turn::Over if is_draining => {
                return ControlFlow::Break(());
            }
            Turn::Delivered if self.sink.is_local() => Box::pin(sleep_until(pause_ends_at)),
            // A turn at a place that others share begins only when there is something to bring.
            Turn::Delivered | Turn::Idle => {
                let after = self.at.map(|at| at.delivered).unwrap_or_default();
                let lease = (!self.sink.is_local()).then(|| self.shared.feed.lease());
                let came = self.shared.feed.wait(&self.life.lane, after);
                let idle = idle(came, lease, self.term, pause_ends_at);
                let (orders, token) = (&mut self.orders, &self.shared.token);
                let uneasy = self.sink.uneasy();
                let waiting = async {
                    tokio::select! {
                        biased;
                        trouble = uneasy => Some(trouble),
                        () = signals(orders, token, idle) => None,
                    }
                };
                if let Some(trouble) = waiting.await {
                    self.at = None;
                    self.tell(&Turn::Again(trouble));
                }
                return ControlFlow::Continue(());
            }
            Turn::Again(trouble) => {
                let wait = self.outside.backoff.next(&trouble);
                if opens_circuit(trouble.cause) {
                    self.outside.circuit.open(wait);
                    return ControlFlow::Continue(());
                }
                Box::pin(tokio::time::sleep(wait))
            }
            // Another leader may have mended it meanwhile: under the next lease it is looked at anew.
            Turn::Stop(_) | Turn::Over if !self.sink.is_local() => {
                let (mut lease, term) = (self.shared.feed.lease(), self.term);
                Box::pin(async move {
                    if lease.wait_for(|now| *now != term).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                })
            }
            Turn::Stop(_) | Turn::Over => Box::pin(std::future::pending()),
        };
        signals(&mut self.orders, &self.shared.token, waiting).await;
        ControlFlow::Continue(())
    }
}

/// Waits for a record, then out the pause; or for the lease to change hands.
async fn idle(
    came: BoxFuture<'_, ()>,
    lease: Option<watch::Receiver<Option<u64>>>,
    term: Option<u64>,
    pause_ends_at: Instant,
) {
    let moved = async {
        if let Some(mut lease) = lease
            && lease.wait_for(|now| *now != term).await.is_ok()
        {
            return;
        }
        // Local, or the feed has no more leases to give: the records' arm is left.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = moved => {}
        () = came => sleep_until(pause_ends_at).await,
    }
}

/// Waits for `waiting`, an order, or the node's end, whichever is first. Nothing is lost by those
/// that are dropped: each is looked at again.
async fn signals(
    orders: &mut watch::Receiver<Order>,
    token: &CancellationToken,
    waiting: impl Future<Output = ()>,
) {
    tokio::select! {
        biased;
        // Cannot fail: the pump holds a sender itself.
        _ = orders.changed() => {}
        () = token.cancelled() => {}
        () = waiting => {}
    }
}
