//! Real Kafka brokers as processes: laid out in the run's directory, started, killed, stopped.
//!
//! ```text
//!             client   for the product; advertised as whatever stands before it
//!   broker ── direct   for the tester's own tools, past everything
//!             inter    for the other brokers
//!             control  for the controllers
//! ```
//! Holds: brokers are numbered from 0 here and from 1 in words, as Kafka names them. Each keeps its
//! ports and its folder over all starts, and ends with this value.
//! Why short settings: what takes a broker days or minutes by default (a producer's name forgotten,
//! a leader given up) takes seconds, so that a test can wait for it.

pub(crate) mod tools;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::process::ports;
use crate::process::threads;
use tools::Layout;

const JVM: [&str; 4] = [
    "-Xmx400m",
    "-Xms100m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
];
const LOG4J: &str = "rootLogger.level = WARN\n\
    rootLogger.appenderRefs = console\n\
    rootLogger.appenderRef.console.ref = console\n\
    appender.console.type = Console\n\
    appender.console.name = console\n\
    appender.console.target = SYSTEM_ERR\n\
    appender.console.layout.type = PatternLayout\n\
    appender.console.layout.pattern = %d %p %c{1} %m%n\n";
const FORMAT_TIME: Duration = Duration::from_mins(1);
const READY_TIME: Duration = Duration::from_mins(1);
const END_TIME: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(100);
const LOG_TAIL: usize = 2000;
/// A producer's name is forgotten when it was idle for so long.
pub(crate) const NAME_EXPIRY: Duration = Duration::from_secs(6);

/// Dropped, they are killed.
#[derive(Debug)]
pub(crate) struct Brokers {
    home: PathBuf,
    libraries: PathBuf,
    all: Vec<Broker>,
}

#[derive(Debug)]
struct Broker {
    child: Option<Child>,
    folder: PathBuf,
    direct: SocketAddr,
    is_paused: bool,
}

/// Where one broker listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// For the product.
    pub(crate) client: SocketAddr,
    direct: SocketAddr,
    inter: SocketAddr,
    control: SocketAddr,
}

impl Ports {
    /// Free ones of `host`.
    pub(crate) fn free(host: Ipv4Addr) -> anyhow::Result<Self> {
        let [client, direct, inter, control] = ports::free::<4>()?;
        let on_host = |address: SocketAddr| SocketAddr::from((host, address.port()));
        Ok(Self {
            client: on_host(client),
            direct: on_host(direct),
            inter,
            control,
        })
    }
}

impl Brokers {
    /// Lays them out below `home`; nothing is started. The product finds each where `advertised`
    /// says.
    pub(crate) async fn new(
        home: PathBuf,
        libraries: &Path,
        ports: &[(Ports, SocketAddr)],
    ) -> anyhow::Result<Self> {
        let libraries = std::path::absolute(libraries)?;
        ensure!(
            libraries.is_dir(),
            "no Kafka at {}: deploy/dev/setup.sh kafka installs it",
            libraries.display()
        );
        std::fs::create_dir_all(&home)?;
        std::fs::write(home.join("log4j2.properties"), LOG4J)?;
        let mut all = Vec::new();
        for (broker, (own, _)) in ports.iter().enumerate() {
            let folder = home.join(format!("broker-{}", broker + 1));
            std::fs::create_dir_all(&folder)?;
            let text = settings(&folder, broker, ports)?;
            std::fs::write(folder.join("server.properties"), text)?;
            all.push(Broker {
                child: None,
                folder,
                direct: own.direct,
                is_paused: false,
            });
        }
        let brokers = Self {
            home,
            libraries,
            all,
        };
        brokers.format().await?;
        Ok(brokers)
    }

    async fn format(&self) -> anyhow::Result<()> {
        let children = self.all.iter().map(|broker| {
            let mut command = self.java();
            command.args(["kafka.tools.StorageTool", "format", "-t"]);
            // Any id does: each cluster is new.
            command.args(["amVwc2VuLWplcHNlbi1qZXA", "-c"]);
            command.arg(broker.folder.join("server.properties"));
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            command.spawn().context("cannot start java")
        });
        let children = children.collect::<anyhow::Result<Vec<_>>>()?;
        for child in children {
            let ended = timeout(FORMAT_TIME, child.wait_with_output()).await;
            let ended = ended.context("formatting does not end")??;
            let words = String::from_utf8_lossy(&ended.stderr).into_owned();
            ensure!(ended.status.success(), "cannot format a broker: {words}");
        }
        Ok(())
    }

