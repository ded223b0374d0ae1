//! The batches: what one atomic request says.
//!
//! Rows go out as one batch, which is applied whole or refused whole:
//!
//! ```text
//! delete cursor where text = old    ┐ a compare-and-set: if the cursor says anything else, the deletion
//! create cursor with text = new     ┘ finds nothing, the creation meets an id in use, all is refused
//! delete column k where it stands   ┐ a guard a column, and one for the sentinel: if it stands anywhere
//! create column k where it stood    ┘ else, all is refused in the same way
//! insert columns, headers, metadata   for fields that have none yet
//! append rows
//! ```
//! Holds: nothing but a cursor's text that was read decides where rows go on; a batch names every
//! column by the place at which it was read; a set-up only creates, so it is harmless twice. A batch
//! without rows moves the cursor alone.

use std::collections::BTreeSet;

use super::api::{Cell, Edit, Item, Lookup, Pattern, Spot, Tab};
use super::layout::{CURSOR, Column, END, FIRST, KNOWN, Layout, Tag, known_item, number};
use super::mark::Mark;
use super::names::Names;
use crate::record::Position;

/// Rows of a new tab: the header, and one to be filled first.
const NEW_ROWS: u32 = 2;

/// Which part of a batch an edit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Cursor,
    Guard,
    Change,
    Rows,
}

/// One batch, and what is so once it is applied.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) edits: Vec<Edit>,
    /// For each edit, and which item it must find, if it must.
    roles: Vec<(Role, Option<i32>)>,
    pub(super) layout: Layout,
    /// How many records it carries.
    pub(super) records: usize,
}

/// Something that an answer of success says went wrong nevertheless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slip {
    /// The cursor was not there: another program has removed it.
    Cursor,
    /// A column was deleted and another one moved into its place, both within a moment: what its
    /// metadata says.
    Column(String),
}

impl Plan {
    fn new(layout: Layout) -> Self {
        Self {
            edits: Vec::new(),
            roles: Vec::new(),
            layout,
            records: 0,
        }
    }

    fn add(&mut self, role: Role, edit: Edit) {
        let finds = match (&edit, role) {
            (Edit::Delete(lookup), Role::Cursor | Role::Guard) => Some(lookup.id),
            _ => None,
        };
        self.edits.push(edit);
        self.roles.push((role, finds));
    }

    /// The edits, to be sent; what they were is remembered.
    pub(super) fn take_edits(&mut self) -> Vec<Edit> {
        std::mem::take(&mut self.edits)
    }

    /// A tab for a lane that has none. An `existing` one gets our columns before its own.
    pub(super) fn set_up(
        names: &Names,
        mark: Mark,
        (title, existing): (String, Option<&Tab>),
        is_serial: bool,
        attempt: u32,
    ) -> Self {
        let tab = existing.map_or_else(|| names.id("tab", attempt), |existing| existing.id);
        let count = u32::try_from(FIRST.len()).unwrap_or_default();
        let mut columns = FIRST.iter().zip(0..).map(|(column, at)| {
            let tag = column.tag();
            let id = names.id(&tag, attempt);
            (tag, Tag { id, at })
        });
        let layout = Layout {
            tab,
            // The same in every attempt, of every node: of two set-ups, one is refused.
            cursor: names.id(CURSOR, 0),
            text: mark.to_text(names),
            mark,
            known_id: Some(names.id(KNOWN, attempt)),
            known: FIRST.iter().map(|column| number(&column.tag())).collect(),
            columns: columns.by_ref().collect(),
            end: Some(Tag {
                id: names.id(END, attempt),
                at: count,
            }),
            stale: Vec::new(),
        };
        let mut plan = Self::new(layout);
        match existing {
            None => plan.add(
                Role::Change,
                Edit::AddTab {
                    tab,
                    title,
                    rows: NEW_ROWS,
                    columns: count + 1,
                },
            ),
            Some(existing) => {
                let insert = Edit::InsertColumns { tab, at: 0, count };
                plan.add(Role::Change, insert);
                if existing.frozen_rows == 0 {
                    plan.add(Role::Change, Edit::Freeze { tab });
                }
            }
        }
        plan.create_cursor(names);
        plan.write_columns(names, 0, &FIRST, is_serial);
        let end = plan.layout.end;
        plan.create_column(names, END, end);
        plan.create_known(names);
        plan
    }

