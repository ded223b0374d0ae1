//! What tests need in the place of a queue, a destination and a disk; and the suite that every
//! sink passes.
//!
//! Holds: everything here is deterministic. Faults are asked for by name and number, dice are
//! seeded.

mod contract;
mod disk;
mod feed;
mod files;
mod sink;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use contract::{Destination, contract, drive};
pub use feed::VecFeed;
pub use files::{Break, MemFiles, Sectors};
pub use sink::{FlakySink, Place, Step};

use crate::record::{Position, Record};
use crate::sink::Sink;
use crate::sinks::{Life, SinkSpec, Sinks};
use crate::status::Notes;

/// What a model of Google Sheets needs.
#[cfg(feature = "sheets")]
pub mod sheets {
    use std::sync::Arc;

    use crate::config::SheetsConfig;
    use crate::mutants::Mutant;
    use crate::sinks::SinkKind;
    pub use crate::sinks::sheets::api::{
        Api, Cell, Done, Edit, Fault, Item, Lookup, Pattern, Problem, Spot, Tab,
    };

    /// How tabs are made and fed over `api`, with one promise broken if `flaw` says so.
    pub fn kind(
        config: &SheetsConfig,
        cluster: &str,
        api: Arc<dyn Api>,
        flaw: Option<Mutant>,
    ) -> SinkKind {
        kind_by(config, cluster, Arc::new(move || Arc::clone(&api)), flaw)
    }

    /// The same with a connection that is made anew whenever it is asked for.
    pub fn kind_by(
        config: &SheetsConfig,
        cluster: &str,
        connect: Arc<dyn Fn() -> Arc<dyn Api> + Send + Sync>,
        flaw: Option<Mutant>,
    ) -> SinkKind {
        crate::sinks::sheets::kind_with(config, cluster, connect, flaw)
    }
}

/// The sink of `spec`, as a pump would get it.
///
/// # Panics
/// Where its settings are wrong.
pub fn sink_of(sinks: &Sinks, spec: &SinkSpec, life: &Life) -> Box<dyn Sink> {
    telling_sink_of(sinks, spec, life).0
}

/// The same, with what it tells of its destination.
///
/// # Panics
/// Where its settings are wrong.
pub fn telling_sink_of(sinks: &Sinks, spec: &SinkSpec, life: &Life) -> (Box<dyn Sink>, Notes) {
    let Some(kind) = sinks.get(&spec.name) else {
        panic!("no sink is called {}", spec.name);
    };
    let notes = Notes::default();
    let sink = kind.make(life, &spec.settings, &notes);
    (sink.unwrap_or_else(|why| panic!("{why}")), notes)
}

/// Waits until a sink tells such a thing of its destination.
///
/// # Panics
/// Where it has not within a minute.
pub async fn until_told(notes: &Notes, is_so: impl FnMut(&serde_json::Value) -> bool) {
    let told = tokio::time::timeout(Duration::from_mins(1), notes.until(is_so)).await;
    assert!(told.is_ok(), "it never came to it: {:?}", notes.get());
}

/// The `seq`th record of `form`, at entry `seq`, with `body`.
pub fn record(form: &str, seq: u64, body: &str) -> Record {
    Record {
        form: Arc::from(form),
        seq,
        position: Position {
            index: seq,
            slot: 0,
        },
        term: 1,
        id: format!("00000000-0000-7000-8000-{seq:012}"),
        received_at_ms: 1_764_000_000_000 + seq,
        form_version: 1,
        body: Bytes::copy_from_slice(body.as_bytes()),
        is_replay: false,
    }
}
