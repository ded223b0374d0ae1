//! One real broker on loopback, in a folder of its own, ended with the test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

/// Ended when dropped.
pub(crate) struct Broker {
    process: Child,
    dir: tempfile::TempDir,
    pub(crate) address: String,
}

/// For a broker to answer.
const READY: Duration = Duration::from_secs(60);

impl Broker {
    /// Starts one and waits until it answers.
    pub(crate) fn start() -> Self {
        let libraries = libraries();
        let dir = tempfile::tempdir().expect("a folder for the broker");
        let [client, controller] = [free_port(), free_port()];
        let settings = settings(dir.path(), client, controller);
        std::fs::write(dir.path().join("server.properties"), settings).expect("write settings");
        let java = |arguments: &[&str]| {
            // With us ends the broker, however we end.
            let mut command = Command::new("setpriv");
            command
                .args([
                    "--pdeathsig",
                    "KILL",
                    "java",
                    "-Xmx400m",
                    "-XX:+UseSerialGC",
                ])
                .args(["-XX:TieredStopAtLevel=1", "-cp"])
                .arg(libraries.join("*"))
                .args(arguments)
                .current_dir(dir.path())
                .stdin(Stdio::null());
            command
        };
        let id = "a3Jha2VuLWJyaWRnZS10ZXN0cw";
        let format = java(&[
            "kafka.tools.StorageTool",
            "format",
            "-t",
            id,
            "-c",
            "server.properties",
        ])
        .output();
        let format = format.expect("run java: `deploy/dev/setup.sh kafka` installs it");
        assert!(
            format.status.success(),
            "{}",
            String::from_utf8_lossy(&format.stderr)
        );
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(dir.path().join("log"))
            .expect("a log");
        let process = java(&["kafka.Kafka", "server.properties"])
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("start the broker");
        let mut broker = Self {
            process,
            dir,
            address: format!("127.0.0.1:{client}"),
        };
        broker.wait();
        broker
    }

    fn wait(&mut self) {
        let began = Instant::now();
        let asks: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("reconnect.backoff.max.ms", "200")
            .create()
            .expect("a client");
        while asks
            .fetch_metadata(Some("none"), Duration::from_secs(1))
            .is_err()
        {
            let ended = self.process.try_wait().expect("ask for the broker");
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "the broker ended: {}", log());
            assert!(
                began.elapsed() < READY,
                "the broker is not ready: {}",
                log()
            );
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Gone already, or not: both are fine.
        drop(self.process.kill());
        drop(self.process.wait());
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

fn settings(dir: &Path, client: u16, controller: u16) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{client}\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}/data\n\
         auto.create.topics.enable=false\n\
         unclean.leader.election.enable=false\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=3\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=3\n\
         group.initial.rebalance.delay.ms=0\n\
         log.retention.check.interval.ms=500\n\
         log.segment.delete.delay.ms=0\n\
         file.delete.delay.ms=0\n",
        dir.display()
    )
}
