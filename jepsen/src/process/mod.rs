//! The product as a process: where it lives, how it starts, how it dies.

pub(crate) mod caches;
pub(crate) mod cluster;
pub(crate) mod disk;
pub(crate) mod flushes;
pub(crate) mod kafka;
pub(crate) mod memory;
pub(crate) mod sheets;
pub(crate) mod site;

mod ports;
mod threads;

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Call, Client};
use site::Site;

const READY_TIME: Duration = Duration::from_secs(90);
const STOP_TIME: Duration = Duration::from_mins(1);

/// The product did not live or die as it must: a finding about it, not a fault of the test.
#[derive(Clone, Debug)]
pub(crate) struct Died(pub(crate) String);

impl std::fmt::Display for Died {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Died {}

/// A running product. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    pid: i32,
    pub(crate) address: SocketAddr,
    started: Instant,
    /// From the start of the process to the first 200 that was waited for.
    pub(crate) ready_after: Duration,
}

impl Node {
    /// Starts it and waits until it takes submissions.
    pub(crate) async fn start(site: &Site) -> anyhow::Result<Self> {
        Self::start_until(site, "/readyz").await
    }

    /// Starts it and waits until it lives and answers: it may have a reason not to take
    /// submissions.
    pub(crate) async fn start_alive(site: &Site) -> anyhow::Result<Self> {
        let node = Self::start_until(site, "/livez").await?;
        let (mut client, end) = (Client::new(site.http), Instant::now() + READY_TIME);
        let call = Call::get("/v1/forms");
        while !client
            .call(&call)
            .await
            .is_ok_and(|answer| answer.status < 500)
        {
            if Instant::now() > end {
                let words = format!("it lives, and does not answer\n{}", site.log_tail());
                return Err(site.blame(words));
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(node)
    }

    async fn start_until(site: &Site, path: &str) -> anyhow::Result<Self> {
        let mut node = Self::launch(site)?;
        node.until(site, path).await?;
        Ok(node)
    }

    /// Starts it and waits for nothing.
    pub(crate) fn launch(site: &Site) -> anyhow::Result<Self> {
        let started = Instant::now();
        let child = site.serve().context("cannot start the binary")?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .context("no process id")?;
        Ok(Self {
            child,
            pid,
            address: site.http,
            started,
            ready_after: Duration::ZERO,
        })
    }

    /// Waits for a 200 of the operators' listener.
    pub(crate) async fn until(&mut self, site: &Site, path: &str) -> anyhow::Result<()> {
        let mut ops = Client::new(site.ops);
        loop {
            if let Some(status) = self.child.try_wait()? {
                let words = format!("it ended at its start: {status}\n{}", site.log_tail());
                return Err(site.blame(words));
            }
            let answer = ops
                .call_within(&Call::get(path), Duration::from_secs(2))
                .await;
            if answer.is_ok_and(|answer| answer.status == 200) {
                site.lives();
                self.ready_after = self.started.elapsed();
                return Ok(());
            }
            if self.started.elapsed() > READY_TIME {
                let time = READY_TIME.as_secs();
                let words = format!("no 200 of {path} within {time} s\n{}", site.log_tail());
                return Err(site.blame(words));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// `SIGSTOP`, and waits until no thread of it runs or writes.
    pub(crate) async fn pause(&mut self) -> anyhow::Result<()> {
        self.must_live()?;
        let pid = Pid::from_raw(self.pid).context("no process id")?;
        kill_process(pid, Signal::STOP).context("cannot send SIGSTOP")?;
        let end = Instant::now() + STOP_TIME;
        while !threads::are_stopped(self.pid)? {
            anyhow::ensure!(Instant::now() < end, "it does not stop on SIGSTOP");
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// `SIGCONT`.
    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.pid).context("no process id")?;
        kill_process(pid, Signal::CONT).context("cannot send SIGCONT")
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.must_live()?;
        self.child.start_kill().context("cannot kill")?;
        timeout(STOP_TIME, self.child.wait())
            .await
            .context("it survives kill -9")??;
        Ok(())
    }

    /// `kill -9`, and waits for nothing.
    pub(crate) fn signal_kill(&self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.pid).context("no process id")?;
        kill_process(pid, Signal::KILL).context("cannot kill")
    }

    /// Waits until one that was killed is gone.
    pub(crate) async fn gone(mut self) -> anyhow::Result<()> {
        let gone = timeout(STOP_TIME, self.child.wait()).await;
        gone.context("it survives kill -9")??;
        Ok(())
    }

    /// `SIGTERM`, and waits for the end; the status must be success.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.pid).context("no process id")?;
        kill_process(pid, Signal::TERM).context("cannot send SIGTERM")?;
        let ended = timeout(STOP_TIME, self.child.wait()).await;
        let Ok(ended) = ended else {
            return Err(Died("it does not stop on SIGTERM".to_owned()).into());
        };
        let status: ExitStatus = ended?;
        if status.success() {
            Ok(())
        } else {
            Err(Died(format!("on SIGTERM it ended with {status}")).into())
        }
    }

    /// Fails where the process has ended by itself.
    pub(crate) fn must_live(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(Died(format!("it ended by itself: {status}")).into()),
        }
    }

    pub(crate) fn memory(&self) -> anyhow::Result<memory::Memory> {
        memory::of(self.pid)
    }
}
