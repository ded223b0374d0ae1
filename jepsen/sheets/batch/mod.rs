//! `batchUpdate`: requests applied to a spreadsheet, in order, all or none.
//!
//! Holds: what is returned with an error has changed nothing that anybody can see: the caller works
//! on a copy. A request that this fake does not know is never taken for an error of the client.

mod cells;
mod dimensions;
mod metadata;
mod protect;
mod tabs;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::book::protect::Area;
use crate::book::row::Row;
use crate::book::{Book, CELLS_MAX, Tab};
use crate::dice::Dice;
use crate::schema::Schema;
use crate::schema::mask::{self, Mask};

const REQUESTS_MAX: usize = 100_000;

/// Who asks, and in whose name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) user: String,
    pub(crate) project: String,
}

/// Why a batch was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 400, with these words.
    Invalid(String),
    /// Google can do this, and this fake cannot.
    Gap(String),
}

/// Why a request could not be applied, before it is known which one it is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Words(String),
    Gap(String),
}

impl From<String> for Fault {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl From<&str> for Fault {
    fn from(words: &str) -> Self {
        Self::Words(words.to_owned())
    }
}

/// A column as it stood when rows went in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) slot: usize,
    pub(crate) header: String,
    /// Id, key and value of what is bound to it.
    pub(crate) metadata: Vec<(i32, String, String)>,
}

/// Rows that came or went.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    pub(crate) tab: i32,
    pub(crate) title: String,
    /// Place of the first of them, from 0.
    pub(crate) row: usize,
    pub(crate) heads: Arc<Vec<Head>>,
    pub(crate) rows: Vec<Row>,
}

/// What a batch has done.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) replies: Vec<Value>,
    pub(crate) names: Vec<String>,
    pub(crate) appended: Vec<Moved>,
    pub(crate) removed: Vec<Moved>,
    /// Items of metadata created, with the value before and after in words.
    pub(crate) metadata: Vec<Value>,
}

/// What decides about a batch besides the batch.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) schema: Arc<Schema>,
    /// To delete metadata that is not there is an error.
    pub(crate) is_no_match_refused: bool,
    /// Requests that fail are passed over: what two batches that are merged might do.
    pub(crate) is_lenient: bool,
}

/// A batch under way.
struct Turn<'a> {
    book: &'a mut Book,
    rules: &'a Rules,
    caller: &'a Caller,
    dice: &'a mut Dice,
    outcome: Outcome,
}

/// Applies `requests`; after an error the book is of no use.
pub(crate) fn apply(
    book: &mut Book,
    requests: &[Value],
    (rules, caller): (&Rules, &Caller),
    dice: &mut Dice,
) -> Result<Outcome, Refusal> {
    if requests.is_empty() {
        return Err(Refusal::Invalid(
            "Must specify at least one request.".to_owned(),
        ));
    }
    if requests.len() > REQUESTS_MAX {
        let words = format!("Cannot exceed {REQUESTS_MAX} requests in a single batch");
        return Err(Refusal::Invalid(words));
    }
    let mut turn = Turn {
        book,
        rules,
        caller,
        dice,
        outcome: Outcome::default(),
    };
    for (at, request) in requests.iter().enumerate() {
        let mut set = request.as_object().into_iter().flatten();
        let Some((name, body)) = set.find(|(_, body)| !body.is_null()) else {
            return Err(Refusal::Invalid(format!(
                "Invalid requests[{at}]: No request set."
            )));
        };
        let reply = match turn.apply(name, body) {
            Ok(reply) => reply,
            Err(Fault::Gap(what)) => {
                let what = format!("requests[{at}].{name}: {what}");
                return Err(Refusal::Gap(what));
            }
            Err(Fault::Words(_)) if rules.is_lenient => json!({}),
            Err(Fault::Words(words)) => {
                let words = format!("Invalid requests[{at}].{name}: {words}");
                return Err(Refusal::Invalid(words));
            }
        };
        turn.outcome.replies.push(reply);
        turn.outcome.names.push(name.clone());
    }
    Ok(turn.outcome)
}