    /// Java with Kafka's libraries.
    fn java(&self) -> Command {
        let mut command = Command::new("java");
        let log = self.home.join("log4j2.properties");
        command
            .arg(format!("-Dlog4j2.configurationFile={}", log.display()))
            .arg("-cp")
            .arg(self.libraries.join("*"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Those that do not run; waits until all are ready and every replica is in sync.
    pub(crate) async fn start(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        for broker in self.numbers() {
            if !self.is_running(broker) {
                self.launch(broker)?;
            }
        }
        self.whole().await?;
        Ok(started.elapsed())
    }

    /// Starts one and waits for nothing.
    pub(crate) fn launch(&mut self, broker: usize) -> anyhow::Result<()> {
        let mut command = self.java();
        let own = self.broker_mut(broker)?;
        ensure!(own.child.is_none(), "broker {} runs already", broker + 1);
        let mut open = std::fs::OpenOptions::new();
        let log = open
            .create(true)
            .append(true)
            .open(own.folder.join("log"))?;
        command.args(JVM).arg("kafka.Kafka");
        command.arg(own.folder.join("server.properties"));
        command.stdout(log.try_clone()?).stderr(log);
        own.child = Some(command.spawn().context("cannot start java")?);
        Ok(())
    }

    /// Waits until all know each other and each replica of each partition is in sync.
    pub(crate) async fn whole(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + READY_TIME;
        loop {
            self.must_live()?;
            let wrong = match self.layout().await {
                Ok(layout) => layout.wrong(self.all.len()),
                Err(error) => Some(format!("{error:#}")),
            };
            let Some(wrong) = wrong else {
                return Ok(());
            };
            ensure!(
                Instant::now() < end,
                "the brokers are not whole: {wrong}\n{}",
                self.log_tails()
            );
            sleep(LOOK).await;
        }
    }

    /// Who leads what, as one of those that run and are not stopped sees it.
    pub(crate) async fn layout(&self) -> anyhow::Result<Layout> {
        tools::layout(&self.bootstrap()).await
    }

    /// Past everything, for the tester's own tools: those that run.
    pub(crate) fn bootstrap(&self) -> String {
        let up = |broker: &&Broker| broker.child.is_some() && !broker.is_paused;
        let addresses = self.all.iter().filter(up);
        let addresses = addresses.map(|broker| broker.direct.to_string());
        addresses.collect::<Vec<_>>().join(",")
    }

    /// One of Kafka's own tools, at these brokers.
    pub(crate) fn tool(&self, class: &str) -> Command {
        let mut command = self.java();
        command.arg(class);
        command.args(["--bootstrap-server", &self.bootstrap()]);
        command
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) async fn kill(&mut self, broker: usize) -> anyhow::Result<()> {
        let mut child = self.take(broker)?;
        child.start_kill().context("cannot kill")?;
        let gone = timeout(END_TIME, child.wait()).await;
        gone.context("a broker survives kill -9")??;
        Ok(())
    }

    /// `SIGTERM`; one that waits for the others is killed.
    pub(crate) async fn stop(&mut self, broker: usize) -> anyhow::Result<()> {
        let mut child = self.take(broker)?;
        signal(&child, Signal::TERM)?;
        if timeout(END_TIME, child.wait()).await.is_err() {
            child.start_kill().context("cannot kill")?;
            timeout(END_TIME, child.wait())
                .await
                .context("a broker survives kill -9")??;
        }
        Ok(())
    }

    /// `SIGSTOP`, and waits until it stands still.
    pub(crate) async fn pause(&mut self, broker: usize) -> anyhow::Result<()> {
        let own = self.broker_mut(broker)?;
        let child = own.child.as_ref().context("the broker does not run")?;
        let pid = signal(child, Signal::STOP)?;
        own.is_paused = true;
        let end = Instant::now() + END_TIME;
        while !threads::are_stopped(pid)? {
            ensure!(Instant::now() < end, "a broker does not stop on SIGSTOP");
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// `SIGCONT` to all that are paused.
    pub(crate) fn resume(&mut self) -> anyhow::Result<()> {
        for broker in self.all.iter_mut().filter(|broker| broker.is_paused) {
            let child = broker.child.as_ref().context("the broker does not run")?;
            signal(child, Signal::CONT)?;
            broker.is_paused = false;
        }
        Ok(())
    }

    /// None has ended by itself.
    pub(crate) fn must_live(&mut self) -> anyhow::Result<()> {
        for (number, broker) in (1..).zip(&mut self.all) {
            let Some(child) = &mut broker.child else {
                continue;
            };
            if let Some(status) = child.try_wait()? {
                let tail = log_tail(&broker.folder);
                anyhow::bail!("broker {number} ended by itself: {status}\n{tail}");
            }
        }
        Ok(())
    }

    pub(crate) fn numbers(&self) -> std::ops::Range<usize> {
        0..self.all.len()
    }

    pub(crate) fn is_running(&self, broker: usize) -> bool {
        let broker = self.all.get(broker);
        broker.is_some_and(|broker| broker.child.is_some())
    }

    fn log_tails(&self) -> String {
        let tails = self.all.iter().map(|broker| log_tail(&broker.folder));
        tails.collect::<Vec<_>>().join("\n")
    }

    fn broker_mut(&mut self, broker: usize) -> anyhow::Result<&mut Broker> {
        self.all.get_mut(broker).context("no such broker")
    }

    fn take(&mut self, broker: usize) -> anyhow::Result<Child> {
        let own = self.broker_mut(broker)?;
        own.is_paused = false;
        let child = own.child.take();
        child.with_context(|| format!("broker {} does not run", broker + 1))
    }
}

/// Answers the process's id.
fn signal(child: &Child, signal: Signal) -> anyhow::Result<i32> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let pid = pid.context("no process id")?;
    let process = Pid::from_raw(pid).context("no process id")?;
    kill_process(process, signal).with_context(|| format!("cannot send {signal:?}"))?;
    Ok(pid)
}

fn log_tail(folder: &Path) -> String {
    let text = std::fs::read(folder.join("log")).unwrap_or_default();
    let from = text.len().saturating_sub(LOG_TAIL);
    String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned()
}

fn settings(folder: &Path, broker: usize, ports: &[(Ports, SocketAddr)]) -> anyhow::Result<String> {
    let (own, advertised) = ports.get(broker).context("no such broker")?;
    let voters = (1..).zip(ports);
    let voters = voters.map(|(number, (ports, _))| format!("{number}@{}", ports.control));
    let voters = voters.collect::<Vec<_>>().join(",");
    let (all, in_sync) = (ports.len(), if ports.len() > 1 { 2 } else { 1 });
    let Ports {
        client,
        direct,
        inter,
        control,
    } = own;
    let mut text = String::new();
    writeln!(text, "process.roles=broker,controller")?;
    writeln!(text, "node.id={}", broker + 1)?;
    writeln!(text, "controller.quorum.voters={voters}")?;
    writeln!(
        text,
        "listeners=CLIENT://{client},DIRECT://{direct},INTER://{inter},CONTROL://{control}"
    )?;
    writeln!(
        text,
        "advertised.listeners=CLIENT://{advertised},DIRECT://{direct},INTER://{inter}"
    )?;
    writeln!(
        text,
        "listener.security.protocol.map=CLIENT:PLAINTEXT,DIRECT:PLAINTEXT,INTER:PLAINTEXT,CONTROL:PLAINTEXT"
    )?;
    writeln!(text, "log.dirs={}", folder.join("data").display())?;
    writeln!(text, "default.replication.factor={all}")?;
    writeln!(text, "min.insync.replicas={in_sync}")?;
    writeln!(text, "offsets.topic.replication.factor={all}")?;
    writeln!(text, "transaction.state.log.replication.factor={all}")?;
    writeln!(text, "transaction.state.log.min.isr={in_sync}")?;
    writeln!(
        text,
        "transactional.id.expiration.ms={}",
        NAME_EXPIRY.as_millis()
    )?;
    text.push_str(COMMON);
    Ok(text)
}

const COMMON: &str = "\
inter.broker.listener.name=INTER
controller.listener.names=CONTROL
auto.create.topics.enable=false
unclean.leader.election.enable=false
num.partitions=3
offsets.topic.num.partitions=1
transaction.state.log.num.partitions=3
group.initial.rebalance.delay.ms=0
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
transaction.remove.expired.transaction.cleanup.interval.ms=1000
log.retention.check.interval.ms=1000
log.initial.task.delay.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
controller.quorum.election.timeout.ms=1000
controller.quorum.fetch.timeout.ms=2000
replica.lag.time.max.ms=4000
";

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::path::Path;

    use super::{Ports, settings};

    #[test]
    fn a_broker_tells_the_product_to_come_by_what_stands_before_it() {
        let gate = SocketAddr::from((Ipv4Addr::LOCALHOST, 7));
        let host = Ipv4Addr::new(10, 77, 0, 4);
        let ports = [1, 2, 3].map(|_| (Ports::free(host).unwrap(), gate));
        let text = settings(Path::new("/x"), 1, &ports).unwrap();
        assert!(text.contains("advertised.listeners=CLIENT://127.0.0.1:7,DIRECT://10.77.0.4:"));
        assert!(text.contains("node.id=2\n") && text.contains("min.insync.replicas=2\n"));
        let control = ports[2].0.control;
        assert!(text.contains(&format!(",3@{control}\n")), "{text}");
        let alone = settings(Path::new("/x"), 0, &ports[..1]).unwrap();
        assert!(alone.contains("transaction.state.log.min.isr=1\n"));
    }
}
