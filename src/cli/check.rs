//! `formspool check`: every problem of settings and definitions, at once.

use std::path::PathBuf;

use serde_json::json;

use super::error::Error;
use super::out::{self, Out};
use crate::config::Loaded;
use crate::definitions;
use crate::node::definitions_of;

/// Reads all that a start would read; changes nothing.
pub(super) fn run(
    out: Out,
    settings: Result<Loaded, Error>,
    paths: &[PathBuf],
) -> Result<(), Error> {
    let mut problems = Vec::new();
    let mut found = Vec::new();
    let mut add = |read: Result<Vec<definitions::Found>, Vec<String>>| match read {
        Ok(items) => found.extend(items),
        Err(more) => problems.extend(more),
    };
    match settings {
        Ok(loaded) if paths.is_empty() => add(definitions_of(&loaded)),
        Ok(_) => {}
        Err(Error::Problems(more)) => add(Err(more)),
        Err(other) => return Err(other),
    }
    if !paths.is_empty() {
        add(definitions::read(paths));
    }
    if problems.is_empty() {
        let names: Vec<String> = found
            .iter()
            .map(|found| format!("{} {}", found.item.kind(), found.item.name()))
            .collect();
        let text = format!(
            "no problems; {} definitions: {}",
            names.len(),
            names.join(", ")
        );
        return Ok(out.either(&json!({ "problems": [], "definitions": names }), &text)?);
    }
    if out.is_json {
        out::json(&json!({ "problems": problems }))?;
        return Err(Error::ToldProblems(problems.len()));
    }
    Err(Error::Problems(problems))
}
