//! Delivering: one request a batch, and what its answer means.
//!
//! Holds: `Taken` is said only to an answer of success that speaks of this very request. After an answer
//! that is not clear, and after any that refuses the batch, the cursor is read before anything is sent.

use std::sync::Arc;

use tokio::time::Instant;

use super::api::{Done, Fault, Tab};
use super::layout::Layout;
use super::names::ATTEMPTS_MAX;
use super::plan::{Plan, Role, Slip};
use super::rows::{Caps, Draft};
use super::sink::{Opened, SheetsSink};
use super::tell::{ROLL_PERCENT, Room};
use super::verdict::{self, State, Verdict};
use crate::error::{Cause, Trouble};
use crate::mutants::Mutant;
use crate::sink::{Batch, Delivery};

/// Refusals in a row, over what was read anew each time, until a record is suspected.
const REFUSALS_MAX: u32 = 3;

impl SheetsSink {
    pub(super) async fn delivered(&mut self, batch: &Batch) -> Delivery {
        if !self.has_leave() {
            self.prepare().await;
        }
        if let Some(found) = self.found.take() {
            return found;
        }
        if let Some(never) = self.never(batch) {
            return never;
        }
        let Some(mut open) = self.open.take() else {
            let why = "the spreadsheet is not open";
            return Delivery::Reopen(Trouble::new(Cause::Place, why));
        };
        for tag in &self.slipped {
            open.layout.distrust(tag);
        }
        let is_nearly_full = self.room.is_some_and(|room| room.percent() >= ROLL_PERCENT);
        let rolls = (is_nearly_full || self.is_full) && !batch.records.is_empty();
        if rolls && let Some(next) = self.spare(&open) {
            return self.roll(open, &next).await;
        }
        let caps = Caps {
            records: self.hunt.records_max(self.office.config.batch_records_max),
            cells: self.office.config.batch_cells_max,
            bytes: self.office.config.batch_bytes_max,
        };
        let has_guards = !self.flaws.has(Mutant::SheetsNoGuard);
        let draft = Draft::new(&self.names, &self.settings, &open.layout);
        let mut plan = match draft.plan(batch, caps, (has_guards, self.attempt)) {
            Ok(plan) => plan,
            Err(deleted) => {
                self.open = Some(open);
                let why = format!("a person has deleted {}.", deleted.join(", "));
                return Delivery::Again(self.trouble_of(State::Column, Cause::Place, why));
            }
        };
        if self.is_late() {
            return self.held_up(open);
        }
        let text = plan.layout.text.clone();
        let (api, spreadsheet) = (Arc::clone(&open.api), Arc::clone(&open.spreadsheet));
        let mut sent = Ok(Done::default());
        for edits in self.flaws.spoil(plan.take_edits()) {
            if sent.is_ok() {
                sent = self.send(&api, &spreadsheet, (edits, &text)).await;
            }
        }
        match sent {
            Ok(done) => self.taken(open, plan, &done, batch),
            Err(fault) => self.failed(open, &plan, &fault, batch).await,
        }
    }

    /// Something kept us since we were ready: another node may lead by now.
    fn held_up(&mut self, open: Opened) -> Delivery {
        self.open = Some(open);
        let why = "this node was held up before it could send; nothing was sent";
        Delivery::Again(Trouble::new(Cause::Place, why))
    }

    /// The answer says yes: asserts that it is one to this request, and that every guard was there.
    fn taken(&mut self, mut open: Opened, plan: Plan, done: &Done, batch: &Batch) -> Delivery {
        let slips = if self.flaws.has(Mutant::SheetsTwoCalls) {
            Some(Vec::new())
        } else {
            plan.slips(&done.deleted)
        };
        let Some(slips) = slips else {
            let why = "Google answered something else than what it was asked";
            return Delivery::Reopen(Trouble::new(Cause::Away, why));
        };
        self.slipped.clear();
        for slip in slips {
            self.note_slip(&slip, plan.records, batch);
        }
        let upto = plan.layout.mark.at;
        self.note_room(&done.tabs, plan.layout.tab);
        open.layout = plan.layout;
        // Every guard has just said so.
        open.read_at = Instant::now();
        self.open = Some(open);
        self.attempt = 0;
        self.refusals = 0;
        self.is_full = false;
        self.hunt.taken(upto);
        if let Some(first) = batch.records.first() {
            self.board.first_seq(first.seq);
        }
        self.show(State::Ok);
        Delivery::Taken { upto }
    }

    fn note_slip(&mut self, slip: &Slip, count: usize, batch: &Batch) {
        let first = batch.records.first().map_or(0, |record| record.seq);
        let last = batch.records.get(count.saturating_sub(1));
        let last = last.map_or(0, |record| record.seq);
        let lane = &self.life.lane;
        let alarm = match slip {
            Slip::Cursor => format!(
                "another program has removed the cursor's metadata before rows {first} to {last}: \
                 look with `formspool verify sheets`"
            ),
            Slip::Column(tag) => {
                self.slipped.insert(tag.clone());
                format!(
                    "column {tag} was deleted and another one moved into its place while rows \
                     {first} to {last} were sent: their values of it stand in that column"
                )
            }
        };
        tracing::error!(%lane, error = %alarm, "a guard found nothing");
        self.office.metrics.sheets_alarm(&lane.task);
        self.board.alarm(alarm);
    }

