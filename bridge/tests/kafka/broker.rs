//! Real brokers on loopback, in folders of their own, ended with the test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

/// One or three, ended when dropped.
pub(crate) struct Brokers {
    processes: Vec<Child>,
    dir: tempfile::TempDir,
    /// Of all of them, with commas.
    pub(crate) addresses: String,
}

/// For brokers to answer.
const READY: Duration = Duration::from_mins(1);

impl Brokers {
    /// Starts `count` of them, with these settings besides, and waits until they answer.
    pub(crate) fn start(count: usize, more: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder for brokers");
        let ports: Vec<[u16; 2]> = (0..count).map(|_| [free_port(), free_port()]).collect();
        let processes = (1..).zip(&ports).map(|(id, _)| {
            let folder = dir.path().join(id.to_string());
            std::fs::create_dir(&folder).expect("a folder");
            let settings = settings(&folder, id, &ports) + more;
            std::fs::write(folder.join("server.properties"), settings).expect("write settings");
            start(&folder)
        });
        let processes = processes.collect();
        let addresses = ports
            .iter()
            .map(|[client, _]| format!("127.0.0.1:{client}"));
        let mut brokers = Self {
            processes,
            addresses: addresses.collect::<Vec<_>>().join(","),
            dir,
        };
        brokers.wait();
        brokers
    }

    fn wait(&mut self) {
        let began = Instant::now();
        let asks: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.addresses)
            .set("reconnect.backoff.max.ms", "200")
            .create()
            .expect("a client");
        let count = self.processes.len();
        loop {
            let metadata = asks.fetch_metadata(Some("none"), Duration::from_secs(1));
            if metadata.is_ok_and(|metadata| metadata.brokers().len() == count) {
                return;
            }
            for (id, process) in (1..).zip(&mut self.processes) {
                let log = self.dir.path().join(format!("{id}/log"));
                let log = || std::fs::read_to_string(&log).unwrap_or_default();
                let ended = process.try_wait().expect("ask for the broker");
                assert!(ended.is_none(), "the broker ended: {}", log());
                assert!(
                    began.elapsed() < READY,
                    "the broker is not ready: {}",
                    log()
                );
            }
        }
    }
}

/// Formats a broker's folder and starts it there.
fn start(folder: &Path) -> Child {
    let java = |arguments: &[&str]| {
        // With us ends the broker, however we end.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "java", "-Xmx400m"])
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(libraries().join("*"))
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null());
        command
    };
    let id = "a3Jha2VuLWJyaWRnZS10ZXN0cw";
    let format = ["kafka.tools.StorageTool", "format", "-t", id];
    let format = java(&[&format[..], &["-c", "server.properties"]].concat()).output();
    let format = format.expect("run java: `deploy/dev/setup.sh kafka` installs it");
    let words = String::from_utf8_lossy(&format.stderr);
    assert!(format.status.success(), "{words}");
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .expect("a log");
    java(&["kafka.Kafka", "server.properties"])
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("start the broker")
}

impl Drop for Brokers {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Gone already, or not: both are fine.
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// What `deploy/dev/setup.sh kafka` fetches.
fn libraries() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let libraries = root.join("target/peers/kafka");
    assert!(
        libraries.is_dir(),
        "no Kafka in {}: `make kafka-test` fetches it (deploy/dev/setup.sh kafka)",
        libraries.display()
    );
    libraries
}

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("its number").port()
}

fn settings(folder: &Path, id: usize, ports: &[[u16; 2]]) -> String {
    let [client, controller] = ports[id - 1];
    let voters = (1..)
        .zip(ports)
        .map(|(id, [_, controller])| format!("{id}@127.0.0.1:{controller}"));
    let voters = voters.collect::<Vec<_>>().join(",");
    let count = ports.len();
    let min_insync = count.min(2);
    format!(
        "process.roles=broker,controller\n\
         node.id={id}\n\
         controller.quorum.voters={voters}\n\
         listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{client}\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}/data\n\
         auto.create.topics.enable=false\n\
         unclean.leader.election.enable=false\n\
         default.replication.factor={count}\n\
         min.insync.replicas={min_insync}\n\
         offsets.topic.replication.factor={count}\n\
         offsets.topic.num.partitions=3\n\
         transaction.state.log.replication.factor={count}\n\
         transaction.state.log.min.isr={min_insync}\n\
         transaction.state.log.num.partitions=3\n\
         group.initial.rebalance.delay.ms=0\n\
         log.cleaner.backoff.ms=500\n\
         log.retention.check.interval.ms=500\n\
         log.segment.delete.delay.ms=0\n\
         file.delete.delay.ms=0\n",
        folder.display()
    )
}
