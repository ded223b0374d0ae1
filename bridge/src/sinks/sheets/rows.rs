//! Records as rows of one batch: how many fit, which columns they need, and their cells.
//!
//! Holds: a batch stays below every cap but for its first record, which goes alone if it must. A
//! member that has no column gets one in the same batch that brings its first value; past
//! [`COLUMNS_MAX`], such members go together, as one JSON object, into `_more`.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::super::row::{Row, add_member};
use super::api::{Cell, Pattern};
use super::layout::{Column, FIRST, Layout};
use super::mark::Mark;
use super::names::Names;
use super::plan::Plan;
use super::settings::{Kind, OnDeleted, ReceivedAt, Settings};
use super::values::{self, Style};
use crate::record::{Position, Record};
use crate::sink::Batch;

/// Members get columns of their own until there are this many.
const COLUMNS_MAX: usize = 256;
/// What one cell needs in a request besides its text.
const CELL_BYTES: usize = 45;
/// What one column's guards need.
const GUARD_BYTES: usize = 700;

/// What one request may carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    pub(super) records: usize,
    pub(super) cells: usize,
    pub(super) bytes: usize,
}

/// Where a column's values go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    At(u32),
    /// A person has deleted the column, and does not want it back.
    Nowhere,
    /// With the others that have no column.
    More,
}

