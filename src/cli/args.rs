//! What the command line may say, and the help that teaches it.
//!
//! Holds: without a command it is `serve`. Whatever asks a running node goes by HTTP, with the
//! token of `--token`, `FORMSPOOL_TOKEN` or the data directory's `admin.token`.

mod kafka;
mod tasks;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(super) use kafka::{Doctor, Verify};

pub(super) use tasks::{Place, Tasks};

/// One durable queue for form submissions: forms come in by HTTP, are synced before they are
/// acknowledged, and land in a sheet, once and in order.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "formspool",
    version,
    max_term_width = 100,
    after_help = "\
First steps:
  formspool                          start a node here: data in ./data, forms included
  formspool status                   what it holds, how far each task is   (in a second terminal)
  formspool tail student-data        watch submissions arrive
  formspool submissions export student-data --format csv > all.csv
  formspool cluster status           how the nodes stand, where there are several

Settings come from ./formspool.toml (or --config), then from the environment:
  http.listen  is  FORMSPOOL_HTTP__LISTEN. All of them, explained: formspool config default"
)]
pub struct Cli {
    /// The command; `serve` if there is none.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Settings file [default: ./formspool.toml if there is one].
    #[arg(
        long,
        short = 'c',
        global = true,
        env = "FORMSPOOL_CONFIG",
        value_name = "FILE"
    )]
    pub config: Option<PathBuf>,
    /// Data directory, before file and environment [default: ./data].
    #[arg(long, short = 'd', global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The node to ask [default: http://<http.listen>].
    #[arg(long, global = true, env = "FORMSPOOL_URL", value_name = "URL")]
    pub url: Option<String>,
    /// Admin token [default: that in the data directory].
    #[arg(long, global = true, env = "FORMSPOOL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run a node (the default).
    ///
    /// Creates the data directory at the first start, with a fresh admin token, and the forms and
    /// tasks that `definitions` names. SIGTERM or Ctrl-C stops it in the direction of the data:
    /// nothing that was acknowledged is ever lost, not by `kill -9` either.
    Serve,
    /// Check settings and definitions; print every problem at once.
    ///
    /// Looks at files only: works beside a running node and before the first start. Exit code 1
    /// if there is a problem.
    Check {
        /// Definitions to check: files, or directories of *.toml [default: those of the settings].
        paths: Vec<PathBuf>,
    },
    /// Define forms and tasks on the running node from files.
    ///
    /// Each file is compared with what is there; only a difference becomes a new version. Records
    /// keep the version that they were checked against.
    Apply {
        /// *.toml or *.json files, or directories of them.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// What the node is, holds and delivers.
    Status,
    /// Print a form's records as they arrive.
    ///
    /// Starts after the last one that is there, or after --after; goes on until Ctrl-C.
    Tail {
        /// The form's name.
        form: String,
        /// Begin after this seq; 0 is the beginning.
        #[arg(long, value_name = "SEQ")]
        after: Option<u64>,
    },
    /// Read what was submitted.
    #[command(subcommand)]
    Submissions(Submissions),
    /// Tasks: what moves forms to their destinations.
    ///
    /// A task is a cursor that moves along the log. Deleting one, or sending it back, touches no
    /// submission. Any node may be asked.
    #[command(subcommand)]
    Tasks(Tasks),
    /// Compare what a destination holds with the log.
    #[command(subcommand)]
    Verify(Verify),
    /// Look whether a destination keeps what it is given.
    #[command(subcommand)]
    Doctor(Doctor),
    /// Print the log and the state of a data directory as text.
    ///
    /// Reads files only and changes nothing, so it works on a stopped, a running and a damaged
    /// node. Beside a running one the state is what a crash would leave: `formspool status` asks
    /// the node itself.
    Inspect {
        /// The data directory [default: that of the settings].
        dir: Option<PathBuf>,
        /// Print payloads too.
        #[arg(long)]
        payloads: bool,
    },
    /// Several nodes: how they stand, who leads, who is a member.
    ///
    /// Any node may be asked; what only the leader can do is forwarded to it.
    #[command(subcommand)]
    Cluster(Cluster),
    /// The admin token.
    #[command(subcommand)]
    Token(Token),
    /// Settings.
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// Read what was submitted.
#[derive(Clone, Debug, Subcommand)]
pub enum Submissions {
    /// Write all of a form's records to standard output, in order.
    Export {
        /// The form's name.
        form: String,
        /// How.
        #[arg(long, value_enum, default_value_t = ExportFormat::Ndjson)]
        format: ExportFormat,
        /// Begin after this seq.
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        after: u64,
    },
}

/// How an export looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// One JSON object a line.
    Ndjson,
    /// One JSON array.
    Json,
    /// A header row, then one row a record; safe to open in a spreadsheet.
    Csv,
}

/// Several nodes.
#[derive(Clone, Debug, Subcommand)]
pub enum Cluster {
    /// Each node's state, how far it is, and what to do where something is wrong.
    Status,
    /// Let another node lead, as before work on the one that does.
    ///
    /// Submissions go on: those that come in between wait for the new leader.
    Transfer {
        /// The node that shall lead [default: the one that is furthest].
        #[arg(long, value_name = "NODE")]
        to: Option<u32>,
    },
    /// Take a member out for good.
    ///
    /// A node that is only down needs no removing: it catches up when it is back. One whose disk
    /// is lost comes back by itself with an empty disk, at the same address, as a new member. This
    /// is for one that nobody will bring back, as it still counts among the voters.
    Remove {
        /// Its number, as `formspool cluster status` shows it.
        node: u32,
    },
    /// Let nodes vote again that may have lost the end of their log.
    ///
    /// After a power cut of all nodes at once they find out by themselves who has what, as soon as
    /// all of them are back. Only where one that would know better is gone for good has a person
    /// to decide: what was acknowledged last may be lost by this.
    AcceptTailLoss,
    /// Change how durable an acknowledged submission is, on every node.
    ///
    /// `always`: synced before it is acknowledged. `interval:50ms` or `never`: faster, and a power
    /// cut may lose what was acknowledged. Each receipt says which.
    Policy {
        /// always, interval:<milliseconds>ms or never.
        policy: String,
    },
}

/// The admin token.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Token {
    /// Make a new admin token; the old one ends at once.
    ///
    /// The new one is shown, and written where the old one was: by default to the file
    /// `admin.token` in the data directory.
    Rotate,
}

/// Settings.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting with its default and what it means, as a settings file.
    Default,
    /// Print the settings as they are after file, environment and command line.
    Show,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_is_taken_for_serve() {
        assert!(Cli::parse_from(["formspool"]).command.is_none());
        let cli = Cli::parse_from(["formspool", "tail", "demo", "--after", "3", "--json"]);
        assert!(cli.global.json);
    }
}
