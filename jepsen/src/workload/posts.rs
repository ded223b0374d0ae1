//! Posted three times each: many documents with keys, every one from three connections at once.
//!
//! Proves: one record each, three receipts that differ in nothing but `duplicate`, one row in the
//! sheet, and the same in every other reader's sight (pages, NDJSON, CSV, export, tail).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::checker::accounts::Accounts;
use crate::client::Client;
use crate::client::api;
use crate::form::{Form, Submission};
use crate::process::Node;
use crate::report::Report;
use crate::workload::{Options, Run};

const TIMES: usize = 3;
const CONNECTIONS: u32 = 48;

pub(crate) async fn run(options: &Options, count: u64) -> anyhow::Result<Report> {
    let mut run = Run::new(options, "once")?;
    let node = Node::start(&run.site).await?;
    run.progress(format!(
        "{count} documents, each posted {TIMES} times from {CONNECTIONS} connections"
    ));
    let submissions = (0..count).map(|number| {
        let form = if number.is_multiple_of(2) {
            Form::StudentData
        } else {
            Form::Free
        };
        run.submission(form, Some(&format!("post-{number}")))
    });
    // The three posts of one document stand side by side, so that they meet.
    let queue = submissions.flat_map(|submission| std::iter::repeat_n(submission, TIMES));
    let queue = Arc::new(queue.collect::<Vec<_>>());
    post_all(&mut run, &node, queue).await?;

    let accounts = Accounts::of(&run.history.since(0));
    let thrice = accounts
        .iter()
        .filter(|account| account.receipts == 3 && account.fresh == 1);
    let thrice = u64::try_from(thrice.count())?;
    run.report.demand(
        "documents with three receipts, one of them the first",
        thrice,
        count,
    );
    for form in [Form::StudentData, Form::Free] {
        run.read_otherwise(&node, form).await?;
    }
    run.check(&node, &[Form::StudentData, Form::Free]).await?;
    run.end(node).await
}

/// Each connection takes the next of the queue until it is empty.
pub(crate) async fn post_all(
    run: &mut Run,
    node: &Node,
    queue: Arc<Vec<Submission>>,
) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for process in 0..CONNECTIONS {
        let (queue, next, history) = (Arc::clone(&queue), Arc::clone(&next), run.history.clone());
        let address = node.address;
        workers.spawn(async move {
            let mut client = Client::new(address);
            let mut faults = Vec::new();
            while let Some(submission) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                let answer = api::submit(&mut client, &history, process, submission).await;
                faults.extend(answer.err());
            }
            faults
        });
    }
    while let Some(faults) = workers.join_next().await {
        for fault in faults.context("a worker died")? {
            run.note(Err(fault));
        }
    }
    Ok(())
}
