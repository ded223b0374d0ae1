//! The sink of one lane: its calls, and when they may be made. `open.rs` opens, `deliver.rs` delivers.
//!
//! Holds:
//! - every call is bounded by a time limit, and stands in its credential's line first; a request that
//!   writes is remembered until its end is known;
//! - what a delivery needs to know is read before the pump announces the send in the log, so that
//!   between the announcement and the send there is nothing to wait for. A delivery that comes later
//!   than [`LATE`] after that sends nothing. Hence a send that another node finds announced begins
//!   within moments of its announcement, and cannot arrive later than the time for which that node
//!   waits, unless this process is stopped between the check and the very write: then the cursor
//!   refuses it.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::{Instant, timeout};

use super::Flaws;
use super::api::{Api, Done, Edit, Fault};
use super::hunt::Hunt;
use super::layout::Layout;
use super::names::Names;
use super::office::{Account, Office};
use super::queue::{Ask, Grant};
use super::settings::Settings;
use super::tell::{Board, Room};
use super::verdict::{self, State, Verdict};
use crate::error::{Cause, SinkError, Trouble};
use crate::sink::{Batch, Cursor, Delivery, Leave, Opening, Sink};
use crate::sinks::Life;

/// How long a layout is believed: two edits of one tab by hand take longer.
const FRESH: Duration = Duration::from_secs(2);
/// How long after it was ready a delivery may begin.
const LATE: Duration = Duration::from_secs(5);
/// Between two tries where a person must act.
const BLOCKED: Duration = Duration::from_mins(1);

/// What is open.
pub(super) struct Opened {
    pub(super) api: Arc<dyn Api>,
    pub(super) spreadsheet: Arc<str>,
    pub(super) layout: Layout,
    pub(super) read_at: Instant,
    /// The spreadsheets that were filled before this one, and this one.
    pub(super) chain: Vec<Arc<str>>,
}

pub(super) struct SheetsSink {
    pub(super) office: Arc<Office>,
    pub(super) account: Arc<Account>,
    pub(super) names: Names,
    pub(super) settings: Settings,
    pub(super) life: Life,
    pub(super) board: Board,
    pub(super) flaws: Flaws,
    pub(super) open: Option<Opened>,
    /// Which of the ids for one purpose are tried: others may use some.
    pub(super) attempt: u32,
    pub(super) hunt: Hunt,
    /// Refusals in a row.
    pub(super) refusals: u32,
    pub(super) room: Option<Room>,
    /// The workbook has refused more rows.
    pub(super) is_full: bool,
    /// Columns whose metadata has got onto other people's.
    pub(super) slipped: BTreeSet<String>,
    /// What the look before the announcement has found wrong.
    pub(super) found: Option<Delivery>,
    /// When all was ready for a delivery.
    ready_at: Option<Instant>,
    grant: Weak<Grant>,
}

impl SheetsSink {
    pub(super) fn new(
        office: Arc<Office>,
        (names, settings): (Names, Settings),
        life: Life,
        board: Board,
        flaws: Flaws,
    ) -> Self {
        Self {
            account: office.account(&settings.account),
            office,
            names,
            settings,
            life,
            board,
            flaws,
            open: None,
            attempt: 0,
            hunt: Hunt::default(),
            refusals: 0,
            room: None,
            is_full: false,
            slipped: BTreeSet::new(),
            found: None,
            ready_at: None,
            grant: Weak::new(),
        }
    }

    fn ask(&self, place: Option<Arc<str>>) -> Ask {
        Ask {
            lane: self.life.lane.clone(),
            place,
        }
    }

    /// One call that reads, under the quota of reads.
    pub(super) async fn read<T>(&self, call: BoxFuture<'_, Result<T, Fault>>) -> Result<T, Fault> {
        let grant = self.account.reads.ask(self.ask(None)).await;
        grant.use_it();
        let read = bounded(self.office.config.request_timeout(), call).await;
        let counted = verdict::counted("read", read.as_ref().err());
        self.office
            .metrics
            .sheets_request(&self.life.lane.task, counted);
        if let Err(fault) = &read {
            self.account.note(fault, &self.account.reads);
        }
        read
    }

    /// A token for the next request: it is fetched now, so that the request goes out at once.
    pub(super) async fn token(&self, api: &Arc<dyn Api>) -> Result<(), Fault> {
        let limit = Duration::from_millis(self.office.config.connect_ms).saturating_mul(3);
        let ready = timeout(limit, api.ready()).await;
        let late = || Err(Fault::Unsent("no token within its time".to_owned()));
        let ready = ready.unwrap_or_else(|_| late());
        if let Err(fault) = &ready {
            self.account.note(fault, &self.account.writes);
        }
        ready
    }

    /// One request that writes, under the quota of writes, after which the cursor says `text`.
    pub(super) async fn send(
        &self,
        api: &Arc<dyn Api>,
        spreadsheet: &Arc<str>,
        (edits, text): (Vec<Edit>, &str),
    ) -> Result<Done, Fault> {
        let given = self.grant.upgrade();
        let is_given = given.as_ref().is_some_and(|grant| grant.use_it());
        let own = match &given {
            _ if is_given => None,
            Some(_) => Some(self.account.writes.ask_next(&self.life.lane).await),
            None => {
                let ask = self.ask(Some(Arc::clone(spreadsheet)));
                Some(self.account.writes.ask(ask).await)
            }
        };
        if let Some(own) = &own {
            own.use_it();
        }
        let lane = &self.life.lane;
        self.office.flights.begins(lane, text);
        let limit = self.office.config.request_timeout();
        let sent = bounded(limit, api.batch_update(spreadsheet, edits)).await;
        if !matches!(sent, Err(Fault::Unclear(_))) {
            self.office.flights.ended(lane);
        }
        let counted = verdict::counted("write", sent.as_ref().err());
        self.office.metrics.sheets_request(&lane.task, counted);
        if let Err(fault) = &sent {
            self.account.note(fault, &self.account.writes);
        }
        sent
    }

