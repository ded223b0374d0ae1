//! The line before a quota: how many calls were seen in any minute, and how long each stood in it.
//!
//! Holds: judged by what the other side has written down of its calls, not by what the product says.
//! A minute is any minute, wherever it begins: whoever counts by the clock sees no more in one of his.
//! What is fair is the caller's to say; twice of that is borne, since a turn may begin just after one
//! was missed.

use std::collections::VecDeque;

use crate::checker::findings::{Findings, Kind};

const TOO_MANY: u16 = 429;

/// One call as the other side saw it arrive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) at_ms: u64,
    pub(crate) status: u16,
}

/// So many calls in each minute, and how long that minute is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    pub(crate) calls: u64,
    pub(crate) minute_ms: u64,
}

/// How long one stood in the line.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    /// Who, in words.
    pub(crate) who: String,
    pub(crate) waited_ms: u64,
    pub(crate) fair_ms: u64,
}

/// Answers how many calls the fullest minute had.
pub(crate) fn within((name, calls): (&str, &[Call]), quota: Quota, findings: &mut Findings) -> u64 {
    let refused = calls.iter().filter(|call| call.status == TOO_MANY);
    let refused = refused.count();
    if refused > 0 {
        let words = || format!("{refused} {name} were refused: more than the quota");
        findings.add(Kind::Quota, words);
    }
    let most = fullest(calls, quota.minute_ms);
    if most > quota.calls {
        let allowed = quota.calls;
        let words = || format!("{most} {name} in one minute, {allowed} are allowed");
        findings.add(Kind::Quota, words);
    }
    most
}

fn fullest(calls: &[Call], minute_ms: u64) -> u64 {
    let mut times = calls.iter().map(|call| call.at_ms).collect::<Vec<_>>();
    times.sort_unstable();
    let (mut minute, mut most) = (VecDeque::new(), 0);
    for at in times {
        minute.push_back(at);
        while minute.front().is_some_and(|first| first + minute_ms <= at) {
            minute.pop_front();
        }
        most = most.max(minute.len());
    }
    u64::try_from(most).unwrap_or(u64::MAX)
}

/// Answers the longest wait in percent of what is fair.
pub(crate) fn fair(waits: &[Wait], findings: &mut Findings) -> u64 {
    let mut longest = 0;
    for wait in waits {
        let (waited, fair) = (wait.waited_ms, wait.fair_ms);
        longest = longest.max(waited * 100 / fair.max(1));
        if waited > 2 * fair {
            let who = &wait.who;
            let words = || format!("{who} waited for {waited} ms, {fair} ms are fair");
            findings.add(Kind::Unfair, words);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::{Call, Quota, Wait, fair, within};
    use crate::checker::findings::{Findings, Kind};

    const QUOTA: Quota = Quota {
        calls: 3,
        minute_ms: 100,
    };

    fn calls(times: &[u64]) -> Vec<Call> {
        let call = |at_ms: &u64| Call {
            at_ms: *at_ms,
            status: 200,
        };
        times.iter().map(call).collect()
    }

    fn quota(calls: &[Call]) -> (u64, u64) {
        let mut findings = Findings::default();
        let most = within(("writes", calls), QUOTA, &mut findings);
        (most, findings.count(Kind::Quota))
    }

    #[test]
    fn a_minute_that_lies_across_two_of_the_clock_may_not_have_more_either() {
        // Three in each hundred by the clock.
        assert_eq!(quota(&calls(&[0, 1, 2, 100, 101, 102])), (3, 0));
        assert_eq!(quota(&calls(&[90, 91, 92, 110])), (4, 1));
        // As they ended, not as they came.
        assert_eq!(quota(&calls(&[110, 92, 90, 91])), (4, 1));
        assert_eq!(quota(&[]), (0, 0));
    }

    #[test]
    fn a_call_that_was_refused_is_told_however_few_there_were() {
        let mut calls = calls(&[0, 500]);
        calls[1].status = 429;
        assert_eq!(quota(&calls), (1, 1));
    }

    #[test]
    fn twice_of_what_is_fair_is_borne_and_no_more() {
        let wait = |waited_ms| Wait {
            who: "a".to_owned(),
            waited_ms,
            fair_ms: 50,
        };
        let mut findings = Findings::default();
        assert_eq!(fair(&[wait(20), wait(100)], &mut findings), 200);
        assert!(findings.is_clean());
        assert_eq!(fair(&[wait(101)], &mut findings), 202);
        assert_eq!(findings.count(Kind::Unfair), 1);
    }
}
