//! A node: build the parts in order, hold them, stop them in the data's direction.
//!
//! ```text
//!  start:  definitions read ─ listeners bound ─ log and state open, leader ─ policy, token, forms
//!          ─ ingest ─ bridge ─ doors open ─ ready
//!  stop:   not ready ─ doors ─ ingest ─ bridge ─ raft, log, state ─ operators' door
//! ```
//! Holds: nothing is acknowledged before the start is complete, and nothing that was taken in is
//! left unanswered by a stop within its grace. Whatever is wrong with settings or definitions is
//! told before the data directory is touched.

mod banner;
mod doors;
mod error;
mod genesis;
mod propose;
mod report;
mod tasks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use storage::{Disk, OsDisk, SyncLatency, probe_sync};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::config::{Config, Loaded};
use crate::http::{self, OpsDoors, Ready};
use crate::metrics::Metrics;
use crate::stage::Stage;
use crate::ticker;
use doors::Inside;

pub use banner::Banner;
pub use error::Error;
pub use genesis::definitions_of;

/// A running node.
#[derive(Debug)]
pub struct Node {
    raft: raft::Node,
    banner: Banner,
    ready: watch::Sender<Ready>,
    stages: Stages,
    signals: Signals,
    grace: Duration,
}

/// In the order in which they end.
#[derive(Debug, Default)]
struct Stages {
    doors: Stage,
    ingest: Stage,
    clock: Stage,
    bridge: Stage,
    ops: Stage,
}

/// Syncs that the start measures at most: enough for a median.
const PROBE_ROUNDS_MAX: usize = 20;
/// On a disk that is slower than that, fewer.
const PROBE_TIME_MAX: Duration = Duration::from_millis(400);

impl Node {
    /// Starts everything; returns when submissions are taken.
    pub async fn start(loaded: &Loaded) -> Result<Self, Error> {
        let began = Instant::now();
        let config = &loaded.config;
        let found = definitions_of(loaded).map_err(Error::Definitions)?;
        let signals = Signals::new()?;
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        create_dir(&*disk, config)?;
        genesis::nobody_else(&*disk, &config.data_dir)?;
        let public = bind("http.listen", config.http.listen).await?;
        let operators = bind("ops.listen", config.ops.listen).await?;
        let sync = probe(&disk, config).await?;

        // Operators see "alive, not ready" while a long log is read.
        let stages = Stages::default();
        let metrics = Metrics::default();
        let (ready, is_ready) = watch::channel(Ready::Starting);
        let urls = Urls {
            public: local(&public)?,
            operators: local(&operators)?,
        };
        let (limits, told) = (config.http.clone(), metrics.clone());
        let doors = OpsDoors {
            metrics: Arc::new(move || told.text()),
            ready: is_ready,
        };
        let router = http::ops_router(doors);
        stages.ops.spawn(http::serve(
            operators,
            router,
            limits.clone(),
            stages.ops.clone(),
        ));

        let (raft, started) = raft::Node::start(
            Arc::clone(&disk),
            &config.data_dir,
            config.raft.clone(),
            storage::Config {
                wal: config.wal.clone(),
                state: config.state.clone(),
            },
            report::progress(),
        )
        .await?;
        genesis::sign(&config.data_dir)?;
        let token = genesis::settle(&raft, &*disk, config).await?;
        genesis::define(&raft, &found).await?;

        let inside = Inside::new(config, &raft, &stages, metrics).await?;
        ticker::spawn(&raft, &stages.clock);
        let stage = stages.doors.clone();
        let router = http::public_router(inside.doors(sync, &stage));
        stages
            .doors
            .spawn(http::serve(public, router, limits, stage));
        ready.send_replace(Ready::Yes);
        let banner = banner_of(config, &started, &raft, (sync, urls, token))?;
        info!(elapsed_ms = began.elapsed().as_millis(), "node started");
        let grace = Duration::from_millis(config.stop.grace_ms);
        Ok(Self {
            raft,
            banner,
            ready,
            stages,
            signals,
            grace,
        })
    }

    /// What to tell the person who started it.
    pub fn banner(&self) -> &Banner {
        &self.banner
    }

    /// Runs until a signal (then stops in order) or until the node stops for good.
    pub async fn run(mut self) -> Result<(), Error> {
        tokio::select! {
            biased;
            why = self.raft.fatal() => {
                error!(error = why, "the node stopped for good");
                self.ready.send_replace(Ready::No("stopped for good".to_owned()));
                self.stages.cancel();
                // The log refuses what is sent again: ingest then tells all who wait what is known.
                self.stages.doors.stop(FATAL_GRACE).await;
                return Err(Error::Fatal(why));
            }
            name = self.signals.next() => info!(signal = name, "stopping"),
        }
        let Self {
            raft,
            ready,
            stages,
            mut signals,
            grace,
            ..
        } = self;
        tokio::select! {
            biased;
            _second = signals.next() => Err(Error::Cut),
            stopped = stop(raft, ready, stages, grace) => stopped,
        }
    }
}

/// Answers under way are told that their outcome is unknown; that takes no time.
const FATAL_GRACE: Duration = Duration::from_secs(1);

