//! A node: build the parts in order, hold them, stop them in the data's direction.
//!
//! ```text
//!  start:  definitions read ─ listeners bound ─ log and state open, raft runs ─ policy, token, forms
//!          ─ ingest ─ bridge ─ doors open ─ a leader ─ ready
//!  stop:   see `stages`
//! ```
//! Holds: nothing is acknowledged before the start is complete, and nothing that was taken in is
//! left unanswered by a stop within its grace. Whatever is wrong with settings or definitions is
//! told before the data directory is touched.
//!
//! One of several that has data opens its doors without a leader: what is applied can be read. One
//! that has none waits for it, and a signal ends the wait.

mod banner;
mod cluster;
mod doors;
mod error;
mod fresh;
mod genesis;
mod probe;
mod propose;
mod ready;
mod report;
mod stages;
mod tasks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use storage::{Disk, OsDisk, SyncLatency};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::config::{Config, Loaded};
use crate::definitions::Found;
use crate::http::{self, OpsDoors, Ready};
use crate::metrics::Metrics;
use crate::{level, ticker};
use doors::Inside;
use probe::probe;
use ready::Readiness;
use stages::{Stages, Times};

pub use banner::Banner;
pub use error::Error;
pub use genesis::definitions_of;
pub(crate) use propose::is_applied_here;

/// A running node.
#[derive(Debug)]
pub struct Node {
    raft: raft::Node,
    banner: Banner,
    ready: Readiness,
    stages: Stages,
    signals: Signals,
    times: Times,
}

/// What the one that leads defines is here a moment later; what it does not know is not waited for.
const DEFINED_TIME_MAX: Duration = Duration::from_secs(5);

