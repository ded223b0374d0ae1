//! The accept loop on a real socket. Time limits are tested on a paused clock beside the code; here
//! they are short, and the tests wait for what they cause.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use formspool::http::{HttpConfig, OpsDoors, Ready, ops_router, serve};
use formspool::stage::Stage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::house::{ADA, House};

/// The doors on a free port.
async fn open(house: &House, limits: HttpConfig) -> (SocketAddr, Stage) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stage = Stage::new();
    stage.spawn(serve(listener, house.router.clone(), limits, stage.clone()));
    (address, stage)
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// All that the server says until it closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    String::from_utf8(all).unwrap()
}

/// Reads up to and including `end`.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut all = String::new();
    while !all.ends_with(end) {
        all.push(char::from(stream.read_u8().await.unwrap()));
    }
    all
}

fn post(path: &str, kind: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn assert_answer(answer: &str, status: u16, name: &str) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{answer}"
    );
    assert!(answer.contains("application/problem+json"), "{answer}");
    assert!(answer.contains(&format!("/problems/{name}")), "{answer}");
}

#[tokio::test]
async fn submissions_follow_one_another_on_one_connection() {
    let house = House::new();
    let (address, stage) = open(&house, HttpConfig::default()).await;
    let mut stream = connect(address).await;
    for seq in 1..=3 {
        stream
            .write_all(post("/f/student", "application/json", ADA).as_bytes())
            .await
            .unwrap();
        let answer = until(&mut stream, "\"duplicate\":false}").await;
        assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
        assert!(answer.contains(&format!("\"seq\":{seq},")), "{answer}");
    }
    assert_eq!(stage.stop(Duration::from_secs(30)).await, 0);
    assert_eq!(
        rest(&mut stream).await,
        "",
        "an idle connection is closed at the stop"
    );
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody is accepted after the stop"
    );
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let house = House::new();
    let (address, _stage) = open(
        &house,
        HttpConfig {
            connections_max: 2,
            ..HttpConfig::default()
        },
    )
    .await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(address).await;
        stream
            .write_all(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        stream.read_u8().await.unwrap();
        held.push(stream);
    }
    let mut third = connect(address).await;
    let answer = rest(&mut third).await;
    assert_answer(&answer, 503, "busy");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    // When one goes there is room again.
    held.pop();
    loop {
        let mut next = connect(address).await;
        next.write_all(b"GET /v1/status HTTP/1.1\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        if !rest(&mut next).await.starts_with("HTTP/1.1 503 ") {
            break;
        }
    }
}

#[tokio::test]
async fn a_header_that_is_too_large_and_one_that_is_none_are_answered() {
    let house = House::new();
    let (address, _stage) = open(&house, HttpConfig::default()).await;
    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(64 << 10));
    for (said, status, name) in [
        (large.as_str(), 431, "header-too-large"),
        ("\u{16}\u{3}\u{1} this is TLS\r\n\r\n", 400, "malformed"),
        (
            "POST /f/student HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            400,
            "malformed",
        ),
        (
            "POST /f/student HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
            400,
            "malformed",
        ),
    ] {
        let mut stream = connect(address).await;
        stream.write_all(said.as_bytes()).await.unwrap();
        assert_answer(&rest(&mut stream).await, status, name);
    }
    assert_eq!(house.seqs().await, Vec::<u64>::new());
}

