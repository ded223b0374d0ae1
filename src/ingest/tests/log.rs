//! A log in memory that can lose words, refuse, and hold its answers back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::json;
use storage::{
    Command, DefineForm, Entry, EntryKind, Expect, FormId, Index, LogId, NodeId, Outcome, Pack,
    RetireForm, Sender, State, StateView, Term, Voters, decode_command, encode_command,
};
use tokio::sync::{Semaphore, watch};

use crate::clock::Clock;
use crate::forms::{Form, Registry};
use crate::ingest::{Answer, Body, Config, Ingest, Line, Propose, Refused};
use crate::stage::Stage;

/// What happens to one proposed command.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// It is taken, and the answer arrives.
    Taken,
    /// It is taken, and the answer is lost.
    TakenUnsaid,
    /// It is lost on the way, without a word.
    Lost,
    /// It is lost on the way, and this comes back.
    Said(Outcome),
    /// It was queued and is then refused.
    Refused(Refused),
    /// It is not even queued.
    Shut(Refused),
}

pub(super) struct Log {
    inner: Mutex<Inner>,
    /// A permit for each answer that may arrive.
    gate: Semaphore,
    /// Whether somebody leads.
    leads: watch::Sender<bool>,
    /// What was accepted elsewhere, and shows here once this node has caught up.
    elsewhere: Mutex<Vec<Command>>,
}

struct Inner {
    state: State,
    index: u64,
    fates: VecDeque<Fate>,
    has_ended: bool,
    /// Packs as they came, those that were lost too.
    seen: Vec<Pack>,
}

impl Log {
    fn new() -> Self {
        let state = State::in_memory(|_| Voters {
            quorum: 1,
            count: 1,
        });
        let inner = Inner {
            state,
            index: 0,
            fates: VecDeque::new(),
            has_ended: false,
            seen: Vec::new(),
        };
        let log = Self {
            inner: Mutex::new(inner),
            gate: Semaphore::new(Semaphore::MAX_PERMITS / 2),
            leads: watch::Sender::new(true),
            elsewhere: Mutex::default(),
        };
        log.inner
            .lock()
            .unwrap()
            .take(EntryKind::Membership, Bytes::from_static(b"one"));
        log
    }

    pub(super) fn apply(&self, command: &Command) -> Outcome {
        self.inner
            .lock()
            .unwrap()
            .take(EntryKind::Command, encode_command(command))
    }

    pub(super) fn view(&self) -> StateView {
        self.inner.lock().unwrap().state.view()
    }

    pub(super) fn next(&self, fates: impl IntoIterator<Item = Fate>) {
        self.inner.lock().unwrap().fates.extend(fates);
    }

    pub(super) fn seen(&self) -> Vec<Pack> {
        self.inner.lock().unwrap().seen.clone()
    }

    /// Somebody leads from now on, or nobody does.
    pub(super) fn lead(&self, leads: bool) {
        self.leads.send_replace(leads);
    }

    pub(super) fn accept_elsewhere(&self, command: Command) {
        self.elsewhere.lock().unwrap().push(command);
    }

