//! Rows of figures, for eyes and as JSON.
//!
//! Holds: what is told is the median of the rounds; the JSON has every round.

use serde::Serialize;

use crate::stats::{median, ratios, spread};

/// One measurement of one row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Round {
    /// Durable records a second.
    pub(crate) records_per_second: f64,
    /// Append to acknowledgement; for the raw device its write and sync.
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    /// All of the measurement, its warm-up too.
    pub(crate) records: f64,
    pub(crate) syncs: u64,
    pub(crate) bytes: u64,
    /// What the kernel counted on the device meanwhile, if it counts.
    pub(crate) device_flushes: Option<u64>,
    pub(crate) device_written_bytes: Option<u64>,
    /// The process's peak meanwhile, if it could be begun anew.
    pub(crate) peak_rss_bytes: Option<u64>,
}

impl Round {
    pub(crate) fn bytes_a_sync(&self) -> f64 {
        self.bytes as f64 / self.syncs.max(1) as f64
    }

    pub(crate) fn records_a_sync(&self) -> f64 {
        self.records / self.syncs.max(1) as f64
    }
}

/// One log's or device's figures over the rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) method: String,
    pub(crate) rounds: Vec<Round>,
}

impl Row {
    pub(crate) fn new(name: &'static str, method: String) -> Self {
        Self {
            name,
            method,
            rounds: Vec::new(),
        }
    }

    fn rates(&self) -> Vec<f64> {
        self.each(|round| round.records_per_second)
    }

    fn each<T>(&self, figure: impl FnMut(&Round) -> T) -> Vec<T> {
        self.rounds.iter().map(figure).collect()
    }

    fn sum(&self, figure: impl FnMut(&Round) -> u64) -> u64 {
        self.rounds.iter().map(figure).sum()
    }

    fn line(&self) -> String {
        let micros = |nanos: Vec<u64>| median(&nanos) as f64 / 1e3;
        let flushes: Option<u64> = self.rounds.iter().map(|round| round.device_flushes).sum();
        format!(
            "{:<16} {:<30} {:>10.0} {:>10.1} {:>10.1} {:>11.0} {:>11.1} {:>9} {:>12}",
            self.name,
            self.method,
            median(&self.rates()),
            micros(self.each(|round| round.p50_ns)),
            micros(self.each(|round| round.p99_ns)),
            median(&self.each(Round::bytes_a_sync)),
            median(&self.each(Round::records_a_sync)),
            self.sum(|round| round.syncs),
            flushes.map_or_else(|| "not counted".to_owned(), |flushes| flushes.to_string()),
        )
    }
}

/// All rows at one window; the first is ours, the second the raw device at our method and bytes.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) window: u64,
    pub(crate) rows: Vec<Row>,
    pub(crate) ratios: Vec<Ratio>,
}

/// Ours by another row, round by round.
#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) to: &'static str,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Only to the raw device.
    pub(crate) target: Option<f64>,
}

impl Table {
    pub(crate) fn new(window: u64, rows: Vec<Row>) -> Self {
        let mut ratios_to = Vec::new();
        if let Some((ours, others)) = rows.split_first() {
            for (at, other) in others.iter().enumerate() {
                let ratios = ratios(&ours.rates(), &other.rates());
                let (min, max) = spread(&ratios);
                ratios_to.push(Ratio {
                    to: other.name,
                    median: median(&ratios),
                    min,
                    max,
                    target: target(window).filter(|_| at == 0),
                });
            }
        }
        Self {
            window,
            rows,
            ratios: ratios_to,
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "\nwindow {}\n{:<16} {:<30} {:>10} {:>10} {:>10} {:>11} {:>11} {:>9} {:>12}\n",
            self.window,
            "",
            "made durable by",
            "records/s",
            "p50 us",
            "p99 us",
            "bytes/sync",
            "recs/sync",
            "syncs",
            "dev flushes"
        );
        for row in &self.rows {
            text.push_str(&row.line());
            text.push('\n');
        }
        for ratio in &self.ratios {
            text.push_str(&ratio.line());
            text.push('\n');
        }
        text
    }
}

impl Ratio {
    fn line(&self) -> String {
        let verdict = self.target.map(|target| {
            let word = if self.median >= target {
                "met"
            } else {
                "MISSED"
            };
            format!("   target >= {target:.2}: {word}")
        });
        format!(
            "formspool / {:<16} {:.2} ({:.2} to {:.2}){}",
            self.to,
            self.median,
            self.min,
            self.max,
            verdict.unwrap_or_default()
        )
    }
}

/// What ours must reach of the raw device; between the two ends nothing was promised.
fn target(window: u64) -> Option<f64> {
    match window {
        1 => Some(0.80),
        512.. => Some(0.90),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, rates: &[f64]) -> Row {
        let mut row = Row::new(name, "fsync".to_owned());
        row.rounds = rates
            .iter()
            .map(|rate| Round {
                records_per_second: *rate,
                p50_ns: 50_000,
                p99_ns: 90_000,
                records: 640.0,
                syncs: 10,
                bytes: 245_760,
                device_flushes: Some(11),
                device_written_bytes: None,
                peak_rss_bytes: None,
            })
            .collect();
        row
    }

    #[test]
    fn a_round_knows_what_a_sync_carried() {
        let row = row("formspool", &[1.0]);
        let round = &row.rounds[0];
        assert_eq!("24576", format!("{}", round.bytes_a_sync()));
        assert_eq!("64", format!("{}", round.records_a_sync()));
    }

    #[test]
    fn the_target_is_held_against_the_raw_device_alone() {
        let rows = |rate| {
            vec![
                row("formspool", &[rate; 5]),
                row("raw", &[100.0; 5]),
                row("peer", &[1000.0; 5]),
            ]
        };
        let text = Table::new(1, rows(80.0)).text();
        assert!(
            text.contains("0.80 (0.80 to 0.80)   target >= 0.80: met"),
            "{text}"
        );
        let text = Table::new(512, rows(89.0)).text();
        assert!(text.contains("target >= 0.90: MISSED"), "{text}");
        assert_eq!(1, text.matches("target").count(), "{text}");
        assert!(!Table::new(64, rows(1.0)).text().contains("target"));
    }

    #[test]
    fn flushes_that_one_round_could_not_count_are_not_summed() {
        let mut row = row("formspool", &[1.0, 2.0]);
        assert!(row.line().ends_with("22"), "{}", row.line());
        row.rounds[1].device_flushes = None;
        assert!(row.line().ends_with("not counted"), "{}", row.line());
    }
}
