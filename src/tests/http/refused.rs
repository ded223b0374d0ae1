//! Bad input: the right status, a problem document that names each fault, and in no reader's sight.

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use futures::stream;
use serde_json::json;

use crate::house::{ADA, House, Said, request};

const JSON: &str = "application/json";
const PAIRS: &str = "application/x-www-form-urlencoded";

fn assert_problem(said: &Said, status: u16, name: &str) {
    assert_eq!(said.status.as_u16(), status, "{said:?}");
    assert_eq!(said.header("content-type"), "application/problem+json");
    let document = said.json();
    assert_eq!(document["type"], format!("/problems/{name}"), "{said:?}");
    assert_eq!(document["status"], status);
    assert!(document["title"].is_string());
}

/// Sends the body to both doors of a form and checks what comes back.
async fn refused(house: &House, kind: &str, body: &[u8], status: u16, name: &str) -> Said {
    let mut last = None;
    for path in ["/v1/forms/student/submissions", "/f/student"] {
        let headers = [("content-type", kind), ("accept", "application/json")];
        let body = Body::from(Bytes::copy_from_slice(body));
        let said = house.ask(request("POST", path, &headers, body)).await;
        assert_problem(&said, status, name);
        last = Some(said);
    }
    last.unwrap()
}

/// JSON, NDJSON, CSV, the withheld: none of them shows anything.
async fn assert_seen_by_nobody(house: &House) {
    assert_eq!(house.seqs().await, Vec::<u64>::new());
    let withheld = house.read("/v1/forms/student/withheld", "*/*").await.json();
    assert_eq!(withheld["withheld"], json!([]));
}

#[tokio::test]
async fn what_is_no_document_is_refused_and_seen_by_nobody() {
    let house = House::new();
    let malformed: [&[u8]; 11] = [
        b"",
        b"{",
        b"{\"name\":",
        b"nonsense",
        b"{'name':1}",
        b"{} {}",
        b"{\"a\":1,}",
        br#"{"name":"a","name":"b"}"#,
        b"{\"name\":\"\xff\"}",
        br#"{"name":"\ud800"}"#,
        br#"{"name":"a\u0000b"}"#,
    ];
    for body in malformed {
        refused(&house, JSON, body, 400, "malformed").await;
    }
    for body in [b"name=%ff", b"name=\xffxx"] {
        refused(&house, PAIRS, body, 400, "malformed").await;
    }
    assert_seen_by_nobody(&house).await;
}

