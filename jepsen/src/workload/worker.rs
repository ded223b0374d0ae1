//! One connection of the workloads in which the product is killed, cut off or short of room.
//!
//! Holds: it posts one document at a time. A keyed one without an answer is posted again under
//! its key until it has one, at another node where there are several; a keyless one is left in
//! doubt, as a careful client must. After each fault the last keyed one that was acknowledged is
//! posted once more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::client::api::{self, FULL};
use crate::dice::Dice;
use crate::form::{Bodies, Form, Submission};
use crate::history::{History, Receipt, What};
use crate::workload::watch::FORMS;

const RETRY_PAUSE: Duration = Duration::from_millis(20);
const ATTEMPTS_MAX: u32 = 4000;

/// What the product is thought to be doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Running, after so many faults.
    Up(u32),
    /// Not running, or not to be posted to.
    Down,
    /// Running; nothing new is posted, what is in doubt is settled.
    Settle,
}

/// What all connections together are doing.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    pub(crate) acks: AtomicU64,
    pub(crate) under_way: AtomicU64,
    /// Answers 507.
    pub(crate) full: AtomicU64,
    /// The highest seq acknowledged, by form.
    heads: [AtomicU64; FORMS.len()],
}

impl Gauge {
    pub(crate) fn acks(&self) -> u64 {
        self.acks.load(Ordering::Relaxed)
    }

    /// The highest seq of `form` that was acknowledged.
    pub(crate) fn head(&self, form: Form) -> u64 {
        let mut pairs = FORMS.iter().zip(&self.heads);
        let head = pairs.find(|(own, _)| **own == form);
        head.map_or(0, |(_, head)| head.load(Ordering::Relaxed))
    }

    /// What was above it is no longer promised.
    pub(crate) fn lower_head(&self, form: Form, to: u64) {
        let mut pairs = FORMS.iter().zip(&self.heads);
        if let Some((_, head)) = pairs.find(|(own, _)| **own == form) {
            head.fetch_min(to, Ordering::Relaxed);
        }
    }

    fn acknowledged(&self, form: Form, receipt: &Receipt) {
        self.acks.fetch_add(1, Ordering::Relaxed);
        let mut pairs = FORMS.iter().zip(&self.heads);
        if let (Some((_, head)), Some(seq)) = (pairs.find(|(own, _)| **own == form), receipt.seq) {
            head.fetch_max(seq, Ordering::Relaxed);
        }
    }
}

/// Waits until `counted` has come up to `enough`, or until `time` is over; answers whether it did.
pub(crate) async fn wait(counted: &AtomicU64, enough: u64, time: Duration) -> bool {
    let end = Instant::now() + time;
    while counted.load(Ordering::Relaxed) < enough {
        if Instant::now() >= end {
            return false;
        }
        sleep(Duration::from_millis(2)).await;
    }
    true
}

pub(crate) struct Worker {
    pub(crate) process: u32,
    pub(crate) dice: Dice,
    pub(crate) history: History,
    pub(crate) bodies: Bodies,
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) phases: watch::Receiver<Phase>,
    /// Then 507 is an answer: what is keyed is posted again, the rest is given up.
    pub(crate) may_be_full: bool,
    /// The longest rest after a receipt.
    pub(crate) rest: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// A keyed document never got its answer.
    pub(crate) is_in_doubt: bool,
    pub(crate) faults: Vec<anyhow::Error>,
}

