//! What a start is given, what it tells on its way, and what it found.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::{Disk, NodeId};

use super::blocking;
use crate::config::{ClusterConfig, Config, PeerConfig};
use crate::error::Error;
use crate::opening::Opened;
use crate::peer::tls::Tls;
use crate::peer::transport::{Tcp, Transport};

/// What a start is given.
#[derive(Clone)]
pub struct Setup {
    /// Where everything is written.
    pub disk: Arc<dyn Disk>,
    /// This node's directory on it.
    pub data_dir: PathBuf,
    /// How the members keep in touch.
    pub raft: Config,
    /// Where this node is reached.
    pub peer: PeerConfig,
    /// Who the others are.
    pub cluster: ClusterConfig,
    /// Log and state.
    pub storage: storage::Config,
    /// The way to the others; TLS goes around it where `peer.tls` is set.
    pub transport: Arc<dyn Transport>,
}

impl Setup {
    /// One node with the usual settings.
    pub fn alone(disk: Arc<dyn Disk>, data_dir: &Path, storage: storage::Config) -> Self {
        Self {
            disk,
            data_dir: data_dir.to_owned(),
            raft: Config::default(),
            peer: PeerConfig::default(),
            cluster: ClusterConfig::default(),
            storage,
            transport: Arc::new(Tcp),
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = self.raft.problems();
        problems.extend(self.peer.problems(&self.cluster));
        problems
    }

    /// With TLS, where it is set; or everything that is wrong with these settings, at once.
    pub(super) async fn checked(mut self) -> Result<Self, Error> {
        let mut problems = self.problems();
        if self.peer.tls.is_wanted() {
            let (files, address) = (self.peer.tls.clone(), self.peer.address());
            let under = Arc::clone(&self.transport);
            let opened = move || Ok(Tls::open(&files, &address, under));
            match blocking(opened).await? {
                Ok(tls) => self.transport = Arc::new(tls),
                Err(more) => problems.extend(more),
            }
        }
        if problems.is_empty() {
            Ok(self)
        } else {
            Err(Error::Config { problems })
        }
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("data_dir", &self.data_dir)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// What a long start is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Reading what is on disk.
    Storage(storage::Progress),
    /// Waiting for others; told each time that the words change.
    Waiting(String),
}

/// What a start found.
#[derive(Debug)]
pub struct Started {
    /// True: the cluster was made just now.
    pub fresh: bool,
    /// Its id.
    pub cluster: String,
    /// This node.
    pub node: NodeId,
    /// How often it has started.
    pub boot: u64,
    /// What became of the state.
    pub opened: storage::Opened,
    /// What the log held.
    pub recovered: storage::Recovered,
    /// Where this node's past lies now, if it was damaged beyond repair: then it has just joined
    /// under a fresh number.
    pub set_aside: Option<PathBuf>,
}

impl Started {
    pub(super) fn of(opened: &Opened, set_aside: Option<PathBuf>) -> Self {
        Self {
            fresh: opened.identity.is_provisional,
            cluster: opened.identity.cluster.to_string(),
            node: opened.identity.node,
            boot: opened.identity.boot,
            opened: opened.verdict.clone(),
            recovered: opened.recovered.clone(),
            set_aside,
        }
    }
}
