//! Rows of figures, for eyes and as JSON.
//!
//! Holds: what is told is the median of the rounds, with the slowest and the fastest; the JSON has
//! every round.

use serde::Serialize;

use super::work::Work;
use crate::stats::{median, ratios, spread};

/// Our rows begin so; the one that is called so is held against the others.
pub(crate) const OURS: &str = "formspool";

/// One measurement of one row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Round {
    pub(crate) acknowledged: u64,
    pub(crate) acknowledged_per_second: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    /// Of all servers together, for each acknowledged submission.
    pub(crate) servers_cpu_us: f64,
    pub(crate) clients_cpu_us: f64,
    /// Of all servers together, at the end.
    pub(crate) servers_rss_bytes: u64,
    /// Processors that anything else was using: a quiet machine has less than 0.1.
    pub(crate) others_cores: f64,
}

/// One way to submit, over the rounds.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    durability: &'static str,
    rounds: Vec<Round>,
}

impl Row {
    fn each<T>(&self, figure: impl FnMut(&Round) -> T) -> Vec<T> {
        self.rounds.iter().map(figure).collect()
    }

    fn rates(&self) -> Vec<f64> {
        self.each(|round| round.acknowledged_per_second)
    }

    fn p99s(&self) -> Vec<f64> {
        self.each(|round| round.p99_us as f64)
    }

    fn line(&self) -> String {
        let millis = |micros: Vec<u64>| median(&micros) as f64 / 1e3;
        let (min, max) = spread(&self.rates());
        format!(
            "{:<24} {:>9.0} {:>15} {:>8.2} {:>8.2} {:>8.2} {:>8.1} {:>8.1} {:>8.0} {:>6.2}  {}",
            self.name,
            median(&self.rates()),
            format!("{min:.0}-{max:.0}"),
            millis(self.each(|round| round.p50_us)),
            millis(self.each(|round| round.p99_us)),
            millis(self.each(|round| round.p999_us)),
            median(&self.each(|round| round.servers_cpu_us)),
            median(&self.each(|round| round.clients_cpu_us)),
            median(&self.each(|round| round.servers_rss_bytes)) as f64 / f64::from(1 << 20),
            median(&self.each(|round| round.others_cores)),
            self.durability,
        )
    }
}

/// All rows at one work; the first is ours, if ours was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) work: Work,
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn new(work: Work) -> Self {
        Self {
            work,
            rows: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, name: &'static str, durability: &'static str, round: Round) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == name) {
            row.rounds.push(round);
            return;
        }
        self.rows.push(Row {
            name,
            durability,
            rounds: vec![round],
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{}\n{:<24} {:>9} {:>15} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6}  {}\n",
            self.work.words(),
            "",
            "acked/s",
            "min-max",
            "p50 ms",
            "p99 ms",
            "p99.9",
            "cpu us",
            "client",
            "rss MiB",
            "other",
            "an acknowledgement means"
        );
        for row in &self.rows {
            text.push_str(&row.line());
            text.push('\n');
        }
        for line in self.ratios() {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// Ours by each peer's row, round by round.
    fn ratios(&self) -> Vec<String> {
        let ours = self.rows.first().filter(|row| row.name == OURS);
        let others = self.rows.iter().filter(|row| !row.name.starts_with(OURS));
        let words = |ours: &[f64], other: &[f64]| {
            let ratios = ratios(ours, other);
            let (min, max) = spread(&ratios);
            format!("{:.2} ({min:.2} to {max:.2})", median(&ratios))
        };
        let ratio = |ours: &Row, other: &Row| {
            format!(
                "formspool / {:<24} acked/s {}   p99 {}",
                other.name,
                words(&ours.rates(), &other.rates()),
                words(&ours.p99s(), &other.p99s()),
            )
        };
        ours.into_iter()
            .flat_map(|ours| others.clone().map(move |other| ratio(ours, other)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(rate: f64) -> Round {
        Round {
            acknowledged: 100,
            acknowledged_per_second: rate,
            p50_us: 1500,
            p99_us: 7000,
            p999_us: 12_345,
            servers_cpu_us: 44.4,
            clients_cpu_us: 1.25,
            servers_rss_bytes: 200 << 20,
            others_cores: 0.5,
        }
    }

    fn table(names: &[&'static str]) -> Table {
        let mut table = Table::new(Work::Waiting(64));
        for at in [3.0, 100.0, 1.0] {
            for (nth, name) in (1_u8..).zip(names) {
                table.add(name, "fsync", round(at * f64::from(nth)));
            }
        }
        table
    }

    #[test]
    fn rounds_of_a_row_come_together_as_a_median() {
        let text = table(&["formspool", "peer"]).text();
        let line = text.lines().find(|line| line.starts_with("peer")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let expected = [
            "peer", "6", "2-200", "1.50", "7.00", "12.35", "44.4", "1.2", "200", "0.50", "fsync",
        ];
        assert_eq!(expected, words[..]);
    }

    #[test]
    fn ratios_are_ours_to_each_other_row() {
        let text = table(&["formspool", "formspool, keyed", "peer"]).text();
        assert_eq!(1, text.matches("formspool / ").count());
        assert!(
            text.contains("acked/s 0.33 (0.33 to 0.33)   p99 1.00 (1.00 to 1.00)"),
            "{text}"
        );
        assert_eq!(Vec::<String>::new(), table(&["peer", "other"]).ratios());
    }
}