impl Turn<'_> {
    fn apply(&mut self, name: &str, body: &Value) -> Result<Value, Fault> {
        match name {
            "appendCells" => self.append_cells(body),
            "updateCells" => self.update_cells(body),
            "repeatCell" => self.repeat_cell(body),
            "createDeveloperMetadata" => self.create_metadata(body),
            "deleteDeveloperMetadata" => self.delete_metadata(body),
            "updateDeveloperMetadata" => self.update_metadata(body),
            "insertDimension" => self.insert_dimension(body),
            "deleteDimension" => self.delete_dimension(body),
            "moveDimension" => self.move_dimension(body),
            "appendDimension" => self.append_dimension(body),
            "updateDimensionProperties" => self.update_dimension_properties(body),
            "sortRange" => self.sort_range(body),
            "addSheet" => self.add_sheet(body),
            "deleteSheet" => self.delete_sheet(body),
            "updateSheetProperties" => self.update_sheet_properties(body),
            "addProtectedRange" => self.add_protected_range(body),
            "deleteProtectedRange" => self.delete_protected_range(body),
            _ => Err(Fault::Gap(
                "this fake does not know this request".to_owned(),
            )),
        }
    }

    fn grid(&self, id: i32) -> Result<&Tab, Fault> {
        let tab = self.book.tab(id);
        tab.ok_or_else(|| Fault::Words(format!("No grid with id: {id}")))
    }

    fn may_edit(&self, area: &Area) -> Result<(), Fault> {
        let mut protected = self.book.protected.iter();
        if protected.any(|protected| protected.forbids(&self.caller.user, area)) {
            return Err(
                "You are trying to edit a protected cell or object. Please contact the \
                        spreadsheet owner to remove protection if you need to edit."
                    .into(),
            );
        }
        Ok(())
    }

    /// There is room for `more` cells.
    fn has_room(&self, more: usize) -> Result<(), Fault> {
        if self.book.cells() + more > CELLS_MAX {
            return Err(format!(
                "This action would increase the number of cells in the workbook above the limit \
                 of {CELLS_MAX} cells."
            )
            .into());
        }
        Ok(())
    }

    /// A mask of the message `message`, of which at least one field is named.
    fn mask(&self, body: &Value, message: &str) -> Result<Mask, Fault> {
        let text = body.get("fields").and_then(Value::as_str);
        let text = text.unwrap_or_default();
        if text.is_empty() {
            return Err(
                "At least one field must be listed in 'fields'. (Use '*' to indicate all \
                        fields.)"
                    .into(),
            );
        }
        let mask =
            mask::parse(text).map_err(|why| Fault::Words(format!("Invalid fields: {why}")))?;
        let place = self.rules.schema.place(message);
        match place.and_then(|place| mask.stray(&self.rules.schema, place)) {
            Some(stray) => Err(format!("Invalid field: {stray}").into()),
            None => Ok(mask),
        }
    }

    fn heads(&self, tab: &Tab) -> Arc<Vec<Head>> {
        let heads = heads(self.book, tab);
        let last = self.outcome.appended.last();
        match last.filter(|last| *last.heads == heads) {
            Some(last) => Arc::clone(&last.heads),
            None => Arc::new(heads),
        }
    }
}

/// The columns of a tab as they stand.
pub(crate) fn heads(book: &Book, tab: &Tab) -> Vec<Head> {
    let head = |slot: &usize| {
        let spot = crate::book::metadata::Spot::Column(tab.id, *slot);
        let items = book.items.values().filter(|item| item.spot == spot);
        let items = items.map(|item| {
            (
                item.id,
                item.key.clone(),
                item.value.clone().unwrap_or_default(),
            )
        });
        Head {
            slot: *slot,
            header: tab.header(*slot),
            metadata: items.collect(),
        }
    };
    tab.slots.iter().map(head).collect()
}

/// A request's body as a type; the schema has checked it before.
fn read<T: DeserializeOwned>(body: &Value) -> Result<T, Fault> {
    T::deserialize(body).map_err(|error| Fault::Words(error.to_string()))
}

/// Puts into `old` what `mask` names of `new`: one level of fields.
fn merge(old: &mut Map<String, Value>, new: Option<&Value>, mask: &Mask) {
    let new = new.and_then(Value::as_object);
    if mask.is_all() {
        *old = new.cloned().unwrap_or_default();
        return;
    }
    for name in mask.names() {
        match new.and_then(|new| new.get(name)) {
            Some(value) => {
                old.insert(name.to_owned(), value.clone());
            }
            None => {
                old.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
