//! The table `[sheets]` of a task's definition: which spreadsheet, which tab, and what cells are.
//!
//! Holds: nothing secret stands here, since definitions are replicated. A credential is named at
//! most, and its file lies on each node.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Stands for the form's name.
pub(super) const FORM: &str = "{form}";
/// Google's limit on a tab's title.
const TITLE_CHARS_MAX: usize = 100;

/// How a member's value becomes a cell, where it fits; where not, it stays text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// A number that a spreadsheet can calculate with.
    Number,
    /// A tick box's value.
    Bool,
    /// A day, or a moment in UTC.
    Date,
}

/// What `_received_at` holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReceivedAt {
    /// A moment that a spreadsheet can calculate with, in UTC, shown as a date.
    #[default]
    Serial,
    /// RFC 3339, UTC, exact.
    Text,
}

/// What happens once a person has deleted one of our columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnDeleted {
    /// A new column is made for what comes from now on.
    #[default]
    Recreate,
    /// That field is written no more.
    Drop,
    /// Nothing is written until a person has decided.
    Pause,
}

/// The settings of one task.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// The id of the spreadsheet: what stands between `/d/` and `/edit` in its address.
    pub(super) spreadsheet: String,
    /// The tab's title when it is made; people may rename it.
    #[serde(default = "default_tab")]
    pub(super) tab: String,
    /// Spreadsheets to go on in once the one before is full, shared beforehand.
    #[serde(default)]
    pub(super) spares: Vec<String>,
    /// Fields that are not text.
    #[serde(default)]
    pub(super) fields: BTreeMap<String, Kind>,
    #[serde(default)]
    pub(super) received_at: ReceivedAt,
    /// Text that a program would take for a formula, once the sheet is saved as CSV, begins with `'`.
    #[serde(default)]
    pub(super) csv_guard: bool,
    #[serde(default)]
    pub(super) on_deleted_column: OnDeleted,
    /// The name of a credential; empty: the node's.
    #[serde(default)]
    pub(super) account: String,
}

fn default_tab() -> String {
    FORM.to_owned()
}

impl Settings {
    pub(super) fn read(settings: &serde_json::Value) -> Result<Self, String> {
        if settings.is_null() {
            return Err("the table [sheets] is missing: it names a spreadsheet".to_owned());
        }
        Self::deserialize(settings).map_err(|error| format!("sheets: {error}"))
    }

    /// The title of a form's tab.
    pub(super) fn title(&self, form: &str) -> String {
        self.tab.replace(FORM, form)
    }

    fn own_problems(&self, is_over_many: bool) -> Vec<String> {
        let mut problems = Vec::new();
        problems.extend(id_problem("spreadsheet", &self.spreadsheet));
        for spare in &self.spares {
            problems.extend(id_problem("spares", spare));
        }
        let all = self.spares.iter().chain([&self.spreadsheet]);
        if all.collect::<BTreeSet<_>>().len() <= self.spares.len() {
            problems.push("sheets.spares: each spreadsheet may be named once".to_owned());
        }
        let title = self.tab.replace(FORM, "");
        if self.tab.trim().is_empty() || title.chars().count() > TITLE_CHARS_MAX {
            problems.push(format!(
                "sheets.tab {:?}: it needs 1 to {TITLE_CHARS_MAX} characters",
                self.tab
            ));
        }
        if is_over_many && !self.tab.contains(FORM) {
            problems.push(format!(
                "sheets.tab {:?}: with many forms it must contain {FORM}",
                self.tab
            ));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !self.account.chars().all(is_plain) {
            problems.push(format!(
                "sheets.account {:?}: a name of letters, digits, - and _; its file lies beside \
                 sheets.credentials_file on each node",
                self.account
            ));
        }
        problems
    }
}

fn id_problem(name: &str, id: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !id.is_empty() && id.chars().all(is_plain) {
        return None;
    }
    Some(format!(
        "sheets.{name} {id:?}: give the id alone, what stands between /d/ and /edit in its address"
    ))
}

/// Every fault of the settings for a task over `forms`.
pub(super) fn problems(settings: &serde_json::Value, forms: &[&str]) -> Vec<String> {
    match Settings::read(settings) {
        Ok(settings) => settings.own_problems(forms.len() > 1 || forms.contains(&"*")),
        Err(problem) => vec![problem],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_spreadsheet_is_all_that_a_task_must_name() {
        let given = json!({ "spreadsheet": "1AbC-d_9" });
        assert_eq!(problems(&given, &["*"]), Vec::<String>::new());
        let settings = Settings::read(&given).unwrap();
        assert_eq!(settings.title("demo"), "demo");
        assert_eq!(settings.received_at, ReceivedAt::Serial);
        assert_eq!(settings.on_deleted_column, OnDeleted::Recreate);
    }

    #[test]
    fn another_title_or_a_spare_is_no_other_place() {
        let same = crate::sinks::sheets::is_same_place;
        let one = json!({ "spreadsheet": "1" });
        let more = json!({ "spreadsheet": "1", "tab": "x-{form}", "spares": ["2"] });
        assert!(same(&one, &more));
        assert!(!same(&one, &json!({ "spreadsheet": "2" })));
    }

    #[test]
    fn all_faults_of_a_table_are_told_at_once() {
        let given = json!({
            "spreadsheet": "https://docs.google.com/spreadsheets/d/1AbC/edit",
            "spares": ["2", "2"],
            "tab": "All",
            "account": "../x",
        });
        let told = problems(&given, &["a", "b"]);
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(problems(&given, &["a"]).len(), 3);
        assert!(
            problems(&json!({}), &["a"])
                .concat()
                .contains("spreadsheet")
        );
        let unknown = json!({ "spreadsheet": "1", "fields": { "age": "int" } });
        assert!(problems(&unknown, &["a"]).concat().contains("number"));
        let typo = json!({ "spreadsheet": "1", "tabs": "x" });
        assert!(problems(&typo, &["a"]).concat().contains("tabs"));
    }
}
