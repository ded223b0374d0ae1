//! Google's published description of the API, read from its discovery document.
//!
//! Holds: what a request or an answer may look like is said there and nowhere in this program:
//! message types, enums, paths, parameters, scopes.
//! Why: the sheet that the tests write to must not know the API only as we understand it.

mod check;
pub(crate) mod mask;

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

pub(crate) use check::Violation;

/// What a field may hold.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Any,
    Bool,
    Int32,
    Number,
    Text,
    Mask,
    /// Its values, and the name of its type in messages.
    Enum(Vec<String>, String),
    List(Box<Self>),
    Map(Box<Self>),
    /// A place in `Schema::messages`.
    Message(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) kind: Kind,
    pub(crate) is_read_only: bool,
}

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) name: String,
    pub(crate) fields: HashMap<String, Field>,
}

/// A parameter of the address.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub(crate) kind: Kind,
    pub(crate) is_repeated: bool,
}

/// One call of the API.
#[derive(Debug)]
pub(crate) struct Method {
    /// As `sheets.spreadsheets.batchUpdate`.
    pub(crate) id: String,
    pub(crate) verb: String,
    /// As `v4/spreadsheets/{spreadsheetId}:batchUpdate`.
    pub(crate) path: String,
    pub(crate) parameters: HashMap<String, Parameter>,
    pub(crate) request: Option<usize>,
    pub(crate) response: usize,
    pub(crate) scopes: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Schema {
    messages: Vec<Message>,
    by_name: HashMap<String, usize>,
    methods: Vec<Method>,
    /// Of every method: `alt`, `fields`, ...
    parameters: HashMap<String, Parameter>,
    pub(crate) revision: String,
}

impl Schema {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let document = serde_json::from_str(&text)
            .with_context(|| format!("{} is not JSON", path.display()))?;
        Self::new(&document).with_context(|| format!("{} is no discovery document", path.display()))
    }

    pub(crate) fn new(document: &Value) -> anyhow::Result<Self> {
        let schemas = document.get("schemas").and_then(Value::as_object);
        let schemas = schemas.context("no schemas")?;
        let names = schemas.keys().enumerate();
        let by_name = names
            .map(|(place, name)| (name.clone(), place))
            .collect::<HashMap<_, _>>();
        let mut messages = Vec::new();
        for (name, schema) in schemas {
            messages.push(message(name, schema, &by_name)?);
        }
        let mut schema = Self {
            messages,
            by_name,
            methods: Vec::new(),
            parameters: parameters(document, &HashMap::new())?,
            revision: text(document, "revision"),
        };
        schema.add_methods(document)?;
        anyhow::ensure!(!schema.methods.is_empty(), "no methods");
        Ok(schema)
    }

    fn add_methods(&mut self, resource: &Value) -> anyhow::Result<()> {
        let inner = |name| resource.get(name).and_then(Value::as_object);
        for method in inner("methods").into_iter().flat_map(|all| all.values()) {
            let type_of = |name: &str| {
                let name = method.get(name)?.get("$ref")?.as_str()?;
                self.by_name.get(name).copied()
            };
            let scopes = method.get("scopes").and_then(Value::as_array);
            let scopes = scopes.into_iter().flatten().filter_map(Value::as_str);
            self.methods.push(Method {
                id: text(method, "id"),
                verb: text(method, "httpMethod"),
                path: text(method, "path"),
                parameters: parameters(method, &self.by_name)?,
                request: type_of("request"),
                response: type_of("response").context("a method without an answer")?,
                scopes: scopes.map(str::to_owned).collect(),
            });
        }
        for resource in inner("resources").into_iter().flat_map(|all| all.values()) {
            self.add_methods(resource)?;
        }
        Ok(())
    }

    /// The method for a verb and a decoded path, and what stands for its parameters in the path.
    pub(crate) fn route(&self, verb: &str, path: &str) -> Option<(&Method, Vec<(String, String)>)> {
        let path = path.strip_prefix('/')?;
        // Of two that fit, the one with the longer template says more.
        let fitting = self.methods.iter().filter_map(|method| {
            let found = (method.verb == verb).then(|| fit(&method.path, path))??;
            Some((method, found))
        });
        fitting.max_by_key(|(method, _)| method.path.len())
    }

    pub(crate) fn message(&self, place: usize) -> Option<&Message> {
        self.messages.get(place)
    }

