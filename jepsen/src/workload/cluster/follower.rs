//! One who follows one node while the faults go on: what it shows, and how new that is.
//!
//! Holds: a node that does not answer is asked again; what that is worth is judged elsewhere. What
//! it showed once is never asked for again, so a seq that it skips stays missing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::checker::back::Glimpse;
use crate::checker::sight::{Shape, Sight};
use crate::client::Client;
use crate::client::api::{self, Found};
use crate::form::Bodies;
use crate::workload::watch::FORMS;
use crate::workload::worker::Gauge;

const PAUSE: Duration = Duration::from_millis(40);
const PATIENCE: Duration = Duration::from_secs(3);
const PAGE: u64 = 1000;
/// Every so many rounds it asks for the newest.
const NEWEST: u64 = 4;
const NAMES: [&str; 5] = [
    "node 1 as it went",
    "node 2 as it went",
    "node 3 as it went",
    "node 4 as it went",
    "node 5 as it went",
];

#[derive(Debug)]
pub(super) struct Follower {
    pub(super) node: usize,
    pub(super) sights: Vec<Sight>,
    pub(super) glimpses: Vec<Glimpse>,
    client: Client,
    /// For reads that may wait for a quorum.
    patient: Client,
    boots: Arc<AtomicU32>,
    bodies: Bodies,
}

impl Follower {
    pub(super) fn new(
        node: usize,
        address: SocketAddr,
        boots: Arc<AtomicU32>,
        bodies: Bodies,
    ) -> Self {
        let client = || Client::new(address).with_patience(PATIENCE);
        Self {
            node,
            sights: fresh(node),
            glimpses: Vec::new(),
            client: client(),
            patient: client(),
            boots,
            bodies,
        }
    }

    /// Begins again: what it has seen was destroyed, or is to be read anew.
    pub(super) fn forget(&mut self) {
        self.sights = fresh(self.node);
    }

    /// Until it is told to stop.
    pub(super) async fn follow(
        mut self,
        token: String,
        gauge: Arc<Gauge>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let mut round = 0_u64;
        while !*stop.borrow() {
            self.look(&token).await;
            if round.is_multiple_of(NEWEST) {
                self.ask_for_the_newest(&token, &gauge).await;
            }
            round += 1;
            sleep(PAUSE).await;
        }
        self
    }

    async fn look(&mut self, token: &str) {
        for sight in &mut self.sights {
            let boot = self.boots.load(Ordering::Relaxed);
            let (what, after) = ((self.bodies, sight.form), sight.last_seq());
            let page = api::page(&mut self.client, token, what, after, PAGE).await;
            // Also: whose answer it is must be known.
            let Ok(Found::Page(page)) = page else {
                continue;
            };
            if self.boots.load(Ordering::Relaxed) != boot {
                continue;
            }
            self.glimpses.push(Glimpse {
                node: self.node + 1,
                form: sight.form,
                boot,
                head: page.head,
                least: None,
            });
            for row in page.rows {
                sight.push(row);
            }
        }
    }

    async fn ask_for_the_newest(&mut self, token: &str, gauge: &Gauge) {
        for form in FORMS {
            let least = gauge.head(form);
            let head = api::newest(&mut self.patient, token, form).await;
            if let Ok(head) = head {
                let node = self.node + 1;
                let least = Some(least);
                self.glimpses.push(Glimpse {
                    node,
                    form,
                    boot: 0,
                    head,
                    least,
                });
            }
        }
    }
}

fn fresh(node: usize) -> Vec<Sight> {
    let name = NAMES.get(node).copied().unwrap_or("a node as it went");
    let sight = |form| Sight::new(name, form, Shape::Document);
    FORMS.map(sight).into()
}
