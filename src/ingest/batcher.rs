//! The batcher: all that waits becomes one pack, packs are proposed in order.
//!
//! Holds: a pack has one number for life. One whose outcome is unknown is proposed again as the very
//! same bytes until it is answered, and so are the packs behind it, in order: the log takes each
//! number once. So is one that found nobody to lead, until its first submission has waited long
//! enough; then all that wait with it are refused, but only if every pack under way is known to be
//! in no log. A number is given away again only when its pack is known not to be in the log and
//! no later one is under way. A log that says it is closing is not asked again: all that wait are
//! told what is known of theirs. No timer shapes a pack: the first job that waits takes along what
//! waits with it. A second pack goes beside one under way only where what waited did not fit into
//! one. Tried: a second one as soon as as much waits as the first took; 15 % slower at 64 clients.
//!
//! ```text
//! jobs ─► pack 7 ─► propose ─┐  window, oldest first, at most 4
//!         pack 8 ─► propose ─┤
//!                            └► answer of the oldest, slot by slot, back to its jobs
//! ```
//! Why only the oldest is waited for: the log answers a sender's packs in their order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use storage::{Outcome, Sender};
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::job::Job;
use super::pack::{Flight, Load};
use super::refused::Refused;
use super::{Answer, Propose};

/// The one task between the door and the log.
pub(super) struct Batcher {
    inbox: Receiver<Job>,
    /// A job that did not fit into the last pack.
    held: Option<Job>,
    propose: Arc<dyn Propose>,
    sender: Sender,
    next_number: u64,
    /// Packs under way, oldest first.
    window: VecDeque<Flight>,
    window_max: usize,
    /// Nothing more will come.
    is_closed: bool,
    stop: CancellationToken,
    /// Set once it stops: when to give up.
    stop_by: Option<Instant>,
    drain_max: Duration,
    /// How long to wait before packs are sent again; zero in peace.
    pause: Duration,
    /// How long packs wait for somebody to lead.
    leader_wait: Duration,
}

enum Event {
    Stop,
    GiveUp,
    Answer(Result<Outcome, Refused>),
    Job(Job),
    Closed,
}

impl Batcher {
    pub(super) fn new(
        config: &Config,
        inbox: Receiver<Job>,
        propose: Arc<dyn Propose>,
        sender: Sender,
        stop: CancellationToken,
    ) -> Self {
        Self {
            inbox,
            held: None,
            propose,
            sender,
            next_number: 1,
            window: VecDeque::new(),
            window_max: config.packs_in_flight_max,
            is_closed: false,
            stop,
            stop_by: None,
            drain_max: Duration::from_millis(config.drain_ms_max),
            pause: Duration::ZERO,
            leader_wait: config.leader_wait(),
        }
    }

    /// Runs until it is told to stop and has drained, or has waited long enough.
    pub(super) async fn run(mut self) {
        while !(self.is_closed && self.held.is_none() && self.window.is_empty()) {
            match self.next().await {
                Event::Stop => self.begin_stop(),
                Event::GiveUp => break,
                Event::Answer(answer) => self.settle(answer).await,
                Event::Job(job) => self.send(job).await,
                Event::Closed => self.is_closed = true,
            }
        }
        if !self.window.is_empty() {
            tracing::warn!(packs = self.window.len(), "stopped without outcomes");
            self.tell_what_is_known();
        }
    }

