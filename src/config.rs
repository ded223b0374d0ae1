//! Settings: the tree of the rooms' `Config`s, and how they are read.
//!
//! Holds: settings are this node's alone; what all nodes must agree on (forms, tasks, tokens, the
//! durability policy) is in the replicated state. They enter once, here: a file, then the
//! environment, then the command line. Unknown keys are errors, and all problems are told at once.

mod layers;
mod words;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{http, ingest, retention, telemetry};

pub use layers::{Loaded, Sources, load};
pub use words::default_file;

/// Every setting of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where everything lives that must stay.
    pub data_dir: PathBuf,
    /// Directories with forms and tasks to create where they do not exist.
    pub definitions: Vec<PathBuf>,
    /// The public listener.
    pub http: http::HttpConfig,
    /// The operators' listener.
    pub ops: http::OpsConfig,
    /// The admin token.
    pub admin: Admin,
    /// What a submission may be, and how much may be under way.
    pub limits: ingest::Config,
    /// The write-ahead log.
    pub wal: storage::WalConfig,
    /// The state.
    pub state: storage::StateConfig,
    /// What the log keeps.
    pub retention: retention::Config,
    /// Agreement.
    pub raft: raft::Config,
    /// The listener for other members.
    pub peer: raft::PeerConfig,
    /// The other members.
    pub cluster: raft::ClusterConfig,
    /// Delivery.
    pub bridge: bridge::Config,
    /// Kafka, for tasks that lead there.
    pub kafka: bridge::KafkaConfig,
    /// Google Sheets, for the tasks that lead there.
    pub sheets: bridge::SheetsConfig,
    /// Logs.
    pub log: telemetry::Config,
    /// The end.
    pub stop: Stop,
    /// Wall time.
    pub clock: Clock,
}

/// The admin token.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Empty: `<data_dir>/admin.token`, made at the first start.
    pub token_file: PathBuf,
}

/// The end.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stop {
    /// How long each stage may take to finish what is at hand.
    pub grace_ms: u64,
    /// In a cluster: how long a node goes on serving after it has said that it is not ready.
    pub linger_ms: u64,
}

/// Wall time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clock {
    /// Added to the system's clock: a test aid, to show that a jump changes nothing but what is
    /// shown.
    pub offset_ms: i64,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            grace_ms: 8_000,  // longer than ingest and bridge drain; all of them within 30 s
            linger_ms: 5_000, // what load balancers need to notice
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./data"),
            definitions: DEFINITIONS.iter().map(PathBuf::from).collect(),
            http: http::HttpConfig::default(),
            ops: http::OpsConfig::default(),
            admin: Admin::default(),
            limits: ingest::Config::default(),
            wal: storage::WalConfig::default(),
            state: storage::StateConfig::default(),
            retention: retention::Config::default(),
            raft: raft::Config::default(),
            peer: raft::PeerConfig::default(),
            cluster: raft::ClusterConfig::default(),
            bridge: bridge::Config::default(),
            kafka: bridge::KafkaConfig::default(),
            sheets: bridge::SheetsConfig::default(),
            log: telemetry::Config::default(),
            stop: Stop::default(),
            clock: Clock::default(),
        }
    }
}

/// Where a checkout of this project keeps its forms and tasks.
const DEFINITIONS: [&str; 2] = ["deploy/forms", "deploy/tasks"];

impl Config {
    /// The admin token's file.
    pub fn token_file(&self) -> PathBuf {
        or_below(&self.admin.token_file, &self.data_dir, "admin.token")
    }

    /// Where the local sheets are.
    pub fn sheets_dir(&self) -> PathBuf {
        or_below(&self.bridge.csv.dir, &self.data_dir, "sheets")
    }

    /// All faults at once.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.data_dir.as_os_str().is_empty() {
            problems.push("`data_dir` is empty".to_owned());
        }
        problems.extend(self.http.problems());
        problems.extend(self.ops.problems(&self.http));
        problems.extend(self.limits.problems());
        problems.extend(self.wal.problems());
        problems.extend(self.state.problems());
        problems.extend(self.retention.problems());
        problems.extend(
            self.raft
                .problems()
                .into_iter()
                .map(|problem| format!("raft.{problem}")),
        );
        problems.extend(self.peer.problems(&self.cluster));
        problems.extend(self.bridge.problems());
        problems.extend(self.kafka.problems());
        problems.extend(self.sheets.problems());
        problems.extend(self.log.problems());
        problems
    }

    /// The defaults as a table: it knows every key.
    fn default_table() -> toml::Table {
        toml::Table::try_from(Self::default()).unwrap_or_default()
    }
}

fn or_below(path: &Path, dir: &Path, name: &str) -> PathBuf {
    if path.as_os_str().is_empty() {
        dir.join(name)
    } else {
        path.to_owned()
    }
}

/// Our part of the environment.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("FORMSPOOL_"))
        .collect()
}

/// In a build with mutants: makes this process wrong in the way that `FORMSPOOL_MUTANT` names, and
/// says which. In any other build that variable is an unknown setting, and an error.
#[cfg(feature = "mutants")]
pub fn pick_mutant() -> Result<Option<String>, String> {
    let picked = environment()
        .into_iter()
        .find(|(name, _)| name == layers::MUTANT);
    let Some((_, name)) = picked else {
        return Ok(None);
    };
    let found = storage::mutants::pick(&name).is_ok() || bridge::mutants::pick(&name).is_ok();
    if found {
        Ok(Some(name))
    } else {
        Err(format!("no mutant is called {name:?}"))
    }
}
