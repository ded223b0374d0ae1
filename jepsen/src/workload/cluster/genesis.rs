//! The birth of a cluster, broken off at each of its steps.
//!
//! Proves: however far the nodes had come when all were killed, or (each other time) the one that
//! had come furthest, started again they are one cluster of all, which takes submissions. A step is
//! the moment at which one more file is there, whatever it is called: so no step has to be known,
//! and none is forgotten.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use crate::checker::accounts::Accounts;
use crate::checker::findings::{Findings, Kind};
use crate::client::Client;
use crate::client::api;
use crate::form::Form;
use crate::history::What;
use crate::process::cluster::{Cluster, Layout};
use crate::workload::cluster::{LEVEL_TIME, lay_out, level};
use crate::workload::{Options, Run};

const STEPS_MAX: usize = 40;
const STEP_TIME: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_micros(300);
const POSTS: u64 = 5;

pub(super) async fn run(
    run: &mut Run,
    options: &Options,
    (layout, stride): (Layout, usize),
) -> anyhow::Result<()> {
    let mut broken = 0;
    for (number, step) in (1..=STEPS_MAX).step_by(stride.max(1)).enumerate() {
        // Its own directory, and its own history: markers go on, so that none is used twice.
        let options = Options {
            parent: run.site.path().to_owned(),
            ..options.clone()
        };
        let mut own = Run::new(&options, "genesis")?;
        (own.history, own.bodies) = (run.history.cut(), run.bodies);
        let mut cluster = lay_out(&own, &options, layout)?;
        let has_all = number.is_multiple_of(2);
        let was_broken = break_off(&mut cluster, step, has_all).await?;
        broken += u64::from(was_broken);
        let started = Instant::now();
        let born = born(&mut own, &mut cluster).await;
        let (back, said) = (started.elapsed().as_millis(), cluster.log_tails());
        let findings = std::mem::take(&mut own.report.findings);
        let whom = if has_all { "all" } else { "one" };
        let label = format!("genesis, {whom} killed at file {step}: ");
        if let Err(error) = born {
            run.report
                .findings
                .add(Kind::Fault, || format!("{label}{error:#}\n{said}"));
        }
        run.report.findings.merge(findings.labelled(&label));
        run.progress(format!("{label}a cluster after {back} ms"));
        if !run.report.findings.is_clean() {
            drop(cluster);
            own.site.keep();
            break;
        }
        if !was_broken {
            break;
        }
    }
    run.report.fact("births broken off", broken);
    run.report.demand("births broken off", broken, 3);
    Ok(())
}

/// Starts all, and kills all, or that one, when some node has `step` files. Answers whether it came
/// to that before the cluster was ready.
async fn break_off(cluster: &mut Cluster, step: usize, has_all: bool) -> anyhow::Result<bool> {
    for node in cluster.numbers() {
        cluster.launch(node)?;
    }
    let end = Instant::now() + STEP_TIME;
    let mut client = Client::new(cluster.member(0)?.site.ops);
    let mut looks = 0_u32;
    while Instant::now() < end {
        for node in cluster.numbers() {
            if files(cluster.member(node)?.site.data()) >= step {
                if has_all {
                    cluster.kill_all().await?;
                } else {
                    cluster.kill(node).await?;
                }
                return Ok(true);
            }
        }
        looks += 1;
        if looks.is_multiple_of(100) {
            let ready = client.call(&crate::client::Call::get("/readyz")).await;
            if ready.is_ok_and(|answer| answer.status == 200) {
                cluster.kill_all().await?;
                return Ok(false);
            }
        }
        sleep(LOOK).await;
    }
    anyhow::bail!(
        "no cluster, and no {step} files, within {} s",
        STEP_TIME.as_secs()
    )
}

/// Below `path`, at any depth, with the directories.
fn files(path: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.map(|path| 1 + files(&path)).sum()
}

/// Starts all again: they must become one cluster, take submissions and hold them.
async fn born(run: &mut Run, cluster: &mut Cluster) -> anyhow::Result<()> {
    for node in cluster.numbers() {
        // Not to come up from here is its fault.
        cluster.member(node)?.site.lives();
    }
    cluster.start().await?;
    for node in cluster.numbers() {
        cluster.ready(node).await?;
    }
    let addresses = cluster.addresses();
    let history = Arc::new(run.history.clone());
    for (process, address) in (0..).zip(addresses) {
        let mut client = Client::new(address);
        for number in 0..POSTS {
            let key = format!("genesis-{process}-{number}");
            let submission = run.submission(Form::Free, Some(&key));
            let outcome = api::submit(&mut client, &history, process, &submission).await?;
            anyhow::ensure!(
                matches!(outcome, What::Ok(_)),
                "{outcome:?} at a new cluster"
            );
        }
    }
    let mut findings = Findings::default();
    let (states, _) = level::wait(
        cluster,
        ("genesis", run.sheet_time.min(LEVEL_TIME)),
        &mut findings,
    )
    .await;
    crate::checker::replicas::check_digests(&states, &mut findings);
    run.report.findings.merge(findings);
    let token = cluster.token().context("no admin token")?;
    for node in cluster.numbers() {
        let client = Client::new(cluster.member(node)?.site.http);
        let mut reader = crate::reader::http::Reader::new(client, token.clone(), run.bodies);
        run.sights.push(reader.whole(Form::Free).await);
    }
    let accounts = Accounts::of(&run.history.since(0));
    let sights = std::mem::take(&mut run.sights);
    crate::checker::check_all(&accounts, &sights, &mut run.report.findings);
    cluster.kill_all().await
}
