//! The Google Sheets sink: a tab a form, a row a record, once and in order, while people edit it.
//!
//! A delivery is one atomic `spreadsheets.batchUpdate`: a compare-and-set on a cursor that lies in the
//! spreadsheet's metadata, a guard for every column, and the rows. `plan.rs` says why that is enough.
//!
//! Holds: rows are in the spreadsheet up to its cursor, each once, whoever sent them and however late;
//! a value is written under its own column or not at all; what is not a clear answer is settled by
//! reading the cursor, never by sending again; one request at a time goes to a spreadsheet, and one
//! line stands before each credential's quota.

pub mod api;
mod audit;
mod deliver;
mod doctor;
mod google;
mod hunt;
mod layout;
mod mark;
mod names;
mod office;
mod open;
mod plan;
mod queue;
mod rows;
mod settings;
mod sink;
mod tell;
mod values;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

pub use audit::{SheetReport, SheetRow, SheetTask, connect, read, repair};
pub use doctor::{Outcome, Probe, doctor};

use self::api::Edit;
use self::names::Names;
use self::office::{Connect, Office};
use self::settings::Settings;
use self::sink::SheetsSink;
use self::tell::Board;
use super::SinkKind;
use crate::config::SheetsConfig;
use crate::feed::Limit;
use crate::metrics::Metrics;
use crate::mutants::{self, Mutant};

/// A connection to Google, for commands.
pub struct Connection(Arc<dyn api::Api>);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connection").field(&self.0.mail()).finish()
    }
}

impl Connection {
    /// Over any [`api::Api`], for tests.
    pub fn over(api: Arc<dyn api::Api>) -> Self {
        Self(api)
    }

    /// The address to share spreadsheets with.
    pub fn mail(&self) -> &str {
        self.0.mail()
    }
}

/// Every fault of a task's table for `forms`.
pub(super) fn problems(settings: &serde_json::Value, forms: &[&str]) -> Vec<String> {
    settings::problems(settings, forms)
}

/// Whether both keep their cursors in the same spreadsheet. A tab is found by its cursor, not by its
/// title, so another title is no other place.
pub(super) fn is_same_place(one: &serde_json::Value, other: &serde_json::Value) -> bool {
    let places = (Settings::read(one), Settings::read(other));
    matches!(places, (Ok(one), Ok(other)) if one.spreadsheet == other.spreadsheet)
}

/// More lanes than there will ever be.
const TURNS: usize = 1 << 20;

/// How tabs are made and fed.
pub(super) fn kind(config: &SheetsConfig, cluster: &str, metrics: &Metrics) -> SinkKind {
    let settings = config.clone();
    let connect: Connect = Arc::new(move |account: &str| {
        let (settings, account) = (settings.clone(), account.to_owned());
        Box::pin(async move { google::connect(&settings, &account).await })
    });
    let files = config.clone();
    kind_over(config, (cluster, metrics), connect, Flaws::default()).needing(move |settings| {
        let account = Settings::read(settings).map(|settings| settings.account);
        let files = files.clone();
        Box::pin(async move { google::lacks(&files, &account.ok()?).await })
    })
}

/// The same over any [`Api`], for tests; with one of its promises broken.
#[cfg(feature = "testing")]
pub(crate) fn kind_with(
    config: &SheetsConfig,
    cluster: &str,
    made: Arc<dyn Fn() -> Arc<dyn api::Api> + Send + Sync>,
    flaw: Option<Mutant>,
) -> SinkKind {
    let connect: Connect = Arc::new(move |_: &str| {
        let api = made();
        Box::pin(async move { Ok(api) })
    });
    kind_over(config, (cluster, &Metrics::default()), connect, Flaws(flaw))
}

fn kind_over(
    config: &SheetsConfig,
    (cluster, metrics): (&str, &Metrics),
    connect: Connect,
    flaws: Flaws,
) -> SinkKind {
    let limit = Limit {
        count_max: config.batch_records_max,
        // A body grows by half and more when it becomes cells.
        bytes_max: (config.batch_bytes_max / 2).max(1),
    };
    let office = Arc::new(Office::new(config.clone(), metrics.clone(), connect));
    let cluster: Arc<str> = Arc::from(cluster);
    // A lane that has leave holds one of the office's permits already.
    SinkKind::new(limit, TURNS, move |life, settings, notes| {
        let settings = Settings::read(settings)?;
        let names = Names::new(&cluster, &life.lane);
        let board = Board::new(notes.clone(), &settings.spreadsheet);
        let parts = (names, settings);
        let sink = SheetsSink::new(Arc::clone(&office), parts, life.clone(), board, flaws);
        Ok(Box::new(sink))
    })
    .with_pause(Duration::from_millis(config.linger_ms))
    .announcing_sends()
}

/// Promises that are broken on purpose: by a mutant of the whole process, or in one test.
#[derive(Clone, Copy, Debug, Default)]
struct Flaws(Option<Mutant>);

impl Flaws {
    fn has(self, mutant: Mutant) -> bool {
        self.0 == Some(mutant) || mutants::is(mutant)
    }

    /// The requests in which a batch goes out: one, unless that is what is broken.
    fn spoil(self, mut edits: Vec<Edit>) -> Vec<Vec<Edit>> {
        if self.has(Mutant::SheetsNoCas)
            && let Some(Edit::Delete(lookup)) = edits.first_mut()
        {
            lookup.value = None;
        }
        if self.has(Mutant::SheetsTwoCalls) && edits.len() > 2 {
            let rest = edits.split_off(2);
            return vec![rest, edits];
        }
        vec![edits]
    }
}