    /// From now on no answer arrives.
    pub(super) fn hold(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// What is under way is never answered, and nothing more is taken.
    pub(super) fn end(&self) {
        self.inner.lock().unwrap().has_ended = true;
        self.let_go();
    }

    /// So many answers may arrive.
    pub(super) fn let_some_go(&self, count: usize) {
        self.gate.add_permits(count);
    }

    pub(super) fn let_go(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Yields until this many packs have come.
    pub(super) async fn wait_for_packs(&self, count: usize) {
        while self.seen().len() < count {
            tokio::task::yield_now().await;
        }
    }
}

impl Inner {
    fn take(&mut self, kind: EntryKind, payload: Bytes) -> Outcome {
        self.index += 1;
        let id = LogId {
            term: Term(1),
            node: NodeId(1),
            index: Index(self.index),
        };
        self.state.apply(&Entry { id, kind, payload }).unwrap()
    }
}

/// So that a test can keep the log that it gave away.
pub(super) struct Door(pub(super) Arc<Log>);

impl Propose for Door {
    fn submit(&self, command: Bytes) -> BoxFuture<'_, Result<Answer, Refused>> {
        let log = Arc::clone(&self.0);
        let mut inner = self.0.inner.lock().unwrap();
        let Ok(Command::Submit(pack)) = decode_command(&command) else {
            panic!("only packs")
        };
        inner.seen.push(pack);
        let fate = match inner.fates.pop_front() {
            _ if inner.has_ended => Fate::Shut(Refused::Draining),
            None if !*log.leads.borrow() => Fate::Shut(Refused::NoQuorum),
            fate => fate.unwrap_or(Fate::Taken),
        };
        let result = match fate {
            Fate::Taken => Ok(inner.take(EntryKind::Command, command)),
            Fate::TakenUnsaid => {
                inner.take(EntryKind::Command, command);
                Err(Refused::Unknown)
            }
            Fate::Lost => Err(Refused::Unknown),
            Fate::Said(outcome) => Ok(outcome),
            Fate::Refused(refused) => Err(refused),
            Fate::Shut(refused) => return Box::pin(std::future::ready(Err(refused))),
        };
        let answer = async move {
            log.gate.acquire().await.unwrap().forget();
            if log.inner.lock().unwrap().has_ended {
                return Err(Refused::Unknown);
            }
            result
        };
        Box::pin(std::future::ready(Ok(Box::pin(answer) as Answer)))
    }

    fn catch_up(&self) -> BoxFuture<'_, Result<(), Refused>> {
        for command in self.0.elsewhere.lock().unwrap().drain(..) {
            self.0.apply(&command);
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn news(&self) -> BoxFuture<'static, ()> {
        let mut leads = self.0.leads.subscribe();
        Box::pin(async move {
            drop(leads.wait_for(|leads| !leads).await);
            drop(leads.wait_for(|leads| *leads).await);
        })
    }
}

/// A door with its log, and two forms.
pub(super) struct Rig {
    pub(super) log: Arc<Log>,
    pub(super) ingest: Ingest,
    pub(super) registry: Registry,
    pub(super) stage: Stage,
}

pub(super) const SENDER: Sender = Sender {
    node: NodeId(1),
    boot: 3,
};
pub(super) const NOW_MS: u64 = 1_700_000_000_000;

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(super) fn with(config: Config) -> Self {
        let log = Arc::new(Log::new());
        for name in ["a", "b"] {
            define(
                &log,
                name,
                &json!({
                    "type": "object", "required": ["name"], "additionalProperties": false,
                    "properties": {
                        "name": {"type": "string", "maxLength": 4000}, "n": {"type": "number"},
                        "tree": {"type": ["object", "array"]},
                    },
                }),
            );
        }
        let stage = Stage::new();
        let propose = Arc::new(Door(Arc::clone(&log)));
        let clock = Clock::fixed(NOW_MS);
        let ingest = Ingest::spawn(config, log.view(), propose, SENDER, clock, &stage);
        Self {
            registry: Registry::new(log.view()),
            log,
            ingest,
            stage,
        }
    }

    pub(super) fn form(&self, name: &str) -> Arc<Form> {
        self.registry.get(name).unwrap()
    }

    pub(super) fn retire(&self, name: &str) {
        let name = name.to_owned();
        self.log.apply(&Command::RetireForm(RetireForm {
            name,
            expect: Expect::Any,
        }));
    }

    pub(super) fn head(&self, name: &str) -> u64 {
        self.log.view().form(name).unwrap().unwrap().head.0
    }
}

pub(super) fn define(log: &Log, name: &str, schema: &serde_json::Value) -> FormId {
    let definition = json!({"name": name, "honeypot": "website", "schema": schema});
    let command = DefineForm {
        name: name.to_owned(),
        expect: Expect::Any,
        definition: Bytes::from(definition.to_string()),
    };
    let outcome = log.apply(&Command::DefineForm(command));
    let Outcome::Form { id, .. } = outcome else {
        panic!("{outcome:?}")
    };
    id
}

pub(super) fn json_body(text: &str) -> Body {
    Body::Json(Bytes::copy_from_slice(text.as_bytes()))
}

pub(super) fn lines(texts: &[&str]) -> Vec<Line> {
    let numbered = (1..).zip(texts);
    numbered
        .map(|(number, text)| Line {
            number,
            bytes: Bytes::copy_from_slice(text.as_bytes()),
        })
        .collect()
}
