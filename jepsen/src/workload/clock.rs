//! The wall clock jumps a year, forward and back, between retries of the same key.
//!
//! Proves: no key is forgotten or taken for another by it: every retry gets its first receipt,
//! word for word; new documents are taken, and seqs go on. Half of the stops are `kill -9`.

use std::sync::Arc;

use crate::checker::accounts::Accounts;
use crate::form::Form;
use crate::process::Node;
use crate::report::Report;
use crate::workload::posts::post_all;
use crate::workload::{Options, Run};

const YEAR_MS: i64 = 365 * 24 * 60 * 60 * 1000;
/// The offset at each start.
const JUMPS: [i64; 4] = [0, YEAR_MS, -YEAR_MS, 0];

pub(crate) async fn run(options: &Options, count: u64) -> anyhow::Result<Report> {
    let mut run = Run::new(options, "clock")?;
    let mut posted = Vec::new();
    for (number, offset) in JUMPS.into_iter().enumerate() {
        run.site.set(
            "CLOCK__OFFSET_MS",
            (offset != 0).then(|| offset.to_string()),
        );
        let mut node = Node::start(&run.site).await?;
        run.progress(format!(
            "clock set by {} days",
            offset / (24 * 60 * 60 * 1000)
        ));
        let fresh = (0..count)
            .map(|post| run.submission(Form::Free, Some(&format!("clock-{number}-{post}"))));
        posted.extend(fresh.collect::<Vec<_>>());
        // All of before again, then the new ones.
        post_all(&mut run, &node, Arc::new(posted.clone())).await?;
        if number + 1 == JUMPS.len() {
            let accounts = Accounts::of(&run.history.since(0));
            let again = accounts
                .iter()
                .filter(|account| account.receipts > 1)
                .count();
            let least = count * (u64::try_from(JUMPS.len())? - 1);
            run.report.demand(
                "documents with a later receipt",
                u64::try_from(again)?,
                least,
            );
            run.check(&node, &[Form::Free]).await?;
            node.stop().await?;
        } else if number.is_multiple_of(2) {
            node.stop().await?;
        } else {
            node.kill().await?;
        }
    }
    run.finish()
}
