//! What the lanes of this process share: connections, quotas, and which requests may still arrive.
//!
//! Holds: a credential has one line for writes and one for reads, whichever tasks use it. A lane's
//! *flight* outlives its sink: one that is made anew in the same process knows what the last one sent.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::api::{Api, Fault};
use super::queue::Queue;
use super::verdict::{self, State, Verdict};
use crate::config::SheetsConfig;
use crate::error::Cause;
use crate::metrics::Metrics;
use crate::record::Lane;

/// Makes the connection of an account; the name is empty for the node's own.
pub(super) type Connect =
    Arc<dyn Fn(&str) -> BoxFuture<'static, Result<Arc<dyn Api>, Fault>> + Send + Sync>;

/// What all sheets of this process share.
pub(super) struct Office {
    pub(super) config: SheetsConfig,
    pub(super) metrics: Metrics,
    pub(super) flights: Flights,
    /// Bounds memory: one permit a request under way, whichever credential it is of.
    pub(super) requests: Arc<Semaphore>,
    connect: Connect,
    accounts: Mutex<BTreeMap<String, Arc<Account>>>,
}

impl fmt::Debug for Office {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Office").finish_non_exhaustive()
    }
}

impl Office {
    pub(super) fn new(config: SheetsConfig, metrics: Metrics, connect: Connect) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(config.requests_max.max(1))),
            config,
            metrics,
            flights: Flights::default(),
            connect,
            accounts: Mutex::default(),
        }
    }

    /// The account of that name; nothing is touched.
    pub(super) fn account(&self, name: &str) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let account = accounts.entry(name.to_owned()).or_insert_with(|| {
            let minute = self.config.minute();
            Arc::new(Account {
                name: name.to_owned(),
                writes: Queue::new(self.config.writes_per_minute, minute),
                reads: Queue::new(self.config.reads_per_minute, minute),
                api: Mutex::default(),
            })
        });
        Arc::clone(account)
    }

    /// The account's connection, made when it is first needed.
    pub(super) async fn api(&self, account: &Account) -> Result<Arc<dyn Api>, Fault> {
        let there = account.lock().clone();
        if let Some(api) = there {
            return Ok(api);
        }
        // Two that come here at once make two; one of them stays.
        let api = (self.connect)(&account.name).await?;
        *account.lock() = Some(Arc::clone(&api));
        Ok(api)
    }
}