impl Worker {
    /// At one door, or at any of several.
    pub(crate) async fn work(mut self, mut doors: Doors, posts_max: u64) -> Ended {
        let mut ended = Ended::default();
        let (mut doubted, mut last) = (None::<Submission>, None::<Submission>);
        let (mut round, mut posts, mut attempts) = (0, 0, 0);
        while attempts < ATTEMPTS_MAX {
            let phase = *self.phases.borrow_and_update();
            let next = match (phase, doubted.take()) {
                (Phase::Down, doubt) => {
                    doubted = doubt;
                    if self.phases.changed().await.is_err() {
                        break;
                    }
                    continue;
                }
                (Phase::Up(_) | Phase::Settle, Some(doubt)) => doubt,
                (Phase::Settle, None) => return ended,
                (Phase::Up(now), None) if now != round => {
                    (round, posts) = (now, 0);
                    let Some(last) = last.take() else { continue };
                    last
                }
                (Phase::Up(_), None) if posts >= posts_max => {
                    if self.phases.changed().await.is_err() {
                        break;
                    }
                    continue;
                }
                (Phase::Up(_), None) => {
                    posts += 1;
                    self.fresh()
                }
            };
            let Some(client) = doors.open() else { break };
            match self.post(client, &next, &mut ended).await {
                What::Ok(_) => {
                    attempts = 0;
                    last = next.key.is_some().then_some(next);
                    doors.choose(&mut self.dice);
                    self.rest().await;
                }
                // The connection could not be made, or the request has no answer.
                What::NotSent | What::Unknown => {
                    attempts += 1;
                    doubted = next.key.is_some().then_some(next);
                    doors.next();
                    sleep(RETRY_PAUSE).await;
                }
                What::Refused(FULL) if self.may_be_full => {
                    self.gauge.full.fetch_add(1, Ordering::Relaxed);
                    doubted = next.key.is_some().then_some(next);
                    if phase == Phase::Settle {
                        break;
                    }
                    sleep(RETRY_PAUSE).await;
                }
                What::Refused(status) => {
                    ended
                        .faults
                        .push(anyhow::anyhow!("a good document was refused: {status}"));
                }
                What::Invoke { .. } | What::Destroyed => {}
            }
        }
        ended.is_in_doubt = doubted.is_some();
        ended
    }

    async fn post(&self, client: &mut Client, next: &Submission, ended: &mut Ended) -> What {
        self.gauge.under_way.fetch_add(1, Ordering::Relaxed);
        let answer = api::submit(client, &self.history, self.process, next).await;
        self.gauge.under_way.fetch_sub(1, Ordering::Relaxed);
        let outcome = answer.unwrap_or_else(|fault| {
            ended.faults.push(fault);
            What::Unknown
        });
        if let What::Ok(receipt) = &outcome {
            self.gauge.acknowledged(next.form, receipt);
        }
        outcome
    }

    async fn rest(&mut self) {
        let micros = u64::try_from(self.rest.as_micros()).unwrap_or(u64::MAX);
        if micros > 0 {
            sleep(Duration::from_micros(self.dice.below(micros))).await;
        }
    }

    fn fresh(&mut self) -> Submission {
        let marker = self.history.next_marker();
        let form = if self.dice.chance(70) {
            Form::StudentData
        } else {
            Form::Free
        };
        let key = self.dice.chance(50).then(|| key(marker));
        self.bodies.submission(form, marker, key)
    }
}

/// Where it posts: a connection to each node, and the one that is next.
#[derive(Debug)]
pub(crate) struct Doors {
    clients: Vec<Client>,
    at: usize,
}

impl Doors {
    pub(crate) fn new(addresses: &[SocketAddr], patience: Option<Duration>) -> Self {
        let clients = addresses.iter().map(|address| {
            let client = Client::new(*address);
            match patience {
                Some(patience) => client.with_patience(patience),
                None => client,
            }
        });
        Self {
            clients: clients.collect(),
            at: 0,
        }
    }

    fn open(&mut self) -> Option<&mut Client> {
        self.clients.get_mut(self.at)
    }

    fn choose(&mut self, dice: &mut Dice) {
        let len = u64::try_from(self.clients.len()).unwrap_or(1);
        self.at = usize::try_from(dice.below(len)).unwrap_or(0);
    }

    fn next(&mut self) {
        self.at = (self.at + 1).checked_rem(self.clients.len()).unwrap_or(0);
    }
}

/// The key of a keyed document.
pub(crate) fn key(marker: u64) -> String {
    format!("crash-{marker}")
}
