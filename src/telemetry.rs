//! Telling: structured logs on stderr, human or JSON lines.
//!
//! Holds: logs never carry payloads or secrets, and never decide anything. Standard output stays
//! free for what a command was asked for, so `formspool tail … | jq` works.
//! Why openraft and fjall are held at `warn`: in peace a log has a few lines a minute, and theirs
//! would drown them. `log.level` takes them back, room by room.

use std::io::{IsTerminal, stderr};

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::fmt;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people; coloured on a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// What is told, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `human` or `json`.
    pub format: Format,
    /// A level, and levels by room: `info,raft=debug`.
    pub level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            format: Format::Human, // the first reader is a person at a terminal
            level: "info,openraft=warn,fjall=warn,lsm_tree=warn".to_owned(),
        }
    }
}

impl Config {
    /// All faults at once.
    pub fn problems(&self) -> Vec<String> {
        match EnvFilter::try_new(&self.level) {
            Ok(_) => Vec::new(),
            Err(error) => vec![format!(
                "log.level: `{}` does not parse: {error}",
                self.level
            )],
        }
    }
}

/// Sends the process's logs to stderr from here on. A second call changes nothing.
pub fn start(config: &Config) {
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_writer(stderr);
    let started = match config.format {
        Format::Human => builder
            .with_ansi(stderr().is_terminal())
            .compact()
            .try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logs were started before");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_does_not_parse_is_a_problem() {
        assert!(Config::default().problems().is_empty());
        let config = Config {
            level: "raft=loud".to_owned(),
            ..Config::default()
        };
        assert_eq!(config.problems().len(), 1);
    }
}
