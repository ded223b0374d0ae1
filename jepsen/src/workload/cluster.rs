//! Several nodes under load, and one fault after the other.
//!
//! Proves: whatever happens to fewer than half of the nodes, clients are served again within
//! seconds, and within seconds too when all were down and are back. After each fault every node
//! holds every acknowledged submission, once, in the same order, at the place that the receipt said;
//! digests are the same at the same index; each node's sheet shows what the node shows; what one
//! node shows never went back while it ran.
//!
//! Clients post to any node, and with a key once more to another one where an answer did not come.
//! A fault that was not laid, or during which nothing was acknowledged that should have been,
//! proves nothing.

use std::time::Duration;

use anyhow::ensure;
use clap::{Args, ValueEnum as _};

use crate::nemesis::Fault;
use crate::process::cluster::{Cluster, Layout};
use crate::process::disk::must_be_possible;
use crate::report::Report;
use crate::workload::cluster::trial::Trial;
use crate::workload::{Options, Run, keep};

mod copies;
mod follower;
mod genesis;
mod level;
mod trial;

const SEGMENT: (&str, u64) = ("WAL__SEGMENT_BYTES", 4 << 20); // so that a short run seals some
const DISK_MIB: u64 = 400;
/// Until all are one cluster again, and well.
const LEVEL_TIME: Duration = Duration::from_secs(45);
const NODES_MAX: usize = 5;

#[derive(Args, Clone, Debug)]
pub(crate) struct Plan {
    /// Which faults, in this order; without it, those that need nothing but processes.
    #[arg(long, value_enum, value_delimiter = ',', conflicts_with = "all")]
    pub(crate) faults: Vec<Fault>,
    /// Every fault; those of the network only with `--net`.
    #[arg(long)]
    pub(crate) all: bool,
    /// How long each fault lasts.
    #[arg(long, default_value_t = 6)]
    pub(crate) seconds_each: u64,
    #[arg(long, default_value_t = 16)]
    pub(crate) connections: u32,
    #[arg(long, default_value_t = 3)]
    pub(crate) nodes: usize,
    /// Each node in a network of its own. Needs root and TAP.
    #[arg(long)]
    pub(crate) net: bool,
    /// `genesis` breaks off at every so many files only.
    #[arg(long, default_value_t = 1)]
    pub(crate) births_every: usize,
    /// Nobody may be left without service for longer.
    #[arg(long, default_value_t = 20)]
    pub(crate) served_within_s: u64,
}

impl Plan {
    fn faults(&self) -> Vec<Fault> {
        if self.all {
            let all = Fault::value_variants().iter().copied();
            return all
                .filter(|fault| self.net || !fault.is_of_the_net())
                .collect();
        }
        if !self.faults.is_empty() {
            return self.faults.clone();
        }
        let mut few = vec![
            Fault::KillLeader,
            Fault::PauseLeader,
            Fault::KillAll,
            Fault::Rolling,
        ];
        if self.net {
            few.extend([Fault::IsolateLeader, Fault::MuteLeader, Fault::Lossy]);
        }
        few
    }
}

pub(crate) async fn run(options: &Options, plan: &Plan) -> anyhow::Result<Report> {
    let faults = plan.faults();
    ensure!(
        plan.net || !faults.iter().any(|fault| fault.is_of_the_net()),
        "faults of the network need --net"
    );
    ensure!(
        (2..=NODES_MAX).contains(&plan.nodes),
        "2 to {NODES_MAX} nodes"
    );
    let needs_disks = faults.iter().any(|fault| fault.needs_disks());
    if needs_disks {
        must_be_possible(&options.parent)?;
    }
    let mut run = Run::new(options, "cluster")?;
    let layout = Layout {
        nodes: plan.nodes,
        has_net: plan.net,
        disk_mib: needs_disks.then_some(DISK_MIB),
        seed: options.seed,
    };
    if faults.contains(&Fault::Genesis)
        && let Err(error) = genesis::run(&mut run, options, (layout, plan.births_every)).await
    {
        return Err(keep(run, error));
    }
    let faults = faults.into_iter().filter(|fault| *fault != Fault::Genesis);
    let faults = faults.collect::<Vec<_>>();
    if faults.is_empty() || !run.report.findings.is_clean() {
        return run.finish();
    }
    match Trial::start(run, options, plan, layout).await {
        Ok(mut trial) => match trial.drive(&faults).await {
            Ok(()) => trial.finish().await,
            Err(error) => {
                let Trial { cluster, run, .. } = trial;
                let said = cluster.log_tails();
                drop(cluster);
                Err(keep(run, error.context(said)))
            }
        },
        Err((run, error)) => Err(keep(*run, error)),
    }
}

/// A cluster with the run's settings, in directories below the run's.
fn lay_out(run: &Run, options: &Options, layout: Layout) -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::new(&run.site, &options.deploy, layout)?;
    let (name, bytes) = SEGMENT;
    cluster.set(name, Some(&bytes.to_string()));
    cluster.set("MUTANT", options.mutant.as_deref());
    for (name, value) in &options.settings {
        cluster.set(name, Some(value));
    }
    Ok(cluster)
}
