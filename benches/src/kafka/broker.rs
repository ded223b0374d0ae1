//! One real broker, as a process of its own, and what a client asks of it.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::process::{Process, command, find, free_addresses, wait_for};

/// Any id does: each cluster is new.
const CLUSTER_ID: &str = "YmVuY2gtYmVuY2gtYmVuYw";
/// Records of one form have one key, so one partition is busy.
pub(super) const PARTITIONS: i32 = 3;

/// Ended when dropped.
pub(super) struct Broker {
    process: Process,
    pub(super) address: SocketAddr,
}

impl Broker {
    pub(super) async fn start(peers: &Path, own: &Path) -> Result<Self> {
        let libraries = peers.join("kafka");
        ensure!(
            libraries.is_dir(),
            "no Kafka in {}: run deploy/dev/setup.sh kafka",
            libraries.display()
        );
        let java = find("java", None).context("no java: run deploy/dev/setup.sh kafka")?;
        let libraries = std::path::absolute(libraries)?.join("*");
        let run = |arguments: &[&str]| {
            let mut command = command(&java);
            command
                .args(["-Xms512m", "-Xmx512m", "-cp"])
                .arg(&libraries)
                .args(arguments);
            Process::start(command, own)
        };
        let [client, controller] = free_addresses()?;
        std::fs::create_dir_all(own)?;
        std::fs::write(
            own.join("server.properties"),
            settings(own, client, controller),
        )?;
        let format = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID];
        let mut format = run(&[&format[..], &["-c", "server.properties"]].concat())?;
        format.finish().await?;
        let mut process = run(&["kafka.Kafka", "server.properties"])?;
        let nodes = std::slice::from_mut(&mut process);
        wait_for("the broker", nodes, async || {
            topic(client, "is-it-there").await
        })
        .await?;
        Ok(Self {
            process,
            address: client,
        })
    }

    /// Makes a topic.
    pub(super) async fn topic(&self, name: &str) -> Result<()> {
        topic(self.address, name).await
    }

    /// Stands still, as if it were cut off, until [`Self::go_on`].
    pub(super) fn stand_still(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    pub(super) fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let group = i32::try_from(self.process.id())?;
        let group = Pid::from_raw(group).context("a process id")?;
        Ok(kill_process_group(group, signal)?)
    }
}

/// What every client begins with.
pub(super) fn client(broker: SocketAddr) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.to_string());
    config
}

async fn topic(broker: SocketAddr, name: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = client(broker).create()?;
    let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
    let options = AdminOptions::new().request_timeout(Some(std::time::Duration::from_secs(10)));
    for made in admin.create_topics([&topic], &options).await? {
        made.map_err(|(name, code)| anyhow::anyhow!("make topic {name}: {code}"))?;
    }
    Ok(())
}

fn settings(own: &Path, client: SocketAddr, controller: SocketAddr) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@{controller}\n\
         listeners=PLAINTEXT://{client},CONTROLLER://{controller}\n\
         advertised.listeners=PLAINTEXT://{client}\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=3\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=3\n\
         group.initial.rebalance.delay.ms=0\n\
         auto.create.topics.enable=false\n",
        own.join("data").display(),
    )
}
