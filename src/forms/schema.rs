//! A form's JSON Schema, compiled once a version.
//!
//! Holds: 2020-12, formats asserted, patterns in an engine of linear time (a pattern may be
//! clumsy, it is never a way to stop the node), and nothing is ever fetched: a `$ref` leads only
//! within the schema.

use jsonschema::{Draft, EmailOptions, PatternOptions, Validator};
use serde_json::Value;

use super::fault::Fault;
use super::words;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    source: Value,
}

impl Schema {
    /// Compiles it, or tells all that can be told about why not.
    pub fn compile(source: &Value) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        root_problems(source, &mut problems);
        reference_problems(source, "", &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let built = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true)
            .should_ignore_unknown_formats(false)
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES_MAX))
            .with_email_options(EmailOptions::default().without_display_text())
            .offline()
            .build(source);
        match built {
            Ok(validator) => Ok(Self {
                validator,
                source: source.clone(),
            }),
            Err(error) => Err(vec![format!(
                "schema{}: {error}",
                error.instance_path().as_str()
            )]),
        }
    }

    /// Checks a document; all faults at once, as far as anyone would read them.
    pub fn check(&self, document: &Value) -> Result<(), Vec<Fault>> {
        if self.validator.is_valid(document) {
            return Ok(());
        }
        let errors = self.validator.iter_errors(document);
        let faults: Vec<Fault> = errors
            .take(FAULTS_MAX)
            .flat_map(|error| words::faults(&error, &self.source))
            .take(FAULTS_MAX)
            .collect();
        if faults.is_empty() {
            return Err(vec![Fault::new("", "is not allowed by the form")]);
        }
        Err(faults)
    }
}

fn root_problems(source: &Value, problems: &mut Vec<String>) {
    let Some(root) = source.as_object() else {
        problems.push("schema: expected a table".to_owned());
        return;
    };
    if root.get("type").and_then(Value::as_str) != Some("object") {
        problems.push("schema: type must be \"object\": a submission is one".to_owned());
    }
    if root
        .get("$schema")
        .is_some_and(|draft| draft.as_str() != Some(DRAFT))
    {
        problems.push(format!("schema: $schema can only be {DRAFT}"));
    }
}

/// References may lead nowhere but into the schema itself.
fn reference_problems(value: &Value, place: &str, problems: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let is_reference = name == "$ref" || name == "$dynamicRef";
                match member.as_str() {
                    Some(target) if is_reference && !target.starts_with('#') => problems.push(
                        format!("schema{place}: {name} {target:?} leads out of the schema"),
                    ),
                    _ => reference_problems(member, &format!("{place}/{name}"), problems),
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                reference_problems(item, &format!("{place}/{at}"), problems);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The one dialect.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
/// The largest compiled pattern: enough for `\p{L}{1,200}`, not for a bomb.
const PATTERN_BYTES_MAX: usize = 4 << 20;
/// A list longer than this helps nobody.
const FAULTS_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(schema: &Value, document: &Value) -> Vec<(String, String)> {
        let checked = Schema::compile(schema).unwrap().check(document);
        let faults = checked.err().unwrap_or_default();
        faults
            .into_iter()
            .map(|fault| (fault.pointer, fault.detail))
            .collect()
    }

    #[test]
    fn faults_point_at_the_field_and_read_as_sentences() {
        let schema = json!({
            "type": "object", "required": ["email", "roll"], "additionalProperties": false,
            "properties": {
                "email": {"type": "string", "format": "email"},
                "roll": {"type": "string", "pattern": "^[0-9]+$", "description": "Digits only."},
                "age": {"type": "integer", "minimum": 18},
            },
        });
        let found = faults(&schema, &json!({"email": "no", "age": 7, "more": 1}));
        for (pointer, part) in [
            ("/email", "e-mail address"),
            ("/roll", "is required"),
            ("/age", "at least 18"),
            ("/more", "not a field of this form"),
        ] {
            let is_told = found
                .iter()
                .any(|(at, text)| at == pointer && text.contains(part));
            assert!(is_told, "{pointer}: {part}: {found:?}");
        }
        let found = faults(&schema, &json!({"email": "a@b.de", "roll": "x"}));
        assert_eq!(found.len(), 1);
        assert!(found[0].1.contains("Digits only"), "{found:?}");
        assert!(faults(&schema, &json!({"email": "a@b.de", "roll": "1"})).is_empty());
    }

    #[test]
    fn an_address_is_an_address_and_nothing_around_it() {
        let schema = json!({
            "type": "object", "properties": {"email": {"type": "string", "format": "email"}},
        });
        for good in ["a@b.de", "a.b+c@mail.example.com", "ada@localhost"] {
            assert!(
                faults(&schema, &json!({"email": good})).is_empty(),
                "{good}"
            );
        }
        for bad in [
            "Ada <a@b.de>",
            "a@b@c",
            "@b.de",
            "a@",
            "a b@c.de",
            "a@b.de\nBcc: x@y.z",
        ] {
            assert!(!faults(&schema, &json!({"email": bad})).is_empty(), "{bad}");
        }
    }

    #[test]
    fn a_schema_that_leads_out_is_refused() {
        for target in [
            "https://example.com/x.json",
            "file:///etc/passwd",
            "other.json",
        ] {
            let schema = json!({"type": "object", "properties": {"a": {"$ref": target}}});
            let problems = Schema::compile(&schema).unwrap_err();
            assert!(problems[0].contains("leads out"), "{problems:?}");
        }
        let inner = json!({
            "type": "object", "properties": {"a": {"$ref": "#/$defs/b"}},
            "$defs": {"b": {"type": "string"}},
        });
        assert_eq!(faults(&inner, &json!({"a": 1})).len(), 1);
    }

    #[test]
    fn what_cannot_be_checked_in_full_is_refused() {
        for schema in [
            json!([]),
            json!({}),
            json!({"type": "array"}),
            json!({"type": "object", "properties": {"a": {"type": "strng"}}}),
            json!({"type": "object", "properties": {"a": {"type": "string", "format": "emial"}}}),
            json!({"type": "object", "properties": {"a": {"pattern": "("}}}),
            json!({"type": "object", "properties": {"a": {"pattern": "(?=a)b"}}}),
            json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}),
            json!({"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}),
        ] {
            assert!(Schema::compile(&schema).is_err(), "{schema}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({
            "type": "object", "properties": {"child": {"$ref": "#"}, "n": {"type": "string"}},
        });
        assert_eq!(
            faults(&schema, &json!({"child": {"child": {"n": 1}}})).len(),
            1
        );
    }
}
