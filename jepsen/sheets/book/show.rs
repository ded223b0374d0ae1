//! A spreadsheet as the API shows it.

use crate::json::put;
use serde_json::{Map, Value, json};

use super::a1::Rect;
use super::metadata::Spot;
use super::row::{Cell, Content};
use super::{Book, Tab, text};
use crate::schema::mask::Mask;

const PIXELS_WIDE: u32 = 100;
const PIXELS_HIGH: u32 = 21;

/// What of a spreadsheet is asked for, and by whom.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// Empty: everything.
    pub(crate) ranges: Vec<Rect>,
    pub(crate) has_cells: bool,
    /// What is not selected is not even drawn: a tab may have a million rows.
    pub(crate) mask: Option<&'a Mask>,
    pub(crate) user: &'a str,
    pub(crate) project: &'a str,
}

impl View<'_> {
    fn wants(&self, path: &[&str]) -> bool {
        self.mask.is_none_or(|mask| mask.selects(path))
    }

    fn of(&self, tab: &Tab) -> Vec<Rect> {
        if self.ranges.is_empty() {
            let (rows, columns) = (0..tab.rows.len(), 0..tab.columns());
            let tab = tab.id;
            return vec![Rect { tab, rows, columns }];
        }
        let ranges = self.ranges.iter().filter(|range| range.tab == tab.id);
        ranges.cloned().collect()
    }
}

impl Book {
    pub(crate) fn show(&self, view: &View<'_>) -> Value {
        // Where ranges are asked for, tabs without one are left out.
        let tabs = self.tabs.iter().filter(|tab| !view.of(tab).is_empty());
        let sheets = tabs.map(|tab| self.show_tab(tab, view)).collect::<Vec<_>>();
        let mut shown = json!({
            "spreadsheetId": self.id,
            "properties": {
                "title": self.title,
                "locale": "en_US",
                "autoRecalc": "ON_CHANGE",
                "timeZone": self.time_zone,
            },
            "sheets": sheets,
            "spreadsheetUrl": format!("https://docs.google.com/spreadsheets/d/{}/edit", self.id),
        });
        let items = self.items_at(Spot::Spreadsheet, view);
        add_list(&mut shown, "developerMetadata", items);
        shown
    }

    fn items_at(&self, spot: Spot, view: &View<'_>) -> Vec<Value> {
        let items = self.items.values();
        let items = items.filter(|item| item.spot == spot && item.is_seen_by(view.project));
        items.map(|item| item.to_json(self)).collect()
    }

    pub(crate) fn properties(&self, tab: &Tab) -> Value {
        let index = self.tabs.iter().position(|other| other.id == tab.id);
        let mut grid = json!({"rowCount": tab.rows.len(), "columnCount": tab.columns()});
        for (name, count) in [
            ("frozenRowCount", tab.frozen_rows),
            ("frozenColumnCount", tab.frozen_columns),
        ] {
            if count > 0 {
                put(&mut grid, name, count);
            }
        }
        let mut properties = json!({
            "sheetId": tab.id,
            "title": tab.title,
            "index": index.unwrap_or_default(),
            "sheetType": "GRID",
            "gridProperties": grid,
        });
        for (name, value) in &tab.others {
            put(&mut properties, name.as_str(), value.clone());
        }
        properties
    }

    fn show_tab(&self, tab: &Tab, view: &View<'_>) -> Value {
        let mut sheet = json!({ "properties": self.properties(tab) });
        if view.has_cells && view.wants(&["sheets", "data"]) {
            let data = view.of(tab).into_iter();
            let data = data.map(|rect| self.show_grid(tab, &rect, view));
            put(&mut sheet, "data", data.collect::<Value>());
        }
        let items = self.items_at(Spot::Tab(tab.id), view);
        add_list(&mut sheet, "developerMetadata", items);
        let protected = self.protected.iter();
        let protected = protected.filter(|protected| protected.range.tab == tab.id);
        let protected = protected.map(|protected| protected.to_json(view.user));
        add_list(&mut sheet, "protectedRanges", protected.collect());
        sheet
    }

