//! Checking a JSON body against the types, in Google's words.
//!
//! Holds: every fault of a body is found, not only the first. A `null` is a field that is not there.
//! Stricter than Google in two things: numbers as strings are refused, and so is what is read-only
//! (Google passes over most of it).

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{Kind, Schema, mask};

/// One fault: where it is, in the names of Google's protocol buffers, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) field: String,
    pub(crate) words: String,
}

const PACKAGE: &str = "type.googleapis.com/google.apps.sheets.v4";
const VIOLATIONS_MAX: usize = 100;
/// Of these messages one field at most may be set: the discovery document does not say so.
const UNIONS: [(&str, &str); 4] = [
    ("Request", "kind"),
    ("ExtendedValue", "value"),
    ("DataFilter", "filter"),
    ("DeveloperMetadataLocation", "location"),
];
/// Not part of the union that its message is.
const OUTSIDE_UNIONS: [&str; 1] = ["locationType"];

struct Checker<'a> {
    schema: &'a Schema,
    path: String,
    found: Vec<Violation>,
}

impl Schema {
    /// What is wrong with `body` as a message of the type at `place`.
    pub(crate) fn check(&self, place: usize, body: &Value) -> Vec<Violation> {
        let mut checker = Checker {
            schema: self,
            path: String::new(),
            found: Vec::new(),
        };
        checker.message(place, body);
        checker.found
    }

    /// What is wrong with a parameter of the address.
    pub(crate) fn check_parameter(&self, kind: &Kind, name: &str, text: &str) -> Option<Violation> {
        let is_fine = match kind {
            Kind::Bool => ["true", "false"].contains(&text),
            Kind::Int32 => text.parse::<i32>().is_ok(),
            Kind::Number => text.parse::<f64>().is_ok(),
            Kind::Enum(values, _) => values.iter().any(|value| value == text),
            Kind::Any
            | Kind::Text
            | Kind::Mask
            | Kind::List(_)
            | Kind::Map(_)
            | Kind::Message(_) => true,
        };
        let field = snake(name);
        let words = format!(
            "Invalid value at '{field}' ({}), {}",
            self.type_name(kind),
            Value::from(text)
        );
        (!is_fine).then_some(Violation { field, words })
    }

    fn type_name(&self, kind: &Kind) -> String {
        match kind {
            Kind::Bool => "TYPE_BOOL".to_owned(),
            Kind::Int32 => "TYPE_INT32".to_owned(),
            Kind::Number => "TYPE_DOUBLE".to_owned(),
            Kind::Text => "TYPE_STRING".to_owned(),
            Kind::Mask => "type.googleapis.com/google.protobuf.FieldMask".to_owned(),
            Kind::Any => "type.googleapis.com/google.protobuf.Value".to_owned(),
            Kind::Enum(_, name) => format!("{PACKAGE}.{name}"),
            Kind::List(inner) | Kind::Map(inner) => self.type_name(inner),
            Kind::Message(place) => {
                let name = self.message(*place).map_or("", |message| &message.name);
                format!("{PACKAGE}.{name}")
            }
        }
    }
}

impl Checker<'_> {
    fn add(&mut self, words: String) {
        if self.found.len() < VIOLATIONS_MAX {
            let field = self.path.clone();
            self.found.push(Violation { field, words });
        }
    }

    fn invalid(&mut self, kind: &Kind, value: &Value) {
        let (path, name) = (self.path.clone(), self.schema.type_name(kind));
        self.add(format!("Invalid value at '{path}' ({name}), {value}"));
    }

    /// `step` is a field, or a place in a list.
    fn within(&mut self, step: &str, check: impl FnOnce(&mut Self)) {
        let len = self.path.len();
        if len > 0 && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        check(self);
        self.path.truncate(len);
    }

    fn unknown(&mut self, name: &str, why: &str) {
        let mut words = format!("Invalid JSON payload received. Unknown name \"{name}\"");
        if !self.path.is_empty() {
            write!(words, " at '{}'", self.path).ok();
        }
        self.add(words + ": " + why);
    }

    fn message(&mut self, place: usize, value: &Value) {
        let Some(members) = value.as_object() else {
            return self.invalid(&Kind::Message(place), value);
        };
        let Some(message) = self.schema.message(place) else {
            return;
        };
        for (name, value) in members {
            let Some(field) = message.fields.get(name) else {
                self.unknown(name, "Cannot find field.");
                continue;
            };
            if value.is_null() {
                continue;
            }
            if value.is_array() && !matches!(field.kind, Kind::List(_) | Kind::Any) {
                self.unknown(name, "Proto field is not repeating, cannot start list.");
                continue;
            }
            let is_read_only = field.is_read_only;
            self.within(&snake(name), |checker| {
                if is_read_only {
                    let path = checker.path.clone();
                    checker.add(format!(
                        "Invalid value at '{path}': the field is read-only."
                    ));
                }
                checker.value(&field.kind, value);
            });
        }
        self.union(&message.name, members);
    }

    fn union(&mut self, name: &str, members: &Map<String, Value>) {
        let Some((_, union)) = UNIONS.iter().find(|(of, _)| *of == name) else {
            return;
        };
        let set = members
            .iter()
            .filter(|(name, value)| !value.is_null() && !OUTSIDE_UNIONS.contains(&name.as_str()));
        for (second, _) in set.skip(1) {
            let path = self.path.clone();
            self.add(format!(
                "Invalid value at '{path}' (oneof), oneof field '{union}' is already set. \
                 Cannot set '{second}'"
            ));
        }
    }

    fn value(&mut self, kind: &Kind, value: &Value) {
        let is_fine = match kind {
            Kind::Any => true,
            Kind::Bool => value.is_boolean(),
            Kind::Int32 => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            Kind::Number => value.is_number(),
            Kind::Text => value.is_string(),
            Kind::Mask => value.as_str().is_some_and(|text| mask::parse(text).is_ok()),
            Kind::Enum(values, _) => values.iter().any(|known| value == known),
            Kind::Message(place) => return self.message(*place, value),
            Kind::List(inner) => {
                let Some(values) = value.as_array() else {
                    return self.invalid(kind, value);
                };
                for (place, value) in values.iter().enumerate() {
                    self.within(&format!("[{place}]"), |checker| checker.value(inner, value));
                }
                true
            }
            Kind::Map(inner) => {
                let Some(members) = value.as_object() else {
                    return self.invalid(kind, value);
                };
                for (name, value) in members {
                    self.within(name, |checker| checker.value(inner, value));
                }
                true
            }
        };
        if !is_fine {
            self.invalid(kind, value);
        }
    }
}

