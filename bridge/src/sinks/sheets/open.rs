//! Opening: which spreadsheet, where it stands, and a place in it if there is none.
//!
//! A form that has filled spreadsheets lies in a chain: each sealed cursor names the next one.
//!
//! ```text
//! spreadsheet ── sealed, next ──► spare ── sealed, next ──► spare: the cursor to go on from
//! ```
//! The chain is the only memory of a roll-over, and it is enough. The seal is one atomic
//! compare-and-set: before it, rows go on in the old spreadsheet; after it, nothing that starts from
//! an unsealed cursor is applied there any more, and whoever opens finds the next one and sets it up at
//! the sealed position, which is refused if it was done. A crash between any two steps leaves one of
//! these states. No second record of it, in the log or in the settings, could disagree.
//!
//! Holds: a spreadsheet without our cursor is set up only while nothing can be in it: the log knows of
//! no record that was delivered behind the position at which it would begin. Otherwise it has lost
//! what it had, and a person decides.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::api::Api;
use super::layout::Layout;
use super::mark::Mark;
use super::names::ATTEMPTS_MAX;
use super::plan::Plan;
use super::settings::ReceivedAt;
use super::sink::{Opened, SheetsSink};
use super::verdict::{self, State, Verdict};
use crate::error::{Cause, SinkError, Trouble};
use crate::mutants::Mutant;
use crate::record::Position;
use crate::sink::{Cursor, Opening};

/// Spreadsheets that one form may fill.
const CHAIN_MAX: usize = 64;
/// Between two looks at a cursor that may still move.
const POLL: Duration = Duration::from_secs(10);

/// Where the chain ends.
struct End {
    api: Arc<dyn Api>,
    spreadsheet: Arc<str>,
    chain: Vec<Arc<str>>,
    /// The last seal that leads there.
    seal: Option<Mark>,
}

impl End {
    fn opened(self, layout: Layout, read_at: Instant) -> Opened {
        Opened {
            api: self.api,
            spreadsheet: self.spreadsheet,
            layout,
            read_at,
            chain: self.chain,
        }
    }
}

impl SheetsSink {
    pub(super) async fn opened(&mut self, opening: Opening) -> Result<Option<Cursor>, SinkError> {
        self.open = None;
        let has_sending = opening.standing.sending.is_some();
        let lane = self.life.lane.clone();
        self.office.flights.look(&lane, opening.term, has_sending);
        let api = match self.office.api(&self.account).await {
            Ok(api) => api,
            Err(fault) => return Err(SinkError::Again(self.trouble(&fault))),
        };
        let mut end = End {
            api,
            spreadsheet: Arc::from(self.settings.spreadsheet.as_str()),
            chain: Vec::new(),
            seal: None,
        };
        while end.chain.len() < CHAIN_MAX {
            end.chain.push(Arc::clone(&end.spreadsheet));
            self.board.place(&end.spreadsheet);
            let read_at = Instant::now();
            let items = self
                .read(end.api.search(&end.spreadsheet, self.names.key()))
                .await;
            let items = match items {
                Ok(items) => items,
                Err(fault) => return Err(SinkError::Again(self.trouble(&fault))),
            };
            let Some(layout) = Layout::read(&self.names, &items) else {
                return self.set_up(end, opening).await;
            };
            self.office.flights.saw(&lane, &layout.text);
            self.fence(&layout.mark)?;
            match &layout.mark.next {
                Some(next) => {
                    end.spreadsheet = Arc::from(next.as_str());
                    end.seal = Some(layout.mark);
                }
                None => return self.go_on(end, (layout, read_at), opening).await,
            }
        }
        Err(self.stop(
            State::Full,
            format!("more than {CHAIN_MAX} spreadsheets follow each other"),
        ))
    }

    /// A later life's cursor means that this one is over.
    fn fence(&mut self, mark: &Mark) -> Result<(), SinkError> {
        if mark.life <= self.life.incarnation {
            return Ok(());
        }
        let why = format!(
            "the spreadsheet belongs to a later life of this task ({}; this one is {})",
            mark.life, self.life.incarnation
        );
        Err(self.stop(State::Ok, why))
    }

    fn stop(&mut self, state: State, why: String) -> SinkError {
        self.show(state);
        SinkError::Stop(why)
    }

    fn lost(&mut self, what: &str) -> SinkError {
        let why = format!("{what}: it has lost what it had.");
        let remedy = verdict::remedy(State::RolledBack, "");
        self.stop(State::RolledBack, format!("{why} {remedy}"))
    }

