//! A round: each cluster is started, warmed up, measured at each work in each of its ways, ended.
//!
//! Holds: no two clusters run at once. A peer that fails is told and left out from then on; if ours
//! fails, the run does.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::load::{self, Plan};
use super::peer::{Cluster, Peer, Way};
use super::table::{OURS, Round, Table};
use super::work::{Shape, Work};
use crate::usage::{Usage, spent_by_all, with_children};

/// Before each measurement: what the one before left to do in the background is done then.
const PAUSE: Duration = Duration::from_millis(200);
/// After a start: a virtual machine of a peer compiles its code meanwhile.
const WARM_UP: Work = Work::Waiting(64);
const LATENCIES_TOLD: [f64; 3] = [0.5, 0.99, 0.999];

pub(crate) struct Bench {
    pub(crate) folder: PathBuf,
    pub(crate) duration: Duration,
    /// Connections that the peers' clients share.
    pub(crate) shared: usize,
    pub(crate) tables: Vec<Table>,
    /// What each cluster said of itself, in the first round.
    pub(crate) said: Vec<String>,
    /// Who was left out and why.
    pub(crate) failed: Vec<String>,
}

/// What was spent up to some moment.
struct Spent {
    servers: Usage,
    clients: Usage,
    machine: Duration,
}

impl Spent {
    fn now(servers: &[u32], clients: &[u32]) -> Self {
        Self {
            servers: Usage::of(servers),
            clients: Usage::of(clients),
            machine: spent_by_all(),
        }
    }
}

impl Bench {
    /// Measures every cluster that has not failed before; `told` is called with the name of each.
    pub(crate) async fn round(
        &mut self,
        peers: &[Box<dyn Peer>],
        told: impl Fn(&str),
    ) -> Result<()> {
        for (at, peer) in peers.iter().enumerate() {
            let name = format!("{}: ", peer.name());
            if self.failed.iter().any(|failed| failed.starts_with(&name)) {
                continue;
            }
            told(peer.name());
            let measured = self.cluster(peer.as_ref()).await;
            let is_ours = at == 0 && peer.name() == OURS;
            match measured {
                Err(error) if !is_ours => self.failed.push(format!("{name}{error:#}")),
                measured => measured.context(peer.name())?,
            }
        }
        Ok(())
    }

    async fn cluster(&mut self, peer: &dyn Peer) -> Result<()> {
        let folder = self.folder.join(peer.name());
        std::fs::create_dir(&folder)?;
        let measured = async {
            let cluster = peer.start(&folder).await?;
            if !self.said.contains(&cluster.said) {
                self.said.push(cluster.said.clone());
            }
            self.works(cluster, peer.warm_ups()).await
        }
        .await;
        std::fs::remove_dir_all(&folder)?;
        measured
    }

    async fn works(&mut self, mut cluster: Cluster, warm_ups: usize) -> Result<()> {
        let roots: Vec<u32> = cluster
            .nodes
            .iter()
            .map(crate::process::Process::id)
            .collect();
        let ways = std::mem::take(&mut cluster.ways);
        if let Some(way) = ways.first()
            && let Some(shape) = (way.shape)(WARM_UP, self.shared)
        {
            for _ in 0..warm_ups {
                let warm = self.measure(way, WARM_UP, shape, &roots).await;
                warm.context("warm up")?;
            }
        }
        for at in 0..self.tables.len() {
            let Some(work) = self.tables.get(at).map(|table| table.work) else {
                break;
            };
            for way in &ways {
                let Some(shape) = (way.shape)(work, self.shared) else {
                    continue;
                };
                let round = self.measure(way, work, shape, &roots).await;
                let round = round.with_context(|| format!("{} with {}", way.name, work.words()))?;
                if let Some(table) = self.tables.get_mut(at) {
                    table.add(way.name, way.durability, round);
                }
                cluster
                    .nodes
                    .iter_mut()
                    .try_for_each(crate::process::Process::check)?;
            }
        }
        Ok(())
    }

    async fn measure(&self, way: &Way, work: Work, shape: Shape, roots: &[u32]) -> Result<Round> {
        tokio::time::sleep(PAUSE).await;
        let mut links = Vec::with_capacity(shape.connections);
        for nth in 0..shape.connections {
            links.push(way.dial.dial(nth, work).await?);
        }
        let servers = with_children(roots);
        let client = [std::process::id()];
        let from = Instant::now() + self.duration / 4;
        let until = from + self.duration;
        let used = async {
            tokio::time::sleep_until(from.into()).await;
            let before = Spent::now(&servers, &client);
            tokio::time::sleep_until(until.into()).await;
            (before, Spent::now(&servers, &client))
        };
        let load = load::run(links, shape.window, Plan { from, until });
        let (latencies, (before, after)) = tokio::join!(load, used);
        let latencies = latencies?;
        let [p50_us, p99_us, p999_us] =
            LATENCIES_TOLD.map(|quantile| latencies.value_at_quantile(quantile));
        let spent = |of: fn(&Spent) -> Duration| of(&after).saturating_sub(of(&before));
        let (servers, clients) = (spent(|all| all.servers.cpu), spent(|all| all.clients.cpu));
        let others = spent(|all| all.machine).saturating_sub(servers + clients);
        let micros_each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / latencies.len().max(1) as f64;
        Ok(Round {
            acknowledged: latencies.len(),
            acknowledged_per_second: latencies.len() as f64 / self.duration.as_secs_f64(),
            p50_us,
            p99_us,
            p999_us,
            servers_cpu_us: micros_each(servers),
            clients_cpu_us: micros_each(clients),
            servers_rss_bytes: after.servers.rss_bytes,
            others_cores: others.as_secs_f64() / self.duration.as_secs_f64(),
        })
    }

    /// Who ran, all tables, who was left out.
    pub(crate) fn text(&self) -> String {
        let head = format!(
            "\nmedians of rounds of {} s each",
            self.duration.as_secs_f64()
        );
        let mut parts = vec![head];
        parts.extend(self.said.iter().map(|said| format!("  {said}")));
        parts.extend(
            self.tables
                .iter()
                .filter(|table| !table.is_empty())
                .map(|table| format!("\n{}", table.text().trim_end())),
        );
        let failed = self.failed.iter();
        parts.extend(failed.map(|failed| format!("\nleft out: {failed}")));
        parts.join("\n") + "\n"
    }
}
