//! The CSV sink: a sheet a form, a row a record, once and in order. No account, no server.
//!
//! Every node writes sheets of its own from its own applied log, so the sink is local: it needs no
//! lease and has no replicated cursor. Its cursor lies in a sidecar beside the sheet.
//!
//! Holds: all work on files is done on threads made for blocking, one at a time for a sheet; a
//! path is written by one lane only, whatever the definitions say. After any failure the sheet is
//! closed and opened anew from what is durable: a sync that failed is never tried again over the
//! same bytes.

mod cells;
mod names;
mod ours;
mod sheet;
mod sidecar;
mod widen;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;

use self::names::Names;
use self::ours::{Fault, Setup, Tail};
use self::sheet::Sheet;
use self::sidecar::Head;
use super::{Life, SinkKind};
use crate::config::CsvConfig;
use crate::error::{Cause, SinkError, Trouble};
use crate::feed::Limit;
use crate::files::Files;
use crate::record::Lane;
use crate::sink::{Batch, Cursor, Delivery, Opening, Sink};

/// The table `[csv]` of a task's definition.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// The file's name within the sheets' directory; `{form}` stands for the form's name.
    path: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: "{form}.csv".to_owned(),
        }
    }
}

impl Settings {
    fn read(settings: &serde_json::Value) -> Result<Self, String> {
        if settings.is_null() {
            return Ok(Self::default());
        }
        Self::deserialize(settings).map_err(|error| format!("csv: {error}"))
    }
}

/// Every fault of the settings for a task over `forms`.
pub(super) fn problems(settings: &serde_json::Value, forms: &[&str]) -> Vec<String> {
    let settings = match Settings::read(settings) {
        Ok(settings) => settings,
        Err(problem) => return vec![problem],
    };
    let mut problems: Vec<String> = names::problem(&settings.path).into_iter().collect();
    let is_over_many = forms.len() > 1 || forms.contains(&"*");
    if is_over_many && !settings.path.contains(names::FORM) {
        problems.push(format!(
            "csv.path {:?}: with many forms it must contain {}",
            settings.path,
            names::FORM
        ));
    }
    problems
}

/// How sheets are made and fed.
pub(super) fn kind(config: &CsvConfig, files: Arc<dyn Files>, cluster: &str) -> SinkKind {
    let limit = Limit {
        count_max: config.batch_records_max,
        bytes_max: config.batch_bytes_max,
    };
    let dir = config.dir.clone();
    let cluster: Arc<str> = Arc::from(cluster);
    let claims = Claims::default();
    SinkKind::new(limit, config.workers_max, move |life, settings, _notes| {
        let settings = Settings::read(settings)?;
        let names = Names::new(&dir, &settings.path, life.lane.form())?;
        let head = Head::new(
            &cluster,
            &life.lane.task,
            life.lane.form(),
            life.incarnation,
        );
        Ok(Box::new(CsvSink {
            setup: Arc::new(Setup {
                files: Arc::clone(&files),
                names,
                head,
            }),
            life: life.clone(),
            claims: claims.clone(),
            claim: None,
            sheet: None,
            tail: Tail::MayBeOurs,
        }))
    })
    .with_pause(Duration::from_millis(config.pause_ms))
}

struct CsvSink {
    setup: Arc<Setup>,
    life: Life,
    claims: Claims,
    claim: Option<Claim>,
    /// `None` until it is open, and after a failure.
    sheet: Option<Sheet>,
    /// What bytes behind the last mark can be, when it is opened next.
    tail: Tail,
}

impl Sink for CsvSink {
    fn is_local(&self) -> bool {
        true
    }

