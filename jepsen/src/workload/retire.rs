//! A form is retired while submissions are under way.
//!
//! Proves: every answer is a receipt or 409 (404 where the door knows already); what was taken
//! before stays, what was refused is in no reader's sight, nothing is taken after, and a key of
//! before still answers with its first receipt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hyper::Method;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::api;
use crate::client::{Call, Client};
use crate::form::{Form, Submission};
use crate::history::{History, What};
use crate::process::Node;
use crate::report::Report;
use crate::workload::{Options, Run};

const CONNECTIONS: u32 = 32;
const REFUSALS: u32 = 20; // a connection goes on for so many, to be sure that it stays
const WARM_TIME: Duration = Duration::from_secs(30);

pub(crate) async fn run(options: &Options, before: u64) -> anyhow::Result<Report> {
    let mut run = Run::new(options, "retire")?;
    let node = Node::start(&run.site).await?;
    run.progress(format!(
        "retiring after {before} receipts on {CONNECTIONS} connections"
    ));
    let acks = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for process in 0..CONNECTIONS {
        let poster = Poster {
            client: Client::new(node.address),
            history: run.history.clone(),
            acks: Arc::clone(&acks),
            process,
        };
        workers.spawn(poster.post(run.bodies));
    }
    let started = Instant::now();
    while acks.load(Ordering::Relaxed) < before && started.elapsed() < WARM_TIME {
        sleep(Duration::from_millis(2)).await;
    }
    let path = format!("/v1/forms/{}", Form::Retire.name());
    let call = Call::new(Method::DELETE, path).bearer(&run.site.token()?);
    let answer = Client::new(node.address).call(&call).await?;
    ensure!(
        answer.status == 200,
        "retiring: {} {}",
        answer.status,
        answer.text()
    );

    let (mut refused, mut kept) = (0, Vec::new());
    while let Some(posted) = workers.join_next().await {
        let posted = posted.context("a worker died")?;
        refused += posted.refused;
        kept.extend(posted.kept);
        for fault in posted.faults {
            run.note(Err(fault));
        }
    }
    again(&mut run, &node, &kept).await;
    run.report
        .demand("receipts before", acks.load(Ordering::Relaxed), before);
    run.report
        .demand("refusals after", refused, u64::from(CONNECTIONS * REFUSALS));
    run.read_otherwise(&node, Form::Retire).await?;
    run.check(&node, &[Form::Retire]).await?;
    run.end(node).await
}

/// A retired form still knows its keys.
async fn again(run: &mut Run, node: &Node, kept: &[Submission]) {
    let mut client = Client::new(node.address);
    for submission in kept {
        let answer = api::submit(&mut client, &run.history, CONNECTIONS, submission).await;
        run.note(answer.and_then(|outcome| {
            let receipt = outcome.receipt("a key of before the form was retired")?;
            ensure!(
                receipt.is_duplicate,
                "a key of before was taken again: {receipt:?}"
            );
            Ok(())
        }));
    }
}

struct Poster {
    client: Client,
    history: History,
    acks: Arc<AtomicU64>,
    process: u32,
}

#[derive(Default)]
struct Posted {
    refused: u64,
    /// The last one taken under a key.
    kept: Option<Submission>,
    faults: Vec<anyhow::Error>,
}

impl Poster {
    async fn post(mut self, bodies: crate::form::Bodies) -> Posted {
        let mut posted = Posted::default();
        let mut in_a_row = 0;
        let end = Instant::now() + WARM_TIME * 2;
        while in_a_row < REFUSALS && Instant::now() < end {
            let marker = self.history.next_marker();
            let key = marker.is_multiple_of(2).then(|| format!("retire-{marker}"));
            let submission = bodies.submission(Form::Retire, marker, key);
            let (client, history) = (&mut self.client, &self.history);
            match api::submit(client, history, self.process, &submission).await {
                Ok(What::Ok(_)) => {
                    self.acks.fetch_add(1, Ordering::Relaxed);
                    if in_a_row > 0 {
                        posted
                            .faults
                            .push(anyhow::anyhow!("taken after it was refused"));
                    }
                    if submission.key.is_some() {
                        posted.kept = Some(submission);
                    }
                }
                Ok(What::Refused(404 | 409)) => {
                    in_a_row += 1;
                    posted.refused += 1;
                }
                Ok(other) => posted
                    .faults
                    .push(anyhow::anyhow!("while retiring: {other:?}")),
                Err(error) => posted.faults.push(error),
            }
        }
        posted
    }
}
