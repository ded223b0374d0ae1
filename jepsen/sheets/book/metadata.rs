//! Developer metadata: items, where they are bound, and how a lookup selects them.
//!
//! Holds: an id stands for one item of the spreadsheet, whoever may see it.

use crate::json::put;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Book, Dimension, Tab};

/// Key and value together, for the spreadsheet and for each tab.
pub(crate) const BUDGET_CHARACTERS: usize = 30_000;

/// What an item is bound to. A row counts by its place, a column is its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    Spreadsheet,
    Tab(i32),
    Row(i32, usize),
    Column(i32, usize),
}

impl Spot {
    pub(crate) fn tab(self) -> Option<i32> {
        match self {
            Self::Spreadsheet => None,
            Self::Tab(tab) | Self::Row(tab, _) | Self::Column(tab, _) => Some(tab),
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Spreadsheet => "SPREADSHEET",
            Self::Tab(_) => "SHEET",
            Self::Row(..) => "ROW",
            Self::Column(..) => "COLUMN",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) id: i32,
    pub(crate) key: String,
    pub(crate) value: Option<String>,
    pub(crate) visibility: String,
    /// Google Cloud project that made it: the only one that sees it if its visibility is `PROJECT`.
    pub(crate) project: String,
    pub(crate) spot: Spot,
}

impl Item {
    pub(crate) fn characters(&self) -> usize {
        let value = self.value.as_deref().unwrap_or_default();
        self.key.chars().count() + value.chars().count()
    }

    pub(crate) fn is_seen_by(&self, project: &str) -> bool {
        self.visibility != "PROJECT" || self.project == project
    }

    pub(crate) fn to_json(&self, book: &Book) -> Value {
        let mut location = json!({ "locationType": self.spot.kind() });
        let dimension = |tab: i32, dimension: Dimension, at: usize| json!({"sheetId": tab, "dimension": dimension.name(), "startIndex": at, "endIndex": at + 1});
        match self.spot {
            Spot::Spreadsheet => put(&mut location, "spreadsheet", true),
            Spot::Tab(tab) => put(&mut location, "sheetId", tab),
            Spot::Row(tab, at) => {
                put(
                    &mut location,
                    "dimensionRange",
                    dimension(tab, Dimension::Rows, at),
                );
            }
            Spot::Column(tab, slot) => {
                let at = book.tab(tab).and_then(|tab| tab.column_of(slot));
                let at = at.unwrap_or_default();
                put(
                    &mut location,
                    "dimensionRange",
                    dimension(tab, Dimension::Columns, at),
                );
            }
        }
        let mut item = json!({
            "metadataId": self.id,
            "metadataKey": self.key,
            "location": location,
            "visibility": self.visibility,
        });
        if let Some(value) = &self.value {
            put(&mut item, "metadataValue", value.as_str());
        }
        item
    }
}

/// A place as a request names it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Location {
    sheet_id: Option<i32>,
    spreadsheet: Option<bool>,
    dimension_range: Option<Span>,
    #[serde(rename = "locationType")]
    kind: Option<String>,
}

/// Rows or columns as a request names them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Span {
    pub(crate) sheet_id: i32,
    pub(crate) dimension: Option<String>,
    pub(crate) start_index: Option<i32>,
    pub(crate) end_index: Option<i32>,
}

impl Span {
    pub(crate) fn dimension(&self) -> Option<Dimension> {
        match self.dimension.as_deref() {
            Some("ROWS") => Some(Dimension::Rows),
            Some("COLUMNS") => Some(Dimension::Columns),
            _ => None,
        }
    }

    /// Both ends, where the tab has them.
    pub(crate) fn within(&self, tab: &Tab) -> Option<(Dimension, std::ops::Range<usize>)> {
        let dimension = self.dimension()?;
        let start = usize::try_from(self.start_index.unwrap_or(0)).ok()?;
        let end = match self.end_index {
            None => tab.len(dimension),
            Some(end) => usize::try_from(end).ok()?,
        };
        let is_there = start < end && end <= tab.len(dimension);
        is_there.then_some((dimension, start..end))
    }
}

