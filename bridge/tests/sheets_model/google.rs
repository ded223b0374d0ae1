//! What Google does with a batch, as its documentation says: atomic, in order, ids unique, metadata that
//! moves with its column and dies with it. Written from that alone; it knows nothing of the protocol.
//!
//! It judges each row as it comes: `journal` is what was appended, `faults` what must never happen.

use std::collections::BTreeMap;
use std::sync::Arc;

use bridge::testing::sheets::{Cell, Done, Edit, Item, Spot, Tab};

/// Where metadata hangs: on a tab, or on a column, whatever its place is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchor {
    Tab(i32),
    Column(u64),
}

#[derive(Clone, Debug)]
struct Meta {
    key: String,
    value: String,
    anchor: Anchor,
}

type Row = Arc<BTreeMap<u64, Cell>>;

#[derive(Clone, Debug)]
pub(crate) struct Sheet {
    id: i32,
    title: String,
    /// Columns by their identity, in their present order.
    pub(crate) columns: Vec<u64>,
    /// The first is the header.
    pub(crate) rows: Vec<Row>,
    grid_rows: usize,
}

/// One spreadsheet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    metas: BTreeMap<i32, Arc<Meta>>,
    pub(crate) sheets: Vec<Sheet>,
    /// Which columns were made by a program, and for what: their first header.
    pub(crate) owners: BTreeMap<u64, Arc<str>>,
    columns_made: u64,
}

/// What was appended, in order: the life that the cursor named, and the seq.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judge {
    pub(crate) journal: Vec<(u64, u64)>,
    pub(crate) faults: Vec<String>,
}

/// How Google behaves where nobody outside knows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manners {
    /// A deletion that finds nothing fails.
    pub(crate) is_strict: bool,
    /// Google's limit on cells.
    pub(crate) cells_max: usize,
    /// Not Google: metadata under an id in use takes the place of what is there.
    pub(crate) replaces: bool,
}

/// A text that this Google never takes.
pub(crate) const POISON: &str = "poison";

impl Book {
    pub(crate) fn items(&self, key: &str) -> Vec<Item> {
        let ours = self.metas.iter().filter(|(_, meta)| meta.key == key);
        ours.map(|(id, meta)| Item {
            id: *id,
            key: meta.key.clone(),
            value: meta.value.clone(),
            spot: self.spot(meta.anchor),
        })
        .collect()
    }

    fn spot(&self, anchor: Anchor) -> Spot {
        match anchor {
            Anchor::Tab(tab) => Spot::Tab(tab),
            Anchor::Column(column) => self
                .sheets
                .iter()
                .find_map(|sheet| {
                    let at = sheet.columns.iter().position(|one| *one == column)?;
                    let at = u32::try_from(at).unwrap();
                    Some(Spot::Column { tab: sheet.id, at })
                })
                .unwrap_or(Spot::Elsewhere),
        }
    }

    /// The cells of a range in one column, as `'tab'!C2:C9`.
    pub(crate) fn values(&self, range: &str) -> Option<Vec<Vec<serde_json::Value>>> {
        let (title, cells) = range.strip_prefix('\'')?.rsplit_once("'!")?;
        let sheet = self.sheets.iter().find(|sheet| sheet.title == title)?;
        let (from, upto) = cells.split_once(':')?;
        let digits = from.find(|c: char| c.is_ascii_digit())?;
        let (letters, from) = from.split_at(digits);
        let upto = upto.trim_start_matches(|c: char| c.is_ascii_uppercase());
        let (from, upto): (usize, usize) = (from.parse().ok()?, upto.parse().ok()?);
        let number = letters.bytes().fold(0, |number, letter| {
            number * 26 + usize::from(letter - b'A') + 1
        });
        let column = sheet.columns.get(number - 1)?;
        let value = |row: &Row| match row.get(column) {
            None | Some(Cell::Empty) => Vec::new(),
            Some(Cell::Text(text)) => vec![serde_json::Value::from(text.as_str())],
            Some(Cell::Number(number)) => vec![serde_json::Value::from(*number)],
            Some(Cell::Bool(is_true)) => vec![serde_json::Value::from(*is_true)],
        };
        let rows = sheet.rows.get(from - 1..upto.min(sheet.rows.len()));
        let mut values: Vec<_> = rows.unwrap_or_default().iter().map(value).collect();
        while values.last().is_some_and(Vec::is_empty) {
            values.pop();
        }
        Some(values)
    }

    pub(crate) fn tabs(&self) -> Vec<Tab> {
        let tabs = self.sheets.iter().map(|sheet| Tab {
            id: sheet.id,
            title: sheet.title.clone(),
            rows: sheet.grid_rows as u64,
            columns: sheet.columns.len() as u64,
            frozen_rows: 1,
        });
        tabs.collect()
    }

