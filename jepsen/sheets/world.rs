//! All that this program knows, behind one lock.
//!
//! Holds: a batch, its version and its line in the journal come into being together.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::batch::Outcome;
use crate::book::Book;
use crate::clock;
use crate::dice::Dice;
use crate::faults::Faults;
use crate::journal::{Entry, Journal};
use crate::quota::Quota;
use crate::schema::Schema;
use crate::settings::Settings;
use crate::shelf::Shelf;
use crate::token::Tokens;

const CALLS_KEPT: usize = 200_000;

/// One call of the API, as it ended.
#[derive(Clone, Debug)]
pub(crate) struct CallEnd {
    pub(crate) n: u64,
    pub(crate) at_ms: u64,
    pub(crate) method: String,
    pub(crate) user: String,
    pub(crate) spreadsheet: String,
    /// 0: no answer.
    pub(crate) status: u16,
    pub(crate) words: String,
    pub(crate) fault: Option<String>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) shelves: BTreeMap<String, Shelf>,
    pub(crate) tokens: Tokens,
    pub(crate) quota: Quota,
    pub(crate) faults: Faults,
    pub(crate) journal: Journal,
    pub(crate) dice: Dice,
    pub(crate) calls: VecDeque<CallEnd>,
    pub(crate) calls_begun: u64,
}

/// What the doors share.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) schema: Arc<Schema>,
    /// The one account of the start, as people share with it.
    pub(crate) email: String,
    pub(crate) token_uri: String,
    world: Mutex<World>,
    started: Instant,
    /// Calls under way: they go on when their client has left.
    pub(crate) under_way: Mutex<JoinSet<()>>,
    /// Whether the API's door is open.
    pub(crate) is_open: watch::Sender<bool>,
}

impl Fake {
    pub(crate) fn new(schema: Schema, email: String, token_uri: String, seed: u64) -> Self {
        let world = World {
            settings: Settings::default(),
            shelves: BTreeMap::new(),
            tokens: Tokens::default(),
            quota: Quota::default(),
            faults: Faults::default(),
            journal: Journal::default(),
            dice: Dice::new(seed),
            calls: VecDeque::new(),
            calls_begun: 0,
        };
        Self {
            schema: Arc::new(schema),
            email,
            token_uri,
            world: Mutex::new(world),
            started: Instant::now(),
            under_way: Mutex::default(),
            is_open: watch::Sender::new(true),
        }
    }

    /// A panic under the lock has been told already; what is there is still whole.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since the start, by a clock that never jumps.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl World {
    /// This fake's own idea of the time.
    pub(crate) fn now_ms(&self) -> u64 {
        clock::now_ms().saturating_add_signed(self.settings.skew_ms)
    }

    /// A new version of a spreadsheet, by a call (or 0) and in somebody's name.
    pub(crate) fn commit(
        &mut self,
        book: Book,
        outcome: Outcome,
        (call, by, human): (u64, &str, Option<Value>),
    ) -> u64 {
        let (at_ms, spreadsheet) = (clock::now_ms(), book.id.clone());
        let Some(shelf) = self.shelves.get_mut(&spreadsheet) else {
            return 0;
        };
        let revision = shelf.put(book, at_ms);
        self.journal.add(Entry {
            at_ms,
            spreadsheet,
            call,
            by: by.to_owned(),
            human,
            revision,
            outcome,
        });
        revision
    }

    pub(crate) fn end_call(&mut self, call: CallEnd) {
        if self.calls.len() >= CALLS_KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }
}

impl CallEnd {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "n": self.n,
            "at_ms": self.at_ms,
            "method": self.method,
            "user": self.user,
            "spreadsheet": self.spreadsheet,
            "status": self.status,
            "words": self.words,
            "fault": self.fault,
        })
    }
}
