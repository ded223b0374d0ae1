//! A network that loses, doubles, delays and reorders, and a Google behind it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bridge::testing::sheets::{Api, Done, Edit, Fault, Item, Problem, Tab};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::dice::Dice;
use super::google::{Book, Judge, Manners};

enum Ask {
    Batch(Vec<Edit>),
    /// What was seen when it was sent: an answer may be as old as its question.
    Search(String, Vec<Item>),
    Tabs(Vec<Tab>),
}

enum Reply {
    Done(Done),
    Items(Vec<Item>),
    Tabs(Vec<Tab>),
}

type Answer = Result<Reply, Fault>;

struct Call {
    spreadsheet: String,
    ask: Ask,
    answer: Option<oneshot::Sender<Answer>>,
    sent_at: Instant,
}

/// Google, and what is on its way there.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) books: BTreeMap<String, Book>,
    pub(crate) judge: Judge,
    pub(crate) manners: Manners,
    /// Batches that are processed in the same moment do not see each other.
    pub(crate) merges: bool,
    calls: Vec<Call>,
    /// Whoever waits for these waits until its own time limit.
    hung: Vec<oneshot::Sender<Answer>>,
    pub(crate) applied: u64,
    pub(crate) refused: u64,
}

/// Google gives a request up after this.
const EXPIRES: Duration = Duration::from_mins(3);

#[derive(Clone, Default)]
pub(crate) struct Net(Arc<Mutex<World>>);

impl Net {
    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(&self, spreadsheet: &str, ask: Ask) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.lock().calls.push(Call {
            spreadsheet: spreadsheet.to_owned(),
            ask,
            answer: Some(answer),
            sent_at: Instant::now(),
        });
        answered
            .await
            .unwrap_or_else(|_| Err(Fault::Unclear("connection reset".to_owned())))
    }
}

impl World {
    pub(crate) fn calls(&self) -> usize {
        self.calls.len()
    }

    fn answer(&mut self, mut call: Call) -> Answer {
        let book = self.books.get_mut(&call.spreadsheet);
        let Some(book) = book else {
            return Err(refusal(404, "Requested entity was not found."));
        };
        match &mut call.ask {
            Ask::Batch(edits) => match book.apply(&mut self.judge, edits, self.manners) {
                Ok(done) => {
                    self.applied += 1;
                    Ok(Reply::Done(done))
                }
                Err(why) => {
                    self.refused += 1;
                    Err(refusal(400, &why))
                }
            },
            Ask::Search(key, _) => Ok(Reply::Items(book.items(key))),
            Ask::Tabs(_) => Ok(Reply::Tabs(book.tabs())),
        }
    }

    /// Something happens to something that is on its way.
    pub(crate) fn happen(&mut self, dice: &mut Dice, is_calm: bool) {
        if self.merges {
            let expired =
                |call: &Call| matches!(call.ask, Ask::Batch(_)) && EXPIRES < call.sent_at.elapsed();
            self.calls.retain(|call| !expired(call));
            if !is_calm {
                self.collide();
            }
        }
        if self.calls.is_empty() {
            return;
        }
        let mut call = self.calls.swap_remove(dice.below(self.calls.len()));
        let answer = call.answer.take();
        let is_batch = matches!(call.ask, Ask::Batch(_));
        // Where requests of one moment collide, many a one takes its time.
        if self.merges && is_batch && answer.is_none() && !dice.one_in(6) {
            self.calls.push(call);
            return;
        }
        let fate = match (is_calm, self.merges) {
            (true, _) => 0,
            (false, true) if is_batch => 55 + dice.below(45),
            (false, _) => dice.below(100),
        };
        match (fate, is_batch) {
            // The answer arrives.
            (0..60, _) | (60..90, false) => {
                let was = if !is_calm && dice.one_in(2) {
                    old(&call)
                } else {
                    None
                };
                let now = was.map_or_else(|| self.answer(call), Ok);
                if let Some(answer) = answer {
                    drop(answer.send(now));
                }
            }
            // Applied, and the answer is lost.
            (60..72, true) => {
                drop(self.answer(call));
                self.lose(answer, dice);
            }
            // Lost on its way.
            (72..80, true) | (90.., false) => self.lose(answer, dice),
            // The connection breaks, and the request is still on its way.
            (84..95, true) => {
                self.lose(answer, dice);
                self.calls.push(call);
            }
            // Refused in words.
            (80..84, true) => {
                if let Some(answer) = answer {
                    drop(answer.send(Err(refusal(429, "Quota exceeded"))));
                }
            }
            // Applied, and it comes once more, as late as it likes.
            _ => {
                if let (Ask::Batch(edits), false) = (&call.ask, self.merges) {
                    self.calls.push(Call {
                        spreadsheet: call.spreadsheet.clone(),
                        ask: Ask::Batch(edits.clone()),
                        answer: None,
                        sent_at: call.sent_at,
                    });
                }
                let now = self.answer(call);
                if let Some(answer) = answer {
                    drop(answer.send(now));
                }
            }
        }
    }

