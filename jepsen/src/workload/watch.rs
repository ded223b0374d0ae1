//! One who reads while the load goes on, and judges what is new when asked.
//!
//! Holds: what it has read once is never read again, so it remembers what was in sight before a
//! fault; the last look leaves whole sights of both forms.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::checker::accounts::Accounts;
use crate::checker::findings::Findings;
use crate::checker::sight::{Shape, Sight};
use crate::checker::{Span, check};
use crate::form::Form;
use crate::history::History;
use crate::reader::http::Reader;

/// Those that the fleet posts to.
pub(crate) const FORMS: [Form; 2] = [Form::StudentData, Form::Free];
const READ_PAUSE: Duration = Duration::from_millis(25);

/// What is checked as it goes: everything new since the last look.
pub(crate) struct Watch {
    pub(crate) accounts: Accounts,
    pub(crate) sights: Vec<Sight>,
    /// Events already absorbed.
    events: usize,
    /// Rows already checked, by sight.
    rows: Vec<usize>,
    pub(crate) findings: Findings,
}

impl Watch {
    pub(crate) fn new() -> Self {
        let sight = |form| Sight::new("GET as it went", form, Shape::Document);
        Self {
            accounts: Accounts::default(),
            sights: FORMS.map(sight).into(),
            events: 0,
            rows: vec![0; FORMS.len()],
            findings: Findings::default(),
        }
    }

    /// Reads what is new, without judging: answers may still be on their way.
    pub(crate) async fn read(&mut self, reader: &mut Reader) {
        for sight in &mut self.sights {
            reader.follow(sight).await;
        }
    }

    /// Reads what is new again and again, until time is over.
    pub(crate) async fn read_for(&mut self, reader: &mut Reader, time: Duration) {
        let moment = Instant::now() + time;
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            sleep(left.min(READ_PAUSE)).await;
            self.read(reader).await;
        }
    }

    /// Reads what is new and judges it, in time linear in what is new.
    pub(crate) async fn look(&mut self, reader: &mut Reader, history: &History) {
        self.read(reader).await;
        let events = history.since(self.events);
        self.events += events.len();
        let touched = self.accounts.absorb(&events);
        for (sight, from) in self.sights.iter().zip(&mut self.rows) {
            let accounts = &self.accounts;
            let span = Span {
                accounts,
                touched: Some(&touched),
                sight,
                from: *from,
            };
            check(&span, &mut self.findings);
            *from = sight.rows.len();
        }
    }
}
