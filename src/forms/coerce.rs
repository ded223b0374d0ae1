//! Pairs of a page's form become a document: each value takes the type that the schema names.
//!
//! Holds: only pairs are coerced, never JSON. What does not fit its type stays text, so that
//! validation names the fault and the page shows what was typed. An empty input is an absent
//! member, because a browser sends one for every box left blank; a box not ticked is `false` where
//! the schema asks for an answer.

use serde_json::{Map, Value};

use super::field::{main_type, resolve};

/// How a schema's top-level properties take text.
#[derive(Debug)]
pub(super) struct Coercion {
    properties: Vec<(String, Shape)>,
    /// Booleans that must be there.
    ticks: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Text,
    Number,
    Boolean,
    /// An object, or whatever has no type of its own.
    Json,
    ListOf(Inner),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inner {
    Text,
    Number,
    Boolean,
    Json,
}

impl Coercion {
    pub(super) fn new(schema: &Value) -> Self {
        let properties = schema.get("properties").and_then(Value::as_object);
        let properties: Vec<_> = properties
            .into_iter()
            .flatten()
            .map(|(name, property)| (name.clone(), Shape::of(schema, resolve(schema, property))))
            .collect();
        let required = schema.get("required").and_then(Value::as_array);
        let required = required.into_iter().flatten().filter_map(Value::as_str);
        let is_tick = |name: &str| {
            properties
                .iter()
                .any(|(one, shape)| one == name && *shape == Shape::Boolean)
        };
        let ticks = required
            .filter(|name| is_tick(name))
            .map(str::to_owned)
            .collect();
        Self { properties, ticks }
    }

    /// The document that these pairs mean.
    pub(super) fn document(&self, pairs: Vec<(String, String)>) -> Map<String, Value> {
        let mut members = Map::with_capacity(pairs.len());
        for (name, text) in pairs {
            if text.is_empty() {
                continue;
            }
            let shape = self.properties.iter().find(|(one, _)| *one == name);
            let shape = shape.map_or(Shape::Text, |(_, shape)| *shape);
            let value = shape.take(text);
            match (members.get_mut(&name), shape) {
                (Some(Value::Array(items)), Shape::ListOf(_)) => items.push(value),
                (None, Shape::ListOf(_)) => {
                    members.insert(name, Value::Array(vec![value]));
                }
                (Some(held), _) => repeat(held, value),
                (None, _) => {
                    members.insert(name, value);
                }
            }
        }
        for tick in &self.ticks {
            members.entry(tick.as_str()).or_insert(Value::Bool(false));
        }
        members
    }
}

impl Shape {
    fn of(schema: &Value, property: &Value) -> Self {
        match Inner::of(property) {
            Inner::Text => Self::Text,
            Inner::Number => Self::Number,
            Inner::Boolean => Self::Boolean,
            Inner::Json if main_type(property) == "array" => {
                let items = property.get("items").map(|items| resolve(schema, items));
                Self::ListOf(items.map_or(Inner::Text, Inner::of))
            }
            Inner::Json => Self::Json,
        }
    }

    fn take(self, text: String) -> Value {
        let inner = match self {
            Self::Text => Inner::Text,
            Self::Number => Inner::Number,
            Self::Boolean => Inner::Boolean,
            Self::Json => Inner::Json,
            Self::ListOf(inner) => inner,
        };
        inner.take(text)
    }
}

impl Inner {
    fn of(property: &Value) -> Self {
        match main_type(property) {
            "number" | "integer" => Self::Number,
            "boolean" => Self::Boolean,
            "object" | "array" => Self::Json,
            _ => Self::Text,
        }
    }

    fn take(self, text: String) -> Value {
        let taken = match self {
            Self::Text => None,
            Self::Number => serde_json::from_str(text.trim()).ok().map(Value::Number),
            Self::Boolean => boolean(text.trim()).map(Value::Bool),
            Self::Json => json(&text),
        };
        taken.unwrap_or(Value::String(text))
    }
}

/// A second value for a name that is no list: a list all the same, which validation will refuse.
fn repeat(held: &mut Value, value: Value) {
    match held {
        Value::Array(items) => items.push(value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            let first = std::mem::take(held);
            *held = Value::Array(vec![first, value]);
        }
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// An object typed as JSON, under the same bounds as a body.
fn json(text: &str) -> Option<Value> {
    crate::ingest::tree_within(text.as_bytes(), JSON_DEPTH_MAX, JSON_FIELDS_MAX)
}

/// A member's depth within the document.
const JSON_DEPTH_MAX: usize = 31;
/// Members that a typed object may have.
const JSON_FIELDS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(pairs: &[(&str, &str)]) -> Value {
        let schema = json!({
            "type": "object", "required": ["ok"],
            "properties": {
                "name": {"type": "string"}, "age": {"type": "integer"},
                "ok": {"type": "boolean"}, "maybe": {"type": "boolean"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "sizes": {"type": "array", "items": {"type": "number"}},
                "place": {"type": "object"},
            },
        });
        let pairs = pairs
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Value::Object(Coercion::new(&schema).document(pairs.collect()))
    }

    #[test]
    fn a_value_takes_the_type_that_the_schema_names() {
        let pairs = [
            ("name", "007"),
            ("age", "41"),
            ("ok", "on"),
            ("place", "{\"x\":[1]}"),
        ];
        let expected = json!({"name": "007", "age": 41, "ok": true, "place": {"x": [1]}});
        assert_eq!(document(&pairs), expected);
    }

    #[test]
    fn what_does_not_fit_stays_as_it_was_typed() {
        let pairs = [("age", "old"), ("ok", "perhaps"), ("place", "{")];
        assert_eq!(
            document(&pairs),
            json!({"age": "old", "ok": "perhaps", "place": "{"})
        );
    }

    #[test]
    fn a_repeated_name_is_a_list() {
        let pairs = [
            ("tags", "a"),
            ("tags", "b"),
            ("sizes", "1.5"),
            ("name", "x"),
            ("name", "y"),
        ];
        let expected = json!({"tags": ["a", "b"], "sizes": [1.5], "name": ["x", "y"], "ok": false});
        assert_eq!(document(&pairs), expected);
    }

    #[test]
    fn an_empty_input_is_absent_and_an_unticked_box_is_false() {
        assert_eq!(
            document(&[("name", ""), ("maybe", "")]),
            json!({"ok": false})
        );
    }
}
