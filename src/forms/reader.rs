//! Reading a definition member by member, so that every problem is told at once.
//!
//! Holds: a member nobody took is a problem too (`finish`): a misspelt setting never passes for a
//! default.

use std::io;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The members of one table, and what was wrong with them so far.
pub(super) struct Reader {
    members: Map<String, Value>,
    problems: Vec<String>,
}

impl Reader {
    /// The root table of a definition; one problem if it is not a table.
    pub(super) fn new(value: Value) -> Result<Self, Vec<String>> {
        match value {
            Value::Object(members) => Ok(Self {
                members,
                problems: Vec::new(),
            }),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(vec!["a definition is a table of settings".to_owned()]),
        }
    }

    /// Takes a member; a wrong type is noted and reads as absent.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value = self.members.shift_remove(name)?;
        match serde_json::from_value(value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.push(format!("{name}: {error}"));
                None
            }
        }
    }

    /// Takes a member that must be there.
    pub(super) fn need<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        if !self.members.contains_key(name) {
            self.problems.push(format!("{name} is missing"));
        }
        self.take(name).unwrap_or_default()
    }

    /// Takes a member that is there and null; false: it is not.
    pub(super) fn take_null(&mut self, name: &str) -> bool {
        let is_null = self.members.get(name).is_some_and(Value::is_null);
        if is_null {
            self.members.shift_remove(name);
        }
        is_null
    }

    /// All problems: those noted, and each member that nobody took.
    pub(super) fn finish(mut self) -> Vec<String> {
        self.problems.extend(
            self.members
                .keys()
                .map(|name| format!("unknown setting {name}")),
        );
        self.problems
    }
}

/// A TOML text as the value that the same definition has in JSON.
pub(super) fn value_of_toml(text: &str) -> Result<Value, Vec<String>> {
    toml::from_str(text).map_err(|error| vec![error.to_string().trim_end().to_owned()])
}

/// A JSON text as a value.
pub(super) fn value_of_json(bytes: &[u8]) -> Result<Value, Vec<String>> {
    serde_json::from_slice(bytes).map_err(|error| vec![format!("not JSON: {error}")])
}

/// Replaces `schema_file` by the schema that it names.
pub(super) fn inline_schema_file(
    value: &mut Value,
    read: &dyn Fn(&str) -> io::Result<String>,
) -> Result<(), Vec<String>> {
    let Some(members) = value.as_object_mut() else {
        return Ok(());
    };
    let Some(file) = members.shift_remove("schema_file") else {
        return Ok(());
    };
    let Value::String(file) = file else {
        return Err(vec!["schema_file: expected a file's name".to_owned()]);
    };
    if members.contains_key("schema") {
        return Err(vec!["give schema or schema_file, not both".to_owned()]);
    }
    let text = read(&file).map_err(|error| vec![format!("cannot read {file}: {error}")])?;
    let schema = serde_json::from_str(&text).map_err(|error| vec![format!("{file}: {error}")])?;
    members.insert("schema".to_owned(), schema);
    Ok(())
}

/// What is wrong with the name of a form or task.
pub(super) fn name_problem(name: &str) -> Option<String> {
    let is_known = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    let is_good = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.as_bytes().iter().all(is_known)
        && name
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_alphanumeric);
    (!is_good).then(|| {
        format!("name {name:?}: 1 to {NAME_BYTES_MAX} of a-z 0-9 - _, a letter or digit first")
    })
}

/// The longest name: it is part of URLs, file names and topics.
const NAME_BYTES_MAX: usize = 64;
