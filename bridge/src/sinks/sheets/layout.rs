//! Which column is which: read from metadata, never from titles or places.
//!
//! A tab that is ours carries, under the lane's one key:
//!
//! ```text
//! on the tab      the cursor's text (mark.rs); `known:` and 8 hex digits a column ever made
//! on columns      `seq`, `id`, `received_at`, `field:<name>`, …; and `end` on a column to the right
//!                 of them all that is not ours: the sentinel
//! ```
//! Holds: people may rename, move and sort; metadata moves with its column and dies with it. A column
//! that is known but not found was deleted by a person; one that is neither was never made.
//! Why a sentinel: deleting a column shifts those right of it, so their guards refuse the batch;
//! behind the last one of ours somebody must stand, too.

use std::collections::{BTreeMap, BTreeSet};

use super::api::{Item, Spot};
use super::mark::Mark;
use super::names::{Names, hash};

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Column {
    Seq,
    Id,
    ReceivedAt,
    Field(String),
    /// All members without a column, as one object.
    More,
    /// Says that a row was sent again because a person asked for it; made with the first such row.
    Replay,
}

/// What a sheet begins with.
pub(super) const FIRST: [Column; 3] = [Column::Seq, Column::Id, Column::ReceivedAt];
pub(super) const CURSOR: &str = "cursor";
pub(super) const END: &str = "end";
pub(super) const KNOWN: &str = "known";
/// Longer names are shortened: Google gives the metadata of a tab 30,000 characters in all.
const TAG_CHARS_MAX: usize = 40;

impl Column {
    /// What its metadata says.
    pub(super) fn tag(&self) -> String {
        let name = match self {
            Self::Seq => return "seq".to_owned(),
            Self::Id => return "id".to_owned(),
            Self::ReceivedAt => return "received_at".to_owned(),
            Self::More => return "more".to_owned(),
            Self::Replay => return "replay".to_owned(),
            Self::Field(name) => name,
        };
        if name.chars().count() <= TAG_CHARS_MAX {
            return format!("field:{name}");
        }
        let short: String = name.chars().take(TAG_CHARS_MAX - 16).collect();
        format!("field:{short}~{:016x}", hash(&[name]))
    }

    /// The header that it is made with.
    pub(super) fn header(&self, is_serial: bool) -> String {
        match self {
            Self::Seq => "_seq".to_owned(),
            Self::Id => "_id".to_owned(),
            Self::ReceivedAt if is_serial => "_received_at (UTC)".to_owned(),
            Self::ReceivedAt => "_received_at".to_owned(),
            Self::More => "_more".to_owned(),
            Self::Replay => "_replay".to_owned(),
            // A field may be called like one of ours.
            Self::Field(name) if name.starts_with('_') => format!("data.{name}"),
            Self::Field(name) => name.clone(),
        }
    }
}

/// A column's metadata, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) id: i32,
    pub(super) at: u32,
}

/// A tab that is ours, as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) tab: i32,
    /// The cursor's id.
    pub(super) cursor: i32,
    /// The cursor's text, as it was read.
    pub(super) text: String,
    pub(super) mark: Mark,
    /// The item that says which columns were ever made: its id.
    pub(super) known_id: Option<i32>,
    pub(super) known: BTreeSet<u32>,
    /// By what their metadata says.
    pub(super) columns: BTreeMap<String, Tag>,
    pub(super) end: Option<Tag>,
    /// Items that speak of a column that is not ours: they go with the next batch.
    pub(super) stale: Vec<i32>,
}

impl Layout {
    /// What `items`, all of this lane's key, say; `None` if there is no cursor of ours among them.
    pub(super) fn read(names: &Names, items: &[Item]) -> Option<Self> {
        // A copied tab carries copies of its metadata under ids that Google has chosen.
        let (cursor, tab, mark) = items.iter().find_map(|item| {
            let Spot::Tab(tab) = item.spot else {
                return None;
            };
            let mark = Mark::of_text(names, &item.value)?;
            (item.id == names.id(CURSOR, 0)).then_some((item, tab, mark))
        })?;
        let mut layout = Self {
            tab,
            cursor: cursor.id,
            text: cursor.value.clone(),
            mark,
            known_id: None,
            known: BTreeSet::new(),
            columns: BTreeMap::new(),
            end: None,
            stale: Vec::new(),
        };
        for item in items {
            match item.spot {
                Spot::Tab(of) if of == tab => {
                    if let Some(known) = item.value.strip_prefix("known:") {
                        layout.known_id = Some(item.id);
                        layout.known = numbers(known);
                    }
                }
                Spot::Column { tab: of, at } if of == tab => {
                    let tag = Tag { id: item.id, at };
                    if item.value == END {
                        layout.end = Some(tag);
                    } else {
                        layout.columns.insert(item.value.clone(), tag);
                    }
                }
                Spot::Tab(_) | Spot::Column { .. } | Spot::Elsewhere => {}
            }
        }
        Some(layout)
    }

