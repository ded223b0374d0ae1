//! Calls that change nothing.

use serde_json::{Map, Value, json};

use super::{Task, seen};
use crate::batch::Caller;
use crate::book::Book;
use crate::book::metadata::Lookup;
use crate::book::show::View;
use crate::book::values::Render;
use crate::error::{self, Answer};
use crate::world::Fake;

pub(super) fn done(fake: &Fake, task: &Task) -> Result<Value, Answer> {
    match task.method.as_str() {
        "sheets.spreadsheets.get" => get(&seen(fake, task, true)?.book, task),
        "sheets.spreadsheets.developerMetadata.get" => {
            metadata(&seen(fake, task, true)?.book, task)
        }
        "sheets.spreadsheets.developerMetadata.search" => {
            search(&seen(fake, task, true)?.book, task)
        }
        "sheets.spreadsheets.values.get" => values(&seen(fake, task, true)?.book, task),
        other => Err(error::gap(&format!("this fake does not know {other}"))),
    }
}

fn invalid(words: &str) -> Answer {
    error::error(400, Some(words), None)
}

fn get(book: &Book, task: &Task) -> Result<Value, Answer> {
    let ranges = task.query.iter().filter(|(name, _)| name == "ranges");
    let ranges = ranges.map(|(_, text)| book.rect(text));
    let ranges = ranges
        .collect::<Result<Vec<_>, _>>()
        .map_err(|words| invalid(&words))?;
    let Caller { user, project } = &task.caller;
    Ok(book.show(&View {
        ranges,
        // Documented: ignored where there is a field mask.
        has_cells: task.mask.is_some() || task.parameter("includeGridData") == Some("true"),
        mask: task.mask.as_ref(),
        user,
        project,
    }))
}

fn metadata(book: &Book, task: &Task) -> Result<Value, Answer> {
    let id = task.path.get("metadataId").map_or("", String::as_str);
    let item = id.parse().ok().and_then(|id: i32| book.items.get(&id));
    let item = item.filter(|item| item.is_seen_by(&task.caller.project));
    item.map(|item| item.to_json(book)).ok_or_else(|| {
        error::error(
            404,
            Some(&format!("No developer metadata with ID {id}")),
            None,
        )
    })
}

fn search(book: &Book, task: &Task) -> Result<Value, Answer> {
    let filters = task.body.get("dataFilters").and_then(Value::as_array);
    let filters = filters.map(Vec::as_slice).unwrap_or_default();
    // Each item once, with all filters that select it, as Google documents.
    let mut found = Map::new();
    for filter in filters {
        let Some(lookup) = filter.get("developerMetadataLookup") else {
            return Err(error::gap("this fake selects metadata by lookups only"));
        };
        let lookup: Lookup =
            serde_json::from_value(lookup.clone()).map_err(|why| invalid(&why.to_string()))?;
        if let Some(problem) = lookup.problem() {
            return Err(invalid(&format!("Invalid dataFilter: {problem}")));
        }
        for item in lookup.select(book, &task.caller.project) {
            let matched = found.entry(item.id.to_string()).or_insert_with(
                || json!({"developerMetadata": item.to_json(book), "dataFilters": []}),
            );
            if let Some(filters) = matched["dataFilters"].as_array_mut() {
                filters.push(filter.clone());
            }
        }
    }
    if found.is_empty() {
        return Ok(json!({}));
    }
    let found = found.into_iter().map(|(_, matched)| matched);
    Ok(json!({"matchedDeveloperMetadata": found.collect::<Value>()}))
}

fn values(book: &Book, task: &Task) -> Result<Value, Answer> {
    let range = task.path.get("range").map_or("", String::as_str);
    let rect = book.rect(range).map_err(|words| invalid(&words))?;
    let dates_as_text = task.parameter("dateTimeRenderOption") == Some("FORMATTED_STRING");
    let render = match task.parameter("valueRenderOption") {
        Some("UNFORMATTED_VALUE") => Render::Unformatted { dates_as_text },
        Some("FORMULA") => Render::Formula { dates_as_text },
        _ => Render::Formatted,
    };
    let by_column = task.parameter("majorDimension") == Some("COLUMNS");
    Ok(book.values(&rect, render, by_column))
}
