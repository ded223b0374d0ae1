//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// A Google Sheets of our own, for tests: not Google's, and with faults on demand.
#[derive(Debug, Parser)]
#[command(version, name = "fake-sheets")]
pub(crate) struct Cli {
    /// Where the API and the token endpoint are.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Where tests and people control it; the page is at `/`.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) control: SocketAddr,
    /// Google's discovery document `sheets.v4.json`.
    #[arg(
        long,
        default_value = "target/peers/google/googleapiclient/discovery_cache/documents/sheets.v4.json"
    )]
    pub(crate) discovery: PathBuf,
    /// Writes the key file of a service account there.
    #[arg(long)]
    pub(crate) write_credentials: Option<PathBuf>,
    /// Makes a spreadsheet with this id, shared with the account; more than once for more.
    #[arg(long, value_name = "ID")]
    pub(crate) spreadsheet: Vec<String>,
    /// Switches, as `POST /settings` takes them.
    #[arg(long, value_name = "JSON")]
    pub(crate) settings: Option<String>,
    /// Fixes when faults with a chance fall.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}
