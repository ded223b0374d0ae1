//! Many submissions in one request.

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use formspool::http::HttpConfig;
use futures::stream;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::sync::mpsc;
use tower::ServiceExt;

use crate::house::{ADA, House, Said, keyed, request};

const PATH: &str = "/v1/forms/student/submissions";
const KIND: (&str, &str) = ("content-type", "application/x-ndjson");

async fn send(house: &House, key: Option<&str>, body: impl Into<Body>) -> Said {
    let mut headers = vec![KIND];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    house
        .ask(request("POST", PATH, &headers, body.into()))
        .await
}

#[tokio::test]
async fn each_line_has_its_answer_in_order_and_what_is_valid_is_taken() {
    let house = House::new();
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(300 << 10));
    let lines = [ADA, "{", "", "{\"name\":7}", ADA, &long, "  \r", ADA].join("\n");
    let said = send(&house, None, lines).await;
    assert_eq!(said.status, StatusCode::OK);
    assert_eq!(said.header("content-type"), "application/x-ndjson");
    let answers = said.lines();
    assert_eq!(answers.len(), 6, "{said:?}");
    for (at, seq) in [(0, 1), (3, 2), (5, 3)] {
        assert_eq!(answers[at]["seq"], seq);
        assert_eq!(answers[at]["duplicate"], false);
    }
    for (at, status, line) in [(1, 400, 2), (2, 422, 3), (4, 413, 5)] {
        assert_eq!(
            (&answers[at]["status"], &answers[at]["line"]),
            (&json!(status), &json!(line))
        );
    }
    assert_eq!(answers[2]["errors"][0]["pointer"], "/email");
    assert_eq!(house.seqs().await, [1, 2, 3]);
}

#[tokio::test]
async fn a_request_sent_again_whole_gets_the_first_receipts() {
    let house = House::new();
    let own = r#"{"name":"Own","email":"o@example.com","_idempotency_key":"mine"}"#;
    let mut lines = vec![ADA.to_owned(); 5000];
    lines[2] = own.to_owned();
    lines[3] = "{".to_owned();
    let lines = lines.join("\n");
    let first = send(&house, Some("batch"), lines.clone()).await.lines();
    let again = send(&house, Some("batch"), lines).await.lines();
    assert_eq!((first.len(), again.len()), (5000, 5000));
    for (mut first, again) in first.into_iter().zip(again) {
        if first.get("duplicate").is_some() {
            first["duplicate"] = json!(true);
        }
        assert_eq!(first, again);
    }
    assert_eq!(house.seqs().await.len(), 4999);
    // A line's key is the request's key and its number; its own key is its own.
    let headers = |key| {
        [
            ("content-type", "application/json"),
            ("idempotency-key", key),
        ]
    };
    let one = house
        .ask(request("POST", PATH, &headers("batch#1"), Body::from(ADA)))
        .await;
    assert_eq!(
        (&one.json()["seq"], &one.json()["duplicate"]),
        (&json!(1), &json!(true))
    );
    let other = house
        .ask(request("POST", PATH, &headers("batch#1"), Body::from("{}")))
        .await;
    assert_eq!(other.json()["type"], "/problems/key-reused");
    let one = house
        .ask(request("POST", PATH, &headers("mine"), Body::from(own)))
        .await;
    assert_eq!(one.json()["seq"], 3);
}

#[tokio::test]
async fn answers_come_while_lines_are_still_on_their_way() {
    let house = House::new();
    let (sender, receiver) = mpsc::channel::<&'static str>(1);
    let pieces = stream::unfold(receiver, async |mut receiver| {
        let piece = receiver.recv().await?;
        Some((
            Ok::<_, std::io::Error>(Bytes::from_static(piece.as_bytes())),
            receiver,
        ))
    });
    let asked = request("POST", PATH, &[KIND], Body::from_stream(pieces));
    let response = house.router.clone().oneshot(asked).await.unwrap();
    let mut answers = response.into_body();
    sender
        .send("{\"name\":\"Ada\",\"email\":\"a@e.com\"}\n{\"na")
        .await
        .unwrap();
    let first = answers.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(
        first.starts_with(b"{\"id\"") && first.ends_with(b"\n"),
        "{first:?}"
    );
    sender
        .send("me\":\"Bob\",\"email\":\"b@e.com\"}")
        .await
        .unwrap();
    drop(sender);
    let rest = answers.collect().await.unwrap().to_bytes();
    assert!(
        rest.starts_with(b"{\"id\""),
        "the last line needs no end: {rest:?}"
    );
    assert_eq!(house.seqs().await, [1, 2]);
}

#[tokio::test]
async fn a_body_that_breaks_off_loses_its_last_line_only() {
    let house = House::new();
    let pieces = vec![
        Ok(format!("{ADA}\n{ADA}")), // whole by chance: nobody said that it ended
        Err(std::io::Error::other("gone")),
    ];
    let said = send(&house, None, Body::from_stream(stream::iter(pieces))).await;
    let answers = said.lines();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["seq"], 1);
    assert_eq!(
        (&answers[1]["status"], &answers[1]["line"]),
        (&json!(400), &json!(2))
    );
    assert_eq!(house.seqs().await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_falls_silent_is_told_which_line_is_missing() {
    let house = House::new();
    let begin = stream::iter([Ok::<_, std::io::Error>(format!("{ADA}\n{{"))]);
    let body = Body::from_stream(futures::StreamExt::chain(begin, stream::pending()));
    let answers = send(&house, None, body).await.lines();
    assert_eq!(answers[0]["seq"], 1);
    assert_eq!(
        (&answers[1]["status"], &answers[1]["line"]),
        (&json!(408), &json!(2))
    );
}

#[tokio::test]
async fn too_much_is_refused_whether_announced_or_not() {
    let house = House::with(HttpConfig {
        ndjson_bytes_max: 100,
        ..HttpConfig::default()
    });
    let many = format!("{ADA}\n").repeat(5);
    assert_eq!(
        send(&house, None, many).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let pieces = (0..5).map(|_| Ok::<_, std::io::Error>(format!("{ADA}\n")));
    let answers = send(&house, None, Body::from_stream(stream::iter(pieces)))
        .await
        .lines();
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert_eq!(
        (&answers[2]["status"], &answers[2]["line"]),
        (&json!(413), &json!(3))
    );
    assert_eq!(house.seqs().await, [1, 2]);
}

#[tokio::test]
async fn there_is_room_for_so_many_such_requests() {
    let house = House::with(HttpConfig {
        streams_max: 1,
        ..HttpConfig::default()
    });
    let endless = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let asked = request("POST", PATH, &[KIND], endless);
    let held = house.router.clone().oneshot(asked).await.unwrap();
    let said = send(&house, None, ADA).await;
    assert_eq!(said.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(said.headers.contains_key("retry-after"));
    drop(held);
    assert_eq!(send(&house, None, ADA).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_form_with_a_key_asks_for_it_once() {
    let house = House::new();
    house.define(&keyed());
    let path = "/v1/forms/keyed/submissions";
    let said = house
        .ask(request("POST", path, &[KIND], Body::from(ADA)))
        .await;
    assert_eq!(said.status, StatusCode::UNAUTHORIZED);
    let bearer = format!("Bearer {}", crate::house::FORM_KEY);
    let headers = [KIND, ("authorization", bearer.as_str())];
    let said = house
        .ask(request("POST", path, &headers, Body::from(ADA)))
        .await;
    assert_eq!(said.lines()[0]["seq"], 1);
}
