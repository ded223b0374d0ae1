//! Tries on a scratch tab what exactly once rests on: most of it is what Google writes, some of it is
//! what nobody outside Google knows.
//!
//! Holds: it makes one tab of its own and removes it; it touches nothing else.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::time::sleep;

use super::Connection;
use super::api::{Api, Cell, Done, Edit, Fault, Item, Lookup, Spot};
use super::verdict::{self, State, Verdict};

/// How one promise fared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Holds,
    /// Not as it should be.
    Fails(String),
    /// It could not be tried.
    Unknown(String),
}

/// One promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// `P1` and so on.
    pub name: &'static str,
    /// What should be so.
    pub promise: &'static str,
    /// Without it rows can be lost, doubled or misplaced; otherwise it is a matter of care.
    pub is_vital: bool,
    /// Whether it is so.
    pub outcome: Outcome,
}

/// Times two requests are sent in the same moment.
const ROUNDS: i32 = 10;
/// Between two rounds: a quota of 60 a minute must last.
const BETWEEN: Duration = Duration::from_secs(1);
/// Google counts anew every minute.
const COUNTS_ANEW: Duration = Duration::from_mins(1);

/// A scratch tab.
struct Scratch<'a> {
    api: &'a Arc<dyn Api>,
    spreadsheet: &'a str,
    tab: i32,
    title: String,
    key: String,
    tell: &'a (dyn Fn(&str) + Sync),
}

