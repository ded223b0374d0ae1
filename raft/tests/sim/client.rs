//! People at one door, and the batcher behind it: the rule of the door above this room, in small.
//!
//! Holds: a pack has one number for life. One whose outcome is unknown is sent again as the very same
//! bytes, and so are those behind it, in order. A number is used anew only where its pack is known to
//! be in no log and none is under way behind it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use raft::{Error, Node};
use storage::{
    Command, FormId, Outcome, Pack, PackOutcome, Slot, SlotOutcome, Submission, encode_command,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::ledger::{Id, Ledger, Receipt};
use crate::trace::Trace;

const WINDOW_MAX: usize = 4;
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

pub struct Client {
    pub at: usize,
    pub node: Node,
    pub forms: Vec<FormId>,
    pub dice: Dice,
    pub ledger: Ledger,
    pub trace: Trace,
    /// This life of the node is over.
    pub stop: CancellationToken,
    /// No new packs; those under way go on.
    pub quiet: CancellationToken,
    /// Broken on purpose: what is unknown is packed anew.
    pub repacks: bool,
}

type Answer = BoxFuture<'static, Result<Outcome, Refused>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// In no log.
    NotTaken,
    Unknown,
    Over,
}

struct Flight {
    number: u64,
    submissions: Vec<Submission>,
    command: Bytes,
    answer: Answer,
    is_doubtful: bool,
}

struct Door {
    client: Client,
    window: VecDeque<Flight>,
    next_number: u64,
    count: u64,
    pause: Duration,
    is_over: bool,
}

fn refused(error: &Error) -> Refused {
    match error {
        Error::NotLeader { .. } => Refused::NotTaken,
        Error::Unknown => Refused::Unknown,
        Error::Stopping
        | Error::Fatal { .. }
        | Error::Config { .. }
        | Error::Identity { .. }
        | Error::Cluster { .. }
        | Error::Start { .. }
        | Error::Io { .. }
        | Error::Storage(_) => Refused::Over,
    }
}

/// Until the life of the node is over, or all is quiet and answered.
pub async fn run(client: Client) {
    let stop = client.stop.clone();
    let mut door = Door {
        client,
        window: VecDeque::new(),
        next_number: 1,
        count: 0,
        pause: Duration::ZERO,
        is_over: false,
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = door.run() => {}
    }
}

enum Event {
    Answer(Result<Outcome, Refused>),
    New,
    Quiet,
}

impl Door {
    async fn run(&mut self) {
        let mut next_at = Instant::now();
        loop {
            let is_quiet = self.client.quiet.is_cancelled();
            if self.is_over || (is_quiet && self.window.is_empty()) {
                return;
            }
            let has_room = self.window.len() < WINDOW_MAX && !is_quiet;
            let event = tokio::select! {
                biased;
                answer = oldest(&mut self.window), if !self.window.is_empty() => Event::Answer(answer),
                () = self.client.quiet.cancelled(), if !is_quiet => Event::Quiet,
                () = tokio::time::sleep_until(next_at), if has_room => Event::New,
            };
            match event {
                Event::Answer(answer) => self.settle(answer).await,
                Event::New => {
                    next_at = Instant::now() + self.client.dice.ms(10, 350);
                    self.send().await;
                }
                Event::Quiet => {}
            }
        }
    }

    fn submissions(&mut self) -> Vec<Submission> {
        let sender = self.client.node.sender();
        let dice = &mut self.client.dice;
        let count = dice.between(1, 6);
        (0..count)
            .map(|_| {
                self.count += 1;
                let mut id: Id = [0; 16];
                id[..4].copy_from_slice(&sender.node.0.to_be_bytes());
                id[4..8].copy_from_slice(&u32::try_from(sender.boot).unwrap().to_be_bytes());
                id[8..].copy_from_slice(&self.count.to_be_bytes());
                let len = usize::try_from(dice.between(10, 3000)).unwrap();
                let body = Bytes::from(format!("{:0len$}", dice.next()));
                let form = self.client.forms[dice.pick(self.client.forms.len())];
                self.client.ledger.offer(id, form, body.clone());
                Submission {
                    id,
                    form,
                    form_version: 1,
                    received_ms: self.count,
                    key: None,
                    digest: [0; 16],
                    is_withheld: false,
                    body,
                }
            })
            .collect()
    }

    async fn send(&mut self) {
        let submissions = self.submissions();
        let number = self.next_number;
        self.next_number += 1;
        let mut flight = self.pack(number, submissions);
        match self.submit(flight.command.clone()).await {
            Ok(answer) => flight.answer = answer,
            Err(Refused::Unknown) => {}
            Err(refused) => {
                self.next_number = number;
                let ids = flight.submissions.iter().map(|one| one.id);
                self.client.ledger.refuse(ids);
                self.is_over = refused == Refused::Over;
                return;
            }
        }
        self.window.push_back(flight);
    }

