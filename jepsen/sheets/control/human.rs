//! What people do to a spreadsheet in their browser.
//!
//! Holds: a person may do everything, also in a protected range, and never in the middle of a batch.

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::batch::{Moved, Outcome, heads};
use crate::book::protect::{Area, Protected};
use crate::book::row::{Cell, Content};
use crate::book::shift::Shift;
use crate::book::{Book, Dimension, Order, Tab};
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
enum Deed {
    Sort {
        tab: Which,
        by: Column,
        #[serde(default)]
        descending: bool,
        #[serde(default)]
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
    AddTab {
        title: String,
        #[serde(default)]
        id: Option<i32>,
    },
    RenameTab {
        tab: Which,
        to: String,
    },
    DeleteTab {
        tab: Which,
    },
    RestoreTab {
        id: i32,
    },
    DeleteMetadata {
        #[serde(default)]
        id: Option<i32>,
        #[serde(default)]
        key: Option<String>,
    },
    SetMetadata {
        id: i32,
        value: String,
    },
    Protect {
        tab: Which,
        #[serde(default)]
        columns: Option<(usize, usize)>,
        #[serde(default)]
        rows: Option<(usize, usize)>,
        #[serde(default)]
        warning: bool,
    },
    Unprotect {
        tab: Which,
    },
    Restore {
        #[serde(default)]
        revision: Option<u64>,
        #[serde(default)]
        back: Option<u64>,
    },
}

fn one() -> usize {
    1
}

const OWNER: &str = "owner@example.com";

/// Does one deed; answers the new version.
pub(super) fn does(fake: &Fake, id: &str, body: &Value) -> anyhow::Result<Value> {
    let deed = Deed::deserialize(body)?;
    let world = &mut *fake.world();
    let metadata = world.settings.restored_metadata;
    let new_id = world.dice.id();
    let shelf = world
        .shelves
        .get(id)
        .with_context(|| format!("no spreadsheet {id}"))?;
    let now = shelf.now();
    let mut outcome = Outcome::default();
    let book = match deed {
        Deed::Restore { revision, back } => {
            let revision = match (revision, back) {
                (Some(revision), _) => revision,
                (None, back) => now.revision.saturating_sub(back.unwrap_or(1)),
            };
            let book = shelf.restored(revision, metadata);
            book.with_context(|| format!("version {revision} is not known"))?
        }
        Deed::RestoreTab { id } => {
            let book = shelf.untrashed(id, metadata);
            book.with_context(|| format!("tab {id} cannot be brought back"))?
        }
        deed => {
            let mut book = (*now.book).clone();
            let mut hand = Hand {
                book: &mut book,
                outcome: &mut outcome,
            };
            hand.acts(deed, new_id)?;
            book
        }
    };
    let revision = world.commit(book, outcome, (0, OWNER, Some(body.clone())));
    Ok(json!({ "revision": revision }))
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

    fn acts(&mut self, deed: Deed, new_id: i32) -> anyhow::Result<()> {
        match deed {
            Deed::Sort {
                tab,
                by,
                descending,
                from,
            } => {
                let column = self.column(&tab, &by)?;
                let found = self.tab(&tab)?;
                let from = from.unwrap_or(found.frozen_rows.max(1));
                let (id, rows, columns) = (found.id, from..found.rows.len(), 0..found.columns());
                let order = Order {
                    column,
                    is_descending: descending,
                };
                self.change(id).sort(rows, columns, &[order]);
                Ok(())
            }
            Deed::InsertRows { tab, at, count } => {
                self.shift(&tab, Dimension::Rows, Shift::Insert { at, count })
            }
            Deed::DeleteRows { tab, at, count } => {
                self.shift(&tab, Dimension::Rows, Shift::Remove(at..at + count))
            }
            Deed::MoveRows {
                tab,
                from,
                count,
                to,
            } => {
                let from = from..from + count;
                self.shift(&tab, Dimension::Rows, Shift::Move { from, to })
            }
            Deed::InsertColumns { tab, at, count } => {
                let at = self.column(&tab, &at)?;
                self.shift(&tab, Dimension::Columns, Shift::Insert { at, count })
            }
            Deed::DeleteColumns { tab, at, count } => {
                let at = self.column(&tab, &at)?;
                self.shift(&tab, Dimension::Columns, Shift::Remove(at..at + count))
            }
            Deed::MoveColumns {
                tab,
                from,
                count,
                to,
            } => {
                let (from, to) = (self.column(&tab, &from)?, self.column(&tab, &to)?);
                let from = from..from + count;
                self.shift(&tab, Dimension::Columns, Shift::Move { from, to })
            }
            Deed::RenameHeader { tab, column, to } => {
                let column = self.column(&tab, &column)?;
                self.write(&tab, (0, column), &to.into())
            }
            Deed::SetCell {
                tab,
                row,
                column,
                value,
            } => {
                let column = self.column(&tab, &column)?;
                self.write(&tab, (row, column), &value)
            }
            other => self.acts_on_tabs(other, new_id),
        }
    }

    fn acts_on_tabs(&mut self, deed: Deed, new_id: i32) -> anyhow::Result<()> {
        match deed {
            Deed::Resize { tab, rows, columns } => {
                let id = self.tab(&tab)?.id;
                ensure!(rows > 0 && columns > 0, "a grid has a row and a column");
                self.book.resize(id, Dimension::Rows, rows);
                self.book.resize(id, Dimension::Columns, columns);
            }
            Deed::AddTab { title, id } => {
                let id = id.unwrap_or(new_id);
                ensure!(self.book.tab(id).is_none(), "tab {id} is there");
                ensure!(self.book.titled(&title).is_none(), "tab {title} is there");
                self.book
                    .tabs
                    .push(Arc::new(Tab::new(id, &title, 1000, 26)));
            }
            Deed::RenameTab { tab, to } => {
                ensure!(self.book.titled(&to).is_none(), "tab {to} is there");
                let id = self.tab(&tab)?.id;
                self.change(id).title = to;
            }
            Deed::DeleteTab { tab } => {
                let id = self.tab(&tab)?.id;
                ensure!(self.book.tabs.len() > 1, "a spreadsheet has a tab");
                self.book.remove_tab(id);
            }
            Deed::DeleteMetadata { id, key } => {
                ensure!(id.is_some() || key.is_some(), "id or key");
                Arc::make_mut(&mut self.book.items).retain(|own, item| {
                    id.is_some_and(|id| id != *own)
                        || key.as_ref().is_some_and(|key| *key != item.key)
                });
            }
            Deed::SetMetadata { id, value } => {
                let item = Arc::make_mut(&mut self.book.items).get_mut(&id);
                item.with_context(|| format!("no metadata {id}"))?.value = Some(value);
            }
            Deed::Protect {
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
            Deed::Unprotect { tab } => {
                let id = self.tab(&tab)?.id;
                self.book
                    .protected
                    .retain(|protected| protected.range.tab != id);
            }
            other => bail!("{other:?} was done before"),
        }
        Ok(())
    }

    /// The caller has found the tab.
    fn change(&mut self, id: i32) -> &mut Tab {
        assert!(self.book.tab(id).is_some(), "tab {id} was found");
        let place = self.book.tabs.iter().position(|tab| tab.id == id);
        let tab = self.book.tabs.iter_mut().nth(place.unwrap_or_default());
        tab.map(Arc::make_mut)
            .unwrap_or_else(|| unreachable!("tab {id} was found"))
    }

    fn shift(&mut self, tab: &Which, dimension: Dimension, shift: Shift) -> anyhow::Result<()> {
        let found = self.tab(tab)?;
        let (id, title, len) = (found.id, found.title.clone(), found.len(dimension));
        let is_possible = match &shift {
            Shift::Insert { at, count } => *at <= len && *count > 0,
            Shift::Remove(range) => !range.is_empty() && range.end <= len && range.len() < len,
            Shift::Move { from, to } => {
                !from.is_empty()
                    && from.end <= len
                    && *to <= len
                    && !(from.start..=from.end).contains(to)
            }
        };
        ensure!(is_possible, "{shift:?} is not possible: there are {len}");
        let heads = Arc::new(heads(self.book, found));
        let rows = self.book.shift(id, dimension, &shift);
        if let Shift::Remove(range) = shift
            && !rows.is_empty()
        {
            let (tab, row) = (id, range.start);
            self.outcome.removed.push(Moved {
                tab,
                title,
                row,
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
        let found = self.tab(tab)?;
        let slot = found.slots.get(column).copied().context("no such column")?;
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
        let id = found.id;
        let new = old.with([(slot, Cell { content, style })]);
        self.change(id).rows.set(row, new);
        Ok(())
    }
}
