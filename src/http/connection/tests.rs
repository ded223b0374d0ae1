//! One connection's limits, on a clock that moves when nothing else does.

use axum::routing::{get, post};
use tokio::io::DuplexStream;

use super::*;

/// The other end of a served connection.
struct Client {
    stream: DuplexStream,
    begun: Instant,
}

fn router() -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/big", get(|| async { vec![b'x'; 1 << 20] }))
        .route("/echo", post(|body: Bytes| async { body }))
        .route("/later", get(later))
        .route("/never", get(std::future::pending::<()>))
}

async fn later() -> &'static str {
    tokio::time::sleep(Duration::from_secs(1)).await;
    "later"
}

fn connect(stopping: &CancellationToken) -> Client {
    let (stream, server) = tokio::io::duplex(64 << 10);
    let limits = Arc::new(HttpConfig::default());
    let begun = Instant::now();
    let served = run(server, begun, router(), limits, stopping.clone());
    // Waited for by nobody: its end shows at the client.
    drop(tokio_util::task::TaskTracker::new().spawn(served));
    Client { stream, begun }
}

impl Client {
    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// All that comes until the server closes.
    async fn rest(&mut self) -> String {
        let mut all = Vec::new();
        self.stream.read_to_end(&mut all).await.unwrap();
        String::from_utf8(all).unwrap()
    }

    /// Reads until the answer's end, which is known.
    async fn until(&mut self, end: &str) -> String {
        let mut all = String::new();
        while !all.ends_with(end) {
            all.push(char::from(self.stream.read_u8().await.unwrap()));
        }
        all
    }

    fn seconds(&self) -> u64 {
        self.begun.elapsed().as_secs()
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_comes_drop_by_drop_is_answered_408() {
    let mut client = connect(&CancellationToken::new());
    client.say("GET / HTTP/1.1\r\n").await;
    tokio::time::advance(Duration::from_secs(9)).await;
    client.say("x: 1\r\n").await;
    let answer = client.rest().await;
    assert!(
        answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{answer}"
    );
    assert!(answer.contains("application/problem+json"), "{answer}");
    assert!((10..12).contains(&client.seconds()), "{}", client.seconds());
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_is_said_is_closed() {
    let mut client = connect(&CancellationToken::new());
    assert_eq!(client.rest().await, "");
    assert!((10..12).contains(&client.seconds()), "{}", client.seconds());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_used_may_rest_longer() {
    let mut client = connect(&CancellationToken::new());
    client.say("GET / HTTP/1.1\r\n\r\n").await;
    client.until("hello").await;
    tokio::time::advance(Duration::from_mins(1)).await;
    client.say("GET / HTTP/1.1\r\n\r\n").await;
    client.until("hello").await;
    assert_eq!(client.rest().await, "");
    assert!(
        (135..137).contains(&client.seconds()),
        "{}",
        client.seconds()
    );
}

#[tokio::test(start_paused = true)]
async fn the_second_header_has_its_own_time() {
    let mut client = connect(&CancellationToken::new());
    client.say("GET / HTTP/1.1\r\n\r\n").await;
    client.until("hello").await;
    tokio::time::advance(Duration::from_mins(1)).await;
    client.say("GET /").await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!((70..72).contains(&client.seconds()), "{}", client.seconds());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_of_its_answer_is_left() {
    let mut client = connect(&CancellationToken::new());
    client.say("GET /big HTTP/1.1\r\n\r\n").await;
    tokio::time::sleep_until(client.begun + Duration::from_secs(29)).await;
    client.stream.read_u8().await.unwrap(); // a sign of life: the time runs anew
    tokio::time::sleep_until(client.begun + Duration::from_mins(1)).await;
    let mut all = Vec::new();
    client.stream.read_to_end(&mut all).await.unwrap();
    assert!(all.len() < 1 << 20, "{}", all.len());
}

#[tokio::test(start_paused = true)]
async fn a_request_under_way_is_finished_at_a_stop_and_an_idle_connection_closed() {
    let stopping = CancellationToken::new();
    let (mut busy, mut idle) = (connect(&stopping), connect(&stopping));
    idle.say("GET / HTTP/1.1\r\n\r\n").await;
    idle.until("hello").await;
    busy.say("POST /echo HTTP/1.1\r\ncontent-length: 4\r\n\r\nab")
        .await;
    tokio::time::advance(Duration::from_millis(1)).await;
    stopping.cancel();
    assert_eq!(idle.rest().await, "");
    busy.say("cd").await;
    let answer = busy.rest().await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("abcd"),
        "{answer}"
    );
    assert!(busy.seconds() < 3, "{}", busy.seconds());
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_a_moment_for_a_header_and_no_longer() {
    let stopping = CancellationToken::new();
    let (mut slow, mut quick) = (connect(&stopping), connect(&stopping));
    slow.say("GET / HT").await;
    quick.say("GET / HT").await;
    tokio::time::advance(Duration::from_millis(1)).await;
    stopping.cancel();
    tokio::time::advance(Duration::from_millis(1)).await;
    quick.say("TP/1.1\r\n\r\n").await;
    assert!(quick.rest().await.ends_with("hello"));
    assert!(slow.rest().await.starts_with("HTTP/1.1 408 "));
    assert!(slow.seconds() < 4, "{}", slow.seconds());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_http_gets_a_problem_document() {
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(17 << 10));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(101));
    for (said, status, name) in [
        ("nonsense\r\n\r\n", 400, "malformed"),
        ("GET / HTTP/1.1\r\nbad header\r\n\r\n", 400, "malformed"),
        (
            "POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
            400,
            "malformed",
        ),
        (long.as_str(), 431, "header-too-large"),
        (many.as_str(), 431, "header-too-large"),
    ] {
        let mut client = connect(&CancellationToken::new());
        client.say(said).await;
        let answer = client.rest().await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{said:.40}: {answer}"
        );
        assert!(
            answer.contains(&format!("/problems/{name}")),
            "{said:.40}: {answer}"
        );
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_at_work_is_not_hurried() {
    let mut client = connect(&CancellationToken::new());
    client.say("GET /never HTTP/1.1\r\n\r\n").await;
    let answer = tokio::time::timeout(Duration::from_hours(1), client.stream.read_u8()).await;
    assert!(answer.is_err(), "closed after {}", client.seconds());
}

#[tokio::test(start_paused = true)]
async fn who_says_that_no_more_comes_still_gets_the_answer() {
    let mut client = connect(&CancellationToken::new());
    client.say("GET /later HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.stream.shutdown().await.unwrap();
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("later"), "{answer}");
}
