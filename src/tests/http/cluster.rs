//! What the doors say of a cluster, and of a node that is behind the others.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};
use storage::{Command, DefineForm, Expect};

use crate::house::{ADA, House, Said, TOKEN, request, student};

async fn ask(house: &House, method: &str, path: &str, body: &str) -> Said {
    let bearer = format!("Bearer {TOKEN}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let request = request(method, path, &headers, Body::from(body.to_owned()));
    house.ask(request).await
}

/// A form that another node has defined already.
fn late(house: &House) {
    let mut form = student();
    form["name"] = json!("late");
    let command = DefineForm {
        name: "late".to_owned(),
        expect: Expect::Any,
        definition: form.to_string().into(),
    };
    let mut elsewhere = house.behind.elsewhere.lock().unwrap();
    elsewhere.push(Command::DefineForm(command));
}

#[tokio::test]
async fn an_operator_asks_the_cluster_and_is_told_what_cannot_be_done() {
    let house = House::new();
    let said = ask(&house, "POST", "/v1/cluster/transfer", r#"{"to":2}"#).await;
    assert_eq!(
        (said.status, said.json()),
        (StatusCode::OK, json!({ "leader": 2 }))
    );
    for nobody_named in ["{}", ""] {
        let said = ask(&house, "POST", "/v1/cluster/transfer", nobody_named).await;
        assert_eq!(said.status, StatusCode::CONFLICT, "{said:?}");
        assert_eq!(said.json()["detail"], "nobody else can lead");
    }
    let said = ask(&house, "POST", "/v1/cluster/remove", r#"{"node":3}"#).await;
    assert_eq!(
        (said.status, said.json()),
        (StatusCode::OK, json!({ "removed": 3 }))
    );
    let said = ask(&house, "POST", "/v1/cluster/accept-tail-loss", "").await;
    assert_eq!(said.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_ne!(said.header("retry-after"), "");
    for (path, bad) in [
        ("transfer", r#"{"too":2}"#),
        ("transfer", r#"{"to":"b"}"#),
        ("remove", "{}"),
        ("remove", ""),
        ("remove", r#"{"node":-1}"#),
    ] {
        let said = ask(&house, "POST", &format!("/v1/cluster/{path}"), bad).await;
        assert_eq!(said.status, StatusCode::BAD_REQUEST, "{path} {bad}");
    }
    assert!(house.read("/v1/cluster", "*/*").await.json()["members"].is_array());
    assert_eq!(
        house.get("/v1/cluster").await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn the_policy_is_changed_for_all_and_receipts_say_so() {
    let house = House::new();
    let set = async |policy: &str| {
        let body = json!({ "policy": policy }).to_string();
        ask(&house, "PUT", "/v1/cluster/policy", &body).await
    };
    assert_eq!(
        set("interval:50ms").await.json(),
        json!({ "policy": "interval:50ms" })
    );
    let receipt = house.post_json("/f/student", ADA).await.json();
    assert_eq!(receipt["durability"], "interval:50ms");
    assert_eq!(set("always").await.json(), json!({ "policy": "fsync" }));
    assert_eq!(set("sometimes").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_plain_reading_says_how_old_it_is_and_a_consistent_one_is_not() {
    let house = House::new();
    let receipt = house.post_json("/f/student", ADA).await.json();
    let list = "/v1/forms/student/submissions";
    let one = "/v1/forms/student/submissions/1";
    for path in [list, one, "/v1/forms", "/v1/forms/student", "/v1/status"] {
        let said = house.read(path, "application/json").await;
        assert_eq!(said.header("formspool-age-ms"), "250", "{path}");
        let applied: u64 = said.header("formspool-applied").parse().unwrap();
        assert!(applied >= receipt["index"].as_u64().unwrap(), "{path}");
    }
    for path in [list, one] {
        let path = format!("{path}?consistent=true");
        let said = house.read(&path, "application/json").await;
        assert_eq!(said.header("formspool-age-ms"), "0", "{path}");
        assert_ne!(said.header("formspool-applied"), "", "{path}");
    }
    house.behind.is_cut_off.store(true, Ordering::Relaxed);
    for path in [list, one] {
        assert_eq!(
            house.read(path, "*/*").await.status,
            StatusCode::OK,
            "{path}"
        );
        let said = house.read(&format!("{path}?consistent=true"), "*/*").await;
        assert_eq!(said.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(said.json()["type"], "/problems/no-quorum");
        assert_ne!(said.header("retry-after"), "");
        let odd = house.read(&format!("{path}?consistent=maybe"), "*/*").await;
        assert_eq!(odd.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn what_another_node_acknowledged_is_found_by_one_that_is_only_behind() {
    let house = House::new();
    late(&house);
    let said = house.post_json("/f/late", ADA).await;
    assert_eq!(said.status, StatusCode::CREATED, "{said:?}");
    let never = house.post_json("/f/never", ADA).await;
    assert_eq!(never.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_receipt_that_may_yet_arrive_is_not_denied() {
    let house = House::new();
    let receipt = house.post_json("/f/student", ADA).await.json();
    let id = receipt["id"].as_str().unwrap();
    let shown = house.get(&format!("/f/student/thanks/{id}?seq=1")).await;
    assert_eq!(shown.status, StatusCode::OK);
    let later = format!("/f/student/thanks/{id}?seq=2");
    assert_eq!(house.get(&later).await.status, StatusCode::NOT_FOUND);
    house.behind.is_cut_off.store(true, Ordering::Relaxed);
    let said = house.get(&later).await;
    assert_eq!(said.status, StatusCode::SERVICE_UNAVAILABLE, "{said:?}");
    let detail = said.json()["detail"].clone();
    assert!(
        matches!(&detail, Value::String(text) if text.contains("being copied")),
        "{detail}"
    );
    // The one that is here needs nobody's word.
    let shown = house.get(&format!("/f/student/thanks/{id}?seq=1")).await;
    assert_eq!(shown.status, StatusCode::OK);
}
