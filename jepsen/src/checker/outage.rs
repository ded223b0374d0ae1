//! Outage: for how long nobody was served, from the history alone.
//!
//! Holds: measured from a moment that the caller names: that of the fault where a majority is
//! left, that of its end where none is. A post counts as served from then on only if it was also
//! sent after it: an answer that was on its way says nothing.

use std::collections::HashMap;
use std::time::Duration;

use crate::checker::findings::{Findings, Kind};
use crate::history::{Event, What};

/// Nanoseconds of the history's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outage {
    /// From the beginning to the first receipt for something sent since; `None`: there was none.
    pub(crate) first_ack: Option<Duration>,
    /// The longest time in it without any receipt.
    pub(crate) silence: Duration,
    pub(crate) receipts: u64,
    /// Answers that were no receipt, and answers that did not come.
    pub(crate) refusals: u64,
    /// From the first of these to the last.
    pub(crate) refusing: Duration,
}

pub(crate) fn measure(events: &[Event], window: Window) -> Outage {
    let Window { from, until } = window;
    let mut sent = HashMap::new();
    let mut outage = Outage::default();
    let (mut last_ack, mut refused) = (from, None::<(u64, u64)>);
    for event in events.iter().take_while(|event| event.at <= until) {
        match event.what {
            What::Invoke { .. } => drop(sent.insert(event.marker, event.at)),
            _ if event.at < from => {}
            What::Ok(_) => {
                outage.receipts += 1;
                outage.silence = outage.silence.max(nanos(event.at - last_ack));
                last_ack = event.at;
                if sent.get(&event.marker).is_some_and(|sent| *sent >= from) {
                    outage.first_ack.get_or_insert(nanos(event.at - from));
                }
            }
            What::Refused(_) | What::NotSent | What::Unknown => {
                outage.refusals += 1;
                let (first, _) = refused.unwrap_or((event.at, event.at));
                refused = Some((first, event.at));
            }
            What::Destroyed => {}
        }
    }
    outage.silence = outage.silence.max(nanos(until.saturating_sub(last_ack)));
    outage.refusing = refused.map_or(Duration::ZERO, |(first, last)| nanos(last - first));
    outage
}

/// Nobody may be left alone for longer than `limit`.
pub(crate) fn check(outage: &Outage, limit: Duration, fault: &str, findings: &mut Findings) {
    let limit_ms = limit.as_millis();
    match outage.first_ack {
        Some(first) if first.max(outage.silence) <= limit => {}
        Some(first) => findings.add(Kind::Outage, || {
            let (first, silence) = (first.as_millis(), outage.silence.as_millis());
            format!("{fault}: first receipt after {first} ms, {silence} ms without one; {limit_ms} ms are allowed")
        }),
        None => findings.add(Kind::Outage, || format!("{fault}: no receipt any more")),
    }
}

fn nanos(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Outage, Window, check, measure};
    use crate::checker::findings::Findings;
    use crate::checker::testing::Story;

    const WINDOW: Window = Window {
        from: 100,
        until: 1000,
    };

    fn outage(story: &Story) -> Outage {
        let mut events = story.events.clone();
        events.sort_by_key(|event| event.at);
        measure(&events, WINDOW)
    }

    fn is_fine(outage: &Outage, limit: u64) -> bool {
        let mut findings = Findings::default();
        check(outage, Duration::from_nanos(limit), "trial", &mut findings);
        findings.is_clean()
    }

    #[test]
    fn the_first_receipt_counts_only_for_what_was_sent_since() {
        let mut story = Story::good(0);
        story.ack(0, 1, (90, 120));
        story.ack(1, 2, (110, 400));
        story.ack(2, 3, (500, 950));
        let found = outage(&story);
        assert_eq!(found.first_ack, Some(Duration::from_nanos(300)));
        assert_eq!((found.receipts, found.refusals), (3, 0));
        assert_eq!(found.silence, Duration::from_nanos(550));
        assert!(is_fine(&found, 550) && !is_fine(&found, 549));
    }

    #[test]
    fn an_end_without_receipts_is_silence_too() {
        let mut story = Story::good(0);
        story.ack(0, 1, (110, 120));
        assert_eq!(outage(&story).silence, Duration::from_nanos(880));
        let never = outage(&Story::good(0));
        assert_eq!(
            (never.first_ack, never.silence),
            (None, Duration::from_nanos(900))
        );
        assert!(!is_fine(&never, 1000));
    }

    #[test]
    fn refusals_and_what_got_no_answer_are_counted_from_the_first_to_the_last() {
        let mut story = Story::good(0);
        story.ack(0, 1, (110, 120));
        story.unknown(1, 50);
        story.unknown(2, 200);
        story.full(3, (210, 700));
        let found = outage(&story);
        assert_eq!(
            (found.refusals, found.refusing),
            (2, Duration::from_nanos(500))
        );
    }
}
