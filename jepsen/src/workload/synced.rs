//! One at a time, with the disk as witness: no receipt without a flush of the disk between the
//! sending and the answer.
//!
//! Proves: the promise is given after the sync. It needs a disk whose flushes the kernel
//! counts, and says so where there is none. On a busy disk others' flushes may hide single
//! faults, so many are tried; one is enough.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::checker::findings::Kind;
use crate::client::Client;
use crate::client::api;
use crate::form::Form;
use crate::process::Node;
use crate::process::flushes::Flushes;
use crate::report::Report;
use crate::workload::posts::post_all;
use crate::workload::{Options, Run};

const PAUSE: Duration = Duration::from_millis(10);

pub(crate) async fn run(options: &Options, count: u64) -> anyhow::Result<Report> {
    let mut run = Run::new(options, "synced")?;
    let node = Node::start(&run.site).await?;
    let flushes = Flushes::of(run.site.path())?;
    run.progress(format!(
        "{count} documents one by one, counting the disk's flushes"
    ));
    let warm = (0..32).map(|_| run.submission(Form::Quiet, None)).collect();
    post_all(&mut run, &node, Arc::new(warm)).await?;

    let mut client = Client::new(node.address);
    let (mut judged, mut total) = (0, 0);
    for _ in 0..count {
        // Work that a receipt did not wait for must not be taken for the next one's.
        sleep(PAUSE).await;
        let submission = run.submission(Form::Quiet, None);
        let before = flushes.count()?;
        let outcome = api::submit(&mut client, &run.history, 0, &submission).await?;
        let between = flushes.count()?.saturating_sub(before);
        outcome.receipt("a plain submission")?;
        judged += 1;
        total += between;
        if between == 0 {
            run.report.findings.add(Kind::Unsynced, || {
                format!(
                    "m{} was acknowledged without a flush of the disk",
                    submission.marker
                )
            });
        }
    }
    run.report.demand("receipts witnessed", judged, count);
    run.report.fact("flushes witnessed", total);
    run.check(&node, &[Form::Quiet]).await?;
    run.end(node).await
}
