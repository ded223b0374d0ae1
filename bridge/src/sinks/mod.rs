//! The name in a task's definition -> the sink.
//!
//! Holds: this table is the only place that knows all sinks. To the pump they are one trait; to
//! the rest of the product they are a name and a table of settings. README.md says how to add one.

mod csv;
#[cfg(feature = "kafka")]
mod kafka;
mod row;
#[cfg(feature = "sheets")]
pub mod sheets;

#[cfg(feature = "kafka")]
pub(crate) use kafka::property_problem;
#[cfg(feature = "kafka")]
pub use kafka::{
    Finding, KafkaRecord, KafkaReport, KafkaSpan, KafkaTask, Level, kafka_audit, kafka_read,
    kafka_spans,
};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::bridge::NowMs;
use crate::config::{CsvConfig, KafkaConfig, SheetsConfig};
use crate::feed::Limit;
use crate::files::Files;
use crate::metrics::Metrics;
use crate::record::Lane;
use crate::sink::Sink;
use crate::status::Notes;

#[cfg(not(feature = "kafka"))]
const NO_KAFKA: &str = "this build has no Kafka (feature kafka)";
#[cfg(not(feature = "sheets"))]
const NO_SHEETS: &str = "this build has no Google Sheets (feature sheets)";

/// Which sink a task uses, and the table of its definition that is named like the sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkSpec {
    /// `csv`, `kafka`, `sheets`.
    pub name: Arc<str>,
    /// Its settings; null if the definition has none.
    pub settings: serde_json::Value,
}

impl SinkSpec {
    /// A sheet a form, under `path` in the sheets' directory; `{form}` stands for the form's name.
    pub fn csv(path: &str) -> Self {
        Self {
            name: Arc::from("csv"),
            settings: serde_json::json!({ "path": path }),
        }
    }

    /// Whether the destination is the same, with our cursor in the same place, whatever else of the
    /// settings differs.
    pub fn is_same_place(&self, other: &Self) -> bool {
        if self.name != other.name {
            return false;
        }
        match &*self.name {
            #[cfg(feature = "kafka")]
            "kafka" => kafka::is_same_place(&self.settings, &other.settings),
            #[cfg(feature = "sheets")]
            "sheets" => sheets::is_same_place(&self.settings, &other.settings),
            _ => self.settings == other.settings,
        }
    }

    /// Every fault of these settings for a task over `forms`, in words. A task whose forms are
    /// `*` is one over many.
    pub fn problems(&self, forms: &[&str]) -> Vec<String> {
        match &*self.name {
            "csv" => csv::problems(&self.settings, forms),
            #[cfg(feature = "kafka")]
            "kafka" => kafka::problems(&self.settings),
            #[cfg(not(feature = "kafka"))]
            "kafka" => vec![NO_KAFKA.to_owned()],
            #[cfg(feature = "sheets")]
            "sheets" => sheets::problems(&self.settings, forms),
            #[cfg(not(feature = "sheets"))]
            "sheets" => vec![NO_SHEETS.to_owned()],
            other => vec![format!(
                "there is no sink called {other:?}; there are: csv, kafka, sheets"
            )],
        }
    }
}

/// One life of one lane: for what a sink is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Whose.
    pub lane: Lane,
    /// Index of the entry that began it.
    pub incarnation: u64,
}

type Make =
    Arc<dyn Fn(&Life, &serde_json::Value, &Notes) -> Result<Box<dyn Sink>, String> + Send + Sync>;

type Lacks = Arc<dyn Fn(&serde_json::Value) -> BoxFuture<'static, Option<String>> + Send + Sync>;

/// How sinks of one name are made and fed.
#[derive(Clone)]
pub struct SinkKind {
    make: Make,
    lacks: Option<Lacks>,
    pub(crate) limit: Limit,
    pub(crate) pause: Duration,
    /// The destination keeps one cursor a task, over all its forms.
    pub(crate) has_one_lane: bool,
    /// A send whose end stays unknown may still arrive: it is announced in the log before.
    pub(crate) announces_sends: bool,
    /// The next batch is read while one is on its way: two are in memory then.
    pub(crate) reads_ahead: bool,
    /// One permit a turn: bounds threads and memory, however many lanes there are. A kind has its
    /// own, so that a slow destination takes none from another.
    pub(crate) turns: Arc<Semaphore>,
}

