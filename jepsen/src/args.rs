//! The command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::say::Say;
use crate::workload::mutants::Which;
use crate::workload::{
    Options, cluster, crowd, full, kafka, mirrors, power, restart, rows, sheets,
};

/// Breaks formspool on purpose and checks what it promised: black box, over HTTP and signals.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit code 0: all promises held. 1: one was broken, or the run \
                                 could not have shown it. 3: the test itself could not be done."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The formspool binary to test.
    #[arg(long, global = true, default_value = "target/release/formspool")]
    binary: PathBuf,
    /// Where the shipped `forms` and `tasks` are; else `deploy` here or above.
    #[arg(long, global = true)]
    deploy: Option<PathBuf>,
    /// Where runs live; on a real disk for `synced`.
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    /// Fixes what is sent and when faults fall.
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// The report as JSON on standard output; progress goes to standard error.
    #[arg(long, global = true)]
    json: bool,
    /// Break the product: the name of a mutant (needs a binary with that feature).
    #[arg(long, global = true)]
    mutant: Option<String>,
    /// A setting of the product, as in its environment, without `FORMSPOOL_`.
    #[arg(long = "set", global = true, value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// `kill -9` at random moments under load.
    Crash {
        #[arg(long, default_value_t = 30)]
        kills: u32,
        #[arg(long, default_value_t = 64)]
        connections: u32,
        /// Latest moment of a kill after the load is on, in ms.
        #[arg(long, default_value_t = 800)]
        up_ms_max: u64,
        /// New documents a connection posts between two kills, at most.
        #[arg(long, default_value_t = 500)]
        posts_max: u64,
    },
    /// Power cuts under load, on a disk of its own. Needs root and loop devices.
    Power(power::Plan),
    /// A full disk: refused with 507, and well again. Needs root and loop devices.
    Full(full::Plan),
    /// The start on a long log, after `kill -9` and after SIGTERM, within a limit.
    Restart(restart::Plan),
    /// Each document posted three times at once under its key.
    Once {
        #[arg(long, default_value_t = 1000)]
        count: u64,
    },
    /// One key under two documents at the same moment.
    Clash {
        #[arg(long, default_value_t = 500)]
        count: u64,
    },
    /// A form retired while submissions are under way.
    Retire {
        /// Receipts before it is retired.
        #[arg(long, default_value_t = 500)]
        before: u64,
    },
    /// An NDJSON request sent again whole under one header key, also after a kill.
    Lines {
        #[arg(long, default_value_t = 2000)]
        count: usize,
    },
    /// The wall clock a year forward and back between retries.
    Clock {
        #[arg(long, default_value_t = 200)]
        count: u64,
    },
    /// Bad input of every kind.
    Hostile {
        #[arg(long, default_value_t = 10_000)]
        idle: u64,
        #[arg(long, default_value_t = 256)]
        rss_max_mib: u64,
    },
    /// No receipt without a flush of the disk.
    Synced {
        #[arg(long, default_value_t = 300)]
        count: u64,
    },
    /// Full load: memory, rate, times.
    Load {
        #[arg(long, default_value_t = 1000)]
        connections: u32,
        #[arg(long, default_value_t = 1_000_000)]
        count: u64,
        /// Fails above it.
        #[arg(long)]
        rss_max_mib: Option<u64>,
    },
    /// Several nodes under load, and one fault after the other.
    Cluster(cluster::Plan),
    /// Log == Kafka, at real brokers: every fault between the node and the topic.
    Kafka(kafka::Plan),
    /// Log == Google Sheets, at a Google Sheets for tests, while people edit it.
    Sheets(sheets::Plan),
    /// Log == Kafka == Google Sheets, two tasks on one form, all of them hurt at once.
    Mirrors(mirrors::Plan),
    /// Hundreds of forms on one credential of a Google Sheets for tests: its quota, and each one's turn.
    Crowd(crowd::Plan),
    /// Very many rows into a Google Sheets for tests: rate, memory, and each value as it was typed.
    Rows(rows::Plan),
    /// Broken products, each of which must be caught.
    Mutants {
        #[arg(long, conflicts_with_all = ["all", "kafka", "sheets", "mirrors", "name"])]
        three: bool,
        #[arg(long, conflicts_with_all = ["kafka", "sheets", "mirrors", "name"])]
        all: bool,
        /// Those that only a real broker can show.
        #[arg(long, conflicts_with_all = ["sheets", "mirrors", "name"])]
        kafka: bool,
        /// Those that only a Google Sheets can show.
        #[arg(long, conflicts_with_all = ["mirrors", "name"])]
        sheets: bool,
        /// Those that show where log, Kafka and Google Sheets are compared.
        #[arg(long, conflicts_with = "name")]
        mirrors: bool,
        /// One mutant.
        #[arg(long)]
        name: Option<String>,
    },
}

impl Command {
    /// It makes a network of its own, away from the machine's.
    pub(crate) fn needs_net(&self) -> bool {
        match self {
            Self::Cluster(plan) => plan.net,
            Self::Kafka(plan) => plan.net,
            Self::Crash { .. }
            | Self::Sheets(_)
            | Self::Mirrors(_)
            | Self::Crowd(_)
            | Self::Rows(_)
            | Self::Power(_)
            | Self::Full(_)
            | Self::Restart(_)
            | Self::Once { .. }
            | Self::Clash { .. }
            | Self::Retire { .. }
            | Self::Lines { .. }
            | Self::Clock { .. }
            | Self::Hostile { .. }
            | Self::Synced { .. }
            | Self::Load { .. }
            | Self::Mutants { .. } => false,
        }
    }

    /// Which mutants are meant; three, where nothing is said.
    pub(crate) fn which(chosen: [(bool, Which); 4], name: Option<String>) -> Which {
        let mut chosen = chosen.into_iter();
        let chosen = chosen.find_map(|(is_meant, which)| is_meant.then_some(which));
        name.map(Which::One).or(chosen).unwrap_or(Which::Three)
    }
}

impl Common {
    pub(crate) fn options(&self) -> anyhow::Result<Options> {
        let settings = self.settings.iter().map(|setting| {
            let (name, value) = setting.split_once('=').context("--set needs NAME=VALUE")?;
            Ok((name.to_owned(), value.to_owned()))
        });
        let settings = settings.collect::<anyhow::Result<BTreeMap<_, _>>>()?;
        let deploy = match &self.deploy {
            Some(deploy) => deploy.clone(),
            None => find_deploy(&std::path::absolute(".")?)
                .context("no deploy/forms here or above: name it with --deploy")?,
        };
        Ok(Options {
            binary: self.binary.clone(),
            deploy,
            parent: self.dir.clone().unwrap_or_else(std::env::temp_dir),
            seed: self.seed,
            say: self.say(),
            mutant: self.mutant.clone(),
            settings,
        })
    }

    pub(crate) fn say(&self) -> Say {
        Say { is_json: self.json }
    }
}

fn find_deploy(from: &Path) -> Option<PathBuf> {
    from.ancestors()
        .map(|above| above.join("deploy"))
        .find(|deploy| deploy.join("forms").is_dir())
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