    /// How full the workbook is by now.
    pub(super) fn note_room(&mut self, tabs: &[Tab], tab: i32) {
        if tabs.is_empty() {
            return;
        }
        let cells = tabs.iter().map(|tab| tab.rows.saturating_mul(tab.columns));
        let ours = tabs.iter().find(|one| one.id == tab);
        let room = Room {
            cells: cells.sum(),
            cells_max: self.office.config.cells_max,
            columns: ours.map_or(1, |ours| ours.columns),
        };
        self.room = Some(room);
        self.board.room(room);
        self.office
            .metrics
            .sheets_cells(&self.life.lane.task, room.percent());
    }

    async fn failed(
        &mut self,
        open: Opened,
        plan: &Plan,
        fault: &Fault,
        batch: &Batch,
    ) -> Delivery {
        match verdict::of(fault) {
            Verdict::Later(..) => {
                self.open = Some(open);
                Delivery::Again(self.trouble(fault))
            }
            Verdict::Full => {
                let has_spare = self.spare(&open).is_some();
                self.is_full = true;
                self.open = Some(open);
                let trouble = self.trouble(fault);
                Delivery::Again(Trouble {
                    // With a spare the lane goes on at once; without one all others stand here too.
                    cause: if has_spare { Cause::Place } else { Cause::Room },
                    ..trouble
                })
            }
            Verdict::Unclear if self.flaws.has(Mutant::SheetsBlindRetry) => {
                self.retry_blindly(open).await
            }
            Verdict::Unclear => Delivery::Reopen(self.trouble(fault)),
            Verdict::Refused => self.refused(open, plan, fault, batch),
        }
    }

    /// The fault of one mutant: takes the cursor as it is by now for that of before the send.
    async fn retry_blindly(&mut self, mut open: Opened) -> Delivery {
        let items = open.api.search(&open.spreadsheet, self.names.key()).await;
        if let Ok(items) = items
            && let Some(layout) = Layout::read(&self.names, &items)
        {
            open.layout = layout;
            open.read_at = Instant::now();
            self.open = Some(open);
        }
        Delivery::Again(Trouble::new(Cause::Place, "sent again without asking"))
    }

    /// The batch was refused: because the spreadsheet is not as it was read, or because of a cell.
    fn refused(&mut self, open: Opened, plan: &Plan, fault: &Fault, batch: &Batch) -> Delivery {
        let words = verdict::words(fault);
        self.refusals += 1;
        self.attempt = (self.attempt + 1) % ATTEMPTS_MAX;
        let is_of_rows = plan.role_of(&words) == Some(Role::Rows);
        let is_suspect = (is_of_rows || self.refusals > REFUSALS_MAX) && plan.records > 0;
        if is_suspect {
            if let (Some(first), 1) = (batch.records.first(), plan.records) {
                self.hunt.found(first.position, words);
                self.refusals = 0;
                // The rest comes at once: the cursor guards it as well as any.
                self.open = Some(open);
                if let Some(never) = self.never(batch) {
                    return never;
                }
                return Delivery::Reopen(self.trouble(fault));
            }
            self.hunt.halve(plan.records, batch.upto);
        }
        // Nothing was applied; what is there is read again all the same: texts decide nothing.
        Delivery::Reopen(Trouble::new(Cause::Place, words))
    }

    /// The first record is one that Google does not take: said again as long as it comes again.
    fn never(&self, batch: &Batch) -> Option<Delivery> {
        let which = batch.records.first()?.position;
        let answer = self.hunt.answer(which)?;
        Some(Delivery::Never {
            which,
            why: "Google does not take one of its values".to_owned(),
            answer: answer.to_owned(),
        })
    }

    /// The spreadsheet to go on in, if there is one more.
    fn spare(&self, open: &Opened) -> Option<Arc<str>> {
        let spares = self.settings.spares.iter();
        let mut unused = spares.filter(|spare| !open.chain.iter().any(|used| **used == ***spare));
        unused.next().map(|spare| Arc::from(spare.as_str()))
    }

    /// Seals this sheet in favour of the next: from then on it takes no row, however late.
    async fn roll(&mut self, open: Opened, next: &Arc<str>) -> Delivery {
        if let Err(fault) = self.read(open.api.tabs(next)).await {
            self.open = Some(open);
            let trouble = self.trouble(&fault);
            let why = format!("the spare spreadsheet {next}: {}", trouble.why);
            return Delivery::Again(Trouble { why, ..trouble });
        }
        if self.is_late() {
            return self.held_up(open);
        }
        let mut mark = open.layout.mark.clone();
        mark.next = Some(next.to_string());
        let mut plan = Plan::cursor_only(&self.names, &open.layout, mark);
        let text = plan.layout.text.clone();
        let (api, spreadsheet) = (Arc::clone(&open.api), Arc::clone(&open.spreadsheet));
        let edits = plan.take_edits();
        match self.send(&api, &spreadsheet, (edits, &text)).await {
            Ok(_) => {
                self.room = None;
                self.is_full = false;
                let lane = &self.life.lane;
                tracing::info!(%lane, from = %spreadsheet, to = %next, "going on in the next sheet");
                let why = format!("{spreadsheet} is full; going on in {next}");
                Delivery::Reopen(Trouble::new(Cause::Place, why))
            }
            Err(fault) if matches!(verdict::of(&fault), Verdict::Later(..)) => {
                self.open = Some(open);
                Delivery::Again(self.trouble(&fault))
            }
            Err(fault) => Delivery::Reopen(self.trouble(&fault)),
        }
    }
}
