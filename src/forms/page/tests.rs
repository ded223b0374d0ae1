//! The pages, as text.

use serde_json::json;
use storage::{FormId, Index, Placed, Seq, Terms};

use super::*;
use crate::forms::Definition;

fn form(schema: &serde_json::Value) -> Form {
    let json = json!({"name": "f", "title": "T <i> & co", "schema": schema});
    let definition = Definition::from_json(json.to_string().as_bytes()).unwrap();
    Form::new(FormId(1), 1, false, definition).unwrap()
}

fn every_kind() -> Form {
    let choices: Vec<String> = (0..9).map(|n| format!("c{n}")).collect();
    form(&json!({
        "type": "object", "required": ["name", "size"],
        "properties": {
            "name": {"type": "string", "maxLength": 20, "description": "As on \"paper\"."},
            "mail": {"type": "string", "format": "email"},
            "age": {"type": "integer", "default": 18},
            "text": {"type": "string", "x-input": "textarea"},
            "ok": {"type": "boolean", "title": "I agree"},
            "size": {"enum": ["s", "m<script>"]},
            "many": {"enum": choices},
            "some": {"type": "array", "items": {"enum": ["x", "y"]}},
            "list": {"type": "array", "items": {"type": "string"}},
            "tree": {"type": "object"},
        },
    }))
}

fn typed(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}

fn assert_has(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
}

#[test]
fn every_kind_of_field_has_an_input_of_its_own() {
    let page = form_page(
        &every_kind(),
        &PageInput {
            idempotency_key: "k1",
            ..Default::default()
        },
    );
    assert_has(
        &page,
        &[
            r#"<form method="post" action="/f/f""#,
            r#"name="_idempotency_key" value="k1""#,
            r#"<label for="field-0">Name</label>"#,
            r#"aria-describedby="field-0-hint" required"#,
            r#"type="email" id="field-1""#,
            r#"inputmode="numeric""#,
            r#"value="18""#,
            r#"<textarea id="field-3" name="text""#,
            r#"type="checkbox" id="field-4" name="ok" value="true""#,
            r#"type="radio" id="field-5-0" name="size" value="s""#,
            r#"<select id="field-6" name="many""#,
            r#"type="checkbox" id="field-7-1" name="some" value="y""#,
            r#"class="code""#,
            r#"name="_gotcha" tabindex="-1""#,
            r#"<span class="optional">(optional)</span>"#,
        ],
    );
    assert_eq!(page.matches(r#"name="list""#).count(), 3);
    assert!(
        !page.contains("<script") && !page.contains("_next") && !page.contains("class=\"faults\"")
    );
    assert!(
        !page.contains(" style=") && !page.contains(" onclick"),
        "a strict policy holds"
    );
}

#[test]
fn after_a_refusal_what_was_typed_and_what_is_wrong_are_there() {
    let typed = typed(&[
        ("name", "\"><script>alert(1)</script>"),
        ("age", "old"),
        ("text", "</textarea><b>"),
        ("ok", "on"),
        ("size", "m<script>"),
        ("some", "y"),
        ("list", "one"),
    ]);
    let faults = [
        Fault::new("/odd", "is not a field of this form"),
        Fault::new("/size", "must be <one>"),
        Fault::new("/age", "must be a whole number"),
        Fault::new("", "is odd"),
    ];
    let page = form_page(
        &every_kind(),
        &PageInput {
            typed: &typed,
            faults: &faults,
            next: Some("https://e.com/?a&b"),
            ..Default::default()
        },
    );
    assert_has(
        &page,
        &[
            "<title>Error: T &lt;i&gt; &amp; co</title>",
            r#"role="alert""#,
            "4 things need your attention",
            r##"<a href="#field-2">Age must be a whole number</a>"##,
            r##"<a href="#field-5-0">Size must be &lt;one&gt;</a>"##,
            "<li>odd is not a field of this form</li>",
            "<li>The form is odd</li>",
            r#"<p class="fault" id="field-2-fault">Age must be a whole number</p>"#,
            r#"aria-describedby="field-2-fault" aria-invalid="true""#,
            r#"value="old""#,
            "&quot;&gt;&lt;script&gt;alert(1)&lt;",
            "&lt;&#x2f;textarea&gt;&lt;b&gt;</textarea>",
            r#"name="_next" value="https:&#x2f;&#x2f;e.com&#x2f;?a&amp;b""#,
            r#"name="ok" value="true" checked"#,
            r#"value="m&lt;script&gt;" checked"#,
            r#"value="y" checked"#,
            r#"name="list" value="one""#,
        ],
    );
    let at = |part: &str| page.find(part).unwrap();
    assert!(at(">Age must") < at(">Size must") && at(">Size must") < at(">odd is"));
    assert!(!page.contains("<script") && !page.contains(r#"value="18""#));
}

#[test]
fn a_form_with_a_key_asks_for_it_and_a_retired_one_asks_for_nothing() {
    let hash = format!("sha256:{}", "0".repeat(64));
    let json = json!({
        "name": "f", "key_required": true, "key_hash": hash, "schema": {"type": "object"},
    });
    let definition = Definition::from_json(json.to_string().as_bytes()).unwrap();
    let open = Form::new(FormId(1), 1, false, definition.clone()).unwrap();
    assert_has(
        &form_page(&open, &PageInput::default()),
        &[r#"type="password" id="form-key" name="_key""#],
    );
    let retired = Form::new(FormId(1), 1, true, definition).unwrap();
    let page = form_page(&retired, &PageInput::default());
    assert!(page.contains("takes no more answers") && !page.contains("<form"));
}

#[test]
fn the_thanks_page_shows_the_receipt() {
    let mut placed = Placed {
        id: [1; 16],
        seq: Some(Seq(17)),
        index: Index(4),
        received_ms: 1_700_000_000_005,
        terms: Terms::default(),
    };
    let page = thanks_page("A & B", &Receipt::new("f", &placed, false));
    assert_has(
        &page,
        &[
            "<h1>Thank you</h1>",
            "A &amp; B",
            "<code>01010101-0101-0101-0101-010101010101</code>",
            "<dt>Number</dt><dd>17</dd>",
            ">2023-11-14 22:13:20 UTC</time>",
            r#"href="/f/f""#,
        ],
    );
    placed.seq = None;
    let page = thanks_page("A", &Receipt::new("f", &placed, false));
    assert!(!page.contains("Number"));
}

#[test]
fn a_message_is_escaped() {
    let page = message_page("Not <found>", "No form \"<x>\"");
    assert_has(
        &page,
        &[
            "<h1>Not &lt;found&gt;</h1>",
            "No form &quot;&lt;x&gt;&quot;",
        ],
    );
}

#[test]
fn the_policy_names_the_style_sheet_that_the_page_carries() {
    let page = message_page("a", "b");
    let style = page
        .split_once("<style>")
        .unwrap()
        .1
        .split_once("</style>")
        .unwrap()
        .0;
    let expected = format!("'sha256-{}'", base64(&Sha256::digest(style.as_bytes())));
    assert_eq!(style_source(), expected);
    for (plain, coded) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
    ] {
        assert_eq!(base64(plain.as_bytes()), coded);
    }
}
