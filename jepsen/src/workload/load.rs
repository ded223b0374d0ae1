//! Full load for a while: what it costs in memory and time, and then the same check as always.
//!
//! Proves: the product's resident memory stays below a bound, however many submissions pass.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::checker::findings::Kind;
use crate::client::Client;
use crate::client::api;
use crate::form::{Bodies, Form};
use crate::history::{History, What};
use crate::process::Node;
use crate::report::Report;
use crate::workload::{Options, Run};

const LOOK: Duration = Duration::from_millis(500);
const FAULTS_MAX: u64 = 1000; // a connection that meets more gives up
const LOAD_TIME: Duration = Duration::from_hours(1);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) connections: u32,
    pub(crate) count: u64,
    pub(crate) rss_max_mib: Option<u64>,
}

pub(crate) async fn run(options: &Options, plan: Plan) -> anyhow::Result<Report> {
    let mut run = Run::new(options, "load")?;
    let mut node = Node::start(&run.site).await?;
    run.progress(format!(
        "{} submissions on {} connections",
        plan.count, plan.connections
    ));
    let started = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for process in 0..plan.connections {
        let (history, next) = (run.history.clone(), Arc::clone(&next));
        let what = (process, run.bodies);
        workers.spawn(post(node.address, history, what, next, plan.count));
    }
    let mut times = Histogram::<u64>::new(3)?;
    let mut said = started;
    let mut unanswered = 0;
    while !workers.is_empty() {
        node.must_live().context(run.site.log_tail())?;
        if said.elapsed() >= Duration::from_secs(5) {
            said = Instant::now();
            let (done, memory) = (next.load(Ordering::Relaxed).min(plan.count), node.memory()?);
            run.progress(format!(
                "{done} posted, {} MiB resident",
                memory.now_kib / 1024
            ));
        }
        tokio::select! {
            biased;
            Some(worker) = workers.join_next() => {
                let (own, failed) = worker.context("a connection's worker died")??;
                times.add(own)?;
                unanswered += failed;
            }
            () = sleep(LOOK) => {}
        }
        anyhow::ensure!(started.elapsed() < LOAD_TIME, "the load does not end");
    }
    let elapsed = started.elapsed();
    let memory = node.memory()?;
    facts(&mut run.report, &times, elapsed)?;
    run.report.fact("unanswered", unanswered);
    run.report
        .fact("rss peak MiB under load", memory.peak_kib / 1024);
    run.progress("reading everything");
    run.check(&node, &[Form::StudentData]).await?;
    let after = node.memory()?;
    run.report
        .fact("rss peak MiB with reading", after.peak_kib / 1024);
    if let Some(max) = plan.rss_max_mib.filter(|max| after.peak_kib > max * 1024) {
        run.report.findings.add(Kind::Memory, || {
            format!(
                "{} MiB resident, {max} are allowed",
                after.peak_kib.div_ceil(1024)
            )
        });
    }
    let acked = run.report.acked;
    run.report
        .demand("acknowledged submissions", acked, plan.count / 100 * 99);
    run.end(node).await
}

async fn post(
    address: SocketAddr,
    history: History,
    (process, bodies): (u32, Bodies),
    next: Arc<AtomicU64>,
    count: u64,
) -> anyhow::Result<(Histogram<u64>, u64)> {
    let mut client = Client::new(address);
    let mut times = Histogram::<u64>::new(3)?;
    let mut failed = 0;
    while failed < FAULTS_MAX && next.fetch_add(1, Ordering::Relaxed) < count {
        let submission = bodies.submission(Form::StudentData, history.next_marker(), None);
        let sent = Instant::now();
        let outcome = api::submit(&mut client, &history, process, &submission).await?;
        if matches!(outcome, What::Ok(_)) {
            times.record(u64::try_from(sent.elapsed().as_micros())?)?;
        } else {
            failed += 1;
        }
    }
    Ok((times, failed))
}

fn facts(report: &mut Report, times: &Histogram<u64>, elapsed: Duration) -> anyhow::Result<()> {
    let millis = u64::try_from(elapsed.as_millis())?.max(1);
    report.fact("seconds", format!("{:.1}", elapsed.as_secs_f64()));
    report.fact("receipts a second", times.len() * 1000 / millis);
    for (name, quantile) in [("p50 us", 0.5), ("p99 us", 0.99), ("p99.9 us", 0.999)] {
        report.fact(name, times.value_at_quantile(quantile));
    }
    report.fact("max us", times.max());
    Ok(())
}
