//! The same Google over a network without faults, but for those that are asked for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bridge::testing::sheets::{Api, Done, Edit, Fault, Item, Problem, Tab};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::time::Instant;

use super::google::{Book, Judge, Manners};

/// What happens to the next batch.
pub(crate) enum Fate {
    /// It is answered with this, and not applied.
    Says(Fault),
    /// It is applied, and the answer is lost.
    Lost,
}

#[derive(Default)]
pub(crate) struct Place {
    pub(crate) books: std::collections::BTreeMap<String, Book>,
    pub(crate) judge: Judge,
    pub(crate) manners: Manners,
    fates: VecDeque<Fate>,
    /// When each batch was sent and answered, and the form of its cursor.
    pub(crate) sends: Vec<(Instant, Instant, String)>,
    pub(crate) reads: u64,
    /// How long each call takes.
    pub(crate) takes: Duration,
    /// Which key the file holds; those of before are revoked.
    pub(crate) key: u32,
}

/// A connection, with the key that the file held when it was made.
#[derive(Clone, Default)]
pub(crate) struct Calm {
    place: Arc<Mutex<Place>>,
    key: u32,
}

pub(crate) fn refusal(status: u16, reason: &str, message: &str) -> Fault {
    Fault::Refused(Box::new(Problem {
        status,
        reason: reason.to_owned(),
        message: message.to_owned(),
        ..Problem::default()
    }))
}

impl Calm {
    /// Spreadsheets of these names, each with one tab that is not ours.
    pub(crate) fn new(names: &[&str]) -> Self {
        let calm = Self::default();
        {
            let mut place = calm.lock();
            place.manners.cells_max = 10_000_000;
            for name in names {
                let mut book = Book::default();
                book.add(0, "Sheet1", 3);
                place.books.insert((*name).to_owned(), book);
            }
        }
        calm
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that is made now.
    pub(crate) fn connected(&self) -> Self {
        let key = self.lock().key;
        Self {
            key,
            ..self.clone()
        }
    }

    pub(crate) fn next(&self, fate: Fate) {
        self.lock().fates.push_back(fate);
    }

    async fn take_time(&self) {
        let takes = self.lock().takes;
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
    }
}

impl Place {
    fn batch(&mut self, spreadsheet: &str, edits: &[Edit]) -> Result<Done, Fault> {
        let fate = self.fates.pop_front();
        if let Some(Fate::Says(fault)) = fate {
            return Err(fault);
        }
        let Some(book) = self.books.get_mut(spreadsheet) else {
            return Err(refusal(404, "", "Requested entity was not found."));
        };
        let done = book.apply(&mut self.judge, edits, self.manners);
        if let (Some(Fate::Lost), Ok(_)) = (&fate, &done) {
            return Err(Fault::Unclear("connection reset".to_owned()));
        }
        done.map_err(|why| refusal(400, "", &why))
    }
}

/// The form that a batch is of: what its cursor says.
fn form_of(edits: &[Edit]) -> String {
    let forms = edits.iter().filter_map(|edit| {
        let Edit::Create(item) = edit else {
            return None;
        };
        let (_, rest) = item.value.split_once("\"form\":\"")?;
        rest.split('"').next().map(str::to_owned)
    });
    forms.fold(String::new(), |_, form| form)
}

impl Api for Calm {
    fn ready(&self) -> BoxFuture<'_, Result<(), Fault>> {
        async move {
            if self.key == self.lock().key {
                return Ok(());
            }
            Err(Fault::Unknown("invalid_grant".to_owned()))
        }
        .boxed()
    }

    fn batch_update<'a>(
        &'a self,
        spreadsheet: &'a str,
        edits: Vec<Edit>,
    ) -> BoxFuture<'a, Result<Done, Fault>> {
        async move {
            let began = Instant::now();
            self.take_time().await;
            let mut place = self.lock();
            place.sends.push((began, Instant::now(), form_of(&edits)));
            place.batch(spreadsheet, &edits)
        }
        .boxed()
    }

    fn search<'a>(
        &'a self,
        spreadsheet: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Item>, Fault>> {
        async move {
            self.take_time().await;
            let mut place = self.lock();
            place.reads += 1;
            let book = place.books.get(spreadsheet);
            let book = book.ok_or_else(|| refusal(404, "", "Requested entity was not found."))?;
            Ok(book.items(key))
        }
        .boxed()
    }

    fn tabs<'a>(&'a self, spreadsheet: &'a str) -> BoxFuture<'a, Result<Vec<Tab>, Fault>> {
        async move {
            self.take_time().await;
            let mut place = self.lock();
            place.reads += 1;
            let book = place.books.get(spreadsheet);
            let book = book.ok_or_else(|| refusal(404, "", "Requested entity was not found."))?;
            Ok(book.tabs())
        }
        .boxed()
    }

    fn values<'a>(
        &'a self,
        spreadsheet: &'a str,
        range: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Vec<Value>>, Fault>> {
        async move {
            let place = self.lock();
            let book = place.books.get(spreadsheet);
            let values = book.and_then(|book| book.values(range));
            values.ok_or_else(|| refusal(400, "", "Unable to parse range"))
        }
        .boxed()
    }

    fn mail(&self) -> &'static str {
        "formspool@test"
    }
}
