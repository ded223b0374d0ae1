//! What the benchmark knows of a cluster, ours or a peer's: how to start it, how to reach it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use futures::future::LocalBoxFuture;
use tokio::net::TcpStream;

use super::load::Link;
use super::work::{Shape, Work};
use crate::process::Process;

/// One product that can be measured.
pub(crate) trait Peer {
    fn name(&self) -> &'static str;

    /// How many times as long as another it needs to get warm.
    fn warm_ups(&self) -> usize {
        1
    }

    /// What is missing on this machine, in words, or nothing.
    fn missing(&self) -> Option<String>;

    /// Starts nodes on empty disks in `folder`, and looks that each acknowledgement will mean
    /// what the rows say.
    fn start<'a>(&'a self, folder: &'a Path) -> LocalBoxFuture<'a, Result<Cluster>>;
}

/// Nodes that are ready; ended when dropped.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Process>,
    pub(crate) ways: Vec<Way>,
    /// Version and settings, as the cluster itself told them.
    pub(crate) said: String,
}

/// A way to submit to a cluster: a row of the table.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    /// What an acknowledgement means.
    pub(crate) durability: &'static str,
    /// How the clients do this work, if this way is for it; those that share connections share so
    /// many at most.
    pub(crate) shape: fn(Work, usize) -> Option<Shape>,
    pub(crate) dial: Box<dyn Dial>,
}

/// Opens connections.
pub(crate) trait Dial {
    /// The `nth` connection for `work`, ready for the first submission.
    fn dial(&self, nth: usize, work: Work) -> LocalBoxFuture<'_, Result<Link>>;
}

/// Where the benchmark finds things.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The product's release binary.
    pub(crate) binary: PathBuf,
    /// What `setup.sh bench` laid down that is no package of the system.
    pub(crate) peers: PathBuf,
}

pub(crate) async fn connect(address: std::net::SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(crate) fn missing(found: Option<&PathBuf>, program: &str) -> Option<String> {
    let is_missing = found.is_none();
    is_missing.then(|| format!("{program} is not here (`deploy/dev/setup.sh bench` installs it)"))
}
