//! A field as one input of the page.
//!
//! Holds: numbers are asked for in text inputs, because a browser shows nothing at all for a number
//! input whose value is no number, and what was typed would be lost.

use serde::Serialize;

use super::PageInput;
use crate::forms::field::{Choice, Field, Kind};

/// What the template of a field reads.
#[derive(Serialize)]
pub(super) struct Input<'a> {
    pub(super) id: String,
    pub(super) name: &'a str,
    pub(super) title: &'a str,
    shape: &'static str,
    element: &'static str,
    inputmode: Option<&'static str>,
    is_required: bool,
    min_length: Option<u64>,
    max_length: Option<u64>,
    pattern: Option<&'a str>,
    autocomplete: Option<&'static str>,
    description: Option<&'a str>,
    fault: Option<String>,
    described_by: Option<String>,
    /// At least one.
    values: Vec<String>,
    choices: Vec<Tickable<'a>>,
}

/// One of a few.
#[derive(Serialize)]
struct Tickable<'a> {
    id: String,
    value: &'a str,
    label: &'a str,
    is_on: bool,
}

impl<'a> Input<'a> {
    pub(super) fn new(at: usize, field: &'a Field, page: &PageInput<'_>) -> Self {
        let id = format!("field-{at}");
        let (shape, element) = shape(&field.kind);
        let fault = fault(field, page);
        let values = values(field, page);
        let hint = field.description.as_ref().map(|_| format!("{id}-hint"));
        let told = fault.as_ref().map(|_| format!("{id}-fault"));
        let described: Vec<String> = hint.into_iter().chain(told).collect();
        Self {
            choices: choices(&id, &field.kind, &values),
            name: &field.name,
            title: &field.title,
            shape,
            element,
            inputmode: keys(&field.kind),
            is_required: field.is_required,
            min_length: field.min_length,
            max_length: field.max_length,
            pattern: field.pattern.as_deref(),
            autocomplete: field.autocomplete,
            description: field.description.as_deref(),
            fault,
            described_by: (!described.is_empty()).then(|| described.join(" ")),
            values,
            id,
        }
    }

    /// What a link to this input leads to.
    pub(super) fn target(&self) -> &str {
        self.choices
            .first()
            .filter(|_| self.shape == "boxes")
            .map_or(&self.id, |one| &one.id)
    }
}

/// Which keys a phone shows.
fn keys(kind: &Kind) -> Option<&'static str> {
    if *kind == Kind::Integer {
        Some("numeric")
    } else if *kind == Kind::Number {
        Some("decimal")
    } else {
        None
    }
}

/// Which part of the template, and which type of input in it.
fn shape(kind: &Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Text | Kind::Number | Kind::Integer => ("line", "text"),
        Kind::Email => ("line", "email"),
        Kind::Tel => ("line", "tel"),
        Kind::Url => ("line", "url"),
        Kind::Date => ("line", "date"),
        Kind::Textarea => ("area", "text"),
        Kind::Json => ("area", "json"),
        Kind::Boolean => ("tick", "checkbox"),
        Kind::Choice(choices) if choices.len() <= RADIOS_MAX => ("boxes", "radio"),
        Kind::Choice(_) => ("select", "select"),
        Kind::Multi(_) => ("boxes", "checkbox"),
        Kind::List => ("lines", "text"),
    }
}

/// The first thing wrong with the field, as a sentence of its own.
fn fault(field: &Field, page: &PageInput<'_>) -> Option<String> {
    let mut faults = page.faults.iter();
    let fault = faults.find(|fault| fault.field().as_deref() == Some(&field.name))?;
    Some(format!("{} {}", field.title, fault.detail))
}

fn values(field: &Field, page: &PageInput<'_>) -> Vec<String> {
    let typed = page.typed.iter().filter(|(name, _)| *name == field.name);
    let mut values: Vec<String> = typed.map(|(_, text)| text.clone()).collect();
    if page.typed.is_empty() {
        values.extend(field.default.clone());
    }
    if field.kind == Kind::List {
        values.retain(|value| !value.is_empty());
        values.resize(LINES_MIN.max(values.len() + 1), String::new());
    }
    if field.kind == Kind::Boolean && values.iter().any(|value| is_yes(value)) {
        values = vec!["true".to_owned()];
    }
    if values.is_empty() {
        values.push(String::new());
    }
    values
}

fn is_yes(text: &str) -> bool {
    matches!(text, "true" | "on" | "yes" | "1")
}

fn choices<'a>(id: &str, kind: &'a Kind, values: &[String]) -> Vec<Tickable<'a>> {
    let (Kind::Choice(choices) | Kind::Multi(choices)) = kind else {
        return Vec::new();
    };
    let choices = choices.iter().enumerate();
    choices
        .map(|(at, Choice { value, label })| Tickable {
            id: format!("{id}-{at}"),
            value,
            label,
            is_on: values.iter().any(|one| one == value),
        })
        .collect()
}

/// More choices than this are a list to open.
const RADIOS_MAX: usize = 5;
/// Lines that an empty list offers.
const LINES_MIN: usize = 3;
