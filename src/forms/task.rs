//! A task's definition: which forms go to which sink, from where on, and what poison does.
//!
//! Holds: the table named like the sink carries that sink's settings, and no other sink's table may
//! stand beside it. One shape in TOML and JSON, the same bytes for the same definition.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reader::{Reader, name_problem, value_of_json, value_of_toml};

/// What a task is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskDefinition {
    /// Its name.
    pub name: String,
    /// The forms that it moves, or `*` alone for all.
    pub forms: Vec<String>,
    /// Where to.
    pub sink: SinkKind,
    /// From where on.
    pub start: Start,
    /// What a record does that the sink will never take.
    pub on_poison: OnPoison,
    /// For the sink `csv`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csv: Option<Csv>,
    /// For the sink `kafka`: as it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<Value>,
    /// For the sink `sheets`: as it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheets: Option<Value>,
}

/// The kinds of destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkKind {
    /// A file beside the node, one a form.
    #[default]
    Csv,
    /// Topics of a Kafka.
    Kafka,
    /// Tabs of a Google spreadsheet, one a form.
    Sheets,
}

/// Where a new task begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the oldest record that there is.
    #[default]
    Beginning,
    /// With what comes after its definition.
    Now,
}

impl From<Start> for storage::Start {
    fn from(start: Start) -> Self {
        match start {
            Start::Beginning => Self::Beginning,
            Start::Now => Self::Now,
        }
    }
}

/// What happens behind a record that the sink will never take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnPoison {
    /// It is set aside and its successors go on.
    #[default]
    Park,
    /// So is every later one of its key, so that a key's order holds.
    ParkKey,
    /// The task stops for a person.
    Stop,
}

/// Settings of the sink `csv`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Csv {
    /// The file's name within the directory of sheets; `{form}` becomes the form's.
    pub path: String,
}

impl Default for Csv {
    fn default() -> Self {
        Self {
            path: "{form}.csv".to_owned(),
        }
    }
}

impl TaskDefinition {
    /// Reads the TOML form.
    pub fn from_toml(text: &str) -> Result<Self, Vec<String>> {
        Self::shape(value_of_toml(text)?)?.checked()
    }

