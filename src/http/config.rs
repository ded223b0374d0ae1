//! Settings of the doors: where they stand, and every bound that keeps a client from costing more
//! than it may.
//!
//! Holds: what a node keeps for its clients is at most `connections_max` times a buffer of
//! `header_bytes_max` each way, plus one submission (or one chunk of lines) a request under way.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::http::Uri;
use serde::{Deserialize, Serialize};

/// hyper takes no smaller buffer than this.
const HEADER_BYTES_MIN: usize = 8 << 10;
/// The largest single body: a full submission, escaped.
const BODIES_BYTES_MIN: usize = 2 << 20;
/// Counted in 32 bits.
const BODIES_BYTES_LIMIT: usize = 1 << 30;

/// The public listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where it stands.
    pub listen: SocketAddr,
    /// Where browsers reach it, if a proxy stands in front; empty: where it stands.
    pub public_url: String,
    /// Connections at once; one more is answered 503 and closed.
    pub connections_max: usize,
    /// Request line and header fields together; more is answered 431.
    pub header_bytes_max: usize,
    /// From the first byte of a request (or the connection's start) to the end of its header.
    pub header_time_ms: u64,
    /// From the end of the header to the end of a body; between two lines of a stream.
    pub body_time_ms: u64,
    /// A connection without a request under way is closed after this.
    pub idle_time_ms: u64,
    /// A client that takes no byte of its answer for this long is left.
    pub write_time_ms: u64,
    /// The longest `?wait=`.
    pub wait_time_max_ms: u64,
    /// Bodies that are arriving or under way, all together.
    pub bodies_bytes_max: usize,
    /// Requests of many lines, and lists being sent, at once: each holds a few chunks in memory.
    pub streams_max: usize,
    /// One NDJSON request, all lines together.
    pub ndjson_bytes_max: u64,
    /// One NDJSON request, from its first line to its last.
    pub ndjson_time_max_ms: u64,
    /// Sites that may show a hosted page inside a frame of theirs.
    pub frame_ancestors: Vec<String>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 8080).into(),
            public_url: String::new(), // no proxy: the host that was asked is ours
            connections_max: 20_000,   // two pods of 10,000 browsers, below common open-file limits
            header_bytes_max: 16 << 10, // what browsers and proxies take for granted
            header_time_ms: 10_000,    // a phone on a bad line needs two, a slow-header attack all
            body_time_ms: 30_000,      // 256 KiB at 9 KiB/s
            idle_time_ms: 75_000,      // longer than the 60 s after which common proxies close
            write_time_ms: 30_000,     // a reader that stalls longer is gone
            wait_time_max_ms: 60_000,  // below the idle limit of common proxies
            bodies_bytes_max: 64 << 20, // what ingest takes into flight, once more
            streams_max: 32,           // about 2 MiB each
            ndjson_bytes_max: 64 << 20, // half a million small submissions
            ndjson_time_max_ms: 600_000, // the above at 110 KiB/s
            frame_ancestors: Vec::new(), // none: a framed form can be clicked unseen
        }
    }
}