impl Book {
    /// The spot that a location names. `Err`: why there is none.
    pub(crate) fn spot(&self, location: &Location) -> Result<Spot, String> {
        let has_tab = |id: i32| match self.tab(id) {
            Some(tab) => Ok(tab),
            None => Err(format!("No grid with id: {id}")),
        };
        match location {
            Location {
                spreadsheet: Some(true),
                ..
            } => Ok(Spot::Spreadsheet),
            Location {
                sheet_id: Some(id), ..
            } => Ok(Spot::Tab(has_tab(*id)?.id)),
            Location {
                dimension_range: Some(span),
                ..
            } => {
                let tab = has_tab(span.sheet_id)?;
                let (dimension, range) = span
                    .within(tab)
                    .ok_or("The dimension range is not on the grid.")?;
                if range.len() != 1 {
                    return Err(
                        "Developer metadata can only be associated with a single row or \
                                column."
                            .to_owned(),
                    );
                }
                Ok(match dimension {
                    Dimension::Rows => Spot::Row(tab.id, range.start),
                    Dimension::Columns => {
                        let slot = tab.slots.get(range.start).copied();
                        Spot::Column(tab.id, slot.unwrap_or_default())
                    }
                })
            }
            Location { .. } => Err("A location must be specified.".to_owned()),
        }
    }

    /// What an item with that spot may not exceed, and what is used of it.
    pub(crate) fn metadata_characters(&self, tab: Option<i32>) -> usize {
        let items = self.items.values().filter(|item| item.spot.tab() == tab);
        items.map(Item::characters).sum()
    }
}

/// A lookup as a request names it: an item must meet everything that is given.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Lookup {
    metadata_id: Option<i32>,
    metadata_key: Option<String>,
    metadata_value: Option<String>,
    visibility: Option<String>,
    location_type: Option<String>,
    metadata_location: Option<Location>,
    location_matching_strategy: Option<String>,
}

/// How a lookup takes its location.
enum Place {
    Anywhere,
    Exactly(Spot),
    Touching(i32, Option<Spot>),
    Nowhere,
}

impl Lookup {
    pub(crate) fn select(&self, book: &Book, project: &str) -> Vec<Item> {
        let place = self.place(book);
        let items = book.items.values().filter(|item| {
            item.is_seen_by(project)
                && self.metadata_id.is_none_or(|id| id == item.id)
                && self
                    .metadata_key
                    .as_ref()
                    .is_none_or(|key| *key == item.key)
                && self
                    .metadata_value
                    .as_ref()
                    .is_none_or(|value| value == item.value.as_deref().unwrap_or_default())
                && self
                    .visibility
                    .as_ref()
                    .is_none_or(|v| *v == item.visibility)
                && self
                    .location_type
                    .as_ref()
                    .is_none_or(|kind| kind == item.spot.kind())
                && place.holds(item.spot)
        });
        items.cloned().collect()
    }

    /// Why Google's description of a lookup forbids this one.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let is_exact = self.location_matching_strategy.as_deref() == Some("EXACT_LOCATION");
        if self.location_matching_strategy.is_some() && self.metadata_location.is_none() {
            return Some("A metadataLocation must be specified with a locationMatchingStrategy.");
        }
        if is_exact && self.location_type.is_some() {
            return Some("The locationType must be unspecified when matching an exact location.");
        }
        None
    }

    /// A location that is not there matches nothing. Without a strategy it is intersecting.
    fn place(&self, book: &Book) -> Place {
        let Some(location) = &self.metadata_location else {
            return Place::Anywhere;
        };
        let Ok(spot) = book.spot(location) else {
            return Place::Nowhere;
        };
        let is_exact = self.location_matching_strategy.as_deref() == Some("EXACT_LOCATION");
        match spot {
            _ if is_exact => Place::Exactly(spot),
            // The spreadsheet itself intersects nothing else.
            Spot::Spreadsheet => Place::Exactly(spot),
            Spot::Tab(tab) => Place::Touching(tab, None),
            Spot::Row(tab, _) | Spot::Column(tab, _) => Place::Touching(tab, Some(spot)),
        }
    }
}

impl Place {
    fn holds(&self, spot: Spot) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Nowhere => false,
            Self::Exactly(wanted) => *wanted == spot,
            Self::Touching(tab, None) => spot.tab() == Some(*tab),
            // A row and a column of one tab cross; two rows do not.
            Self::Touching(tab, Some(wanted)) => {
                spot.tab() == Some(*tab)
                    && match (wanted, spot) {
                        (Spot::Row(..), Spot::Row(..)) | (Spot::Column(..), Spot::Column(..)) => {
                            *wanted == spot
                        }
                        _ => true,
                    }
            }
        }
    }
}
