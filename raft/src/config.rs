//! Settings of this room, each default with its reason.
//!
//! Holds: snapshots by count, automatic purging, leader restore and log reversion are not
//! settings; each of them would break a promise of the log.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use openraft::SnapshotPolicy;
use serde::{Deserialize, Serialize};

/// How the members of a cluster keep in touch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often a leader shows that it is there.
    pub heartbeat_ms: u64,
    /// A follower whose leader's lease is over (it lasts as long as the longest of these) waits for a
    /// time between this and the next, then asks to be elected.
    pub election_ms_min: u64,
    /// See above.
    pub election_ms_max: u64,
    /// Bytes of entries in one request to a peer, and in one read while applying.
    pub read_bytes_max: usize,
    /// How long a start waits for a leader and for what the log holds to be applied.
    pub start_ms_max: u64,
}

/// The peer listener, and how the others reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeerConfig {
    /// Where members of the cluster are listened for; nobody is while no peer is listed.
    pub listen: SocketAddr,
    /// Host and port by which the others reach this node; empty: the address of `listen`.
    pub advertise: String,
    /// Mutual TLS between members.
    pub tls: TlsConfig,
}

/// Files of mutual TLS: all three or none. They are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_field_names,
    reason = "each is a file, and so it reads in the settings"
)]
pub struct TlsConfig {
    /// This node's certificate chain, PEM.
    pub cert_file: PathBuf,
    /// Its private key, PEM.
    pub key_file: PathBuf,
    /// Whose signature a member's certificate must carry, PEM.
    pub ca_file: PathBuf,
}

/// Who the others are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// Addresses of all members of the first cluster, this node's own or not; empty: one node alone.
    pub peers: Vec<String>,
    /// An empty disk starts a cluster of one even where `peer.listen` is not loopback.
    pub single: bool,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7080)), // nobody outside, unless told so
            advertise: String::new(),
            tls: TlsConfig::default(),
        }
    }
}

impl TlsConfig {
    fn all(&self) -> [&PathBuf; 3] {
        [&self.cert_file, &self.key_file, &self.ca_file]
    }

    fn named(&self) -> usize {
        let all = self.all().into_iter();
        all.filter(|file| !file.as_os_str().is_empty()).count()
    }

    /// Members are to prove themselves to each other.
    pub(crate) fn is_wanted(&self) -> bool {
        self.named() == self.all().len()
    }
}

impl PeerConfig {
    /// The address by which the others know this node.
    pub fn address(&self) -> String {
        if self.advertise.is_empty() {
            self.listen.to_string()
        } else {
            self.advertise.clone()
        }
    }

    /// Everything that is wrong with these settings, in words.
    pub fn problems(&self, cluster: &ClusterConfig) -> Vec<String> {
        let mut problems = Vec::new();
        let has_peers = !cluster.peers.is_empty();
        if has_peers && self.advertise.is_empty() && self.listen.ip().is_unspecified() {
            problems.push(format!(
                "peer.advertise must say how the others reach this node: peer.listen ({}) is no \
                 address of anybody",
                self.listen
            ));
        }
        if !matches!(self.tls.named(), 0 | 3) {
            problems.push(
                "peer.tls wants cert_file, key_file and ca_file: all three or none".to_owned(),
            );
        }
        let addresses = cluster.peers.iter().map(String::as_str);
        for address in addresses.chain(
            [self.advertise.as_str()]
                .into_iter()
                .filter(|one| !one.is_empty()),
        ) {
            if address
                .rsplit_once(':')
                .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
            {
                problems.push(format!("{address:?} is no host:port of a peer"));
            }
        }
        if has_peers && cluster.single {
            problems.push("cluster.single and cluster.peers exclude each other".to_owned());
        }
        problems
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat_ms: 250,       // a fraction of any timeout below, and nothing on a wire
            election_ms_min: 1000, // a slow disk's sync (hundreds of ms) must not cost the leadership
            election_ms_max: 2000, // its lease too: a new leader within 3 to 4 s of the old one's end
            read_bytes_max: 2 << 20, // four packs of the largest size
            start_ms_max: 60_000,  // ten times what the worst election takes; then say so and stop
        }
    }
}

impl Config {
    /// Everything that is wrong with these settings, in words.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.heartbeat_ms == 0 {
            problems.push("heartbeat_ms must not be 0".to_owned());
        }
        if self.heartbeat_ms.saturating_mul(3) > self.election_ms_min {
            problems.push(format!(
                "election_ms_min ({}) must be at least three times heartbeat_ms ({})",
                self.election_ms_min, self.heartbeat_ms
            ));
        }
        if self.election_ms_min >= self.election_ms_max {
            problems.push(format!(
                "election_ms_max ({}) must be above election_ms_min ({})",
                self.election_ms_max, self.election_ms_min
            ));
        }
        if self.read_bytes_max == 0 {
            problems.push("read_bytes_max must not be 0".to_owned());
        }
        if self.start_ms_max < self.election_ms_max.saturating_mul(2) {
            problems.push(format!(
                "start_ms_max ({}) must leave time for two elections of {} ms",
                self.start_ms_max, self.election_ms_max
            ));
        }
        problems
    }

    /// The same in openraft's words, with all that is no setting.
    pub(crate) fn openraft(&self) -> Result<Arc<openraft::Config>, openraft::ConfigError> {
        let config = openraft::Config {
            cluster_name: "formspool".to_owned(),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: self.election_ms_min,
            election_timeout_max: self.election_ms_max,
            max_payload_entries: 256, // a pack is one entry; bytes are capped by `read_bytes_max`
            max_append_entries: Some(4096),
            snapshot_policy: SnapshotPolicy::Never, // the log is the queue: only we say what may go
            max_in_snapshot_log_to_keep: u64::MAX,
            enable_pre_vote: Some(true), // a node that cannot win does not disturb one that leads
            enable_leader_restore: Some(false), // a restarted leader proves its log by an election
            allow_log_reversion: None,   // a follower that lost its tail must be noticed
            ..openraft::Config::default()
        };
        config.validate().map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_problem_and_openraft_takes_them() {
        let config = Config::default();
        assert_eq!(config.problems(), Vec::<String>::new());
        let openraft = config.openraft().unwrap();
        assert_eq!(openraft.enable_leader_restore, Some(false));
        assert_eq!(openraft.allow_log_reversion, None);
        assert_eq!(openraft.snapshot_policy, SnapshotPolicy::Never);
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let config = Config {
            heartbeat_ms: 0,
            election_ms_min: 9,
            election_ms_max: 9,
            read_bytes_max: 0,
            start_ms_max: 0,
        };
        assert_eq!(config.problems().len(), 4, "{:?}", config.problems());
    }
}
