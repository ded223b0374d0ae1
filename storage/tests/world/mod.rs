//! What the state's tests share: a log and a state side by side, and commands in few words.

use std::path::Path;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use storage::{
    Command, DefineForm, DefineTask, Entry, EntryKind, Expect, FaultDisk, FormId, Index, Key,
    LogId, NodeId, Outcome, Pack, PackOutcome, Records, Release, RetireForm, Sender, Seq, Start,
    State, StateView, Submission, Term, Tick, Voters, Wal, WalConfig, encode_command,
};

pub fn voters_of(bytes: &[u8]) -> Voters {
    let count = bytes.first().copied().unwrap_or(1);
    Voters {
        quorum: count / 2 + 1,
        count,
    }
}

pub fn id(index: u64) -> LogId {
    LogId {
        term: Term(1),
        node: NodeId(1),
        index: Index(index),
    }
}

pub fn entry(index: u64, command: &Command) -> Entry {
    Entry {
        id: id(index),
        kind: EntryKind::Command,
        payload: encode_command(command),
    }
}

pub fn wal() -> Wal {
    let disk = Arc::new(FaultDisk::new());
    Wal::open(disk, Path::new("/data/wal"), &WalConfig::simulated())
        .unwrap()
        .0
}

/// Appends and waits until it is durable.
pub fn append(wal: &Wal, entries: Vec<Entry>) {
    let (told, heard) = mpsc::sync_channel(1);
    wal.append(entries, Box::new(move |done| told.send(done).unwrap()));
    heard.recv().unwrap().unwrap();
}

/// A state, the log under it, and one sender.
pub struct World {
    pub state: State,
    pub wal: Wal,
    pub next: u64,
    pub sender: Sender,
    pub number: u64,
}

impl World {
    pub fn new() -> Self {
        Self::over(State::in_memory(voters_of), wal())
    }

    pub fn over(state: State, wal: Wal) -> Self {
        let next = state.applied().map_or(1, |applied| applied.index.0 + 1);
        Self {
            state,
            wal,
            next,
            sender: Sender {
                node: NodeId(1),
                boot: 1,
            },
            number: 0,
        }
    }

    pub fn view(&self) -> StateView {
        self.state.view()
    }

    pub fn records(&self) -> Records {
        Records::new(self.state.view(), self.wal.clone())
    }

    pub fn apply(&mut self, command: &Command) -> Outcome {
        let entry = entry(self.next, command);
        self.next += 1;
        append(&self.wal, vec![entry.clone()]);
        self.wal.save_committed(entry.id);
        self.state.apply(&entry).unwrap()
    }

    pub fn form(&mut self, name: &str) -> FormId {
        match self.apply(&define(name, "{}", Expect::Any)) {
            Outcome::Form { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    /// The next pack of this world's sender.
    pub fn submit(&mut self, submissions: Vec<Submission>) -> PackOutcome {
        self.number += 1;
        let pack = Pack {
            sender: self.sender,
            number: self.number,
            submissions,
        };
        match self.apply(&Command::Submit(pack)) {
            Outcome::Pack(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    pub fn tick(&mut self, elapsed_ms: u64) {
        self.apply(&Command::Tick(Tick { elapsed_ms }));
    }

    /// Seqs and bodies of all records of a form, read in steps of `step`.
    pub fn bodies(&self, form: FormId, step: usize) -> Vec<(u64, String)> {
        let records = self.records();
        let mut found: Vec<(u64, String)> = Vec::new();
        loop {
            let after = Seq(found.last().map_or(0, |(seq, _)| *seq));
            let some = records.read(form, after, step, usize::MAX).unwrap();
            if some.is_empty() {
                return found;
            }
            found.extend(some.iter().map(|record| {
                let body = String::from_utf8(record.body.to_vec()).unwrap();
                (record.seq.unwrap().0, body)
            }));
        }
    }
}

pub fn define(name: &str, definition: &str, expect: Expect) -> Command {
    let definition = Bytes::copy_from_slice(definition.as_bytes());
    Command::DefineForm(DefineForm {
        name: name.to_owned(),
        expect,
        definition,
    })
}

pub fn retire(name: &str) -> Command {
    Command::RetireForm(RetireForm {
        name: name.to_owned(),
        expect: Expect::Any,
    })
}

pub fn task(name: &str, definition: &str) -> Command {
    Command::DefineTask(DefineTask {
        name: name.to_owned(),
        expect: Expect::Any,
        definition: Bytes::copy_from_slice(definition.as_bytes()),
        start: Start::Beginning,
    })
}

pub fn release(form: FormId, positions: Vec<storage::Position>) -> Command {
    Command::Release(Release { form, positions })
}

/// A submission whose id and digest follow from its body.
pub fn submission(form: FormId, body: &str) -> Submission {
    let mut digest = [0; 16];
    for chunk in body.as_bytes().chunks(16) {
        for (at, (sum, byte)) in (0..).zip(digest.iter_mut().zip(chunk)) {
            *sum = byte.rotate_left(at % 7) ^ u8::rotate_left(*sum, 3);
        }
    }
    Submission {
        id: digest,
        form,
        form_version: 1,
        received_ms: 1_700_000_000_000,
        key: None,
        digest,
        is_withheld: false,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

pub fn keyed(form: FormId, key: &str, body: &str) -> Submission {
    Submission {
        key: Some(Key::Own(key.to_owned())),
        ..submission(form, body)
    }
}

pub fn line(form: FormId, header: &str, line: u32, body: &str) -> Submission {
    Submission {
        key: Some(Key::Line {
            header: header.to_owned(),
            line,
        }),
        ..submission(form, body)
    }
}
