//! What is asked of brokers from outside: by kcat (librdkafka's own tool), and by Kafka's own tools.
//!
//! Holds: every call ends within its time; a tool that fails is an error with what it said.
//! Why both: the product's client is librdkafka too, so what judges it is also read by Kafka's own
//! consumer once.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::process::kafka::Brokers;

const KCAT_TIME: Duration = Duration::from_secs(30);
const TOOL_TIME: Duration = Duration::from_mins(1);
/// Of one look at the brokers; those that are down must not hold it up.
const LOOK_TIME: Duration = Duration::from_secs(5);
const STATES: &str = "__transaction_state";

/// Who is there, and who leads what.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Layout {
    brokers: Vec<Named>,
    topics: Vec<Topic>,
}

/// A broker; which one is told elsewhere.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Named {}

#[derive(Clone, Debug, Deserialize)]
struct Topic {
    topic: String,
    #[serde(default)]
    partitions: Vec<Partition>,
}

#[derive(Clone, Debug, Deserialize)]
struct Partition {
    #[serde(rename = "partition")]
    number: i64,
    leader: i64,
    replicas: Vec<Named>,
    isrs: Vec<Named>,
}

impl Layout {
    /// In words; `None`: `brokers` are there, and each partition has all its replicas.
    pub(crate) fn wrong(&self, brokers: usize) -> Option<String> {
        if self.brokers.len() != brokers {
            return Some(format!("{} of {brokers} brokers", self.brokers.len()));
        }
        let mut all = self.topics.iter().flat_map(|topic| {
            let named = topic.partitions.iter();
            named.map(|partition| (topic.topic.as_str(), partition))
        });
        let lame = all.find(|(_, partition)| {
            partition.isrs.len() < partition.replicas.len() || partition.leader < 1
        });
        lame.map(|(topic, partition)| format!("{topic} {partition:?}"))
    }

    /// The broker, from 0, that coordinates this transactional id: it leads the id's partition.
    pub(crate) fn coordinator(&self, id: &str) -> anyhow::Result<usize> {
        let states = self.topics.iter().find(|topic| topic.topic == STATES);
        let states = states.context("no transaction was ever begun")?;
        let partition = partition_of(id, states.partitions.len());
        let mut all = states.partitions.iter();
        let found = all.find(|own| usize::try_from(own.number) == Ok(partition));
        let leader = found.context("no such partition")?.leader;
        usize::try_from(leader - 1).context("nobody coordinates")
    }
}

/// As Java hashes a string, and Kafka makes a place of that.
fn partition_of(id: &str, partitions: usize) -> usize {
    let hash = id.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    // Of the one number that has no absolute value Kafka makes 0.
    let place = usize::try_from(hash.unsigned_abs() % (1 << 31)).unwrap_or(0);
    place.checked_rem(partitions).unwrap_or(0)
}

pub(crate) async fn layout(bootstrap: &str) -> anyhow::Result<Layout> {
    let args = ["-L", "-J", "-m", "3", "-b", bootstrap];
    let output = kcat(&args, None, LOOK_TIME).await?;
    serde_json::from_slice(&output.stdout).context("kcat lists no brokers")
}

/// kcat with these arguments, and something to read.
pub(crate) async fn kcat(
    args: &[&str],
    input: Option<&[u8]>,
    time: Duration,
) -> anyhow::Result<Output> {
    let mut command = Command::new("kcat");
    command.args(args).kill_on_drop(true);
    command.stdin(if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = async {
        let child = command.spawn();
        let mut child =
            child.context("cannot start kcat: deploy/dev/setup.sh kafka installs it")?;
        if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
            pipe.write_all(input).await?;
        }
        anyhow::Ok(child.wait_with_output().await?)
    };
    let shown = args.join(" ");
    let output = timeout(time, run).await;
    let output = output.with_context(|| format!("kcat {shown} does not end"))??;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "kcat {shown} fails: {words}");
    Ok(output)
}

/// Writes lines to a topic as one transaction of this id, or alone.
pub(crate) async fn produce(
    bootstrap: &str,
    topic: &str,
    id: Option<&str>,
    lines: &str,
) -> anyhow::Result<()> {
    let id = id.map(|id| format!("transactional.id={id}"));
    let mut args = vec!["-P", "-b", bootstrap, "-t", topic];
    args.extend(id.iter().flat_map(|id| ["-X", id.as_str()]));
    kcat(&args, Some(lines.as_bytes()), KCAT_TIME).await?;
    Ok(())
}

/// Writes so many lines to one partition.
pub(crate) async fn fill(
    bootstrap: &str,
    (topic, partition): (&str, i32),
    count: i64,
) -> anyhow::Result<()> {
    let partition = partition.to_string();
    let lines = (0..count).map(|line| format!("{line}\n"));
    let args = ["-P", "-b", bootstrap, "-t", topic, "-p", &partition];
    let lines = lines.collect::<String>();
    kcat(&args, Some(lines.as_bytes()), KCAT_TIME).await?;
    Ok(())
}

