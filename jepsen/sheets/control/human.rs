//! What people do to a spreadsheet in their browser.
//!
//! Holds: a person may do everything, also in a protected range, and never in the middle of a batch.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::batch::{Moved, Outcome, heads};
use crate::book::protect::{Area, Protected};
use crate::book::row::{Cell, Content};
use crate::book::shift::Shift;
use crate::book::{Book, Dimension, Order, Tab};
use crate::settings::Restored;
use crate::shelf::Shelf;
use crate::world::Fake;

/// A column by its place or by what the first row says.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Column {
    Place(usize),
    Header(String),
}

/// A tab by its id or by its title.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Which {
    Id(i32),
    Title(String),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum OnGrid {
    Sort {
        tab: Which,
        by: Column,
        #[serde(default)]
        descending: bool,
        from: Option<usize>,
    },
    InsertRows {
        tab: Which,
        at: usize,
        #[serde(default = "one")]
        count: usize,
    },
    DeleteRows {
        tab: Which,
        at: usize,
        #[serde(default = "one")]
        count: usize,
    },
    MoveRows {
        tab: Which,
        from: usize,
        #[serde(default = "one")]
        count: usize,
        to: usize,
    },
    InsertColumns {
        tab: Which,
        at: Column,
        #[serde(default = "one")]
        count: usize,
    },
    DeleteColumns {
        tab: Which,
        at: Column,
        #[serde(default = "one")]
        count: usize,
    },
    MoveColumns {
        tab: Which,
        from: Column,
        #[serde(default = "one")]
        count: usize,
        to: Column,
    },
    RenameHeader {
        tab: Which,
        column: Column,
        to: String,
    },
    SetCell {
        tab: Which,
        row: usize,
        column: Column,
        value: Value,
    },
    Resize {
        tab: Which,
        rows: usize,
        columns: usize,
    },
}

const ON_BOOK: [&str; 7] = [
    "add_tab",
    "rename_tab",
    "delete_tab",
    "delete_metadata",
    "set_metadata",
    "protect",
    "unprotect",
];

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum OnBook {
    AddTab {
        title: String,
        id: Option<i32>,
    },
    RenameTab {
        tab: Which,
        to: String,
    },
    DeleteTab {
        tab: Which,
    },
    DeleteMetadata {
        id: Option<i32>,
        key: Option<String>,
    },
    SetMetadata {
        id: i32,
        value: String,
    },
    Protect {
        tab: Which,
        columns: Option<(usize, usize)>,
        rows: Option<(usize, usize)>,
        #[serde(default)]
        warning: bool,
    },
    Unprotect {
        tab: Which,
    },
}

const ON_PAST: [&str; 2] = ["restore", "restore_tab"];

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum OnPast {
    Restore {
        revision: Option<u64>,
        back: Option<u64>,
    },
    RestoreTab {
        id: i32,
    },
}

fn one() -> usize {
    1
}

const OWNER: &str = "owner@example.com";

/// Does all deeds that are possible.
pub(crate) fn edits(fake: &Fake, id: &str, deeds: &[Value]) {
    for deed in deeds {
        // What is not possible at that moment was no edit.
        does(fake, id, deed).ok();
    }
}

/// Does one deed; answers the new version.
pub(super) fn does(fake: &Fake, id: &str, body: &Value) -> anyhow::Result<Value> {
    let name = body.get("do").and_then(Value::as_str).unwrap_or_default();
    let world = &mut *fake.world();
    let metadata = world.settings.restored_metadata;
    let new_id = world.dice.id();
    let shelf = world.shelves.get(id);
    let shelf = shelf.with_context(|| format!("no spreadsheet {id}"))?;
    let mut outcome = Outcome::default();
    let mut book = (*shelf.now().book).clone();
    let mut hand = Hand {
        book: &mut book,
        outcome: &mut outcome,
    };
    if ON_PAST.contains(&name) {
        book = brought_back(shelf, &OnPast::deserialize(body)?, metadata)?;
    } else if ON_BOOK.contains(&name) {
        hand.on_book(OnBook::deserialize(body)?, new_id)?;
    } else {
        hand.on_grid(OnGrid::deserialize(body)?)?;
    }
    let revision = world.commit(book, outcome, (0, OWNER, Some(body.clone())));
    Ok(json!({ "revision": revision }))
}

