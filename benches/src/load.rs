//! The clients: so many connections, each with one request under way, for so long.
//!
//! Holds: only a 201 counts; anything else ends the run with what was answered. Why bytes of our own
//! instead of a client library: on two cores the generator takes its share from the server, so it
//! must cost as little as it can, and the same beside each server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What the clients saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Acknowledged submissions a second.
    pub(crate) rate: f64,
    /// Latencies in microseconds.
    pub(crate) latencies: Histogram<u64>,
}

/// Posts to `address` from `connections` connections for `duration`.
pub(crate) async fn run(
    address: SocketAddr,
    connections: usize,
    duration: Duration,
) -> Result<Seen> {
    let mut streams = Vec::with_capacity(connections);
    for _ in 0..connections {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for stream in streams {
        clients.spawn(client(stream, Arc::clone(&next), began + duration));
    }
    let mut latencies = Histogram::new(3)?;
    while let Some(client) = clients.join_next().await {
        latencies.add(client??)?;
    }
    let rate = latencies.len() as f64 / began.elapsed().as_secs_f64();
    Ok(Seen { rate, latencies })
}

async fn client(
    mut stream: TcpStream,
    next: Arc<AtomicU64>,
    until: Instant,
) -> Result<Histogram<u64>> {
    let mut latencies = Histogram::new(3)?;
    let mut answer = vec![0; 4096];
    while Instant::now() < until {
        let request = request(next.fetch_add(1, Ordering::Relaxed));
        let sent = Instant::now();
        stream.write_all(&request).await?;
        read_answer(&mut stream, &mut answer).await?;
        latencies.record(u64::try_from(sent.elapsed().as_micros())?)?;
    }
    Ok(latencies)
}

/// The old stack's example document, with a number of its own.
fn request(number: u64) -> Vec<u8> {
    let body = format!(
        r#"{{"name":"Saurabh raj","roll":"{number:08}","university":"BCE","cgpa":"8.04","gender":"F","age":"10.11","email":"someone@example.com","mobile":"7004465984"}}"#
    );
    format!(
        "POST /f/student-data HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    loop {
        let read = stream
            .read(buffer.get_mut(filled..).unwrap_or_default())
            .await?;
        ensure!(read > 0, "the server closed the connection");
        filled += read;
        let text = buffer.get(..filled).unwrap_or_default();
        let Some(head) = text.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head_text = std::str::from_utf8(text.get(..head).unwrap_or_default())?;
        let len = head_text.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        });
        let len: usize = len.context("an answer without content-length")?;
        if filled >= head + 4 + len {
            ensure!(
                head_text.starts_with("HTTP/1.1 201"),
                "{}",
                String::from_utf8_lossy(text)
            );
            return Ok(());
        }
    }
}
