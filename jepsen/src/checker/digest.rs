//! Digests of a document: as JSON, and as the cells of a sheet.
//!
//! Holds: equal documents have equal digests whatever the order of their members; the digest of
//! the cells is what a faithful sheet must show, with the `'` before what a program would take
//! for a formula.
//! Why two: a sheet knows no types, so its rows can be compared only as text.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digests {
    pub(crate) document: u64,
    pub(crate) cells: u64,
}

impl Digests {
    pub(crate) fn of(data: &Value) -> Self {
        let members = data.as_object().into_iter().flatten();
        let cells = members
            .map(|(name, value)| (name.as_str(), cell(value)))
            .collect();
        Self {
            document: document(data),
            cells: self::cells(&cells),
        }
    }
}

pub(crate) fn document(data: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    walk(data, &mut hasher);
    hasher.finish()
}

/// Empty cells do not count: a field that is absent and one that is null look the same.
pub(crate) fn cells(cells: &BTreeMap<&str, String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (name, text) in cells.iter().filter(|(_, text)| !text.is_empty()) {
        name.hash(&mut hasher);
        text.hash(&mut hasher);
    }
    hasher.finish()
}

pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => guarded(text),
        Value::Array(_) | Value::Object(_) => guarded(&value.to_string()),
    }
}

fn guarded(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

fn walk(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Null => 0_u8.hash(hasher),
        Value::Bool(flag) => (1_u8, flag).hash(hasher),
        Value::Number(number) => (2_u8, number.to_string()).hash(hasher),
        Value::String(text) => (3_u8, text).hash(hasher),
        Value::Array(values) => {
            (4_u8, values.len()).hash(hasher);
            for value in values {
                walk(value, hasher);
            }
        }
        Value::Object(members) => {
            (5_u8, members.len()).hash(hasher);
            let sorted = members.iter().collect::<BTreeMap<_, _>>();
            for (name, value) in sorted {
                name.hash(hasher);
                walk(value, hasher);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Digests;
    use serde_json::json;

    #[test]
    fn the_order_of_members_is_nothing_and_every_value_counts() {
        let digests = Digests::of(&json!({"a": 1, "b": ["x", null]}));
        assert_eq!(digests, Digests::of(&json!({"b": ["x", null], "a": 1})));
        assert_ne!(
            digests.document,
            Digests::of(&json!({"a": "1", "b": ["x", null]})).document
        );
        assert_ne!(
            digests.cells,
            Digests::of(&json!({"a": 2, "b": ["x", null]})).cells
        );
    }

    #[test]
    fn a_formula_is_expected_with_its_guard() {
        let guarded = Digests::of(&json!({"a": "'=1+1"})).cells;
        assert_eq!(guarded, Digests::of(&json!({"a": "=1+1"})).cells);
        assert_ne!(guarded, Digests::of(&json!({"a": "1+1"})).cells);
    }
}