/// Ends all parts in the data's direction.
async fn stop(
    raft: raft::Node,
    ready: watch::Sender<Ready>,
    stages: Stages,
    grace: Duration,
) -> Result<(), Error> {
    ready.send_replace(Ready::Draining);
    let Stages {
        doors,
        ingest,
        clock,
        bridge,
        ops,
    } = stages;
    for (name, stage) in [
        ("doors", doors),
        ("ingest", ingest),
        ("clock", clock),
        ("bridge", bridge),
    ] {
        let left = stage.stop(grace).await;
        if left > 0 {
            warn!(
                stage = name,
                left, "a stage did not finish within its grace"
            );
        }
    }
    let closed = raft.close().await;
    ops.stop(grace).await;
    info!("stopped");
    Ok(closed?)
}

impl Stages {
    fn cancel(&self) {
        for stage in [&self.doors, &self.ingest, &self.clock, &self.bridge] {
            stage.token.cancel();
        }
    }
}

fn create_dir(disk: &dyn Disk, config: &Config) -> Result<(), Error> {
    let dir = &config.data_dir;
    let io = |source| Error::Io {
        op: "create",
        path: dir.clone(),
        source,
    };
    storage::create_dir_durably(disk, dir).map_err(io)
}

async fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| Error::Listen {
        setting,
        address,
        source,
    })
}

async fn probe(disk: &Arc<dyn Disk>, config: &Config) -> Result<Option<SyncLatency>, Error> {
    let (disk, dir) = (Arc::clone(disk), config.data_dir.clone());
    let measured = tokio::task::spawn_blocking(move || {
        let first = probe_sync(&*disk, &dir, 1)?;
        match rounds_after(first.p50) {
            0 => Ok(first),
            rounds => probe_sync(&*disk, &dir, rounds),
        }
    });
    // A full disk is no reason not to start: reads go on, and it may have room again soon.
    let unless_full = |error: storage::Error| {
        if error.is_full() {
            Ok(None)
        } else {
            Err(error)
        }
    };
    let lost = |error| Error::System {
        op: "measure the disk",
        source: std::io::Error::other(error),
    };
    let measured = measured.await.map_err(lost)?;
    Ok(measured.map(Some).or_else(unless_full)?)
}

/// How many more syncs are measured after one that took this long.
fn rounds_after(first: Duration) -> usize {
    let left = PROBE_TIME_MAX.saturating_sub(first).as_nanos();
    let fit = left / first.as_nanos().max(1);
    usize::try_from(fit).map_or(PROBE_ROUNDS_MAX, |fit| fit.min(PROBE_ROUNDS_MAX - 1))
}

fn local(listener: &TcpListener) -> Result<SocketAddr, Error> {
    let address = listener.local_addr();
    address.map_err(|source| Error::System {
        op: "read a listener's address",
        source,
    })
}

/// Where the doors stand.
#[derive(Clone, Copy, Debug)]
struct Urls {
    public: SocketAddr,
    operators: SocketAddr,
}

/// The address by which this machine reaches a listener.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn banner_of(
    config: &Config,
    started: &raft::Started,
    raft: &raft::Node,
    (sync, urls, token): (Option<SyncLatency>, Urls, Option<String>),
) -> Result<Banner, Error> {
    let view = raft.view();
    let forms = view.forms()?;
    let takes = forms
        .iter()
        .filter(|form| !form.is_retired)
        .map(|form| form.name.clone());
    let form = banner::first_form(takes.collect());
    let url = format!("http://{}", reachable(urls.public));
    // Where the system does not tell, the bare name is the best guess.
    let exe = std::env::current_exe().unwrap_or_else(|_| "formspool".into());
    let here = std::env::current_dir().unwrap_or_default();
    let sheet = form.as_ref().and_then(|form| tasks::sheet_of(&view, form));
    Ok(Banner {
        version: env!("CARGO_PKG_VERSION"),
        data_dir: config.data_dir.clone(),
        is_created: started.fresh,
        cluster: started.cluster.clone(),
        node: started.node.0,
        records: forms.iter().map(|form| form.head.0).sum(),
        rebuilt: report::opened(&started.opened),
        durability: banner::durability_in_words(view.policy()?, sync),
        command: banner::command(&exe, &here, &config.data_dir, &url),
        url,
        public_url: config.http.public_site(),
        ops_url: format!("http://{}", reachable(urls.operators)),
        form,
        sheet: sheet.map(|file| config.sheets_dir().join(file)),
        token,
        token_file: config.token_file(),
        clock_offset_ms: config.clock.offset_ms,
    })
}

/// Signals that end the node.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let catch = |kind| {
            signal(kind).map_err(|source| Error::System {
                op: "listen for signals",
                source,
            })
        };
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_on_loopback() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(reach("[::]:80"), "[::1]:80");
        assert_eq!(reach("10.0.0.1:80"), "10.0.0.1:80");
    }

    #[test]
    fn a_slow_disk_is_measured_less_often() {
        let after = |ms: u64| rounds_after(Duration::from_millis(ms));
        let rounds = [0, 1, 20, 100, 150, 300, 5_000].map(after);
        assert_eq!(rounds, [19, 19, 19, 3, 1, 0, 0]);
    }
}
