//! A run of random calls over a disk that may fail, and what the log was after each of them.

use storage::{NodeId, Term, Vote, Wal};

use crate::script::{Answers, Model, entry, id};

/// A run of calls over a disk that may fail, and what the log was after each of them.
pub(crate) struct Script {
    pub(crate) states: Vec<Model>,
    pub(crate) answers: Answers,
    seed: u64,
    term: u64,
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        let seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self {
            states: vec![Model::default()],
            answers: Answers::new(),
            seed,
            term: 1,
        }
    }

    fn dice(&mut self, sides: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 20) % sides
    }

    /// One call a record, so that every prefix of the stream is a prefix of the calls.
    pub(crate) fn play(&mut self, wal: &Wal, calls: usize) {
        for _ in 0..calls {
            let mut model = self.states.last().unwrap().clone();
            let done = self.answers.done();
            match self.dice(20) {
                0 => {
                    self.term += 1;
                    let vote = Vote {
                        term: Term(self.term),
                        node: NodeId(1),
                        is_committed: true,
                    };
                    model.vote = Some(vote);
                    wal.save_vote(vote, done);
                }
                1 if model.entries.len() > 4 => {
                    let back = usize::try_from(self.dice(3)).unwrap();
                    let keep = model.entries.values().rev().nth(back).map(|entry| entry.id);
                    model.truncate_after(keep);
                    wal.truncate_after(keep, done);
                    self.term += 1;
                }
                2 if model.entries.len() > 8 => {
                    let half = model.entries.len() / 2;
                    let upto = model
                        .entries
                        .values()
                        .nth(half)
                        .map(|entry| entry.id)
                        .unwrap();
                    model.purge(upto);
                    wal.purge(upto, done);
                }
                _ => {
                    let len = usize::try_from(self.dice(2000)).unwrap();
                    let entry = entry(id(self.term, model.next().0), len);
                    model.append(entry.clone());
                    wal.append(vec![entry], done);
                }
            }
            self.states.push(model);
            if self.dice(3) == 0 && self.answers.wait().iter().any(Result::is_err) {
                break;
            }
        }
    }

    /// Whether the log is as it was after as many calls as were acknowledged, or after some more.
    pub(crate) fn is_kept(&self, wal: &Wal, at_least: usize) -> bool {
        let found = Model::of(wal);
        self.states
            .iter()
            .skip(at_least)
            .any(|state| *state == found)
    }
}
