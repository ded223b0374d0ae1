//! The settings of retention.
//!
//! Holds: they only say what *may* go of what is delivered; the leader's are the ones that count.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the log keeps beyond what has to be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Records older than this may go: `keep`, or a span such as `30d`.
    pub time: String,
    /// The log may have so many bytes; 0: half of what its volume had room for at the start.
    pub bytes: u64,
    /// A record stays so long after its last delivery, unless room is short.
    pub after_delivery: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            time: KEEP.to_owned(),            // room is what ends it, not age
            bytes: 0,                         // no number fits a laptop and a server
            after_delivery: "24h".to_owned(), // what a destination lost can be sent again for a day
        }
    }
}

const KEEP: &str = "keep";

impl Config {
    /// All faults at once, in words.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.time != KEEP && parse(&self.time).is_none_or(|span| span.is_zero()) {
            problems.push(format!(
                "retention.time must be \"keep\" or a span such as \"30d\", not {:?}",
                self.time
            ));
        }
        if parse(&self.after_delivery).is_none() {
            problems.push(format!(
                "retention.after_delivery must be a span such as \"24h\", not {:?}",
                self.after_delivery
            ));
        }
        problems
    }

    pub(super) fn time(&self) -> Option<Duration> {
        parse(&self.time)
    }

    pub(super) fn after_delivery(&self) -> Duration {
        parse(&self.after_delivery).unwrap_or_default()
    }
}

/// A whole number with one of the units `s`, `m`, `h`, `d`.
fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u32 = number.parse().ok()?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    Some(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_what_is_none_is_named() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        assert_eq!(
            [parse("24h"), parse("30d"), parse("0s")],
            [hours(24), hours(720), hours(0)]
        );
        assert_eq!(
            [parse("30"), parse("1w"), parse("-1d"), parse("")],
            [None; 4]
        );
        let bad = Config {
            time: "0d".to_owned(),
            after_delivery: "soon".to_owned(),
            ..Config::default()
        };
        assert_eq!(bad.problems().len(), 2);
        assert_eq!(Config::default().problems(), Vec::<String>::new());
    }
}