    fn show_grid(&self, tab: &Tab, rect: &Rect, view: &View<'_>) -> Value {
        let mut data = Map::new();
        if rect.rows.start > 0 {
            data.insert("startRow".to_owned(), rect.rows.start.into());
        }
        if rect.columns.start > 0 {
            data.insert("startColumn".to_owned(), rect.columns.start.into());
        }
        let slots = tab.slots.get(rect.columns.clone()).unwrap_or_default();
        if view.wants(&["sheets", "data", "rowData"]) {
            data.insert("rowData".to_owned(), self.show_rows(tab, rect, slots));
        }
        if view.wants(&["sheets", "data", "rowMetadata"]) {
            let rows = rect.rows.clone().map(|row| {
                let own = tab.row_properties.get(&row);
                let items = self.items_at(Spot::Row(tab.id, row), view);
                dimension(PIXELS_HIGH, own, items)
            });
            data.insert("rowMetadata".to_owned(), rows.collect());
        }
        if view.wants(&["sheets", "data", "columnMetadata"]) {
            let columns = slots.iter().map(|slot| {
                let own = tab.column_properties.get(slot);
                let items = self.items_at(Spot::Column(tab.id, *slot), view);
                dimension(PIXELS_WIDE, own, items)
            });
            data.insert("columnMetadata".to_owned(), columns.collect());
        }
        data.into()
    }

    fn show_rows(&self, tab: &Tab, rect: &Rect, slots: &[usize]) -> Value {
        let rows = tab.rows.range(rect.rows.clone()).map(|(_, row)| {
            let cells = row.ordered(slots);
            let end = cells.iter().rposition(|cell| *cell != Cell::default());
            let cells = cells.into_iter().take(end.map_or(0, |end| end + 1));
            let cells = cells.map(|cell| self.show_cell(cell)).collect::<Vec<_>>();
            if cells.is_empty() {
                json!({})
            } else {
                json!({ "values": cells })
            }
        });
        let mut rows = rows.collect::<Vec<_>>();
        let end = rows.iter().rposition(|row| *row != json!({}));
        rows.truncate(end.map_or(0, |end| end + 1));
        rows.into()
    }

    fn show_cell(&self, cell: Cell<'_>) -> Value {
        let style = self.style_at(cell.style).cloned();
        let mut shown = style.unwrap_or_else(|| json!({}));
        let (name, entered) = match cell.content {
            Content::Blank => return shown,
            Content::Number(number) => ("numberValue", text::json_number(number)),
            Content::Text(text) => ("stringValue", text.into()),
            Content::Bool(flag) => ("boolValue", flag.into()),
            Content::Formula(formula) => ("formulaValue", formula.into()),
        };
        let entered = json!({ name: entered });
        let effective = match cell.content {
            Content::Formula(_) => json!({"errorValue": {
                "type": "NAME", "message": "this is a fake: it evaluates no formula"}}),
            Content::Blank | Content::Number(_) | Content::Text(_) | Content::Bool(_) => {
                entered.clone()
            }
        };
        put(&mut shown, "userEnteredValue", entered);
        put(&mut shown, "effectiveValue", effective);
        put(&mut shown, "formattedValue", self.formatted(cell));
        shown
    }
}

fn dimension(pixels: u32, own: Option<&Map<String, Value>>, items: Vec<Value>) -> Value {
    let mut shown = json!({ "pixelSize": pixels });
    for (name, value) in own.into_iter().flatten() {
        put(&mut shown, name.as_str(), value.clone());
    }
    add_list(&mut shown, "developerMetadata", items);
    shown
}

/// Empty lists are left out, as everywhere in Google's JSON.
fn add_list(shown: &mut Value, name: &str, list: Vec<Value>) {
    if !list.is_empty() {
        put(shown, name, list);
    }
}
