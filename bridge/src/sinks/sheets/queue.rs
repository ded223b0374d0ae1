//! The quota of one credential, shared fairly by all lanes that use it.
//!
//! Google gives a service account so many requests a minute, whatever it is for: hundreds of forms
//! stand in one line. Who asks is given a *grant*, which counts from then until a minute after it
//! was given back: as Google counted the request somewhere in between, no minute of Google's ever
//! sees more of them than the budget, however slow the answers are.
//!
//! The line is fair by turns: a lane that has just been served stands behind all that waited
//! meanwhile, and within a turn who came first goes first. (Not who is most behind: a lane that is
//! first in one turn and last in the next waits for two.) A spreadsheet has one request under way at
//! a time, so a lane whose spreadsheet is busy is passed by, without losing its place.
//!
//! Holds: time is tokio's, so the same calls at the same times are granted alike.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::mutants::{self, Mutant};
use crate::record::Lane;

/// Of a quota of 12, 11 are used: another program may ask now and then, too.
const SPARED: u32 = 12;

/// Who asks, and for what.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) lane: Lane,
    /// One request at a time goes there; `None`: it only reads.
    pub(super) place: Option<Arc<str>>,
}

/// The line. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    line: Mutex<Line>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Line {
    /// As set.
    quota: u32,
    /// As Google said, where that is less.
    told: Option<u32>,
    minute: Duration,
    /// When each request of the last minute was given back.
    ended: VecDeque<Instant>,
    /// Granted and not given back.
    out: u32,
    paused_until: Option<Instant>,
    busy: BTreeSet<Arc<str>>,
    waiting: BTreeMap<u64, Waiter>,
    /// Nobody of those that wait can be granted anything before somebody comes or gives back.
    is_settled: bool,
    tickets: u64,
    /// The turn that was granted last, from 1: before the first are those who go before all.
    turn: u64,
    /// The last turn of each lane that was served in this one or will not be before the next.
    served: BTreeMap<Lane, u64>,
}

#[derive(Debug)]
struct Waiter {
    ask: Ask,
    turn: u64,
    is_granted: bool,
}

/// How the line is doing, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) per_minute: u32,
    pub(super) waiting: usize,
    pub(super) paused: Duration,
}

impl Line {
    /// Requests a minute.
    fn budget(&self) -> u32 {
        let quota = self.told.map_or(self.quota, |told| told.min(self.quota));
        if mutants::is(Mutant::SheetsOverQuota) {
            return quota + quota / 4;
        }
        (quota - quota.div_ceil(SPARED).min(quota)).max(1)
    }

    fn forget(&mut self, now: Instant) {
        while self
            .ended
            .front()
            .is_some_and(|end| *end + self.minute <= now)
        {
            self.ended.pop_front();
        }
    }

    fn used(&self) -> u32 {
        u32::try_from(self.ended.len())
            .unwrap_or(u32::MAX)
            .saturating_add(self.out)
    }

    /// When there may be room, if nothing is given back before.
    fn next_room(&self, now: Instant) -> Option<Instant> {
        match self.paused_until {
            Some(until) if now < until => Some(until),
            _ => self.ended.front().map(|end| *end + self.minute),
        }
    }

    fn is_free(&self, ask: &Ask) -> bool {
        ask.place
            .as_ref()
            .is_none_or(|place| !self.busy.contains(place))
    }

    /// Grants what can be granted now. True if anything was.
    fn grant(&mut self, now: Instant) -> bool {
        self.forget(now);
        let mut any = false;
        let is_open = self.paused_until.is_none_or(|until| until <= now);
        while is_open && !self.is_settled && self.used() < self.budget() {
            let waiters = self.waiting.iter().filter(|(_, waiter)| !waiter.is_granted);
            let free = waiters.filter(|(_, waiter)| self.is_free(&waiter.ask));
            // Of equals the first, and they stand by their tickets.
            let first = if mutants::is(Mutant::SheetsUnfair) {
                free.min_by_key(|(_, waiter)| waiter.ask.lane.clone())
            } else {
                free.min_by_key(|(_, waiter)| waiter.turn)
            };
            let Some(ticket) = first.map(|(ticket, _)| *ticket) else {
                self.is_settled = true;
                break;
            };
            let Some(waiter) = self.waiting.get_mut(&ticket) else {
                break;
            };
            waiter.is_granted = true;
            self.turn = self.turn.max(waiter.turn);
            self.served.insert(waiter.ask.lane.clone(), waiter.turn);
            self.busy.extend(waiter.ask.place.clone());
            self.out += 1;
            any = true;
        }
        if any {
            let turn = self.turn;
            self.served.retain(|_, served| turn <= *served);
        }
        any
    }

