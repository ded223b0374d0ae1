//! Full: while the disk has no room, submissions are refused with 507 and nothing else happens;
//! soon after there is room again they are taken, and no longer refused.
//!
//! Holds: what was taken before the room was used up, or says it is a duplicate, is no fault.
//! Whether what was refused stays out of sight is for `phantom` to say.

use crate::checker::findings::{Findings, Kind};
use crate::client::api::FULL;
use crate::history::{Event, What};

/// One time without room, in the nanoseconds of the history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spell {
    pub(crate) from: u64,
    /// There was room again, or it was killed.
    pub(crate) until: u64,
    /// Then it must be well. `None`: it was killed.
    pub(crate) well_by: Option<u64>,
    /// Up to where it was well: then the next spell began, or the run ended.
    pub(crate) end: u64,
}

pub(crate) fn check(events: &[Event], spell: Spell, findings: &mut Findings) {
    let mut refused = 0_u64;
    let during = between(events, spell.from, spell.until);
    for event in during {
        match event.what {
            What::Refused(FULL) => refused += 1,
            What::NotSent | What::Unknown => findings.add(Kind::Full, || {
                let (marker, what) = (event.marker, event.what);
                format!(
                    "m{marker}: {what:?}, {} without room",
                    after(spell.from, event)
                )
            }),
            What::Invoke { .. } | What::Ok(_) | What::Refused(_) | What::Destroyed => {}
        }
    }
    if refused == 0 {
        findings.add(Kind::Full, || {
            let seconds = spell.until.saturating_sub(spell.from) / 1_000_000_000;
            format!("{seconds} s without room, and not one 507")
        });
    }
    let Some(well_by) = spell.well_by else { return };
    let is_taken = |event: &Event| matches!(event.what, What::Ok(receipt) if !receipt.is_duplicate);
    if !between(events, spell.until, well_by).iter().any(is_taken) {
        findings.add(Kind::Full, || {
            let seconds = well_by.saturating_sub(spell.until) / 1_000_000_000;
            format!("there is room for {seconds} s, and nothing is taken")
        });
    }
    for event in between(events, well_by, spell.end) {
        if matches!(event.what, What::Refused(FULL)) {
            findings.add(Kind::Full, || {
                let marker = event.marker;
                format!("m{marker}: 507, {} with room", after(spell.until, event))
            });
        }
    }
}

/// The events of that time; those of a history stand in the order of time.
fn between(events: &[Event], from: u64, until: u64) -> &[Event] {
    let start = events.partition_point(|event| event.at <= from);
    let end = events.partition_point(|event| event.at <= until);
    events.get(start..end).unwrap_or_default()
}

fn after(from: u64, event: &Event) -> String {
    format!("{} ms", event.at.saturating_sub(from) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::{Spell, check};
    use crate::checker::findings::{Findings, Kind};
    use crate::checker::testing::Story;

    const SPELL: Spell = Spell {
        from: 100,
        until: 200,
        well_by: Some(300),
        end: 400,
    };

    /// Taken until 120, refused until 210, taken again.
    fn good() -> Story {
        let mut story = Story::good(0);
        story.ack(0, 1, (90, 120));
        story.full(1, (130, 140));
        story.full(2, (190, 210));
        story.ack(3, 2, (220, 230));
        story.ack(4, 3, (350, 360));
        story
    }

    fn faults(story: &Story, spell: Spell) -> u64 {
        let mut findings = Findings::default();
        check(&story.events, spell, &mut findings);
        findings.count(Kind::Full)
    }

    #[test]
    fn refused_while_full_and_taken_again_after_is_as_it_must_be() {
        assert_eq!(faults(&good(), SPELL), 0);
    }

    #[test]
    fn no_refusal_while_there_is_no_room_is_a_fault() {
        let mut story = good();
        story
            .events
            .retain(|event| event.at <= 120 || event.at > 140);
        assert_eq!(faults(&story, SPELL), 1);
    }

    #[test]
    fn no_answer_while_there_is_no_room_is_a_fault() {
        let mut story = good();
        story.unknown(5, 150);
        story.events.sort_by_key(|event| event.at);
        assert_eq!(faults(&story, SPELL), 1);
    }

    #[test]
    fn not_getting_well_is_a_fault_unless_it_was_killed() {
        let mut story = good();
        story.events.retain(|event| event.at < 220);
        story.full(6, (350, 360));
        // Nothing taken in time, and still refused after it.
        assert_eq!(faults(&story, SPELL), 2);
        let killed = Spell {
            well_by: None,
            ..SPELL
        };
        assert_eq!(faults(&story, killed), 0);
    }

    #[test]
    fn a_duplicates_receipt_is_no_sign_of_room() {
        let mut story = good();
        story.events.retain(|event| event.at < 220);
        story.again_at(0, 1, 250);
        assert_eq!(faults(&story, SPELL), 1);
    }
}
