//! The node's disk is copied while it stands still, and both go on: as when a machine is restored
//! from an image that was taken too early. Two producers of one name are alive.
//!
//! ```text
//!   first    begins a transaction, held ─ stopped ──── goes on, commits ─ killed
//!   second                    copied, starts, asks for the name: held ─── let go, reads the cursor
//! ```
//! Whoever reads the cursor before it has the name sees it without that commit.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;

use crate::nemesis::gate::{Api, Bait, Way};
use crate::process::Node;
use crate::process::site::Site;
use crate::workload::kafka::one::{One, set_up};
use crate::workload::worker::Phase;

const COMMIT_TIME: Duration = Duration::from_secs(15);

pub(super) async fn run(one: &mut One<'_>) -> anyhow::Result<String> {
    one.fleet.quiet("twin", &mut one.run.report.findings).await;
    one.judge("twin, before").await?;
    let id = one.mirror.id();
    let begun = one.trap(Way::Request, Api::AddPartitionsToTxn);
    one.fleet.phase.send_replace(Phase::Up(one.laid));
    if !one.must_catch(&begun, "a transaction").await {
        return Ok("no transaction came".to_owned());
    }
    one.fleet.quiet("twin", &mut one.run.report.findings).await;
    one.node.pause().await?;
    let site = copy(one)?;
    let named = Bait::first(Way::Request, Api::InitProducerId, &id);
    let named = one.lab.gates.set(named);
    let mut second = Node::launch(&site)?;
    second.until(&site, "/readyz").await?;
    one.must_catch(&named, "the second one's name").await;

    let committed = Bait::first(Way::Reply, Api::EndTxn, &id).seen_only();
    let committed = one.lab.gates.set(committed);
    one.node.resume()?;
    begun.let_go();
    let is_committed = committed.caught(COMMIT_TIME).await;
    one.node.kill().await?;
    named.let_go();
    let name = "commits of the first of two";
    one.run.report.demand(name, is_committed.into(), 1);
    succeed(one, site, second).await?;
    Ok("the first of two committed when the second had begun".to_owned())
}

/// As the product lies on its disk, in a site of its own.
fn copy(one: &One<'_>) -> anyhow::Result<Site> {
    let options = one.options;
    let mut site = Site::new(&options.binary, &options.deploy, &options.parent)?;
    site.set("MUTANT", options.mutant.clone());
    for (name, value) in &options.settings {
        site.set(name, Some(value.clone()));
    }
    set_up(one.lab, &mut site);
    copy_all(one.run.site.data(), site.data())?;
    Ok(site)
}

fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_all(&entry.path(), &to)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// The copy is judged as it was started; then it takes the other's place, where the connections
/// find it.
async fn succeed(one: &mut One<'_>, mut site: Site, second: Node) -> anyhow::Result<()> {
    let (http, ops) = (one.run.site.http, one.run.site.ops);
    std::mem::swap(&mut one.run.site, &mut site);
    one.node = second;
    drop(site);
    one.judge("twin").await?;
    one.node.kill().await?;
    let own = &mut one.run.site;
    (own.http, own.ops) = (http, ops);
    own.set("HTTP__LISTEN", Some(http.to_string()));
    own.set("OPS__LISTEN", Some(ops.to_string()));
    one.start().await?;
    let before = one.fleet.gauge.acks();
    one.fleet.phase.send_replace(Phase::Up(one.laid));
    let is_loaded = one.fleet.wait_for_load(before).await;
    ensure!(is_loaded, "nothing is acknowledged by the second");
    Ok(())
}
