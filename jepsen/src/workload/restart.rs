//! Starting on a long log: a node is filled, ended in every way, and started again.
//!
//! Proves: with so much log it is ready within the limit, after `kill -9` right behind the load and
//! after an orderly end, and it then shows the last record that was acknowledged. With nothing of
//! its files in memory the time is told and not judged: there it is the disk's.
//!
//! Holds: every start has load before it, so none finds its work done by the start before.
//! Why no history: a long log is millions of records; that none of them is lost is for `crash`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Args;
use tokio::task::JoinSet;

use crate::checker::findings::Kind;
use crate::client::api::{self, Found, NDJSON};
use crate::client::{Call, Client};
use crate::form::{Bodies, Form};
use crate::process::{Node, caches};
use crate::report::Report;
use crate::workload::{Options, Run};

const FORM: Form = Form::StudentData;
const SENDERS: u64 = 4;
/// Of one request.
const LINES: u64 = 2000;
const REQUEST_TIME: Duration = Duration::from_mins(1);
/// The load before each further start, as a part of the whole.
const MORE_PART: u64 = 16;
/// Bytes of the log since the start of the process.
const WRITTEN: &str = "formspool_wal_bytes_total";
const MIB: u64 = 1 << 20;

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How much log there is, at least.
    #[arg(long, default_value_t = 1024)]
    pub(crate) mib: u64,
    /// From the start of the process to `/readyz` 200, with its files in memory.
    #[arg(long, default_value_t = 3)]
    pub(crate) within_s: u64,
    /// Leave out the starts with nothing in memory: for these, everybody's caches are dropped.
    #[arg(long)]
    pub(crate) warm: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Killed,
    Told,
}

struct Start {
    after: End,
    /// The kernel keeps nothing of its files.
    is_cold: bool,
    name: &'static str,
}

const STARTS: [Start; 4] = [
    Start {
        after: End::Killed,
        is_cold: false,
        name: "ready after kill -9, warm, ms",
    },
    Start {
        after: End::Told,
        is_cold: false,
        name: "ready after SIGTERM, warm, ms",
    },
    Start {
        after: End::Killed,
        is_cold: true,
        name: "ready after kill -9, cold, ms",
    },
    Start {
        after: End::Told,
        is_cold: true,
        name: "ready after SIGTERM, cold, ms",
    },
];

pub(crate) async fn run(options: &Options, plan: Plan) -> anyhow::Result<Report> {
    let mut run = Run::new(options, "restart")?;
    let mut node = Node::start(&run.site).await?;
    run.progress(format!("filling {} MiB of log", plan.mib));
    let mut bytes = fill(&mut run, &node, plan.mib * MIB).await?;
    for (start, number) in STARTS.iter().zip(0..) {
        if start.is_cold && plan.warm {
            continue;
        }
        if number > 0 {
            bytes += fill(&mut run, &node, plan.mib * MIB / MORE_PART).await?;
        }
        node = again(&mut run, node, start, plan).await?;
        must_show_all(&mut run, &node).await?;
    }
    run.report.fact("log MiB", bytes / MIB);
    let acked = run.report.acked;
    run.report.demand("acknowledged submissions", acked, 1);
    run.end(node).await
}

/// Posts until it has written so many bytes more; answers how many.
async fn fill(run: &mut Run, node: &Node, bytes: u64) -> anyhow::Result<u64> {
    let mut ops = Client::new(run.site.ops);
    let before = written(&mut ops).await?;
    // Without keys they are new ones each time.
    let body = body(run.bodies);
    let mut clients = (0..SENDERS)
        .map(|_| Client::new(node.address))
        .collect::<Vec<_>>();
    loop {
        let mut senders = JoinSet::new();
        for mut client in clients.drain(..) {
            let body = body.clone();
            senders.spawn(async move { post(&mut client, body).await.map(|()| client) });
        }
        while let Some(sent) = senders.join_next().await {
            clients.push(sent.context("a sender died")??);
            run.report.acked += LINES;
        }
        let more = written(&mut ops).await?.saturating_sub(before);
        if more >= bytes {
            return Ok(more);
        }
    }
}

fn body(bodies: Bodies) -> Bytes {
    let lines = (0..LINES).map(|marker| {
        let submission = bodies.submission(FORM, marker, None);
        format!("{}\n", submission.data)
    });
    lines.collect::<String>().into()
}

/// One request; every line must get a receipt.
async fn post(client: &mut Client, body: Bytes) -> anyhow::Result<()> {
    let path = format!("/v1/forms/{}/submissions", FORM.name());
    let call = Call::post(path, NDJSON, body).header("accept", NDJSON);
    let answer = client.call_within(&call, REQUEST_TIME).await?;
    let status = answer.status;
    ensure!(status == 200, "{status} to lines: {}", answer.text());
    let lines = answer.body.split(|byte| *byte == b'\n');
    let mut receipts = 0;
    for line in lines.filter(|line| !line.is_empty()) {
        let text = || String::from_utf8_lossy(line).into_owned();
        api::receipt(FORM, line).with_context(text)?;
        receipts += 1;
    }
    ensure!(receipts == LINES, "{receipts} receipts to {LINES} lines");
    Ok(())
}

/// Ends it, starts it, and judges the time.
async fn again(run: &mut Run, mut node: Node, start: &Start, plan: Plan) -> anyhow::Result<Node> {
    match start.after {
        End::Killed => node.kill().await?,
        End::Told => node.stop().await?,
    }
    if start.is_cold
        && let Err(why) = caches::drop_all()
    {
        run.progress(format!("it cannot be made cold here: {why:#}"));
        run.report.fact(start.name, "not measured");
        return Node::start(&run.site).await;
    }
    let node = Node::start(&run.site).await?;
    let took = node.ready_after;
    let millis = u64::try_from(took.as_millis())?;
    run.progress(format!("{}: {millis}", start.name));
    run.report.fact(start.name, millis);
    if !start.is_cold && took > Duration::from_secs(plan.within_s) {
        run.report.findings.add(Kind::Slow, || {
            format!("{}: {millis}, {} s are allowed", start.name, plan.within_s)
        });
    }
    Ok(node)
}

/// The last record is there, and nothing behind it.
async fn must_show_all(run: &mut Run, node: &Node) -> anyhow::Result<()> {
    let (mut client, token) = (Client::new(node.address), run.site.token()?);
    let (acked, what) = (run.report.acked, (run.bodies, FORM));
    let found = api::page(&mut client, &token, what, acked - 1, 2).await?;
    let (seqs, head) = match found {
        Found::Page(page) => (
            page.rows.iter().map(|row| row.seq).collect::<Vec<_>>(),
            page.head,
        ),
        // Nothing may have left so young a log.
        Found::Gone { .. } => (Vec::new(), 0),
    };
    run.report.found = head.min(acked);
    if seqs != [acked] || head != acked {
        let kind = if head > acked {
            Kind::Phantom
        } else {
            Kind::Lost
        };
        run.report.findings.add(kind, || {
            format!("{acked} were acknowledged; the head is {head}, and behind the last but one {seqs:?}")
        });
    }
    Ok(())
}

async fn written(ops: &mut Client) -> anyhow::Result<u64> {
    let answer = ops.call(&Call::get("/metrics")).await?;
    let text = answer.text();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(WRITTEN)?.trim().parse().ok());
    value.with_context(|| format!("no {WRITTEN} in /metrics"))
}