/// Takes a transactional id over for a moment, as another producer of that name would.
pub(crate) async fn fence(bootstrap: &str, topic: &str, id: &str) -> anyhow::Result<()> {
    produce(bootstrap, topic, Some(id), "").await
}

impl Brokers {
    /// A topic with all replicas, and settings of its own.
    pub(crate) async fn create_topic(
        &self,
        name: &str,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let mut command = self.tool("org.apache.kafka.tools.TopicCommand");
        command.args(["--create", "--topic", name]);
        for (name, value) in settings {
            command.args(["--config", &format!("{name}={value}")]);
        }
        done(command).await?;
        Ok(())
    }

    /// Waits until it is gone.
    pub(crate) async fn delete_topic(&self, name: &str) -> anyhow::Result<()> {
        let mut command = self.tool("org.apache.kafka.tools.TopicCommand");
        command.args(["--delete", "--topic", name]);
        done(command).await?;
        Ok(())
    }

    /// The names of producers that the brokers know.
    pub(crate) async fn transactional_ids(&self) -> anyhow::Result<Vec<String>> {
        let mut command = self.tool("org.apache.kafka.tools.TransactionsCommand");
        command.arg("list");
        let printed = done(command).await?.stdout;
        let text = String::from_utf8_lossy(&printed).into_owned();
        let names = text
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next());
        Ok(names.map(str::to_owned).collect())
    }

    /// What Kafka's own consumer shows of a topic, line by line, until nothing came for `patience`: it
    /// takes that for the end, whether it has begun or not.
    pub(crate) async fn consume(
        &self,
        topic: &str,
        (isolation, patience): (&str, Duration),
    ) -> anyhow::Result<Vec<u8>> {
        let mut command = self.tool("org.apache.kafka.tools.consumer.ConsoleConsumer");
        command.args(["--topic", topic, "--from-beginning"]);
        let patience = patience.as_millis().to_string();
        command.args(["--isolation-level", isolation, "--timeout-ms", &patience]);
        for (name, value) in [
            ("print.timestamp", "false"),
            ("print.partition", "true"),
            ("print.offset", "true"),
            ("print.headers", "true"),
            ("print.key", "true"),
        ] {
            command.args(["--property", &format!("{name}={value}")]);
        }
        Ok(done(command).await?.stdout)
    }
}

async fn done(mut command: Command) -> anyhow::Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = timeout(TOOL_TIME, command.output()).await;
    let output = output.context("a tool of Kafka's does not end")??;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "a tool of Kafka's fails: {words}");
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::{Layout, partition_of};

    const LISTED: &str = r#"{"originating_broker":{"id":1,"name":"127.0.0.1:19092/1"},
        "query":{"topic":"*"},"controllerid":1,
        "brokers":[{"id":1,"name":"127.0.0.1:19092"},{"id":2,"name":"127.0.0.1:19093"}],
        "topics":[{"topic":"__transaction_state","partitions":[
          {"partition":0,"leader":1,"replicas":[{"id":1},{"id":2}],"isrs":[{"id":1},{"id":2}]},
          {"partition":1,"leader":2,"replicas":[{"id":1},{"id":2}],"isrs":[{"id":2},{"id":1}]},
          {"partition":2,"leader":1,"replicas":[{"id":1},{"id":2}],"isrs":[{"id":1},{"id":2}]}]},
          {"topic":"gone","error":"Broker: Unknown topic or partition"}]}"#;

    #[test]
    fn a_layout_names_what_is_not_whole() {
        let layout: Layout = serde_json::from_str(LISTED).unwrap();
        assert_eq!(layout.wrong(2), None);
        assert!(layout.wrong(3).unwrap().contains("2 of 3"));
        let lame = LISTED.replace(r#""isrs":[{"id":2},{"id":1}]"#, r#""isrs":[{"id":2}]"#);
        let lame: Layout = serde_json::from_str(&lame).unwrap();
        assert!(lame.wrong(2).unwrap().contains("number: 1"));
    }

    #[test]
    fn an_id_has_the_coordinator_that_kafka_gives_it() {
        // As Java answers: 97, 1828091083, 835047.
        let places = ["a", "formspool", "日本"].map(|id| partition_of(id, 1000));
        assert_eq!(places, [97, 83, 47]);
        let layout: Layout = serde_json::from_str(LISTED).unwrap();
        assert_eq!(layout.coordinator("a").unwrap(), 1);
        // The hash of this one is the number that has no absolute value.
        assert_eq!(partition_of("polygenelubricants", 3), 0);
    }
}
