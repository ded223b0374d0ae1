//! The way of a person: page, refusal, thanks.

use axum::http::StatusCode;

use crate::house::{House, student};

const GOOD: &str = "name=Ada&email=ada%40example.com";

/// The value of the page's hidden key.
fn key_of(page: &str) -> &str {
    let (_, rest) = page
        .split_once("name=\"_idempotency_key\" value=\"")
        .unwrap();
    rest.split('"').next().unwrap()
}

#[tokio::test]
async fn a_page_is_sent_and_thanks_shows_the_receipt() {
    let house = House::new();
    let page = house.get("/f/student").await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(
        policy.contains("form-action 'self' https://school.example;"),
        "{policy}"
    );
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(
        !policy.contains("script-src") && !policy.contains("unsafe"),
        "{policy}"
    );
    let key = key_of(&page.text).to_owned();
    assert_eq!(key.len(), 32);
    assert_ne!(
        key,
        key_of(&house.get("/f/student").await.text),
        "fresh each time"
    );

    let body = format!("{GOOD}&_idempotency_key={key}&_gotcha=");
    let sent = house.post_page("/f/student", &body).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{sent:?}");
    let place = sent.header("location").to_owned();
    assert!(place.starts_with("/f/student/thanks/"), "{place}");
    let thanks = house.get(&place).await;
    assert_eq!(thanks.status, StatusCode::OK);
    let record = house
        .read("/v1/forms/student/submissions/1", "*/*")
        .await
        .json();
    assert!(
        thanks.text.contains(record["id"].as_str().unwrap()),
        "{thanks:?}"
    );
    assert!(!thanks.text.contains("Ada"), "the receipt alone");

    // Pressed twice: one submission, the same receipt.
    let again = house.post_page("/f/student", &body).await;
    assert_eq!(again.header("location"), place);
    assert_eq!(house.seqs().await, [1]);
}

#[tokio::test]
async fn a_receipt_is_shown_to_who_knows_its_id() {
    let house = House::new();
    let place = house
        .post_page("/f/student", GOOD)
        .await
        .header("location")
        .to_owned();
    house.post_page("/f/student", GOOD).await;
    let (path, _) = place.split_once('?').unwrap();
    for wrong in [
        path.to_owned(),
        format!("{path}?seq=2"),
        format!("{path}?seq=99"),
        format!("{path}?index=2"),
        "/f/student/thanks/00000000-0000-7000-8000-000000000000?seq=1".to_owned(),
        "/f/student/thanks/x?seq=1".to_owned(),
    ] {
        assert_eq!(
            house.get(&wrong).await.status,
            StatusCode::NOT_FOUND,
            "{wrong}"
        );
    }
    // One that is withheld looks the same to a bot.
    let sent = house
        .post_page("/f/student", &format!("{GOOD}&_gotcha=x"))
        .await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER);
    assert!(sent.header("location").contains("?index="), "{sent:?}");
    assert_eq!(
        house.get(sent.header("location")).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_refusal_shows_what_was_typed_and_what_is_wrong() {
    let house = House::new();
    let typed = "name=%3Cscript%3Ealert(1)%3C%2Fscript%3E&email=nonsense&age=old\
                 &_idempotency_key=mine&_next=https%3A%2F%2Fschool.example%2Fthanks";
    let page = house.post_page("/f/student", typed).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(!page.text.contains("<script>"), "escaped: {}", page.text);
    assert!(page.text.contains("alert(1)"), "typed: {}", page.text);
    assert!(page.text.contains("value=\"nonsense\""), "{}", page.text);
    assert!(page.text.contains("aria-invalid"), "{}", page.text);
    assert_eq!(
        key_of(&page.text),
        "mine",
        "nothing was taken: the key is still good"
    );
    assert!(
        page.text
            .contains("https:&#x2f;&#x2f;school.example&#x2f;thanks"),
        "{}",
        page.text
    );
    assert_eq!(house.seqs().await, Vec::<u64>::new());

    // A program that says so gets the problem, though it sends pairs.
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let body = axum::body::Body::from("name=a");
    let said = house
        .ask(crate::house::request("POST", "/f/student", &headers, body))
        .await;
    assert_eq!(said.header("content-type"), "application/problem+json");
    assert_eq!(said.pointers(), ["/email"]);
}

#[tokio::test]
async fn a_page_that_was_sent_with_other_answers_gets_a_new_key() {
    let house = House::new();
    house
        .post_page("/f/student", &format!("{GOOD}&_idempotency_key=mine"))
        .await;
    let page = house
        .post_page(
            "/f/student",
            "name=Eve&email=e%40e.com&_idempotency_key=mine",
        )
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.text.contains("value=\"Eve\""), "{}", page.text);
    let key = key_of(&page.text);
    assert_ne!(key, "mine");
    let body = format!("name=Eve&email=e%40e.com&_idempotency_key={key}");
    assert_eq!(
        house.post_page("/f/student", &body).await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(house.seqs().await, [1, 2]);
}

#[tokio::test]
async fn next_leads_to_listed_targets_only() {
    let house = House::new();
    let target = "https://school.example/thanks?from=form";
    let escaped = "https%3A%2F%2Fschool.example%2Fthanks%3Ffrom%3Dform";
    let sent = house
        .post_page("/f/student", &format!("{GOOD}&_next={escaped}"))
        .await;
    assert_eq!(
        (sent.status, sent.header("location")),
        (StatusCode::SEE_OTHER, target)
    );
    let evil = house
        .post_page(
            "/f/student",
            &format!("{GOOD}&_next=https%3A%2F%2Fevil.example"),
        )
        .await;
    assert_eq!(evil.status, StatusCode::BAD_REQUEST);
    assert_eq!(evil.header("location"), "");
    assert_eq!(house.seqs().await, [1]);
    let page = house.get(&format!("/f/student?_next={escaped}")).await;
    assert!(page.text.contains("name=\"_next\""), "{}", page.text);
    let page = house
        .get("/f/student?_next=https%3A%2F%2Fevil.example")
        .await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_person_is_told_in_a_page_what_is_not_there() {
    let house = House::new();
    let said = house.post_page("/f/nobody", GOOD).await;
    assert_eq!(said.status, StatusCode::NOT_FOUND);
    assert_eq!(said.header("content-type"), "text/html; charset=utf-8");
    house.retire("student");
    assert_eq!(house.get("/f/student").await.status, StatusCode::GONE);
    assert_eq!(
        house.post_page("/f/student", GOOD).await.status,
        StatusCode::CONFLICT
    );
}

#[tokio::test]
async fn titles_are_text_wherever_they_stand() {
    let house = House::new();
    let mut form = student();
    form["title"] = serde_json::json!("<b>\"&</b>");
    house.define(&form);
    for path in ["/f/student", "/f/student?_next=x"] {
        assert!(!house.get(path).await.text.contains("<b>"), "{path}");
    }
    let place = house
        .post_page("/f/student", GOOD)
        .await
        .header("location")
        .to_owned();
    assert!(!house.get(&place).await.text.contains("<b>"));
}