    /// Moves the cursor, and nothing else.
    pub(super) fn cursor_only(names: &Names, layout: &Layout, mark: Mark) -> Self {
        let mut plan = Self::new(layout.clone());
        plan.compare_and_set(names, mark);
        plan
    }

    fn compare_and_set(&mut self, names: &Names, mark: Mark) {
        let old = std::mem::replace(&mut self.layout.text, mark.to_text(names));
        self.layout.mark = mark;
        let delete = Edit::Delete(Lookup {
            id: self.layout.cursor,
            value: Some(old),
            spot: None,
        });
        self.add(Role::Cursor, delete);
        self.create_cursor(names);
    }

    fn create_cursor(&mut self, names: &Names) {
        let create = Edit::Create(Item {
            id: self.layout.cursor,
            key: names.key().to_owned(),
            value: self.layout.text.clone(),
            spot: Spot::Tab(self.layout.tab),
        });
        self.add(Role::Cursor, create);
    }

    fn create_column(&mut self, names: &Names, tag: &str, place: Option<Tag>) {
        let Some(Tag { id, at }) = place else {
            return;
        };
        let spot = Spot::Column {
            tab: self.layout.tab,
            at,
        };
        let create = Edit::Create(Item {
            id,
            key: names.key().to_owned(),
            value: tag.to_owned(),
            spot,
        });
        self.add(Role::Change, create);
    }

    fn create_known(&mut self, names: &Names) {
        if let Some(id) = self.layout.known_id {
            let known = known_item(names, (self.layout.tab, id), &self.layout.known);
            self.add(Role::Change, Edit::Create(known));
        }
    }

    /// Headers and metadata of columns that stand in a row.
    fn write_columns(&mut self, names: &Names, at: u32, columns: &[Column], is_serial: bool) {
        let tab = self.layout.tab;
        let texts = columns.iter().map(|column| column.header(is_serial));
        let header = Edit::Header {
            tab,
            at,
            texts: texts.collect(),
        };
        self.add(Role::Change, header);
        for column in columns {
            let place = self.layout.place(column);
            self.create_column(names, &column.tag(), place);
            if let (Column::ReceivedAt, Some(place), true) = (column, place, is_serial) {
                self.dates(place.at, Pattern::Moment);
            }
        }
    }

    pub(super) fn dates(&mut self, at: u32, pattern: Pattern) {
        let tab = self.layout.tab;
        self.add(Role::Change, Edit::Dates { tab, at, pattern });
    }

    /// Refuses the whole batch if a column is not where it was read.
    fn guard(&mut self, names: &Names, tag: &str, place: Tag) {
        let spot = Spot::Column {
            tab: self.layout.tab,
            at: place.at,
        };
        let delete = Edit::Delete(Lookup {
            id: place.id,
            value: None,
            spot: Some(spot),
        });
        self.add(Role::Guard, delete);
        let create = Edit::Create(Item {
            id: place.id,
            key: names.key().to_owned(),
            value: tag.to_owned(),
            spot,
        });
        self.add(Role::Guard, create);
    }

    /// The cursor's move, and every column's guard: what comes before anything is changed.
    pub(super) fn guarded(
        names: &Names,
        layout: &Layout,
        upto: Position,
        has_guards: bool,
    ) -> Self {
        let mark = Mark::new(layout.mark.life, upto);
        let mut plan = Self::cursor_only(names, layout, mark);
        if has_guards {
            for (tag, place) in &layout.columns {
                plan.guard(names, tag, *place);
            }
            if let Some(end) = layout.sentinel() {
                plan.guard(names, END, end);
            }
        }
        plan
    }