    /// A send of before may still arrive: nothing is sent until it has, or can no more. The cursor
    /// would refuse it, one after the other; what two requests do to each other in the same moment
    /// is written nowhere.
    fn still(&mut self, has_moved: bool) -> Result<(), SinkError> {
        let lane = &self.life.lane;
        if has_moved {
            self.office.flights.ended(lane);
        }
        let left = self
            .office
            .flights
            .left(lane, self.office.config.no_overlap());
        if left.is_zero() || self.flaws.has(Mutant::SheetsNoWait) {
            return Ok(());
        }
        self.show(State::Waiting);
        let why = "a request was under way when its sender lost its lease or its connection: it may \
                   still arrive, and is waited out";
        Err(SinkError::Again(Trouble {
            cause: Cause::Place,
            why: why.to_owned(),
            after: Some(left.min(POLL)),
        }))
    }

    /// There is a cursor.
    async fn go_on(
        &mut self,
        end: End,
        (layout, read_at): (Layout, Instant),
        opening: Opening,
    ) -> Result<Option<Cursor>, SinkError> {
        let standing = opening.standing;
        let is_ours = layout.mark.life == self.life.incarnation;
        let at = layout.mark.at;
        self.still(is_ours && standing.position < at)?;
        if is_ours {
            let is_behind = at < standing.position;
            self.show(if is_behind {
                State::RolledBack
            } else {
                State::Ok
            });
            self.open = Some(end.opened(layout, read_at));
            // Set up, perhaps by a request whose answer was lost, and nothing more: as a new one.
            let is_new = opening.is_first() && at == standing.position;
            return Ok((!is_new).then(|| self.cursor(at)));
        }
        if !opening.is_first() {
            return Err(self.lost("the spreadsheet holds an earlier life's cursor"));
        }
        let mark = Mark::new(self.life.incarnation, standing.position);
        let plan = Plan::cursor_only(&self.names, &layout, mark);
        self.install(end, plan).await?;
        Ok(None)
    }

    /// There is none: makes a tab, or takes the one of that title, if nothing can be in it yet.
    async fn set_up(&mut self, end: End, opening: Opening) -> Result<Option<Cursor>, SinkError> {
        let standing = opening.standing;
        let seal = end.seal.clone();
        let own = seal.filter(|seal| seal.life == self.life.incarnation);
        let (at, is_new) = match &own {
            Some(seal) => (seal.at, standing.position <= seal.at),
            None => (standing.position, opening.is_first()),
        };
        if !is_new {
            return Err(self.lost("the spreadsheet holds no cursor any more"));
        }
        self.still(own.is_some() && standing.position < at)?;
        let tabs = match self.read(end.api.tabs(&end.spreadsheet)).await {
            Ok(tabs) => tabs,
            Err(fault) => return Err(SinkError::Again(self.trouble(&fault))),
        };
        let title = self.settings.title(self.life.lane.form());
        let existing = tabs.iter().find(|tab| tab.title == title);
        let is_serial = self.settings.received_at == ReceivedAt::Serial;
        let mark = Mark::new(self.life.incarnation, at);
        let (names, attempt) = (&self.names, self.attempt);
        let plan = Plan::set_up(names, mark, (title.clone(), existing), is_serial, attempt);
        self.install(end, plan).await?;
        tracing::info!(lane = %self.life.lane, tab = %title, "tab set up");
        Ok(own.map(|_| self.cursor(at)))
    }

    /// Sends a batch without rows that makes the spreadsheet ours.
    async fn install(&mut self, end: End, mut plan: Plan) -> Result<(), SinkError> {
        let text = plan.layout.text.clone();
        if let Err(fault) = self.token(&end.api).await {
            return Err(SinkError::Again(self.trouble(&fault)));
        }
        let sent = self
            .send(&end.api, &end.spreadsheet, (plan.take_edits(), &text))
            .await;
        match sent {
            Ok(done) => {
                self.attempt = 0;
                self.note_room(&done.tabs, plan.layout.tab);
                self.show(State::Ok);
                self.open = Some(end.opened(plan.layout, Instant::now()));
                Ok(())
            }
            Err(fault) => {
                if verdict::of(&fault) == Verdict::Refused {
                    self.attempt += 1;
                    if self.attempt == ATTEMPTS_MAX {
                        self.attempt = 0;
                        let words = verdict::words(&fault);
                        let why = format!("the spreadsheet cannot be set up: {words}");
                        return Err(self.stop(State::Ok, why));
                    }
                }
                Err(SinkError::Again(self.trouble(&fault)))
            }
        }
    }

    fn cursor(&self, position: Position) -> Cursor {
        Cursor {
            incarnation: self.life.incarnation,
            position,
            id: None,
        }
    }
}