impl Node {
    /// Starts everything; returns when submissions are taken, or when it has data and found out that
    /// nobody leads.
    pub async fn start(loaded: &Loaded) -> Result<Self, Error> {
        let began = Instant::now();
        let config = &loaded.config;
        let found = definitions_of(loaded).map_err(Error::Definitions)?;
        let mut signals = Signals::new()?;
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        create_dir(&*disk, config)?;
        genesis::nobody_else(&*disk, &config.data_dir)?;
        let public = bind("http.listen", config.http.listen).await?;
        let operators = bind("ops.listen", config.ops.listen).await?;
        let sync = probe(&disk, config).await?;
        let urls = Urls {
            public: local(&public)?,
            operators: local(&operators)?,
        };

        // Operators see "alive, not ready" while a long log is read or others are waited for.
        let stages = Stages::default();
        let metrics = Metrics::default();
        let (ready, is_ready) = Readiness::new();
        open_operators(operators, config, &stages, &metrics, is_ready);
        let setup = setup(&disk, config);
        let (raft, started) = tokio::select! {
            biased;
            name = signals.next() => return Err(Error::Interrupted(name)),
            started = raft::Node::start(setup, report::progress(ready.clone())) => started?,
        };
        let beginning = Box::pin(begin(&raft, &*disk, loaded, &found, (&ready, &stages)));
        let token = tokio::select! {
            biased;
            name = signals.next() => Err(Error::Interrupted(name)),
            why = raft.fatal() => Err(Error::Fatal(why)),
            token = beginning => token,
        };
        let token = match token {
            Ok(token) => token,
            Err(error) => {
                // The first error is the one to tell.
                drop(raft.close().await);
                return Err(error);
            }
        };

        let inside = Inside::new(config, &raft, &stages, metrics).await?;
        ticker::spawn(&raft, &stages.clock);
        level::spawn(&raft, &stages.clock);
        let stage = stages.doors.clone();
        let router = http::public_router(inside.doors(sync, &stage));
        let limits = config.http.clone();
        stages
            .doors
            .spawn(http::serve(public, router, limits, stage));
        become_ready(&raft, config, &ready, &stages).await;
        let banner = banner_of(config, &started, &raft, (sync, urls, token))?;
        info!(elapsed_ms = began.elapsed().as_millis(), "node started");
        let times = Times::of(&config.stop, raft.is_alone());
        Ok(Self {
            raft,
            banner,
            ready,
            stages,
            signals,
            times,
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
                self.ready.last(Ready::No("stopped for good".to_owned()));
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
            times,
            ..
        } = self;
        tokio::select! {
            biased;
            _second = signals.next() => Err(Error::Cut),
            stopped = stages.stop(raft, ready, times) => stopped,
        }
    }
}

/// Answers under way are told that their outcome is unknown; that takes no time.
const FATAL_GRACE: Duration = Duration::from_secs(1);

fn setup(disk: &Arc<dyn Disk>, config: &Config) -> raft::Setup {
    let storage = storage::Config {
        wal: config.wal.clone(),
        state: config.state.clone(),
    };
    raft::Setup {
        raft: config.raft.clone(),
        peer: config.peer.clone(),
        cluster: config.cluster.clone(),
        ..raft::Setup::alone(Arc::clone(disk), &config.data_dir, storage)
    }
}

fn open_operators(
    listener: TcpListener,
    config: &Config,
    stages: &Stages,
    metrics: &Metrics,
    ready: watch::Receiver<Ready>,
) {
    let told = metrics.clone();
    let router = http::ops_router(OpsDoors {
        metrics: Arc::new(move || told.text()),
        ready,
    });
    let (limits, stage) = (config.http.clone(), stages.ops.clone());
    stages
        .ops
        .spawn(http::serve(listener, router, limits, stage));
}

/// What has to be in the state before anybody is let in; gives the token if it was made just now.
async fn begin(
    raft: &raft::Node,
    disk: &dyn Disk,
    loaded: &Loaded,
    found: &[Found],
    (ready, stages): (&Readiness, &Stages),
) -> Result<Option<String>, Error> {
    genesis::sign(&loaded.config.data_dir)?;
    let token = genesis::settle(raft, disk, &loaded.config, ready).await?;
    genesis::compare_policy(&raft.view(), loaded)?;
    if raft.is_alone() {
        genesis::define(raft, found).await?;
        return Ok(token);
    }
    ready.starting("waiting for the forms and tasks that are configured here");
    let time_max = if raft.leader().borrow().is_some() {
        DEFINED_TIME_MAX
    } else {
        Duration::ZERO
    };
    match tokio::time::timeout(time_max, genesis::define(raft, found)).await {
        Ok(defined) => defined?,
        // Somebody may have to lead first, and it may be this node.
        Err(_elapsed) => {
            let (raft, found) = (raft.clone(), found.to_vec());
            let own = stages.clock.clone();
            stages.clock.spawn(async move {
                tokio::select! {
                    biased;
                    () = own.stopping() => {}
                    defined = genesis::define(&raft, &found) => if let Err(error) = defined {
                        error!(%error, "a definition that is configured here is still missing");
                    }
                }
            });
        }
    }
    Ok(token)
}

/// From here on `/readyz` tells how it is. Waits a little, so that whoever starts a node and reads
/// what it says finds it at work.
async fn become_ready(raft: &raft::Node, config: &Config, ready: &Readiness, stages: &Stages) {
    if raft.is_alone() {
        ready.say(Ready::Yes);
        return;
    }
    let patience = Duration::from_millis(config.raft.election_ms_max);
    ready.starting("looking for a leader");
    ready.follow(raft, patience, &stages.clock);
    // What is left of a lost leader's lease, an election, and another one where that was split.
    if !ready.wait(patience.saturating_mul(3)).await {
        warn!("started, and nobody leads: reads are answered, submissions are not taken yet");
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
        peers: peers_of(raft),
        leader: raft.leader().borrow().map(|leader| leader.0),
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

fn peers_of(raft: &raft::Node) -> Vec<String> {
    let others = raft.roster().into_iter().filter(|seat| !seat.is_self);
    others.map(|seat| seat.address).collect()
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
}
