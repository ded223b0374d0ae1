//! `RabbitMQ`: three nodes, a quorum queue of three, persistent messages, publisher confirms.
//!
//! Holds: a quorum queue confirms when a majority has synced its log. The queue is declared on the
//! node that the clients use, so its leader is there; that all three are members and on line is asked
//! of the broker. The nodes have a name server (`epmd`) of their own, which ends with them.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde_json::Value;

use super::super::load::Link;
use super::super::peer::{Cluster, Dial, Peer, Way, connect, missing};
use super::super::work::Work;
use super::amqp;
use crate::process::{Process, command, find, free_addresses, wait_for};

/// Where Debian has the scripts that do not change the user.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";
const QUEUE: &str = "bench";

/// The scripts and the name server, where they are here.
pub(super) struct RabbitMq {
    server: Option<PathBuf>,
    epmd: Option<PathBuf>,
}

/// What the nodes have in common.
struct Plan<'a> {
    folder: &'a Path,
    epmd: SocketAddr,
    clients: [SocketAddr; 3],
    between: [SocketAddr; 3],
}

impl RabbitMq {
    pub(super) fn find() -> Self {
        Self {
            server: find("rabbitmq-server", Some(Path::new(SCRIPTS))),
            epmd: find("epmd", None),
        }
    }

    async fn ready(&self, folder: &Path) -> Result<Cluster> {
        let [epmd] = free_addresses()?;
        let plan = Plan {
            folder,
            epmd,
            clients: free_addresses()?,
            between: free_addresses()?,
        };
        let mut processes = vec![self.epmd(&plan)?];
        // One after the other: those that come later join the first.
        for (at, client) in plan.clients.iter().enumerate() {
            processes.push(self.node(&plan, at)?);
            wait_for("a node of rabbitmq", &mut processes, async || {
                connect(*client).await
            })
            .await?;
        }
        let [first, ..] = plan.clients;
        wait_for("three nodes", &mut processes, async || {
            let running = plan.ask(&["eval", "length(rabbit_nodes:all_running())."])?;
            ensure!(running.trim() == "3", "running: {running}");
            Ok(())
        })
        .await?;
        wait_for("the queue", &mut processes, async || {
            amqp::open(&mut connect(first).await?, QUEUE).await
        })
        .await?;
        wait_for("the queue's members", &mut processes, async || {
            check_members(&plan)
        })
        .await?;
        let version = plan.ask(&["version"])?;
        Ok(Cluster {
            nodes: processes,
            ways: vec![Way {
                name: "rabbitmq quorum queue",
                durability: "fsync on a majority",
                shape: |work, shared| Some(work.shared(shared)),
                dial: Box::new(Broker { first }),
            }],
            said: format!(
                "rabbitmq {}, quorum queue, 3 members on line",
                version.trim()
            ),
        })
    }

    fn epmd(&self, plan: &Plan<'_>) -> Result<Process> {
        let mut command = command(self.epmd.as_ref().context("epmd")?);
        command.arg("-port").arg(plan.epmd.port().to_string());
        command.arg("-address").arg("127.0.0.1");
        Process::start(command, &plan.folder.join("epmd"))
    }

    fn node(&self, plan: &Plan<'_>, at: usize) -> Result<Process> {
        let own = plan.home(at);
        std::fs::create_dir_all(&own)?;
        let cookie = own.join(".erlang.cookie");
        std::fs::write(&cookie, "BENCH")?;
        std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o400))?;
        let join = format!(
            "cluster_formation.peer_discovery_backend = classic_config\n\
             cluster_formation.classic_config.nodes.1 = {}\n\
             cluster_formation.classic_config.nodes.2 = {}\n",
            Plan::name(0),
            Plan::name(at)
        );
        let settings = if at == 0 { String::new() } else { join };
        std::fs::write(own.join("rabbitmq.conf"), settings)?;
        std::fs::write(own.join("plugins"), "[].\n")?;
        let mut command = command(self.server.as_ref().context("rabbitmq-server")?);
        plan.settle(&mut command, at);
        Process::start(command, &own)
    }
}

impl Peer for RabbitMq {
    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    fn missing(&self) -> Option<String> {
        let server = missing(self.server.as_ref(), "rabbitmq-server");
        server.or_else(|| missing(self.epmd.as_ref(), "epmd"))
    }

    fn start<'a>(&'a self, folder: &'a Path) -> LocalBoxFuture<'a, Result<Cluster>> {
        self.ready(folder).boxed_local()
    }
}

impl Plan<'_> {
    fn home(&self, at: usize) -> PathBuf {
        self.folder.join(format!("node-{}", at + 1))
    }

    fn name(at: usize) -> String {
        format!("bench{}@localhost", at + 1)
    }

    /// The environment of node `at`, and of a tool that asks it.
    fn settle(&self, command: &mut Command, at: usize) {
        let own = self.home(at);
        let port = |of: &[SocketAddr; 3]| of.get(at).map_or(0, SocketAddr::port).to_string();
        command
            .env("HOME", &own)
            .env("ERL_EPMD_PORT", self.epmd.port().to_string())
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_NODENAME", Self::name(at))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port(&self.clients))
            .env("RABBITMQ_DIST_PORT", port(&self.between))
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            )
            .env("RABBITMQ_CONFIG_FILE", own.join("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", own.join("plugins"))
            .env("RABBITMQ_MNESIA_BASE", own.join("data"))
            .env("RABBITMQ_LOG_BASE", own.join("log"))
            .env("RABBITMQ_PID_FILE", own.join("pid"));
    }

    /// What `rabbitmqctl` says to this.
    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let mut command = command(Path::new(SCRIPTS).join("rabbitmqctl"));
        self.settle(&mut command, 0);
        let output = command.args(arguments).arg("-q").output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "rabbitmqctl: {error}{text}");
        Ok(text)
    }
}

/// Three members, all on line.
fn check_members(plan: &Plan<'_>) -> Result<()> {
    let list = [
        "list_queues",
        "name",
        "type",
        "members",
        "online",
        "--formatter",
        "json",
    ];
    let text = plan.ask(&list)?;
    let queues: Value = serde_json::from_str(&text)?;
    let queue = queues.get(0).context("no queue")?;
    let count = |name: &str| queue.get(name).and_then(Value::as_array).map(Vec::len);
    let is_whole = count("members") == Some(3) && count("online") == Some(3);
    ensure!(is_whole, "the queue is not whole: {text}");
    Ok(())
}

struct Broker {
    first: SocketAddr,
}

impl Dial for Broker {
    fn dial(&self, _: usize, _: Work) -> LocalBoxFuture<'_, Result<Link>> {
        async {
            let mut stream = connect(self.first).await?;
            amqp::open(&mut stream, QUEUE).await?;
            Ok(Link::new(stream, amqp::Publisher::new(QUEUE)))
        }
        .boxed_local()
    }
}
