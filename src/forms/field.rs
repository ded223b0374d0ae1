//! A form's fields as a page and a table see them: the top-level properties, in the schema's order.
//!
//! Holds: fields are hints for inputs and columns; only the schema decides what is valid. What a
//! page cannot ask for in a simple way is asked for as JSON, so every form has a page.

use serde_json::Value;

/// One top-level property.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The member's name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// How it is asked for.
    pub kind: Kind,
    /// Whether it must be there.
    pub is_required: bool,
    /// Least characters.
    pub min_length: Option<u64>,
    /// Most characters.
    pub max_length: Option<u64>,
    /// The pattern, if the whole value must match it (browsers know no other kind).
    pub pattern: Option<String>,
    /// Help under the label.
    pub description: Option<String>,
    /// What a browser may fill in.
    pub autocomplete: Option<&'static str>,
    /// The value to begin with, as text.
    pub default: Option<String>,
}

/// How a field is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One line.
    Text,
    /// Many lines.
    Textarea,
    /// An e-mail address.
    Email,
    /// A telephone number.
    Tel,
    /// A web address.
    Url,
    /// A day.
    Date,
    /// Any number.
    Number,
    /// A whole number.
    Integer,
    /// A tick.
    Boolean,
    /// One of a few.
    Choice(Vec<Choice>),
    /// Some of a few.
    Multi(Vec<Choice>),
    /// A list of lines of text.
    List,
    /// Whatever has no simple input: typed as JSON.
    Json,
}

/// One of a few.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What the document carries, as text.
    pub value: String,
    /// What people read.
    pub label: String,
}

impl Field {
    /// The fields of a schema.
    pub fn all(schema: &Value) -> Vec<Self> {
        let required = schema.get("required").and_then(Value::as_array);
        let is_required = |name: &str| {
            required.is_some_and(|names| names.iter().any(|one| one.as_str() == Some(name)))
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        let properties = properties.into_iter().flatten();
        properties
            .map(|(name, property)| Self::new(name, resolve(schema, property), is_required(name)))
            .collect()
    }

    fn new(name: &str, property: &Value, is_required: bool) -> Self {
        let text = |key: &str| property.get(key).and_then(Value::as_str).map(str::to_owned);
        let count = |key: &str| property.get(key).and_then(Value::as_u64);
        let kind = Kind::of(name, property);
        Self {
            title: text("title").unwrap_or_else(|| title_of(name)),
            autocomplete: autocomplete(name, &kind),
            kind,
            is_required,
            min_length: count("minLength"),
            max_length: count("maxLength"),
            pattern: text("pattern").as_deref().and_then(whole_pattern),
            description: text("description"),
            default: property.get("default").map(text_of),
            name: name.to_owned(),
        }
    }
}

impl Kind {
    fn of(name: &str, property: &Value) -> Self {
        let choices = choices(property);
        if !choices.is_empty() {
            return Self::Choice(choices);
        }
        let format = property
            .get("format")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let input = property
            .get("x-input")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let length = property
            .get("maxLength")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        match (main_type(property), format, input) {
            ("boolean", ..) => Self::Boolean,
            ("integer", ..) => Self::Integer,
            ("number", ..) => Self::Number,
            ("array", ..) => list_kind(property),
            ("string", _, "textarea") => Self::Textarea,
            ("string", _, "tel") => Self::Tel,
            ("string", "email" | "idn-email", _) => Self::Email,
            ("string", "uri" | "iri", _) => Self::Url,
            ("string", "date", _) => Self::Date,
            ("string", ..) if length > LINE_CHARS_MAX => Self::Textarea,
            ("string", ..) if TEL_NAMES.contains(&name) => Self::Tel,
            ("string", ..) => Self::Text,
            _ => Self::Json,
        }
    }
}

/// The type that an input is made for: the first that is not null.
pub(super) fn main_type(property: &Value) -> &str {
    match property.get("type") {
        Some(Value::String(one)) => one,
        Some(Value::Array(many)) => many
            .iter()
            .filter_map(Value::as_str)
            .find(|one| *one != "null")
            .unwrap_or_default(),
        _ if property
            .get("enum")
            .or_else(|| property.get("const"))
            .is_some() =>
        {
            "string"
        }
        _ => "",
    }
}

/// Follows `$ref` within the schema; the end of a chain that is too long stands for itself.
pub(super) fn resolve<'a>(schema: &'a Value, property: &'a Value) -> &'a Value {
    let mut property = property;
    for _ in 0..REFERENCES_MAX {
        let target = property.get("$ref").and_then(Value::as_str);
        let target = target.and_then(|target| target.strip_prefix('#'));
        match target.and_then(|pointer| schema.pointer(pointer)) {
            Some(next) => property = next,
            None => break,
        }
    }
    property
}

fn list_kind(property: &Value) -> Kind {
    let Some(items) = property.get("items") else {
        return Kind::Json;
    };
    let choices = choices(items);
    if !choices.is_empty() {
        Kind::Multi(choices)
    } else if main_type(items) == "string" {
        Kind::List
    } else {
        Kind::Json
    }
}

fn choices(property: &Value) -> Vec<Choice> {
    if let Some(values) = property.get("enum").and_then(Value::as_array) {
        let values = values.iter().filter(|value| !value.is_null()).map(text_of);
        return values
            .map(|value| Choice {
                label: value.clone(),
                value,
            })
            .collect();
    }
    let titled = |one: &Value| {
        let value = text_of(one.get("const")?);
        let title = one.get("title").and_then(Value::as_str);
        Some(Choice {
            label: title.unwrap_or(&value).to_owned(),
            value,
        })
    };
    let branches = property.get("oneOf").and_then(Value::as_array);
    // All branches or none: a list of some of the choices would hide the others.
    branches
        .and_then(|branches| branches.iter().map(titled).collect::<Option<Vec<_>>>())
        .unwrap_or_default()
}

/// A value as an input carries it.
pub(super) fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// `first_name` and `firstName` both read "First name".
fn title_of(name: &str) -> String {
    let mut title = String::with_capacity(name.len());
    let mut was_lower = false;
    for letter in name.chars() {
        let is_break = letter == '_' || letter == '-';
        if is_break || (letter.is_uppercase() && was_lower) {
            title.push(' ');
        }
        was_lower = letter.is_lowercase();
        match letter {
            _ if is_break => {}
            _ if title.is_empty() => title.extend(letter.to_uppercase()),
            _ => title.extend(letter.to_lowercase()),
        }
    }
    title
}

/// HTML anchors a pattern on both ends; one that is not anchored so means something else there.
fn whole_pattern(pattern: &str) -> Option<String> {
    let inner = pattern.strip_prefix('^')?.strip_suffix('$')?;
    let is_simple = !inner.contains('|') && !inner.ends_with('\\');
    is_simple.then(|| inner.to_owned())
}

fn autocomplete(name: &str, kind: &Kind) -> Option<&'static str> {
    match (kind, name) {
        (Kind::Email, _) => Some("email"),
        (Kind::Tel, _) => Some("tel"),
        (Kind::Url, _) => Some("url"),
        (_, "name" | "full_name" | "fullname") => Some("name"),
        (_, "first_name" | "given_name" | "firstname") => Some("given-name"),
        (_, "last_name" | "family_name" | "surname" | "lastname") => Some("family-name"),
        (_, "organisation" | "organization" | "company" | "university") => Some("organization"),
        (_, "street" | "address") => Some("street-address"),
        (_, "city" | "town") => Some("address-level2"),
        (_, "postcode" | "zip" | "postal_code") => Some("postal-code"),
        (_, "country") => Some("country-name"),
        _ => None,
    }
}

