//! The lines of one request: prepared one by one, proposed together, answered in order.
//!
//! Holds: the lines of a job lie side by side in one pack; the next job of a request is enqueued
//! when the one before it was answered, so a request's lines get their places in its order.

use std::sync::Arc;

use storage::{Key, PACK_BYTES_MAX, PACK_SUBMISSIONS_MAX, Submission};

use super::job::Job;
use super::refused::Refused;
use super::submission::{KeySource, Prepared, Stamp};
use super::{Body, Ingest, Line, Receipt};
use crate::forms::Form;

/// See [`Ingest::submit_lines`].
pub(super) async fn submit(
    ingest: &Ingest,
    form: &Arc<Form>,
    lines: Vec<Line>,
    header_key: Option<&str>,
) -> Vec<Result<Receipt, Refused>> {
    let mut answers = Vec::with_capacity(lines.len());
    let mut group = Group::default();
    let mut reader = ingest.door.key_reader();
    for (at, line) in lines.into_iter().enumerate() {
        if at % LINES_A_TURN == LINES_A_TURN - 1 {
            tokio::task::yield_now().await; // other requests on this thread want their turn
        }
        let key = header_key.map_or(KeySource::Document, |header| {
            KeySource::Fallback(Key::Line {
                header: header.to_owned(),
                line: line.number,
            })
        });
        let body = Body::Json(line.bytes);
        match ingest.door.prepare(form, body, key, &mut reader) {
            Ok(Prepared::Known(receipt)) => answers.push(Ok(receipt)),
            Err(refused) => answers.push(Err(refused)),
            Ok(Prepared::New(submission)) => {
                if !group.has_room(&submission) {
                    std::mem::take(&mut group)
                        .send(ingest, form, &mut answers)
                        .await;
                }
                // Stands for the answer until the group has one.
                group.slots.push(answers.len());
                answers.push(Err(Refused::Unknown));
                group.add(*submission);
            }
        }
    }
    group.send(ingest, form, &mut answers).await;
    answers
}

/// Submissions that go into one pack, and whose answers they will be.
#[derive(Default)]
struct Group {
    submissions: Vec<Submission>,
    stamps: Vec<Stamp>,
    slots: Vec<usize>,
    bytes: usize,
}

impl Group {
    fn has_room(&self, next: &Submission) -> bool {
        self.submissions.len() < PACK_SUBMISSIONS_MAX
            && self.bytes + next.body.len() <= PACK_BYTES_MAX
    }

    fn add(&mut self, submission: Submission) {
        self.bytes += submission.body.len();
        self.stamps.push(Stamp::of(&submission));
        self.submissions.push(submission);
    }

    async fn send(self, ingest: &Ingest, form: &Form, answers: &mut [Result<Receipt, Refused>]) {
        let Self {
            submissions,
            stamps,
            slots,
            bytes,
        } = self;
        if submissions.is_empty() {
            return;
        }
        let permit = ingest.admission.admit_many(bytes, submissions.len()).await;
        let outcome = match permit.and_then(|permit| ingest.propose.room().map(|()| permit)) {
            Ok(permit) => ingest.enqueue(Job::new(submissions, permit)).await,
            Err(refused) => Err(refused),
        };
        for (slot, (at, stamp)) in slots.into_iter().zip(stamps).enumerate() {
            let answer = match &outcome {
                Ok(outcome) => outcome.receipt(slot, form, &stamp),
                Err(refused) => Err(refused.clone()),
            };
            if let Some(place) = answers.get_mut(at) {
                *place = answer;
            }
        }
    }
}

/// About a millisecond of parsing.
const LINES_A_TURN: usize = 256;
