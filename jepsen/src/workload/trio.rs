//! Three nodes under load, in the machine's own network.
//!
//! Holds: a run that cannot go on keeps its site, and tells what the nodes said last.

use std::time::Duration;

use anyhow::ensure;

use crate::checker::findings::Kind;
use crate::client::Client;
use crate::process::cluster::{Cluster, Layout};
use crate::reader::http::Reader;
use crate::report::Report;
use crate::workload::fleet::{Crew, Fleet};
use crate::workload::watch::FORMS;
use crate::workload::worker::{Phase, wait};
use crate::workload::{Options, Run, keep};

const NODES: usize = 3;
/// What a client waits for an answer before it asks another node.
const PATIENCE: Duration = Duration::from_secs(2);
const REST: Duration = Duration::from_millis(40);
/// Somebody else leads within this.
const SERVED_TIME: Duration = Duration::from_secs(20);

/// Fields in the order in which they must go.
pub(crate) struct Trio {
    pub(crate) fleet: Fleet,
    pub(crate) cluster: Cluster,
    pub(crate) run: Run,
    rounds: u32,
}

impl Trio {
    pub(crate) async fn start(
        options: &Options,
        command: &'static str,
        (settings, connections): (&[(&'static str, String)], u32),
    ) -> anyhow::Result<Self> {
        let run = Run::new(options, command)?;
        let layout = Layout {
            nodes: NODES,
            has_net: false,
            disk_mib: None,
            seed: options.seed,
        };
        let mut cluster = Cluster::new(&run.site, &options.deploy, layout)?;
        cluster.set("MUTANT", options.mutant.as_deref());
        for (name, value) in settings {
            cluster.set(name, Some(value));
        }
        for (name, value) in &options.settings {
            cluster.set(name, Some(value));
        }
        if let Err(error) = cluster.start().await {
            let error = error.context(cluster.log_tails());
            drop(cluster);
            return Err(keep(run, error));
        }
        let crew = Crew {
            patience: Some(PATIENCE),
            rest: REST,
            ..Crew::busy(connections, u64::MAX)
        };
        let fleet = Fleet::start(&run, &cluster.addresses(), crew);
        Ok(Self {
            fleet,
            cluster,
            run,
            rounds: 0,
        })
    }

    /// The next round's load is on.
    pub(crate) async fn up(&mut self) -> anyhow::Result<()> {
        let before = self.fleet.gauge.acks();
        self.fleet.phase.send_replace(Phase::Up(self.rounds));
        self.rounds += 1;
        let is_loaded = self.fleet.wait_for_load(before).await;
        ensure!(is_loaded, "nothing is acknowledged");
        self.cluster.must_live()
    }

    /// Waits until there are receipts behind `acks`; answers how many.
    pub(crate) async fn served_since(&self, acks: u64) -> u64 {
        // If there are none, whoever demands some says so.
        wait(&self.fleet.gauge.acks, acks + 1, SERVED_TIME).await;
        self.fleet.gauge.acks() - acks
    }

    /// The round's load is off, and nothing is under way.
    pub(crate) async fn down(&mut self, name: &str) {
        let findings = &mut self.run.report.findings;
        self.fleet.quiet(name, findings).await;
    }

    /// It cannot go on.
    pub(crate) fn broken(self, error: anyhow::Error) -> anyhow::Error {
        let Self { cluster, run, .. } = self;
        let error = error.context(cluster.log_tails());
        drop(cluster);
        keep(run, error)
    }

    /// What was posted has its answer.
    pub(crate) async fn settle(self) -> anyhow::Result<(Cluster, Run)> {
        let Self {
            fleet,
            cluster,
            mut run,
            ..
        } = self;
        fleet.settle(&mut run).await?;
        run.progress("reading everything");
        Ok((cluster, run))
    }
}

impl Run {
    /// Reads whoever leads, checks the whole history against all that was read, and stops all nodes.
    pub(crate) async fn end_all(mut self, mut cluster: Cluster) -> anyhow::Result<Report> {
        let leader = cluster.leader().await?;
        let (address, token) = (cluster.member(leader)?.site.http, cluster.token()?);
        let mut reader = Reader::new(Client::new(address), token, self.bodies);
        for form in FORMS {
            let sight = reader.whole(form).await;
            self.sights.push(sight);
        }
        self.judge();
        for node in cluster.numbers() {
            if let Err(error) = cluster.stop(node).await {
                let findings = &mut self.report.findings;
                findings.add(Kind::Died, || format!("{error:#}"));
            }
        }
        drop(cluster);
        self.finish()
    }
}