#[tokio::test]
async fn slow_clients_and_endless_bodies_are_let_go() {
    let house = House::with(HttpConfig {
        body_time_ms: 100,
        ..HttpConfig::default()
    });
    let limits = HttpConfig {
        header_time_ms: 100,
        ..HttpConfig::default()
    };
    let (address, _stage) = open(&house, limits).await;
    let mut silent = connect(address).await;
    assert_eq!(rest(&mut silent).await, "");
    let mut slow = connect(address).await;
    slow.write_all(b"GET / HT").await.unwrap();
    assert_answer(&rest(&mut slow).await, 408, "too-slow");
    let mut stuck = connect(address).await;
    let begin = "POST /f/student HTTP/1.1\r\ncontent-type: application/json\r\n\
                 content-length: 100\r\n\r\n{";
    stuck.write_all(begin.as_bytes()).await.unwrap();
    assert_answer(&rest(&mut stuck).await, 408, "too-slow");

    // Chunks without end: the answer arrives though the client still sends.
    let mut endless = connect(address).await;
    let begin = "POST /f/student HTTP/1.1\r\ncontent-type: application/json\r\n\
                 transfer-encoding: chunked\r\n\r\n";
    endless.write_all(begin.as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 32 << 10, "[".repeat(32 << 10));
    for _ in 0..12 {
        // The server may have closed already: what counts is that the answer is there to read.
        if endless.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    assert_answer(&rest(&mut endless).await, 413, "too-large");

    // Announced as huge: refused before a byte of it is sent.
    let mut huge = connect(address).await;
    let begin = "POST /f/student HTTP/1.1\r\ncontent-type: application/json\r\n\
                 content-length: 1073741824\r\nexpect: 100-continue\r\n\r\n";
    huge.write_all(begin.as_bytes()).await.unwrap();
    assert_answer(&rest(&mut huge).await, 413, "too-large");
    assert_eq!(house.seqs().await, Vec::<u64>::new());
}

#[tokio::test]
async fn lines_are_answered_on_a_socket_while_more_are_sent() {
    let house = House::new();
    let (address, _stage) = open(&house, HttpConfig::default()).await;
    let mut stream = connect(address).await;
    let begin = "POST /v1/forms/student/submissions HTTP/1.1\r\n\
                 content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(begin.as_bytes()).await.unwrap();
    for seq in 1..=3 {
        let chunk = format!("{:x}\r\n{ADA}\n\r\n", ADA.len() + 1);
        stream.write_all(chunk.as_bytes()).await.unwrap();
        let answer = until(&mut stream, "\"duplicate\":false}\n").await;
        assert!(answer.contains(&format!("\"seq\":{seq},")), "{answer}");
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    until(&mut stream, "0\r\n\r\n").await;
}

#[tokio::test]
async fn idle_connections_hinder_nobody() {
    let house = House::new();
    let (address, _stage) = open(&house, HttpConfig::default()).await;
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(connect(address).await);
    }
    let mut stream = connect(address).await;
    stream
        .write_all(post("/f/student", "application/json", ADA).as_bytes())
        .await
        .unwrap();
    let answer = until(&mut stream, "\"duplicate\":false}").await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    drop(idle);
}

#[tokio::test]
async fn operators_see_whether_the_node_is_ready() {
    let (ready, is_ready) = watch::channel(Ready::Starting("waiting for peers".to_owned()));
    let metrics = Arc::new(|| "formspool_up 1\n# EOF\n".to_owned());
    let router = ops_router(OpsDoors {
        metrics,
        ready: is_ready,
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stage = Stage::new();
    stage.spawn(serve(
        listener,
        router,
        HttpConfig::default(),
        stage.clone(),
    ));
    let get = async |path: &str| {
        let mut stream = connect(address).await;
        let asked = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n\r\n");
        stream.write_all(asked.as_bytes()).await.unwrap();
        rest(&mut stream).await
    };
    assert!(get("/livez").await.starts_with("HTTP/1.1 200 "));
    let starting = get("/readyz").await;
    assert!(starting.starts_with("HTTP/1.1 503 ") && starting.ends_with("waiting for peers\n"));
    ready.send_replace(Ready::Yes);
    assert!(get("/readyz").await.starts_with("HTTP/1.1 200 "));
    ready.send_replace(Ready::No("stopping".to_owned()));
    assert!(get("/readyz").await.ends_with("stopping\n"));
    assert!(get("/metrics").await.ends_with("# EOF\n"));
    assert_answer(&get("/f/student").await, 404, "not-found");
}