impl HttpConfig {
    /// Every fault at once, in words.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.header_bytes_max < HEADER_BYTES_MIN {
            problems.push(format!(
                "http.header_bytes_max must be at least {HEADER_BYTES_MIN}"
            ));
        }
        if !self.public_url.is_empty() && self.public_site().is_none() {
            problems.push(format!(
                "http.public_url = {:?}: write https://host or https://host:port, without a path",
                self.public_url
            ));
        }
        for (name, value) in [
            ("connections_max", self.connections_max),
            ("streams_max", self.streams_max),
        ] {
            if value == 0 {
                problems.push(format!("http.{name} must be at least 1"));
            }
        }
        if !(BODIES_BYTES_MIN..=BODIES_BYTES_LIMIT).contains(&self.bodies_bytes_max) {
            problems.push(format!(
                "http.bodies_bytes_max must be {BODIES_BYTES_MIN} to {BODIES_BYTES_LIMIT}"
            ));
        }
        let times = [
            ("header_time_ms", self.header_time_ms),
            ("body_time_ms", self.body_time_ms),
            ("idle_time_ms", self.idle_time_ms),
            ("write_time_ms", self.write_time_ms),
            ("ndjson_time_max_ms", self.ndjson_time_max_ms),
        ];
        for (name, value) in times {
            if value == 0 {
                problems.push(format!("http.{name} must be at least 1"));
            }
        }
        for site in &self.frame_ancestors {
            if site.is_empty()
                || !site
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && !b";,".contains(&b))
            {
                problems.push(format!("http.frame_ancestors: {site:?} is not an origin"));
            }
        }
        problems
    }

    /// Scheme and host of `public_url`, as a browser names the origin of its pages.
    pub(crate) fn public_site(&self) -> Option<String> {
        let address: Uri = self.public_url.parse().ok()?;
        let (scheme, authority) = (address.scheme_str()?, address.authority()?);
        let port_default = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let is_bare = address.path() == "/" && address.query().is_none();
        if !is_bare || authority.host().is_empty() || authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host().to_ascii_lowercase();
        Some(match authority.port_u16() {
            Some(port) if port != port_default => format!("{scheme}://{host}:{port}"),
            _ => format!("{scheme}://{host}"),
        })
    }

    pub(super) fn header_time(&self) -> Duration {
        Duration::from_millis(self.header_time_ms)
    }

    pub(super) fn body_time(&self) -> Duration {
        Duration::from_millis(self.body_time_ms)
    }

    pub(super) fn idle_time(&self) -> Duration {
        Duration::from_millis(self.idle_time_ms)
    }

    pub(super) fn write_time(&self) -> Duration {
        Duration::from_millis(self.write_time_ms)
    }

    pub(super) fn wait_time_max(&self) -> Duration {
        Duration::from_millis(self.wait_time_max_ms)
    }

    pub(super) fn ndjson_time_max(&self) -> Duration {
        Duration::from_millis(self.ndjson_time_max_ms)
    }
}

/// The operators' listener; its connections keep the limits of the public one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpsConfig {
    /// Where it stands.
    pub listen: SocketAddr,
}

impl Default for OpsConfig {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 9080).into(),
        }
    }
}

impl OpsConfig {
    /// Every fault at once, in words.
    pub fn problems(&self, http: &HttpConfig) -> Vec<String> {
        if self.listen == http.listen && self.listen.port() != 0 {
            return vec![format!(
                "ops.listen and http.listen are both {}",
                self.listen
            )];
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_problem() {
        let http = HttpConfig::default();
        assert_eq!(http.problems(), Vec::<String>::new());
        assert_eq!(OpsConfig::default().problems(&http), Vec::<String>::new());
    }

    #[test]
    fn a_public_url_is_a_scheme_and_a_host() {
        let site = |text: &str| {
            let public_url = text.to_owned();
            HttpConfig {
                public_url,
                ..HttpConfig::default()
            }
            .public_site()
        };
        for (text, expected) in [
            ("https://Forms.example", "https://forms.example"),
            ("https://forms.example:443/", "https://forms.example"),
            ("http://forms.example:8080", "http://forms.example:8080"),
            ("http://[::1]:81", "http://[::1]:81"),
        ] {
            assert_eq!(site(text).as_deref(), Some(expected));
        }
        for wrong in [
            "",
            "forms.example",
            "ftp://forms.example",
            "https://forms.example/f",
            "https://forms.example/?a",
            "https://me@forms.example",
            "https://",
        ] {
            assert_eq!(site(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let http = HttpConfig {
            header_bytes_max: 1,
            connections_max: 0,
            body_time_ms: 0,
            public_url: "forms.example".to_owned(),
            frame_ancestors: vec!["https://a.example; script-src *".to_owned()],
            ..HttpConfig::default()
        };
        assert_eq!(http.problems().len(), 5);
    }
}
