//! What is wrong, in words for the person who typed it.
//!
//! Holds: a detail goes on from the field's name ("is required") and never repeats a value. Each
//! missing or unknown member is a fault of its own, pointing at that member.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Wrong;
use serde_json::Value;

use super::fault::{Fault, pointer_step};

/// The faults that one violated keyword amounts to.
pub(super) fn faults(error: &ValidationError<'_>, schema: &Value) -> Vec<Fault> {
    let place = error.instance_path().as_str();
    let at =
        |name: &str, detail: &str| Fault::new(format!("{place}{}", pointer_step(name)), detail);
    let kind = error.kind();
    if let Wrong::Required { property } = kind {
        return vec![at(property.as_str().unwrap_or_default(), "is required")];
    }
    if let Wrong::AdditionalProperties { unexpected }
    | Wrong::UnevaluatedProperties { unexpected } = kind
    {
        return unexpected
            .iter()
            .map(|name| at(name, "is not a field of this form"))
            .collect();
    }
    vec![Fault::new(place, detail(kind, || hint(error, schema)))]
}

fn detail(kind: &Wrong, hint: impl Fn() -> Option<String>) -> String {
    match kind {
        Wrong::MinLength { limit: 1 } => "must not be empty".to_owned(),
        Wrong::MinLength { limit } => format!("must have at least {limit} characters"),
        Wrong::MaxLength { limit } => format!("must have at most {limit} characters"),
        Wrong::Minimum { limit } => format!("must be at least {limit}"),
        Wrong::Maximum { limit } => format!("must be at most {limit}"),
        Wrong::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Wrong::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Wrong::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Wrong::MinItems { limit: 1 } => "must have at least one choice".to_owned(),
        Wrong::MinItems { limit } => format!("must have at least {limit} items"),
        Wrong::MaxItems { limit } => format!("must have at most {limit} items"),
        Wrong::MinProperties { limit } => format!("must have at least {limit} members"),
        Wrong::MaxProperties { limit } => format!("must have at most {limit} members"),
        Wrong::UniqueItems => "must not name anything twice".to_owned(),
        Wrong::Enum { .. } => "must be one of the choices".to_owned(),
        Wrong::Constant { expected_value } if **expected_value == Value::Bool(true) => {
            "must be ticked".to_owned()
        }
        Wrong::Constant { .. } => "must be the one value that is allowed here".to_owned(),
        Wrong::Format { format } => format_words(format),
        Wrong::Pattern { .. } => hint().map_or_else(
            || "does not have the form that is expected here".to_owned(),
            |hint| format!("does not look right ({hint})"),
        ),
        Wrong::Type { kind } => type_words(kind),
        Wrong::AnyOf { .. }
        | Wrong::OneOfNotValid { .. }
        | Wrong::OneOfMultipleValid { .. }
        | Wrong::Not { .. }
        | Wrong::FalseSchema
        | Wrong::Contains
        | Wrong::PropertyNames { .. }
        | Wrong::AdditionalItems { .. }
        | Wrong::UnevaluatedItems { .. }
        | Wrong::AdditionalProperties { .. }
        | Wrong::UnevaluatedProperties { .. }
        | Wrong::Required { .. }
        | Wrong::ContentEncoding { .. }
        | Wrong::ContentMediaType { .. }
        | Wrong::FromUtf8 { .. }
        | Wrong::BacktrackLimitExceeded { .. }
        | Wrong::RegexEngineFailure { .. }
        | Wrong::Referencing(_)
        | Wrong::Custom { .. } => format!("is not allowed by the form ({})", kind.keyword()),
    }
}

fn format_words(format: &str) -> String {
    let what = match format {
        "email" | "idn-email" => "an e-mail address, such as name@example.com",
        "date" => "a date, such as 2025-03-31",
        "time" => "a time with its zone, such as 09:30:00Z",
        "date-time" => "a date and time, such as 2025-03-31T09:30:00Z",
        "uri" | "iri" => "a web address, such as https://example.com",
        "uuid" => "a UUID",
        other => return format!("must be of the format {other}"),
    };
    format!("must be {what}")
}

fn type_words(kind: &jsonschema::error::TypeKind) -> String {
    use jsonschema::JsonType::{Array, Boolean, Integer, Null, Number, Object, String as Text};
    use jsonschema::error::TypeKind::{Multiple, Single};
    let what = match kind {
        Single(Text) => "text",
        Single(Number) => "a number",
        Single(Integer) => "a whole number",
        Single(Boolean) => "yes or no (true or false)",
        Single(Array) => "a list",
        Single(Object) => "an object",
        Single(Null) => "null",
        Multiple(_) => "of one of the allowed types",
    };
    format!("must be {what}")
}

/// The description that stands beside the violated keyword.
fn hint(error: &ValidationError<'_>, schema: &Value) -> Option<String> {
    let (parent, _) = error.schema_path().as_str().rsplit_once('/')?;
    let description = schema.pointer(parent)?.get("description")?.as_str()?;
    Some(description.to_owned())
}