    fn pack(&self, number: u64, submissions: Vec<Submission>) -> Flight {
        let command = encode_command(&Command::Submit(Pack {
            sender: self.client.node.sender(),
            number,
            submissions: submissions.clone(),
        }));
        Flight {
            number,
            submissions,
            command,
            answer: failed(Refused::Unknown),
            is_doubtful: false,
        }
    }

    async fn submit(&mut self, command: Bytes) -> Result<Answer, Refused> {
        let pending = self.client.node.submit(command).await;
        let pending = pending.map_err(|error| refused(&error))?;
        Ok(Box::pin(async move {
            let applied = pending.await.map_err(|error| refused(&error))?;
            Ok(applied.outcome)
        }))
    }

    async fn settle(&mut self, answer: Result<Outcome, Refused>) {
        let number = self.window[0].number;
        match answer {
            Ok(Outcome::Pack(outcome)) => {
                self.pause = Duration::ZERO;
                let flight = self.window.pop_front().unwrap();
                self.deliver(&flight, &outcome);
            }
            Ok(Outcome::OutOfTurn {
                expected: Some(expected),
            }) if self.client.repacks => self.renumber(expected).await,
            Ok(Outcome::OutOfTurn { expected }) => {
                if expected.is_none_or(|expected| number < expected) {
                    let at = self.client.at;
                    let what = format!("pack {number} of place {at}: expected {expected:?}");
                    self.client.ledger.wrong(what);
                    self.is_over = true;
                    return;
                }
                self.send_again().await;
            }
            Ok(other) => {
                self.client
                    .ledger
                    .wrong(format!("a pack was answered by {other:?}"));
                self.is_over = true;
            }
            Err(Refused::NotTaken) if self.window.len() == 1 && !self.window[0].is_doubtful => {
                let flight = self.window.pop_front().unwrap();
                self.next_number = flight.number;
                let ids = flight.submissions.iter().map(|one| one.id);
                self.client.ledger.refuse(ids);
                self.rest().await;
            }
            Err(Refused::Unknown) => {
                self.window[0].is_doubtful = true;
                if self.client.repacks {
                    self.renumber(self.window[0].number + 1).await;
                } else {
                    self.send_again().await;
                }
            }
            Err(Refused::NotTaken) => self.send_again().await,
            Err(Refused::Over) => self.is_over = true,
        }
    }

    fn deliver(&self, flight: &Flight, outcome: &PackOutcome) {
        let mut told = Vec::new();
        assert_eq!(
            outcome.slots.len(),
            flight.submissions.len(),
            "one answer a slot"
        );
        for (slot, (answer, submission)) in (0..).zip(outcome.slots.iter().zip(&flight.submissions))
        {
            let SlotOutcome::Accepted { seq } = answer else {
                self.client
                    .ledger
                    .wrong(format!("a submission was answered by {answer:?}"));
                continue;
            };
            let receipt = Receipt {
                form: submission.form,
                seq: *seq,
                index: outcome.index,
                slot: Slot(slot),
            };
            told.push((submission.id, receipt));
        }
        self.client
            .trace
            .mix(&(self.client.at, flight.number, outcome.index.0));
        self.client.ledger.ack(self.client.at, &told);
    }

    async fn send_again(&mut self) {
        self.rest().await;
        for flight in self.window.iter_mut().skip(1) {
            flight.is_doubtful = true;
        }
        let mut failure = None;
        for at in 0..self.window.len() {
            let command = self.window[at].command.clone();
            let answer = match failure {
                Some(refused) => failed(refused),
                None => match self.submit(command).await {
                    Ok(answer) => answer,
                    Err(refused) => failed(*failure.insert(refused)),
                },
            };
            self.window[at].answer = answer;
        }
    }

    /// Broken on purpose: all under way are packed anew, from this number on.
    async fn renumber(&mut self, first: u64) {
        let old = std::mem::take(&mut self.window);
        for (number, flight) in (first..).zip(old) {
            let flight = self.pack(number, flight.submissions);
            self.window.push_back(flight);
            self.next_number = number + 1;
        }
        self.send_again().await;
    }

    async fn rest(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
    }
}

async fn oldest(window: &mut VecDeque<Flight>) -> Result<Outcome, Refused> {
    window[0].answer.as_mut().await
}

fn failed(refused: Refused) -> Answer {
    Box::pin(std::future::ready(Err(refused)))
}
