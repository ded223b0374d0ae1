//! Bad documents from programs.

use hyper::Method;
use serde_json::json;

use crate::client::api::{FORM, JSON};
use crate::client::{Call, api};
use crate::form::Form;
use crate::history::What;
use crate::workload::Run;
use crate::workload::hostile::{Door, Expected};

const PATH: &str = "/v1/forms/jepsen-door/submissions";

pub(super) async fn run(run: &mut Run, door: &mut Door) -> anyhow::Result<()> {
    malformed(run, door).await;
    invalid(run, door).await;
    forged(run, door).await;
    outside(run, door).await?;
    let reused = reused_key(run, door).await;
    run.note(reused);
    Ok(())
}

fn call(body: impl Into<Vec<u8>>) -> Call {
    Call::post(PATH, JSON, body.into()).header("accept", JSON)
}

/// What cannot even be read; `{m}` stands for a marker, so that nothing of it may be shown.
async fn malformed(run: &mut Run, door: &mut Door) {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let in_text = |depth| {
        format!(
            r#"{{"marker":"{{m}}","email":"a@example.com","text":{}}}"#,
            deep(depth)
        )
    };
    let start = r#"{"marker":"{m}","email":"a@example.com""#;
    let huge = "x".repeat(300 << 10);
    let cases: Vec<(&str, String, &[u16])> = vec![
        ("an empty body", String::new(), &[400]),
        ("half a document", format!("{start},"), &[400]),
        ("two documents", format!("{start}}} {start}}}"), &[400]),
        ("a comma too many", format!("{start},}}"), &[400]),
        (
            "not a number of JSON",
            format!("{start},\"age\":NaN}}"),
            &[400],
        ),
        ("1 MiB of nested arrays", deep(512 << 10), &[400, 413]),
        ("200 KiB of opened arrays", "[".repeat(200 << 10), &[400]),
        (
            "200 KiB of opened objects",
            "{\"a\":".repeat(40 << 10),
            &[400],
        ),
        ("100 levels below a field", in_text(100), &[400]),
        (
            "one name twice",
            format!("{start},\"marker\":\"{{m}}\"}}"),
            &[400],
        ),
        (
            "NUL in a value",
            format!("{start},\"text\":\"a\\u0000b\"}}"),
            &[400],
        ),
        (
            "half of a surrogate pair",
            format!("{start},\"text\":\"\\ud800\"}}"),
            &[400],
        ),
        (
            "300 KiB of text",
            format!("{start},\"text\":\"{huge}\"}}"),
            &[413],
        ),
    ];
    for (name, body, statuses) in cases {
        let submission = run.submission(Form::Door, None);
        let marker = run.bodies.marker_text(Form::Door, submission.marker);
        let call = call(body.replace("{m}", &marker));
        let expected = Expected {
            statuses,
            pointers: &[],
        };
        door.refuse_marked(run, (name, &submission), &call, expected)
            .await;
    }
    garbled(run, door).await;
}

