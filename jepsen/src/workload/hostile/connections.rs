//! Bad connections: idle ones by the thousand, requests that never end, headers that never come.

use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::client::raw::{self, Ending};
use crate::client::{Client, api};
use crate::form::Form;
use crate::history::What;
use crate::process::Node;
use crate::workload::Run;
use crate::workload::hostile::Door;

const OPENERS: u64 = 64;
const OPEN_TIME: Duration = Duration::from_secs(30);
const MEANWHILE: Duration = Duration::from_secs(5);
/// Header time and body time of the product are 10 s and 30 s; so much more is allowed.
const GRACE: Duration = Duration::from_secs(15);
const FILES_SPARE: u64 = 512;
const ENDLESS_BYTES_MAX: usize = 64 << 20;

pub(super) async fn run(
    run: &mut Run,
    door: &mut Door,
    node: &Node,
    idle: u64,
) -> anyhow::Result<()> {
    door.cases += 5;
    let held = hold(node, idle).await?;
    run.report.fact("idle connections held", held.len());
    run.report
        .demand("idle connections held", u64::try_from(held.len())?, idle);
    meanwhile(run, node, held.len()).await;
    // The slow ones take their time, so all go side by side.
    let (endless, slow_body, slow_head, long_head) = tokio::join!(
        endless(node, 64 << 10, Duration::ZERO),
        endless(node, 1, Duration::from_secs(1)),
        slow_head(node),
        long_head(node),
    );
    let judged = [
        // Its answer may drown in what is still on the way to a socket that is closed.
        judge(
            "a body that never ends",
            endless,
            &[None, Some(408), Some(413)],
        ),
        judge("a body that drips", slow_body, &[Some(408)]),
        judge("a header that drips", slow_head, &[Some(408)]),
        judge("a header of 64 KiB", long_head, &[Some(431)]),
    ];
    for judged in judged {
        run.note(judged);
    }
    // By now every connection that said nothing has had its time.
    let open = held.iter().filter(|stream| is_open(stream)).count();
    let closed = if open == 0 {
        Ok(())
    } else {
        Err(anyhow!("{open} idle ones are still open"))
    };
    run.note(closed);
    Ok(())
}

fn is_open(stream: &TcpStream) -> bool {
    let mut buffer = [0; 1024];
    loop {
        match stream.try_read(&mut buffer) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

/// Opens `count` connections that say nothing.
async fn hold(node: &Node, count: u64) -> anyhow::Result<Vec<TcpStream>> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised)?;
    let room = limit
        .maximum
        .unwrap_or(u64::MAX)
        .saturating_sub(FILES_SPARE);
    let count = count.min(room);
    let mut openers = JoinSet::new();
    for opener in 0..OPENERS {
        let (address, own) = (node.address, (opener..count).step_by(64).count());
        openers.spawn(async move {
            let mut held = Vec::with_capacity(own);
            for _ in 0..own {
                let opened = timeout(OPEN_TIME, TcpStream::connect(address)).await;
                held.extend(opened.ok().and_then(Result::ok));
            }
            held
        });
    }
    Ok(openers.join_all().await.into_iter().flatten().collect())
}

/// A good submission while all the others are idle.
async fn meanwhile(run: &mut Run, node: &Node, held: usize) {
    let started = Instant::now();
    let submission = run.submission(Form::Door, None);
    let mut client = Client::new(node.address);
    let outcome = api::submit(&mut client, &run.history, 0, &submission).await;
    let took = started.elapsed();
    run.note(outcome.and_then(|outcome| {
        ensure!(
            matches!(outcome, What::Ok(_)),
            "while {held} are idle: {outcome:?}"
        );
        ensure!(took < MEANWHILE, "while {held} are idle it took {took:?}");
        Ok(())
    }));
}

async fn endless(node: &Node, piece: usize, pause: Duration) -> std::io::Result<Ending> {
    let head = format!(
        "POST /v1/forms/jepsen-door/submissions HTTP/1.1\r\nHost: {}\r\n\
         Content-Type: application/json\r\nAccept: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n4\r\n[\"aa\r\n",
        node.address
    );
    let piece = format!("{piece:x}\r\n{}\r\n", "a".repeat(piece));
    let time = Duration::from_secs(30) + GRACE;
    raw::drip(node.address, head.as_bytes(), piece.as_bytes(), pause, time).await
}

async fn slow_head(node: &Node) -> std::io::Result<Ending> {
    let head = format!(
        "POST /f/jepsen-door HTTP/1.1\r\nHost: {}\r\nX-Slow: ",
        node.address
    );
    let time = Duration::from_secs(10) + GRACE;
    raw::drip(
        node.address,
        head.as_bytes(),
        b"a",
        Duration::from_millis(500),
        time,
    )
    .await
}

async fn long_head(node: &Node) -> std::io::Result<Ending> {
    let long = "a".repeat(64 << 10);
    let head = format!(
        "GET /f/jepsen-door HTTP/1.1\r\nHost: {}\r\nX-Long: {long}\r\n\r\n",
        node.address
    );
    raw::drip(
        node.address,
        head.as_bytes(),
        b"",
        Duration::from_secs(1),
        GRACE,
    )
    .await
}

/// It must end by itself, in one of the ways; `None` is closed without a word.
fn judge(name: &str, ending: std::io::Result<Ending>, ways: &[Option<u16>]) -> anyhow::Result<()> {
    let ending = ending.with_context(|| name.to_owned())?;
    ensure!(!ending.is_patient, "{name}: still open after all its time");
    ensure!(
        ending.sent < ENDLESS_BYTES_MAX,
        "{name}: {} bytes were taken",
        ending.sent
    );
    ensure!(
        ways.contains(&ending.status),
        "{name}: ended with {:?}",
        ending.status
    );
    Ok(())
}
