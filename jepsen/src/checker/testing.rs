//! A hand-made history with the sight that belongs to it, to be spoiled by a checker's tests.

use crate::checker::accounts::Accounts;
use crate::checker::digest::Digests;
use crate::checker::findings::{Findings, Kind};
use crate::checker::sight::{Row, Shape, Sight};
use crate::form::Form;
use crate::history::{Event, Receipt, What};

pub(crate) struct Story {
    pub(crate) events: Vec<Event>,
    pub(crate) rows: Vec<Row>,
    pub(crate) unreadable: Vec<String>,
    /// What it was told is the oldest, before the first row from there on; 0: nothing.
    oldest: u64,
}

impl Story {
    /// `count` documents, one after the other, all acknowledged, all shown.
    pub(crate) fn good(count: u64) -> Self {
        let mut story = Self {
            events: Vec::new(),
            rows: Vec::new(),
            unreadable: Vec::new(),
            oldest: 0,
        };
        for marker in 0..count {
            story.ack(marker, marker + 1, (marker * 10, marker * 10 + 5));
            story.show(marker, marker + 1);
        }
        story
    }

    pub(crate) fn ack(&mut self, marker: u64, seq: u64, (sent, answered): (u64, u64)) {
        self.invoke(marker, sent);
        let receipt = receipt(marker, Some(seq), false);
        self.events.push(Event {
            at: answered,
            marker,
            what: What::Ok(receipt),
        });
    }

    /// A duplicate's receipt, at that moment.
    pub(crate) fn again_at(&mut self, marker: u64, seq: u64, at: u64) {
        self.invoke(marker, at);
        let what = What::Ok(receipt(marker, Some(seq), true));
        self.events.push(Event { at, marker, what });
    }

    pub(crate) fn full(&mut self, marker: u64, (sent, answered): (u64, u64)) {
        self.invoke(marker, sent);
        self.events.push(Event {
            at: answered,
            marker,
            what: What::Refused(507),
        });
    }

    pub(crate) fn ack_again(&mut self, marker: u64, seq: u64, is_duplicate: bool) {
        self.invoke(marker, 1000);
        let receipt = receipt(marker, Some(seq), is_duplicate);
        self.events.push(Event {
            at: 1001,
            marker,
            what: What::Ok(receipt),
        });
    }

    pub(crate) fn withheld(&mut self, marker: u64, at: u64) {
        self.invoke(marker, at);
        self.events.push(Event {
            at,
            marker,
            what: What::Ok(receipt(marker, None, false)),
        });
    }

    pub(crate) fn refused(&mut self, marker: u64, at: u64) {
        self.invoke(marker, at);
        self.events.push(Event {
            at,
            marker,
            what: What::Refused(422),
        });
    }

    pub(crate) fn unknown(&mut self, marker: u64, at: u64) {
        self.invoke(marker, at);
        self.events.push(Event {
            at,
            marker,
            what: What::Unknown,
        });
    }

    pub(crate) fn show(&mut self, marker: u64, seq: u64) {
        self.rows.push(Row {
            seq,
            id: u128::from(seq) << 64 | u128::from(marker),
            received_at: marker,
            index: Some(marker),
            marker: Some(marker),
            digest: marker,
        });
        // A document's id does not depend on where it stands; only `doubled` asks for it.
        if let Some(row) = self.rows.last_mut()
            && self.events.iter().any(|event| event.marker == marker)
        {
            row.id = u128::from(marker);
        }
    }

    /// Having read up to `last` it is told that `oldest` is the oldest.
    pub(crate) fn forget(&mut self, last: u64, oldest: u64) {
        self.rows.retain(|row| row.seq <= last || row.seq >= oldest);
        self.oldest = oldest;
    }

    pub(crate) fn sight(&self) -> Sight {
        let mut sight = Sight::new("GET", Form::Free, Shape::Document);
        let (before, behind) = self
            .rows
            .split_at(self.rows.partition_point(|row| row.seq < self.oldest));
        for row in before {
            sight.push(*row);
        }
        sight.forget_below(self.oldest);
        for row in behind {
            sight.push(*row);
        }
        sight.unreadable.clone_from(&self.unreadable);
        sight
    }

    pub(crate) fn kinds(&self) -> Vec<(Kind, u64)> {
        let mut findings = Findings::default();
        let accounts = Accounts::of(&self.events);
        super::check(&super::Span::whole(&accounts, &self.sight()), &mut findings);
        findings.kinds().collect()
    }

    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.kinds()
            .iter()
            .find(|(found, _)| *found == kind)
            .map_or(0, |(_, count)| *count)
    }

    fn invoke(&mut self, marker: u64, at: u64) {
        let digests = Digests {
            document: marker,
            cells: marker,
        };
        let what = What::Invoke {
            process: 0,
            form: Form::Free,
            is_keyed: true,
            digests,
        };
        self.events.push(Event { at, marker, what });
    }
}

fn receipt(marker: u64, seq: Option<u64>, is_duplicate: bool) -> Receipt {
    Receipt {
        id: marker.into(),
        seq,
        received_at: marker,
        index: marker,
        terms: 0,
        is_duplicate,
    }
}

#[test]
fn a_good_history_pleases_every_checker() {
    assert_eq!(Story::good(0).kinds(), []);
    assert_eq!(Story::good(100).kinds(), []);
}

#[test]
fn what_the_tester_destroyed_was_never_promised_and_may_get_another_receipt() {
    let mut story = Story::good(3);
    let (at, marker, what) = (900, 2, What::Destroyed);
    story.events.push(Event { at, marker, what });
    story.rows.pop();
    assert_eq!(story.kinds(), []);
    story.ack(2, 7, (1000, 1010));
    let accounts = Accounts::of(&story.events);
    let account = accounts.get(2).unwrap();
    assert_eq!((account.receipts, account.contradiction), (1, None));
    assert_eq!(story.kinds(), [(Kind::Lost, 1)]);
}

#[test]
fn accounts_absorbed_in_pieces_are_those_of_the_whole() {
    let mut story = Story::good(50);
    story.refused(50, 1);
    story.unknown(51, 2);
    let mut pieces = Accounts::default();
    for piece in story.events.chunks(7) {
        pieces.absorb(piece);
    }
    let whole = Accounts::of(&story.events);
    let text = |accounts: &Accounts| format!("{:?}", accounts.iter().collect::<Vec<_>>());
    assert_eq!(text(&pieces), text(&whole));
    assert_eq!(whole.acked(), 50);
}
