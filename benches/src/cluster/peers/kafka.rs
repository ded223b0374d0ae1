//! Kafka: three brokers (`KRaft`), a topic of three replicas, `acks=all`, every append flushed.
//!
//! Holds: `min.insync.replicas` is 2 and `flush.messages` is 1, so that a batch is on two disks before
//! it is acknowledged; both are asked of the broker. One connection a partition, each at its leader:
//! more partitions would only cut the batches, and the syncs are what costs. Batches are as large as
//! what waits, as with `linger.ms=0`; no idempotence, no compression.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;

use super::super::load::Link;
use super::super::peer::{Cluster, Dial, Peer, Places, Way, connect, missing};
use super::super::work::Work;
use super::kafka_api::{self, Producer};
use crate::process::{Process, command, find, free_addresses, wait_for};

const TOPIC: &str = "bench";
const PARTITIONS: usize = 3;
/// Any id does: each cluster is new.
const CLUSTER_ID: &str = "YmVuY2gtYmVuY2gtYmVuYw";
/// As the project's own start script has them.
const JVM: [&str; 6] = [
    "-Xms1g",
    "-Xmx1g",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
];

/// Java and the broker's libraries, where they are here.
pub(super) struct Kafka {
    java: Option<PathBuf>,
    libraries: PathBuf,
}

impl Kafka {
    pub(super) fn find(places: &Places) -> Self {
        Self {
            java: find("java", None),
            libraries: places.peers.join("kafka"),
        }
    }

    /// A command of the broker's own, and where it is to run.
    fn start(&self, own: &Path, jvm: &[&str], arguments: &[&str]) -> Result<Process> {
        let libraries = std::path::absolute(&self.libraries)?.join("*");
        let mut command = command(self.java.as_ref().context("java")?);
        command.args(jvm).arg("-cp").arg(libraries).args(arguments);
        Process::start(command, own)
    }

    async fn ready(&self, folder: &Path) -> Result<Cluster> {
        let (clients, controllers) = (free_addresses::<3>()?, free_addresses::<3>()?);
        let mut homes = Vec::new();
        let mut formats = Vec::new();
        for at in 0..clients.len() {
            let own = folder.join(format!("node-{}", at + 1));
            std::fs::create_dir_all(&own)?;
            let settings = settings(&own, at, &clients, &controllers);
            std::fs::write(own.join("server.properties"), settings)?;
            let tool = [
                "kafka.tools.StorageTool",
                "format",
                "-t",
                CLUSTER_ID,
                "-c",
                "server.properties",
            ];
            formats.push(self.start(&own, &[], &tool)?);
            homes.push(own);
        }
        for format in &mut formats {
            format.finish().await?;
        }
        let start = |own: &PathBuf| self.start(own, &JVM, &["kafka.Kafka", "server.properties"]);
        let mut processes: Vec<Process> = homes.iter().map(start).collect::<Result<_>>()?;
        let [first, ..] = clients;
        let leaders = wait_for("the topic", &mut processes, async || {
            // Asking for it makes it.
            leaders(first).await
        })
        .await?;
        kafka_api::check_settings(
            first,
            TOPIC,
            &[("flush.messages", "1"), ("min.insync.replicas", "2")],
        )
        .await?;
        Ok(Cluster {
            nodes: processes,
            ways: vec![Way {
                name: "kafka acks=all, flushed",
                durability: "fsync on a majority",
                shape: |work, _| Some(work.shared(PARTITIONS)),
                dial: Box::new(Leaders { leaders }),
            }],
            said: format!(
                "kafka {}, {PARTITIONS} partitions of 3 replicas, flush.messages=1",
                self.version()
            ),
        })
    }

    /// It is in the name of the library.
    fn version(&self) -> String {
        let files = std::fs::read_dir(&self.libraries)
            .into_iter()
            .flatten()
            .flatten();
        let mut names = files.filter_map(|file| file.file_name().into_string().ok());
        let found = names.find_map(|name| {
            let version = name.strip_prefix("kafka-clients-")?.strip_suffix(".jar")?;
            Some(version.to_owned())
        });
        found.unwrap_or_default()
    }
}

impl Peer for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    /// Its virtual machine compiles what is called often, and three of them share the processors.
    fn warm_ups(&self) -> usize {
        3
    }

    fn missing(&self) -> Option<String> {
        let libraries = self.libraries.is_dir().then_some(&self.libraries);
        missing(self.java.as_ref(), "java").or_else(|| missing(libraries, "kafka"))
    }

    fn start<'a>(&'a self, folder: &'a Path) -> LocalBoxFuture<'a, Result<Cluster>> {
        self.ready(folder).boxed_local()
    }
}

fn settings(
    own: &Path,
    at: usize,
    clients: &[SocketAddr; 3],
    controllers: &[SocketAddr; 3],
) -> String {
    let voters = controllers.iter().enumerate();
    let voters = voters.map(|(at, address)| format!("{}@{address}", at + 1));
    let address = |of: &[SocketAddr; 3]| of.get(at).map(SocketAddr::to_string).unwrap_or_default();
    let (client, controller) = (address(clients), address(controllers));
    format!(
        "process.roles=broker,controller\n\
         node.id={}\n\
         controller.quorum.voters={}\n\
         listeners=PLAINTEXT://{client},CONTROLLER://{controller}\n\
         advertised.listeners=PLAINTEXT://{client}\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}\n\
         num.partitions={PARTITIONS}\n\
         default.replication.factor=3\n\
         min.insync.replicas=2\n\
         log.flush.interval.messages=1\n\
         log.retention.ms=-1\n\
         unclean.leader.election.enable=false\n\
         auto.create.topics.enable=true\n",
        at + 1,
        voters.collect::<Vec<_>>().join(","),
        own.join("data").display(),
    )
}

/// Each partition's leader, when all three replicas of all are in sync.
async fn leaders(broker: SocketAddr) -> Result<Vec<SocketAddr>> {
    let partitions = kafka_api::partitions(broker, TOPIC).await?;
    ensure!(partitions.len() == PARTITIONS, "no such topic yet");
    let in_sync = partitions.iter().all(|partition| partition.in_sync == 3);
    ensure!(in_sync, "not all replicas are in sync");
    Ok(partitions
        .iter()
        .map(|partition| partition.leader)
        .collect())
}

struct Leaders {
    /// By partition.
    leaders: Vec<SocketAddr>,
}

impl Dial for Leaders {
    fn dial(&self, nth: usize, _: Work) -> LocalBoxFuture<'_, Result<Link>> {
        async move {
            let partition = nth % PARTITIONS;
            let leader = self.leaders.get(partition).context("a leader")?;
            let producer = Producer::new(TOPIC, i32::try_from(partition)?);
            Ok(Link::new(connect(*leader).await?, producer))
        }
        .boxed_local()
    }
}
