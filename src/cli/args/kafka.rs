//! What may be asked about Kafka.

use clap::Subcommand;

/// Compare what a destination holds with the log.
#[derive(Clone, Debug, Subcommand)]
pub enum Verify {
    /// Kafka: gaps, doubles, order and payload of every record; each difference is named.
    ///
    /// Reads the topics as a `read_committed` consumer does and the log by the node that delivers.
    /// What Kafka's retention has deleted is not compared, and said. Exit code 1 if anything differs.
    Kafka {
        /// One task [default: all that lead to Kafka].
        #[arg(long)]
        task: Option<String>,
        /// Name at most so many differences of a task.
        #[arg(long, value_name = "COUNT", default_value_t = 20)]
        findings_max: usize,
    },
}

/// Look whether a destination keeps what it is given.
#[derive(Clone, Debug, Subcommand)]
pub enum Doctor {
    /// Kafka: what brokers and topics are set to, what they should be, and the line that mends it.
    ///
    /// Exit code 1 if anything can lose what was acknowledged.
    Kafka {
        /// One task [default: all that lead to Kafka].
        #[arg(long)]
        task: Option<String>,
    },
}
