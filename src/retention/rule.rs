//! The rule itself, over plain numbers.
//!
//! Holds: nothing above `delivered` is ever a candidate. What was delivered goes when it is old and
//! was delivered long enough ago, or when the log is over its bytes; then `after_delivery` gives way.

use std::collections::VecDeque;

use storage::Index;

/// One file of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// The largest index in it.
    pub(super) last: Index,
    pub(super) bytes: u64,
}

/// What may go.
pub(super) fn candidate(delivered: Index, old_and_settled: Index, over: Index) -> Index {
    delivered.min(old_and_settled.max(over))
}

/// What has to go for the rest to have no more than `bytes_max`.
pub(super) fn over(segments: &[Segment], bytes_max: u64) -> Index {
    let mut left: u64 = segments.iter().map(|one| one.bytes).sum();
    let mut over = Index(0);
    for one in segments {
        if left <= bytes_max || one.last == Index(u64::MAX) {
            break;
        }
        left -= one.bytes;
        over = over.max(one.last);
    }
    over
}

/// The checkpoint that brings the log under its bytes, where one does that and is delivered: better a
/// little more than asked for than a log that outgrows its room.
pub(super) fn rounded_up(over: Index, delivered: Index, checkpoints: &[Index]) -> Index {
    let enough = checkpoints.iter().copied().find(|at| over <= *at);
    let is_some = Index(0) < over;
    enough
        .filter(|at| is_some && *at <= delivered)
        .unwrap_or(over)
}

/// A sample of what was delivered at which state time, at least so far apart.
const SAMPLE_MS: u64 = 10 * 60 * 1000;
/// Four weeks of them.
const SAMPLES_MAX: usize = 4096;

/// When what was delivered. In memory alone, so nothing counts as delivered long ago for a while
/// after a start: then records stay longer, which costs room and nothing else.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    samples: VecDeque<(u64, Index)>,
}

impl Delivered {
    /// Everything up to `upto` is delivered at `time_ms`.
    pub(super) fn note(&mut self, time_ms: u64, upto: Index) {
        let newest = self.samples.back();
        if newest.is_some_and(|(at, _)| time_ms < at.saturating_add(SAMPLE_MS)) {
            return;
        }
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back((time_ms, upto));
    }

    /// What was delivered at least `age_ms` before `time_ms`.
    pub(super) fn before(&self, time_ms: u64, age_ms: u64) -> Index {
        if age_ms == 0 {
            return Index(u64::MAX);
        }
        let old = |at: u64| at.saturating_add(age_ms) <= time_ms;
        let found = self.samples.iter().rev().find(|(at, _)| old(*at));
        found.map(|(_, upto)| *upto).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Vec<Segment> {
        let one = |last| Segment {
            last: Index(last),
            bytes: 10,
        };
        [100, 200, 300, u64::MAX].map(one).to_vec()
    }

    #[test]
    fn nothing_undelivered_goes_whatever_retention_says() {
        let all = Index(u64::MAX);
        assert_eq!(candidate(Index(7), all, all), Index(7));
        assert_eq!(candidate(Index(0), all, over(&log(), 0)), Index(0));
    }

    #[test]
    fn what_is_delivered_stays_until_it_is_old_or_in_the_way() {
        assert_eq!(candidate(Index(9), Index(0), Index(0)), Index(0));
        assert_eq!(candidate(Index(9), Index(5), Index(0)), Index(5));
        assert_eq!(candidate(Index(9), Index(0), Index(6)), Index(6));
    }

    #[test]
    fn as_many_files_go_as_bytes_are_too_many_but_never_the_one_being_written() {
        let over = |bytes_max| over(&log(), bytes_max);
        assert_eq!(
            [over(40), over(39), over(30)],
            [Index(0), Index(100), Index(100)]
        );
        assert_eq!(
            [over(29), over(10), over(0)],
            [Index(200), Index(300), Index(300)]
        );
    }

    #[test]
    fn the_log_rather_goes_a_step_too_far_than_stays_too_long_but_never_past_a_task() {
        let up =
            |over, delivered| rounded_up(Index(over), Index(delivered), &[Index(50), Index(90)]).0;
        assert_eq!(
            [up(0, 99), up(1, 99), up(50, 99), up(51, 99)],
            [0, 50, 50, 90]
        );
        assert_eq!([up(51, 89), up(91, 99)], [51, 91]);
    }

    #[test]
    fn delivered_long_ago_is_what_a_sample_of_then_says() {
        let mut delivered = Delivered::default();
        let minute = 60_000;
        assert_eq!(
            delivered.before(0, 1),
            Index(0),
            "nothing is known after a start"
        );
        assert_eq!(delivered.before(0, 0), Index(u64::MAX), "asked for nothing");
        for tick in 0..100 {
            delivered.note(tick * minute, Index(tick));
        }
        assert_eq!(delivered.samples.len(), 10, "not one a look");
        assert_eq!(delivered.before(99 * minute, 30 * minute), Index(60));
        assert_eq!(delivered.before(99 * minute, 99 * minute), Index(0));
        for tick in 0..100_000 {
            delivered.note(tick * 10 * minute, Index(tick));
        }
        assert_eq!(delivered.samples.len(), SAMPLES_MAX);
    }
}