/// Longer texts get a box of many lines.
const LINE_CHARS_MAX: u64 = 300;
/// More links than this is a loop.
const REFERENCES_MAX: usize = 8;
/// Text fields that phones show their number pad for.
const TEL_NAMES: [&str; 4] = ["mobile", "phone", "tel", "telephone"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(property: &Value) -> Kind {
        Field::new("field", property, false).kind
    }

    #[test]
    fn each_type_is_asked_for_in_its_own_way() {
        assert_eq!(kind(&json!({"type": "string"})), Kind::Text);
        assert_eq!(kind(&json!({"type": ["null", "integer"]})), Kind::Integer);
        assert_eq!(
            kind(&json!({"type": "string", "maxLength": 4000})),
            Kind::Textarea
        );
        assert_eq!(
            kind(&json!({"type": "string", "format": "email"})),
            Kind::Email
        );
        assert_eq!(
            kind(&json!({"type": "array", "items": {"type": "string"}})),
            Kind::List
        );
        assert_eq!(kind(&json!({"type": "object"})), Kind::Json);
        let titled = json!({"oneOf": [{"const": "a", "title": "Letter A"}]});
        let choice = Choice {
            value: "a".to_owned(),
            label: "Letter A".to_owned(),
        };
        assert_eq!(kind(&titled), Kind::Choice(vec![choice.clone()]));
        let many =
            json!({"type": "array", "items": {"oneOf": [{"const": "a", "title": "Letter A"}]}});
        assert_eq!(kind(&many), Kind::Multi(vec![choice]));
    }

    #[test]
    fn fields_keep_the_order_of_the_schema_and_follow_references() {
        let schema = json!({
            "type": "object", "required": ["zip"],
            "properties": {"zip": {"$ref": "#/$defs/code"}, "about": {"type": "string"}},
            "$defs": {"code": {"type": "string", "pattern": "^[0-9]{5}$"}},
        });
        let fields = Field::all(&schema);
        let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["zip", "about"]);
        assert!(fields[0].is_required && !fields[1].is_required);
        assert_eq!(fields[0].pattern.as_deref(), Some("[0-9]{5}"));
    }

    #[test]
    fn a_name_becomes_a_title() {
        assert_eq!(title_of("first_name"), "First name");
        assert_eq!(title_of("firstName"), "First name");
        assert_eq!(title_of("cgpa"), "Cgpa");
    }
}
