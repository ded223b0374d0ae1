//! What may be asked about destinations.

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
    /// Google Sheets: rows that are missing, that stand twice, that are another record's.
    ///
    /// Rows are found by their `_seq`, wherever people have sorted them to. Needs this machine's
    /// `sheets.credentials_file`. Exit code 1 if anything is found.
    Sheets {
        /// One task [default: all that lead to Google Sheets].
        #[arg(long)]
        task: Option<String>,
        /// One form [default: all of the task].
        #[arg(long)]
        form: Option<String>,
        /// Write the missing rows behind the rest; the task must be paused.
        ///
        /// A row that a person has deleted on purpose comes back, too: look before.
        #[arg(long)]
        repair: bool,
        /// Name at most so many findings of a form.
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
    /// Google Sheets: tries on a scratch tab what exactly once rests on, with some 30 requests.
    ///
    /// Needs this machine's `sheets.credentials_file`; the spreadsheet must be shared with its address.
    /// The tab is removed again. Exit code 1 if a promise does not hold.
    Sheets {
        /// The id of a spreadsheet: what stands between /d/ and /edit in its address.
        spreadsheet: String,
        /// The account of a task, if it names one.
        #[arg(long, default_value = "")]
        account: String,
    },
}
