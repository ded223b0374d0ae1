//! What is taken: three shapes of a body, keys of two kinds, origins.

use axum::body::Body;
use axum::http::StatusCode;
use formspool::http::HttpConfig;
use serde_json::json;

use crate::house::{ADA, FORM_KEY, House, TOKEN, keyed, request};

#[tokio::test]
async fn a_document_gets_its_receipt_and_is_read_back() {
    let house = House::new();
    for path in ["/f/student", "/v1/forms/student/submissions"] {
        let said = house.post_json(path, ADA).await;
        assert_eq!(said.status, StatusCode::CREATED, "{said:?}");
        assert_eq!(said.header("content-type"), "application/json");
        assert_eq!(said.header("x-content-type-options"), "nosniff");
        let receipt = said.json();
        assert_eq!(receipt["form"], "student");
        assert_eq!(receipt["received_at"], "2023-11-14T22:13:20.005Z");
        assert_eq!(
            (&receipt["durability"], &receipt["replicas"]),
            (&json!("fsync"), &json!("1/1"))
        );
        assert_eq!(receipt["duplicate"], false);
        let place = said.header("location").to_owned();
        let record = house.read(&place, "*/*").await.json();
        for member in ["id", "seq", "received_at", "index"] {
            assert_eq!(record[member], receipt[member], "{member}");
        }
        assert_eq!(
            record["data"],
            json!({ "name": "Ada", "email": "ada@example.com" })
        );
        assert_eq!(record["form_version"], 1);
        assert_eq!(record["tasks"][0]["task"], "student-sheet");
    }
    assert_eq!(house.seqs().await, [1, 2]);
}