/// `developerMetadata` as `developer_metadata`.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::schema::testing::SCHEMA;

    fn words(body: &Value) -> Vec<String> {
        let place = SCHEMA.place("BatchUpdateSpreadsheetRequest").unwrap();
        let found = SCHEMA.check(place, body).into_iter();
        found.map(|violation| violation.words).collect()
    }

    #[test]
    fn a_body_as_the_document_draws_it_passes() {
        let create = json!({"createDeveloperMetadata": {"developerMetadata": {
            "metadataId": 7, "metadataKey": "k", "visibility": "DOCUMENT", "metadataValue": null,
            "location": {"sheetId": 0}}}});
        let cells = json!([{"userEnteredValue": {"numberValue": 1.5}}, {}]);
        let append = json!({"appendCells": {"sheetId": 0, "fields": "userEnteredValue",
            "rows": [{"values": cells}]}});
        assert_eq!(words(&json!({"requests": [create, append]})), [""; 0]);
    }

    #[test]
    fn what_is_unknown_is_named_with_its_place() {
        let body = json!({"x": 1, "requests": [{"y": {}}, {"appendCells": {"sheetID": 0}}]});
        assert_eq!(
            words(&body),
            [
                "Invalid JSON payload received. Unknown name \"x\": Cannot find field.",
                "Invalid JSON payload received. Unknown name \"y\" at 'requests[0]': Cannot find field.",
                "Invalid JSON payload received. Unknown name \"sheetID\" at \
                 'requests[1].append_cells': Cannot find field.",
            ]
        );
    }

    #[test]
    fn types_enums_int32_and_unions_are_checked() {
        let of = |metadata: Value| {
            words(&json!({"requests": [
                {"createDeveloperMetadata": {"developerMetadata": metadata}}]}))
        };
        let at = "requests[0].create_developer_metadata.developer_metadata";
        let too_large = of(json!({"metadataId": 2_147_483_648_u64}));
        let expected = format!("Invalid value at '{at}.metadata_id' (TYPE_INT32), 2147483648");
        assert_eq!(too_large, [expected]);
        assert!(of(json!({"visibility": "ALL"}))[0].ends_with("Visibility), \"ALL\""));
        assert_eq!(of(json!({"metadataKey": 5})).len(), 1);
        assert_eq!(of(json!({"metadataKey": ["k"]})).len(), 1);
        assert_eq!(of(json!("text")).len(), 1);
        let both = json!({"sheetId": 0, "spreadsheet": true, "locationType": "SHEET"});
        let both = of(json!({ "location": both }));
        assert_eq!(both.len(), 1);
        assert!(both[0].contains("oneof field 'location' is already set"));
        let two = json!({"requests": [{"appendCells": {}, "updateCells": {}}]});
        assert_eq!(
            words(&two),
            [
                "Invalid value at 'requests[0]' (oneof), oneof field 'kind' is already set. \
                 Cannot set 'updateCells'"
            ]
        );
        let read_only = json!({"dataSourceFormula": {}});
        let read_only = json!({"requests": [{"appendCells": {"rows": [{"values": [read_only]}]}}]});
        assert!(words(&read_only)[0].ends_with("the field is read-only."));
    }
}
