//! Definitions: one shape in two spellings, all problems at once, and the ones that are shipped.

use serde_json::json;

use super::*;
use crate::forms::{Form, Kind, TaskDefinition};
use storage::FormId;

const STUDENT: &str = include_str!("../../../deploy/forms/student-data.toml");
const DEMO: &str = include_str!("../../../deploy/forms/demo.toml");
const STUDENT_SHEET: &str = include_str!("../../../deploy/tasks/student-sheet.toml");
const DEMO_SHEET: &str = include_str!("../../../deploy/tasks/demo-sheet.toml");

fn no_files(_: &str) -> io::Result<String> {
    Err(io::Error::from(io::ErrorKind::NotFound))
}

fn read(text: &str) -> Result<Definition, Vec<String>> {
    Definition::from_toml(text, &no_files)
}

fn shipped(text: &str) -> Form {
    Form::new(FormId(1), 1, false, read(text).unwrap()).unwrap()
}

#[test]
fn the_shipped_student_form_takes_its_example() {
    let form = shipped(STUDENT);
    let mut document = json!({
        "name": "Saurabh raj", "roll": "99999", "university": "BCE", "cgpa": "8.04",
        "gender": "F", "age": "10.11", "email": "someone@example.com", "mobile": "7004465984",
    });
    assert!(!form.sanitise(&mut document));
    assert_eq!(form.check(&document), Ok(()));
    assert_eq!(
        form.columns().join(" "),
        "name roll university cgpa gender age email mobile"
    );
    for (field, bad) in [
        ("name", ""),
        ("roll", "9 9"),
        ("cgpa", "11"),
        ("gender", "<b>"),
        ("age", "ten"),
        ("email", "someone"),
        ("mobile", "12"),
    ] {
        let mut document = document.clone();
        document[field] = json!(bad);
        let faults = form.check(&document).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].pointer, format!("/{field}"));
    }
    let faults = form.check(&json!({"extra": "x"})).unwrap_err();
    assert_eq!(faults.len(), 4, "{faults:?}");
}

#[test]
fn the_shipped_demo_has_a_text_box_and_a_choice() {
    let form = shipped(DEMO);
    let kind = |name: &str| {
        form.fields
            .iter()
            .find(|field| field.name == name)
            .unwrap()
            .kind
            .clone()
    };
    assert_eq!(kind("message"), Kind::Textarea);
    assert_eq!(kind("email"), Kind::Email);
    assert!(matches!(kind("topic"), Kind::Choice(choices) if choices.len() == 3));
    let document = json!({"name": "A", "email": "a@b.de", "message": "hi", "topic": "idea"});
    assert_eq!(form.check(&document), Ok(()));
}

#[test]
fn the_shipped_tasks_move_the_shipped_forms() {
    for (task, form) in [(STUDENT_SHEET, STUDENT), (DEMO_SHEET, DEMO)] {
        let task = TaskDefinition::from_toml(task).unwrap();
        assert!(task.covers(&read(form).unwrap().name));
    }
}

#[test]
fn toml_and_json_say_the_same_and_the_bytes_are_stable() {
    for text in [
        STUDENT,
        DEMO,
        "name='a'\nhoneypot=''\n[schema]\ntype='object'\n",
    ] {
        let definition = read(text).unwrap();
        let json = definition.to_json();
        let again = Definition::from_json(&json).unwrap();
        assert_eq!(again, definition);
        assert_eq!(again.to_json(), json);
    }
}

#[test]
fn what_is_left_out_has_a_default() {
    let definition = read("name = 'a'\n[schema]\ntype = 'object'\n").unwrap();
    assert_eq!(definition.title, "a");
    assert_eq!(definition.honeypot.as_deref(), Some("_gotcha"));
    assert!(!definition.key_required && definition.origins.is_empty());
    let without = br#"{"name":"a","honeypot":null,"schema":{"type":"object"}}"#;
    assert_eq!(Definition::from_json(without).unwrap().honeypot, None);
}

#[test]
fn all_problems_are_told_at_once() {
    let problems = read("nam = 'a'\ntitle = 3\nkey_required = 'x'\n").unwrap_err();
    assert_eq!(problems.len(), 5, "{problems:?}");
    let text = r#"
        name = "Not Good"
        key_required = true
        origins = ["*", "https://good.example:8443", "https://bad.example/path", "bad"]
        next = ["https://good.example/thanks", "javascript:alert(1)", "https://user@host/"]
        honeypot = "website"
        sanitize.other = ["lowercase"]
        limits.fields_max = 0
        [schema]
        type = "object"
        properties.website = { type = "string" }
        properties._seq = { type = "string" }
        properties.a = { "$ref" = "https://example.com/a.json" }
    "#;
    let problems = read(text).unwrap_err();
    assert_eq!(problems.len(), 11, "{problems:#?}");
}

#[test]
fn a_schema_may_stand_in_a_file_of_its_own() {
    let text = "name = 'a'\nschema_file = 'a.schema.json'\n";
    let files = |name: &str| match name {
        "a.schema.json" => Ok("{\"type\":\"object\"}".to_owned()),
        _ => no_files(name),
    };
    assert_eq!(
        Definition::from_toml(text, &files).unwrap().schema,
        json!({"type": "object"})
    );
    assert!(read(text).unwrap_err()[0].contains("a.schema.json"));
    let both = format!("{text}[schema]\ntype = 'object'\n");
    assert!(Definition::from_toml(&both, &files).unwrap_err()[0].contains("not both"));
    let json = br#"{"name":"a","schema_file":"a.schema.json","schema":{"type":"object"}}"#;
    assert!(Definition::from_json(json).is_err(), "files are for files");
}

#[test]
fn the_key_of_a_form_is_only_ever_a_hash() {
    let with = |hash: &str| {
        format!("name='a'\nkey_required=true\nkey_hash='{hash}'\n[schema]\ntype='object'\n")
    };
    assert!(read(&with(&format!("sha256:{}", "ab".repeat(32)))).is_ok());
    assert!(read(&with("secret")).is_err());
    assert!(read(&with(&format!("sha256:{}", "AB".repeat(32)))).is_err());
}

#[test]
fn a_rule_that_nobody_knows_is_named() {
    let text =
        "name='a'\nsanitize.a=['shout']\n[schema]\ntype='object'\nproperties.a={type='string'}\n";
    assert!(read(text).unwrap_err()[0].contains("shout"));
}
