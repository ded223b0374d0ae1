//! Requests on whole tabs.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Fault, Turn, read};
use crate::book::protect::Area;
use crate::book::{CELLS_MAX, COLUMNS_MAX, Dimension, Tab};

const ROWS_USUAL: usize = 1000;
const COLUMNS_USUAL: usize = 26;
/// Properties that are kept and mean nothing here.
const OTHERS: [&str; 4] = ["hidden", "rightToLeft", "tabColor", "tabColorStyle"];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Properties {
    sheet_id: Option<i32>,
    title: Option<String>,
    index: Option<i32>,
    sheet_type: Option<String>,
    #[serde(rename = "gridProperties")]
    grid: Option<Grid>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Grid {
    #[serde(rename = "rowCount")]
    rows: Option<i32>,
    #[serde(rename = "columnCount")]
    columns: Option<i32>,
    #[serde(rename = "frozenRowCount")]
    frozen_rows: Option<i32>,
    #[serde(rename = "frozenColumnCount")]
    frozen_columns: Option<i32>,
}

fn count(count: Option<i32>, usual: usize) -> Result<usize, Fault> {
    count.map_or(Ok(usual), |count| {
        usize::try_from(count).map_err(|_| "A count is negative.".into())
    })
}

fn properties(body: &Value) -> &Value {
    body.get("properties").unwrap_or(&Value::Null)
}

impl Turn<'_> {
    fn is_title_free(&self, title: &str, own: Option<i32>) -> Result<(), Fault> {
        match self.book.titled(title) {
            Some(tab) if Some(tab.id) != own => Err(format!(
                "A sheet with the name \"{title}\" already exists. Please enter another name."
            )
            .into()),
            _ if title.is_empty() => Err("A sheet must have a name.".into()),
            _ => Ok(()),
        }
    }

    fn free_title(&self) -> String {
        let numbers = (self.book.tabs.len() + 1)..;
        let mut titles = numbers.map(|number| format!("Sheet{number}"));
        let free = titles.find(|title| self.book.titled(title).is_none());
        free.unwrap_or_default()
    }

    pub(super) fn add_sheet(&mut self, body: &Value) -> Result<Value, Fault> {
        let new = read::<Option<Properties>>(properties(body))?.unwrap_or_default();
        if new.sheet_type.is_some_and(|kind| kind != "GRID") {
            return Err(Fault::Gap("this fake has grids only".to_owned()));
        }
        let title = new.title.unwrap_or_else(|| self.free_title());
        self.is_title_free(&title, None)?;
        let id = new.sheet_id.unwrap_or_else(|| self.dice.id());
        if id < 0 {
            return Err("The sheet ID must be non-negative.".into());
        }
        if self.book.tab(id).is_some() {
            return Err(
                format!("Sheet with id {id} already exists. Please use another id.").into(),
            );
        }
        let grid = new.grid.unwrap_or_default();
        let rows = count(grid.rows, ROWS_USUAL)?;
        let columns = count(grid.columns, COLUMNS_USUAL)?;
        if rows == 0 || columns == 0 || columns > COLUMNS_MAX {
            return Err("The size of the grid is not allowed.".into());
        }
        self.has_room(rows.saturating_mul(columns).min(CELLS_MAX + 1))?;
        let mut tab = Tab::new(id, &title, rows, columns);
        tab.frozen_rows = count(grid.frozen_rows, 0)?.min(rows - 1);
        tab.frozen_columns = count(grid.frozen_columns, 0)?.min(columns - 1);
        for name in OTHERS {
            if let Some(value) = properties(body).get(name) {
                tab.others.insert(name.to_owned(), value.clone());
            }
        }
        let place = count(new.index, usize::MAX)?.min(self.book.tabs.len());
        self.book.tabs.insert(place, Arc::new(tab));
        let shown = self.grid(id)?;
        Ok(json!({"addSheet": {"properties": self.book.properties(shown)}}))
    }

    fn sheet(&self, id: i32) -> Result<&Tab, Fault> {
        let tab = self.book.tab(id);
        tab.ok_or_else(|| Fault::Words(format!("No sheet with id: {id}")))
    }

    pub(super) fn delete_sheet(&mut self, body: &Value) -> Result<Value, Fault> {
        let id = body.get("sheetId").and_then(Value::as_i64).unwrap_or(0);
        let id = self.sheet(i32::try_from(id).unwrap_or(-1))?.id;
        if self.book.tabs.len() == 1 {
            return Err("You can't remove all the sheets in a document.".into());
        }
        self.may_edit(&Area::whole(id))?;
        self.book.remove_tab(id);
        Ok(json!({}))
    }

    pub(super) fn update_sheet_properties(&mut self, body: &Value) -> Result<Value, Fault> {
        let mask = self.mask(body, "SheetProperties")?;
        let new = read::<Option<Properties>>(properties(body))?.unwrap_or_default();
        let id = self.sheet(new.sheet_id.unwrap_or(0))?.id;
        let is_named = |path: &[&str]| !mask.is_all() && mask.selects(path);
        if mask.is_all() {
            return Err(Fault::Gap(
                "this fake wants the properties named".to_owned(),
            ));
        }
        let title = new.title.filter(|_| is_named(&["title"]));
        if let Some(title) = &title {
            self.is_title_free(title, Some(id))?;
        }
        self.may_edit(&Area::whole(id))?;
        let grid = new.grid.unwrap_or_default();
        for (name, wanted, dimension) in [
            ("rowCount", grid.rows, Dimension::Rows),
            ("columnCount", grid.columns, Dimension::Columns),
        ] {
            let len = self.sheet(id)?.len(dimension);
            if is_named(&["gridProperties", name]) {
                let wanted = count(wanted, 0)?;
                if wanted == 0 {
                    return Err(format!("{name} must be at least 1.").into());
                }
                self.may_grow(id, dimension, wanted.saturating_sub(len))?;
                self.book.resize(id, dimension, wanted);
            }
        }
        let frozen = (count(grid.frozen_rows, 0)?, count(grid.frozen_columns, 0)?);
        if let Some(tab) = self.book.tab_mut(id) {
            if is_named(&["gridProperties", "frozenRowCount"]) {
                if frozen.0 >= tab.rows.len() {
                    return Err("You can't freeze all visible rows on the sheet.".into());
                }
                tab.frozen_rows = frozen.0;
            }
            if is_named(&["gridProperties", "frozenColumnCount"]) {
                if frozen.1 >= tab.columns() {
                    return Err("You can't freeze all visible columns on the sheet.".into());
                }
                tab.frozen_columns = frozen.1;
            }
            tab.title = title.unwrap_or_else(|| tab.title.clone());
            for name in OTHERS.into_iter().filter(|name| is_named(&[name])) {
                let value = properties(body).get(name).cloned();
                tab.others
                    .insert(name.to_owned(), value.unwrap_or_default());
            }
            tab.others.retain(|_, value| !value.is_null());
        }
        if is_named(&["index"]) {
            self.move_tab(id, count(new.index, 0)?);
        }
        Ok(json!({}))
    }

    fn move_tab(&mut self, id: i32, to: usize) {
        let from = self.book.tabs.iter().position(|tab| tab.id == id);
        if let Some(from) = from {
            let tab = self.book.tabs.remove(from);
            // As Google says: counted before it was taken out.
            let to = if to > from { to - 1 } else { to };
            self.book.tabs.insert(to.min(self.book.tabs.len()), tab);
        }
    }
}
