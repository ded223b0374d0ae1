//! Kafka stands still while submissions go on: how much memory the node takes more than before.

use std::path::Path;

use anyhow::Result;

use super::Arguments;
use super::broker::Broker;
use super::node::Node;
use crate::document::DOCUMENT_BYTES;

/// Parts of the backlog after which memory is looked at.
const LOOKS: u64 = 16;

pub(super) async fn run(arguments: &Arguments, broker: &Broker, folder: &Path) -> Result<()> {
    let records = (arguments.backlog_mib << 20) / u64::try_from(DOCUMENT_BYTES)?;
    println!(
        "\nmemory: {} MiB of bodies accepted while Kafka stands still",
        arguments.backlog_mib
    );
    let node = Node::start(&arguments.binary, &folder.join("memory"), broker).await?;
    broker.topic("memory").await?;
    node.define("memory", "memory").await?;
    // As it is under load with Kafka there: buffers and caches are as large as they get.
    let warm = records / LOOKS;
    node.fill(warm).await?;
    node.delivered("memory", warm).await?;
    let before = node.rss_mib();
    broker.stand_still()?;
    let mut most = before;
    for look in 1..=LOOKS {
        node.fill(records / LOOKS).await?;
        let now = node.rss_mib();
        most = most.max(now);
        println!("{:3} %: {now:.0} MiB resident", look * 100 / LOOKS);
    }
    broker.go_on()?;
    node.delivered("memory", warm + records / LOOKS * LOOKS)
        .await?;
    println!(
        "before {before:.0} MiB, at most {most:.0} MiB: {:+.0} MiB; drained by itself to the end, \
         then {:.0} MiB",
        most - before,
        node.rss_mib()
    );
    Ok(())
}
