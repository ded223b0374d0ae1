//! Reading: pages of a list, its formats, long ones, and waiting for news.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::house::{ADA, House, request, student};

const PATH: &str = "/v1/forms/student/submissions";

async fn fill(house: &House, count: usize) {
    let line = |at| format!("{{\"name\":\"n{at}\",\"email\":\"a@example.com\"}}");
    let lines = (0..count).map(line).collect::<Vec<_>>().join("\n");
    let headers = [("content-type", "application/x-ndjson")];
    let said = house
        .ask(request("POST", PATH, &headers, Body::from(lines)))
        .await;
    assert_eq!(said.lines().len(), count);
}

#[tokio::test]
async fn pages_follow_one_another_without_a_hole() {
    let house = House::new();
    fill(&house, 7).await;
    let mut after = json!(0);
    let mut seqs = Vec::new();
    for expected in [3, 3, 1, 0] {
        let page = house
            .read(&format!("{PATH}?after={after}&limit=3"), "*/*")
            .await
            .json();
        let records = page["records"].as_array().unwrap();
        assert_eq!(records.len(), expected);
        assert_eq!(
            (&page["head"], &page["form"]),
            (&json!(7), &json!("student"))
        );
        seqs.extend(records.iter().map(|record| record["seq"].as_u64().unwrap()));
        after = page["next"].clone();
    }
    assert_eq!((seqs, after), ((1..=7).collect(), json!(7)));
    let beyond = house.read(&format!("{PATH}?after=99"), "*/*").await.json();
    assert_eq!(
        (&beyond["records"], &beyond["next"]),
        (&json!([]), &json!(99))
    );
}

#[tokio::test]
async fn a_long_list_comes_in_pieces_and_whole() {
    let house = House::new();
    fill(&house, 3500).await;
    assert_eq!(house.seqs().await, (1..=3500).collect::<Vec<u64>>());
    let lines = house
        .read(
            &format!("{PATH}?after=10&limit=2500"),
            "application/x-ndjson",
        )
        .await;
    assert_eq!(lines.header("formspool-head"), "3500");
    let lines = lines.lines();
    assert_eq!(lines.len(), 2500);
    assert_eq!(
        (&lines[0]["seq"], &lines[2499]["seq"]),
        (&json!(11), &json!(2510))
    );
}

#[tokio::test]
async fn a_table_has_the_columns_of_all_versions() {
    let house = House::new();
    let first = r#"{"name":"-1","email":"a@example.com","roll":"7"}"#;
    house.post_json("/f/student", first).await;
    let mut form = student();
    let schema = &mut form["schema"];
    schema["properties"]
        .as_object_mut()
        .unwrap()
        .shift_remove("roll");
    schema["properties"]["city"] = json!({ "type": "string" });
    schema["additionalProperties"] = json!(true);
    house.define(&form);
    let second = r#"{"name":"B","email":"b@example.com","city":"X","odd":[1]}"#;
    house.post_json("/f/student", second).await;
    let table = house.read(PATH, "text/csv").await;
    assert_eq!(
        table.header("content-type"),
        "text/csv; charset=utf-8; header=present"
    );
    let rows: Vec<&str> = table.text.lines().collect();
    assert_eq!(
        rows[0],
        "_seq,_id,_received_at,name,email,age,tags,city,roll,_more"
    );
    assert!(rows[1].ends_with(",'-1,a@example.com,,,,7,"), "{}", rows[1]);
    assert!(
        rows[2].ends_with(",B,b@example.com,,,X,,\"{\"\"odd\"\":[1]}\""),
        "{}",
        rows[2]
    );
}

#[tokio::test(start_paused = true)]
async fn a_table_that_waited_has_the_columns_of_what_came() {
    let house = House::new();
    let path = format!("{PATH}?wait=30s");
    let news = async {
        tokio::time::advance(Duration::from_secs(5)).await;
        let mut form = student();
        form["schema"]["properties"]["city"] = json!({ "type": "string" });
        house.define(&form);
        let body = r#"{"name":"B","email":"b@example.com","city":"X"}"#;
        house.post_json("/f/student", body).await;
    };
    let (table, ()) = tokio::join!(house.read(&path, "text/csv"), news);
    let rows: Vec<&str> = table.text.lines().collect();
    assert!(rows[0].ends_with(",tags,city"), "{rows:?}");
    assert!(rows[1].ends_with(",X"), "{rows:?}");
}