    /// Reads what a delivery must know: the cursor, which must say what it said, and the columns,
    /// unless the last look at them is a moment old. May be dropped at any await.
    pub(super) async fn prepare(&mut self) {
        self.found = None;
        if let Err(found) = self.look().await {
            if matches!(found, Delivery::Reopen(_)) {
                self.open = None;
            }
            self.found = Some(found);
        }
        self.ready();
    }

    async fn look(&mut self) -> Result<(), Delivery> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let (api, spreadsheet) = (Arc::clone(&open.api), Arc::clone(&open.spreadsheet));
        if FRESH < open.read_at.elapsed() {
            let read_at = Instant::now();
            let items = self.read(api.search(&spreadsheet, self.names.key())).await;
            let items = match items {
                Ok(items) => items,
                Err(fault) => return Err(self.unready(&fault)),
            };
            let layout = Layout::read(&self.names, &items);
            let Some(open) = &mut self.open else {
                return Ok(());
            };
            match layout {
                Some(layout) if layout.text == open.layout.text => {
                    open.layout = layout;
                    open.read_at = read_at;
                }
                _ => {
                    let why = "the cursor in the spreadsheet is not where it was left";
                    return Err(Delivery::Reopen(Trouble::new(Cause::Place, why)));
                }
            }
        }
        match self.token(&api).await {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.unready(&fault)),
        }
    }

    /// Nothing was sent. A credential that is not taken is read again: another may be there by now.
    fn unready(&mut self, fault: &Fault) -> Delivery {
        let trouble = self.trouble(fault);
        if trouble.cause == Cause::Auth {
            Delivery::Reopen(trouble)
        } else {
            Delivery::Again(trouble)
        }
    }

    pub(super) fn has_leave(&self) -> bool {
        self.grant.strong_count() > 0
    }

    /// From here on nothing is waited for until the send.
    pub(super) fn ready(&mut self) {
        self.ready_at = Some(Instant::now());
    }

    /// Whether too long has passed since.
    pub(super) fn is_late(&self) -> bool {
        self.ready_at
            .is_none_or(|ready_at| LATE < ready_at.elapsed())
    }

    /// Shows a state.
    pub(super) fn show(&mut self, state: State) {
        self.board.state(state);
        let mail = self.account.mail();
        self.board.show(&mail, self.account.writes.status());
    }

    /// What the pump is told of a failure.
    pub(super) fn trouble(&mut self, fault: &Fault) -> Trouble {
        let (state, cause) = match verdict::of(fault) {
            Verdict::Later(state, cause) => (state, cause),
            Verdict::Refused => (State::Ok, Cause::Place),
            Verdict::Full => (State::Full, Cause::Room),
            Verdict::Unclear => (State::Away, Cause::Away),
        };
        let trouble = self.trouble_of(state, cause, verdict::words(fault));
        Trouble {
            after: verdict::after(fault).or(trouble.after),
            ..trouble
        }
    }

    /// A trouble with what to do about it.
    pub(super) fn trouble_of(&mut self, state: State, cause: Cause, why: String) -> Trouble {
        self.show(state);
        let remedy = verdict::remedy(state, &self.account.mail());
        let is_blocked = matches!(state, State::Unshared | State::Protected | State::Column);
        Trouble {
            cause,
            why: if remedy.is_empty() {
                why
            } else {
                format!("{why} {remedy}")
            },
            after: is_blocked.then_some(BLOCKED),
        }
    }
}

async fn bounded<T>(limit: Duration, call: BoxFuture<'_, Result<T, Fault>>) -> Result<T, Fault> {
    let late = || Err(Fault::Unclear("it took too long".to_owned()));
    timeout(limit, call).await.unwrap_or_else(|_| late())
}

impl Sink for SheetsSink {
    fn is_local(&self) -> bool {
        false
    }

    fn leave(&mut self) -> BoxFuture<'_, Leave> {
        async move {
            let asked_at = Instant::now();
            let open = self.open.as_ref();
            let place = open.map_or_else(
                || Arc::from(self.settings.spreadsheet.as_str()),
                |open| Arc::clone(&open.spreadsheet),
            );
            let ask = self.ask(Some(place));
            let grant = Arc::new(self.account.writes.ask(ask).await);
            let permit = Arc::clone(&self.office.requests).acquire_owned().await;
            let waited = asked_at.elapsed().as_secs_f64();
            self.office
                .metrics
                .sheets_waited(&self.life.lane.task, waited);
            self.grant = Arc::downgrade(&grant);
            self.prepare().await;
            let leave: Leave = Box::new((grant, permit));
            leave
        }
        .boxed()
    }

    fn open(&mut self, opening: Opening) -> BoxFuture<'_, Result<Option<Cursor>, SinkError>> {
        async move {
            self.found = None;
            let opened = self.opened(opening).await;
            self.ready();
            opened
        }
        .boxed()
    }

    fn close(&mut self) {
        self.open = None;
        self.found = None;
    }

    fn deliver(&mut self, batch: Arc<Batch>) -> BoxFuture<'_, Delivery> {
        async move { self.delivered(&batch).await }.boxed()
    }
}
