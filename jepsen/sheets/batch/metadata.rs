//! Requests on developer metadata.
//!
//! Holds: an id in use refuses the request and with it the batch. Documented and seen at Google.
//! A switch, since nobody outside knows: whether a deletion that matches nothing is an error.
//! Inferred: the words of most refusals.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Fault, Turn, read};
use crate::book::metadata::{BUDGET_CHARACTERS, Item, Location, Lookup, Spot};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    #[serde(rename = "metadataId")]
    id: Option<i32>,
    #[serde(rename = "metadataKey")]
    key: Option<String>,
    #[serde(rename = "metadataValue")]
    value: Option<String>,
    location: Option<Location>,
    visibility: Option<String>,
}

impl Turn<'_> {
    pub(super) fn create_metadata(&mut self, body: &Value) -> Result<Value, Fault> {
        let new = body.get("developerMetadata").unwrap_or(&Value::Null);
        let new = read::<Option<Metadata>>(new)?.unwrap_or_default();
        let key = new.key.filter(|key| !key.is_empty());
        let key = key.ok_or("Developer metadata must always have a key specified.")?;
        let visibility = visible(new.visibility)?;
        let location = new.location.unwrap_or_default();
        let spot = self.book.spot(&location)?;
        let id = match new.id {
            Some(id) => id,
            None => self.free_id(),
        };
        if id <= 0 {
            return Err(format!("The metadata ID [{id}] must be positive.").into());
        }
        if self.book.items.contains_key(&id) {
            return Err(format!(
                "Cannot add developer metadata with ID [{id}] because developer metadata with that \
                 ID already exists."
            )
            .into());
        }
        let item = Item {
            id,
            key,
            value: new.value,
            visibility,
            project: self.caller.project.clone(),
            spot,
        };
        self.put(item.clone())?;
        Ok(json!({"createDeveloperMetadata": {"developerMetadata": item.to_json(self.book)}}))
    }

    fn free_id(&mut self) -> i32 {
        loop {
            let id = self.dice.id();
            if !self.book.items.contains_key(&id) {
                return id;
            }
        }
    }

    fn put(&mut self, item: Item) -> Result<(), Fault> {
        self.outcome.metadata.push(json!({
            "id": item.id, "key": item.key, "value": item.value,
        }));
        let items = Arc::make_mut(&mut self.book.items);
        let tab = item.spot.tab();
        items.insert(item.id, item);
        if self.book.metadata_characters(tab) > BUDGET_CHARACTERS {
            let whose = if tab.is_some() {
                "a sheet"
            } else {
                "a spreadsheet"
            };
            return Err(format!(
                "Developer metadata of {whose} cannot exceed {BUDGET_CHARACTERS} characters."
            )
            .into());
        }
        Ok(())
    }

    fn select(&self, filter: Option<&Value>) -> Result<Vec<Item>, Fault> {
        let filter = filter.ok_or("A data filter must be specified.")?;
        if filter.get("a1Range").is_some() || filter.get("gridRange").is_some() {
            return Err(Fault::Gap(
                "this fake selects metadata by lookups only".to_owned(),
            ));
        }
        let lookup = filter.get("developerMetadataLookup");
        let lookup = lookup.ok_or("A data filter must be specified.")?;
        let lookup = read::<Lookup>(lookup)?;
        match lookup.problem() {
            Some(problem) => Err(problem.into()),
            None => Ok(lookup.select(self.book, &self.caller.project)),
        }
    }

    fn nothing_matched(&self) -> Result<(), Fault> {
        if self.rules.is_no_match_refused {
            return Err("No developer metadata matches the data filter.".into());
        }
        Ok(())
    }

    pub(super) fn delete_metadata(&mut self, body: &Value) -> Result<Value, Fault> {
        let found = self.select(body.get("dataFilter"))?;
        if found.is_empty() {
            self.nothing_matched()?;
            return Ok(json!({"deleteDeveloperMetadata": {}}));
        }
        let deleted = found.iter().map(|item| item.to_json(self.book));
        let deleted = deleted.collect::<Vec<_>>();
        let items = Arc::make_mut(&mut self.book.items);
        for item in found {
            items.remove(&item.id);
            self.outcome.metadata.push(json!({
                "id": item.id, "key": item.key, "was": item.value,
            }));
        }
        Ok(json!({"deleteDeveloperMetadata": {"deletedDeveloperMetadata": deleted}}))
    }

    pub(super) fn update_metadata(&mut self, body: &Value) -> Result<Value, Fault> {
        let mask = self.mask(body, "DeveloperMetadata")?;
        let new = body.get("developerMetadata").unwrap_or(&Value::Null);
        let new = read::<Option<Metadata>>(new)?.unwrap_or_default();
        let filters = body.get("dataFilters").and_then(Value::as_array);
        let filters = filters.filter(|filters| !filters.is_empty());
        let mut found = Vec::<Item>::new();
        for filter in filters.ok_or("At least one data filter must be specified.")? {
            let more = self.select(Some(filter))?.into_iter();
            let more = more.filter(|item| found.iter().all(|other| other.id != item.id));
            found.extend(more.collect::<Vec<_>>());
        }
        if found.is_empty() {
            self.nothing_matched()?;
            return Ok(json!({"updateDeveloperMetadata": {}}));
        }
        let spot = match (&new.location, mask.of("location")) {
            (Some(location), Some(_)) => Some(self.book.spot(location)?),
            _ => None,
        };
        for item in &mut found {
            update(item, (&new, spot), |name| mask.of(name).is_some())?;
            self.put(item.clone())?;
        }
        let updated = found.iter().map(|item| item.to_json(self.book));
        let updated = updated.collect::<Vec<_>>();
        Ok(json!({"updateDeveloperMetadata": {"developerMetadata": updated}}))
    }
}

fn update(
    item: &mut Item,
    (new, spot): (&Metadata, Option<Spot>),
    is_named: impl Fn(&str) -> bool,
) -> Result<(), Fault> {
    if is_named("metadataValue") {
        item.value.clone_from(&new.value);
    }
    if is_named("metadataKey") {
        let key = new.key.clone().filter(|key| !key.is_empty());
        item.key = key.ok_or("Developer metadata must always have a key specified.")?;
    }
    if is_named("visibility") {
        item.visibility = visible(new.visibility.clone())?;
    }
    item.spot = spot.unwrap_or(item.spot);
    Ok(())
}

fn visible(visibility: Option<String>) -> Result<String, Fault> {
    let known = ["DOCUMENT", "PROJECT"];
    let visibility = visibility.filter(|visibility| known.contains(&visibility.as_str()));
    visibility.ok_or_else(|| "Developer metadata must always have visibility specified.".into())
}
