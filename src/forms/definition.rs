//! A form's definition: what a person writes, what the state carries, what a version names.
//!
//! Holds: one shape in TOML and JSON; `to_json` of what `from_json` read is the same bytes again, so
//! the same definition is never a new version. A definition without problems always compiles.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reader::{Reader, inline_schema_file, name_problem, value_of_json, value_of_toml};
use super::schema::Schema;

/// Members that never reach the data, besides the form's honeypot.
pub const RESERVED: [&str; 4] = ["_next", "_gotcha", "_idempotency_key", "_key"];

/// The largest definition, as JSON.
pub const DEFINITION_BYTES_MAX: usize = 256 << 10;

/// What a form is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Definition {
    /// Its name in URLs.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// Shown under the title of the hosted page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Submitting needs the form's key.
    pub key_required: bool,
    /// `sha256:` and the hex digest of that key; the key itself is nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_hash: Option<String>,
    /// Pages that may post by script: `*`, or scheme, host and port.
    pub origins: Vec<String>,
    /// Where `_next` may lead, by prefix.
    pub next: Vec<String>,
    /// The field that only bots fill in; `None`: there is no trap.
    pub honeypot: Option<String>,
    /// Rules on top of the default ones, by top-level field.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sanitize: BTreeMap<String, Vec<Rule>>,
    /// Bounds below the node's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// JSON Schema 2020-12 of the whole document.
    pub schema: Value,
}

/// What sanitising does to a field's text beyond the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Runs of white space become one space.
    CollapseSpaces,
    /// HTML tags and comments go, the text between stays.
    StripHtml,
    /// Lower case.
    Lowercase,
    /// Upper case.
    Uppercase,
}

/// A form's own bounds; the smaller of these and the node's holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a submission as received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submission_bytes_max: Option<usize>,
    /// Members over the whole document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields_max: Option<usize>,
}

impl Definition {
    /// Reads the TOML form; `read` finds the file that `schema_file` names.
    pub fn from_toml(
        text: &str,
        read: &dyn Fn(&str) -> io::Result<String>,
    ) -> Result<Self, Vec<String>> {
        let mut value = value_of_toml(text)?;
        inline_schema_file(&mut value, read)?;
        Self::from_value(value)
    }

    /// Reads the JSON form.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Vec<String>> {
        Self::from_value(value_of_json(bytes)?)
    }

    /// The JSON form: always the same bytes for the same definition.
    pub fn to_json(&self) -> Bytes {
        // A tree of strings and values has no way to fail; an empty definition would be refused.
        Bytes::from(serde_json::to_vec(self).unwrap_or_default())
    }

    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = name_problem(&self.name).into_iter().collect();
        if self.title.chars().count() > TITLE_CHARS_MAX {
            problems.push(format!("title: at most {TITLE_CHARS_MAX} characters"));
        }
        self.key_problems(&mut problems);
        self.address_problems(&mut problems);
        self.field_problems(&mut problems);
        problems.extend(Schema::compile(&self.schema).err().unwrap_or_default());
        let bytes = self.to_json().len();
        if bytes > DEFINITION_BYTES_MAX {
            problems.push(format!(
                "{bytes} bytes as JSON: at most {DEFINITION_BYTES_MAX}"
            ));
        }
        problems
    }

    /// Whether a member is ours and never data of this form.
    pub fn is_reserved(&self, member: &str) -> bool {
        RESERVED.contains(&member) || self.honeypot.as_deref() == Some(member)
    }

    fn from_value(value: Value) -> Result<Self, Vec<String>> {
        let mut reader = Reader::new(value)?;
        let name: String = reader.need("name");
        let title: Option<String> = reader.take("title");
        let honeypot = if reader.take_null("honeypot") {
            None
        } else {
            let named: Option<String> = reader.take("honeypot");
            Some(named.unwrap_or_else(|| "_gotcha".to_owned())).filter(|field| !field.is_empty())
        };
        let definition = Self {
            title: title
                .filter(|title| !title.is_empty())
                .unwrap_or_else(|| name.clone()),
            name,
            description: reader.take("description"),
            key_required: reader.take("key_required").unwrap_or_default(),
            key_hash: reader.take("key_hash"),
            origins: reader.take("origins").unwrap_or_default(),
            next: reader.take("next").unwrap_or_default(),
            honeypot,
            sanitize: reader.take("sanitize").unwrap_or_default(),
            limits: reader.take("limits"),
            schema: reader.need("schema"),
        };
        let mut problems = reader.finish();
        if problems.is_empty() {
            problems = definition.problems();
        }
        if problems.is_empty() {
            Ok(definition)
        } else {
            Err(problems)
        }
    }

    fn key_problems(&self, problems: &mut Vec<String>) {
        let Some(hash) = &self.key_hash else {
            if self.key_required {
                problems.push("key_required: key_hash is missing".to_owned());
            }
            return;
        };
        let hex = hash.strip_prefix("sha256:").unwrap_or_default();
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if hex.len() != 64 || !hex.bytes().all(is_hex) {
            problems.push("key_hash: \"sha256:\" and 64 lower-case hex digits".to_owned());
        }
    }

    fn address_problems(&self, problems: &mut Vec<String>) {
        for origin in &self.origins {
            let host = web_host(origin).filter(|host| !host.contains('/'));
            if origin != "*" && host.is_none() {
                problems.push(format!(
                    "origins: {origin:?} is not * or scheme://host[:port]"
                ));
            }
        }
        for target in &self.next {
            if web_host(target).is_none() {
                problems.push(format!("next: {target:?} is not an http or https address"));
            }
        }
    }

    fn field_problems(&self, problems: &mut Vec<String>) {
        let properties = self.schema.get("properties").and_then(Value::as_object);
        let has = |field: &str| properties.is_some_and(|fields| fields.contains_key(field));
        for field in properties.into_iter().flat_map(|fields| fields.keys()) {
            if field.starts_with('_') {
                problems.push(format!(
                    "schema: field {field:?}: names with _ first are reserved"
                ));
            }
        }
        if let Some(honeypot) = self.honeypot.as_deref().filter(|field| has(field)) {
            problems.push(format!("honeypot: {honeypot:?} is a field of the schema"));
        }
        for field in self.sanitize.keys().filter(|field| !has(field)) {
            problems.push(format!("sanitize: {field:?} is not a field of the schema"));
        }
        let limits = self.limits.unwrap_or_default();
        for (name, limit) in [
            ("submission_bytes_max", limits.submission_bytes_max),
            ("fields_max", limits.fields_max),
        ] {
            if limit == Some(0) {
                problems.push(format!("limits.{name}: 0 would refuse everything"));
            }
        }
    }
}

/// What follows the scheme of an http or https address, if there is a host and no odd character.
fn web_host(address: &str) -> Option<&str> {
    let rest = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"))?;
    let is_plain = rest
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'@' && byte != b'\\');
    (is_plain && !rest.is_empty() && !rest.starts_with(['/', ':', '?', '#'])).then_some(rest)
}

/// A title is a heading, not a text.
const TITLE_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests;