    fn lose(&mut self, answer: Option<oneshot::Sender<Answer>>, dice: &mut Dice) {
        if dice.one_in(2) {
            self.hung.extend(answer);
        }
    }

    /// Two batches to one spreadsheet are processed in the same moment: each was good by itself.
    fn collide(&mut self) {
        let is_batch = |call: &Call| matches!(call.ask, Ask::Batch(_));
        let mut places = (0..self.calls.len()).filter(|at| is_batch(&self.calls[*at]));
        let (Some(one), Some(other)) = (places.next(), places.next()) else {
            return;
        };
        if self.calls[one].spreadsheet != self.calls[other].spreadsheet {
            return;
        }
        let Some(book) = self.books.get(&self.calls[one].spreadsheet) else {
            return;
        };
        let is_good = |call: &Call| {
            let Ask::Batch(edits) = &call.ask else {
                return false;
            };
            let mut judge = Judge::default();
            book.clone().apply(&mut judge, edits, self.manners).is_ok()
        };
        if !is_good(&self.calls[one]) || !is_good(&self.calls[other]) {
            return;
        }
        let mut second = self.calls.remove(other);
        let mut first = self.calls.remove(one);
        self.hung.extend(first.answer.take());
        self.hung.extend(second.answer.take());
        drop(self.answer(first));
        let book = self.books.get_mut(&second.spreadsheet);
        if let (Some(book), Ask::Batch(edits)) = (book, &second.ask) {
            book.merge(&mut self.judge, edits, self.manners);
        }
    }
}

/// The answer that was true when the question was sent.
fn old(call: &Call) -> Option<Reply> {
    match &call.ask {
        Ask::Batch(_) => None,
        Ask::Search(_, items) => Some(Reply::Items(items.clone())),
        Ask::Tabs(tabs) => Some(Reply::Tabs(tabs.clone())),
    }
}

fn refusal(status: u16, message: &str) -> Fault {
    Fault::Refused(Box::new(Problem {
        status,
        message: message.to_owned(),
        after: (status == 429).then_some(Duration::from_secs(1)),
        ..Problem::default()
    }))
}

impl Api for Net {
    fn ready(&self) -> BoxFuture<'_, Result<(), Fault>> {
        async { Ok(()) }.boxed()
    }

    fn batch_update<'a>(
        &'a self,
        spreadsheet: &'a str,
        edits: Vec<Edit>,
    ) -> BoxFuture<'a, Result<Done, Fault>> {
        async move {
            match self.call(spreadsheet, Ask::Batch(edits)).await? {
                Reply::Done(done) => Ok(done),
                Reply::Items(_) | Reply::Tabs(_) => panic!("another answer"),
            }
        }
        .boxed()
    }

    fn search<'a>(
        &'a self,
        spreadsheet: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Item>, Fault>> {
        async move {
            let seen = self
                .lock()
                .books
                .get(spreadsheet)
                .map(|book| book.items(key));
            let ask = Ask::Search(key.to_owned(), seen.unwrap_or_default());
            match self.call(spreadsheet, ask).await? {
                Reply::Items(items) => Ok(items),
                Reply::Done(_) | Reply::Tabs(_) => panic!("another answer"),
            }
        }
        .boxed()
    }

    fn tabs<'a>(&'a self, spreadsheet: &'a str) -> BoxFuture<'a, Result<Vec<Tab>, Fault>> {
        async move {
            let seen = self.lock().books.get(spreadsheet).map(Book::tabs);
            match self
                .call(spreadsheet, Ask::Tabs(seen.unwrap_or_default()))
                .await?
            {
                Reply::Tabs(tabs) => Ok(tabs),
                Reply::Done(_) | Reply::Items(_) => panic!("another answer"),
            }
        }
        .boxed()
    }

    fn values<'a>(
        &'a self,
        _spreadsheet: &'a str,
        _range: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Vec<Value>>, Fault>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn mail(&self) -> &'static str {
        "formspool@test"
    }
}
