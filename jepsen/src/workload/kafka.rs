//! Kafka: what the node has acknowledged is in the topic, once and in order, whatever happens to the
//! node, to the cluster, to the brokers and between them.
//!
//! Proves, against real brokers and by readers that the product does not use: after each fault the
//! topic holds what the log holds, record by record and byte by byte, and every acknowledged
//! submission. Each fault must have bitten: a transaction was open when it fell, or the run proves
//! nothing.
//!
//! Two stages on one set of brokers: one node, where each fault falls at a moment of the
//! transaction that a gate has seen; and three nodes, where leaders and brokers go.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, ValueEnum as _};

use crate::process::cluster::Cluster;
use crate::report::Report;
use crate::workload::{Options, Run};

mod canary;
pub(crate) mod fault;
pub(crate) mod lab;
pub(crate) mod mirror;
mod one;
pub(crate) mod three;

use fault::Fault;
use lab::Lab;

const NODES: usize = 3;
pub(crate) const LIBRARIES: &str = "target/peers/kafka";

#[derive(Args, Clone, Debug)]
pub(crate) struct Plan {
    /// Which faults, in this order; without it all, those of the network only with `--net`.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) faults: Vec<Fault>,
    /// Where Kafka's libraries are (`deploy/dev/setup.sh kafka` lays them down).
    #[arg(long, default_value = LIBRARIES)]
    pub(crate) libraries: std::path::PathBuf,
    /// How many brokers: 1 or 3.
    #[arg(long, default_value_t = 3)]
    pub(crate) brokers: usize,
    /// How often the one node is killed in the midst of a transaction.
    #[arg(long, default_value_t = 20)]
    pub(crate) kills: u32,
    /// How long a leader is stopped before it goes on as a zombie.
    #[arg(long, default_value_t = 40)]
    pub(crate) pause_s: u64,
    /// How long brokers are stopped.
    #[arg(long, default_value_t = 60)]
    pub(crate) outage_s: u64,
    #[arg(long, default_value_t = 8)]
    pub(crate) connections: u32,
    /// Each of the three nodes in a network of its own. Needs root and TAP.
    #[arg(long)]
    pub(crate) net: bool,
}

impl Plan {
    /// One node and one broker, for one fault.
    pub(crate) fn short(fault: Fault) -> Self {
        Self {
            faults: vec![fault],
            libraries: LIBRARIES.into(),
            brokers: 1,
            kills: 5,
            pause_s: 12,
            outage_s: 12,
            connections: 8,
            net: false,
        }
    }

    pub(crate) fn lab(&self) -> (usize, &Path) {
        (self.brokers, &self.libraries)
    }

    fn faults(&self) -> Vec<Fault> {
        if !self.faults.is_empty() {
            return self.faults.clone();
        }
        let all = Fault::value_variants().iter().copied();
        all.filter(|fault| self.net || !fault.is_of_the_net())
            .filter(|fault| self.brokers == 3 || !fault.needs_brokers())
            .collect()
    }

    fn pause(&self) -> Duration {
        Duration::from_secs(self.pause_s)
    }

    fn outage(&self) -> Duration {
        Duration::from_secs(self.outage_s)
    }
}

pub(crate) async fn run(options: &Options, plan: &Plan) -> anyhow::Result<Report> {
    let faults = plan.faults();
    ensure!(matches!(plan.brokers, 1 | 3), "1 or 3 brokers");
    ensure!(
        plan.net || !faults.iter().any(|fault| fault.is_of_the_net()),
        "faults of the network need --net"
    );
    ensure!(
        plan.brokers == 3 || !faults.iter().any(|fault| fault.needs_brokers()),
        "faults of brokers need --brokers 3"
    );
    let is_three = faults.iter().any(|fault| fault.needs_cluster());
    // The network before the brokers, which are at home in it.
    let three = is_three
        .then(|| three::lay_out(options, plan))
        .transpose()?;
    let host = three
        .as_ref()
        .and_then(|(_, cluster)| cluster.net.as_ref())
        .map(|net| crate::net::address(net.clients()));
    let mut lab = Lab::start(options, plan.lab(), host).await?;
    drive(options, plan, &mut lab, three).await
}

/// The faults of `plan`, at brokers that run already.
pub(crate) async fn drive(
    options: &Options,
    plan: &Plan,
    lab: &mut Lab,
    three: Option<(Run, Cluster)>,
) -> anyhow::Result<Report> {
    let (of_three, of_one) = plan
        .faults()
        .into_iter()
        .partition::<Vec<_>, _>(|fault| fault.needs_cluster());
    let mut report = Report::new("kafka", options.seed);
    if of_one.contains(&Fault::Canary) {
        canary::run(lab, options.say, &mut report).await?;
    }
    let of_one = of_one.into_iter().filter(|fault| *fault != Fault::Canary);
    let of_one = of_one.collect::<Vec<_>>();
    if !of_one.is_empty() {
        let stage = Box::pin(one::run(options, plan, lab, &of_one)).await?;
        report.absorb(stage);
    }
    if let Some((run, cluster)) = three
        && report.findings.is_clean()
    {
        let stage = Box::pin(three::run(plan, lab, (run, cluster, &of_three))).await?;
        report.absorb(stage);
    }
    Ok(report)
}
