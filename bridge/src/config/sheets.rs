//! Settings of the Google Sheets sink: this node's credential, and what it may ask of Google.

use std::path::PathBuf;
#[cfg(feature = "sheets")]
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of the Google Sheets sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SheetsConfig {
    /// The key file of a service account. Empty: this node has none. A task that names an account has
    /// its file beside this one, `<account>.json`.
    pub credentials_file: PathBuf,
    /// Where the API is; empty: at Google.
    pub endpoint: String,
    /// How long a connection may take.
    pub connect_ms: u64,
    /// How long an answer may take.
    pub request_timeout_ms: u64,
    /// How long a request may still arrive after it was sent.
    pub no_overlap_ms: u64,
    /// Google's quota of write requests of one credential.
    pub writes_per_minute: u32,
    /// Google's quota of read requests of one credential.
    pub reads_per_minute: u32,
    /// How long a minute of the quota is.
    pub minute_ms: u64,
    /// The least time between two requests of a lane, unless a whole batch waits.
    pub linger_ms: u64,
    /// Rows of one request.
    pub batch_records_max: usize,
    /// Cells of one request.
    pub batch_cells_max: usize,
    /// Bytes of one request.
    pub batch_bytes_max: usize,
    /// Requests under way at once.
    pub requests_max: usize,
    /// Google's limit on a spreadsheet's cells.
    pub cells_max: u64,
}

impl Default for SheetsConfig {
    fn default() -> Self {
        Self {
            credentials_file: PathBuf::new(),
            endpoint: String::new(),
            connect_ms: 10_000,          // a handshake across the world takes one
            request_timeout_ms: 190_000, // Google gives up after 180 s
            no_overlap_ms: 190_000,      // the same, seen from the other side
            writes_per_minute: 60,       // Google's default for one user
            reads_per_minute: 60,        // the same
            minute_ms: 60_000,
            linger_ms: 2_000, // people do not see it, and rows share a request
            batch_records_max: 2_000, // a request that size takes some seconds
            batch_cells_max: 50_000, // the same, for wide forms
            batch_bytes_max: 1_500_000, // Google recommends 2 MB at most
            requests_max: 8,  // memory: some 8 MB each
            cells_max: 10_000_000, // over all tabs, empty cells too
        }
    }
}

impl SheetsConfig {
    /// Every fault of these settings, in words.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        for (name, value, least) in [
            ("connect_ms", self.connect_ms, 1),
            ("request_timeout_ms", self.request_timeout_ms, 1),
            ("writes_per_minute", u64::from(self.writes_per_minute), 1),
            ("reads_per_minute", u64::from(self.reads_per_minute), 1),
            ("minute_ms", self.minute_ms, 1),
            ("batch_records_max", wide(self.batch_records_max), 1),
            ("batch_cells_max", wide(self.batch_cells_max), 1000),
            ("batch_bytes_max", wide(self.batch_bytes_max), 100_000),
            ("requests_max", wide(self.requests_max), 1),
            ("cells_max", self.cells_max, 1000),
        ] {
            if value < least {
                problems.push(format!(
                    "sheets.{name} is {value}; it must be at least {least}"
                ));
            }
        }
        let has_scheme = ["http://", "https://"]
            .iter()
            .any(|scheme| self.endpoint.starts_with(scheme));
        if !self.endpoint.is_empty() && !has_scheme {
            problems.push(format!(
                "sheets.endpoint is {:?}; it must begin with https:// or http://",
                self.endpoint
            ));
        }
        problems
    }

    #[cfg(feature = "sheets")]
    pub(crate) fn minute(&self) -> Duration {
        Duration::from_millis(self.minute_ms)
    }

    #[cfg(feature = "sheets")]
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    #[cfg(feature = "sheets")]
    pub(crate) fn no_overlap(&self) -> Duration {
        Duration::from_millis(self.no_overlap_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_problems_and_others_are_told_at_once() {
        assert_eq!(SheetsConfig::default().problems(), Vec::<String>::new());
        let config = SheetsConfig {
            endpoint: "localhost:1".to_owned(),
            writes_per_minute: 0,
            cells_max: 1,
            ..SheetsConfig::default()
        };
        assert_eq!(config.problems().len(), 3, "{:?}", config.problems());
    }
}
