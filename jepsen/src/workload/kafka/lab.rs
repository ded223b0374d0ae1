//! The brokers and the gates before them, for one run or for many.
//!
//! Holds: what one run leaves in the brokers cannot be mistaken for another's: each has topics
//! with a prefix of its own.

use std::net::Ipv4Addr;
use std::path::Path;

use tempfile::TempDir;

use crate::nemesis::gate::Gates;
use crate::process::kafka::{Brokers, Ports};
use crate::process::site::Site;
use crate::workload::Options;

/// Fields in the order in which they must go.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) gates: Gates,
    pub(crate) brokers: Brokers,
    _folder: TempDir,
    runs: u32,
    count: usize,
}

impl Lab {
    /// So many brokers at `host` that are ready, each behind a gate.
    pub(crate) async fn start(
        options: &Options,
        (count, libraries): (usize, &Path),
        host: Option<Ipv4Addr>,
    ) -> anyhow::Result<Self> {
        let host = host.unwrap_or(Ipv4Addr::LOCALHOST);
        let folder = tempfile::Builder::new()
            .prefix("jepsen-kafka-")
            .tempdir_in(&options.parent)?;
        let ports = (0..count).map(|_| Ports::free(host));
        let ports = ports.collect::<anyhow::Result<Vec<_>>>()?;
        let clients = ports.iter().map(|ports| ports.client);
        let gates = Gates::open(host, &clients.collect::<Vec<_>>()).await?;
        let ports = ports.into_iter().zip(gates.addresses().iter().copied());
        let ports = ports.collect::<Vec<_>>();
        let home = folder.path().to_owned();
        let mut brokers = Brokers::new(home, libraries, &ports).await?;
        let time = brokers.start().await?;
        let ms = time.as_millis();
        options
            .say
            .progress(&format!("kafka: {count} brokers are ready after {ms} ms"));
        Ok(Self {
            gates,
            brokers,
            _folder: folder,
            runs: 0,
            count,
        })
    }

    /// A prefix for the topics of one more run.
    pub(crate) fn prefix(&mut self) -> String {
        self.runs += 1;
        format!("run{}", self.runs)
    }

    /// How many replicas a topic can have.
    pub(crate) fn replicas(&self) -> usize {
        self.count
    }

    pub(crate) fn set_up(&self, site: &mut Site, settings: &[(&str, String)]) {
        site.set("KAFKA__BOOTSTRAP", Some(self.gates.bootstrap()));
        for (name, value) in settings {
            site.set(name, Some(value.clone()));
        }
    }
}
