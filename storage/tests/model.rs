//! The log against a map: any calls in any order, opened anew at random, say the same.
#![expect(clippy::unwrap_used, reason = "a test")]

mod script;

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use script::{Answers, Model, entry, id, open, small_config};
use storage::{Error, FaultDisk, Index, NodeId, Policy, Term, Vote, Wal, WalConfig};

#[derive(Clone, Debug)]
enum Call {
    Append {
        count: usize,
        len: usize,
    },
    Truncate {
        back: u64,
    },
    Purge {
        share: u64,
    },
    PurgeBeyond,
    Vote(bool),
    Committed,
    Wait,
    Read {
        from: u64,
        count: u64,
        bytes_max: usize,
    },
    Close,
    Drop,
    Policy(Policy),
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        8 => (1_usize..30, prop_oneof![0_usize..40, 0_usize..3000])
            .prop_map(|(count, len)| Call::Append { count, len }),
        1 => Just(Call::Append { count: 1, len: 40_000 }),
        2 => (0_u64..40).prop_map(|back| Call::Truncate { back }),
        2 => (0_u64..100).prop_map(|share| Call::Purge { share }),
        1 => Just(Call::PurgeBeyond),
        1 => any::<bool>().prop_map(Call::Vote),
        1 => Just(Call::Committed),
        3 => Just(Call::Wait),
        6 => (0_u64..120, 0_u64..60, 0_usize..20_000)
            .prop_map(|(from, count, bytes_max)| Call::Read { from, count, bytes_max }),
        1 => Just(Call::Close),
        1 => Just(Call::Drop),
        1 => prop_oneof![Just(Policy::Always), Just(Policy::IntervalMs(1)), Just(Policy::Never)]
            .prop_map(Call::Policy),
    ]
}

struct Run {
    disk: FaultDisk,
    config: WalConfig,
    wal: Option<Wal>,
    model: Model,
    answers: Answers,
    term: u64,
}

impl Run {
    fn wal(&self) -> &Wal {
        self.wal.as_ref().unwrap()
    }

    fn call(&mut self, call: &Call) {
        match *call {
            Call::Append { count, len } => {
                let mut entries = Vec::new();
                for _ in 0..count {
                    let entry = entry(id(self.term, self.model.next().0), len);
                    self.model.append(entry.clone());
                    entries.push(entry);
                }
                let done = self.answers.done();
                self.wal().append(entries, done);
            }
            Call::Truncate { back } => {
                let ids = self.model.entries.values().rev().map(|entry| entry.id);
                let keep = ids
                    .skip(usize::try_from(back).unwrap())
                    .last_or(back, self.model.purged);
                self.model.truncate_after(keep);
                let done = self.answers.done();
                self.wal().truncate_after(keep, done);
                self.term += 1;
            }
            Call::Purge { share } => {
                let count = u64::try_from(self.model.entries.len()).unwrap();
                let at = usize::try_from(count * share / 100).unwrap();
                if let Some(upto) = self.model.entries.values().nth(at).map(|entry| entry.id) {
                    self.purge(upto);
                }
            }
            Call::PurgeBeyond => self.purge(id(self.term, self.model.next().0 + 5)),
            Call::Vote(is_committed) => {
                self.term += 1;
                let vote = Vote {
                    term: Term(self.term),
                    node: NodeId(2),
                    is_committed,
                };
                self.model.vote = Some(vote);
                let done = self.answers.done();
                self.wal().save_vote(vote, done);
            }
            Call::Committed => {
                if let Some(last) = self.model.last {
                    self.wal().save_committed(last);
                    assert_eq!(Some(last), self.wal().committed());
                }
            }
            Call::Wait => self.wait(),
            Call::Read {
                from,
                count,
                bytes_max,
            } => self.read(from, count, bytes_max),
            Call::Close => {
                self.wal.take().unwrap().close().unwrap();
                self.reopen();
            }
            Call::Drop => {
                drop(self.wal.take());
                self.reopen();
            }
            Call::Policy(policy) => self.wal().set_policy(policy),
        }
    }