    async fn next(&mut self) -> Event {
        // A second pack goes beside the first only where the first was full: as long as all that
        // waits fits into one, waiting for the one under way makes it larger and costs nobody time.
        let is_behind = self.held.is_some();
        let has_room = self.window.is_empty() || (is_behind && self.window.len() < self.window_max);
        let is_open = !self.is_closed || self.held.is_some();
        let give_up_at = self.stop_by.unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            () = self.stop.cancelled(), if self.stop_by.is_none() => Event::Stop,
            () = tokio::time::sleep_until(give_up_at), if self.stop_by.is_some() => Event::GiveUp,
            answer = oldest(&mut self.window), if !self.window.is_empty() => Event::Answer(answer),
            job = next_job(&mut self.held, &mut self.inbox), if has_room && is_open => {
                job.map_or(Event::Closed, Event::Job)
            }
        }
    }

    /// Takes no more in; what is in goes on.
    fn begin_stop(&mut self) {
        self.inbox.close();
        self.stop_by = Some(Instant::now() + self.drain_max);
    }

    async fn send(&mut self, first: Job) {
        let Some(mut flight) = self.pack(first) else {
            return;
        };
        match offer(&*self.propose, &mut flight).await {
            // Sent again in its turn, as it stands: behind those before it, if there are any.
            Ok(()) | Err(Refused::Unknown | Refused::NoQuorum) => self.window.push_back(flight),
            Err(refused) => {
                self.next_number = flight.number;
                flight.refuse(&refused);
                if refused == Refused::Draining {
                    self.take_no_more();
                }
            }
        }
    }

    /// Everything that waits, as far as it fits into one pack.
    fn pack(&mut self, first: Job) -> Option<Flight> {
        let mut load = Load::default();
        let mut next = Some(first);
        while let Some(job) = next {
            next = match load.add(job) {
                Ok(()) => self.inbox.try_recv().ok(),
                Err(job) => {
                    self.held = Some(job);
                    None
                }
            };
        }
        if load.is_empty() {
            return None;
        }
        let number = self.next_number;
        self.next_number += 1;
        Some(load.close(self.sender, number, failed(Refused::Unknown)))
    }

    /// The oldest pack has an answer, of whatever kind.
    async fn settle(&mut self, answer: Result<Outcome, Refused>) {
        let Some(oldest) = self.window.front_mut() else {
            return;
        };
        let number = oldest.number;
        oldest.is_queued = false;
        match answer {
            Ok(Outcome::Pack(outcome)) => {
                self.pause = Duration::ZERO;
                if let Some(flight) = self.window.pop_front() {
                    flight.deliver(outcome);
                }
            }
            Ok(Outcome::OutOfTurn { expected: None }) => self.end_of_session(),
            Ok(Outcome::OutOfTurn {
                expected: Some(expected),
            }) if expected > number => {
                // The log took it, and has forgotten what it said.
                tracing::error!(pack = number, expected, "outcome of a pack forgotten");
                drop(self.window.pop_front());
            }
            Ok(Outcome::OutOfTurn { .. }) => self.send_again().await,
            Ok(
                outcome @ (Outcome::Done
                | Outcome::Form { .. }
                | Outcome::Task { .. }
                | Outcome::Released { .. }
                | Outcome::Conflict { .. }
                | Outcome::Missing
                | Outcome::Fenced),
            ) => panic!("pack {number} was answered by {outcome:?}"),
            Err(Refused::Unknown) => {
                oldest.is_doubtful = true;
                self.send_again().await;
            }
            Err(Refused::Draining) => self.end_of_log(),
            Err(refused) => self.refused(&refused).await,
        }
    }

    /// The oldest pack is not in the log. Nor can those behind it be taken before it is.
    async fn refused(&mut self, refused: &Refused) {
        let may_wait = *refused == Refused::NoQuorum && !self.has_waited_enough();
        for flight in self.window.iter_mut().skip(1) {
            flight.give_up_try();
        }
        if may_wait || !self.window.iter().all(Flight::is_in_no_log) {
            self.send_again().await;
            return;
        }
        if let Some(oldest) = self.window.front() {
            self.next_number = oldest.number;
        }
        for flight in self.window.drain(..) {
            flight.refuse(refused);
        }
    }

    fn has_waited_enough(&self) -> bool {
        let oldest = self.window.front();
        oldest.is_none_or(|oldest| self.leader_wait <= oldest.since.elapsed())
    }

    /// Proposes all packs under way once more, in order, each as it was.
    async fn send_again(&mut self) {
        self.rest().await;
        tracing::debug!(packs = self.window.len(), "packs proposed again");
        let mut failure = None;
        for flight in &mut self.window {
            flight.give_up_try();
            match &failure {
                Some(refused) => flight.answer = failed(Refused::clone(refused)),
                None => failure = offer(&*self.propose, flight).await.err(),
            }
        }
    }

    /// Waits a little longer each time that nothing was answered in between, and no longer once
    /// somebody leads.
    async fn rest(&mut self) {
        let until = Instant::now() + self.pause;
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        let is_stop = tokio::select! {
            biased;
            () = self.stop.cancelled(), if self.stop_by.is_none() => true,
            () = tokio::time::sleep_until(self.stop_by.map_or(until, |stop| stop.min(until))) => false,
            () = self.propose.news() => {
                self.pause = PAUSE_MIN;
                false
            }
        };
        if is_stop {
            self.begin_stop();
        }
    }

    /// A newer life of this node is at work: nothing sent from here is taken any more.
    fn end_of_session(&mut self) {
        tracing::error!(
            boot = self.sender.boot,
            "another life of this node sends packs"
        );
        self.window.clear();
        self.take_no_more();
    }

    /// This node's log takes nothing more: sending again would only keep people waiting.
    fn end_of_log(&mut self) {
        tracing::warn!(packs = self.window.len(), "the log takes no more packs");
        self.tell_what_is_known();
        self.take_no_more();
    }

    /// Nothing more will be heard of the packs under way.
    fn tell_what_is_known(&mut self) {
        for mut flight in self.window.drain(..) {
            flight.give_up_try();
            let is_known = flight.is_in_no_log();
            flight.refuse(if is_known {
                &Refused::Draining
            } else {
                &Refused::Unknown
            });
        }
    }

    /// What waits is in no pack, and whoever dropped it tells so.
    fn take_no_more(&mut self) {
        self.held = None;
        self.inbox.close();
        while self.inbox.try_recv().is_ok() {}
        self.is_closed = true;
    }
}

/// One try. Where it fails, the pack's answer is that.
async fn offer(propose: &dyn Propose, flight: &mut Flight) -> Result<(), Refused> {
    match propose.submit(flight.command.clone()).await {
        Ok(answer) => {
            flight.answer = answer;
            flight.is_queued = true;
            Ok(())
        }
        Err(refused) => {
            flight.is_doubtful |= refused == Refused::Unknown;
            flight.answer = failed(refused.clone());
            Err(refused)
        }
    }
}

async fn oldest(window: &mut VecDeque<Flight>) -> Result<Outcome, Refused> {
    match window.front_mut() {
        Some(flight) => flight.answer.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn next_job(held: &mut Option<Job>, inbox: &mut Receiver<Job>) -> Option<Job> {
    match held.take() {
        Some(job) => Some(job),
        None => inbox.recv().await,
    }
}

fn failed(refused: Refused) -> Answer {
    Box::pin(std::future::ready(Err(refused)))
}

/// The first try after a failure comes at once, the second after this.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// An outage of minutes costs a few calls a second.
const PAUSE_MAX: Duration = Duration::from_millis(500);