#[tokio::test]
async fn what_does_not_fit_the_form_is_refused_fault_by_fault() {
    let house = House::new();
    let wrong = r#"{"name":7,"email":"no","roll":"x","age":"old","tags":[1]}"#;
    let all = &["/age", "/email", "/name", "/roll", "/tags/0"][..];
    for (body, faults) in [
        (wrong, all),
        (r#"{"email":"a@example.com"}"#, &["/name"]),
        (
            r#"{"name":"a","email":"a@example.com","nme":"b"}"#,
            &["/nme"],
        ),
        ("[]", &[""]),
        ("3", &[""]),
        ("null", &[""]),
    ] {
        let said = refused(&house, JSON, body.as_bytes(), 422, "invalid").await;
        let mut pointers = said.pointers();
        pointers.sort_unstable();
        assert_eq!(pointers, faults, "{body}");
    }
    assert_seen_by_nobody(&house).await;
}

#[tokio::test]
async fn what_is_too_large_too_deep_or_too_wide_is_refused() {
    let house = House::new();
    let members: Vec<String> = (0..10_000).map(|at| format!("\"f{at}\":1")).collect();
    for (kind, body, status, name) in [
        (JSON, "[".repeat(1 << 20), 413, "too-large"),
        (JSON, "[".repeat(200 << 10), 400, "too-deep"),
        (JSON, "{\"a\":".repeat(33), 400, "too-deep"),
        (
            JSON,
            format!("{{{}}}", members.join(",")),
            422,
            "too-many-fields",
        ),
        (PAIRS, "a=1&".repeat(10_000), 422, "too-many-fields"),
        (
            PAIRS,
            format!("name={}", "x".repeat(300 << 10)),
            413,
            "too-large",
        ),
        (
            PAIRS,
            format!("name={}", "%41".repeat(300 << 10)),
            413,
            "too-large",
        ),
    ] {
        refused(&house, kind, body.as_bytes(), status, name).await;
    }
    assert_seen_by_nobody(&house).await;
}

#[tokio::test]
async fn the_wrong_kind_of_content_is_refused() {
    let house = House::new();
    for kind in [
        "text/plain",
        "application/xml",
        "application/json; charset=latin1",
        "image/png",
    ] {
        let said = refused(&house, kind, ADA.as_bytes(), 415, "unsupported-media-type").await;
        assert_eq!(said.header("connection"), "close");
    }
    let part = "--XX\r\ncontent-disposition: form-data; name=\"cv\"; filename=\"cv.pdf\"\r\n\
                content-type: application/pdf\r\n\r\n%PDF\r\n--XX--\r\n";
    let kind = "multipart/form-data; boundary=XX";
    refused(&house, kind, part.as_bytes(), 415, "unsupported-media-type").await;
    refused(&house, kind, b"--XX\r\nno end", 400, "malformed").await;
    refused(&house, "multipart/form-data", b"--XX--", 400, "malformed").await;
    let none = request(
        "POST",
        "/v1/forms/student/submissions",
        &[],
        Body::from(ADA),
    );
    assert_problem(&house.ask(none).await, 415, "unsupported-media-type");
    for path in ["/v1/forms/student/submissions", "/f/student"] {
        let headers = [("content-type", JSON), ("content-encoding", "gzip")];
        let said = house
            .ask(request("POST", path, &headers, Body::from("\x1f\u{8b}")))
            .await;
        assert_problem(&said, 415, "unsupported-media-type");
    }
    assert_eq!(house.seqs().await, Vec::<u64>::new());
}

#[tokio::test]
async fn a_key_that_cannot_be_one_is_refused() {
    let house = House::new();
    let long = "k".repeat(256);
    for keys in [&["a", "b"][..], &[""], &[long.as_str()]] {
        let mut headers = vec![("content-type", JSON)];
        headers.extend(keys.iter().map(|key| ("idempotency-key", *key)));
        let said = house
            .ask(request("POST", "/f/student", &headers, Body::from(ADA)))
            .await;
        assert_problem(&said, 400, "bad-idempotency-key");
    }
    let own = br#"{"name":"a","email":"a@example.com","_idempotency_key":7}"#;
    refused(&house, JSON, own, 400, "bad-idempotency-key").await;
    assert_eq!(house.seqs().await, Vec::<u64>::new());
}

#[tokio::test]
async fn what_is_not_there_is_said_as_a_problem() {
    let house = House::new();
    for path in ["/f/nobody", "/v1/forms/nobody/submissions"] {
        assert_problem(&house.post_json(path, ADA).await, 404, "no-such-form");
    }
    for path in [
        "/",
        "/f",
        "/f/",
        "/v1",
        "/v2/forms",
        "/f/student/x",
        "/%ff",
        "/f/student/thanks",
    ] {
        assert_problem(&house.get(path).await, 404, "not-found");
    }
    let said = house.get("/v1/forms/student/withheld/release").await;
    assert_problem(&said, 405, "method-not-allowed");
    assert_eq!(said.header("allow"), "POST");
    let said = house
        .ask(request("PATCH", "/f/student", &[], Body::empty()))
        .await;
    assert_problem(&said, 405, "method-not-allowed");
    assert!(said.header("allow").contains("POST"), "{said:?}");
    house.retire("student");
    assert_problem(
        &house.post_json("/f/student", ADA).await,
        409,
        "form-retired",
    );
}

#[tokio::test]
async fn a_foreign_next_is_refused_before_anything_is_taken() {
    let house = House::new();
    for next in [
        "https://evil.example/",
        "//evil.example",
        "https://school.example/thanks\\r\\nx",
    ] {
        let body = format!(r#"{{"name":"a","email":"a@example.com","_next":"{next}"}}"#);
        refused(&house, JSON, body.as_bytes(), 400, "foreign-next").await;
    }
    let pairs = b"name=a&email=a%40example.com&_next=https%3A%2F%2Fevil.example%2F";
    refused(&house, PAIRS, pairs, 400, "foreign-next").await;
    assert_eq!(house.seqs().await, Vec::<u64>::new());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up() {
    let house = House::new();
    for path in ["/v1/forms/student/submissions", "/f/student"] {
        let endless = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let said = house.post_json(path, endless).await;
        assert_problem(&said, 408, "too-slow");
        assert_eq!(said.header("connection"), "close");
        let growing = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(b"[ ")));
        assert_problem(
            &house.post_json(path, Body::from_stream(growing)).await,
            413,
            "too-large",
        );
    }
}

#[tokio::test]
async fn values_are_stored_as_typed_and_never_run() {
    let house = House::new();
    for name in [
        "=cmd()",
        "<script>alert(1)</script>",
        "{{7*7}}",
        "'; drop table x; --",
    ] {
        let body = json!({ "name": name, "email": "a@example.com" }).to_string();
        let said = house.post_json("/f/student", body).await;
        assert_eq!(said.status, StatusCode::CREATED, "{said:?}");
        let record = house.read(said.header("location"), "*/*").await.json();
        assert_eq!(record["data"]["name"], name);
    }
    let table = house
        .read("/v1/forms/student/submissions", "text/csv")
        .await;
    assert!(table.text.contains(",'=cmd(),"), "{table:?}");
    assert!(
        table.text.contains(",<script>alert(1)</script>,"),
        "{table:?}"
    );

    // Line breaks stay in the data, as line feeds, and reach no header.
    let said = house
        .post_page(
            "/f/student",
            "name=a%0D%0ASet-Cookie%3A+x%3D1&email=a%40e.com",
        )
        .await;
    assert_eq!(said.status, StatusCode::SEE_OTHER, "{said:?}");
    assert!(!said.headers.contains_key("set-cookie"));
    let record = house
        .read("/v1/forms/student/submissions/5", "*/*")
        .await
        .json();
    assert_eq!(record["data"]["name"], "a\nSet-Cookie: x=1");
}
