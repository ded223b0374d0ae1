//! Jobs become a pack, and the pack's outcome becomes the jobs' answers.
//!
//! Holds: a pack is ordered by form, so that a form's records lie in long runs; within a form the
//! order of arrival stays. Every job gets the outcomes of its own submissions, in its own order.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::FutureExt;
use storage::{
    Command, Outcome, PACK_BYTES_MAX, PACK_SUBMISSIONS_MAX, Pack, PackOutcome, Sender, SlotOutcome,
    Submission, encode_command,
};
use tokio::time::Instant;

use super::Answer;
use super::job::{Answers, Job, Seat};
use super::refused::Refused;

/// A pack that was proposed and not yet answered.
pub(super) struct Flight {
    pub(super) number: u64,
    /// The same bytes for every try.
    pub(super) command: Bytes,
    pub(super) answer: Answer,
    /// A try ended without a word, or its word was not heard: it may be in the log.
    pub(super) is_doubtful: bool,
    /// A try is under way: `answer` will say what became of it.
    pub(super) is_queued: bool,
    /// When the first of its jobs began to wait.
    pub(super) since: Instant,
    seats: Vec<Seat>,
    /// For each slot, which of the jobs' submissions it holds, counted through all jobs.
    origins: Vec<usize>,
}

/// Jobs on their way into a pack.
#[derive(Default)]
pub(super) struct Load {
    submissions: Vec<Submission>,
    seats: Vec<Seat>,
    bytes: usize,
}

impl Load {
    /// Takes a job in; gives it back if there is no room for it.
    pub(super) fn add(&mut self, job: Job) -> Result<(), Job> {
        let is_over = self.submissions.len() + job.submissions.len() > PACK_SUBMISSIONS_MAX
            || self.bytes + job.bytes > PACK_BYTES_MAX;
        if is_over && !self.submissions.is_empty() {
            return Err(job);
        }
        assert!(!is_over, "a job is never larger than a pack");
        if job.take() {
            self.bytes += job.bytes;
            self.submissions.extend(job.submissions);
            self.seats.push(job.seat);
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.submissions.is_empty()
    }

    /// Closes the pack under a number. It has no answer yet: `answer` stands in for one.
    pub(super) fn close(self, sender: Sender, number: u64, answer: Answer) -> Flight {
        let Self {
            submissions, seats, ..
        } = self;
        let since = seats.iter().map(|seat| seat.since).min();
        let mut slots: Vec<(usize, Submission)> = submissions.into_iter().enumerate().collect();
        slots.sort_by_key(|(_, submission)| submission.form); // stable
        let (origins, submissions) = slots.into_iter().unzip();
        let pack = Pack {
            sender,
            number,
            submissions,
        };
        let command = encode_command(&Command::Submit(pack));
        Flight {
            number,
            command,
            answer,
            is_doubtful: false,
            is_queued: false,
            since: since.unwrap_or_else(Instant::now),
            seats,
            origins,
        }
    }
}

impl Flight {
    /// True: no try of it is in the log, nor will one ever be.
    pub(super) fn is_in_no_log(&self) -> bool {
        !self.is_doubtful && !self.is_queued
    }

    /// The answer is not waited for any longer, as a new try is to come. What it says by now counts;
    /// where it says nothing, the try may be in the log.
    pub(super) fn give_up_try(&mut self) {
        if self.is_queued {
            let is_without_effect = match self.answer.as_mut().now_or_never() {
                Some(Ok(Outcome::OutOfTurn { expected })) => expected <= Some(self.number),
                Some(Ok(_) | Err(Refused::Unknown)) | None => false,
                Some(Err(_)) => true,
            };
            self.is_doubtful |= !is_without_effect;
            self.is_queued = false;
        }
    }

    /// Gives every job its answers.
    pub(super) fn deliver(self, outcome: PackOutcome) {
        let PackOutcome {
            index,
            terms,
            slots,
        } = outcome;
        assert_eq!(
            slots.len(),
            self.origins.len(),
            "apply answers every slot of pack {}",
            self.number
        );
        let mut ordered: Vec<(usize, SlotOutcome)> = self.origins.into_iter().zip(slots).collect();
        ordered.sort_by_key(|(origin, _)| *origin);
        let mut rest: VecDeque<SlotOutcome> = ordered.into_iter().map(|(_, slot)| slot).collect();
        for seat in self.seats {
            let slots = rest.drain(..seat.count.min(rest.len())).collect();
            seat.answer(Ok(Answers {
                index,
                terms,
                slots,
            }));
        }
    }

    /// Tells every job the same.
    pub(super) fn refuse(self, refused: &Refused) {
        for seat in self.seats {
            seat.answer(Err(refused.clone()));
        }
    }
}
