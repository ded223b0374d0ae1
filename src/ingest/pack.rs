//! Jobs become a pack, and the pack's outcome becomes the jobs' answers.
//!
//! Holds: a pack is ordered by form, so that a form's records lie in long runs; within a form the
//! order of arrival stays. Every job gets the outcomes of its own submissions, in its own order.

use std::collections::VecDeque;

use bytes::Bytes;
use storage::{
    Command, PACK_BYTES_MAX, PACK_SUBMISSIONS_MAX, Pack, PackOutcome, Sender, SlotOutcome,
    Submission, encode_command,
};

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
            seats,
            origins,
        }
    }
}

impl Flight {
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