    fn open(&mut self, _opening: Opening) -> BoxFuture<'_, Result<Option<Cursor>, SinkError>> {
        async move {
            self.sheet = None;
            if self.claim.is_none() {
                let path = &self.setup.names.csv;
                self.claim = Some(self.claims.take(path, &self.life.lane).map_err(|owner| {
                    let why = format!("{} is written by task {}", path.display(), owner.task);
                    SinkError::Again(Trouble::new(Cause::Place, why))
                })?);
            }
            let (setup, tail) = (Arc::clone(&self.setup), self.tail);
            let opened = tokio::task::spawn_blocking(move || Sheet::open(setup, tail)).await;
            match opened {
                Ok(Ok(sheet)) => {
                    let cursor = sheet.position().map(|position| Cursor {
                        incarnation: self.life.incarnation,
                        position,
                        id: sheet.id().cloned(),
                    });
                    self.sheet = Some(sheet);
                    Ok(cursor)
                }
                Ok(Err(fault @ Fault::Later { .. })) => Err(SinkError::Stop(words(&fault))),
                Ok(Err(fault)) => Err(SinkError::Again(trouble(&fault))),
                Err(lost) => Err(SinkError::Again(thread_lost(&lost))),
            }
        }
        .boxed()
    }

    fn begin_anew(&mut self, why: String) -> BoxFuture<'_, Result<(), SinkError>> {
        async move {
            // Nothing else writes the path: this sink has its claim since it was opened.
            self.sheet = None;
            let setup = Arc::clone(&self.setup);
            let begun = tokio::task::spawn_blocking(move || Sheet::set_aside(setup, &why)).await;
            self.sheet = Some(match begun {
                Ok(Ok(sheet)) => sheet,
                Ok(Err(fault)) => return Err(SinkError::Again(trouble(&fault))),
                Err(lost) => return Err(SinkError::Again(thread_lost(&lost))),
            });
            Ok(())
        }
        .boxed()
    }

    fn deliver(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Delivery> {
        async move {
            let Some(mut sheet) = self.sheet.take() else {
                return Delivery::Reopen(Trouble::new(Cause::Place, "the sheet is not open"));
            };
            // Until it is known to be whole, bytes behind the mark can be of this batch.
            self.tail = Tail::MayBeOurs;
            let upto = batch.upto;
            let done = tokio::task::spawn_blocking(move || {
                let appended = sheet.append(&batch);
                (sheet, appended)
            })
            .await;
            match done {
                Ok((sheet, Ok(()))) => {
                    self.sheet = Some(sheet);
                    Delivery::Taken { upto }
                }
                Ok((_, Err(fault))) => {
                    if let Fault::Differs { .. } = fault {
                        self.tail = Tail::IsForeign;
                    }
                    Delivery::Reopen(trouble(&fault))
                }
                Err(lost) => Delivery::Reopen(thread_lost(&lost)),
            }
        }
        .boxed()
    }
}

/// A fault with its source, for people.
fn words(fault: &Fault) -> String {
    match std::error::Error::source(fault) {
        Some(source) => format!("{fault}: {source}"),
        None => fault.to_string(),
    }
}

fn trouble(fault: &Fault) -> Trouble {
    let cause = match fault {
        Fault::Io { source, .. }
            if matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ) =>
        {
            Cause::Room
        }
        Fault::Io { .. } | Fault::Later { .. } | Fault::Differs { .. } | Fault::KeptFull { .. } => {
            Cause::Place
        }
    };
    Trouble::new(cause, words(fault))
}

fn thread_lost(lost: &tokio::task::JoinError) -> Trouble {
    Trouble::new(Cause::Place, format!("the sheet's thread was lost: {lost}"))
}

/// Which lane writes which path, in this process.
#[derive(Clone, Debug, Default)]
struct Claims(Arc<Mutex<BTreeMap<PathBuf, Lane>>>);

/// The right to write a path, given back on drop.
#[derive(Debug)]
struct Claim {
    claims: Claims,
    path: PathBuf,
}

impl Claims {
    /// The right to write `path`; else the lane that has it.
    fn take(&self, path: &PathBuf, lane: &Lane) -> Result<Claim, Lane> {
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = owners.get(path) {
            return Err(owner.clone());
        }
        owners.insert(path.clone(), lane.clone());
        Ok(Claim {
            claims: self.clone(),
            path: path.clone(),
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leaves_the_directory_or_mixes_forms_is_refused() {
        let faults = |path: &str, forms: &[&str]| {
            problems(&serde_json::json!({ "path": path }), forms).len()
        };
        assert_eq!(faults("{form}.csv", &["*"]), 0);
        assert_eq!(faults("My {form}-2.csv", &["a", "b"]), 0);
        assert_eq!(faults("one.csv", &["a"]), 0);
        for path in [
            "/etc/{form}",
            "../{form}.csv",
            "a/../../{form}",
            "",
            ".{form}.csv",
            "d/",
            "all/{form}.csv",
            "a\\{form}.csv",
            "{form}",
            ".csv",
            "{form}.csv.exe",
            "é.csv",
            &format!("{}.csv", "a".repeat(125)),
        ] {
            assert_ne!(faults(path, &["a"]), 0, "{path:?}");
        }
        assert_eq!(faults("one.csv", &["a", "b"]), 1);
        assert_eq!(faults("one.csv", &["*"]), 1);
        assert_eq!(problems(&serde_json::json!({ "pth": 1 }), &["a"]).len(), 1);
        assert_eq!(problems(&serde_json::Value::Null, &["*"]).len(), 0);
    }
}