    fn join(&mut self, ask: Ask, is_next: bool) -> u64 {
        let own = self.served.get(&ask.lane).map_or(0, |served| served + 1);
        let turn = if is_next { 0 } else { own.max(self.turn) };
        self.tickets += 1;
        self.is_settled = false;
        self.waiting.insert(
            self.tickets,
            Waiter {
                ask,
                turn,
                is_granted: false,
            },
        );
        self.tickets
    }
}

impl Queue {
    /// A line for `quota` requests in each `minute`.
    pub(super) fn new(quota: u32, minute: Duration) -> Self {
        let line = Line {
            quota,
            told: None,
            minute,
            ended: VecDeque::new(),
            out: 0,
            paused_until: None,
            busy: BTreeSet::new(),
            waiting: BTreeMap::new(),
            is_settled: true,
            tickets: 0,
            turn: 1,
            served: BTreeMap::new(),
        };
        Self {
            shared: Arc::new(Shared {
                line: Mutex::new(line),
                changed: watch::Sender::new(0),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        let line = &self.shared.line;
        line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.shared.changed.send_modify(|version| *version += 1);
    }

    /// Waits for a grant. May be dropped at any await.
    pub(super) async fn ask(&self, ask: Ask) -> Grant {
        self.wait(ask, false).await
    }

    /// The same, before all others: for a lane that is being served and needs one more.
    pub(super) async fn ask_next(&self, lane: &Lane) -> Grant {
        let ask = Ask {
            lane: lane.clone(),
            place: None,
        };
        self.wait(ask, true).await
    }

    async fn wait(&self, ask: Ask, is_next: bool) -> Grant {
        let place = ask.place.clone();
        let mut changed = self.shared.changed.subscribe();
        let ticket = self.lock().join(ask, is_next);
        let waits = Waits {
            queue: self,
            ticket,
        };
        loop {
            changed.borrow_and_update();
            let now = Instant::now();
            let (is_mine, any, next) = {
                let mut line = self.lock();
                let any = line.grant(now);
                let mine = line.waiting.get(&ticket);
                let is_mine = mine.is_some_and(|waiter| waiter.is_granted);
                if is_mine {
                    line.waiting.remove(&ticket);
                }
                (is_mine, any, line.next_room(now))
            };
            if any {
                self.tell();
            }
            if is_mine {
                drop(waits);
                return Grant {
                    queue: self.clone(),
                    place,
                    is_used: Mutex::new(false),
                };
            }
            let room = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // Cannot fail: the sender lives in `self`.
                _ = changed.changed() => {}
                () = room => {}
            }
        }
    }

    /// Nobody is granted anything for so long: Google has said that it was too much.
    pub(super) fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut line = self.lock();
        line.paused_until = line.paused_until.max(Some(until));
    }

    /// Google has said what the quota is. More than what is set is not taken: others may use it.
    pub(super) fn told(&self, quota: u32) {
        self.lock().told = Some(quota.max(1));
    }

    /// How long a credential waits that was told no time: until Google counts anew.
    pub(super) fn minute(&self) -> Duration {
        self.lock().minute
    }

    pub(super) fn status(&self) -> Told {
        let now = Instant::now();
        let line = self.lock();
        Told {
            per_minute: line.budget(),
            waiting: line.waiting.len(),
            paused: line
                .paused_until
                .map_or(Duration::ZERO, |until| until.saturating_duration_since(now)),
        }
    }

    fn end(&self, place: Option<&Arc<str>>, is_used: bool) {
        {
            let mut line = self.lock();
            line.out = line.out.saturating_sub(1);
            line.is_settled = false;
            if let Some(place) = place {
                line.busy.remove(place);
            }
            if is_used {
                line.ended.push_back(Instant::now());
            }
        }
        self.tell();
    }
}

/// Somebody in the line, who leaves it on drop; with a grant that was not fetched, if it had one.
struct Waits<'a> {
    queue: &'a Queue,
    ticket: u64,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let left = self.queue.lock().waiting.remove(&self.ticket);
        if let Some(waiter) = left
            && waiter.is_granted
        {
            self.queue.end(waiter.ask.place.as_ref(), false);
        }
    }
}

/// Leave to send one request; given back on drop. One that was not used costs nothing.
#[derive(Debug)]
pub(super) struct Grant {
    queue: Queue,
    place: Option<Arc<str>>,
    is_used: Mutex<bool>,
}

impl Grant {
    /// Counts as a request from now on. False if it did before.
    pub(super) fn use_it(&self) -> bool {
        let mut is_used = self.is_used.lock().unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut *is_used, true)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let is_used = *self.is_used.lock().unwrap_or_else(PoisonError::into_inner);
        self.queue.end(self.place.as_ref(), is_used);
    }
}

#[cfg(test)]
mod tests;