    /// Reads the JSON form.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Vec<String>> {
        Self::shape_of_json(bytes)?.checked()
    }

    /// The same, without asking the sink what it makes of it.
    pub(super) fn shape_of_json(bytes: &[u8]) -> Result<Self, Vec<String>> {
        Self::shape(value_of_json(bytes)?)
    }

    /// The JSON form: always the same bytes for the same definition.
    pub fn to_json(&self) -> Bytes {
        // A tree of strings has no way to fail; an empty definition would be refused.
        Bytes::from(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Whether it moves this form.
    pub fn covers(&self, form: &str) -> bool {
        self.forms.iter().any(|named| named == "*" || named == form)
    }

    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = name_problem(&self.name).into_iter().collect();
        if self.forms.is_empty() {
            problems.push("forms: name at least one, or \"*\" for all".to_owned());
        }
        let has_all = self.forms.iter().any(|form| form == "*");
        if has_all && self.forms.len() > 1 {
            problems.push("forms: \"*\" stands alone".to_owned());
        }
        let named = self.forms.iter().filter(|form| *form != "*");
        problems.extend(named.filter_map(|form| Some(format!("forms: {}", name_problem(form)?))));
        let forms: Vec<&str> = self.forms.iter().map(String::as_str).collect();
        problems.extend(self.spec().problems(&forms));
        problems
    }

    /// Whether a task that is defined so from now on goes on where this one stands: it moves the same
    /// forms to the same place. Where it would begin does not matter any more.
    pub fn goes_on_as(&self, other: &Self) -> bool {
        self.forms == other.forms && self.spec().is_same_place(&other.spec())
    }

    /// The sink as the bridge knows it.
    pub fn spec(&self) -> bridge::SinkSpec {
        let (name, settings) = match self.sink {
            SinkKind::Csv => ("csv", json!(self.csv.clone().unwrap_or_default())),
            SinkKind::Kafka => ("kafka", self.kafka.clone().unwrap_or_default()),
            SinkKind::Sheets => ("sheets", self.sheets.clone().unwrap_or_default()),
        };
        bridge::SinkSpec {
            name: Arc::from(name),
            settings,
        }
    }

    fn shape(value: Value) -> Result<Self, Vec<String>> {
        let mut reader = Reader::new(value)?;
        let sink = reader.need("sink");
        let leads_to = |kind| sink == kind;
        let definition = Self {
            name: reader.need("name"),
            forms: reader.need("forms"),
            sink,
            start: reader.take("start").unwrap_or_default(),
            on_poison: reader.take("on_poison").unwrap_or_default(),
            csv: leads_to(SinkKind::Csv).then(|| reader.take("csv").unwrap_or_default()),
            kafka: leads_to(SinkKind::Kafka).then(|| reader.take("kafka").unwrap_or_default()),
            sheets: leads_to(SinkKind::Sheets).then(|| reader.take("sheets").unwrap_or_default()),
        };
        let problems = reader.finish();
        if problems.is_empty() {
            Ok(definition)
        } else {
            Err(problems)
        }
    }

    fn checked(self) -> Result<Self, Vec<String>> {
        let problems = self.problems();
        if problems.is_empty() {
            Ok(self)
        } else {
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHEET: &str = "name = 'student-sheet'\nforms = ['student-data']\nsink = 'csv'\n";

    #[test]
    fn a_task_reads_alike_from_toml_and_json() {
        let task = TaskDefinition::from_toml(SHEET).unwrap();
        assert_eq!(task.csv, Some(Csv::default()));
        let json = task.to_json();
        let again = TaskDefinition::from_json(&json).unwrap();
        assert_eq!(again, task);
        assert_eq!(again.to_json(), json);
        assert!(task.covers("student-data") && !task.covers("demo"));
    }

    #[test]
    fn all_problems_of_a_task_are_told_at_once() {
        let text = "name = 'No'\nforms = ['*', 'a']\nsink = 'csv'\n[csv]\npath = '../x.csv'\n";
        let problems = TaskDefinition::from_toml(text).unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
        let text = "name = 'a'\nsinc = 'csv'\n";
        let problems = TaskDefinition::from_toml(text).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems.iter().any(|problem| problem.contains("sinc")));
    }

    #[test]
    fn a_task_for_google_sheets_names_its_spreadsheet() {
        let text = "name = 'sheet'\nforms = ['a', 'b']\nsink = 'sheets'\n";
        let problems = TaskDefinition::from_toml(text).unwrap_err();
        assert!(problems.concat().contains("spreadsheet"), "{problems:?}");
        let text = format!("{text}[sheets]\nspreadsheet = '1AbC'\nfields = {{cgpa='number'}}\n");
        let task = TaskDefinition::from_toml(&text).unwrap();
        assert_eq!(task.spec().settings["spreadsheet"], "1AbC");
        assert_eq!(TaskDefinition::from_json(&task.to_json()).unwrap(), task);
        let text = text.replace("'1AbC'", "'1AbC'\nspares = ['2DeF']");
        let with_spare = TaskDefinition::from_toml(&text).unwrap();
        assert!(task.goes_on_as(&with_spare), "a spare is no other place");
    }

    #[test]
    fn a_task_for_kafka_keeps_its_table_as_it_was_given() {
        let text = "name = 'mirror'\nforms = ['*']\nsink = 'kafka'\n[kafka]\ntopic = 'x.{form}'\n";
        let task = TaskDefinition::from_toml(text).unwrap();
        assert_eq!(task.spec().settings, json!({ "topic": "x.{form}" }));
        assert_eq!(TaskDefinition::from_json(&task.to_json()).unwrap(), task);
        let other = TaskDefinition::from_toml(&format!("{text}[csv]\npath = 'x.csv'\n"));
        assert!(
            other.unwrap_err()[0].contains("csv"),
            "no other sink's table"
        );
        let wrong = TaskDefinition::from_toml(&text.replace("topic", "topik"));
        assert!(wrong.unwrap_err()[0].contains("topik"));
    }

    #[test]
    fn a_task_goes_on_while_forms_and_place_are_the_same() {
        let text = "name = 'm'\nforms = ['a']\nsink = 'kafka'\non_poison = 'park'\n[kafka]\n\
                    topic = 'x.{form}'\nreplication = 3\n";
        let task = |text: &str| TaskDefinition::from_toml(text).unwrap();
        let goes_on = |from: &str, to: &str| task(text).goes_on_as(&task(&text.replace(from, to)));
        assert!(goes_on("'park'", "'stop'"));
        assert!(goes_on("replication = 3", "replication = 4"));
        assert!(goes_on("replication = 3", "key = 'none'"));
        assert!(!goes_on("'x.{form}'", "'y.{form}'"));
        assert!(!goes_on("replication = 3", "control_topic = 'c'"));
        assert!(!goes_on("['a']", "['a', 'b']"));
        assert!(!task(SHEET).goes_on_as(&task(&format!("{SHEET}[csv]\npath = 'o.csv'\n"))));
    }

    #[test]
    fn an_unknown_sink_names_the_known_ones() {
        let text = "name = 'a'\nforms = ['a']\nsink = 'tape'\n";
        let problems = TaskDefinition::from_toml(text).unwrap_err();
        assert!(
            problems.iter().any(|problem| problem.contains("csv")),
            "{problems:?}"
        );
    }
}