    fn wait(&mut self) {
        assert_eq!(self.answers.kept(), self.answers.asked);
    }

    fn purge(&mut self, upto: storage::LogId) {
        self.model.purge(upto);
        let done = self.answers.done();
        self.wal().purge(upto, done);
    }

    fn read(&self, from: u64, count: u64, bytes_max: usize) {
        let range = Index(from)..Index(from + count);
        let read = self.wal().read(range.clone(), bytes_max);
        if self
            .model
            .purged
            .is_some_and(|purged| range.start <= purged.index)
        {
            assert!(matches!(read, Err(Error::Purged { .. })), "{read:?}");
            return;
        }
        let expected: Vec<_> = self
            .model
            .entries
            .range(range)
            .map(|(_, entry)| entry)
            .collect();
        let read = read.unwrap();
        assert!(read.len() <= expected.len());
        assert!(read.iter().eq(expected.iter().copied().take(read.len())));
        assert_eq!(
            expected.is_empty(),
            read.is_empty(),
            "one at least, if there is one"
        );
        let bytes: usize = read.iter().skip(1).map(|entry| entry.payload.len()).sum();
        assert!(bytes <= bytes_max);
        if let Some(next) = expected.get(read.len()) {
            let all: usize = read.iter().map(|entry| 32 + entry.payload.len()).sum();
            assert!(
                all + 32 + next.payload.len() > bytes_max,
                "what fits is read"
            );
        }
    }

    fn reopen(&mut self) {
        self.wait();
        let (wal, recovered) = open(&self.disk, &self.config).unwrap();
        assert_eq!(self.model.last, recovered.last);
        assert_eq!(self.model.vote, recovered.vote);
        assert_eq!(self.model, Model::of(&wal));
        self.wal = Some(wal);
    }
}

trait LastOr {
    /// The first one that is left after skipping; with nothing left, what lies below all.
    fn last_or(self, back: u64, below: Option<storage::LogId>) -> Option<storage::LogId>;
}

impl<I: Iterator<Item = storage::LogId>> LastOr for I {
    fn last_or(mut self, _: u64, below: Option<storage::LogId>) -> Option<storage::LogId> {
        self.next().or(below)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn the_log_says_what_a_map_says(calls in prop::collection::vec(call(), 1..60)) {
        let (disk, config) = (FaultDisk::new(), small_config());
        let (wal, recovered) = open(&disk, &config).unwrap();
        assert!(recovered.is_new);
        let mut run = Run {
            disk, config, wal: Some(wal), model: Model::default(), answers: Answers::new(), term: 1,
        };
        for one in &calls {
            run.call(one);
            assert_eq!(run.model.last, run.wal().last());
            assert_eq!(run.model.entries.keys().next().copied(), run.wal().first());
        }
        assert_eq!(run.model, Model::of(run.wal()));
        run.call(&Call::Close);
    }
}

/// Readers never wait, never see a hole, and never see an entry that was not written.
#[test]
fn reads_beside_appends_purges_and_rotations_are_whole() {
    let disk = FaultDisk::new();
    let (wal, _) = open(&disk, &small_config()).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for step in [1, 7] {
            let (wal, is_over) = (wal.clone(), &is_over);
            scope.spawn(move || {
                let mut count = 0;
                while !is_over.load(Ordering::Relaxed) || count == 0 {
                    let Some(first) = wal.first() else { continue };
                    let from = Index(first.0 + count % 50);
                    match wal.read(from..Index(from.0 + step), 5000) {
                        Ok(entries) => {
                            for (at, read) in (from.0..).zip(&entries) {
                                assert_eq!(&entry(id(1, at), 700), read);
                            }
                            count += 1;
                        }
                        Err(Error::Purged { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        let mut answers = Answers::new();
        for index in 1..=2000 {
            wal.append(vec![entry(id(1, index), 700)], answers.done());
            if index % 100 == 0 {
                wal.purge(id(1, index - 60), answers.done());
            }
        }
        answers.wait();
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(
        wal.segments().len() < 60,
        "of some 400 files the purged ones are gone"
    );
}