    /// All of `edits`, or an answer that says which one was not possible.
    pub(crate) fn apply(
        &mut self,
        judge: &mut Judge,
        edits: &[Edit],
        manners: Manners,
    ) -> Result<Done, String> {
        let (mut book, mut told) = (self.clone(), judge.clone());
        let mut done = Done::default();
        for (at, edit) in edits.iter().enumerate() {
            match book.edit(&mut told, edit, edits, manners) {
                Ok(deleted) => done.deleted.push(deleted),
                Err(why) => return Err(format!("Invalid requests[{at}].{why}")),
            }
        }
        done.tabs = book.tabs();
        *self = book;
        *judge = told;
        Ok(done)
    }

    /// What may happen to a batch that is processed in the same moment as another one: it was found
    /// good before, and what of it still can be is applied.
    pub(crate) fn merge(&mut self, judge: &mut Judge, edits: &[Edit], manners: Manners) {
        for edit in edits {
            drop(self.edit(judge, edit, edits, manners));
        }
    }

    fn sheet(&mut self, id: i32) -> Result<&mut Sheet, String> {
        let mut sheets = self.sheets.iter_mut();
        sheets
            .find(|sheet| sheet.id == id)
            .ok_or_else(|| format!("x: No grid with id: {id}"))
    }

    fn anchor(&mut self, spot: Spot) -> Result<Anchor, String> {
        match spot {
            Spot::Tab(tab) => self.sheet(tab).map(|sheet| Anchor::Tab(sheet.id)),
            Spot::Column { tab, at } => {
                let columns = &self.sheet(tab)?.columns;
                let column = columns.get(at as usize).copied();
                column
                    .map(Anchor::Column)
                    .ok_or_else(|| "createDeveloperMetadata: no such column".to_owned())
            }
            Spot::Elsewhere => Err("createDeveloperMetadata: no location".to_owned()),
        }
    }

    fn insert(&mut self, tab: i32, at: u32, count: u32) -> Result<(), String> {
        let made = self.columns_made;
        let sheet = self.sheet(tab)?;
        if sheet.columns.len() < at as usize {
            return Err("insertDimension: out of range".to_owned());
        }
        let new = made..made + u64::from(count);
        sheet.columns.splice(at as usize..at as usize, new);
        self.columns_made += u64::from(count);
        Ok(())
    }

    fn edit(
        &mut self,
        judge: &mut Judge,
        edit: &Edit,
        batch: &[Edit],
        manners: Manners,
    ) -> Result<usize, String> {
        match edit {
            Edit::Delete(lookup) => {
                let found = self.metas.get(&lookup.id).is_some_and(|meta| {
                    let is_said = lookup
                        .value
                        .as_ref()
                        .is_none_or(|value| *value == meta.value);
                    let spot = self.spot(meta.anchor);
                    is_said && lookup.spot.is_none_or(|exact| exact == spot)
                });
                if found {
                    self.metas.remove(&lookup.id);
                } else if manners.is_strict {
                    return Err("deleteDeveloperMetadata: nothing matches".to_owned());
                }
                return Ok(usize::from(found));
            }
            Edit::Create(item) => {
                if !manners.replaces && self.metas.contains_key(&item.id) {
                    return Err(format!(
                        "createDeveloperMetadata: ID {} already exists.",
                        item.id
                    ));
                }
                let anchor = self.anchor(item.spot)?;
                let meta = Meta {
                    key: item.key.clone(),
                    value: item.value.clone(),
                    anchor,
                };
                self.metas.insert(item.id, Arc::new(meta));
            }
            Edit::AddTab {
                tab,
                title,
                rows,
                columns,
            } => {
                let mut sheets = self.sheets.iter();
                if sheets.any(|sheet| sheet.id == *tab || sheet.title == *title) {
                    return Err("addSheet: there is one already".to_owned());
                }
                self.add(*tab, title, *columns);
                self.sheet(*tab)?.grid_rows = *rows as usize;
            }
            Edit::InsertColumns { tab, at, count } => self.insert(*tab, *at, *count)?,
            Edit::Header { tab, at, texts } => self.header(*tab, *at, texts)?,
            Edit::Append { tab, rows } => self.append(judge, *tab, rows, (batch, manners))?,
            Edit::Freeze { .. } | Edit::Dates { .. } | Edit::Filter { .. } => {}
            Edit::MoveColumn { tab, from, to } => {
                let columns = &mut self.sheet(*tab)?.columns;
                let column = columns.remove(*from as usize);
                columns.insert(*to as usize, column);
            }
            Edit::DeleteTab { tab } => self.sheets.retain(|sheet| sheet.id != *tab),
        }
        Ok(0)
    }

