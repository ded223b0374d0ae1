//! From a file, the environment and the command line to one `Config`; every problem at once.
//!
//! Holds: a later layer wins (file, then environment, then command line); a key that nobody knows
//! is a problem wherever it stands; no problem hides another.
//! How: each key that somebody set is tried alone on top of the defaults, so each fault is found
//! by itself and is told with the place where it was set. The good ones are then set together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::Config;

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A file that must be there.
    pub file: Option<PathBuf>,
    /// A file that is read if it is there.
    pub file_if_present: Option<PathBuf>,
    /// The environment: names and values.
    pub environment: Vec<(String, String)>,
    /// From the command line: keys and values.
    pub overrides: Vec<(String, String)>,
}

/// Settings, and who set what.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// All of them.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Keys that somebody set, and where.
    pub set: BTreeMap<String, String>,
}

/// Names with our prefix that are no settings: they belong to the command line.
const RESERVED: [&str; 3] = ["FORMSPOOL_CONFIG", "FORMSPOOL_TOKEN", "FORMSPOOL_URL"];
const PREFIX: &str = "FORMSPOOL_";
/// In a build with mutants: which of them.
#[cfg(feature = "mutants")]
pub(super) const MUTANT: &str = "FORMSPOOL_MUTANT";

/// Reads all sources.
pub fn load(sources: &Sources) -> Result<Loaded, Vec<String>> {
    let defaults = Config::default_table();
    let mut problems = Vec::new();
    let (file, leaves) = leaves(sources, &defaults, &mut problems);
    let mut all = defaults.clone();
    let mut set = BTreeMap::new();
    for leaf in leaves {
        let mut alone = defaults.clone();
        put(&mut alone, &leaf.key, leaf.value.clone());
        match Config::deserialize(alone) {
            Ok(_) => {
                put(&mut all, &leaf.key, leaf.value);
                set.insert(leaf.key, leaf.from);
            }
            Err(error) => {
                problems.push(format!(
                    "`{}` ({}): {}",
                    leaf.key,
                    leaf.from,
                    error.message()
                ));
            }
        }
    }
    match Config::deserialize(all) {
        Ok(config) => {
            problems.extend(config.problems());
            if problems.is_empty() {
                Ok(Loaded { config, file, set })
            } else {
                Err(problems)
            }
        }
        Err(error) => {
            problems.push(error.message().to_owned());
            Err(problems)
        }
    }
}

/// What was set anywhere, the weakest first; and the file, if one was read.
fn leaves(
    sources: &Sources,
    defaults: &Table,
    problems: &mut Vec<String>,
) -> (Option<PathBuf>, Vec<Leaf>) {
    let mut leaves = Vec::new();
    let file = sources
        .file
        .clone()
        .or_else(|| sources.file_if_present.clone());
    let file = file.filter(|path| sources.file.is_some() || path.exists());
    if let Some(path) = &file {
        match read_file(path) {
            Ok(table) => gather(
                &table,
                defaults,
                "",
                &path.display().to_string(),
                &mut leaves,
            ),
            Err(problem) => problems.push(problem),
        }
    }
    for (name, value) in &sources.environment {
        if let Some(key) = key_of(name, value) {
            let from = format!("environment {name}");
            leaves.push(Leaf {
                value: typed(defaults, &key, value),
                key,
                from,
            });
        }
    }
    for (key, value) in &sources.overrides {
        let value = typed(defaults, key, value);
        leaves.push(Leaf {
            key: key.clone(),
            value,
            from: "command line".to_owned(),
        });
    }
    (file, leaves)
}

/// One key that somebody set.
struct Leaf {
    key: String,
    value: Value,
    from: String,
}

fn read_file(path: &Path) -> Result<Table, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    text.parse::<Table>()
        .map_err(|error| format!("{}: {}", path.display(), error.to_string().trim()))
}

/// Walks down as long as the defaults know the section; what they do not know is one leaf.
fn gather(table: &Table, known: &Table, prefix: &str, from: &str, leaves: &mut Vec<Leaf>) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match (value, known.get(name)) {
            (Value::Table(inner), Some(Value::Table(known))) => {
                gather(inner, known, &key, from, leaves);
            }
            _ => leaves.push(Leaf {
                key,
                value: value.clone(),
                from: from.to_owned(),
            }),
        }
    }
}

/// The setting that an environment variable names, if it is one of ours.
fn key_of(name: &str, value: &str) -> Option<String> {
    let rest = name.strip_prefix(PREFIX)?;
    #[cfg(feature = "mutants")]
    if name == MUTANT {
        return None;
    }
    if RESERVED.contains(&name) || is_service_link(rest, value) {
        return None;
    }
    Some(rest.to_ascii_lowercase().replace("__", "."))
}

/// Kubernetes tells each container about services by variables such as `FORMSPOOL_SERVICE_HOST`,
/// and a service may well have our name: those are no settings.
fn is_service_link(rest: &str, value: &str) -> bool {
    let is_host = rest.ends_with("SERVICE_HOST") || rest.contains("SERVICE_PORT");
    let is_url = (rest == "PORT" || rest.ends_with("_PORT")) && value.contains("://");
    let after_port = rest.split_once("PORT_").map_or("", |(_, after)| after);
    let is_port = after_port.starts_with(|c: char| c.is_ascii_digit());
    !rest.contains("__") && (is_host || is_url || is_port)
}

/// Text from outside as the type that the default has; where there is none, as TOML reads it.
fn typed(defaults: &Table, key: &str, text: &str) -> Value {
    let as_text = || Value::String(text.to_owned());
    let as_toml = || {
        let table = format!("value = {text}").parse::<Table>().ok();
        table.and_then(|mut table| table.remove("value"))
    };
    match get(defaults, key) {
        Some(Value::String(_)) => as_text(),
        Some(Value::Array(_)) if !text.trim_start().starts_with('[') => {
            let parts = text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
        }
        _ => as_toml().unwrap_or_else(as_text),
    }
}

fn get<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((section, rest)) => get(table.get(section)?.as_table()?, rest),
    }
}

fn put(table: &mut Table, key: &str, value: Value) {
    let Some((section, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return;
    };
    let inner = table
        .entry(section)
        .or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(inner) = inner {
        put(inner, rest, value);
    } else {
        // A section below a plain value: kept under its full name, so that it is told as unknown.
        table.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