/// A credential.
pub(super) struct Account {
    name: String,
    pub(super) writes: Queue,
    pub(super) reads: Queue,
    api: Mutex<Option<Arc<dyn Api>>>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Account {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<dyn Api>>> {
        self.api.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address to share with, once it is known.
    pub(super) fn mail(&self) -> String {
        let api = self.lock();
        api.as_ref()
            .map_or_else(String::new, |api| api.mail().to_owned())
    }

    /// Learns from a failure what concerns all lanes of the credential. Returns how long they pause.
    pub(super) fn note(&self, fault: &Fault, queue: &Queue) -> Option<Duration> {
        match verdict::of(fault) {
            Verdict::Later(State::Throttled, _) => {
                let pause = verdict::after(fault).unwrap_or_else(|| queue.minute());
                queue.pause(pause);
                if let Fault::Refused(problem) = fault
                    && let Some((_, value)) = &problem.quota
                {
                    queue.told(*value);
                }
                Some(pause)
            }
            Verdict::Later(_, Cause::Auth) => {
                // The file may be another one by the next time.
                self.lock().take();
                None
            }
            Verdict::Later(..) | Verdict::Refused | Verdict::Full | Verdict::Unclear => None,
        }
    }
}

/// What each lane has sent of which nobody knows what became.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<BTreeMap<Lane, Flight>>);

#[derive(Debug)]
struct Flight {
    /// The term in which this process knows of everything that was sent.
    term: u64,
    doubt: Option<Doubt>,
}

#[derive(Debug)]
struct Doubt {
    since: Instant,
    /// What the cursor says if it arrives; `None`: another node has sent it.
    text: Option<String>,
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Lane, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lane is looked at in `term`, and the log may know of a send whose end it never heard of.
    pub(super) fn look(&self, lane: &Lane, term: u64, has_sending: bool) {
        let mut flights = self.lock();
        let flight = flights.entry(lane.clone()).or_insert(Flight {
            term: u64::MAX,
            doubt: None,
        });
        if flight.term != term {
            flight.term = term;
            // Another node has sent it, before now, and after whatever was in doubt before.
            if has_sending {
                flight.doubt = Some(Doubt {
                    since: Instant::now(),
                    text: None,
                });
            }
        }
    }

    /// The cursor says this.
    pub(super) fn saw(&self, lane: &Lane, text: &str) {
        if let Some(flight) = self.lock().get_mut(lane)
            && let Some(doubt) = &flight.doubt
            && doubt.text.as_deref() == Some(text)
        {
            flight.doubt = None;
        }
    }

    /// What was under way has arrived, or was answered.
    pub(super) fn ended(&self, lane: &Lane) {
        if let Some(flight) = self.lock().get_mut(lane) {
            flight.doubt = None;
        }
    }

    /// A request begins after which the cursor says `text`.
    pub(super) fn begins(&self, lane: &Lane, text: &str) {
        if let Some(flight) = self.lock().get_mut(lane) {
            flight.doubt = Some(Doubt {
                since: Instant::now(),
                text: Some(text.to_owned()),
            });
        }
    }

    /// How long a request of before may still arrive, given how long any may.
    pub(super) fn left(&self, lane: &Lane, no_overlap: Duration) -> Duration {
        let flights = self.lock();
        let doubt = flights.get(lane).and_then(|flight| flight.doubt.as_ref());
        doubt.map_or(Duration::ZERO, |doubt| {
            (doubt.since + no_overlap).saturating_duration_since(Instant::now())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_OVERLAP: Duration = Duration::from_secs(190);

    #[tokio::test(start_paused = true)]
    async fn a_send_of_another_node_is_waited_out_once_a_term() {
        let (flights, lane) = (Flights::default(), Lane::new("t", "f"));
        flights.look(&lane, 7, true);
        assert_eq!(flights.left(&lane, NO_OVERLAP), NO_OVERLAP);
        tokio::time::sleep(Duration::from_mins(1)).await;
        flights.look(&lane, 7, true);
        assert_eq!(flights.left(&lane, NO_OVERLAP), Duration::from_secs(130));
        flights.ended(&lane);
        // What the log still knows of in this term is our own, and has ended.
        flights.look(&lane, 7, true);
        assert_eq!(flights.left(&lane, NO_OVERLAP), Duration::ZERO);
        flights.look(&lane, 8, false);
        assert_eq!(flights.left(&lane, NO_OVERLAP), Duration::ZERO);
        flights.look(&lane, 9, true);
        assert_eq!(flights.left(&lane, NO_OVERLAP), NO_OVERLAP);
        // Led in between by another one, which has sent something, too.
        tokio::time::sleep(Duration::from_mins(1)).await;
        flights.look(&lane, 11, true);
        assert_eq!(flights.left(&lane, NO_OVERLAP), NO_OVERLAP);
    }

    #[tokio::test(start_paused = true)]
    async fn a_send_of_our_own_ends_when_the_cursor_says_so() {
        let (flights, lane) = (Flights::default(), Lane::new("t", "f"));
        flights.look(&lane, 7, false);
        flights.begins(&lane, "new");
        flights.saw(&lane, "old");
        assert_eq!(flights.left(&lane, NO_OVERLAP), NO_OVERLAP);
        flights.saw(&lane, "new");
        assert_eq!(flights.left(&lane, NO_OVERLAP), Duration::ZERO);
    }
}