    /// Leaves out of an answer of the type at `place` the integers that are 0.
    pub(crate) fn omit_zeros(&self, place: usize, value: &mut Value) {
        let (Some(message), Some(members)) = (self.message(place), value.as_object_mut()) else {
            return;
        };
        members.retain(|name, value| {
            let kind = message.fields.get(name).map(|field| &field.kind);
            match kind {
                Some(Kind::Int32) => return *value != 0,
                Some(Kind::Message(place)) => self.omit_zeros(*place, value),
                Some(Kind::List(inner)) => {
                    if let (Kind::Message(place), Some(list)) = (&**inner, value.as_array_mut()) {
                        for value in list {
                            self.omit_zeros(*place, value);
                        }
                    }
                }
                _ => {}
            }
            true
        });
    }

    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn parameter<'a>(&'a self, method: &'a Method, name: &str) -> Option<&'a Parameter> {
        let own = method.parameters.get(name);
        own.or_else(|| self.parameters.get(name))
    }
}

fn text(value: &Value, name: &str) -> String {
    let text = value.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn message(name: &str, schema: &Value, places: &HashMap<String, usize>) -> anyhow::Result<Message> {
    let mut fields = HashMap::new();
    let properties = schema.get("properties").and_then(Value::as_object);
    for (field, schema) in properties.into_iter().flatten() {
        let kind = kind(schema, places, &format!("{name}.{}", capital(field)))?;
        let is_read_only = schema.get("readOnly") == Some(&Value::Bool(true));
        fields.insert(field.clone(), Field { kind, is_read_only });
    }
    let name = name.to_owned();
    Ok(Message { name, fields })
}

fn parameters(
    owner: &Value,
    places: &HashMap<String, usize>,
) -> anyhow::Result<HashMap<String, Parameter>> {
    let mut all = HashMap::new();
    let parameters = owner.get("parameters").and_then(Value::as_object);
    for (name, schema) in parameters.into_iter().flatten() {
        let kind = kind(schema, places, &capital(name))?;
        let is_repeated = schema.get("repeated") == Some(&Value::Bool(true));
        all.insert(name.clone(), Parameter { kind, is_repeated });
    }
    Ok(all)
}

fn kind(schema: &Value, places: &HashMap<String, usize>, path: &str) -> anyhow::Result<Kind> {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let place = places
            .get(name)
            .with_context(|| format!("no type {name}"))?;
        return Ok(Kind::Message(*place));
    }
    let inner = |name: &str| {
        let schema = schema
            .get(name)
            .with_context(|| format!("no {name} in {path}"))?;
        Ok::<_, anyhow::Error>(Box::new(kind(schema, places, path)?))
    };
    let values = schema.get("enum").and_then(Value::as_array);
    let (name, format) = (text(schema, "type"), text(schema, "format"));
    Ok(match (name.as_str(), format.as_str()) {
        ("any", _) => Kind::Any,
        ("boolean", _) => Kind::Bool,
        ("integer", "int32") => Kind::Int32,
        ("number", _) => Kind::Number,
        ("string", "google-fieldmask") => Kind::Mask,
        ("string", _) => match values {
            Some(values) => {
                let values = values.iter().filter_map(Value::as_str);
                Kind::Enum(values.map(str::to_owned).collect(), path.to_owned())
            }
            None => Kind::Text,
        },
        ("array", _) => Kind::List(inner("items")?),
        ("object", _) if schema.get("additionalProperties").is_some() => {
            Kind::Map(inner("additionalProperties")?)
        }
        // A message without fields.
        ("object", _) => Kind::Map(Box::new(Kind::Any)),
        _ => anyhow::bail!("{path} is of type {name} {format}"),
    })
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// What stands for `{name}`s; none holds a `/`.
fn fit(template: &str, path: &str) -> Option<Vec<(String, String)>> {
    let (mut template, mut path) = (template, path);
    let mut found = Vec::new();
    while let Some((before, rest)) = template.split_once('{') {
        let (name, after) = rest.split_once('}')?;
        path = path.strip_prefix(before)?;
        let literal = after.split('{').next().unwrap_or_default();
        let end = if literal.is_empty() {
            path.len()
        } else if after.contains('{') {
            path.find(literal)?
        } else {
            path.strip_suffix(literal)?.len()
        };
        let value = path.get(..end)?;
        if value.is_empty() || value.contains('/') {
            return None;
        }
        found.push((name.to_owned(), value.to_owned()));
        path = path.get(end..)?;
        template = after;
    }
    (template == path).then_some(found)
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::{Arc, LazyLock};

    use super::Schema;

    /// The few types that the tests need, drawn as Google draws them.
    pub(crate) static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| {
        let document = serde_json::from_str(include_str!("testing.json")).unwrap();
        Arc::new(Schema::new(&document).unwrap())
    });
}
