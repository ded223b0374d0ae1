//! What a person asks of tasks: pause, seek, replay, delete, and what was set aside.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};
use storage::{
    Advance, Command, FormId, Horizon, Index, Outcome, Park, ParkedRecord, Position, Seq, SetLevel,
    Slot, Term,
};

use crate::house::{ADA, House, Said, TOKEN, request};

async fn ask(house: &House, method: &str, path: &str, body: &str) -> Said {
    let bearer = format!("Bearer {TOKEN}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let request = request(method, path, &headers, Body::from(body.to_owned()));
    house.ask(request).await
}

async fn define(house: &House, name: &str, task: &Value) -> Said {
    let path = format!("/v1/tasks/{name}");
    ask(house, "PUT", &path, &task.to_string()).await
}

/// A house with the task `sheet` over `student`, at the level that knows how to seek.
async fn with_task() -> House {
    let house = House::new();
    house.log.apply(&Command::SetLevel(SetLevel { level: 2 }));
    let task = json!({ "name": "sheet", "forms": ["student"], "sink": "csv" });
    let said = define(&house, "sheet", &task).await;
    assert_eq!(said.status, StatusCode::CREATED, "{said:?}");
    house
}

async fn task(house: &House) -> Value {
    house.read("/v1/tasks/sheet", "*/*").await.json()
}

/// Parks what looks like record `seq`.
async fn park(house: &House, seq: u64) -> Position {
    let incarnation = Index(task(house).await["incarnation"].as_u64().unwrap());
    let position = Position {
        index: Index(1),
        slot: Slot(u32::try_from(seq).unwrap()),
    };
    let outcome = house.log.apply(&Command::Park(Park {
        task: "sheet".to_owned(),
        incarnation,
        form: FormId(1),
        position,
        reason: "too large".to_owned(),
        answer: "413".to_owned(),
        record: ParkedRecord {
            id: [7; 16],
            seq: Seq(seq),
            term: Term(1),
            received_ms: 1_700_000_000_000,
            form_version: 1,
            body: "{\"a\":1}".into(),
        },
    }));
    assert_eq!(outcome, Outcome::Done);
    position
}

#[tokio::test]
async fn answers_about_tasks_have_the_shapes_that_are_described() {
    let house = with_task().await;
    park(&house, 1).await;
    let path = "/v1/tasks/sheet";
    let post = async |what: &str, body: &str| {
        let said = ask(&house, "POST", &format!("{path}/{what}"), body).await;
        said.json()
    };
    let answers = [
        ("Task", task(&house).await),
        (
            "Parked",
            house.read(&format!("{path}/parked"), "*/*").await.json(),
        ),
        ("TaskState", post("pause", "").await),
        ("TaskSeek", post("seek", r#"{"to":"now"}"#).await),
        ("Replayed", post("parked/replay", "").await),
        ("TaskChange", ask(&house, "DELETE", path, "").await.json()),
    ];
    let document = formspool::http::openapi();
    for (name, answer) in answers {
        let schema = json!({
            "$ref": format!("#/components/schemas/{name}"),
            "components": document["components"],
        });
        let schema = jsonschema::validator_for(&schema).unwrap();
        let faults = schema.iter_errors(&answer).map(|fault| fault.to_string());
        assert_eq!(
            faults.collect::<Vec<_>>(),
            Vec::<String>::new(),
            "{name}: {answer}"
        );
        let described = &document["components"]["schemas"][name]["properties"];
        for member in answer.as_object().unwrap().keys() {
            assert_ne!(described[member], Value::Null, "{name} has {member}");
        }
    }
}

#[tokio::test]
async fn a_task_is_paused_and_resumed_in_the_life_that_it_has() {
    let house = with_task().await;
    let before = task(&house).await;
    for (what, state, changed) in [
        ("pause", "paused", true),
        ("pause", "paused", false),
        ("resume", "running", true),
    ] {
        let said = ask(&house, "POST", &format!("/v1/tasks/sheet/{what}"), "").await;
        assert_eq!(said.status, StatusCode::OK, "{said:?}");
        let said = said.json();
        assert_eq!(
            (&said["state"], &said["changed"]),
            (&json!(state), &json!(changed))
        );
        assert_eq!(task(&house).await["state"], state);
        assert_eq!(said["incarnation"], before["incarnation"]);
    }
    let said = ask(&house, "POST", "/v1/tasks/nobody/pause", "").await;
    assert_eq!(said.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_task_with_something_left_is_deleted_only_by_who_says_so() {
    let house = with_task().await;
    let path = "/v1/tasks/sheet";
    for (left, words) in [
        (Some(3), "3 records"),
        (Some(1), "one record"),
        (None, "cannot tell"),
    ] {
        *house.left.lock().unwrap() = left;
        let said = ask(&house, "DELETE", path, "").await;
        assert_eq!(said.status, StatusCode::CONFLICT, "{said:?}");
        assert!(
            said.json()["detail"].as_str().unwrap().contains(words),
            "{said:?}"
        );
    }
    *house.left.lock().unwrap() = Some(0);
    park(&house, 1).await;
    let said = ask(&house, "DELETE", path, "").await;
    assert_eq!(
        said.status,
        StatusCode::CONFLICT,
        "set aside is not delivered: {said:?}"
    );
    let said = ask(&house, "DELETE", &format!("{path}?abandon=maybe"), "").await;
    assert_eq!(said.status, StatusCode::BAD_REQUEST);
    let said = ask(&house, "DELETE", &format!("{path}?abandon=true"), "").await;
    assert_eq!(
        (said.status, &said.json()["changed"]),
        (StatusCode::OK, &json!(true))
    );
    assert_eq!(
        ask(&house, "DELETE", path, "").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_task_that_has_delivered_all_is_deleted_and_made_again_in_another_life() {
    let house = with_task().await;
    let first = task(&house).await;
    let said = ask(&house, "DELETE", "/v1/tasks/sheet", "").await;
    assert_eq!(said.status, StatusCode::OK, "{said:?}");
    let again = json!({ "name": "sheet", "forms": ["student"], "sink": "csv" });
    define(&house, "sheet", &again).await;
    let second = task(&house).await;
    assert!(
        first["incarnation"].as_u64() < second["incarnation"].as_u64(),
        "{second}"
    );
}

#[tokio::test]
async fn what_was_set_aside_is_shown_and_sent_once_more() {
    let house = with_task().await;
    let path = "/v1/tasks/sheet/parked";
    for seq in 1..=3 {
        park(&house, seq).await;
    }
    let parked = house.read(path, "*/*").await.json();
    let first = &parked["parked"][0];
    assert_eq!(
        (&first["form"], &first["seq"]),
        (&json!("student"), &json!(1))
    );
    assert_eq!(first["id"], "07070707-0707-0707-0707-070707070707");
    assert_eq!(
        (&first["reason"], &first["answer"]),
        (&json!("too large"), &json!("413"))
    );
    assert_eq!(first["data"], json!({ "a": 1 }));

    let said = ask(&house, "POST", &format!("{path}/1:2/replay"), "").await;
    assert_eq!(
        said.json(),
        json!({ "task": "sheet", "replayed": 1, "more": false })
    );
    for nothing in ["1:2", "9:9", "x"] {
        let said = ask(&house, "POST", &format!("{path}/{nothing}/replay"), "").await;
        assert_eq!(said.status, StatusCode::NOT_FOUND, "{nothing}: {said:?}");
    }
    let said = ask(&house, "POST", &format!("{path}/replay"), "").await;
    assert_eq!(
        said.json(),
        json!({ "task": "sheet", "replayed": 2, "more": false })
    );
    assert_eq!(house.read(path, "*/*").await.json()["parked"], json!([]));
    let said = ask(&house, "POST", "/v1/tasks/nobody/parked/replay", "").await;
    assert_eq!(said.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn no_request_replays_more_than_a_thousand() {
    let house = with_task().await;
    for seq in 1..=1001 {
        park(&house, seq).await;
    }
    let path = "/v1/tasks/sheet/parked/replay";
    let said = ask(&house, "POST", path, "").await.json();
    assert_eq!(
        (&said["replayed"], &said["more"]),
        (&json!(1000), &json!(true))
    );
    let said = ask(&house, "POST", path, "").await.json();
    assert_eq!(
        (&said["replayed"], &said["more"]),
        (&json!(1), &json!(false))
    );
}

#[tokio::test]
async fn a_seek_begins_a_new_life_where_it_is_told() {
    let house = with_task().await;
    for _ in 0..3 {
        house.post_json("/f/student", ADA).await;
    }
    let end = house
        .read("/v1/forms/student/submissions/3", "*/*")
        .await
        .json();
    let end = end["index"].as_u64().unwrap();
    let mut life = task(&house).await["incarnation"].as_u64().unwrap();
    let before_second = house
        .read("/v1/forms/student/submissions/2", "*/*")
        .await
        .json();
    let before_second = format!(
        "{}:{}",
        before_second["index"].as_u64().unwrap() - 1,
        u32::MAX
    );
    let cases = [
        ("seek", json!({ "to": "beginning" }), "0:0".to_owned()),
        ("replay", json!({ "from": "beginning" }), "0:0".to_owned()),
        (
            "seek",
            json!({ "to": { "form": "student", "seq": 2 } }),
            before_second,
        ),
        (
            "replay",
            json!({ "from": { "position": "2:1" } }),
            "2:1".to_owned(),
        ),
    ];
    for (what, body, position) in cases {
        let path = format!("/v1/tasks/sheet/{what}");
        let said = ask(&house, "POST", &path, &body.to_string()).await;
        assert_eq!(said.status, StatusCode::OK, "{body}: {said:?}");
        let said = said.json();
        assert_eq!(
            (&said["position"], &said["replay"]),
            (&json!(position), &json!(what == "replay"))
        );
        let now = task(&house).await["incarnation"].as_u64().unwrap();
        assert_eq!(said["incarnation"], now);
        assert!(life < now, "{body}: life {now} behind {life}");
        life = now;
    }
    let said = ask(&house, "POST", "/v1/tasks/sheet/seek", r#"{"to":"now"}"#)
        .await
        .json();
    let now: u64 = said["position"]
        .as_str()
        .unwrap()
        .split(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(now >= end, "{said}");
}

#[tokio::test]
async fn what_was_delivered_is_marked_by_a_replay_alone() {
    let house = with_task().await;
    house.post_json("/f/student", ADA).await;
    for (what, member, is_marked) in [("seek", "to", false), ("replay", "from", true)] {
        let cursor = || house.log.view().cursor("sheet", None).unwrap().unwrap();
        let to = Position {
            index: cursor().incarnation,
            slot: Slot(0),
        };
        let outcome = house.log.apply(&Command::Advance(Advance {
            task: "sheet".to_owned(),
            incarnation: cursor().incarnation,
            form: None,
            from: cursor().position,
            to,
        }));
        assert_eq!(outcome, Outcome::Done);
        let body = json!({ member: "beginning" }).to_string();
        let said = ask(&house, "POST", &format!("/v1/tasks/sheet/{what}"), &body).await;
        assert_eq!(said.status, StatusCode::OK, "{said:?}");
        let upto = if is_marked { to } else { Position::default() };
        assert_eq!(cursor().replay_upto, upto, "{what}");
    }
}

#[tokio::test]
async fn a_place_that_is_none_is_refused_in_words() {
    let house = with_task().await;
    house.post_json("/f/student", ADA).await;
    let cases = [
        ("", StatusCode::BAD_REQUEST),
        ("{}", StatusCode::BAD_REQUEST),
        (r#"{"from":"now"}"#, StatusCode::BAD_REQUEST),
        (r#"{"to":"yesterday"}"#, StatusCode::BAD_REQUEST),
        (r#"{"to":{"position":"x"}}"#, StatusCode::BAD_REQUEST),
        (r#"{"to":{"position":"99999:0"}}"#, StatusCode::BAD_REQUEST),
        (
            r#"{"to":{"form":"student","seq":2}}"#,
            StatusCode::BAD_REQUEST,
        ),
        (
            r#"{"to":{"form":"student","seq":0}}"#,
            StatusCode::BAD_REQUEST,
        ),
        (
            r#"{"to":{"form":"student","seq":1,"x":1}}"#,
            StatusCode::BAD_REQUEST,
        ),
        (r#"{"to":{"form":"nobody","seq":1}}"#, StatusCode::NOT_FOUND),
    ];
    for (body, status) in cases {
        let said = ask(&house, "POST", "/v1/tasks/sheet/seek", body).await;
        assert_eq!(said.status, status, "{body}: {said:?}");
        assert_ne!(said.json()["detail"], Value::Null, "{body}");
    }
    let said = ask(&house, "POST", "/v1/tasks/nobody/seek", r#"{"to":"now"}"#).await;
    assert_eq!(said.status, StatusCode::NOT_FOUND);
    house.define(&{
        let mut other = crate::house::student();
        other["name"] = json!("other");
        other
    });
    let foreign = r#"{"to":{"form":"other","seq":1}}"#;
    let said = ask(&house, "POST", "/v1/tasks/sheet/seek", foreign).await;
    assert!(said.text.contains("does not move form"), "{said:?}");
}

#[tokio::test]
async fn a_replay_of_what_the_log_has_let_go_names_the_oldest_that_is_there() {
    let house = with_task().await;
    for _ in 0..3 {
        house.post_json("/f/student", ADA).await;
    }
    let second = house
        .read("/v1/forms/student/submissions/2", "*/*")
        .await
        .json();
    let index = second["index"].as_u64().unwrap();
    let outcome = house.log.apply(&Command::Horizon(Horizon {
        index: Index(index),
    }));
    assert_eq!(outcome, Outcome::Done);
    let path = "/v1/tasks/sheet/replay";
    let said = ask(
        &house,
        "POST",
        path,
        r#"{"from":{"form":"student","seq":1}}"#,
    )
    .await;
    assert_eq!(said.status, StatusCode::GONE, "{said:?}");
    assert_eq!(said.json()["oldest_seq"], 3);
    let said = ask(&house, "POST", path, r#"{"from":{"position":"2:0"}}"#).await;
    assert_eq!(said.status, StatusCode::GONE, "{said:?}");
    let oldest = said.json()["oldest_position"].clone();
    assert_eq!(oldest, format!("{index}:{}", u32::MAX));
    let from = json!({ "from": { "position": oldest } }).to_string();
    assert_eq!(
        ask(&house, "POST", path, &from).await.status,
        StatusCode::OK
    );
    let said = ask(&house, "POST", path, r#"{"from":"beginning"}"#)
        .await
        .json();
    assert_eq!(said["position"], oldest);
}

#[tokio::test]
async fn nothing_is_sought_while_a_member_may_not_know_how() {
    let house = House::new();
    let task = json!({ "name": "sheet", "forms": ["student"], "sink": "csv" });
    define(&house, "sheet", &task).await;
    let said = ask(&house, "POST", "/v1/tasks/sheet/seek", r#"{"to":"now"}"#).await;
    assert_eq!(said.status, StatusCode::SERVICE_UNAVAILABLE, "{said:?}");
    assert_ne!(said.header("retry-after"), "");
    assert_eq!(said.json()["type"], "/problems/older-member");
}

#[tokio::test]
async fn a_changed_task_goes_on_in_its_life_unless_it_leads_elsewhere() {
    let house = with_task().await;
    let first = task(&house).await;
    let mut change = json!({
        "name": "sheet", "forms": ["student"], "sink": "csv", "on_poison": "stop", "start": "now",
    });
    let said = define(&house, "sheet", &change).await;
    assert_eq!(
        (said.status, &said.json()["version"]),
        (StatusCode::OK, &json!(2)),
        "{said:?}"
    );
    assert_eq!(said.json()["incarnation"], first["incarnation"]);
    let kept = task(&house).await;
    assert_eq!(kept["incarnation"], first["incarnation"]);
    assert_eq!(kept["definition"]["on_poison"], "stop");
    let said = define(&house, "sheet", &change).await;
    assert_eq!(said.json()["changed"], false);
    change["csv"] = json!({ "path": "elsewhere-{form}.csv" });
    define(&house, "sheet", &change).await;
    let anew = task(&house).await;
    assert!(
        first["incarnation"].as_u64() < anew["incarnation"].as_u64(),
        "{anew}"
    );
}
