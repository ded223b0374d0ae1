//! The instruments, tried without the product: if they could not see a fault, no run could.
//!
//! Shows, with kcat as the producer behind the gates: what is committed is seen by both readers; an
//! open transaction is seen by the uncommitted one alone, and hides what comes behind it; what was
//! aborted stays hidden from the committed one for ever; Kafka's own consumer agrees.

use std::time::Duration;

use anyhow::ensure;

use crate::checker::findings::Findings;
use crate::checker::kafka::aborted;
use crate::nemesis::gate::{Api, Bait, Way};
use crate::process::kafka::tools::{fence, produce};
use crate::reader::kafka::{Isolation, agreed, read};
use crate::report::Report;
use crate::say::Say;
use crate::workload::kafka::lab::Lab;

const SOON: Duration = Duration::from_secs(10);
const ID: &str = "canary";

pub(super) async fn run(lab: &mut Lab, say: Say, report: &mut Report) -> anyhow::Result<()> {
    let topic = format!("{}-canary", lab.prefix());
    lab.brokers.create_topic(&topic, &[]).await?;
    let (direct, product) = (lab.brokers.bootstrap(), lab.gates.bootstrap());
    let count = async |isolation| anyhow::Ok(read(&direct, &topic, isolation).await?.rows.len());

    produce(&product, &topic, Some(ID), "one\ntwo\n").await?;
    ensure!(
        count(Isolation::Committed).await? == 2,
        "what is committed is not seen"
    );

    let trap = lab.gates.set(Bait::first(Way::Request, Api::EndTxn, ID));
    {
        // Dropped at the end of this block, kcat is gone, and its transaction stays open.
        let writing = produce(&product, &topic, Some(ID), "three\n");
        tokio::select! {
            ended = writing => anyhow::bail!("a commit was not held: {ended:?}"),
            is_caught = trap.caught(SOON) => ensure!(is_caught, "no commit came by"),
        }
    }
    produce(&direct, &topic, None, "four\n").await?;
    ensure!(
        count(Isolation::Uncommitted).await? == 4,
        "an open transaction is not seen"
    );
    ensure!(
        count(Isolation::Committed).await? < 4,
        "an open transaction is seen as committed"
    );
    trap.drop_it();

    fence(&direct, &topic, ID).await?;
    let committed = read(&direct, &topic, Isolation::Committed).await?;
    let uncommitted = read(&direct, &topic, Isolation::Uncommitted).await?;
    let mut findings = Findings::default();
    let hidden = aborted(&committed, &uncommitted, &mut findings);
    ensure!(
        findings.is_clean() && hidden == 1 && committed.rows.len() == 3,
        "what was aborted is not told from what was committed: {committed:?}"
    );
    agreed(&lab.brokers, &committed).await?;
    report.fact(
        "canary",
        "both readers see what is committed, and one what is not",
    );
    say.progress("kafka: canary: the instruments see what they must");
    Ok(())
}
