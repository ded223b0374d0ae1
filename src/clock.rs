//! The only reader of wall time.
//!
//! Holds: what it says is shown to people (`received_at`) and decides nothing: keys expire, ages
//! are judged and the horizon moves by state time. It may jump by a year in either direction.
//! Why a value and not a function: a test hands in a clock that stands still, or one that is off.

use std::time::{SystemTime, UNIX_EPOCH};

/// Wall time in milliseconds since 1970 UTC.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    source: Source,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    System { offset_ms: i64 },
    Fixed { now_ms: u64 },
}

impl Clock {
    /// The system's clock, set off by `offset_ms` (0 but in tests of clock jumps).
    #[must_use]
    pub const fn system(offset_ms: i64) -> Self {
        Self {
            source: Source::System { offset_ms },
        }
    }

    /// A clock that stands still, for tests.
    #[must_use]
    pub const fn fixed(now_ms: u64) -> Self {
        Self {
            source: Source::Fixed { now_ms },
        }
    }

    /// Now. A clock before 1970 reads as 1970.
    pub fn now_ms(&self) -> u64 {
        match self.source {
            Source::System { offset_ms } => system_ms().saturating_add_signed(offset_ms),
            Source::Fixed { now_ms } => now_ms,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "time enters here, and nowhere else"
)]
fn system_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_moves_the_clock_and_never_below_1970() {
        let year_ms = 365 * 24 * 3600 * 1000;
        let now = Clock::system(0).now_ms();
        assert!(Clock::system(year_ms).now_ms() >= now + 31_536_000_000);
        assert_eq!(Clock::system(i64::MIN).now_ms(), 0);
        assert_eq!(Clock::fixed(7).now_ms(), 7);
    }
}