#[tokio::test]
async fn a_page_of_withheld_ones_has_a_bound_and_leaves_none_out() {
    let house = House::new();
    for _ in 0..20 {
        let long = "x".repeat(250_000);
        let body =
            format!(r#"{{"name":"n","email":"e@example.com","tags":["{long}"],"_gotcha":"x"}}"#);
        house.post_json("/f/student", body).await;
    }
    let (mut next, mut pages) = (json!("0:0"), Vec::new());
    while pages.last() != Some(&0) {
        let path = format!(
            "/v1/forms/student/withheld?limit=1000&after={}",
            next.as_str().unwrap()
        );
        let page = house.read(&path, "*/*").await;
        assert!(page.text.len() < 5 << 20);
        let page = page.json();
        pages.push(page["withheld"].as_array().unwrap().len());
        next = page["next"].clone();
    }
    assert_eq!(pages.iter().sum::<usize>(), 20);
    assert!(pages.len() > 2, "{pages:?}");
}

#[tokio::test]
async fn parameters_that_cannot_be_are_refused() {
    let house = House::new();
    for bad in [
        "after=x",
        "after=-1",
        "limit=many",
        "wait=30",
        "afer=1",
        "after=1&after=2",
    ] {
        let said = house.read(&format!("{PATH}?{bad}"), "*/*").await;
        assert_eq!(said.json()["type"], "/problems/bad-parameter", "{bad}");
    }
    assert_eq!(
        house.read(PATH, "image/png").await.status,
        StatusCode::NOT_ACCEPTABLE
    );
    for seq in ["0", "1", "x", "18446744073709551615", "-1"] {
        let said = house.read(&format!("{PATH}/{seq}"), "*/*").await;
        assert_eq!(said.status, StatusCode::NOT_FOUND, "{seq}");
    }
}

#[tokio::test]
async fn the_greatest_numbers_find_nothing() {
    let house = House::new();
    fill(&house, 2).await;
    let (most, last) = (u64::MAX, "18446744073709551615:4294967295");
    let page = house
        .read(&format!("{PATH}?after={most}&limit={most}"), "*/*")
        .await
        .json();
    assert_eq!(page["records"], json!([]));
    let page = house
        .read(&format!("{PATH}?limit={most}"), "*/*")
        .await
        .json();
    assert_eq!(page["records"].as_array().unwrap().len(), 2);
    let list = house
        .read(&format!("/v1/forms/student/withheld?after={last}"), "*/*")
        .await
        .json();
    assert_eq!(list, json!({ "withheld": [], "next": last }));
    let id = "00000000-0000-7000-8000-000000000000";
    for place in ["seq", "index"] {
        let path = format!("/f/student/thanks/{id}?{place}={most}");
        assert_eq!(house.get(&path).await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_news_with_the_time_or_with_the_node() {
    let house = House::new();
    let begun = Instant::now();
    let waiting = async |path: String| {
        let page: Value = house.read(&path, "*/*").await.json();
        (page["records"].as_array().unwrap().len(), begun.elapsed())
    };
    let (nothing, elapsed) = waiting(format!("{PATH}?wait=30s")).await;
    assert_eq!((nothing, elapsed.as_secs()), (0, 30));
    let (nothing, elapsed) = waiting(format!("{PATH}?wait=99m")).await;
    assert_eq!(
        (nothing, elapsed.as_secs()),
        (0, 90),
        "never longer than the setting"
    );

    let news = async {
        tokio::time::advance(Duration::from_secs(5)).await;
        house.post_json("/f/student", ADA).await;
    };
    let ((found, elapsed), ()) = tokio::join!(waiting(format!("{PATH}?wait=30s")), news);
    assert_eq!((found, elapsed.as_secs()), (1, 95));

    let stop = async { house.stage.token.cancel() };
    let ((found, elapsed), ()) = tokio::join!(waiting(format!("{PATH}?after=1&wait=30s")), stop);
    assert_eq!((found, elapsed.as_secs()), (0, 95));
}

#[tokio::test]
async fn below_the_horizon_there_is_nothing_and_the_answer_says_where_something_begins() {
    let house = House::new();
    fill(&house, 20).await;
    let records = house.read(PATH, "*/*").await.json();
    let fifth = records["records"][4]["index"].as_u64().unwrap();
    let index = storage::Index(fifth);
    house
        .log
        .apply(&storage::Command::Horizon(storage::Horizon { index }));
    let oldest = house.read(&format!("{PATH}?after=4&limit=1"), "*/*").await;
    let oldest = oldest.json()["oldest_seq"].as_u64().unwrap();
    assert!(oldest > 5);
    for path in [
        PATH.to_owned(),
        format!("{PATH}?after={}", oldest - 2),
        format!("{PATH}/1"),
        format!("{PATH}/{}", oldest - 1),
    ] {
        for media_type in ["application/json", "application/x-ndjson", "text/csv"] {
            let said = house.read(&path, media_type).await;
            assert_eq!(said.status, StatusCode::GONE, "{path}");
            let problem = said.json();
            assert_eq!(problem["type"], "/problems/below-the-horizon");
            assert_eq!(problem["oldest_seq"], json!(oldest), "{path}");
        }
    }
    let rest = house
        .read(&format!("{PATH}?after={}", oldest - 1), "*/*")
        .await;
    assert_eq!(rest.json()["records"][0]["seq"], json!(oldest));
    assert_eq!(
        house.read(&format!("{PATH}/{oldest}"), "*/*").await.status,
        StatusCode::OK
    );
    assert_eq!(
        house.read(&format!("{PATH}/21"), "*/*").await.status,
        StatusCode::NOT_FOUND
    );
}
