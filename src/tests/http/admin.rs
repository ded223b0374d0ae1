//! Definitions, and who may ask for what: checked against the description of the API.

use axum::body::Body;
use axum::http::StatusCode;
use formspool::forms::DEFINITION_BYTES_MAX;
use serde_json::{Value, json};

use crate::house::{ADA, House, Said, TOKEN, request, student};

async fn admin(house: &House, method: &str, path: &str, more: &[(&str, &str)], body: &str) -> Said {
    let bearer = format!("Bearer {TOKEN}");
    let fixed = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let headers = [&fixed, more].concat();
    house
        .ask(request(method, path, &headers, Body::from(body.to_owned())))
        .await
}

#[tokio::test]
async fn every_route_that_is_described_is_served_and_guarded_as_it_says() {
    let house = House::new();
    let document = house.get("/openapi.json").await.json();
    assert_eq!(document, formspool::http::openapi());
    assert_eq!(document["openapi"], "3.1.0");
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path
            .replace("{form}", "student")
            .replace("{seq}", "1")
            .replace("{id}", "x");
        let methods: Vec<&String> = operations.as_object().unwrap().keys().collect();
        for method in ["get", "put", "post", "delete", "options", "patch"] {
            let asked = request(&method.to_uppercase(), &path, &[], Body::empty());
            let said = house.ask(asked).await;
            let name = said.header("content-type") == "application/problem+json";
            let kind = if name {
                said.json()["type"].clone()
            } else {
                Value::Null
            };
            let what = format!("{method} {path}: {said:?}");
            match operations.get(method) {
                None => {
                    assert_eq!(said.status, StatusCode::METHOD_NOT_ALLOWED, "{what}");
                    for method in &methods {
                        let allowed = said.header("allow");
                        assert!(
                            allowed.contains(&method.to_uppercase()),
                            "{allowed}: {what}"
                        );
                    }
                }
                Some(operation) if operation["security"] == json!([{ "admin": [] }]) => {
                    assert_eq!(said.status, StatusCode::UNAUTHORIZED, "{what}");
                    let wrong = [("authorization", "Bearer wrong")];
                    let asked = request(&method.to_uppercase(), &path, &wrong, Body::empty());
                    assert_eq!(
                        house.ask(asked).await.status,
                        StatusCode::UNAUTHORIZED,
                        "{what}"
                    );
                    let said = admin(&house, &method.to_uppercase(), &path, &[], "").await;
                    let status = said.status.as_u16().to_string();
                    assert!(
                        operation["responses"].get(&status).is_some(),
                        "{what}: {said:?}"
                    );
                }
                Some(operation) => {
                    assert_ne!(kind, "/problems/method-not-allowed", "{what}");
                    let status = said.status.as_u16().to_string();
                    assert!(operation["responses"].get(&status).is_some(), "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn answers_have_the_shapes_that_are_described() {
    let house = House::new();
    let bot = r#"{"name":"Bot","email":"b@example.com","_gotcha":"x"}"#;
    let receipt = house.post_json("/f/student", ADA).await.json();
    house.post_json("/f/student", bot).await;
    let path = "/v1/forms/student";
    let problem = house.post_json("/f/student", "{}").await.json();
    let pairs = [
        ("Receipt", receipt),
        ("Problem", problem),
        (
            "Submissions",
            house
                .read(&format!("{path}/submissions"), "*/*")
                .await
                .json(),
        ),
        (
            "Submission",
            house
                .read(&format!("{path}/submissions/1"), "*/*")
                .await
                .json(),
        ),
        (
            "Withheld",
            house.read(&format!("{path}/withheld"), "*/*").await.json(),
        ),
        ("Forms", house.read("/v1/forms", "*/*").await.json()),
        ("Form", house.read(path, "*/*").await.json()),
        ("Tasks", house.read("/v1/tasks", "*/*").await.json()),
        ("Status", house.read("/v1/status", "*/*").await.json()),
    ];
    let document = formspool::http::openapi();
    for (name, answer) in pairs {
        let schema = json!({
            "$ref": format!("#/components/schemas/{name}"),
            "components": document["components"],
        });
        let schema = jsonschema::validator_for(&schema).unwrap();
        let faults: Vec<String> = schema
            .iter_errors(&answer)
            .map(|fault| fault.to_string())
            .collect();
        assert_eq!(faults, Vec::<String>::new(), "{name}: {answer}");
        let described = &document["components"]["schemas"][name]["properties"];
        for member in answer.as_object().unwrap().keys() {
            let is_described = described.get(member).is_some() || name == "Status";
            assert!(is_described, "{name} has {member}");
        }
    }
}

#[tokio::test]
async fn a_definition_is_compared_before_it_is_set() {
    let house = House::new();
    let path = "/v1/forms/fresh";
    let mut form = student();
    form["name"] = json!("fresh");
    let text = form.to_string();
    assert_eq!(house.read(path, "*/*").await.status, StatusCode::NOT_FOUND);
    let said = admin(&house, "PUT", path, &[("if-match", "\"1\"")], &text).await;
    assert_eq!(said.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(said.json()["version"], 0);
    let said = admin(&house, "PUT", path, &[("if-none-match", "*")], &text).await;
    assert_eq!(
        (said.status, said.header("etag")),
        (StatusCode::CREATED, "\"1\""),
        "{said:?}"
    );
    assert_eq!(
        said.json(),
        json!({ "form": "fresh", "version": 1, "changed": true })
    );
    let said = admin(&house, "PUT", path, &[], &text).await;
    assert_eq!(
        said.json(),
        json!({ "form": "fresh", "version": 1, "changed": false })
    );

    form["title"] = json!("Other");
    let text = form.to_string();
    let said = admin(&house, "PUT", path, &[("if-none-match", "*")], &text).await;
    assert_eq!(
        (said.status, &said.json()["version"]),
        (StatusCode::CONFLICT, &json!(1))
    );
    let said = admin(&house, "PUT", path, &[("if-match", "\"7\"")], &text).await;
    assert_eq!(said.status, StatusCode::PRECONDITION_FAILED);
    let said = admin(&house, "PUT", path, &[("if-match", "\"1\"")], &text).await;
    assert_eq!(
        (said.status, said.header("etag")),
        (StatusCode::OK, "\"2\"")
    );

    let shown = house.read(path, "*/*").await;
    assert_eq!(shown.header("etag"), "\"2\"");
    let shown = shown.json();
    assert_eq!(
        (&shown["version"], &shown["is_retired"], &shown["head"]),
        (&json!(2), &json!(false), &json!(0))
    );
    assert_eq!(shown["definition"]["title"], "Other");
    // What is shown can be sent back as it is.
    let back = admin(&house, "PUT", path, &[], &shown["definition"].to_string()).await;
    assert_eq!(back.json()["changed"], false);

    let said = admin(&house, "DELETE", path, &[("if-match", "\"1\"")], "").await;
    assert_eq!(said.status, StatusCode::PRECONDITION_FAILED);
    let said = admin(&house, "DELETE", path, &[], "").await;
    assert_eq!(
        (said.status, &said.json()["changed"]),
        (StatusCode::OK, &json!(true))
    );
    assert_eq!(house.read(path, "*/*").await.json()["is_retired"], true);
    assert_eq!(
        admin(&house, "DELETE", "/v1/forms/nobody", &[], "")
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    let names = house.read("/v1/forms", "*/*").await.json();
    assert_eq!(names["forms"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_definition_that_cannot_be_used_names_all_its_faults() {
    let house = House::new();
    let mut form = student();
    form["schema"]["properties"]["name"]["pattern"] = json!("(");
    form["origins"] = json!(["nonsense"]);
    let said = admin(&house, "PUT", "/v1/forms/fresh", &[], &form.to_string()).await;
    assert_eq!(said.status, StatusCode::UNPROCESSABLE_ENTITY, "{said:?}");
    assert_eq!(said.pointers().len(), 2, "{said:?}");
    let said = admin(
        &house,
        "PUT",
        "/v1/forms/fresh",
        &[],
        &student().to_string(),
    )
    .await;
    assert_eq!(
        said.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "another name: {said:?}"
    );
    for bad in ["", "{", "[]", "{\"name\":\"fresh\",\"what\":1}"] {
        let said = admin(&house, "PUT", "/v1/forms/fresh", &[], bad).await;
        assert_eq!(
            said.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{bad}: {said:?}"
        );
    }
    let huge = " ".repeat(4 * DEFINITION_BYTES_MAX + 1);
    let said = admin(&house, "PUT", "/v1/forms/fresh", &[], &huge).await;
    assert_eq!(said.status, StatusCode::PAYLOAD_TOO_LARGE);
    let said = admin(&house, "PUT", "/v1/forms/fresh", &[("if-match", "1")], "{}").await;
    assert_eq!(said.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        house.read("/v1/forms/fresh", "*/*").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_task_is_defined_and_read_back_as_a_form_is() {
    let house = House::new();
    let path = "/v1/tasks/sheet";
    let task = json!({ "name": "sheet", "forms": ["student"], "sink": "csv" });
    assert_eq!(house.read(path, "*/*").await.status, StatusCode::NOT_FOUND);
    let text = task.to_string();
    let said = admin(&house, "PUT", path, &[("if-none-match", "*")], &text).await;
    assert_eq!(said.status, StatusCode::CREATED, "{said:?}");
    let made = said.json();
    assert_eq!(
        (&made["task"], &made["version"], &made["changed"]),
        (&json!("sheet"), &json!(1), &json!(true))
    );
    let again = admin(&house, "PUT", path, &[], &text).await;
    assert_eq!(
        (again.status, &again.json()["changed"]),
        (StatusCode::OK, &json!(false))
    );
    let stale = admin(&house, "PUT", path, &[("if-match", "\"7\"")], &text).await;
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED);
    let shown = house.read(path, "*/*").await;
    assert_eq!(shown.header("etag"), "\"1\"");
    assert_eq!(shown.json()["definition"]["sink"], "csv");
    assert_eq!(
        house.read(&format!("{path}/parked"), "*/*").await.json()["parked"],
        json!([])
    );
    let none = house.read("/v1/tasks/nobody/parked", "*/*").await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    let other = admin(&house, "PUT", "/v1/tasks/other", &[], &text).await;
    assert_eq!(
        other.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "another name: {other:?}"
    );
}

#[tokio::test]
async fn a_replaced_token_ends_at_once() {
    let house = House::new();
    for bad in [
        "",
        "{}",
        r#"{"hash":"sha256:00"}"#,
        r#"{"hash":"x","more":1}"#,
    ] {
        let said = admin(&house, "PUT", "/v1/token", &[], bad).await;
        assert_eq!(said.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(house.read("/v1/forms", "*/*").await.status, StatusCode::OK);
    let hash = format!("sha256:{}", "0".repeat(64));
    let body = json!({ "hash": hash }).to_string();
    let said = admin(&house, "PUT", "/v1/token", &[], &body).await;
    assert_eq!(said.json(), json!({ "token": "admin", "changed": true }));
    assert_eq!(
        house.read("/v1/forms", "*/*").await.status,
        StatusCode::UNAUTHORIZED
    );
}
