//! Why a command did not do what it was asked for, in the words that its user sees.

use std::io;
use std::path::PathBuf;

/// One clear message, and what to do about it where that is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Settings or definitions have faults.
    #[error("{} problem(s):\n  - {}", .0.len(), .0.join("\n  - "))]
    Problems(Vec<String>),
    /// The same, told already as JSON on standard output.
    #[error("{0} problem(s)")]
    ToldProblems(usize),
    /// Nobody listens there.
    #[error("no node answers at {url} (start one with `formspool`, or name it by --url)")]
    Connect {
        /// Where.
        url: String,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the node at {url} broke off")]
    Broken {
        /// Where.
        url: String,
        /// What happened.
        source: hyper::Error,
    },
    /// An answer that is none of ours.
    #[error("{url} does not answer like formspool: {what}")]
    Strange {
        /// Where.
        url: String,
        /// What it said.
        what: String,
    },
    /// An address that cannot be asked.
    #[error("--url {url}: {what}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The node refused.
    #[error("{detail} ({status})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its reason.
        detail: String,
    },
    /// A file.
    #[error("cannot {op} {}", path.display())]
    File {
        /// What was tried.
        op: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output went away, or is full.
    #[error("cannot write the output")]
    Out(#[from] io::Error),
    /// The node did not start, or had to end.
    #[error(transparent)]
    Node(#[from] crate::node::Error),
    /// A data directory cannot be shown.
    #[error(transparent)]
    Inspect(#[from] crate::inspect::Error),
}

impl Error {
    /// True where the reader of our output went away: it has all that it wanted.
    pub fn is_reader_gone(&self) -> bool {
        matches!(self, Self::Out(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
