//! What is asked of Google, in words of our own.
//!
//! Holds: Google's types stop in `google.rs`, which implements [`Api`]; everything else here is
//! pure, so that the protocol is tested without a network, over a model of what Google does.
//! A [`Fault`] says first whether the request can have been applied.

use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;

/// What metadata hangs on, and dies with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spot {
    /// A tab.
    Tab(i32),
    /// A column of a tab, from 0; it moves with the column.
    Column {
        /// Which tab.
        tab: i32,
        /// Which column.
        at: u32,
    },
    /// Anything else: never ours.
    Elsewhere,
}

/// A piece of developer metadata: unseen by people, kept by Google.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Unique in the spreadsheet, positive: one that is in use cannot be made again, and that
    /// refusal takes the whole batch with it. On this everything rests.
    pub id: i32,
    /// What it is for.
    pub key: String,
    /// What it says.
    pub value: String,
    /// Where it hangs.
    pub spot: Spot,
}

/// Which items a deletion means: those that fit all that is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Its id.
    pub id: i32,
    /// What it says, exactly.
    pub value: Option<String>,
    /// Where it hangs, exactly.
    pub spot: Option<Spot>,
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Left as it is.
    Empty,
    /// Text, never a formula.
    Text(String),
    /// A number.
    Number(f64),
    /// A truth value.
    Bool(bool),
}

/// How a column shows numbers that are dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// A day.
    Day,
    /// A day and a time.
    Moment,
}

/// One request of a batch. A batch is applied whole and in order, or not at all.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Deletes metadata. Whether one that finds nothing fails is not written anywhere.
    Delete(Lookup),
    /// Makes metadata.
    Create(Item),
    /// Makes a tab with a frozen first row.
    AddTab {
        /// Its id.
        tab: i32,
        /// Its title.
        title: String,
        /// Rows.
        rows: u32,
        /// Columns.
        columns: u32,
    },
    /// Keeps the first row where it is when people sort or scroll.
    Freeze {
        /// Which tab.
        tab: i32,
    },
    /// Makes room for columns; what stands there moves right.
    InsertColumns {
        /// Which tab.
        tab: i32,
        /// Before which column.
        at: u32,
        /// How many.
        count: u32,
    },
    /// Writes headers.
    Header {
        /// Which tab.
        tab: i32,
        /// From which column on.
        at: u32,
        /// What.
        texts: Vec<String>,
    },
    /// Lets a column, below its header, show dates.
    Dates {
        /// Which tab.
        tab: i32,
        /// Which column.
        at: u32,
        /// How.
        pattern: Pattern,
    },
    /// Adds rows after the last row with data in any column.
    Append {
        /// Which tab.
        tab: i32,
        /// From the first column on.
        rows: Vec<Vec<Cell>>,
    },
    /// Moves a column: for `doctor` alone.
    MoveColumn {
        /// Which tab.
        tab: i32,
        /// Which column.
        from: u32,
        /// Before which.
        to: u32,
    },
    /// Shows a filter over a tab: for `doctor` alone.
    Filter {
        /// Which tab.
        tab: i32,
    },
    /// Deletes a tab: for `doctor` alone.
    DeleteTab {
        /// Which tab.
        tab: i32,
    },
}

/// A tab's size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tab {
    /// Its id.
    pub id: i32,
    /// Its title.
    pub title: String,
    /// Its rows, empty ones too.
    pub rows: u64,
    /// Its columns.
    pub columns: u64,
    /// Rows that stay when people sort.
    pub frozen_rows: u32,
}

/// What a batch that was applied left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// For each edit, how many items it deleted.
    pub deleted: Vec<usize>,
    /// All tabs, afterwards.
    pub tabs: Vec<Tab>,
}

/// An answer that says no.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// HTTP's number.
    pub status: u16,
    /// Google's word for it, as `INVALID_ARGUMENT`.
    pub word: String,
    /// Google's finer word, as `RATE_LIMIT_EXCEEDED`; empty if it said none.
    pub reason: String,
    /// In Google's words.
    pub message: String,
    /// The quota that was met, and its value, if it said so.
    pub quota: Option<(String, u32)>,
    /// Not before this, if it said so.
    pub after: Option<Duration>,
}

/// Why a call did not come to an answer that says yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Google has refused it: nothing was applied.
    Refused(Box<Problem>),
    /// It was not sent: no connection.
    Unsent(String),
    /// It was not sent: no credential, or one that is not taken.
    Unknown(String),
    /// Anything else: it may have been applied, or may yet be.
    Unclear(String),
}

/// The calls that this sink makes. All but `batch_update` only read.
pub trait Api: Send + Sync + 'static {
    /// Has a token that the next call can use: afterwards a send is one request, nothing before it.
    fn ready(&self) -> BoxFuture<'_, Result<(), Fault>>;

    /// Applies `edits`, all of them or none.
    fn batch_update<'a>(
        &'a self,
        spreadsheet: &'a str,
        edits: Vec<Edit>,
    ) -> BoxFuture<'a, Result<Done, Fault>>;

    /// All metadata under `key`.
    fn search<'a>(
        &'a self,
        spreadsheet: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Item>, Fault>>;

    /// The tabs of a spreadsheet.
    fn tabs<'a>(&'a self, spreadsheet: &'a str) -> BoxFuture<'a, Result<Vec<Tab>, Fault>>;

    /// The values of a range in A1 notation, by rows, as they were entered.
    fn values<'a>(
        &'a self,
        spreadsheet: &'a str,
        range: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Vec<Value>>, Fault>>;

    /// The address to share a spreadsheet with.
    fn mail(&self) -> &str;
}