#[tokio::test]
async fn pairs_and_parts_mean_the_same_document() {
    let house = House::new();
    let expected = json!({
        "name": "Ada L", "email": "ada@example.com", "age": 36, "tags": ["x", "y"],
    });
    let pairs = "name=Ada+L&email=ada%40example.com&age=36&tags=x&tags=y&_gotcha=&_next=";
    let part = |name: &str, value: &str| {
        format!("--XX\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let parts = [
        part("name", "Ada L"),
        part("email", "ada@example.com"),
        part("age", "36"),
        part("tags", "x"),
        part("tags", "y"),
        "--XX--\r\n".to_owned(),
    ]
    .concat();
    for (kind, body) in [
        ("application/x-www-form-urlencoded", pairs.to_owned()),
        ("multipart/form-data; boundary=XX", parts),
    ] {
        for path in ["/f/student", "/v1/forms/student/submissions"] {
            let headers = [("content-type", kind), ("accept", "application/json")];
            let said = house
                .ask(request("POST", path, &headers, Body::from(body.clone())))
                .await;
            assert_eq!(said.status, StatusCode::CREATED, "{kind} {path}: {said:?}");
            let record = house.read(said.header("location"), "*/*").await.json();
            assert_eq!(record["data"], expected, "{kind}");
        }
    }
}

#[tokio::test]
async fn the_same_key_gives_the_first_receipt_again() {
    let house = House::new();
    let send = async |body: &str| {
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", "k1"),
        ];
        let body = Body::from(body.to_owned());
        house
            .ask(request(
                "POST",
                "/v1/forms/student/submissions",
                &headers,
                body,
            ))
            .await
    };
    let mut first = send(ADA).await.json();
    let again = send(ADA).await;
    assert_eq!(again.status, StatusCode::CREATED);
    first["duplicate"] = json!(true);
    assert_eq!(again.json(), first);
    let other = send(r#"{"name":"Eve","email":"eve@example.com"}"#).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(other.json()["type"], "/problems/key-reused");
    assert_eq!(house.seqs().await, [1]);
}

#[tokio::test]
async fn a_form_with_a_key_asks_for_it() {
    let house = House::new();
    house.define(&keyed());
    let send = async |headers: &[(&str, &str)], body: &str| {
        let kind = [("content-type", "application/json")];
        let headers = [&kind, headers].concat();
        house
            .ask(request(
                "POST",
                "/f/keyed",
                &headers,
                Body::from(body.to_owned()),
            ))
            .await
    };
    let (key, token) = (format!("Bearer {FORM_KEY}"), format!("Bearer {TOKEN}"));
    for headers in [
        &[][..],
        &[("authorization", "Bearer wrong")],
        &[("authorization", "Basic x")],
    ] {
        let said = send(headers, ADA).await;
        assert_eq!(said.status, StatusCode::UNAUTHORIZED, "{headers:?}");
        assert!(said.header("www-authenticate").starts_with("Bearer"));
        assert!(
            !said.text.contains("wrong"),
            "a credential is never answered"
        );
    }
    let with_field = format!(r#"{{"_key":"{FORM_KEY}","name":"Ada","email":"a@example.com"}}"#);
    assert_eq!(
        send(&[("authorization", &key)], ADA).await.status,
        StatusCode::CREATED
    );
    assert_eq!(
        send(&[("authorization", &token)], ADA).await.status,
        StatusCode::CREATED
    );
    let said = send(&[], &with_field).await;
    assert_eq!(said.status, StatusCode::CREATED, "{said:?}");
    let record = house.read(said.header("location"), "*/*").await;
    assert!(!record.text.contains(FORM_KEY), "the key is no data");

    let pairs = format!("_key={FORM_KEY}&name=Ada&email=a%40example.com");
    assert_eq!(
        house.post_page("/f/keyed", &pairs).await.status,
        StatusCode::SEE_OTHER
    );
    let page = house
        .post_page("/f/keyed", "name=Ada&email=a%40example.com")
        .await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(
        page.text.contains("value=\"Ada\""),
        "what was typed is there again"
    );
    // The form's key opens nothing but its form.
    let headers = [("authorization", key.as_str())];
    let said = house
        .ask(request(
            "GET",
            "/v1/forms/keyed/submissions",
            &headers,
            Body::empty(),
        ))
        .await;
    assert_eq!(said.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn only_listed_sites_may_submit_from_a_browser() {
    let house = House::new();
    let send = async |origin: &str, method: &str| {
        let headers = [
            ("content-type", "application/json"),
            ("origin", origin),
            ("host", "forms.example:8080"),
        ];
        house
            .ask(request(method, "/f/student", &headers, Body::from(ADA)))
            .await
    };
    for (origin, allowed) in [
        ("https://school.example", Some("https://school.example")),
        ("http://forms.example:8080", Some("")),
        ("https://evil.example", None),
        ("https://school.example.evil.example", None),
        ("null", None),
    ] {
        for method in ["POST", "OPTIONS"] {
            let said = send(origin, method).await;
            match allowed {
                Some(told) => {
                    assert!(said.status.is_success(), "{origin} {method}: {said:?}");
                    assert_eq!(said.header("access-control-allow-origin"), told, "{origin}");
                }
                None => assert_eq!(said.status, StatusCode::FORBIDDEN, "{origin} {method}"),
            }
        }
    }
    let asked = send("https://school.example", "OPTIONS").await;
    assert_eq!(asked.status, StatusCode::NO_CONTENT);
    assert!(
        asked
            .header("access-control-allow-headers")
            .contains("idempotency-key")
    );
    assert_eq!(house.seqs().await, [1, 2]);

    // A script may read why it was refused.
    let headers = [
        ("content-type", "application/json"),
        ("origin", "https://school.example"),
    ];
    let said = house
        .ask(request("POST", "/f/student", &headers, Body::from("{}")))
        .await;
    assert_eq!(said.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        said.header("access-control-allow-origin"),
        "https://school.example"
    );
}

#[tokio::test]
async fn a_page_behind_a_proxy_that_asks_by_another_name_may_submit() {
    let house = House::with(HttpConfig {
        public_url: "https://forms.example".to_owned(),
        ..HttpConfig::default()
    });
    for (origin, status) in [
        ("https://forms.example", StatusCode::CREATED),
        ("http://forms.example", StatusCode::FORBIDDEN),
        ("https://evil.example", StatusCode::FORBIDDEN),
    ] {
        let headers = [
            ("content-type", "application/json"),
            ("origin", origin),
            ("host", "10.0.0.7:8080"),
        ];
        let sent = request("POST", "/f/student", &headers, Body::from(ADA));
        assert_eq!(house.ask(sent).await.status, status, "{origin}");
    }
}

#[tokio::test]
async fn what_the_trap_catches_is_withheld_until_a_person_releases_it() {
    let house = House::new();
    let bot = r#"{"name":"Bot","email":"bot@example.com","_gotcha":"http://x"}"#;
    let receipt = house.post_json("/f/student", bot).await;
    assert_eq!(
        (receipt.status, &receipt.json()["seq"]),
        (StatusCode::CREATED, &json!(null))
    );
    house.post_json("/f/student", ADA).await;
    assert_eq!(house.seqs().await, [1], "in no reader's sight");

    let list = house.read("/v1/forms/student/withheld", "*/*").await.json();
    assert_eq!(list["withheld"][0]["id"], receipt.json()["id"]);
    assert_eq!(list["withheld"][0]["data"]["name"], "Bot");
    let position = list["withheld"][0]["position"].as_str().unwrap();
    assert_eq!(list["next"], position);
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    for released in [1, 0] {
        let body = Body::from(json!({ "positions": [position] }).to_string());
        let path = "/v1/forms/student/withheld/release";
        let said = house.ask(request("POST", path, &headers, body)).await;
        assert_eq!(
            said.json(),
            json!({ "released": released }),
            "the second time changes nothing"
        );
    }
    assert_eq!(house.seqs().await, [1, 2]);
    let record = house
        .read("/v1/forms/student/submissions/2", "*/*")
        .await
        .json();
    for member in ["id", "received_at", "index"] {
        assert_eq!(record[member], receipt.json()[member], "{member}");
    }
    for bad in [
        "{}",
        "[]",
        r#"{"positions":["x"]}"#,
        r#"{"positions":[],"more":1}"#,
    ] {
        let path = "/v1/forms/student/withheld/release";
        let said = house
            .ask(request("POST", path, &headers, Body::from(bad)))
            .await;
        assert_eq!(said.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}