    /// Makes columns behind the last of ours, and a sentinel behind them where there is none.
    pub(super) fn widen(
        &mut self,
        names: &Names,
        columns: &[Column],
        is_serial: bool,
        attempt: u32,
    ) {
        let (tab, at) = (self.layout.tab, self.layout.behind());
        let sentinel = self.layout.sentinel();
        let old_end = self.layout.end.filter(|_| sentinel.is_none());
        let stale = std::mem::take(&mut self.layout.stale).into_iter();
        for id in stale.chain(old_end.map(|end| end.id)) {
            let delete = Edit::Delete(Lookup {
                id,
                value: None,
                spot: None,
            });
            self.add(Role::Change, delete);
        }
        let made = u32::try_from(columns.len()).unwrap_or(u32::MAX);
        let count = made.saturating_add(u32::from(sentinel.is_none()));
        if count == 0 {
            return;
        }
        self.add(Role::Change, Edit::InsertColumns { tab, at, count });
        for (column, at) in columns.iter().zip(at..) {
            let tag = column.tag();
            let id = names.id(&tag, attempt);
            self.layout.known.insert(number(&tag));
            self.layout.columns.insert(tag, Tag { id, at });
        }
        self.layout.end = Some(match sentinel {
            Some(end) => Tag {
                at: end.at.saturating_add(made),
                ..end
            },
            None => Tag {
                id: names.id(END, attempt),
                at: at.saturating_add(made),
            },
        });
        if made > 0 {
            self.write_columns(names, at, columns, is_serial);
            self.rewrite_known(names, attempt);
        }
        if sentinel.is_none() {
            let end = self.layout.end;
            self.create_column(names, END, end);
        }
    }

    fn rewrite_known(&mut self, names: &Names, attempt: u32) {
        let tags: BTreeSet<u32> = self.layout.columns.keys().map(|tag| number(tag)).collect();
        self.layout.known.extend(tags);
        match self.layout.known_id {
            Some(id) => {
                let delete = Edit::Delete(Lookup {
                    id,
                    value: None,
                    spot: None,
                });
                self.add(Role::Change, delete);
            }
            None => self.layout.known_id = Some(names.id(KNOWN, attempt)),
        }
        self.create_known(names);
    }

    pub(super) fn append(&mut self, rows: Vec<Vec<Cell>>) {
        self.records = rows.len();
        let tab = self.layout.tab;
        self.add(Role::Rows, Edit::Append { tab, rows });
    }

    /// What an answer of success says about the guards: each deletion has found its one item.
    /// `None` if the answer is not one to this batch.
    pub(super) fn slips(&self, deleted: &[usize]) -> Option<Vec<Slip>> {
        if deleted.len() != self.roles.len() {
            return None;
        }
        let mut slips = Vec::new();
        for ((role, finds), count) in self.roles.iter().zip(deleted) {
            match (role, finds) {
                (Role::Cursor, Some(_)) if *count != 1 => slips.push(Slip::Cursor),
                (Role::Guard, Some(id)) if *count != 1 => {
                    let mut of_id = self.layout.columns.iter().filter(|(_, tag)| tag.id == *id);
                    // A sentinel that slipped has done no harm: it stands where it was made.
                    slips.extend(of_id.next().map(|(tag, _)| Slip::Column(tag.clone())));
                }
                _ => {}
            }
        }
        Some(slips)
    }

    /// Which part of the batch a refusal speaks of, where it says so.
    pub(super) fn role_of(&self, message: &str) -> Option<Role> {
        let (_, rest) = message.split_once("requests[")?;
        let (number, _) = rest.split_once(']')?;
        let role = self.roles.get(number.parse::<usize>().ok()?);
        role.map(|(role, _)| *role)
    }
}