    /// A tab, as a person or a program makes it.
    pub(crate) fn add(&mut self, id: i32, title: &str, columns: u32) {
        self.sheets.push(Sheet {
            id,
            title: title.to_owned(),
            columns: Vec::new(),
            rows: vec![Row::default()],
            grid_rows: 2,
        });
        self.insert(id, 0, columns).unwrap();
    }

    fn header(&mut self, tab: i32, at: u32, texts: &[String]) -> Result<(), String> {
        let sheet = self.sheet(tab)?;
        let at = at as usize;
        let columns = sheet.columns.get(at..at + texts.len());
        let columns = columns.ok_or("updateCells: out of range")?.to_vec();
        let header = Arc::make_mut(&mut sheet.rows[0]);
        for (column, text) in columns.iter().zip(texts) {
            header.insert(*column, Cell::Text(text.clone()));
        }
        for (column, text) in columns.into_iter().zip(texts) {
            self.owners
                .entry(column)
                .or_insert_with(|| Arc::from(text.as_str()));
        }
        Ok(())
    }

    fn append(
        &mut self,
        judge: &mut Judge,
        tab: i32,
        rows: &[Vec<Cell>],
        (batch, manners): (&[Edit], Manners),
    ) -> Result<(), String> {
        let is_poison = |cell: &Cell| matches!(cell, Cell::Text(text) if text.contains(POISON));
        if rows.iter().flatten().any(is_poison) {
            return Err("appendCells: Your input is not possible.".to_owned());
        }
        let life = life_of(batch);
        let owners = self.owners.clone();
        let sheet = self.sheet(tab)?;
        while sheet.rows.len() > 1 && sheet.rows.last().is_some_and(|row| row.is_empty()) {
            sheet.rows.pop();
        }
        for cells in rows {
            let mut row = BTreeMap::new();
            for (column, cell) in sheet.columns.iter().zip(cells) {
                if *cell != Cell::Empty {
                    row.insert(*column, cell.clone());
                }
            }
            judge.row(life, &row, &owners);
            sheet.rows.push(Arc::new(row));
        }
        sheet.grid_rows = sheet.grid_rows.max(sheet.rows.len());
        let cells = sheet.grid_rows * sheet.columns.len();
        if manners.cells_max < cells {
            return Err(
                "appendCells: This action would increase the number of cells in the workbook above \
                 the limit of 10000000 cells."
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Metadata of columns that are gone goes too.
    pub(crate) fn forget_the_dead(&mut self) {
        let columns: Vec<u64> = self
            .sheets
            .iter()
            .flat_map(|sheet| sheet.columns.clone())
            .collect();
        let tabs: Vec<i32> = self.sheets.iter().map(|sheet| sheet.id).collect();
        self.metas.retain(|_, meta| match meta.anchor {
            Anchor::Tab(tab) => tabs.contains(&tab),
            Anchor::Column(column) => columns.contains(&column),
        });
    }
}

/// The life in whose name a batch comes: what its cursor's creation says.
fn life_of(batch: &[Edit]) -> u64 {
    let lives = batch.iter().filter_map(|edit| {
        let Edit::Create(item) = edit else {
            return None;
        };
        let (_, rest) = item.value.split_once("\"life\":")?;
        rest.split(',').next()?.parse().ok()
    });
    // Rows that come without a cursor are nobody's.
    lives.fold(0, |_, life| life)
}

impl Judge {
    /// Each value must stand in the column that was made for it.
    fn row(&mut self, life: u64, row: &BTreeMap<u64, Cell>, owners: &BTreeMap<u64, Arc<str>>) {
        let mut seq = None;
        let mut fields = BTreeMap::new();
        for (column, cell) in row {
            let owner = owners.get(column).map_or("", |owner| owner);
            match (owner, cell) {
                ("_seq", Cell::Number(number)) => seq = Some(*number as u64),
                ("_id" | "_received_at", Cell::Text(_)) => {}
                (owner, Cell::Text(text)) => {
                    fields.insert(owner.to_owned(), text.clone());
                }
                _ => self
                    .faults
                    .push(format!("{cell:?} in a column of {owner:?}")),
            }
        }
        let Some(seq) = seq else {
            self.faults.push(format!("a row without a seq: {row:?}"));
            return;
        };
        let expected: BTreeMap<String, String> = super::fields_of(seq).into_iter().collect();
        if fields != expected {
            self.faults.push(format!("row {seq} holds {fields:?}"));
        }
        self.journal.push((life, seq));
    }
}