fn brought_back(shelf: &Shelf, deed: &OnPast, metadata: Restored) -> anyhow::Result<Book> {
    match *deed {
        OnPast::Restore { revision, back } => {
            let before = shelf.now().revision.saturating_sub(back.unwrap_or(1));
            let revision = revision.unwrap_or(before);
            let book = shelf.restored(revision, metadata);
            book.with_context(|| format!("version {revision} is not known"))
        }
        OnPast::RestoreTab { id } => {
            let book = shelf.untrashed(id, metadata);
            book.with_context(|| format!("tab {id} cannot be brought back"))
        }
    }
}

/// The spreadsheet under a person's hand.
struct Hand<'a> {
    book: &'a mut Book,
    outcome: &'a mut Outcome,
}

impl Hand<'_> {
    fn tab(&self, which: &Which) -> anyhow::Result<&Tab> {
        let tab = match which {
            Which::Id(id) => self.book.tab(*id),
            Which::Title(title) => self.book.titled(title),
        };
        tab.with_context(|| format!("no tab {which:?}"))
    }

    fn tab_mut(&mut self, which: &Which) -> anyhow::Result<&mut Tab> {
        let id = self.tab(which)?.id;
        let tab = self.book.tab_mut(id);
        tab.with_context(|| format!("no tab {which:?}"))
    }

    fn column(&self, which: &Which, column: &Column) -> anyhow::Result<usize> {
        let tab = self.tab(which)?;
        match column {
            Column::Place(place) => Ok(*place),
            Column::Header(header) => {
                let mut slots = tab.slots.iter();
                let found = slots.position(|slot| tab.header(*slot) == *header);
                found.with_context(|| format!("no column {header}"))
            }
        }
    }

    fn on_grid(&mut self, deed: OnGrid) -> anyhow::Result<()> {
        let (rows, columns) = (Dimension::Rows, Dimension::Columns);
        match deed {
            OnGrid::Sort {
                tab,
                by,
                descending,
                from,
            } => self.sort(&tab, &by, descending, from),
            OnGrid::InsertRows { tab, at, count } => {
                self.shift(&tab, rows, &Shift::Insert { at, count })
            }
            OnGrid::DeleteRows { tab, at, count } => {
                self.shift(&tab, rows, &Shift::Remove(at..at + count))
            }
            OnGrid::MoveRows {
                tab,
                from,
                count,
                to,
            } => {
                let from = from..from + count;
                self.shift(&tab, rows, &Shift::Move { from, to })
            }
            OnGrid::InsertColumns { tab, at, count } => {
                let at = self.column(&tab, &at)?;
                self.shift(&tab, columns, &Shift::Insert { at, count })
            }
            OnGrid::DeleteColumns { tab, at, count } => {
                let at = self.column(&tab, &at)?;
                self.shift(&tab, columns, &Shift::Remove(at..at + count))
            }
            OnGrid::MoveColumns {
                tab,
                from,
                count,
                to,
            } => {
                let (from, to) = (self.column(&tab, &from)?, self.column(&tab, &to)?);
                let from = from..from + count;
                self.shift(&tab, columns, &Shift::Move { from, to })
            }
            OnGrid::RenameHeader { tab, column, to } => {
                let column = self.column(&tab, &column)?;
                self.write(&tab, (0, column), &to.into())
            }
            OnGrid::SetCell {
                tab,
                row,
                column,
                value,
            } => {
                let column = self.column(&tab, &column)?;
                self.write(&tab, (row, column), &value)
            }
            OnGrid::Resize {
                tab,
                rows: height,
                columns: width,
            } => self.resize(&tab, height, width),
        }
    }

    fn sort(
        &mut self,
        tab: &Which,
        by: &Column,
        is_descending: bool,
        from: Option<usize>,
    ) -> anyhow::Result<()> {
        let column = self.column(tab, by)?;
        let found = self.tab_mut(tab)?;
        let from = from.unwrap_or(found.frozen_rows.max(1));
        let (rows, columns) = (from..found.rows.len(), 0..found.columns());
        let order = Order {
            column,
            is_descending,
        };
        found.sort(rows, columns, &[order]);
        Ok(())
    }

    fn resize(&mut self, tab: &Which, rows: usize, columns: usize) -> anyhow::Result<()> {
        let id = self.tab(tab)?.id;
        ensure!(rows > 0 && columns > 0, "a grid has a row and a column");
        self.book.resize(id, Dimension::Rows, rows);
        self.book.resize(id, Dimension::Columns, columns);
        Ok(())
    }

    fn on_book(&mut self, deed: OnBook, new_id: i32) -> anyhow::Result<()> {
        match deed {
            OnBook::AddTab { title, id } => {
                let id = id.unwrap_or(new_id);
                ensure!(self.book.tab(id).is_none(), "tab {id} is there");
                ensure!(self.book.titled(&title).is_none(), "tab {title} is there");
                let tab = Tab::new(id, &title, 1000, 26);
                self.book.tabs.push(Arc::new(tab));
            }
            OnBook::RenameTab { tab, to } => {
                ensure!(self.book.titled(&to).is_none(), "tab {to} is there");
                self.tab_mut(&tab)?.title = to;
            }
            OnBook::DeleteTab { tab } => {
                let id = self.tab(&tab)?.id;
                ensure!(self.book.tabs.len() > 1, "a spreadsheet has a tab");
                self.book.remove_tab(id);
            }
            OnBook::DeleteMetadata { id, key } => {
                ensure!(id.is_some() || key.is_some(), "id or key");
                Arc::make_mut(&mut self.book.items).retain(|own, item| {
                    id.is_some_and(|id| id != *own)
                        || key.as_ref().is_some_and(|key| *key != item.key)
                });
            }
            OnBook::SetMetadata { id, value } => {
                let item = Arc::make_mut(&mut self.book.items).get_mut(&id);
                item.with_context(|| format!("no metadata {id}"))?.value = Some(value);
            }
            OnBook::Protect {
                tab,
                columns,
                rows,
                warning,
            } => {
                let side = |side: Option<(usize, usize)>| {
                    side.map_or((0, None), |(start, end)| (start, Some(end)))
                };
                let range = Area {
                    tab: self.tab(&tab)?.id,
                    rows: side(rows),
                    columns: side(columns),
                };
                self.book.protected.push(Protected {
                    id: new_id,
                    range,
                    editors: vec![OWNER.to_owned()],
                    is_warning: warning,
                    description: String::new(),
                });
            }
            OnBook::Unprotect { tab } => {
                let id = self.tab(&tab)?.id;
                let protected = &mut self.book.protected;
                protected.retain(|protected| protected.range.tab != id);
            }
        }
        Ok(())
    }

    fn shift(&mut self, tab: &Which, dimension: Dimension, shift: &Shift) -> anyhow::Result<()> {
        let found = self.tab(tab)?;
        let (id, title, len) = (found.id, found.title.clone(), found.len(dimension));
        let is_possible = match shift {
            Shift::Insert { at, count } => *at <= len && *count > 0,
            Shift::Remove(range) => !range.is_empty() && range.end <= len && range.len() < len,
            Shift::Move { from, to } => {
                let is_inside = (from.start..=from.end).contains(to);
                !from.is_empty() && from.end <= len && *to <= len && !is_inside
            }
        };
        ensure!(is_possible, "{shift:?} is not possible: there are {len}");
        let heads = Arc::new(heads(self.book, found));
        let rows = self.book.shift(id, dimension, shift);
        if let Shift::Remove(range) = shift
            && !rows.is_empty()
        {
            self.outcome.removed.push(Moved {
                tab: id,
                title,
                row: range.start,
                heads,
                rows,
            });
        }
        Ok(())
    }

    /// `null` clears the cell.
    fn write(
        &mut self,
        tab: &Which,
        (row, column): (usize, usize),
        value: &Value,
    ) -> anyhow::Result<()> {
        let found = self.tab_mut(tab)?;
        let slot = found.slots.get(column).copied();
        let slot = slot.context("no such column")?;
        let old = found.rows.get(row).cloned().context("no such row")?;
        let content = match value {
            Value::Null => Content::Blank,
            Value::Bool(flag) => Content::Bool(*flag),
            Value::Number(number) => Content::Number(number.as_f64().unwrap_or_default()),
            Value::String(text) => Content::Text(text),
            Value::Object(_) | Value::Array(_) => {
                let formula = value.get("formula").and_then(Value::as_str);
                Content::Formula(formula.context("a cell holds no list")?)
            }
        };
        let style = old.cell(slot).style;
        found
            .rows
            .set(row, old.with([(slot, Cell { content, style })]));
        Ok(())
    }
}