impl SinkKind {
    /// Sinks that `make` makes: it touches nothing, `open` does. Of all lanes, `turns_max` are
    /// served at once, each with one batch of at most `limit`.
    pub fn new<F>(limit: Limit, turns_max: usize, make: F) -> Self
    where
        F: Fn(&Life, &serde_json::Value, &Notes) -> Result<Box<dyn Sink>, String>
            + Send
            + Sync
            + 'static,
    {
        Self {
            make: Arc::new(make),
            lacks: None,
            limit,
            pause: Duration::ZERO,
            has_one_lane: false,
            announces_sends: false,
            reads_ahead: false,
            turns: Arc::new(Semaphore::new(turns_max.max(1))),
        }
    }

    /// What this build cannot make, and why.
    #[cfg(not(all(feature = "kafka", feature = "sheets")))]
    fn missing(why: &'static str) -> Self {
        let limit = Limit {
            count_max: 1,
            bytes_max: 1,
        };
        Self::new(limit, 1, move |_, _, _| Err(why.to_owned()))
    }

    /// The same, with at least `pause` between the starts of two batches of a lane, unless a whole
    /// batch waits.
    #[must_use]
    pub fn with_pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// The same, for a destination that keeps one cursor a task: one lane over all its forms.
    #[must_use]
    pub fn with_one_lane(self) -> Self {
        Self {
            has_one_lane: true,
            ..self
        }
    }

    /// The same, for a destination that may take a request long after its sender is gone: each send is
    /// announced in the log before it begins, and [`crate::Opening`] tells the next one of it.
    #[must_use]
    pub fn announcing_sends(self) -> Self {
        Self {
            announces_sends: true,
            ..self
        }
    }

    /// The same, with the next batch read while one is on its way, where a whole one waits.
    #[must_use]
    pub fn reading_ahead(self) -> Self {
        Self {
            reads_ahead: true,
            ..self
        }
    }

    /// The same, for a destination that needs something of the node itself: `lacks` says for the
    /// settings of a task what is not there, in words.
    #[must_use]
    pub fn needing<F>(self, lacks: F) -> Self
    where
        F: Fn(&serde_json::Value) -> BoxFuture<'static, Option<String>> + Send + Sync + 'static,
    {
        Self {
            lacks: Some(Arc::new(lacks)),
            ..self
        }
    }

    pub(crate) async fn lacks(&self, settings: &serde_json::Value) -> Option<String> {
        (self.lacks.as_ref()?)(settings).await
    }

    pub(crate) fn make(
        &self,
        life: &Life,
        settings: &serde_json::Value,
        notes: &Notes,
    ) -> Result<Box<dyn Sink>, String> {
        (self.make)(life, settings, notes)
    }
}

impl fmt::Debug for SinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkKind")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// All sinks by name.
#[derive(Clone, Debug, Default)]
pub struct Sinks {
    kinds: BTreeMap<&'static str, SinkKind>,
}

impl Sinks {
    /// The sinks of this product. `cluster` is written beside each sheet: a directory that came
    /// from another cluster is not taken for this one's.
    pub fn new(config: &CsvConfig, files: Arc<dyn Files>, cluster: &str) -> Self {
        let mut sinks = Self::default();
        sinks.add("csv", csv::kind(config, files, cluster));
        sinks
    }

    /// Adds Kafka; in a build without it, what says so. `cluster` is in the name of everything that it
    /// keeps there; `now_ms` stamps records that are too old to be stamped with their acceptance.
    pub fn add_kafka(
        &mut self,
        config: &KafkaConfig,
        cluster: &str,
        now_ms: NowMs,
        metrics: &Metrics,
    ) {
        #[cfg(feature = "kafka")]
        self.add("kafka", kafka::kind(config, cluster, now_ms, metrics));
        #[cfg(not(feature = "kafka"))]
        {
            drop((config, cluster, now_ms, metrics));
            self.add("kafka", SinkKind::missing(NO_KAFKA).with_one_lane());
        }
    }

    /// Adds Google Sheets, likewise. `cluster` is in every cursor that it keeps there.
    pub fn add_sheets(&mut self, config: &SheetsConfig, cluster: &str, metrics: &Metrics) {
        #[cfg(feature = "sheets")]
        self.add("sheets", sheets::kind(config, cluster, metrics));
        #[cfg(not(feature = "sheets"))]
        {
            let _ = (config, cluster, metrics);
            self.add("sheets", SinkKind::missing(NO_SHEETS));
        }
    }

    /// Adds a sink, or replaces one.
    pub fn add(&mut self, name: &'static str, kind: SinkKind) {
        self.kinds.insert(name, kind);
    }

    pub(crate) fn get(&self, name: &str) -> Option<&SinkKind> {
        self.kinds.get(name)
    }
}