/// Tries everything on a tab that is made for it and removed; `seed` names it. `tell` hears of what takes
/// long.
pub async fn doctor(
    connection: &Connection,
    spreadsheet: &str,
    seed: u32,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Probe>, String> {
    let scratch = Scratch {
        api: &connection.0,
        spreadsheet,
        tab: i32::try_from(seed % 1_000_000_000).unwrap_or_default() + 1_000_000_000,
        title: format!("formspool-doctor-{seed:08x}"),
        key: format!("formspool.doctor.{seed:08x}"),
        tell,
    };
    let made = scratch
        .send(vec![
            Edit::AddTab {
                tab: scratch.tab,
                title: scratch.title.clone(),
                rows: 50,
                columns: 4,
            },
            Edit::Header {
                tab: scratch.tab,
                at: 0,
                texts: vec!["doctor".to_owned()],
            },
            scratch.create(0, "1", Spot::Tab(scratch.tab)),
            scratch.create(1, "column", scratch.column(1)),
        ])
        .await;
    made.map_err(|fault| verdict::words(&fault))?;
    let mut probes = scratch.alone().await;
    probes.push(scratch.at_once().await);
    probes.push(scratch.filtered().await);
    let gone = scratch
        .send(vec![Edit::DeleteTab { tab: scratch.tab }])
        .await;
    gone.map_err(|fault| {
        let (words, title) = (verdict::words(&fault), &scratch.title);
        format!("{words}; the tab {title} can be deleted")
    })?;
    Ok(probes)
}

fn probe(name: &'static str, is_vital: bool, promise: &'static str, outcome: Outcome) -> Probe {
    Probe {
        name,
        promise,
        is_vital,
        outcome,
    }
}

impl Scratch<'_> {
    fn id(&self, number: i32) -> i32 {
        self.tab + number
    }

    fn column(&self, at: u32) -> Spot {
        Spot::Column { tab: self.tab, at }
    }

    fn create(&self, number: i32, value: &str, spot: Spot) -> Edit {
        Edit::Create(Item {
            id: self.id(number),
            key: self.key.clone(),
            value: value.to_owned(),
            spot,
        })
    }

    fn row(&self, text: &str) -> Edit {
        Edit::Append {
            tab: self.tab,
            rows: vec![vec![Cell::Text(text.to_owned())]],
        }
    }

    /// A compare-and-set with one row.
    fn step(&self, old: &str, new: &str, row: &str) -> Vec<Edit> {
        let delete = Edit::Delete(Lookup {
            id: self.id(0),
            value: Some(old.to_owned()),
            spot: None,
        });
        let create = self.create(0, new, Spot::Tab(self.tab));
        vec![delete, create, self.row(row)]
    }

    /// What the call comes to, once more where others have used up the quota: nothing was applied then.
    async fn patiently<'c, T>(
        &'c self,
        call: impl Fn() -> BoxFuture<'c, Result<T, Fault>>,
    ) -> Result<T, Fault> {
        match call().await {
            Err(fault) if matches!(verdict::of(&fault), Verdict::Later(State::Throttled, _)) => {
                (self.tell)(
                    "Google's quota is used up: waiting for a minute, until it counts anew",
                );
                sleep(COUNTS_ANEW).await;
                call().await
            }
            other => other,
        }
    }

    async fn send(&self, edits: Vec<Edit>) -> Result<Done, Fault> {
        self.api.ready().await?;
        self.patiently(|| self.api.batch_update(self.spreadsheet, edits.clone()))
            .await
    }

    async fn cursor(&self) -> Result<String, String> {
        let search = || self.api.search(self.spreadsheet, &self.key);
        let items = self.patiently(search).await;
        let items = items.map_err(|fault| verdict::words(&fault))?;
        let mut ours = items.into_iter().filter(|item| item.id == self.id(0));
        Ok(ours.next().map(|item| item.value).unwrap_or_default())
    }

    /// The texts of the first column below the header, with the empty cells between them.
    async fn rows(&self) -> Result<Vec<String>, String> {
        let range = format!("'{}'!A2:A1000", self.title);
        let read = || self.api.values(self.spreadsheet, &range);
        let values = self.patiently(read).await;
        let values = values.map_err(|fault| verdict::words(&fault))?;
        let text = |row: Vec<Value>| match row.into_iter().next() {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => String::new(),
        };
        Ok(values.into_iter().map(text).collect())
    }

    /// A batch that must be refused, with its row.
    async fn is_refused(&self, edits: Vec<Edit>, row: &str) -> Outcome {
        match self.send(edits).await {
            Ok(_) => return Outcome::Fails("the batch was taken".to_owned()),
            Err(Fault::Refused(problem)) if problem.status == 400 => {}
            Err(fault) => return Outcome::Unknown(verdict::words(&fault)),
        }
        match self.rows().await {
            Ok(rows) if rows.iter().any(|text| text == row) => {
                Outcome::Fails("refused, and its row is there".to_owned())
            }
            Ok(_) => Outcome::Holds,
            Err(why) => Outcome::Unknown(why),
        }
    }

    /// One request after the other.
    async fn alone(&self) -> Vec<Probe> {
        let again = vec![self.create(0, "x", Spot::Tab(self.tab)), self.row("p1")];
        let p1 = self.is_refused(again, "p1").await;
        let p2 = match self.send(self.step("1", "2", "p2")).await {
            Ok(done) if done.deleted.first() == Some(&1) => Outcome::Holds,
            Ok(done) => Outcome::Fails(format!("deleted: {:?}", done.deleted)),
            Err(fault) => Outcome::Fails(verdict::words(&fault)),
        };
        let p3 = match self.is_refused(self.step("1", "3", "p3"), "p3").await {
            Outcome::Holds => match self.cursor().await {
                Ok(cursor) if cursor == "2" => Outcome::Holds,
                Ok(cursor) => Outcome::Fails(format!("the cursor says {cursor:?}")),
                Err(why) => Outcome::Unknown(why),
            },
            other @ (Outcome::Fails(_) | Outcome::Unknown(_)) => other,
        };
        let p4 = self.moved_column().await;
        let p5 = match self.send(vec![self.row("=1+1")]).await {
            Ok(_) => match self.rows().await {
                Ok(rows) if rows.iter().any(|text| text == "=1+1") => Outcome::Holds,
                Ok(rows) => Outcome::Fails(format!("read back: {rows:?}")),
                Err(why) => Outcome::Unknown(why),
            },
            Err(fault) => Outcome::Unknown(verdict::words(&fault)),
        };
        vec![
            probe(
                "P1",
                true,
                "an id in use refuses the whole batch, rows too",
                p1,
            ),
            probe(
                "P2",
                true,
                "one batch deletes the cursor and makes it anew",
                p2,
            ),
            probe(
                "P3",
                true,
                "a cursor that says something else refuses the batch",
                p3,
            ),
            probe("P4", true, "a column that was moved refuses the batch", p4),
            probe("P5", true, "text that looks like a formula stays text", p5),
        ]
    }

    async fn moved_column(&self) -> Outcome {
        // The first column stays: rows are read there.
        let moved = Edit::MoveColumn {
            tab: self.tab,
            from: 1,
            to: 3,
        };
        if let Err(fault) = self.send(vec![moved]).await {
            return Outcome::Unknown(verdict::words(&fault));
        }
        let spot = self.column(1);
        let delete = Edit::Delete(Lookup {
            id: self.id(1),
            value: None,
            spot: Some(spot),
        });
        let create = self.create(1, "column", spot);
        let edits = vec![delete, create, self.row("p4")];
        self.is_refused(edits, "p4").await
    }

    /// Two different batches from one cursor, in the same moment.
    async fn at_once(&self) -> Probe {
        let promise = "of two batches in the same moment one is refused";
        let outcome = self.race().await;
        probe("P6", true, promise, outcome)
    }

    async fn race(&self) -> Outcome {
        for round in 0..ROUNDS {
            let old = match self.cursor().await {
                Ok(old) => old,
                Err(why) => return Outcome::Unknown(why),
            };
            let one = self.step(&old, &format!("a{round}"), &format!("p6a{round}"));
            let other = self.step(&old, &format!("b{round}"), &format!("p6b{round}"));
            let sent = futures::join!(self.send(one), self.send(other));
            let taken = usize::from(sent.0.is_ok()) + usize::from(sent.1.is_ok());
            let rows = match self.rows().await {
                Ok(rows) => rows,
                Err(why) => return Outcome::Unknown(why),
            };
            let ends = [format!("p6a{round}"), format!("p6b{round}")];
            let there = rows.iter().filter(|row| ends.contains(row)).count();
            if taken != there || there > 1 {
                let why = format!("round {round}: {taken} were taken, {there} rows are there");
                return Outcome::Fails(why);
            }
            if there == 0 {
                let why = format!("round {round}: neither was taken");
                return Outcome::Unknown(why);
            }
            tokio::time::sleep(BETWEEN).await;
        }
        Outcome::Holds
    }

    /// Rows under a filter.
    async fn filtered(&self) -> Probe {
        let promise = "under a filter, and before empty rows, a row is added behind the last one";
        let filter = Edit::Filter { tab: self.tab };
        let outcome = match self.send(vec![filter, self.row("p7")]).await {
            Ok(_) => match self.rows().await {
                Ok(rows) if rows.iter().any(String::is_empty) => {
                    Outcome::Fails(format!("empty rows stand between: {rows:?}"))
                }
                Ok(rows) if rows.last().is_some_and(|text| text == "p7") => Outcome::Holds,
                Ok(rows) => Outcome::Fails(format!("the last row is {:?}", rows.last())),
                Err(why) => Outcome::Unknown(why),
            },
            Err(fault) => Outcome::Unknown(verdict::words(&fault)),
        };
        probe("P7", false, promise, outcome)
    }
}
