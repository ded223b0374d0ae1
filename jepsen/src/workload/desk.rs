//! Where one asks a node about its tasks.
//!
//! Holds: an answer that does not come, or is another one than hoped for, is asked for again until time
//! is over; then what was said last is told.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::client::tasks::{self, Task};
use crate::process::cluster::Cluster;

const CALL_TIME: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(100);
/// Who leads may change while something is waited for: so often it is asked anew who that is.
const HOLD: Duration = Duration::from_secs(4);

/// Where a node answers, and with which token.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) client: Client,
    pub(crate) token: String,
}

impl Desk {
    pub(crate) fn new(address: SocketAddr, token: String) -> Self {
        let client = Client::new(address).with_patience(CALL_TIME);
        Self { client, token }
    }

    /// Of whoever leads.
    pub(crate) async fn of_leader(cluster: &Cluster) -> anyhow::Result<Self> {
        let leader = cluster.leader().await?;
        let address = cluster.member(leader)?.site.http;
        Ok(Self::new(address, cluster.token()?))
    }

    /// Of whoever leads once all that the task has is delivered; what was said last, if that takes
    /// longer than `time`.
    pub(crate) async fn of_done(
        cluster: &Cluster,
        (task, time): (&str, Duration),
    ) -> anyhow::Result<Result<Self, String>> {
        let end = Instant::now() + time;
        loop {
            let mut desk = Self::of_leader(cluster).await?;
            match desk.task_until(task, HOLD, Task::is_done).await {
                Ok(_) => return Ok(Ok(desk)),
                Err(said) if Instant::now() > end => return Ok(Err(said)),
                Err(_) => {}
            }
        }
    }

    pub(crate) async fn define(&mut self, name: &str, definition: &Value) -> anyhow::Result<()> {
        let answer = tasks::put(&mut self.client, &self.token, name, definition).await?;
        let (status, text) = (answer.status, answer.text());
        ensure!(answer.is_success(), "task {name}: {status} {text}");
        Ok(())
    }

    pub(crate) async fn task(&mut self, name: &str) -> anyhow::Result<Task> {
        let task = tasks::task(&mut self.client, &self.token, name).await?;
        task.with_context(|| format!("the node says nothing of task {name}"))
    }

    /// Asks again and again until `fits`, or until `time` is over; answers what was said last.
    pub(crate) async fn task_until(
        &mut self,
        name: &str,
        time: Duration,
        fits: impl Fn(&Task) -> bool,
    ) -> Result<Task, String> {
        let end = Instant::now() + time;
        loop {
            let said = match self.task(name).await {
                Ok(task) if fits(&task) => return Ok(task),
                Ok(task) => task.words(),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > end {
                return Err(said);
            }
            sleep(LOOK).await;
        }
    }
}