    /// Where the first column stands that is right of all of ours.
    pub(super) fn behind(&self) -> u32 {
        let ends = self.columns.values().map(|tag| tag.at + 1);
        ends.max().unwrap_or(0)
    }

    pub(super) fn place(&self, column: &Column) -> Option<Tag> {
        self.columns.get(&column.tag()).copied()
    }

    /// Takes a column for deleted whose metadata has got onto another one.
    pub(super) fn distrust(&mut self, tag: &str) {
        self.stale
            .extend(self.columns.remove(tag).map(|tag| tag.id));
    }

    /// Whether it was made once.
    pub(super) fn knows(&self, column: &Column) -> bool {
        self.known.contains(&number(&column.tag()))
    }

    /// The sentinel, where it stands as one.
    pub(super) fn sentinel(&self) -> Option<Tag> {
        self.end.filter(|end| self.behind() <= end.at)
    }
}

/// The item that says which columns were ever made.
pub(super) fn known_item(names: &Names, (tab, id): (i32, i32), known: &BTreeSet<u32>) -> Item {
    let numbers = known.iter().map(|number| format!("{number:08x}"));
    let value = format!("known:{}", numbers.collect::<String>());
    Item {
        id,
        key: names.key().to_owned(),
        value,
        spot: Spot::Tab(tab),
    }
}

/// A column in the list of those that were made.
pub(super) fn number(tag: &str) -> u32 {
    u32::try_from(hash(&[tag]) >> 32).unwrap_or_default()
}

fn numbers(known: &str) -> BTreeSet<u32> {
    let digits: Vec<char> = known.chars().collect();
    let each = digits
        .chunks(8)
        .map(|chunk| chunk.iter().collect::<String>());
    each.filter_map(|each| u32::from_str_radix(&each, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Lane, Position};

    fn item(names: &Names, purpose: &str, value: &str, spot: Spot) -> Item {
        Item {
            id: names.id(purpose, 0),
            key: names.key().to_owned(),
            value: value.to_owned(),
            spot,
        }
    }

    #[test]
    fn a_tab_is_read_from_its_metadata_alone() {
        let names = Names::new("c", &Lane::new("t", "f"));
        let mark = Mark::new(5, Position { index: 9, slot: 0 });
        let column = |tag: &str, at| item(&names, tag, tag, Spot::Column { tab: 7, at });
        let known: BTreeSet<u32> = ["seq", "field:gone"].into_iter().map(number).collect();
        let mut items = vec![
            item(&names, CURSOR, &mark.to_text(&names), Spot::Tab(7)),
            column("seq", 4),
            column("field:a", 2),
            column(END, 6),
            known_item(&names, (7, names.id(KNOWN, 0)), &known),
        ];
        // A copy of the tab, with copies of its items.
        items.insert(
            0,
            Item {
                id: 3,
                spot: Spot::Tab(8),
                ..items[0].clone()
            },
        );
        items.push(Item {
            id: 4,
            spot: Spot::Column { tab: 8, at: 0 },
            ..items[2].clone()
        });
        let layout = Layout::read(&names, &items).unwrap();
        assert_eq!((layout.tab, layout.mark.clone()), (7, mark));
        assert_eq!(layout.place(&Column::Seq).map(|tag| tag.at), Some(4));
        assert_eq!(
            layout
                .place(&Column::Field("a".to_owned()))
                .map(|tag| tag.at),
            Some(2)
        );
        assert_eq!(layout.behind(), 5);
        assert!(layout.sentinel().is_some());
        assert!(layout.knows(&Column::Field("gone".to_owned())));
        assert!(!layout.knows(&Column::Field("new".to_owned())));

        let moved = Layout {
            end: Some(Tag { id: 1, at: 3 }),
            ..layout
        };
        assert_eq!(moved.sentinel(), None, "it stands behind nobody");
        assert_eq!(Layout::read(&names, &items[2..]), None, "no cursor");
    }

    #[test]
    fn long_names_are_shortened_and_stay_apart() {
        let tag = |name: &str| Column::Field(name.to_owned()).tag();
        assert_eq!(tag("cgpa"), "field:cgpa");
        let (one, other) = ("x".repeat(200), format!("{}y", "x".repeat(199)));
        assert_ne!(tag(&one), tag(&other));
        assert!(tag(&one).len() < 60);
        assert_eq!(Column::Field("_seq".to_owned()).header(true), "data._seq");
    }
}