/// A batch in the making.
pub(super) struct Draft<'a> {
    names: &'a Names,
    settings: &'a Settings,
    layout: &'a Layout,
    made: Vec<Column>,
    places: BTreeMap<Column, Place>,
    /// The keys of `places` in the order in which they came.
    asked: Vec<Column>,
    /// Headers of columns that a person has deleted, where that is theirs to decide.
    deleted: Vec<String>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(names: &'a Names, settings: &'a Settings, layout: &'a Layout) -> Self {
        Self {
            names,
            settings,
            layout,
            made: Vec::new(),
            places: BTreeMap::new(),
            asked: Vec::new(),
            deleted: Vec::new(),
        }
    }

    fn is_serial(&self) -> bool {
        self.settings.received_at == ReceivedAt::Serial
    }

    /// One request that brings as much of `batch` as fits. Where people have deleted columns and
    /// want to decide about it: their headers.
    pub(super) fn plan(
        self,
        batch: &Batch,
        caps: Caps,
        (has_guards, attempt): (bool, u32),
    ) -> Result<Plan, Vec<String>> {
        if batch.records.is_empty() {
            let mark = Mark::new(self.layout.mark.life, batch.upto);
            return Ok(Plan::cursor_only(self.names, self.layout, mark));
        }
        self.compose(batch, caps, None, (has_guards, attempt))
    }

    /// The same for rows that were passed before: the cursor stays where it is, at `at`.
    pub(super) fn plan_at(
        self,
        batch: &Batch,
        caps: Caps,
        (at, attempt): (Position, u32),
    ) -> Result<Plan, Vec<String>> {
        self.compose(batch, caps, Some(at), (true, attempt))
    }

    fn compose(
        mut self,
        batch: &Batch,
        caps: Caps,
        at: Option<Position>,
        (has_guards, attempt): (bool, u32),
    ) -> Result<Plan, Vec<String>> {
        for column in FIRST {
            self.place(column);
        }
        for name in batch.fields.iter() {
            self.place(Column::Field(name.clone()));
        }
        let (parted, count) = self.choose(&batch.records, caps);
        if !self.deleted.is_empty() {
            return Err(self.deleted);
        }
        let taken = batch.records.get(..count).unwrap_or_default();
        let upto = match taken.last() {
            Some(last) if count < batch.records.len() => last.position,
            _ => batch.upto,
        };
        let upto = at.unwrap_or(upto);
        let mut plan = Plan::guarded(self.names, self.layout, upto, has_guards);
        plan.widen(self.names, &self.made, self.is_serial(), attempt);
        for column in &self.made {
            let Column::Field(name) = column else {
                continue;
            };
            if self.settings.fields.get(name) == Some(&Kind::Date)
                && let Some(place) = plan.layout.place(column)
            {
                plan.dates(place.at, Pattern::Day);
            }
        }
        let rows = taken.iter().zip(&parted);
        let rows = rows.map(|(record, row)| self.row(record, row)).collect();
        plan.append(rows);
        Ok(plan)
    }

    /// Parts records into members until a cap is met.
    fn choose<'r>(&mut self, records: &'r [Record], caps: Caps) -> (Vec<Row<'r>>, usize) {
        let mut parted = Vec::new();
        let mut bytes = 0;
        for record in records {
            let row = Row::of(record);
            let (made, asked) = (self.made.len(), self.asked.len());
            let members = self.make_room_for(record, &row);
            bytes += record.body.len() * 9 / 8 + (members + FIRST.len()) * CELL_BYTES;
            let width = self.width();
            let is_too_much = parted.len() + 1 > caps.records
                || (parted.len() + 1) * width > caps.cells
                || bytes + width * GUARD_BYTES > caps.bytes;
            if is_too_much && !parted.is_empty() {
                self.made.truncate(made);
                for column in self.asked.drain(asked..) {
                    self.places.remove(&column);
                }
                break;
            }
            parted.push(row);
        }
        let count = parted.len();
        (parted, count)
    }

    fn make_room_for(&mut self, record: &Record, row: &Row<'_>) -> usize {
        if record.is_replay {
            self.place(Column::Replay);
        }
        match row {
            Row::Members(members) => {
                for (name, _) in members {
                    if self.place(Column::Field(name.to_string())) == Place::More {
                        self.place(Column::More);
                    }
                }
                members.len()
            }
            Row::Whole(_) => {
                self.place(Column::More);
                1
            }
        }
    }

    /// Columns up to the last of ours.
    fn width(&self) -> usize {
        usize::try_from(self.layout.behind()).unwrap_or(usize::MAX) + self.made.len()
    }

    fn place(&mut self, column: Column) -> Place {
        if let Some(place) = self.places.get(&column) {
            return *place;
        }
        let place = self.find(&column);
        self.asked.push(column.clone());
        self.places.insert(column, place);
        place
    }

    fn find(&mut self, column: &Column) -> Place {
        if let Some(tag) = self.layout.place(column) {
            return Place::At(tag.at);
        }
        if self.layout.knows(column) {
            match self.settings.on_deleted_column {
                OnDeleted::Recreate => {}
                OnDeleted::Drop => return Place::Nowhere,
                OnDeleted::Pause => {
                    self.deleted.push(column.header(self.is_serial()));
                    return Place::Nowhere;
                }
            }
        }
        let columns = self.layout.columns.len() + self.made.len();
        if matches!(column, Column::Field(_)) && columns >= COLUMNS_MAX {
            return Place::More;
        }
        let at = self.width();
        self.made.push(column.clone());
        Place::At(u32::try_from(at).unwrap_or(u32::MAX))
    }

    fn row(&self, record: &Record, row: &Row<'_>) -> Vec<Cell> {
        let style = Style {
            has_guard: self.settings.csv_guard,
            id: &record.id,
        };
        let mut cells = Cells::default();
        #[expect(
            clippy::cast_precision_loss,
            reason = "exact up to 2^53 records a form"
        )]
        let seq = Cell::Number(record.seq as f64);
        cells.set(self.known_place(&Column::Seq), seq);
        let id = Cell::Text(record.id.clone());
        cells.set(self.known_place(&Column::Id), id);
        let received_at = match self.settings.received_at {
            ReceivedAt::Serial => Cell::Number(values::serial(record.received_at_ms)),
            ReceivedAt::Text => Cell::Text(super::super::row::time(record.received_at_ms)),
        };
        cells.set(self.known_place(&Column::ReceivedAt), received_at);
        if record.is_replay {
            let told = Cell::Text("replay".to_owned());
            cells.set(self.known_place(&Column::Replay), told);
        }
        let mut more = String::new();
        match row {
            Row::Members(members) => {
                for (name, value) in members {
                    self.member(name, value, (&mut cells, &mut more), style);
                }
                if !more.is_empty() {
                    more.push('}');
                }
            }
            Row::Whole(body) => more.push_str(body),
        }
        if !more.is_empty() {
            let place = self.known_place(&Column::More);
            cells.set(place, values::text(&more, style));
        }
        cells.0
    }

    fn member(
        &self,
        name: &str,
        value: &RawValue,
        (cells, more): (&mut Cells, &mut String),
        style: Style<'_>,
    ) {
        let kind = self.settings.fields.get(name).copied();
        match self.known_place(&Column::Field(name.to_owned())) {
            Place::More => add_member(more, name, value),
            place @ (Place::At(_) | Place::Nowhere) => {
                cells.set(place, values::cell(value, kind, style));
            }
        }
    }

    fn known_place(&self, column: &Column) -> Place {
        self.places.get(column).copied().unwrap_or(Place::Nowhere)
    }
}

/// A row that grows to its last cell.
#[derive(Default)]
struct Cells(Vec<Cell>);

impl Cells {
    fn set(&mut self, place: Place, cell: Cell) {
        let (Place::At(at), false) = (place, cell == Cell::Empty) else {
            return;
        };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if self.0.len() <= at {
            self.0.resize(at + 1, Cell::Empty);
        }
        if let Some(slot) = self.0.get_mut(at) {
            *slot = cell;
        }
    }
}

#[cfg(test)]
mod tests;