/// Bytes that are no text.
async fn garbled(run: &mut Run, door: &mut Door) {
    let submission = run.submission(Form::Door, None);
    let marker = run.bodies.marker_text(Form::Door, submission.marker);
    let mut broken =
        format!(r#"{{"email":"a@example.com","marker":"{marker}","text":"#).into_bytes();
    broken.extend_from_slice(b"\"\xc3\x28\xff\"}");
    let expected = Expected {
        statuses: &[400],
        pointers: &[],
    };
    door.refuse_marked(run, ("invalid UTF-8", &submission), &call(broken), expected)
        .await;
}

/// What can be read, but does not fit the form.
async fn invalid(run: &mut Run, door: &mut Door) {
    let many = (0..10_000).map(|number| (format!("f{number}"), json!(1)));
    let many = serde_json::Value::Object(many.collect());
    let cases: Vec<(&str, serde_json::Value, &[&str])> = vec![
        ("a wrong type", json!({"age": "ten"}), &["/age"]),
        ("a number for a text", json!({"text": 5}), &["/text"]),
        ("out of range", json!({"age": 151}), &["/age"]),
        ("an unknown field", json!({"nope": 1}), &["/nope"]),
        (
            "a name that must be escaped",
            json!({"a/b~c": 1}),
            &["/a~1b~0c"],
        ),
        ("no address", json!({"email": "nobody"}), &["/email"]),
        ("a field missing", json!({"email": null}), &["/email"]),
        (
            "three faults at once",
            json!({"age": -1, "email": "nobody", "text": []}),
            &["/age", "/email", "/text"],
        ),
        ("10,000 fields", many, &[]),
    ];
    for (name, changes, pointers) in cases {
        let submission = run.submission(Form::Door, None);
        let mut data = submission.data.clone();
        if let (Some(data), serde_json::Value::Object(changes)) = (data.as_object_mut(), changes) {
            data.extend(changes);
            if name == "a field missing" {
                data.remove("email");
            }
        }
        let expected = Expected {
            statuses: &[422],
            pointers,
        };
        door.refuse_marked(run, (name, &submission), &call(data.to_string()), expected)
            .await;
    }
    for (name, body) in [("a list", "[]"), ("a text", "\"x\""), ("null", "null")] {
        let expected = Expected {
            statuses: &[400, 422],
            pointers: &[],
        };
        let tried = door.refuse(name, &call(body), expected).await;
        run.note(tried.map(|_| ()));
    }
}

/// Another kind of body, another target, a key that is none.
async fn forged(run: &mut Run, door: &mut Door) {
    let file = "--x\r\nContent-Disposition: form-data; name=\"text\"; filename=\"a.txt\"\r\n\
                Content-Type: text/plain\r\n\r\nfile\r\n--x--\r\n";
    let marked = |body: &str, run: &Run, marker| {
        body.replace("{m}", &run.bodies.marker_text(Form::Door, marker))
    };
    let pairs = |next: &str| format!("marker={{m}}&email=a%40example.com&_next={next}");
    let cases: Vec<(&str, &str, String, u16)> = vec![
        ("plain text", "text/plain", "marker={m}".to_owned(), 415),
        (
            "a file",
            "multipart/form-data; boundary=x",
            file.to_owned(),
            415,
        ),
        (
            "a foreign _next",
            FORM,
            pairs("https%3A%2F%2Fevil.example%2F"),
            400,
        ),
        (
            "a _next without scheme",
            FORM,
            pairs("%2F%2Fevil.example%2Fallowed%2F"),
            400,
        ),
        (
            "a script as _next",
            FORM,
            pairs("javascript%3Aalert(1)"),
            400,
        ),
        (
            "a longer host",
            FORM,
            pairs("https%3A%2F%2Fexample.com.evil.example%2Fallowed%2F"),
            400,
        ),
        (
            "a user in _next",
            FORM,
            pairs("https%3A%2F%2Fexample.com%40evil.example%2Fallowed%2F"),
            400,
        ),
        (
            "CRLF in _next",
            FORM,
            pairs("https%3A%2F%2Fexample.com%2Fallowed%2F%0D%0ASet-Cookie%3A%20a%3Db"),
            400,
        ),
    ];
    for (name, kind, body, status) in cases {
        let submission = run.submission(Form::Door, None);
        let body = marked(&body, run, submission.marker);
        let call = Call::post("/f/jepsen-door", kind, body).header("accept", JSON);
        let expected = Expected {
            statuses: &[status],
            pointers: &[],
        };
        door.refuse_marked(run, (name, &submission), &call, expected)
            .await;
    }
    long_key(run, door).await;
}

async fn long_key(run: &mut Run, door: &mut Door) {
    let submission = run.submission(Form::Door, None);
    let call = call(submission.data.to_string()).header("idempotency-key", "k".repeat(1000));
    let expected = Expected {
        statuses: &[400],
        pointers: &[],
    };
    door.refuse_marked(run, ("a key without end", &submission), &call, expected)
        .await;
}

/// Doors that are not there, and rooms that are locked.
async fn outside(run: &mut Run, door: &mut Door) -> anyhow::Result<()> {
    let good = json!({"marker": "x", "email": "a@example.com"}).to_string();
    let nowhere = "/v1/forms/no-such-form/submissions";
    let token = run.site.token()?;
    let read = || Call::get(PATH).header("accept", JSON);
    let cases = [
        (
            "an unknown form",
            Call::post(nowhere, JSON, good.clone()),
            404,
        ),
        (
            "an unknown page",
            Call::post("/f/no-such-form", JSON, good.clone()),
            404,
        ),
        (
            "reading an unknown form",
            Call::get(nowhere).bearer(&token),
            404,
        ),
        ("an unknown path", Call::get("/v1/nothing"), 404),
        (
            "an unknown record",
            Call::get(format!("{PATH}/999999")).bearer(&token),
            404,
        ),
        ("reading without a token", read(), 401),
        ("reading with a wrong token", read().bearer("wrong"), 401),
        (
            "retiring without a token",
            Call::new(Method::DELETE, "/v1/forms/jepsen-door"),
            401,
        ),
        (
            "a method that is not there",
            Call::new(Method::PATCH, PATH).body(good),
            405,
        ),
    ];
    for (name, call, status) in cases {
        let call = call.header("accept", JSON);
        let expected = Expected {
            statuses: &[status],
            pointers: &[],
        };
        let tried = door.refuse(name, &call, expected).await;
        run.note(tried.map(|_| ()));
    }
    Ok(())
}

async fn reused_key(run: &mut Run, door: &mut Door) -> anyhow::Result<()> {
    let first = run.submission(Form::Door, Some("hostile-key"));
    let other = run.submission(Form::Door, Some("hostile-key"));
    let outcome = api::submit(&mut door.client, &run.history, 0, &first).await?;
    anyhow::ensure!(
        matches!(outcome, What::Ok(_)),
        "a first document: {outcome:?}"
    );
    let expected = Expected {
        statuses: &[422],
        pointers: &[],
    };
    let call = api::submit_call(&other);
    door.refuse_marked(run, ("a key with another body", &other), &call, expected)
        .await;
    let again = api::submit(&mut door.client, &run.history, 0, &first).await?;
    let is_again = matches!(again, What::Ok(receipt) if receipt.is_duplicate);
    anyhow::ensure!(
        is_again,
        "the first document under its key again: {again:?}"
    );
    Ok(())
}
